"""The layer: built for its target, the same for the same sources."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from stacks.constructs.layer import BundlingError, LayerBundling, core_contents
from stacks.constructs.layer import fingerprint as fingerprint_of
from stacks.python_target import AWS_LAMBDA, PythonTarget
from stacks.sources import Sources
from tests.infrastructure.conftest import ROOT

HOST = PythonTarget.of_interpreter(sys.executable)


@pytest.fixture
def copied(tmp_path: Path) -> Sources:
    root = tmp_path / "repository"
    shutil.copytree(ROOT / "layers", root / "layers", ignore=shutil.ignore_patterns("__pycache__"))
    (root / "requirements").mkdir()
    shutil.copy(ROOT / "requirements/layer.lock", root / "requirements")
    return Sources(root)


def fingerprint(sources: Sources, target: PythonTarget) -> str:
    return fingerprint_of(sources.root, core_contents(sources), target)


def test_the_layer_for_aws_has_arm_wheels_of_its_python(tmp_path: Path) -> None:
    assert LayerBundling(core_contents(Sources(ROOT)), AWS_LAMBDA).try_bundle(str(tmp_path))
    packages = tmp_path / "python"
    libraries = list(packages.rglob("*.so"))
    assert libraries
    for library in libraries:
        assert library.name.endswith("cpython-313-aarch64-linux-gnu.so")
        elf_machine = library.read_bytes()[18:20]
        assert int.from_bytes(elf_machine, "little") == 183  # EM_AARCH64


def test_the_layer_for_the_host_is_for_its_interpreter(tmp_path: Path) -> None:
    assert LayerBundling(core_contents(Sources(ROOT)), HOST).try_bundle(str(tmp_path))
    packages = tmp_path / "python"
    version = HOST.version.replace(".", "")
    assert list(packages.rglob(f"*.cpython-{version}-*.so"))
    shipped = {path.name for path in packages.iterdir()}
    assert {"flowstack_core", "aws_lambda_powertools", "pydantic"} <= shipped
    # The Lambda runtime brings it.
    assert not {"boto3", "botocore"} & shipped
    for pattern in ("__pycache__", "*.pyc", "tests", "*.js"):
        assert not list(packages.rglob(pattern))


def test_the_same_sources_make_the_same_layer(copied: Sources) -> None:
    assert fingerprint(copied, AWS_LAMBDA) == fingerprint(Sources(ROOT), AWS_LAMBDA)


def test_another_target_makes_another_layer(copied: Sources) -> None:
    other = PythonTarget(version="3.12", machine="aarch64")
    assert fingerprint(copied, AWS_LAMBDA) != fingerprint(copied, other)


@pytest.mark.parametrize(
    "changed", ["requirements/layer.lock", "layers/core/flowstack_core/domain/models.json"]
)
def test_a_changed_source_makes_another_layer(changed: str, copied: Sources) -> None:
    before = fingerprint(copied, AWS_LAMBDA)
    path = copied.root / changed
    path.write_text(path.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    assert fingerprint(copied, AWS_LAMBDA) != before


def test_what_is_not_shipped_does_not_change_the_layer(copied: Sources) -> None:
    before = fingerprint(copied, AWS_LAMBDA)
    compiled = copied.core / "domain" / "__pycache__" / "plans.cpython-311.pyc"
    compiled.parent.mkdir()
    compiled.write_bytes(b"compiled")
    assert fingerprint(copied, AWS_LAMBDA) == before


def test_a_dependency_without_its_hash_is_refused(tmp_path: Path, copied: Sources) -> None:
    copied.layer_lock.write_text("pydantic==2.14.4\n", encoding="utf-8")
    with pytest.raises(BundlingError, match="hash"):
        LayerBundling(core_contents(copied), AWS_LAMBDA).try_bundle(str(tmp_path / "out"))
