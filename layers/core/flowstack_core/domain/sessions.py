"""Sessions: when one starts, goes on, ends, and whether it is billed (S1 to S6).

The unit of billing is an unbroken stretch of one conversation. Everything here is a comparison
of instants that are passed in; whether an item still exists in a table says nothing, because
DynamoDB deletes expired items late.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

from flowstack_core.domain.periods import Period
from flowstack_core.domain.rollups import DaySlice, Route, Talk, total_of

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
    opened_by
        The way of the first message that was answered.
    said
        What was answered so far, by the way it went.
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
    opened_by: Route | None = None
    said: Mapping[Route, Talk] = field(default_factory=dict)

    @property
    def talk(self) -> Talk:
        """What was answered so far, whichever way it went."""
        return total_of(self.said)

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
    """The durable trace of one started session: what a period's count is rebuilt from.

    Attributes
    ----------
    opened_by, rolled_up
        What of the session is in the rollups: the way of its first answer, and what was said.
    """

    session_id: str
    conversation: Conversation
    period: Period
    started_at: datetime
    managed: bool
    released_at: datetime | None = None
    opened_by: Route | None = None
    rolled_up: Mapping[Route, Talk] = field(default_factory=dict)

    @property
    def counted(self) -> bool:
        """Whether the session counts against the quota of its period."""
        return self.released_at is None

    @property
    def day(self) -> date:
        """The day of the session, for ever, as its period is (S4)."""
        return self.started_at.astimezone(UTC).date()

    def slices(self) -> Iterator[DaySlice]:
        """Yield what of the session is in the rollups."""
        for route, talk in self.rolled_up.items():
            opened = int(route == self.opened_by)
            yield DaySlice(self.day, self.conversation.agent, route, opened, talk)


@dataclass(frozen=True, slots=True)
class Growth:
    """A session that has come further than the rollups know.

    What was said only grows, message by message. So of two states of a session the one with more
    messages is the later one, whatever order they become known in.

    Attributes
    ----------
    record
        What the rollups know.
    """

    session: Session
    record: SessionRecord

    @property
    def needed(self) -> bool:
        """Whether there is anything to add. A session that was released never is (S5)."""
        known = total_of(self.record.rolled_up).messages
        return self.record.counted and self.session.talk.messages > known

    def slices(self) -> Iterator[DaySlice]:
        """Yield what has to be added to the rollups."""
        session, known = self.session, self.record.rolled_up
        for route, talk in session.said.items():
            added = talk - known.get(route, Talk())
            opened = int(not known and route == session.opened_by)
            if added.messages:
                agent = session.conversation.agent
                yield DaySlice(self.record.day, agent, route, opened, added)
