"""Closing periods: statements, and the run that closes everybody."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from flowstack_core.domain.alerts import Alert
    from flowstack_core.domain.closing import Closing
    from flowstack_core.domain.month_end import ClosePage, Listing, MonthEndRun, PageState
    from flowstack_core.domain.own_limits import BudgetAlert
    from flowstack_core.domain.periods import Period
    from flowstack_core.domain.quota import PeriodUsage
    from flowstack_core.domain.statements import Statement
    from flowstack_core.domain.subscriptions import Subscription
    from flowstack_core.services.ports.accounts import AuditRecord, Customer


@dataclass(frozen=True, slots=True)
class ClosingFacts:
    """All that closing a customer's period depends on.

    Attributes
    ----------
    closed, previous_closed
        Whether there is a statement of the period, and of the one before.
    adjustments
        What became known of closed periods and is on no statement yet.
    clock_offset_seconds
        How far ahead the customer's test clock is.
    """

    customer: Customer
    subscription: Subscription
    usage: PeriodUsage | None
    closed: bool
    previous_closed: bool
    adjustments: Mapping[Period, int]
    clock_offset_seconds: float = 0.0


class StatementStore(Protocol):
    """Statements: written once, by closing a period, and never changed."""

    def statements(
        self, customer_id: str, limit: int, before: Period | None
    ) -> Sequence[Statement]:
        """Return the customer's newest statements first; those of periods ``before`` that one."""
        ...

    def statement(self, customer_id: str, period: Period) -> Statement | None:
        """Return one statement, read consistently."""
        ...


class ClosingStore(StatementStore, Protocol):
    """What closing reads and writes."""

    def facts(self, customer_ids: Sequence[str], period: Period) -> Mapping[str, ClosingFacts]:
        """Return the facts of each of the customers that exist, read together.

        A subscription is read no earlier than the counter beside it.
        """
        ...

    def close(self, closing: Closing, audit: AuditRecord | None) -> bool:
        """Write the statement, fence the counter, apply what waited; all or nothing.

        ``False`` if there is a statement already. ``audit`` records the change that takes effect,
        where there is one.

        Raises
        ------
        StoreContentionError
            Also if the counter, the subscription or the adjustments are no longer what the
            closing was decided from: it has to be decided anew.
        """
        ...


class MonthEndStore(Protocol):
    """The runs of the month end and their pages."""

    def run(self, period: Period) -> MonthEndRun | None:
        """Return the run of a period, read consistently."""
        ...

    def runs(self, limit: int) -> Sequence[MonthEndRun]:
        """Return the newest runs first."""
        ...

    def start(self, run: MonthEndRun) -> bool:
        """Add a run; ``False`` if the period has one."""
        ...

    def advance(self, before: MonthEndRun, after: MonthEndRun, pages: Sequence[ClosePage]) -> bool:
        """Do a step: add its pages and move the run on, all or nothing.

        ``False`` if the run has moved on already.
        """
        ...

    def finish(self, run: MonthEndRun, at: datetime) -> None:
        """Note that no customer of the run is open any more; the first note stays."""
        ...

    def pages(
        self, period: Period, first: int = 0, count: int | None = None
    ) -> Iterator[PageState]:
        """Yield the pages of a run in the order of their numbers, from ``first`` on."""
        ...

    def record(
        self, page: ClosePage, closed: Sequence[str], failed: Mapping[str, str], at: datetime
    ) -> None:
        """Note which of a page's customers are closed, and why others were given up.

        A customer that is closed is no longer failed, whichever is noted first.
        """
        ...


class CustomerDirectory(Protocol):
    """All customers, in the order they were created."""

    def created_before(self, end: datetime, cursor: str | None, limit: int) -> Listing:
        """Return the customers behind the cursor who were created before ``end``."""
        ...


class MonthEndQueue(Protocol):
    """How the work of a month end is handed on. Everything may be delivered twice."""

    def send_step(self, period: Period, step: int, delay_seconds: int = 0) -> None:
        """Ask for a step of the listing."""
        ...

    def send_pages(self, pages: Sequence[ClosePage]) -> None:
        """Ask for pages to be closed."""
        ...

    def give_up(self, page: ClosePage, reason: str) -> None:
        """Put a page among the dead letters, with the reason."""
        ...

    def redrive(self, limit: int) -> int:
        """Ask again for dead letters, up to ``limit``; return how many."""
        ...


class EventPublisher(Protocol):
    """The bus that tells others what happened. An event can be delivered twice, under one id."""

    def period_closed(self, statement: Statement) -> None:
        """Tell that a period was closed, with its statement."""
        ...

    def usage_alert(self, alert: Alert) -> None:
        """Tell that a threshold was reached."""
        ...

    def budget_reached(self, alert: BudgetAlert) -> None:
        """Tell that a customer's own ceiling was reached."""
        ...
