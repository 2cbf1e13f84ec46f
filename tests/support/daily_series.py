"""Sessions day by day, made up and recorded, and what a forecast of them has to be measured on."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from random import Random
from statistics import fmean
from typing import Any

from flowstack_core.domain.forecast import HISTORY_WEEKS, Forecast, forecast
from flowstack_core.domain.periods import Period

RECORDED = ("shop_orders", "bike_rides", "flights", "page_views")
FORECAST_ON = (5, 10, 15, 20, 25)
"""The days of the month on which, at noon, its end is forecast."""

_FOLDER = Path(__file__).parents[1] / "bench/series"
_DAY = timedelta(days=1)
_JULY = 181

OFFICE = (1.25, 1.3, 1.25, 1.2, 1.1, 0.5, 0.4)
CLOSED_AT_WEEKENDS = (1.45, 1.5, 1.4, 1.4, 1.25, 0.0, 0.0)
LEISURE = (0.7, 0.75, 0.8, 0.9, 1.1, 1.5, 1.25)
EVERY_DAY = (1.0,) * 7


@dataclass(frozen=True, slots=True)
class Series:
    """Counts of consecutive days."""

    name: str
    first: date
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Trial:
    """A moment of a month whose end is known.

    Attributes
    ----------
    history
        What is known by then, today as far as it went.
    used, total
        What the month has counted by then, and had at its end.
    """

    now: datetime
    history: dict[date, int]
    used: int
    total: int

    def forecast(self) -> Forecast:
        """Return what would have been forecast."""
        return forecast(self.history, self.used, self.now)

    @property
    def straight_line(self) -> float:
        """The count so far, carried on to the end of the month at the same pace."""
        period = Period.containing(self.now)
        return self.used * (period.end - period.start) / (self.now - period.start)

    @property
    def four_weeks(self) -> float:
        """The count so far, and every day to come the mean of the last four weeks."""
        today = self.now.date()
        mean = fmean(self.history.get(today - n * _DAY, 0) for n in range(1, 29))
        return self.used + mean * ((Period.containing(self.now).end - self.now) / _DAY)


@dataclass(frozen=True, slots=True)
class Score:
    """How good forecasts were.

    Attributes
    ----------
    error, line, weeks
        The mean absolute error of the month's total, in percent: of the forecasts, of a straight
        line, and of the mean of the last four weeks.
    coverage
        How many of 100 totals were in their interval.
    """

    trials: int
    error: float
    line: float
    weeks: float
    coverage: float

    @classmethod
    def of(cls, made: Iterable[Trial]) -> Score:
        """Return the score of some trials."""
        errors, covered = [], []
        for trial in made:
            outcome, total = trial.forecast().outcome, trial.total
            said = (outcome.expected, trial.straight_line, trial.four_weeks)
            errors.append([100 * abs(one - total) / total for one in said])
            covered.append(100 * (outcome.low <= total <= outcome.high))
        error, line, weeks = (fmean(column) for column in zip(*errors, strict=True))
        return cls(len(errors), error, line, weeks, fmean(covered))


def score(series: Iterable[Series], day: int | None = None) -> Score:
    """Return how good the forecasts are that are made on one day of the month, or on all."""
    return Score.of(
        trial for one in series for trial in trials(one) if day in (None, trial.now.day)
    )


def trials(series: Series) -> Iterator[Trial]:
    """Yield the moments of every whole month that has as much history as is looked at."""
    counts = {series.first + n * _DAY: count for n, count in enumerate(series.counts)}
    last = max(counts)
    for first in counts:
        period = Period(first.year, first.month)
        if first.day != 1 or period.end.date() - _DAY > last:
            continue
        if (first - series.first).days < HISTORY_WEEKS * 7:
            continue
        month = [count for day, count in counts.items() if Period(day.year, day.month) == period]
        if not any(month):
            continue
        for day in FORECAST_ON:
            today = first.replace(day=day)
            history = {past: count for past, count in counts.items() if past <= today}
            history[today] //= 2
            used = sum(month[: day - 1]) + history[today]
            yield Trial(datetime.combine(today, time(12), UTC), history, used, sum(month))


# --- recorded -------------------------------------------------------------------------------


def recorded(name: str) -> Series:
    """Read one of the recorded series."""
    with (_FOLDER / f"{name}.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    counts = tuple(int(row["count"]) for row in rows)
    return Series(name, date.fromisoformat(rows[0]["day"]), counts)


# --- made up --------------------------------------------------------------------------------


def made_up(name: str, seeds: int) -> list[Series]:
    """Return so many years of one shape, the same ones whenever they are made."""
    years = (_year(Random(f"{name} {seed}"), **SHAPES[name]) for seed in range(seeds))
    return [Series(name, date(2025, 1, 1), counts) for counts in years]


SHAPES: dict[str, dict[str, Any]] = {
    "office hours": {"level": 40, "weekdays": OFFICE},
    "closed at weekends": {"level": 25, "weekdays": CLOSED_AT_WEEKENDS},
    "leisure": {"level": 300, "weekdays": LEISURE},
    "alike every day": {"level": 30, "weekdays": EVERY_DAY},
    "growing 15 % a month": {"level": 15, "weekdays": OFFICE, "growth": 0.15},
    "shrinking 10 % a month": {"level": 80, "weekdays": OFFICE, "growth": -0.1},
    "twice as much from July on": {"level": 30, "weekdays": OFFICE, "july": 2},
    "six times as much from July on": {"level": 30, "weekdays": OFFICE, "july": 6},
    "spikes": {"level": 40, "weekdays": OFFICE, "spikes": 0.03},
    "two or three a week": {"level": 0.4, "weekdays": OFFICE},
}


def _year(
    chance: Random,
    *,
    level: float,
    weekdays: tuple[float, ...],
    growth: float = 0.0,
    spikes: float = 0.0,
    july: float = 1.0,
) -> tuple[int, ...]:
    counts = []
    for day in range(365):
        # 2025 begins on a Wednesday.
        usual = level * weekdays[(day + 2) % 7] * math.exp(growth * day / 30)
        usual *= july if day >= _JULY else 1
        usual *= chance.choice((4, 6, 8)) if chance.random() < spikes else 1
        counts.append(_poisson(chance, usual * math.exp(chance.gauss(-0.011, 0.15))))
    return tuple(counts)


def _poisson(chance: Random, mean: float) -> int:
    if mean > 50:
        return max(0, round(chance.gauss(mean, math.sqrt(mean))))
    below, count, product = math.exp(-mean), 0, chance.random()
    while product > below:
        count, product = count + 1, product * chance.random()
    return count
