"""Daily rollups in memory: what the services that read them are tested on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import date

from flowstack_core.domain.rollups import DaySlice, DayTotal


class InMemoryRollupReader:
    """`flowstack_core.services.ports.RollupReader`; totals are added up from slices."""

    def __init__(self) -> None:
        self._slices: dict[str, list[DaySlice]] = defaultdict(list)

    def add(self, customer_id: str, *slices: DaySlice) -> None:
        """Keep the parts of some days."""
        self._slices[customer_id].extend(slices)

    def days(self, customer_id: str, first: date, last: date) -> Sequence[DayTotal]:
        """Return the days on which anything started."""
        totals: dict[date, DayTotal] = {}
        for part in self.slices(customer_id, first, last):
            total = totals.get(part.day, DayTotal(part.day))
            managed = part.route.managed
            totals[part.day] = DayTotal(
                part.day,
                total.sessions + part.sessions,
                total.managed_sessions + (part.sessions if managed else 0),
                total.managed + part.talk if managed else total.managed,
                total.byok if managed else total.byok + part.talk,
            )
        return [totals[day] for day in sorted(totals)]

    def slices(self, customer_id: str, first: date, last: date) -> Iterator[DaySlice]:
        """Yield the parts by agent and route."""
        parts = [part for part in self._slices[customer_id] if first <= part.day <= last]
        yield from sorted(parts, key=lambda part: (part.day, part.agent, part.route))
