"""Weighs what is uploaded to Lambda: the layer, built as the stacks build it, and each function."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from stacks.constructs.layer import LayerBundling, core_contents
from stacks.python_target import PythonTarget
from stacks.sources import Sources
from tests.support.emulator import ROOT

_NOT_UPLOADED = frozenset({"__pycache__"})


@dataclass(frozen=True, slots=True)
class Bundle:
    """A folder as it is uploaded.

    Attributes
    ----------
    unzipped, zipped
        Bytes.
    """

    name: str
    files: int
    unzipped: int
    zipped: int


@contextmanager
def built_layer(target: PythonTarget) -> Iterator[Path]:
    """Build the layer for a Python; yield the folder that is zipped."""
    with TemporaryDirectory(prefix="flowstack-layer-") as directory:
        LayerBundling(core_contents(Sources(ROOT)), target).try_bundle(directory)
        yield Path(directory)


def weigh_layer(folder: Path) -> tuple[Bundle, ...]:
    """Weigh the layer, then its packages from the heaviest to the lightest."""
    packages = sorted(
        (
            _weigh(f"— {path.name}", _files(path), folder)
            for path in (folder / "python").iterdir()
            if not path.name.endswith(".dist-info")
        ),
        key=lambda bundle: -bundle.unzipped,
    )
    return _weigh("layer", _files(folder), folder), *packages


def weigh_functions() -> tuple[Bundle, ...]:
    """Weigh each function's folder."""
    return tuple(
        _weigh(f"function {folder.name}", _files(folder), folder)
        for folder in sorted(path.parent for path in ROOT.glob("functions/*/handler.py"))
    )


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    return sorted(
        found
        for found in path.rglob("*")
        if found.is_file() and not _NOT_UPLOADED & set(found.relative_to(path).parts)
    )


def _weigh(name: str, files: list[Path], root: Path) -> Bundle:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in files:
            archive.write(file, file.relative_to(root))
    unzipped = sum(file.stat().st_size for file in files)
    return Bundle(name, len(files), unzipped, len(packed.getvalue()))
