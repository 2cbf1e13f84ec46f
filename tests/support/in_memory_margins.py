"""Margins over stores kept in memory: what the adapters do, written down plainly."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from datetime import date
from threading import Lock

from flowstack_core.domain.margin import MarginRun
from flowstack_core.domain.periods import Period
from flowstack_core.domain.quota import PeriodUsage
from tests.support.in_memory import Tables


class InMemoryCounterReader:
    """The counters of many customers at once."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def counters(self, customer_ids: Sequence[str], period: Period) -> Mapping[str, PeriodUsage]:
        """Return each customer's counter under its subscription."""
        tables = self._tables
        with tables.lock:
            return {
                customer_id: PeriodUsage.standing(
                    tables.counters.get((customer_id, period)),
                    tables.subscriptions[customer_id],
                    period,
                )
                for customer_id in customer_ids
                if customer_id in tables.subscriptions
            }


class InMemoryMarginStore:
    """Runs and reports."""

    def __init__(self) -> None:
        self._runs: dict[Period, MarginRun] = {}
        self._reports: dict[Period, MarginRun] = {}
        self._lock = Lock()

    def run(self, period: Period) -> MarginRun | None:
        """Return the run that was begun last."""
        return self._runs.get(period)

    def begin(self, run: MarginRun) -> bool:
        """Put a run in the place of one of an earlier day."""
        with self._lock:
            current = self._runs.get(run.period)
            if current is not None and current.day >= run.day:
                return False
            self._runs[run.period] = run
            return True

    def advance(self, before: MarginRun, after: MarginRun) -> bool:
        """Do a step; where that finishes the run, it becomes the report."""
        with self._lock:
            current = self._runs.get(before.period)
            if (
                current is None
                or (current.day, current.step) != (before.day, before.step)
                or current.finished_at is not None
            ):
                return False
            self._runs[before.period] = after
            if after.finished_at is not None:
                self._reports[before.period] = after
            return True

    def report(self, period: Period) -> MarginRun | None:
        """Return the run that was finished last."""
        return self._reports.get(period)


class InMemoryMarginQueue:
    """Steps, waiting to be delivered by a test."""

    def __init__(self) -> None:
        self.steps: deque[tuple[Period, date, int]] = deque()

    def send_step(self, run: MarginRun) -> None:
        """Ask for the run's next step."""
        self.steps.append((run.period, run.day, run.step))
