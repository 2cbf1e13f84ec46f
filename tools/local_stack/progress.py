"""Step lines: what is being done now and how many seconds it took."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

WIDTH = 52


class Progress(Protocol):
    """Where a stack says what it is doing."""

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Announce a step, and its duration when it ends."""
        ...

    def note(self, text: str) -> None:
        """Say one thing about the step that follows."""
        ...


class PrintedProgress:
    """Writes a line a step to standard output.

    The title is written when the step starts, so that a slow step is seen while it runs.
    """

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        started = time.monotonic()
        sys.stdout.write(f"  {title + ' ':.<{WIDTH}}")
        sys.stdout.flush()
        outcome = "failed after"
        try:
            yield
            outcome = ""
        finally:
            sys.stdout.write(f" {outcome} {time.monotonic() - started:.1f} s\n".replace("  ", " "))
            sys.stdout.flush()

    def note(self, text: str) -> None:
        print(f"  {text}", flush=True)


class SilentProgress:
    """Says nothing, for stacks that tests start."""

    @contextmanager
    def step(self, title: str) -> Iterator[None]:  # noqa: ARG002 - the protocol's argument
        yield

    def note(self, text: str) -> None:
        """Drop the note."""
