"""How deep JSON is nested. Whatever goes through it by recursion must not be led too far."""

from __future__ import annotations

from typing import Any


def deeper_than(levels: int, document: Any) -> bool:
    """Whether a document has objects and lists inside each other for more than so many levels."""
    level = [document]
    for _ in range(levels):
        level = [
            inner
            for value in level
            if isinstance(value, dict | list)
            for inner in (value.values() if isinstance(value, dict) else value)
        ]
        if not level:
            return False
    return True
