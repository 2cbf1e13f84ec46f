"""Stores whose calls fail by chance, before or after they took effect."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from threading import Lock
from typing import Any, TypeVar, cast

from flowstack_core.services.ports.failures import StoreContentionError

Store = TypeVar("Store")


class Faults:
    """When calls fail: with a chance of ``rate``, half of them after they took effect.

    The sequence depends on ``seed`` alone, as long as one thread is calling.
    """

    def __init__(self, *, seed: int, rate: float) -> None:
        self.rate = rate
        self.raised = 0
        self._random = Random(seed)
        self._lock = Lock()

    def wrap(self, store: Store) -> Store:
        """Return ``store`` with calls that fail."""
        return cast("Store", _Faulty(store, self))

    def next(self) -> str:
        """Decide on one call: ``none``, ``before`` or ``after``."""
        with self._lock:
            if self._random.random() >= self.rate:
                return "none"
            self.raised += 1
            return self._random.choice(["before", "after"])


class Answerless:
    """Loses the answer of chosen operations: they take effect, and the caller is not told.

    An operation is lost as often as its name occurs in ``operations``.
    """

    def __init__(self, *operations: str) -> None:
        self.left = list(operations)

    def wrap(self, store: Store) -> Store:
        """Return ``store`` with answers that get lost."""
        return cast("Store", _Faulty(store, self))

    def next(self, operation: str = "") -> str:
        """Decide on one call."""
        if operation not in self.left:
            return "none"
        self.left.remove(operation)
        return "after"


class Unreachable:
    """Fails every call of chosen operations (of all, if none are named) before any effect."""

    def __init__(self, *operations: str) -> None:
        self.operations = set(operations)
        self.active = True
        self.calls = 0

    def wrap(self, store: Store) -> Store:
        """Return ``store`` with operations that cannot be reached while ``active``."""
        return cast("Store", _Faulty(store, self))

    def next(self, operation: str = "") -> str:
        """Decide on one call."""
        if not self.active or (self.operations and operation not in self.operations):
            return "none"
        self.calls += 1
        return "before"


class FunctionKilled(BaseException):
    """The process is gone; what it would have done next is never done."""


class Killed:
    """Lets ``survived`` calls pass and kills the function at the next one.

    ``applied`` tells whether that last call takes effect. Later calls, which only code that runs
    after its own death would make, have no effect.
    """

    def __init__(self, survived: int, *, applied: bool) -> None:
        self.left = survived
        self.applied = applied

    def wrap(self, store: Store) -> Store:
        """Return ``store`` with a call that kills."""
        return cast("Store", _Faulty(store, self))

    def next(self, operation: str = "") -> str:
        """Decide on one call."""
        self.left -= 1
        if self.left >= 0:
            return "none"
        return "killed after" if self.left == -1 and self.applied else "killed before"


class _Faulty:
    """Passes calls on to ``store`` and lets some of them fail."""

    def __init__(self, store: object, faults: Fault) -> None:
        self._store = store
        self._faults = faults

    def __getattr__(self, name: str) -> Callable[..., Any]:
        operation = getattr(self._store, name)

        def call(*arguments: Any) -> Any:
            faults = self._faults
            fate = faults.next() if isinstance(faults, Faults) else faults.next(name)
            if fate == "killed before":
                raise FunctionKilled
            if fate == "before":
                raise StoreContentionError(f"{name}: refused")
            outcome = operation(*arguments)
            if fate == "killed after":
                raise FunctionKilled
            if fate == "after":
                raise StoreContentionError(f"{name}: the answer was lost")
            return outcome

        return call


Fault = Faults | Answerless | Unreachable | Killed
"""What can stand between the services and the stores."""
