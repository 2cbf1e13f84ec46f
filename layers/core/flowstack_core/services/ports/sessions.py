"""Sessions: what a store admits, starts, settles and gives back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from flowstack_core.domain.own_limits import UNCAPPED

if TYPE_CHECKING:
    from flowstack_core.domain.deferred import Run
    from flowstack_core.domain.idempotency import Claim
    from flowstack_core.domain.messages import Message, TokenUsage
    from flowstack_core.domain.own_limits import CeilingReached, SessionCaps
    from flowstack_core.domain.periods import Period
    from flowstack_core.domain.quota import PeriodUsage
    from flowstack_core.domain.rollups import Route
    from flowstack_core.domain.sessions import Conversation, Session, SessionRecord


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request that asks to be admitted to a conversation.

    Attributes
    ----------
    attempt_id
        Unique for the request; the same across its retries.
    at
        When the message arrived.
    busy_until
        The request cannot still be running after this instant.
    managed
        Whether it asks for a managed model.
    caps
        How far the customer lets a session go, as far as it is known.
    """

    conversation: Conversation
    attempt_id: str
    at: datetime
    busy_until: datetime
    managed: bool
    caps: SessionCaps = UNCAPPED


@dataclass(frozen=True, slots=True)
class Admitted:
    """The attempt is part of ``session``; ``started`` tells whether it began it."""

    session: Session
    started: bool


@dataclass(frozen=True, slots=True)
class NoLiveSession:
    """No session of the conversation is alive; an ended one that is still held comes along."""

    held: Session | None = None


@dataclass(frozen=True, slots=True)
class ManagedNotGranted:
    """The session is alive, but the quota was not yet asked whether managed models are included."""

    session: Session


@dataclass(frozen=True, slots=True)
class SessionCapped:
    """The session is alive, and has reached a cap of the attempt's."""

    session: Session


@dataclass(frozen=True, slots=True)
class SessionAlive:
    """Another request started a session of this conversation first."""


@dataclass(frozen=True, slots=True)
class PeriodNotOpen:
    """The period has no counter yet."""


@dataclass(frozen=True, slots=True)
class PeriodClosed:
    """The period was closed: its end has passed, if not on this clock then on another."""


@dataclass(frozen=True, slots=True)
class LimitReached:
    """All sessions of the period are used (Q1)."""

    usage: PeriodUsage


@dataclass(frozen=True, slots=True)
class ManagedNotIncluded:
    """The entitlement in force has no managed models (P4)."""

    usage: PeriodUsage


@dataclass(frozen=True, slots=True)
class BudgetReached:
    """The customer's own ceiling keeps new sessions from starting in the period."""

    period: Period
    ceiling: CeilingReached


ContinueOutcome = Admitted | NoLiveSession | ManagedNotGranted | SessionCapped


StartOutcome = (
    Admitted
    | NoLiveSession
    | SessionAlive
    | PeriodNotOpen
    | PeriodClosed
    | LimitReached
    | ManagedNotIncluded
    | BudgetReached
)


@dataclass(frozen=True, slots=True)
class Turn:
    """One exchange of a conversation: what the user sent and what the model answered."""

    session_id: str
    at: datetime
    attempt_id: str
    messages: tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class Settlement:
    """What is written when an answer is ready to be delivered.

    Attributes
    ----------
    at
        When the answer is delivered (S2).
    route
        Who paid for the model, at which provider, and which one it was.
    turn
        The exchange to keep, where the server keeps the conversation.
    claim, run, answer
        The idempotency key and the run of a deferred request, where there is one, and the answer
        to keep with them.
    """

    session: Session
    attempt_id: str
    at: datetime
    route: Route
    tokens: TokenUsage
    turn: Turn | None = None
    claim: Claim | None = None
    run: Run | None = None
    answer: dict[str, Any] | None = None


class SessionStore(Protocol):
    """Sessions, their transcripts and the idempotency keys of their requests."""

    def continue_session(self, attempt: Attempt) -> ContinueOutcome:
        """Admit the attempt to the conversation's live session, if there is one."""
        ...

    def start_session(self, attempt: Attempt, session_id: str, period: Period) -> StartOutcome:
        """Start a session and count it in ``period``, both or neither."""
        ...

    def grant_managed(self, session: Session, until: Period) -> bool:
        """Let a live session use managed models to the end of ``until``, if the quota says so."""
        ...

    def settle(self, settlement: Settlement) -> bool:
        """Record that a message was processed; ``False`` if the session was released before."""
        ...

    def abandon(self, conversation: Conversation, attempt_id: str) -> Session | None:
        """Take the attempt out of flight; return the session it was part of, as it now is."""
        ...

    def release(self, session: Session, at: datetime) -> bool:
        """Take back a held session: it counts no more. ``False`` if it is not to be released.

        Where its period was closed meanwhile, an adjustment for the next statement is left.
        """
        ...

    def release_expired(self, session: Session, at: datetime) -> bool:
        """Take back a session by the last image of its item, which expiry has deleted.

        An item that was deleted while held can never be processed, so its image is the truth.
        ``False`` if it was processed, or was never counted.
        """
        ...

    def claim(self, claim: Claim, now: datetime) -> Claim:
        """Take the idempotency key; return the claim that holds it now, ours or another's."""
        ...

    def drop_claim(self, claim: Claim) -> None:
        """Give up our unanswered claim, so that a retry can run at once."""
        ...

    def transcript(self, session: Session, limit_tokens: int) -> Sequence[Turn]:
        """Return the session's turns, oldest first.

        Turns that are older than the newest ``limit_tokens`` may be left out.
        """
        ...

    def held_sessions(self, customer_id: str, period: Period) -> Sequence[Session]:
        """Return the sessions that occupy the quota with nothing processed."""
        ...

    def records(self, customer_id: str, period: Period) -> Iterator[SessionRecord]:
        """Yield the records of all sessions started in the period."""
        ...
