"""Time, chance, and how long a request may still take."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """The time as one customer sees it."""

    def now(self) -> datetime:
        """Return the present instant, timezone-aware."""
        ...


class CustomerClocks(Protocol):
    """Where clocks come from: the system's, or a customer's test clock."""

    def for_customer(self, customer_id: str) -> Clock:
        """Return the clock that the customer's sessions and periods follow."""
        ...


class Ids(Protocol):
    """Where ids come from."""

    def session_id(self, now: datetime) -> str:
        """Make the id of a new session; ids sort by ``now``."""
        ...

    def attempt_id(self) -> str:
        """Make a short id for one admitted request."""
        ...


class TimeBudget(Protocol):
    """How long the present request may still take."""

    def remaining_seconds(self) -> float:
        """Return the seconds until the caller is cut off."""
        ...
