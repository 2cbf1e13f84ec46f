"""Writes figures for pages of the documentation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tests.bench.capacity import Units


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def units_text(units: Units) -> str:
    """Return units by their kind."""
    parts = [
        f"{amount:g} {kind}" for amount, kind in ((units.write, "W"), (units.read, "R")) if amount
    ]
    return " + ".join(parts) or "0"
