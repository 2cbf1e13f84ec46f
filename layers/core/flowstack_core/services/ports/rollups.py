"""Daily rollups."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from flowstack_core.domain.rollups import DaySlice, DayTotal
    from flowstack_core.domain.sessions import Growth, Session, SessionRecord


class RollupReader(Protocol):
    """The daily rollups of a customer. They follow the sessions by seconds."""

    def days(self, customer_id: str, first: date, last: date) -> Sequence[DayTotal]:
        """Return the days from ``first`` to ``last``, both included, on which anything started.

        The oldest comes first.
        """
        ...

    def slices(self, customer_id: str, first: date, last: date) -> Iterator[DaySlice]:
        """Yield the same days' parts by agent and route, the oldest day first."""
        ...


class RollupStore(RollupReader, Protocol):
    """The daily rollups, and what of each session is in them."""

    def records_of(self, sessions: Sequence[Session]) -> Mapping[str, SessionRecord]:
        """Return the sessions' records by session id, read consistently; some may be gone."""
        ...

    def add(self, growths: Sequence[Growth]) -> bool:
        """Add sessions of one customer and day to its rollups, and note it on their records.

        All or nothing: ``False`` if one of the records is gone, or no longer says what it said.
        """
        ...
