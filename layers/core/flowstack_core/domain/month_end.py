"""The month end: all customers' periods closed, in pages that can be repeated and resumed.

A run lists the customers once, step by step, and cuts each step into pages. A page remembers which
of its customers are still open and why some could not be closed, so that progress is read off the
pages and no counter can drift from the truth.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from flowstack_core.domain.periods import Period

CUSTOMERS_PER_PAGE = 25
"""Four items of a customer are read together, and DynamoDB reads a hundred at once."""

PAGES_PER_STEP = 40
"""One step writes its pages in one transaction, which takes a hundred writes at most."""

CUSTOMERS_PER_STEP = CUSTOMERS_PER_PAGE * PAGES_PER_STEP

LISTING_GRACE = timedelta(minutes=2)
"""The list of customers is complete this long after a period's end: its index follows late."""

STALE_AFTER = timedelta(hours=1)
"""A page in which nothing moved for so long is taken up again: its message was lost."""


@dataclass(frozen=True, slots=True)
class MonthEndRun:
    """The close of one period for all customers.

    Attributes
    ----------
    step
        How many steps of listing are done; the next one goes on at ``cursor``.
    customers
        How many were listed so far.
    listed_at
        When the list was complete; ``None`` while it is not.
    moved_at
        When a step was last done.
    finished_at
        When it was seen that no customer is open any more.
    """

    period: Period
    started_at: datetime
    moved_at: datetime
    step: int = 0
    cursor: str | None = None
    customers: int = 0
    listed_at: datetime | None = None
    finished_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """The customers that one step found.

    Attributes
    ----------
    cursor
        Behind the last of them; where the next step goes on.
    more
        Whether there were more at once.
    """

    customer_ids: tuple[str, ...]
    cursor: str | None
    more: bool


@dataclass(frozen=True, slots=True)
class ClosePage:
    """Customers that are closed together, as the queue carries them."""

    period: Period
    number: int
    customer_ids: tuple[str, ...]

    def each(self) -> Sequence[ClosePage]:
        """Return the page cut into single customers."""
        return [ClosePage(self.period, self.number, (one,)) for one in self.customer_ids]


@dataclass(frozen=True, slots=True)
class PageState:
    """How far a page has come.

    Attributes
    ----------
    size
        How many customers it has.
    open_ids
        Those that are not closed yet, the failed ones included.
    failed
        Why closing a customer was given up.
    touched_at
        When anything last happened to it.
    """

    number: int
    size: int
    open_ids: frozenset[str]
    touched_at: datetime
    failed: Mapping[str, str] = field(default_factory=dict)

    def waiting(self) -> tuple[str, ...]:
        """Return the customers that are neither closed nor given up."""
        return tuple(sorted(self.open_ids - self.failed.keys()))

    def stale(self, now: datetime) -> bool:
        """Whether somebody has to take it up again, those included who were given up."""
        return bool(self.open_ids) and self.touched_at + STALE_AFTER <= now


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run has come: what operators see.

    ``closed + open + failed`` is always ``customers``.
    """

    run: MonthEndRun
    customers: int
    closed: int
    failed: Mapping[str, str]

    @property
    def open(self) -> int:
        """Customers that are still to be closed."""
        return self.customers - self.closed - len(self.failed)

    @property
    def done(self) -> bool:
        """Whether everybody is listed and closed."""
        return self.run.listed_at is not None and self.closed == self.customers


def progress(run: MonthEndRun, pages: Iterable[PageState]) -> Progress:
    """Add up what the pages of a run say."""
    customers = closed = 0
    failed: dict[str, str] = {}
    for page in pages:
        customers += page.size
        closed += page.size - len(page.open_ids)
        failed.update({who: why for who, why in page.failed.items() if who in page.open_ids})
    return Progress(run, customers, closed, failed)


def step_done(run: MonthEndRun, found: Listing, now: datetime) -> MonthEndRun:
    """Return the run after a step.

    The list counts as complete only when those who were created in the last moments of the period
    must be in the index. A period that has not ended is closed on test clocks only: for those who
    are there.
    """
    following = run.period.end <= now < run.period.end + LISTING_GRACE
    complete = not found.more and not following
    return replace(
        run,
        moved_at=now,
        step=run.step + 1,
        cursor=found.cursor,
        customers=run.customers + len(found.customer_ids),
        listed_at=now if complete else None,
    )


def pages_of(run: MonthEndRun, customer_ids: Sequence[str]) -> list[ClosePage]:
    """Cut the customers that the run's next step found into pages; each step has its numbers."""
    return [
        ClosePage(
            run.period,
            run.step * PAGES_PER_STEP + number,
            tuple(customer_ids[first : first + CUSTOMERS_PER_PAGE]),
        )
        for number, first in enumerate(range(0, len(customer_ids), CUSTOMERS_PER_PAGE))
    ]
