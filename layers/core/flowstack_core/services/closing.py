"""Closing periods: one statement a customer and period, whoever closes it and however often.

The month end closes pages of customers. A customer's period is also closed on the spot before its
subscription changes in a later one, so that terms that were in force are never forgotten, and
when its test clock is moved. All of them come through here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from flowstack_core.domain.closing import Closing, close_period
from flowstack_core.domain.month_end import ClosePage
from flowstack_core.domain.periods import Period
from flowstack_core.services.documents import subscription_facts
from flowstack_core.services.ports.accounts import AuditRecord
from flowstack_core.services.ports.closing import ClosingFacts, ClosingStore
from flowstack_core.services.ports.failures import StoreContentionError
from flowstack_core.services.ports.surroundings import Clock
from flowstack_core.services.retrying import Patience, Retrier

CLOSER = "month-end"
"""Who the audit trail says applied a change that had waited."""

_PATIENCE = timedelta(seconds=5)
"""How long closing one customer may meet contention."""

_LONGEST_REASON = 300

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class PageOutcome:
    """What came of closing a page.

    Attributes
    ----------
    closed
        Customers whose period is closed now, or was never theirs to be closed.
    not_ended
        Customers on whose test clock the period still runs.
    failed
        Why the others could not be closed.
    """

    closed: tuple[str, ...]
    not_ended: tuple[str, ...]
    failed: Mapping[str, str]


class ClosingService:
    """Closes periods."""

    def __init__(self, closings: ClosingStore, system_clock: Clock, retrier: Retrier) -> None:
        self._closings = closings
        self._system_clock = system_clock
        self._retrier = retrier

    def close_page(self, page: ClosePage) -> PageOutcome:
        """Close the page's period for its customers; what fails for one leaves the others alone."""
        found = self._read(page.customer_ids, page.period)
        closed, not_ended, failed = [], [], {}
        for customer_id in page.customer_ids:
            facts = found.get(customer_id)
            if facts is None:
                if self._closed_before_erasure(customer_id, page.period):
                    closed.append(customer_id)
                else:
                    failed[customer_id] = "There is no such customer."
                continue
            if not page.period.ended(self._now(facts)):
                not_ended.append(customer_id)
                continue
            try:
                self._close(facts, page.period)
            except Exception as error:  # noqa: BLE001 - one customer's trouble is its own
                failed[customer_id] = _reason(error)
            else:
                closed.append(customer_id)
        return PageOutcome(tuple(closed), tuple(not_ended), failed)

    def close_due(self, customer_id: str, *, at_most: int | None = None) -> int:
        """Close the customer's ended periods that are open, oldest first; return how many."""
        closed = 0
        while at_most is None or closed < at_most:
            period = self._oldest_open(customer_id)
            facts = self._read([customer_id], period).get(customer_id)
            if facts is None or not period.ended(self._now(facts)):
                break
            self._close(facts, period)
            closed += 1
        return closed

    def close_through(self, customer_id: str, last: Period) -> None:
        """Close the customer's periods up to ``last``, whether or not that one has ended."""
        facts = self._read([customer_id], last).get(customer_id)
        if facts is not None:
            self._close(facts, last)

    def still_open(self, page: ClosePage) -> ClosePage:
        """Return the page without the customers who are closed already."""
        found = self._read(page.customer_ids, page.period)
        left = tuple(c for c in page.customer_ids if c not in found or not found[c].closed)
        return ClosePage(page.period, page.number, left)

    def _closed_before_erasure(self, customer_id: str, period: Period) -> bool:
        """Whether a customer that is gone has its statement: erasing closes, then deletes."""
        return self._run(lambda: self._closings.statement(customer_id, period)) is not None

    def _close(self, facts: ClosingFacts, period: Period) -> None:
        first = Period.containing(facts.customer.created_at)
        if facts.closed or period < first:
            return
        customer_id = facts.customer.customer_id
        if period > first and not facts.previous_closed:
            self._close_up_to(period, customer_id)
            facts = self._read([customer_id], period)[customer_id]
        self._write(facts, period)

    def _close_up_to(self, period: Period, customer_id: str) -> None:
        """Close what is open before ``period``: what waited has to take effect in its order."""
        while (open_period := self._oldest_open(customer_id)) < period:
            self._write(self._read([customer_id], open_period)[customer_id], open_period)

    def _oldest_open(self, customer_id: str) -> Period:
        """Return the period after the last closed one; periods are closed without gaps."""
        latest = self._run(lambda: self._closings.statements(customer_id, 1, None))
        if latest:
            return latest[0].period.next()
        now = Period.containing(self._system_clock.now())
        facts = self._read([customer_id], now).get(customer_id)
        return now if facts is None else Period.containing(facts.customer.created_at)

    def _write(self, facts: ClosingFacts, period: Period) -> None:
        """Write one closing, decided anew from what stands there as often as that moves."""
        latest = facts

        def decide_and_write() -> None:
            nonlocal latest
            closing = close_period(
                latest.subscription, period, latest.usage, latest.adjustments, self._now(latest)
            )
            try:
                self._closings.close(closing, _audit(closing, self._system_clock.now()))
            except StoreContentionError:
                latest = self._closings.facts([latest.customer.customer_id], period)[
                    latest.customer.customer_id
                ]
                if not latest.closed:
                    raise

        self._run(decide_and_write)

    def _read(self, customer_ids: Sequence[str], period: Period) -> Mapping[str, ClosingFacts]:
        return self._run(lambda: self._closings.facts(customer_ids, period))

    def _run(self, operation: Callable[[], Result]) -> Result:
        patience = Patience.of(self._system_clock, _PATIENCE)
        return self._retrier.run(operation, patience, reserve_seconds=0)

    def _now(self, facts: ClosingFacts) -> datetime:
        return self._system_clock.now() + timedelta(seconds=facts.clock_offset_seconds)


def _audit(closing: Closing, now: datetime) -> AuditRecord | None:
    """Return the record of the change that takes effect, where there is one."""
    if closing.subscription is None:
        return None
    before, after = closing.subscription
    return AuditRecord(
        customer_id=closing.customer_id,
        audit_id=f"close:{closing.period.name}",
        at=now,
        actor=CLOSER,
        action="subscription.take_effect",
        before=subscription_facts(before),
        after=subscription_facts(after),
    )


def _reason(error: Exception) -> str:
    """Say why a customer could not be closed, for the operator."""
    return f"{type(error).__name__}: {error}"[:_LONGEST_REASON]
