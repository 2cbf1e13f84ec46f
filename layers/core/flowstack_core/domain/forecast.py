"""Where a period is heading: how many sessions it will have had at its end.

What was counted in the period comes from its counter and starts at zero with it: of the time before
only the pace is taken, never a count. The days to come are expected at a level that recent days
weigh most in, times a factor for their weekday. How far off that may be is learnt from the past:
from how much single days scatter, and from how wrong the same method was at the end of earlier
weeks. The limit is not part of it: this is demand, and only as much as the limit can start.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from statistics import fmean, median

from flowstack_core.domain.periods import Period
from flowstack_core.domain.quota import PeriodUsage

HISTORY_WEEKS = 8
"""How far back the past is looked at."""

CONFIDENCE = 0.8
"""How often the outcome is to lie within the interval."""

_QUANTILE = 1.2816
"""Of the normal distribution, at 90 %: an interval of 80 % leaves out a tenth on either side."""

_DAY = timedelta(days=1)
_WEEK = 7
_WEEKS_OF_A_PATTERN = 2

_HALF_LIFE = 7.0
"""After so many days a day weighs half in the level."""

_FLAT_WEEKS, _FLAT_SESSIONS = 0.5, 2.0
"""How much a weekday without any history weighs: weeks, and sessions, of an ordinary day."""

_SPIKE, _SPIKE_SESSIONS = 1.5, 3.0
"""A day above so many times what is usual about it, scatter aside, counts for no more than that."""

_DISPERSION = 1.5
_VOLATILITY = 0.12**2
_STRANGER = 0.25**2
"""The variance of the level in a week, before and without any experience."""

_LEAST_VOLATILITY = 0.02**2
_TESTED_WEEKS = 4


class Method(StrEnum):
    """What a forecast rests on."""

    WEEKDAY_PATTERN = "weekday_pattern"
    STRAIGHT_LINE = "straight_line"
    SO_FAR = "so_far"


@dataclass(frozen=True, slots=True)
class DayAhead:
    """The sessions of the period that are expected by the end of a day, the counted ones included.

    Attributes
    ----------
    low, high
        Between them it is in 80 of 100 cases.
    """

    day: date
    expected: int
    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a period is heading for, seen from ``now``.

    Attributes
    ----------
    used
        What its counter says: no forecast is below it.
    known_days
        How many whole days the forecast rests on.
    days
        The days to come, today first. There is always at least one.
    """

    period: Period
    now: datetime
    used: int
    method: Method
    known_days: int
    days: tuple[DayAhead, ...]

    @property
    def outcome(self) -> DayAhead:
        """The last day of the period."""
        return self.days[-1]

    def reached_at(self, count: int) -> datetime | None:
        """Return when so many sessions are used, ``None`` where no more than these are expected."""
        before, start = self.used, self.now
        if before >= count:
            return start
        for ahead in self.days:
            end = _midnight(ahead.day + _DAY)
            if ahead.expected >= count and self.outcome.expected > count:
                return start + (end - start) * (count - before) // (ahead.expected - before)
            before, start = ahead.expected, end
        return None

    def explanation(self, limit: int) -> str:
        """Say in a sentence or two what the forecast is made of."""
        more = self.outcome.expected - self.used
        rests_on = {
            Method.WEEKDAY_PATTERN: f"the weekdays of the last {self.known_days // _WEEK} weeks",
            Method.STRAIGHT_LINE: "the pace of the last "
            + ("day" if self.known_days == 1 else f"{self.known_days} days"),
        }
        if self.method not in rests_on:
            return "There is less than a day to go on: this is what was counted so far."
        said = (
            f"{self.used} sessions were counted in {self.period}; by {rests_on[self.method]} "
            f"{more} more are to be expected."
        )
        if self.outcome.expected > limit:
            said += f" That is what would be asked for: only {limit} can start."
        return said


