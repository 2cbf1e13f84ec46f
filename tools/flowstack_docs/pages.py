"""The pages, and the marked places in them that the code fills in.

A place begins with ``<!-- generated: NAME -->`` and ends with ``<!-- /generated -->``; what stands
between them is overwritten.
"""

from __future__ import annotations

import re
from pathlib import Path

from flowstack_docs.tables import TABLES

ROOT = Path(__file__).parents[2]

_PLACE = re.compile(
    r"(?P<begin><!-- generated: (?P<name>[a-z-]+) -->\n).*?(?P<end><!-- /generated -->)", re.DOTALL
)


def documented_pages() -> list[Path]:
    """Return the read-me and every page below ``docs``, in the order of their paths."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def refreshed(text: str) -> str:
    """Return a page's text with every marked place filled in anew.

    Raises
    ------
    KeyError
        A place names a table that does not exist.
    """
    return _PLACE.sub(
        lambda place: f"{place['begin']}{TABLES[place['name']]()}{place['end']}", text
    )


def places(text: str) -> list[str]:
    """Return the names of the tables that a page has a place for."""
    return [place["name"] for place in _PLACE.finditer(text)]
