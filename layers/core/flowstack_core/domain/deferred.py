"""Deferred requests: admitted now, answered later (``Prefer: respond-async``, RFC 7240).

A request is over before the session it was admitted to can end of silence: whatever becomes of
the queue or of a run, there is an instant after which it is failed, by comparing instants alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

LIFETIME = timedelta(minutes=25)
"""From admission to the last instant at which it can be answered: two whole runs and the wait for
them, and shorter than the silence that ends a session (S2)."""

RETENTION = timedelta(hours=24)
"""How long the outcome can be read."""

OVERRUN = timedelta(seconds=5)
"""By then even a slow kill of a run has happened."""

Status = Literal["queued", "running", "succeeded", "failed"]


@dataclass(frozen=True, slots=True)
class Run:
    """One try to answer a deferred request.

    Attributes
    ----------
    until
        The run cannot still be going on after this instant.
    """

    customer_id: str
    request_id: str
    run_id: str
    until: datetime


@dataclass(frozen=True, slots=True)
class DeferredRequest:
    """A deferred request as it stands.

    Attributes
    ----------
    request_id
        The id of the attempt it was admitted as, under another prefix.
    operation, body
        What was asked for, credentials left out; ``body`` is read only by who runs it.
    agent, conversation_id, session_id, period, session_started_at, session_started
        The session it was admitted to, and whether it started it.
    deadline
        After this instant it can no longer be answered: its attempt is in flight until then.
    answer, failure
        The outcome: one of them, once it is over.
    """

    customer_id: str
    request_id: str
    attempt_id: str
    tier: str
    operation: str
    managed: bool
    agent: str
    conversation_id: str
    session_id: str
    period: str
    session_started_at: datetime
    session_started: bool
    accepted_at: datetime
    deadline: datetime
    expires_at: datetime
    status: Status = "queued"
    run_id: str | None = None
    run_until: datetime | None = None
    answer: dict[str, Any] | None = None
    failure: dict[str, Any] | None = None

    @property
    def over(self) -> bool:
        """Whether it has its outcome."""
        return self.status in {"succeeded", "failed"}

    def status_at(self, now: datetime) -> Status:
        """Return how it stands at ``now``: what was never answered has failed at its deadline."""
        return "failed" if not self.over and self.deadline <= now else self.status

    def may_be_run(self, now: datetime) -> bool:
        """Whether it waits for a run, or its last run died unanswered."""
        if self.over or self.deadline <= now:
            return False
        return self.run_until is None or self.run_until <= now


def request_id_of(attempt_id: str) -> str:
    """Return the id of the request that is admitted as an attempt."""
    return f"req_{attempt_id.removeprefix('att_')}"
