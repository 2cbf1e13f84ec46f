"""When a threshold is reached, and what customers may ask for."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstack_core.domain.alerts import (
    Alert,
    AlertSettings,
    SettingsChange,
    checked_email,
    checked_thresholds,
    due,
    first_reached,
    reaches,
)
from flowstack_core.domain.errors import InvalidRequestError
from flowstack_core.domain.plans import Tier
from flowstack_core.domain.quota import PeriodUsage
from tests.support.fakes import NOON, NOVEMBER


def count(used: int, limit: int) -> PeriodUsage:
    return PeriodUsage("cus_1", NOVEMBER, used, limit, 0, True, Tier.STARTER, 2_900, 1)


@pytest.mark.parametrize(
    ("used", "limit", "expected"),
    [
        (0, 100, ()),
        (74, 100, ()),
        (75, 100, (75,)),
        (89, 100, (75,)),
        (90, 100, (75, 90)),
        (100, 100, (75, 90, 95)),
        # Shares that no float holds: 2 of 3 are 66.6 %, 19 of 20 are 95 %.
        (2, 3, ()),
        (19, 20, (75, 90, 95)),
        (749_999, 1_000_000, ()),
        # A limit of zero: nothing used is nothing to tell; more used than there may be is.
        (0, 0, ()),
        (1, 0, (75, 90, 95)),
        # A limit that was lowered below the count.
        (10, 5, (75, 90, 95)),
    ],
)
def test_a1_a_threshold_is_reached_at_its_share_exactly(
    used: int, limit: int, expected: tuple[int, ...]
) -> None:
    assert due(AlertSettings(), used, limit) == expected


@given(st.integers(1, 100), st.integers(1, 10**6), st.integers(1, 10**6))
def test_a1_whole_numbers_decide_as_fractions_do(threshold: int, used: int, limit: int) -> None:
    assert reaches(threshold, used, limit) == (Fraction(used, limit) >= Fraction(threshold, 100))


def test_a1_several_counts_reach_each_threshold_with_the_first_that_does() -> None:
    counts = [count(used, 100) for used in (100, 91, 70, 76, 92)]
    reached = first_reached(AlertSettings(), counts)
    assert {t: c.sessions_used for t, c in reached.items()} == {75: 76, 90: 91, 95: 100}


@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=6).flatmap(
        lambda counts: st.tuples(st.just(counts), st.permutations(counts))
    )
)
def test_a1_the_order_of_counts_makes_no_difference(
    orders: tuple[list[tuple[int, int]], list[tuple[int, int]]],
) -> None:
    settings = AlertSettings((1, 50, 75, 100))
    one, other = ([count(*each) for each in order] for order in orders)
    assert first_reached(settings, one) == first_reached(settings, other)
    reached_by_any = {t for each in one for t in due(settings, *_figures(each))}
    assert first_reached(settings, one).keys() == reached_by_any


def _figures(counted: PeriodUsage) -> tuple[int, int]:
    return counted.sessions_used, counted.session_limit


def test_an_alert_has_one_name_for_its_customer_period_and_threshold() -> None:
    alert = Alert("cus_1", NOVEMBER, 75, NOON, 75, 100)
    assert alert.alert_id == "alr_1_2026-11_075"
    assert alert.sentence == "75 % of the sessions of 2026-11 are used: 75 of 100."


# --- what customers may ask for ------------------------------------------------------------------


def test_thresholds_are_put_in_order() -> None:
    assert checked_thresholds([100, 1, 50]) == (1, 50, 100)


@pytest.mark.parametrize(
    "thresholds",
    [[], list(range(1, 12)), [0], [101], [-75], [75, 75], [10**30]],
    ids=["none", "eleven", "zero", "above 100", "negative", "twice", "huge"],
)
def test_other_thresholds_are_refused_with_a_hint(thresholds: list[int]) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        checked_thresholds(thresholds)
    assert refused.value.details["field"] == "thresholds"
    assert "[75, 90, 95]" in refused.value.details["hint"]


@pytest.mark.parametrize(
    "address",
    ["ada@example.com", "a.b+c_d@x-y.example.co.uk", f"{'a' * 64}@example.com"],
)
def test_an_address_is_taken_as_it_is(address: str) -> None:
    assert checked_email(address) == address


@pytest.mark.parametrize(
    "address",
    [
        "",
        "ada",
        "ada@",
        "@example.com",
        "ada@example",
        "ada@example.com, eve@example.com",
        "ada@example.com\nBcc: eve@example.com",
        "ada@example.com\n",
        "Ada <ada@example.com>",
        "ada..b@example.com",
        "ada@-example.com",
        "ada@exa mple.com",
        "ädä@example.com",
        f"{'a' * 65}@example.com",
        f"ada@{'a' * 60}.{'b' * 60}.{'c' * 60}.{'d' * 60}.{'e' * 60}.com",
    ],
)
def test_what_is_no_single_address_is_refused_with_a_hint_and_not_repeated(address: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        checked_email(address)
    assert refused.value.details["field"] == "email"
    assert "ada@example.com" in refused.value.details["hint"]
    assert "eve" not in f"{refused.value.message}{refused.value.details}"


@pytest.mark.parametrize(
    ("asked", "thresholds", "email"),
    [
        ({"thresholds": None, "email": None, "names_email": False}, (75, 90, 95), "a@example.com"),
        ({"thresholds": [50], "email": None, "names_email": False}, (50,), "a@example.com"),
        ({"thresholds": None, "email": None, "names_email": True}, (75, 90, 95), None),
        (
            {"thresholds": None, "email": "b@example.com", "names_email": True},
            (75, 90, 95),
            "b@example.com",
        ),
    ],
)
def test_what_is_not_named_stays(
    asked: dict[str, Any], thresholds: tuple[int, ...], email: str | None
) -> None:
    before = AlertSettings(email="a@example.com", version=3)
    after = SettingsChange.of(**asked).applied_to(before)
    assert (after.thresholds, after.email) == (thresholds, email)
    assert after.version == (3 if after == before else 4)


def test_what_changes_nothing_is_no_new_version() -> None:
    before = AlertSettings()
    assert SettingsChange.of([95, 75, 90], None, names_email=True).applied_to(before) is before


def test_the_trail_says_whether_there_is_mail_and_not_where_to() -> None:
    facts = AlertSettings((50,), "ada@example.com", 2).facts()
    assert facts == {"thresholds": [50], "email": True, "version": 2}
