"""The month end for all customers: started by a schedule, resumed by anybody, never needed twice.

Listing goes step by step, each asked for by the one before; closing goes page by page. Every
message may be delivered twice, late or never: a step that was done sends its pages again, a page
that was closed has nothing left to do, and `ensure` takes up whatever got lost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flowstack_core.domain.errors import InvalidRequestError, NotFoundError
from flowstack_core.domain.month_end import (
    CUSTOMERS_PER_STEP,
    PAGES_PER_STEP,
    STALE_AFTER,
    ClosePage,
    MonthEndRun,
    Progress,
    pages_of,
    progress,
    step_done,
)
from flowstack_core.domain.periods import Period, instant
from flowstack_core.services.closing import ClosingService
from flowstack_core.services.ports.closing import CustomerDirectory, MonthEndQueue, MonthEndStore
from flowstack_core.services.ports.surroundings import Clock

_LIST_AGAIN_SECONDS = 120
"""When the list is looked at again that may not have been complete."""

_RUNS_LOOKED_AFTER = 24

ATTEMPTS = 3
"""A page that was delivered so often is cut into single customers; one of those is given up."""

_DIED = "Every attempt to close this customer ended without an answer: the worker was killed."
_NOT_ENDED = "The period has not ended on this customer's clock."


class PageUnfinishedError(Exception):
    """Some customers of a page are still open; it has to be delivered again."""


class MonthEndService:
    """Runs the month end.

    Parameters
    ----------
    future_periods
        Whether periods may be closed that have not ended yet by the system's clock: for test
        clocks, hence never on production stages.
    """

    def __init__(
        self,
        runs: MonthEndStore,
        directory: CustomerDirectory,
        queue: MonthEndQueue,
        clock: Clock,
        *,
        future_periods: bool = False,
    ) -> None:
        self._runs = runs
        self._directory = directory
        self._queue = queue
        self._clock = clock
        self._future_periods = future_periods

    def ensure(self) -> list[Progress]:
        """Start what should have been started, resume what stands still; tell how far all is.

        What the schedules call. It does no harm late, twice or at any time.
        """
        last = Period.containing(self._clock.now()).previous()
        if self._runs.run(last) is None:
            self.start(last)
        unfinished = [run for run in self._runs.runs(_RUNS_LOOKED_AFTER) if run.finished_at is None]
        return [self._resume(run) for run in unfinished]

    def start(self, period: Period) -> MonthEndRun:
        """Start the run of a period, unless there is one; return the one there is.

        Raises
        ------
        InvalidRequestError
            The period has not ended.
        """
        now = self._clock.now()
        if not period.ended(now) and not self._future_periods:
            raise InvalidRequestError(
                f"{period} has not ended.",
                details={"period": period.name, "ends_at": instant(period.end)},
            )
        run = MonthEndRun(period=period, started_at=now, moved_at=now)
        if not self._runs.start(run):
            return self.run(period)
        self._queue.send_step(period, run.step)
        return run

    def step(self, period: Period, number: int) -> None:
        """Do a step of the listing: record its pages, ask for them to be closed, ask for the next.

        A step that was done before asks again for its own pages; for the next step only while
        that was not done either, so that a message delivered twice starts no second listing.
        """
        run = self.run(period)
        if number > run.step:
            raise NotFoundError(f"Step {number} of {period} was not reached.")
        more = True
        if number == run.step and run.listed_at is None:
            run, more = self._list(run)
        else:
            self._send_open_pages(run, number)
        if run.step == number + 1 and run.listed_at is None:
            self._queue.send_step(period, run.step, 0 if more else _LIST_AGAIN_SECONDS)

    def run(self, period: Period) -> MonthEndRun:
        """Return the run of a period.

        Raises
        ------
        NotFoundError
            There is none.
        """
        run = self._runs.run(period)
        if run is None:
            raise NotFoundError(
                f"The close of {period} was not started.", details={"period": period.name}
            )
        return run

    def runs(self, limit: int) -> Sequence[MonthEndRun]:
        """Return the newest runs first."""
        return self._runs.runs(limit)

    def progress(self, period: Period) -> Progress:
        """Return how far the close of a period is.

        Raises
        ------
        NotFoundError
            It was not started.
        """
        return progress(self.run(period), self._runs.pages(period))

    def resume(self, period: Period) -> Progress:
        """Take up whatever of a period's close stands still."""
        return self._resume(self.run(period))

    def redrive(self, limit: int) -> int:
        """Ask again for the customers that were given up; return how many requests that are."""
        return self._queue.redrive(limit)

    def _list(self, run: MonthEndRun) -> tuple[MonthEndRun, bool]:
        """Do the run's next step; return what the run is then, and whether there was more."""
        found = self._directory.created_before(run.period.end, run.cursor, CUSTOMERS_PER_STEP)
        pages = pages_of(run, found.customer_ids)
        after = step_done(run, found, self._clock.now())
        if self._runs.advance(run, after, pages):
            self._queue.send_pages(pages)
            return after, found.more
        # Somebody else did this step at the same time; the pages that count are theirs.
        return self.run(run.period), True

    def _send_open_pages(self, run: MonthEndRun, step: int) -> None:
        """Ask again for the pages of a step that was done before."""
        first = step * PAGES_PER_STEP
        found = self._runs.pages(run.period, first, PAGES_PER_STEP)
        self._queue.send_pages(
            [ClosePage(run.period, page.number, page.waiting()) for page in found if page.waiting()]
        )

    def _resume(self, run: MonthEndRun) -> Progress:
        now = self._clock.now()
        states = list(self._runs.pages(run.period))
        reached = progress(run, states)
        if reached.done:
            self._runs.finish(run, now)
            return reached
        if run.listed_at is None and run.moved_at + STALE_AFTER <= now:
            self._queue.send_step(run.period, run.step)
        self._queue.send_pages(
            [
                ClosePage(run.period, state.number, tuple(sorted(state.open_ids)))
                for state in states
                if state.stale(now)
            ]
        )
        return reached


