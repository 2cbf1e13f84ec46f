"""Places that are written as a whole, and what may be in them when answers get lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from flowstack_core.domain.errors import FlowStackError
from tests.faults.stage import NO_ANSWER

Value = TypeVar("Value")


class Register(Generic[Value]):
    """What a place may hold: what was acknowledged last, and what was attempted since.

    Writes may come between the requests of other ones.
    """

    def __init__(self, value: Value) -> None:
        self.possible: list[Value] = [value]
        self._attempts = 0
        self._going_on = 0

    @property
    def still(self) -> bool:
        """Whether nobody is writing."""
        return not self._going_on

    def write(self, value: Value, act: Callable[[], object]) -> bool:
        """Try to write; return whether that was acknowledged."""
        alone = self.still
        self._attempts += 1
        self._going_on += 1
        attempts = self._attempts
        try:
            act()
        except (*NO_ANSWER, FlowStackError):
            self.possible.append(value)
            return False
        finally:
            self._going_on -= 1
        if alone and attempts == self._attempts:
            self.possible = [value]
        else:
            self.possible.append(value)
        return True
