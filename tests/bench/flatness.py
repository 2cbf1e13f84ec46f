"""Decides whether operations cost more where there is more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tests.bench.capacity import Units

_SOME = 1_000


@dataclass(frozen=True, slots=True)
class Cost:
    """What an operation cost where there were ``size`` customers, or conversations."""

    size: int
    round_trips: int
    units: Units
    items_read: int
    milliseconds: float

    @property
    def measures(self) -> dict[str, float]:
        """What must not grow; time is not among it."""
        return {
            "round trips": self.round_trips,
            "read units": self.units.read,
            "write units": self.units.write,
            "items read": self.items_read,
        }


@dataclass(frozen=True, slots=True)
class Operation:
    """What one operation cost at each size, the smallest first.

    Attributes
    ----------
    full_from
        From which size on there is as much as it asks for: a page of twenty is not full before.
    """

    name: str
    costs: tuple[Cost, ...]
    full_from: int = 1


class IncomparableError(Exception):
    """An operation was measured at one size only, so nothing is known of how it grows."""


class GrownError(Exception):
    """Operations cost more where there is more."""


def sizes_up_to(most: int) -> tuple[int, ...]:
    """Return the sizes to measure at: one, some, and ``most``."""
    return tuple(sorted({1, min(_SOME, max(1, most // 2)), most}))


def growth_of(operation: Operation) -> tuple[str, ...]:
    """Return in which measures an operation grew, from any size to a larger one.

    Raises
    ------
    IncomparableError
        It was measured at fewer than two sizes at which it is comparable.
    """
    comparable = [cost for cost in operation.costs if cost.size >= operation.full_from]
    if len(comparable) < 2:
        raise IncomparableError(
            f"{operation.name}: measured at one size from {operation.full_from}"
        )
    grown: dict[str, str] = {}
    for position, before in enumerate(comparable):
        for after in comparable[position + 1 :]:
            for measure, value in after.measures.items():
                if value > before.measures[measure]:
                    grown.setdefault(
                        measure,
                        f"{operation.name}: {before.measures[measure]:g} {measure} at"
                        f" {before.size:,}, {value:g} at {after.size:,}",
                    )
    return tuple(grown.values())


def check_flat(operations: Sequence[Operation]) -> None:
    """Hold operations to costing the same at each size.

    Raises
    ------
    GrownError
        Some do not.
    """
    grown = [growth for operation in operations for growth in growth_of(operation)]
    if grown:
        raise GrownError("; ".join(grown))
