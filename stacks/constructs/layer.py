"""The layers that functions share, built by uv, without Docker."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class LayerContents:
    """What is in a layer.

    Attributes
    ----------
    description
        What AWS shows.
    lock
        Its dependencies, each pinned by hash.
    package
        The package of our own that comes along, if any.
    """

    description: str
    lock: Path
    package: Path | None = None

    @property
    def files(self) -> Iterator[Path]:
        """All files that decide what is in it."""
        yield self.lock
        if self.package is not None:
            yield from _shipped(self.package)


def core_contents(sources: Sources) -> LayerContents:
    """Return the core package and its dependencies."""
    return LayerContents("FlowStack core", sources.layer_lock, sources.core)


def providers_contents(sources: Sources) -> LayerContents:
    """Return the clients of providers; what they share with the core is in the core's layer."""
    return LayerContents("Clients of providers of models", sources.providers_lock)


@jsii.implements(ILocalBundling)
class LayerBundling:
    """Fills a folder with locked dependencies and a package of our own."""

    def __init__(self, contents: LayerContents, target: PythonTarget) -> None:
        self._contents = contents
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
        package = self._contents.package
        if package is not None:
            shutil.copytree(
                package,
                packages / package.name,
                ignore=shutil.ignore_patterns(*_NOT_SHIPPED),
            )
        return True

    def _install(self, packages: Path) -> None:
        finished = subprocess.run(  # noqa: S603 - fixed arguments
            [
                *(_uv(), "pip", "install", "--quiet", "--no-config", "--link-mode", "copy"),
                *("--require-hashes", "--only-binary", ":all:", "--no-deps"),
                *self._target.installer_arguments,
                *("--target", str(packages), "--requirements", str(self._contents.lock)),
            ],
            check=False,
            capture_output=True,
            text=True,
        )
        if finished.returncode != 0:
            raise BundlingError(f"uv could not build the layer:\n{finished.stderr}")


class Layer(Construct):
    """A layer for this stage's Python.

    Each stack has a layer version of its own, from the same asset: were one version exported from
    stack to stack, CloudFormation would refuse to replace it while the others still import it.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        stage: Stage,
        sources: Sources,
        contents: LayerContents,
    ) -> None:
        super().__init__(scope, construct_id)
        target = stage.python
        self.version = lambda_.LayerVersion(
            self,
            # The CDK tells the layers of a function apart by this id alone when it decides
            # whether to publish a new version: of two "Version" it would see the last only.
            f"{construct_id}Version",
            description=contents.description,
            compatible_runtimes=[target.runtime],
            compatible_architectures=[target.architecture],
            removal_policy=RemovalPolicy.DESTROY,
            code=lambda_.Code.from_asset(
                # Only its existence matters: the bundling fills the asset.
                str(contents.lock.parent),
                asset_hash_type=AssetHashType.CUSTOM,
                asset_hash=fingerprint(sources.root, contents, target),
                bundling=BundlingOptions(
                    # Never pulled: local bundling builds the layer or fails with its own message.
                    image=DockerImage.from_registry("docker-is-not-used"),
                    local=LayerBundling(contents, target),
                ),
            ),
        )


class CoreLayer(Layer):
    """What every function has: the core package and its dependencies."""

    def __init__(
        self, scope: Construct, construct_id: str, *, stage: Stage, sources: Sources
    ) -> None:
        super().__init__(
            scope, construct_id, stage=stage, sources=sources, contents=core_contents(sources)
        )


class ProvidersLayer(Layer):
    """What a function has that asks other providers than Bedrock, beside the core."""

    def __init__(
        self, scope: Construct, construct_id: str, *, stage: Stage, sources: Sources
    ) -> None:
        super().__init__(
            scope, construct_id, stage=stage, sources=sources, contents=providers_contents(sources)
        )


def fingerprint(root: Path, contents: LayerContents, target: PythonTarget) -> str:
    """Return a hash of all that decides what is in the layer.

    The same lock, source and target give the same hash on every machine, so that deploying again
    without a change uploads and replaces nothing.
    """
    digest = hashlib.sha256()
    for part in (_BUNDLE_VERSION, target.version, target.machine):
        digest.update(part.encode() + b"\0")
    for path in contents.files:
        digest.update(path.relative_to(root).as_posix().encode() + b"\0")
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
