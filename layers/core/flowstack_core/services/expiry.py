"""What is left of sessions that expired: those in which nothing was processed are not billed (S5).

A failure that is seen releases its session at once. What a crash left behind is released by the
next request that needs room, or here, when DynamoDB deletes the expired item.
"""

from __future__ import annotations

from flowstack_core.domain.sessions import Session
from flowstack_core.services.ports.sessions import SessionStore
from flowstack_core.services.ports.surroundings import Clock


class ExpiryService:
    """Releases sessions by the last image of their deleted item."""

    def __init__(self, sessions: SessionStore, clock: Clock) -> None:
        self._sessions = sessions
        self._clock = clock

    def session_deleted(self, session: Session) -> bool:
        """Take note that the item of ``session`` was deleted; tell whether it is not billed.

        Safe to repeat and to reorder: a record is released once, whoever is first.
        """
        if not session.held:
            return False
        return self._sessions.release_expired(session, self._clock.now())
