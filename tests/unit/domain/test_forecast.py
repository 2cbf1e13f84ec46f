"""Where a period is heading."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstack_core.domain.forecast import (
    HISTORY_WEEKS,
    Forecast,
    Method,
    days_at_the_limit,
    forecast,
)
from flowstack_core.domain.periods import Period
from flowstack_core.domain.plans import Tier
from flowstack_core.domain.quota import PeriodUsage
from flowstack_core.domain.subscriptions import Subscription, Terms
from tests.support.daily_series import OFFICE, RECORDED, SHAPES, made_up, recorded, score
from tests.support.fakes import NOVEMBER, at

NOON = at("2026-11-16T12:00:00")
"""A Monday."""


def days(count: int, sessions: Callable[[date], int], until: datetime = NOON) -> dict[date, int]:
    """Return so many whole days before the one of ``until``."""
    before = (until.date() - timedelta(days=n) for n in range(1, count + 1))
    return {day: sessions(day) for day in before}


def always(sessions: int) -> Callable[[date], int]:
    return lambda _: sessions


def on_weekdays(day: date) -> int:
    return 0 if day.weekday() >= 5 else 20


def used_in(history: dict[date, int], now: datetime) -> int:
    period = Period.containing(now)
    return sum(n for day, n in history.items() if Period(day.year, day.month) == period)


def seen(history: dict[date, int], now: datetime = NOON) -> Forecast:
    return forecast(history, used_in(history, now), now)


# --- what it rests on -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("known", "method"),
    [
        (0, Method.SO_FAR),
        (1, Method.STRAIGHT_LINE),
        (13, Method.STRAIGHT_LINE),
        (14, Method.WEEKDAY_PATTERN),
        (100, Method.WEEKDAY_PATTERN),
    ],
)
def test_two_weeks_make_a_pattern_and_one_day_a_line(known: int, method: Method) -> None:
    assert seen(days(known, always(10))).method is method


def test_a_pattern_rests_on_whole_weeks_and_no_more_than_eight() -> None:
    assert [seen(days(n, always(5))).known_days for n in (14, 20, 21, 56, 300)] == [
        14,
        14,
        21,
        56,
        HISTORY_WEEKS * 7,
    ]


def test_with_nothing_to_go_on_it_says_what_was_counted() -> None:
    found = forecast({}, 0, NOON)
    assert (found.method, found.outcome.expected, found.outcome.high) == (Method.SO_FAR, 0, 0)
    begun = forecast({NOON.date(): 3}, 3, NOON)
    assert (begun.method, begun.outcome.expected) == (Method.SO_FAR, 3)
    assert "less than a day" in begun.explanation(1_000)


def test_a_customer_without_rollups_yet_is_forecast_from_the_counter_alone() -> None:
    found = forecast({}, 310, NOON)
    assert found.method is Method.STRAIGHT_LINE
    assert found.outcome.expected == 600  # 20 a day, for 30 days
    assert forecast({}, 5, at("2026-11-01T20:00:00")).method is Method.SO_FAR


def test_days_before_the_first_session_are_unknown_and_days_between_had_none() -> None:
    first = NOON.date() - timedelta(days=10)
    found = forecast({first: 11, first - timedelta(days=1): 0}, 11, NOON)
    assert (found.method, found.known_days) == (Method.STRAIGHT_LINE, 10)
    assert found.outcome.expected == 11 + 15  # 11 in 10 days and a half, for 14 and a half


# --- what it says ---------------------------------------------------------------------------


def test_even_days_go_on() -> None:
    found = seen(days(60, always(10)))
    assert found.used == 150
    assert found.outcome.expected == 150 + 145  # half of today, and 14 days
    assert [ahead.day.day for ahead in found.days] == list(range(16, 31))


def test_closed_weekends_stay_closed() -> None:
    found = seen(days(56, on_weekdays))
    by_day = {ahead.day.day: ahead.expected for ahead in found.days}
    saturday, monday = by_day[21] - by_day[20], by_day[23] - by_day[22]
    assert saturday <= 2
    assert 18 <= monday <= 20


@pytest.mark.parametrize(("clock", "part"), [("00:00:00", 24), ("18:00:00", 6), ("23:00:00", 1)])
def test_of_today_only_what_is_left_of_it_is_expected(clock: str, part: int) -> None:
    now = at(f"2026-11-30T{clock}")
    found = seen(days(60, always(24), now), now)
    assert [ahead.expected - found.used for ahead in found.days] == [part]


def test_a_new_period_starts_at_zero_and_keeps_the_pace() -> None:
    before, after = at("2026-11-30T23:59:59.999"), at("2026-12-01T00:00:00")
    history = days(60, always(10), after)
    assert seen(history, before).outcome.expected == 300
    begun = seen(history, after)
    assert (begun.used, begun.outcome.expected) == (0, 310)
    assert begun.outcome.low < 310 < begun.outcome.high
    assert begun.period.name == "2026-12"


def test_the_counter_is_the_truth_and_rollups_are_the_pace() -> None:
    history = days(60, always(10))
    assert forecast(history, 999, NOON).outcome.expected == 999 + 145


def test_what_lies_ahead_of_the_clock_is_not_looked_at() -> None:
    history = days(60, always(10))
    later = {NOON.date() + timedelta(days=3): 10_000}
    assert seen(history) == forecast({**history, **later}, used_in(history, NOON), NOON)


def test_one_loud_day_is_no_new_level_and_a_loud_week_is() -> None:
    calm, loud = days(56, always(10)), NOON.date() - timedelta(days=3)
    spiked = seen({**calm, loud: 200})
    assert spiked.outcome.expected - spiked.used < 1.15 * 145
    raised = seen({**calm, **days(7, always(60))})
    assert raised.outcome.expected - raised.used > 2.5 * 145


def test_recent_weeks_weigh_most() -> None:
    turned = NOON.date() - timedelta(days=14)
    found = seen(days(56, lambda day: 20 if day >= turned else 10))
    assert 16.5 < (found.outcome.expected - found.used) / 14.5 < 20


def test_what_scatters_more_has_the_wider_interval() -> None:
    even = seen(days(56, always(20))).outcome
    wild = seen(days(56, lambda day: (1, 39, 20)[day.toordinal() % 3])).outcome
    moving = seen(days(56, lambda day: (10, 30)[day.toordinal() // 7 % 2])).outcome
    assert even.high - even.low < wild.high - wild.low
    assert even.high - even.low < moving.high - moving.low


def test_less_history_has_the_wider_interval() -> None:
    few, many = (seen(days(n, always(20))) for n in (4, 56))
    assert few.outcome.high - few.used > many.outcome.high - many.used


# --- days on which nothing could start ------------------------------------------------------


def exhausted(period: Period, limit: int = 100) -> PeriodUsage:
    subscription = Subscription("cus_1", Terms.of(Tier.STARTER, limit))
    return replace(PeriodUsage.opened(subscription, period), sessions_used=limit)


def test_days_after_the_last_session_of_a_used_up_period_say_nothing_of_demand() -> None:
    """Who reaches the limit each month is not forecast to need less than the limit."""
    now = at("2026-12-01T00:00:00")
    cut = date(2026, 11, 21)
    history = days(60, lambda day: 10 if day < cut else 0, now)
    refused = set(days_at_the_limit(history, exhausted(NOVEMBER)))
    assert refused == {date(2026, 11, day) for day in range(21, 31)}
    assert forecast(history, 0, now, refused).outcome.expected == 310
    assert forecast(history, 0, now).outcome.expected < 200


def test_a_period_with_sessions_left_hides_nothing() -> None:
    usage = replace(exhausted(NOVEMBER), sessions_used=99)
    assert list(days_at_the_limit(days(20, always(0)), usage)) == []


def test_a_period_used_up_before_what_is_known_was_refused_throughout() -> None:
    assert len(list(days_at_the_limit({}, exhausted(NOVEMBER)))) == 30


def test_a_new_customer_that_used_up_everything_is_forecast_by_the_days_it_could_start() -> None:
    first = NOON.date() - timedelta(days=6)
    history = {first: 20, first + timedelta(days=1): 20}
    refused = set(days_at_the_limit(history, exhausted(NOVEMBER, 40)))
    assert NOON.date() in refused
    found = forecast(history, 40, NOON, refused)
    assert found.method is Method.STRAIGHT_LINE
    assert found.outcome.expected == 40 + 290  # 20 a day, for 14 and a half


# --- the limit ------------------------------------------------------------------------------


def test_the_limit_does_not_bound_demand_but_is_spoken_of() -> None:
    found = seen(days(60, always(10)))
    assert "only 200 can start" in found.explanation(200)
    assert "can start" not in found.explanation(1_000)
    assert "8 weeks" in found.explanation(1_000)
    assert "last 5 days" in seen(days(5, always(10))).explanation(1_000)
    assert "by the pace of the last day 97" in seen(days(1, always(10))).explanation(1_000)


def test_it_says_when_the_limit_is_reached() -> None:
    found = seen(days(60, always(24)))
    assert found.used == 15 * 24
    assert found.reached_at(15 * 24 + 12) == at("2026-11-17T00:00:00")
    assert found.reached_at(15 * 24 + 12 + 24 + 6) == at("2026-11-18T06:00:00")
    assert found.reached_at(10_000) is None


def test_a_limit_that_the_whole_period_just_needs_is_not_reached_in_it() -> None:
    found = seen(days(60, always(24)))
    assert found.reached_at(found.outcome.expected) is None
    reached = found.reached_at(found.outcome.expected - 1)
    assert reached is not None
    assert reached < found.period.end


def test_a_limit_that_is_reached_is_reached_now() -> None:
    assert seen(days(60, always(10))).reached_at(150) == NOON
    assert forecast({}, 0, NOON).reached_at(0) == NOON


# --- whatever there was ---------------------------------------------------------------------

histories = st.dictionaries(
    st.dates(NOON.date() - timedelta(days=70), NOON.date() + timedelta(days=9)),
    st.integers(0, 100_000),
)
moments = st.integers(0, 30 * 24 * 60 - 1).map(
    lambda minutes: at("2026-11-01T00:00:00") + timedelta(minutes=minutes)
)


@given(histories, st.integers(0, 10**7), moments)
def test_no_history_breaks_it_and_it_never_takes_back_what_it_says(
    history: dict[date, int], used: int, now: datetime
) -> None:
    found = forecast(history, used, now)
    assert found == forecast(history, used, now)
    assert [ahead.day for ahead in found.days] == [
        date(2026, 11, day) for day in range(now.day, 31)
    ]
    for ahead in found.days:
        assert used <= ahead.low <= ahead.expected <= ahead.high
    for one, other in pairwise(found.days):
        assert one.expected <= other.expected
        assert one.low <= other.low
        assert one.high <= other.high


@given(histories, moments, st.integers(0, 10**6))
def test_the_instant_of_the_limit_agrees_with_the_days(
    history: dict[date, int], now: datetime, limit: int
) -> None:
    found = forecast(history, 10, now)
    reached = found.reached_at(limit)
    assert (reached is not None) == (limit <= 10 or found.outcome.expected > limit)
    assert reached is None or now <= reached < found.period.end


@given(st.lists(st.integers(20, 60), min_size=14, max_size=56), st.integers(2, 50))
def test_a_customer_so_many_times_as_large_is_forecast_so_many_times_as_much(
    counts: list[int], times: int
) -> None:
    def of(size: int) -> Forecast:
        history = days(len(counts), lambda day: size * counts[day.toordinal() % len(counts)])
        return forecast(history, 0, NOON)

    small, large = of(1), of(times)
    assert large.outcome.expected == pytest.approx(times * small.outcome.expected, rel=0.05)


# --- how good it is -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shape", [name for name, one in SHAPES.items() if one["weekdays"] == OFFICE]
)
def test_it_is_better_than_a_straight_line_on_what_has_weekdays(shape: str) -> None:
    found = score(made_up(shape, seeds=4))
    assert found.error < found.line


def test_weekdays_alone_halve_the_error_of_a_straight_line() -> None:
    for shape in ("office hours", "closed at weekends"):
        found = score(made_up(shape, seeds=4))
        assert found.error < 0.6 * found.line


@pytest.mark.parametrize("name", RECORDED)
def test_on_what_was_recorded_it_is_no_worse_than_a_straight_line(name: str) -> None:
    found = score([recorded(name)])
    assert found.error <= 1.02 * found.line


def test_the_interval_covers_about_as_often_as_it_says() -> None:
    each = {shape: score(made_up(shape, seeds=4)).coverage for shape in SHAPES}
    assert 75 < sum(each.values()) / len(each) < 90
    assert min(each.values()) > 60
