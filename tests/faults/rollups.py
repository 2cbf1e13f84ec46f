"""What the days must come to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date

from flowstack_core.domain.rollups import DaySlice, merged
from flowstack_core.domain.sessions import Session
from flowstack_core.services.ports.rollups import RollupReader

ALWAYS = (date(2020, 1, 1), date(2040, 1, 1))


def rolled_up(rollups: RollupReader, customer_id: str, sessions: Iterable[Session]) -> None:
    """Make sure that the days are the sums of the sessions, and nothing else."""
    parts = (part for session in sessions for part in _slices(session))
    found = list(rollups.slices(customer_id, *ALWAYS))
    assert sorted(found, key=repr) == sorted(merged(parts), key=repr), "the days do not add up"


def _slices(session: Session) -> Iterator[DaySlice]:
    for route, talk in session.said.items():
        opened = int(route == session.opened_by)
        agent = session.conversation.agent
        yield DaySlice(session.started_at.date(), agent, route, opened, talk)
