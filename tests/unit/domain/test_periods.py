"""Billing periods are calendar months in UTC (Q3, S4)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstack_core.domain.periods import Period, instant
from tests.support.fakes import at

MOMENTS = st.datetimes(
    min_value=datetime.fromisoformat("2000-01-01"),  # hypothesis wants both without a zone
    max_value=datetime.fromisoformat("2199-12-31"),
    timezones=st.just(UTC),
)


@pytest.mark.parametrize(
    ("moment", "name"),
    [
        ("2026-11-30T23:59:59.999999", "2026-11"),
        ("2026-12-01T00:00:00.000000", "2026-12"),
        ("2026-12-31T23:59:59.999999", "2026-12"),
        ("2027-01-01T00:00:00.000000", "2027-01"),
        ("2028-02-29T23:59:59.999999", "2028-02"),
        ("2028-03-01T00:00:00.000000", "2028-03"),
        ("2027-02-28T23:59:59.999999", "2027-02"),
        ("2027-03-01T00:00:00.000000", "2027-03"),
    ],
)
def test_q3_a_period_begins_at_midnight_utc_on_the_first(moment: str, name: str) -> None:
    assert Period.containing(at(moment)).name == name


def test_q3_the_clock_on_the_wall_does_not_matter() -> None:
    new_year_in_tokyo = datetime(2027, 1, 1, 8, 59, tzinfo=timezone(timedelta(hours=9)))
    assert Period.containing(new_year_in_tokyo) == Period(2026, 12)


@given(MOMENTS)
def test_each_moment_lies_in_exactly_one_period(moment: datetime) -> None:
    period = Period.containing(moment)
    assert period.start <= moment < period.end
    assert period.end == period.next().start
    assert Period.containing(period.end) == period.next()
    assert Period.containing(period.end - timedelta(microseconds=1)) == period


@given(MOMENTS, MOMENTS)
def test_names_sort_as_periods_do(one: datetime, other: datetime) -> None:
    first, second = Period.containing(one), Period.containing(other)
    assert (first < second) == (first.name < second.name)
    assert Period.parse(first.name) == first


@pytest.mark.parametrize("name", ["2026-13", "2026-00", "2026-1", "26-11", "2026-11\n", "", "now"])
def test_anything_else_is_not_a_period(name: str) -> None:
    with pytest.raises(ValueError, match="not a billing period"):
        Period.parse(name)


def test_instants_are_written_in_utc_with_milliseconds() -> None:
    moment = datetime(2026, 12, 1, 1, 0, 0, 5999, tzinfo=timezone(timedelta(hours=1)))
    assert instant(moment) == "2026-12-01T00:00:00.005Z"