@dataclass(frozen=True, slots=True)
class _Pace:
    """How sessions come, as far as the past tells.

    Attributes
    ----------
    level, factors
        Sessions of an ordinary day; what a weekday (Monday first) has of that.
    dispersion
        The variance of a day's sessions for each session expected: 1 is pure chance.
    weight
        How many days the level rests on.
    volatility
        By how much the level moves: the variance of its logarithm in a week.
    """

    level: float
    factors: Sequence[float]
    dispersion: float
    weight: float
    volatility: float

    def expected(self, day: date) -> float:
        """Return the sessions of a whole day."""
        return self.level * self.factors[day.weekday()]

    def bounds(self, total: float, days: float) -> tuple[float, float]:
        """Return between what the sessions of the coming days lie, ``total`` being expected.

        Sessions are never negative and rise in proportion, so their logarithm is taken for normal.
        """
        if total == 0:
            return 0.0, 0.0
        chance = self.dispersion * (1 / total + 1 / max(self.level * self.weight, 1))
        variance = math.log1p(chance + self.volatility * _growth(days / _WEEK))
        middle, reach = math.log(total) - variance / 2, _QUANTILE * math.sqrt(variance)
        return min(math.exp(middle - reach), total), max(math.exp(middle + reach), total)


def forecast(
    history: Mapping[date, int], used: int, now: datetime, refused: Container[date] = ()
) -> Forecast:
    """Return where the period that ``now`` is in is heading.

    Parameters
    ----------
    history
        Sessions by day. Days before the first one are unknown, those missing after it had none.
        Today may be there, as far as it went; what is later is not looked at.
    used
        What the counter of the period says.
    refused
        Days on which nothing could start, because the limit was reached: what would have, is not
        known, and is taken to be what started a week before.
    """
    now = now.astimezone(UTC)
    method, known_days, pace = _pace(history, used, now, refused)
    days = tuple(_days_ahead(pace, used, now))
    return Forecast(Period.containing(now), now, used, method, known_days, days)


def days_at_the_limit(history: Mapping[date, int], usage: PeriodUsage) -> Iterator[date]:
    """Yield the days of a period on which nothing could start any more.

    Those are the ones after its last session, where its limit is used up. A limit that was reached
    and then raised leaves no trace here.
    """
    first, end = usage.period.start.date(), usage.period.end.date()
    if usage.exhausted:
        started = [day for day, count in history.items() if count and first <= day < end]
        last = max(started, default=first - _DAY)
        yield from (last + n * _DAY for n in range(1, (end - last).days))


def _pace(
    history: Mapping[date, int], used: int, now: datetime, refused: Container[date]
) -> tuple[Method, int, _Pace]:
    """Choose by how much is known."""
    today = now.date()
    known = [day for day, count in history.items() if count > 0 and day <= today]
    first = max(min(known), today - HISTORY_WEEKS * _WEEK * _DAY) if known else today
    counts = _demand(history, first, today, refused)
    if len(counts) >= _WEEKS_OF_A_PATTERN * _WEEK:
        whole = counts[len(counts) % _WEEK :]
        return Method.WEEKDAY_PATTERN, len(whole), _weekday_pattern(whole, today.weekday())
    if counts:
        part = 0 if today in refused else (now - _midnight(today)) / _DAY
        begun = history.get(today, 0) if part else 0
        line = _straight_line(sum(counts) + begun, len(counts) + part, counts)
        return Method.STRAIGHT_LINE, len(counts), line
    if not known and used and today.day > 1:
        # Nothing but the counter: its period is the time that it is known for.
        elapsed = (now - Period.containing(now).start) / _DAY
        return Method.STRAIGHT_LINE, today.day - 1, _straight_line(used, elapsed, ())
    return Method.SO_FAR, 0, _straight_line(0, 1.0, ())


def _demand(
    history: Mapping[date, int], first: date, today: date, refused: Container[date]
) -> list[int]:
    """Return what was asked for on each whole day, as far as it is known."""
    counts: list[int] = []
    for n in range((today - first).days):
        count = history.get(first + n * _DAY, 0)
        if first + n * _DAY in refused and counts:
            count = counts[-_WEEK] if n >= _WEEK else round(fmean(counts))
        counts.append(count)
    return counts


def _days_ahead(pace: _Pace, used: int, now: datetime) -> Iterator[DayAhead]:
    """Yield the days to come; what was said for one day is never taken back by the next."""
    at, end = now, Period.containing(now).end
    total, low, high = 0.0, used, used
    while at < end:
        midnight = _midnight(at.date() + _DAY)
        total += pace.expected(at.date()) * ((midnight - at) / _DAY)
        least, most = pace.bounds(total, (midnight - now) / _DAY)
        low, high = max(low, used + math.floor(least)), max(high, used + math.ceil(most))
        yield DayAhead(at.date(), used + round(total), low, high)
        at = midnight


# --- a straight line ----------------------------------------------------------------------------


