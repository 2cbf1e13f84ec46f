"""What customers' managed models cost beside what they pay: one customer now, all of them daily.

The report of all is added up in a chain of steps, each asked for by the one before. Every message
may be delivered twice, late or never: a step that was done is not done again, and the next day's
schedule begins anew whatever became of the last run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, timedelta

from flowstack_core.domain.errors import NotFoundError
from flowstack_core.domain.margin import (
    CUSTOMERS_PER_STEP,
    ManagedUse,
    Margin,
    MarginRun,
    managed_use,
    reported_periods,
)
from flowstack_core.domain.periods import Period
from flowstack_core.domain.prices import PriceList
from flowstack_core.domain.quota import PeriodUsage
from flowstack_core.services.ports.accounts import AccountStore
from flowstack_core.services.ports.closing import CustomerDirectory
from flowstack_core.services.ports.margins import MarginQueue, MarginStore
from flowstack_core.services.ports.rollups import RollupReader
from flowstack_core.services.ports.surroundings import Clock, CustomerClocks
from flowstack_core.services.ports.usage import CounterReader


class MarginCalculator:
    """Sets what customers' managed models cost beside what they pay.

    Parameters
    ----------
    region
        Where the models are called from: their prices differ.
    """

    def __init__(
        self, counters: CounterReader, rollups: RollupReader, prices: PriceList, region: str
    ) -> None:
        self._counters = counters
        self._rollups = rollups
        self._prices = prices
        self._region = region

    def margins(self, customer_ids: Sequence[str], period: Period) -> Sequence[Margin]:
        """Return the margin of each of the customers that have a subscription."""
        counters = self._counters.counters(customer_ids, period)
        return [Margin.of(counter, self._use(counter)) for counter in counters.values()]

    def _use(self, counter: PeriodUsage) -> ManagedUse:
        if counter.sessions_used == 0:
            return ManagedUse()
        first, last = counter.period.start.date(), counter.period.end.date() - timedelta(days=1)
        slices = self._rollups.slices(counter.customer_id, first, last)
        return managed_use(slices, self._prices, self._region)


class MarginService:
    """Answers operators' questions about margins. Reads only."""

    def __init__(
        self,
        calculator: MarginCalculator,
        accounts: AccountStore,
        reports: MarginStore,
        clocks: CustomerClocks,
        clock: Clock,
    ) -> None:
        self._calculator = calculator
        self._accounts = accounts
        self._reports = reports
        self._clocks = clocks
        self._clock = clock

    def margin(self, customer_id: str, period: Period | None) -> tuple[Period, Margin]:
        """Return a customer's margin so far, in the period that its clock is in unless told.

        Raises
        ------
        NotFoundError
            There is no such customer, or was none in the period.
        """
        if period is None:
            period = Period.containing(self._clocks.for_customer(customer_id).now())
        customer = self._accounts.customer(customer_id)
        if customer is None or customer.created_at >= period.end:
            raise NotFoundError(
                "There is no such customer."
                if customer is None
                else f"The customer was not there yet in {period}.",
                details={"customer_id": customer_id},
            )
        (margin,) = self._calculator.margins([customer_id], period)
        return period, margin

    def report(self, period: Period | None) -> MarginRun:
        """Return the last report of all customers' margins, of the present period unless told.

        Raises
        ------
        NotFoundError
            The period has none.
        """
        period = period or Period.containing(self._clock.now())
        report = self._reports.report(period)
        if report is None:
            raise NotFoundError(
                f"There is no report of {period} yet.",
                details={"period": period.name, "hint": "Reports are made once a day."},
            )
        return report


class MarginReporter:
    """Adds up the margins of all customers, once a day.

    Parameters
    ----------
    share_percent
        From which share of its price on a customer's cost is of interest.
    """

    def __init__(
        self,
        calculator: MarginCalculator,
        runs: MarginStore,
        directory: CustomerDirectory,
        queue: MarginQueue,
        clock: Clock,
        share_percent: int,
    ) -> None:
        self._calculator = calculator
        self._runs = runs
        self._directory = directory
        self._queue = queue
        self._clock = clock
        self._share_percent = share_percent

    def ensure(self) -> None:
        """Begin the day's runs, or take up those of today that stand still.

        What the schedule calls. It does no harm late, twice or at any time.
        """
        now = self._clock.now()
        for period in reported_periods(now):
            run = MarginRun(period, now.date(), self._share_percent, started_at=now)
            if not self._runs.begin(run):
                standing = self._runs.run(period)
                if standing is None or standing.finished_at is not None:
                    continue
                run = standing
            self._queue.send_step(run)

    def step(
        self, period: Period, day: date, number: int, tell: Callable[[MarginRun, Margin], None]
    ) -> MarginRun | None:
        """Do a step: add some customers, and ask for the next; return the run if it is finished.

        A step that was done before asks again for the next one, unless that was done too; so a
        message delivered twice makes no second chain. A step of a run whose place another one
        took is nothing any more.

        Parameters
        ----------
        tell
            Is told of each customer whose cost is of interest, at least once.
        """
        run = self._runs.run(period)
        if run is None or run.day != day:
            return None
        if run.step == number and run.finished_at is None:
            run = self._add(run, tell)
        if run.step != number + 1:
            return None
        if run.finished_at is None:
            self._queue.send_step(run)
            return None
        return run

    def _add(self, run: MarginRun, tell: Callable[[MarginRun, Margin], None]) -> MarginRun:
        """Add the run's next customers; return what the run is then."""
        found = self._directory.created_before(run.period.end, run.cursor, CUSTOMERS_PER_STEP)
        margins = self._calculator.margins(found.customer_ids, run.period)
        for margin in margins:
            if margin.exceeds(run.share_percent):
                tell(run, margin)
        after = run.after(found, margins, self._clock.now())
        # Where somebody else did this step at the same time, they go on from there.
        return after if self._runs.advance(run, after) else run
