"""Closing periods over stores kept in memory: what the adapters do, written down plainly."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from flowstack_core.domain.closing import Closing
from flowstack_core.domain.month_end import ClosePage, Listing, MonthEndRun, PageState
from flowstack_core.domain.periods import Period
from flowstack_core.domain.statements import Statement
from flowstack_core.services.ports.accounts import AuditRecord
from flowstack_core.services.ports.closing import ClosingFacts
from flowstack_core.services.ports.failures import StoreContentionError
from tests.support.in_memory import Tables


class InMemoryClosingStore:
    """Statements, and what closing a period reads and writes."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def facts(self, customer_ids: Sequence[str], period: Period) -> Mapping[str, ClosingFacts]:
        """Return the facts of each of the customers that exist."""
        tables = self._tables
        with tables.lock:
            return {
                customer_id: ClosingFacts(
                    customer=tables.customers[customer_id],
                    subscription=tables.subscriptions[customer_id],
                    usage=tables.counters.get((customer_id, period)),
                    closed=(customer_id, period) in tables.statements,
                    previous_closed=(customer_id, period.previous()) in tables.statements,
                    adjustments=dict(tables.adjustments.get(customer_id, {})),
                    clock_offset_seconds=tables.offsets.get(customer_id, 0.0),
                )
                for customer_id in customer_ids
                if customer_id in tables.customers and customer_id in tables.subscriptions
            }

    def close(self, closing: Closing, audit: AuditRecord | None) -> bool:
        """Write everything, or nothing."""
        tables = self._tables
        customer_id, place = closing.customer_id, (closing.customer_id, closing.period)
        with tables.lock:
            if place in tables.statements:
                return False
            left = tables.adjustments.get(customer_id, {})
            taken = closing.statement.adjustments
            standing = tables.counters.get(place) == closing.basis and all(
                left.get(period) == change for period, change in taken.items()
            )
            if closing.subscription is not None:
                version = tables.subscriptions[customer_id].version
                standing = standing and version == closing.subscription[0].version
            if not standing:
                raise StoreContentionError("the period moved on while it was being closed")
            tables.statements[place] = closing.statement
            tables.counters[place] = closing.usage
            tables.adjustments[customer_id] = {p: c for p, c in left.items() if p not in taken}
            if closing.subscription is not None:
                tables.subscriptions[customer_id] = closing.subscription[1]
            if audit is not None:
                tables.audits[audit.customer_id, audit.audit_id] = audit
            return True

    def statements(
        self, customer_id: str, limit: int, before: Period | None
    ) -> Sequence[Statement]:
        """Return the customer's newest statements first."""
        with self._tables.lock:
            found = [
                statement
                for (owner, period), statement in self._tables.statements.items()
                if owner == customer_id and (before is None or period < before)
            ]
        return sorted(found, key=lambda statement: statement.period, reverse=True)[:limit]

    def statement(self, customer_id: str, period: Period) -> Statement | None:
        """Return one statement."""
        with self._tables.lock:
            return self._tables.statements.get((customer_id, period))


class InMemoryMonthEndStore:
    """Runs and their pages."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def run(self, period: Period) -> MonthEndRun | None:
        """Return the run of a period."""
        with self._tables.lock:
            return self._tables.runs.get(period)

    def runs(self, limit: int) -> Sequence[MonthEndRun]:
        """Return the newest runs first."""
        with self._tables.lock:
            newest = sorted(self._tables.runs.values(), key=lambda run: run.period, reverse=True)
        return newest[:limit]

    def start(self, run: MonthEndRun) -> bool:
        """Add a run; ``False`` if the period has one."""
        with self._tables.lock:
            if run.period in self._tables.runs:
                return False
            self._tables.runs[run.period] = run
            return True

    def advance(self, before: MonthEndRun, after: MonthEndRun, pages: Sequence[ClosePage]) -> bool:
        """Do a step: add its pages and move the run on."""
        with self._tables.lock:
            current = self._tables.runs[before.period]
            if current.step != before.step or current.listed_at is not None:
                return False
            self._tables.runs[before.period] = after
            for page in pages:
                self._tables.pages[page.period, page.number] = PageState(
                    number=page.number,
                    size=len(page.customer_ids),
                    open_ids=frozenset(page.customer_ids),
                    touched_at=after.moved_at,
                )
            return True

    def finish(self, run: MonthEndRun, at: datetime) -> None:
        """Note that the run is finished; the first note stays."""
        with self._tables.lock:
            current = self._tables.runs[run.period]
            self._tables.runs[run.period] = replace(current, finished_at=current.finished_at or at)

    def pages(
        self, period: Period, first: int = 0, count: int | None = None
    ) -> Iterator[PageState]:
        """Yield the pages of a run in the order of their numbers."""
        with self._tables.lock:
            found = sorted(
                (page for (owner, _), page in self._tables.pages.items() if owner == period),
                key=lambda page: page.number,
            )
        for page in found:
            if page.number >= first and (count is None or page.number < first + count):
                yield page

    def record(
        self, page: ClosePage, closed: Sequence[str], failed: Mapping[str, str], at: datetime
    ) -> None:
        """Note who of a page is closed, and why others were given up."""
        with self._tables.lock:
            place = (page.period, page.number)
            current = self._tables.pages.get(place)
            if current is None:
                return
            reasons = {who: why for who, why in current.failed.items() if who not in closed}
            self._tables.pages[place] = replace(
                current,
                open_ids=current.open_ids - set(closed),
                failed={**reasons, **failed},
                touched_at=at,
            )


class InMemoryCustomerDirectory:
    """All customers, in the order they were created."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def created_before(self, end: datetime, cursor: str | None, limit: int) -> Listing:
        """Return the customers behind the cursor who were created before ``end``."""
        with self._tables.lock:
            everyone = sorted(
                (f"{customer.created_at.isoformat()}#{customer.customer_id}", customer)
                for customer in self._tables.customers.values()
                if customer.created_at < end
            )
        behind = [(place, c) for place, c in everyone if cursor is None or place > cursor]
        page = behind[:limit]
        return Listing(
            customer_ids=tuple(customer.customer_id for _, customer in page),
            cursor=page[-1][0] if page else cursor,
            more=len(behind) > limit,
        )


@dataclass
class InMemoryMonthEndQueue:
    """The month end's messages, waiting to be delivered by a test."""

    steps: deque[tuple[Period, int]] = field(default_factory=deque)
    pages: deque[ClosePage] = field(default_factory=deque)
    dead: list[tuple[ClosePage, str]] = field(default_factory=list)
    delays: list[int] = field(default_factory=list)

    def send_step(self, period: Period, step: int, delay_seconds: int = 0) -> None:
        """Ask for a step of the listing."""
        self.steps.append((period, step))
        self.delays.append(delay_seconds)

    def send_pages(self, pages: Sequence[ClosePage]) -> None:
        """Ask for pages to be closed."""
        self.pages.extend(pages)

    def give_up(self, page: ClosePage, reason: str) -> None:
        """Put a page among the dead letters."""
        self.dead.append((page, reason))

    def redrive(self, limit: int) -> int:
        """Ask again for dead letters."""
        moved, self.dead = self.dead[:limit], self.dead[limit:]
        self.pages.extend(page for page, _ in moved)
        return len(moved)
