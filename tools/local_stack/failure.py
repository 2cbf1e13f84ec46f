"""What stops the local stack, said for the person who started it."""

from __future__ import annotations

from pathlib import Path

TAIL_LINES = 30


class LocalStackError(Exception):
    """A step failed; the message says which, why, and where to look."""


def tail(log: Path) -> str:
    """Return the last lines of a log file, or a sentence that it is missing."""
    if not log.exists():
        return f"({log} was not written)"
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join(lines[-TAIL_LINES:])
