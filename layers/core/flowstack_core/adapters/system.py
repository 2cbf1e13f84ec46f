"""Time, chance and the time budget of a Lambda invocation."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

from flowstack_core.domain.identifiers import random_id, sortable_id
from flowstack_core.services.ports.accounts import ClockOffsetStore
from flowstack_core.services.ports.surroundings import Clock

_ID_BYTES = 10


class SystemClock:
    """The machine's clock; every customer has the same one."""

    def now(self) -> datetime:
        """Return the present instant in UTC."""
        return datetime.now(UTC)

    def for_customer(self, customer_id: str) -> Clock:  # noqa: ARG002 - that is the point
        """Return itself."""
        return self


@dataclass(frozen=True, slots=True)
class ShiftedClock:
    """A clock that runs ahead of another by a fixed time."""

    clock: Clock
    ahead: timedelta

    def now(self) -> datetime:
        """Return the present instant."""
        return self.clock.now() + self.ahead


class TestClocks:
    """The customers' test clocks, on stages that have them."""

    __test__ = False

    def __init__(self, clock: Clock, offsets: ClockOffsetStore) -> None:
        self._clock = clock
        self._offsets = offsets

    def for_customer(self, customer_id: str) -> Clock:
        """Return the customer's clock, as far ahead as it stands now."""
        ahead = timedelta(seconds=self._offsets.offset_seconds(customer_id))
        return ShiftedClock(self._clock, ahead)


class RandomIds:
    """Ids from the operating system's entropy: copies of a snapshot never make the same."""

    def session_id(self, now: datetime) -> str:
        """Return the id of a new session; ids sort by ``now``."""
        return sortable_id("ses", now, os.urandom(_ID_BYTES))

    def attempt_id(self) -> str:
        """Return the id of a request."""
        return random_id("att", os.urandom(_ID_BYTES))

    def document_key(self, now: datetime) -> str:
        """Return the key of a document; keys sort by ``now``."""
        return sortable_id("doc", now, os.urandom(_ID_BYTES))

    def version(self) -> str:
        """Return a version of a document."""
        return random_id("ver", os.urandom(_ID_BYTES))


class LambdaContext(Protocol):
    """What the time budget needs of the Lambda context object."""

    def get_remaining_time_in_millis(self) -> int:
        """Return the milliseconds until Lambda ends the invocation."""
        ...


@dataclass(frozen=True, slots=True)
class LambdaTimeBudget:
    """The time until Lambda ends the invocation."""

    context: LambdaContext

    def remaining_seconds(self) -> float:
        """Return what is left."""
        return self.context.get_remaining_time_in_millis() / 1000
