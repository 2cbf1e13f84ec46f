"""The client as a package of its own: built, installed in an empty environment, imported."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

from tests.support.emulator import ROOT

CLIENT = ROOT / "layers/client"
UV = Path(sys.executable).with_name("uv")


def imported(module: Path) -> set[str]:
    """Return the packages that a module imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative imports hide where they lead"
            names.add(str(node.module).split(".")[0])
    return names - sys.stdlib_module_names - {"flowstack"}


@pytest.mark.parametrize(
    "module", sorted(CLIENT.rglob("*.py")), ids=lambda path: str(path.relative_to(CLIENT))
)
def test_the_client_needs_httpx_and_pydantic_and_nothing_else(module: Path) -> None:
    allowed = {"httpx", "pydantic", "pydantic_core"}
    if "cli" in module.parts:
        allowed |= {"rich", "typer"}
    assert imported(module) <= allowed


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [
            *(UV, "build", "--quiet", "--no-build-isolation", "--python", sys.executable),
            *("--out-dir", out, CLIENT),
        ],
        check=True,
    )
    assert len(list(out.glob("*.tar.gz"))) == 1
    (built,) = out.glob("*.whl")
    return built


def test_the_wheel_has_types_prices_and_the_command(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (about,) = [name for name in names if name.endswith("METADATA")]
        (entry,) = [name for name in names if name.endswith("entry_points.txt")]
        metadata, scripts = archive.read(about).decode(), archive.read(entry).decode()
    assert {"flowstack/py.typed", "flowstack/prices.json"} <= names
    assert all(name.startswith("flowstack") for name in names)
    assert "flowstack = flowstack.cli:main" in scripts
    needed = [line for line in metadata.splitlines() if line.startswith("Requires-Dist")]
    assert [line for line in needed if "extra" not in line] == [
        "Requires-Dist: httpx<1,>=0.28",
        "Requires-Dist: pydantic<3,>=2.11",
    ]


def test_the_wheel_installs_in_an_empty_environment_and_imports(
    wheel: Path, tmp_path: Path
) -> None:
    """Its dependencies are those of this environment: what is tried is the package itself."""
    venv.create(tmp_path / "venv", with_pip=False, symlinks=True)
    python = tmp_path / "venv/bin/python"
    subprocess.run(
        [UV, "pip", "install", "--quiet", "--offline", "--no-deps", "--python", python, wheel],
        check=True,
    )
    site = next((Path(sys.prefix) / "lib").glob("python3*/site-packages"))
    code = (
        f"import sys; sys.path.append({str(site)!r})\n"
        "import json, flowstack, flowstack.costs\n"
        "print(json.dumps([flowstack.__version__, flowstack.__file__,"
        " flowstack.costs.default_prices().as_of.isoformat()]))"
    )
    finished = subprocess.run(
        [python, "-I", "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    version, file, as_of = json.loads(finished.stdout)
    project = tomllib.loads((CLIENT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert version == project["version"]
    assert file.startswith(str(tmp_path / "venv"))
    assert as_of.startswith("2026-")
    assert (tmp_path / "venv/bin/flowstack").exists()
