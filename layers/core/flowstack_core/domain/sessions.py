"""Sessions: when one starts, goes on, ends, and whether it is billed (S1 to S6).

The unit of billing is an unbroken stretch of one conversation. Everything here is a comparison
of instants that are passed in; whether an item still exists in a table says nothing, because
DynamoDB deletes expired items late.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from flowstack_core.domain.periods import Period

INACTIVITY_LIMIT = timedelta(minutes=30)
"""A silence of this length, or longer, ends a session (S2)."""


def activity_cutoff(now: datetime) -> datetime:
    """Return the instant after which a session's last activity must lie to be alive at ``now``.

    Exactly 30 minutes of silence end a session, so the comparison with the cutoff is strict (S2).
    """
    return now - INACTIVITY_LIMIT


@dataclass(frozen=True, slots=True)
class Conversation:
    """One thread of messages: who, with which agent, under which id."""

    customer_id: str
    agent: str
    conversation_id: str


@dataclass(frozen=True, slots=True)
class Session:
    """A session as it stands.

    Attributes
    ----------
    session_id
        Unique, and sortable by the time of its start.
    conversation
        The thread it is a stretch of.
    period
        The period it counts in: the one it started in, for ever (S4).
    started_at, last_activity_at
        Activity is the arrival of a message or the delivery of its answer (S2).
    processed_at
        When the first message had been answered; ``None`` while nothing was: the session is
        then *held*, not billed (S5).
    in_flight
        Attempts that were admitted and have neither been answered nor abandoned, each with the
        instant after which it cannot still be running.
    managed
        Whether it began with a managed model (S6).
    managed_until
        Until when managed models may be used without asking the quota again; ``None`` if the
        session was not started or renewed with one (P4).
    turns
        Messages that were admitted and not abandoned.
    tokens
        What the answered ones of them took, both ways.
    """

    session_id: str
    conversation: Conversation
    period: Period
    started_at: datetime
    last_activity_at: datetime
    processed_at: datetime | None = None
    managed: bool = False
    managed_until: datetime | None = None
    in_flight: Mapping[str, datetime] = field(default_factory=dict)
    turns: int = 1
    tokens: int = 0

    @property
    def held(self) -> bool:
        """Whether it occupies the quota without a message having been processed (S5)."""
        return self.processed_at is None

    @property
    def ends_at(self) -> datetime:
        """When it ends if nothing more happens (S2)."""
        return self.last_activity_at + INACTIVITY_LIMIT

    def alive(self, now: datetime) -> bool:
        """Whether a message arriving at ``now`` belongs to this session (S2)."""
        return self.last_activity_at > activity_cutoff(now)

    def allows_managed(self, now: datetime) -> bool:
        """Whether a managed model may be used at ``now`` without asking the quota again (P4)."""
        return self.managed_until is not None and self.managed_until > now

    def releasable(self, now: datetime) -> bool:
        """Whether nothing was processed and nothing still running can change that (S5)."""
        return self.held and all(until <= now for until in self.in_flight.values())

    def dead_attempts(self, now: datetime) -> list[str]:
        """Return the attempts in flight that cannot be running any more."""
        return [attempt for attempt, until in self.in_flight.items() if until <= now]


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """The durable trace of one started session: what a period's count is rebuilt from."""

    session_id: str
    conversation: Conversation
    period: Period
    started_at: datetime
    managed: bool
    released_at: datetime | None = None

    @property
    def counted(self) -> bool:
        """Whether the session counts against the quota of its period."""
        return self.released_at is None