@dataclass(frozen=True, slots=True)
class PageClosed:
    """How many customers of a page were closed, and how many given up."""

    closed: int
    given_up: int


class CloseWorker:
    """Closes the pages that the queue delivers."""

    def __init__(
        self, closings: ClosingService, runs: MonthEndStore, queue: MonthEndQueue, clock: Clock
    ) -> None:
        self._closings = closings
        self._runs = runs
        self._queue = queue
        self._clock = clock

    def close(self, page: ClosePage, delivery: int) -> PageClosed:
        """Close a page on its ``delivery``-th delivery, the first being 1.

        A page that keeps failing is cut into single customers, so that one of them, should it
        even kill the worker, does not hold up the others; a single customer that keeps failing
        goes to the dead letters with its reason.

        Raises
        ------
        PageUnfinishedError
            Some customers are still open, and another delivery may mend that.
        """
        last = delivery >= ATTEMPTS
        alone = len(page.customer_ids) == 1
        if last and not alone:
            self._queue.send_pages(self._closings.still_open(page).each())
            return PageClosed(0, 0)
        if last:
            # Should this kill the worker again, the reason is already there.
            self._record(page, (), {page.customer_ids[0]: _DIED})
        outcome = self._closings.close_page(page)
        given_up = outcome.failed if last else {}
        for customer_id, reason in given_up.items():
            self._queue.give_up(ClosePage(page.period, page.number, (customer_id,)), reason)
        left = dict.fromkeys(outcome.not_ended, _NOT_ENDED) if last else {}
        self._record(page, outcome.closed, {**given_up, **left})
        if outcome.failed and not last:
            raise PageUnfinishedError("; ".join(f"{c}: {r}" for c, r in outcome.failed.items()))
        return PageClosed(len(outcome.closed), len(given_up))

    def _record(self, page: ClosePage, closed: Sequence[str], failed: Mapping[str, str]) -> None:
        if closed or failed:
            self._runs.record(page, closed, failed, self._clock.now())
