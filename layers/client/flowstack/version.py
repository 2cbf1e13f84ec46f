"""The version of this package, as its metadata tells it."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("flowstack")
except PackageNotFoundError:  # a layer ships the code without its metadata
    __version__ = "2"
