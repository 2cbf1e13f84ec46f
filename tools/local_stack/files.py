"""Files that are whole or absent, and locks that end with their process."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

OWNER_ONLY = 0o600


def write_whole(path: Path, text: str) -> None:
    """Replace a file in one step, readable by its owner only.

    A reader sees the old text or the new, never a part of either.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    draft = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        draft.chmod(OWNER_ONLY)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def try_lock(path: Path) -> IO[str] | None:
    """Take the lock of a file and return the open file, or None when another process has it.

    The system releases the lock when the last process that has the file open ends, however it
    ends: a lock is never stale, as a process id written down would be.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("a", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def is_locked(path: Path) -> bool:
    """Return whether some process holds the lock of the file."""
    if not path.exists():
        return False
    file = try_lock(path)
    if file is None:
        return True
    file.close()
    return False


@contextmanager
def exclusive(path: Path, refusal: Exception) -> Iterator[None]:
    """Hold the lock of the file for a while; raise `refusal` when another process has it."""
    file = try_lock(path)
    if file is None:
        raise refusal
    with file:
        yield
