"""Retrying with full jitter inside the time a request has.

Full jitter spreads competing writers best (AWS Architecture Blog, "Exponential Backoff And
Jitter"). Blind repetition is sound because every store operation is safe to repeat.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from flowstack_core.domain.errors import ServiceUnavailableError
from flowstack_core.services.ports.failures import StoreContentionError
from flowstack_core.services.ports.surroundings import Clock, TimeBudget

Result = TypeVar("Result")

_FIRST_DELAY_SECONDS = 0.02
_LONGEST_DELAY_SECONDS = 0.6


@dataclass(frozen=True, slots=True)
class Patience:
    """A time budget that ends at an instant."""

    clock: Clock
    until: datetime

    @classmethod
    def of(cls, clock: Clock, span: timedelta) -> Patience:
        """Return the patience that lasts for ``span`` from now on."""
        return cls(clock, clock.now() + span)

    def remaining_seconds(self) -> float:
        """Return what is left."""
        return (self.until - self.clock.now()).total_seconds()


@dataclass(frozen=True, slots=True)
class Retrier:
    """Repeats store operations that met contention.

    Attributes
    ----------
    sleep
        Waits for a number of seconds.
    chance
        Returns a number in [0, 1).
    """

    sleep: Callable[[float], None]
    chance: Callable[[], float]

    def run(
        self, operation: Callable[[], Result], budget: TimeBudget, *, reserve_seconds: float
    ) -> Result:
        """Run ``operation`` until it gives an outcome.

        Raises
        ------
        ServiceUnavailableError
            When going on would leave less than ``reserve_seconds`` of the budget.
        """
        ceiling = _FIRST_DELAY_SECONDS
        while True:
            try:
                return operation()
            except StoreContentionError as contention:
                delay = ceiling * self.chance()
                if budget.remaining_seconds() - delay < reserve_seconds:
                    raise ServiceUnavailableError(
                        "FlowStack is too busy to decide on this request right now. "
                        "Nothing was counted; please try again.",
                        details={"hint": "Retry with the same Idempotency-Key after a moment."},
                        retry_after_seconds=2,
                    ) from contention
                self.sleep(delay)
                ceiling = min(ceiling * 2, _LONGEST_DELAY_SECONDS)