def _straight_line(sessions: int, elapsed: float, counts: Sequence[int]) -> _Pace:
    """Return the pace of so many sessions in so many days; ``counts`` are the whole ones."""
    level = sessions / elapsed
    scatter = sum((count - level) ** 2 for count in counts) + _DISPERSION * _WEEK
    dispersion = max(1.0, scatter / (level * len(counts) + _WEEK))
    return _Pace(level, (1.0,) * _WEEK, dispersion, elapsed, _STRANGER)


# --- the weekdays -------------------------------------------------------------------------------


def _weekday_pattern(counts: Sequence[int], weekday: int) -> _Pace:
    """Return the pace of whole weeks, the last of which ends before a day on ``weekday``."""
    tamed = _tamed(counts)
    factors = _factors(tamed)
    levels = _levels(tamed, factors)
    weeks = [sum(counts[start : start + _WEEK]) for start in range(0, len(counts), _WEEK)]
    dispersion = _dispersion(counts, weeks, factors)
    weight = _HALF_LIFE / math.log(2) * 2
    volatility = _volatility(weeks, levels[_WEEK - 1 :: _WEEK], dispersion, weight)
    by_weekday = [factors[(day - weekday) % _WEEK] for day in range(_WEEK)]
    return _Pace(levels[-1], by_weekday, dispersion, weight, volatility)


def _tamed(counts: Sequence[int]) -> list[float]:
    """Return the counts without spikes: one loud day is not a new level, some in a row are."""
    weekdays = [median(counts[slot::_WEEK]) for slot in range(_WEEK)]
    tamed = []
    for slot, count in enumerate(counts):
        around = median(counts[max(0, slot - _WEEK // 2) : slot + _WEEK // 2 + 1])
        usual = max(weekdays[slot % _WEEK], around)
        bound = _SPIKE * usual + _SPIKE_SESSIONS * (1 + math.sqrt(usual))
        tamed.append(min(float(count), bound))
    return tamed


def _factors(counts: Sequence[float]) -> list[float]:
    """Return what each day of the week has of an ordinary day, drawn towards 1."""
    weeks, ordinary = len(counts) // _WEEK, fmean(counts)
    flat = _FLAT_WEEKS * ordinary + _FLAT_SESSIONS
    drawn = [sum(counts[slot::_WEEK]) + flat for slot in range(_WEEK)]
    return [one / (weeks * ordinary + flat) for one in drawn]


def _levels(counts: Sequence[float], factors: Sequence[float]) -> list[float]:
    """Return the sessions of an ordinary day as they were seen at the end of each day."""
    kept, seen, usual, levels = 0.5 ** (1 / _HALF_LIFE), 0.0, 0.0, []
    for slot, count in enumerate(counts):
        seen, usual = seen * kept + count, usual * kept + factors[slot % _WEEK]
        levels.append(seen / usual)
    return levels


def _dispersion(counts: Sequence[int], weeks: Sequence[int], factors: Sequence[float]) -> float:
    """Return how much days scatter about their share of their week."""
    scatter, usual = _DISPERSION * 2, 2.0
    for slot, count in enumerate(counts):
        share = factors[slot % _WEEK] * weeks[slot // _WEEK] / _WEEK
        scatter += (count - share) ** 2 * _WEEK / (_WEEK - 1)
        usual += share
    return max(1.0, scatter / usual)


def _volatility(
    weeks: Sequence[int], levels: Sequence[float], dispersion: float, weight: float
) -> float:
    """Return how much the level moves, by how wrong it was about the weeks that followed.

    Parameters
    ----------
    levels
        The level at the end of each week.
    """
    squares, growth = _VOLATILITY * _growth(2), _growth(2)
    first = 1 if len(weeks) == _WEEKS_OF_A_PATTERN else _WEEKS_OF_A_PATTERN
    for origin in range(first, len(weeks)):
        level, came = levels[origin - 1], 0
        for ahead, week in enumerate(weeks[origin : origin + _TESTED_WEEKS], 1):
            came += week
            error = math.log((came + 1) / (level * _WEEK * ahead + 1))
            chance = dispersion * (1 / (came + 1) + 1 / (level * weight + 1))
            # What overlaps tells less anew.
            squares += (error**2 - chance) / ahead
            growth += _growth(ahead) / ahead
    return max(_LEAST_VOLATILITY, squares / growth)


def _growth(weeks: float) -> float:
    """Return by how much the level's variance grows in so many weeks: most levels drift on."""
    return 0.6 + 0.12 * weeks**2


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
