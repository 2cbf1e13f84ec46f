"""Daily rollups in memory: what the services that read them are tested on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date

from flowstack_core.domain.rollups import DaySlice, DayTotal, day_totals, merged
from flowstack_core.domain.sessions import Growth, Session, SessionRecord
from tests.support.in_memory import Tables


def slices_of(session: Session) -> list[DaySlice]:
    """Return, computed from nothing but the session, what it puts into the rollups."""
    return [
        DaySlice(
            session.started_at.date(),
            session.conversation.agent,
            route,
            int(route == session.opened_by),
            talk,
        )
        for route, talk in session.said.items()
    ]


class InMemoryRollupReader:
    """`flowstack_core.services.ports.rollups.RollupReader`; totals are added up from slices."""

    def __init__(self) -> None:
        self._slices: dict[str, list[DaySlice]] = defaultdict(list)

    def add(self, customer_id: str, *slices: DaySlice) -> None:
        """Keep the parts of some days."""
        self._slices[customer_id].extend(slices)

    def days(self, customer_id: str, first: date, last: date) -> Sequence[DayTotal]:
        """Return the days on which anything started."""
        return day_totals(self.slices(customer_id, first, last))

    def slices(self, customer_id: str, first: date, last: date) -> Iterator[DaySlice]:
        """Yield the parts by agent and route."""
        yield from merged(part for part in self._slices[customer_id] if first <= part.day <= last)


class InMemoryRollupStore:
    """`flowstack_core.services.ports.rollups.RollupStore`."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._reader = InMemoryRollupReader()

    def given(self, customer_id: str, *slices: DaySlice) -> None:
        """Have the parts of some days without sessions that they are of."""
        with self._tables.lock:
            self._reader.add(customer_id, *slices)

    def days(self, customer_id: str, first: date, last: date) -> Sequence[DayTotal]:
        """Return the days on which anything started."""
        with self._tables.lock:
            return self._reader.days(customer_id, first, last)

    def slices(self, customer_id: str, first: date, last: date) -> Iterator[DaySlice]:
        """Yield the parts by agent and route."""
        with self._tables.lock:
            yield from list(self._reader.slices(customer_id, first, last))

    def records_of(self, sessions: Sequence[Session]) -> Mapping[str, SessionRecord]:
        """Return the sessions' records by session id; some may be gone."""
        with self._tables.lock:
            names = [session.session_id for session in sessions]
            return {name: self._tables.records[name] for name in names if self._has(name)}

    def add(self, growths: Sequence[Growth]) -> bool:
        """Add sessions to the rollups, and note it on their records, all or nothing."""
        with self._tables.lock:
            for growth in growths:
                name = growth.session.session_id
                if not self._has(name) or self._tables.records[name] != growth.record:
                    return False
            for growth in growths:
                session = growth.session
                self._reader.add(session.conversation.customer_id, *growth.slices())
                self._tables.records[session.session_id] = replace(
                    growth.record,
                    opened_by=growth.record.opened_by or session.opened_by,
                    rolled_up={**growth.record.rolled_up, **session.said},
                )
            return True

    def _has(self, session_id: str) -> bool:
        return session_id in self._tables.records
