"""Dependencies point inward: functions → services → domain; adapters implement the ports."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LAYER = ROOT / "layers" / "core"
CORE = LAYER / "flowstack_core"


def modules(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.py"))


def imports(module: Path) -> Iterator[str]:
    """Yield the absolute name of everything a module imports, wherever in it."""
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative imports hide where they lead"
            assert node.module is not None
            # `from package import module` names the module only together with its parent.
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def within(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def foreign(module: Path, *allowed: str) -> list[str]:
    """Return what a module imports beyond the standard library and ``allowed``."""
    return [
        name
        for name in imports(module)
        if name.split(".")[0] not in sys.stdlib_module_names and not within(name, *allowed)
    ]


def ids(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("module", modules(CORE / "domain"), ids=ids)
def test_the_domain_imports_nothing_but_itself_and_pydantic(module: Path) -> None:
    assert foreign(module, "flowstack_core.domain", "pydantic") == []


@pytest.mark.parametrize("module", modules(CORE / "services"), ids=ids)
def test_services_import_nothing_but_the_domain_and_each_other(module: Path) -> None:
    assert foreign(module, "flowstack_core.domain", "flowstack_core.services") == []


@pytest.mark.parametrize("module", modules(CORE / "adapters"), ids=ids)
def test_adapters_know_nothing_of_http_nor_of_who_puts_them_together(module: Path) -> None:
    forbidden = ("flowstack_core.http", "flowstack_core.bootstrap", "flowstack_core.events")
    assert [name for name in imports(module) if within(name, *forbidden)] == []


@pytest.mark.parametrize("module", modules(CORE / "http"), ids=ids)
def test_the_http_edge_knows_no_store_and_no_aws_client(module: Path) -> None:
    found = [
        name
        for name in imports(module)
        if within(name, "flowstack_core.adapters", "boto3", "botocore")
        # How much time is left is a fact of the request, so the edge reads it.
        and not within(name, "flowstack_core.adapters.system")
    ]
    assert found == []


@pytest.mark.parametrize("module", modules(LAYER), ids=ids)
def test_layers_know_nothing_of_stacks_functions_tools_or_tests(module: Path) -> None:
    forbidden = ("aws_cdk", "constructs", "stacks", "functions", "tools", "tests")
    assert [name for name in imports(module) if within(name, *forbidden)] == []


@pytest.mark.parametrize("module", [*modules(ROOT / "stacks"), ROOT / "app.py"], ids=ids)
def test_stacks_know_nothing_of_the_code_they_deploy(module: Path) -> None:
    forbidden = ("flowstack_core", "functions", "boto3", "tests")
    assert [name for name in imports(module) if within(name, *forbidden)] == []


def test_the_modules_that_are_looked_at_exist() -> None:
    for package in ("domain", "services"):
        assert len(modules(CORE / package)) > 5
