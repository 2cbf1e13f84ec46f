"""Rolls sessions up into days, as they become known: late, twice, in any order, and in bulk.

Nothing here counts what it is told. A session says what it has come to so far, its record says what
of that is in the rollups, and the difference is added. Being told again adds nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date
from functools import partial

from flowstack_core.domain.errors import ServiceUnavailableError
from flowstack_core.domain.sessions import Growth, Session
from flowstack_core.services.ports.failures import StoreContentionError
from flowstack_core.services.ports.rollups import RollupStore
from flowstack_core.services.ports.surroundings import TimeBudget
from flowstack_core.services.retrying import Retrier

LARGEST_ADDITION = 100
"""How many items a store can change in one transaction."""

_RESERVE_SECONDS = 5.0


class RollupService:
    """Brings the rollups up to the sessions.

    Parameters
    ----------
    hold_ceiling
        Holds a customer's own ceiling, if it has one, against what its rollups have become.
    """

    def __init__(
        self, store: RollupStore, hold_ceiling: Callable[[str], None], retrier: Retrier
    ) -> None:
        self._store = store
        self._hold_ceiling = hold_ceiling
        self._retrier = retrier

    def roll_up(
        self, sessions: Iterable[Session], budget: TimeBudget
    ) -> Mapping[str, ServiceUnavailableError]:
        """Bring the rollups up to the sessions, of each to the latest of its states.

        Returns what did not succeed in time, by session id. Safe to repeat for all of them.
        """
        failed: dict[str, ServiceUnavailableError] = {}
        latest = _latest(sessions)
        if not latest:
            return failed
        try:
            grown = self._retrier.run(
                lambda: self._grown(latest), budget, reserve_seconds=_RESERVE_SECONDS
            )
        except ServiceUnavailableError as error:
            return {session.session_id: error for session in latest}
        for growths in additions(grown):
            try:
                self._add(growths, budget)
            except ServiceUnavailableError as error:
                failed |= {growth.session.session_id: error for growth in growths}
        return failed | self._hold_ceilings(latest, budget)

    def _hold_ceilings(
        self, sessions: Sequence[Session], budget: TimeBudget
    ) -> dict[str, ServiceUnavailableError]:
        """Hold ceilings, also of those whose sums were added before: that one may have died."""
        failed: dict[str, ServiceUnavailableError] = {}
        for customer_id in sorted({session.conversation.customer_id for session in sessions}):
            hold = partial(self._hold_ceiling, customer_id)
            try:
                self._retrier.run(hold, budget, reserve_seconds=_RESERVE_SECONDS)
            except ServiceUnavailableError as error:
                failed |= {
                    session.session_id: error
                    for session in sessions
                    if session.conversation.customer_id == customer_id
                }
        return failed

    def _add(self, growths: Sequence[Growth], budget: TimeBudget) -> None:
        remaining = list(growths)

        def attempt() -> None:
            if not self._store.add(remaining):
                # Somebody else got on with one of them: the others, and what is left of it.
                remaining[:] = self._grown([growth.session for growth in remaining])
                if remaining:
                    raise StoreContentionError("the records moved on")

        self._retrier.run(attempt, budget, reserve_seconds=_RESERVE_SECONDS)

    def _grown(self, sessions: Sequence[Session]) -> list[Growth]:
        """Return what is to be added; a session whose record is gone was erased, or is too old."""
        records = self._store.records_of(sessions)
        growths = (
            Growth(session, records[session.session_id])
            for session in sessions
            if session.session_id in records
        )
        return [growth for growth in growths if growth.needed]


def additions(growths: Iterable[Growth]) -> Iterator[list[Growth]]:
    """Put growths together that one transaction can add: of one customer and day."""
    groups: dict[tuple[str, date], list[Growth]] = {}
    for growth in growths:
        place = (growth.session.conversation.customer_id, growth.record.day)
        groups.setdefault(place, []).append(growth)
    for group in groups.values():
        together: list[Growth] = []
        for growth in group:
            if together and _changes([*together, growth]) > LARGEST_ADDITION:
                yield together
                together = []
            together.append(growth)
        yield together


def _changes(growths: Sequence[Growth]) -> int:
    """Return how many items an addition changes: the records, the day's total, its slices."""
    slices = {part.place for growth in growths for part in growth.slices()}
    return len(growths) + 1 + len(slices)


def _latest(sessions: Iterable[Session]) -> list[Session]:
    """Return the latest state of each session, whatever order they come in."""
    found: dict[str, Session] = {}
    for session in sessions:
        known = found.get(session.session_id)
        if known is None or session.talk.messages > known.talk.messages:
            found[session.session_id] = session
    return list(found.values())
