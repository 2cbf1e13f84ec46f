"""Calls that begin at the same time, in threads that are switched as often as can be."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Barrier
from typing import TypeVar

from flowstack_core.domain.errors import FlowStackError

Result = TypeVar("Result")


@contextmanager
def _eager_switching() -> Iterator[None]:
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(usual)


def race(calls: Sequence[Callable[[], Result]]) -> list[Result | FlowStackError]:
    """Run all calls at once; return what each gave, or the refusal it met, in their order."""
    start = Barrier(len(calls))

    def run(call: Callable[[], Result]) -> Result | FlowStackError:
        start.wait()
        try:
            return call()
        except FlowStackError as refusal:
            return refusal

    with _eager_switching(), ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(run, calls))
