"""The layer that the functions share, built by uv, without Docker."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jsii
from aws_cdk import AssetHashType, BundlingOptions, DockerImage, ILocalBundling, RemovalPolicy
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from stacks.python_target import PythonTarget
from stacks.sources import Sources
from stacks.stage import Stage

_NOT_SHIPPED = (
    *("__pycache__", "*.pyc", "*.pyi", "py.typed", "tests", "bin", "sboms", "RECORD", ".lock"),
    # Powertools' Swagger page, which no route serves.
    *("*.js", "*.css"),
)
_BUNDLE_VERSION = "1"
"""Goes into the asset's hash: raise it when the way of bundling changes."""


class BundlingError(Exception):
    """The layer could not be built; the message is uv's."""


@jsii.implements(ILocalBundling)
class LayerBundling:
    """Fills a folder with the locked dependencies and the core package."""

    def __init__(self, sources: Sources, target: PythonTarget) -> None:
        self._sources = sources
        self._target = target

    def try_bundle(self, output_dir: str, *_: object, **__: object) -> bool:
        """Write the layer below a folder.

        Raises
        ------
        BundlingError
            uv is not there, or could not install what the lock names.
        """
        packages = Path(output_dir) / "python"
        self._install(packages)
        for pattern in _NOT_SHIPPED:
            for found in sorted(packages.rglob(pattern)):
                _remove(found)
        shutil.copytree(
            self._sources.core,
            packages / self._sources.core.name,
            ignore=shutil.ignore_patterns(*_NOT_SHIPPED),
        )
        return True

    def _install(self, packages: Path) -> None:
        finished = subprocess.run(  # noqa: S603 - fixed arguments
            [
                *(_uv(), "pip", "install", "--quiet", "--no-config", "--link-mode", "copy"),
                *("--require-hashes", "--only-binary", ":all:", "--no-deps"),
                *self._target.installer_arguments,
                *("--target", str(packages), "--requirements", str(self._sources.layer_lock)),
            ],
            check=False,
            capture_output=True,
            text=True,
        )
        if finished.returncode != 0:
            raise BundlingError(f"uv could not build the layer:\n{finished.stderr}")


class CoreLayer(Construct):
    """The core package and its dependencies, for this stage's Python.

    Each stack has a layer version of its own, from the same asset: were one version exported from
    stack to stack, CloudFormation would refuse to replace it while the others still import it.
    """

    def __init__(
        self, scope: Construct, construct_id: str, *, stage: Stage, sources: Sources
    ) -> None:
        super().__init__(scope, construct_id)
        target = stage.python
        self.version = lambda_.LayerVersion(
            self,
            "Version",
            description="FlowStack core",
            compatible_runtimes=[target.runtime],
            compatible_architectures=[target.architecture],
            removal_policy=RemovalPolicy.DESTROY,
            code=lambda_.Code.from_asset(
                str(sources.core),
                asset_hash_type=AssetHashType.CUSTOM,
                asset_hash=fingerprint(sources, target),
                bundling=BundlingOptions(
                    # Never pulled: local bundling builds the layer or fails with its own message.
                    image=DockerImage.from_registry("docker-is-not-used"),
                    local=LayerBundling(sources, target),
                ),
            ),
        )


def fingerprint(sources: Sources, target: PythonTarget) -> str:
    """Return a hash of all that decides what is in the layer.

    The same lock, source and target give the same hash on every machine, so that deploying again
    without a change uploads and replaces nothing.
    """
    digest = hashlib.sha256()
    for part in (_BUNDLE_VERSION, target.version, target.machine):
        digest.update(part.encode() + b"\0")
    for path in (sources.layer_lock, *_shipped(sources.core)):
        digest.update(path.relative_to(sources.root).as_posix().encode() + b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _shipped(package: Path) -> list[Path]:
    return sorted(
        path
        for path in package.rglob("*")
        if path.is_file() and not _is_left_out(path.relative_to(package))
    )


def _is_left_out(path: Path) -> bool:
    return any(Path(part).match(pattern) for part in path.parts for pattern in _NOT_SHIPPED)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        # A folder removed before may have held it.
        path.unlink(missing_ok=True)


def _uv() -> str:
    beside_python = str(Path(sys.executable).parent)
    found = shutil.which("uv", path=os.pathsep.join((beside_python, os.environ.get("PATH", ""))))
    if found is None:
        raise BundlingError("uv is not installed: it builds the Lambda layer.")
    return found
