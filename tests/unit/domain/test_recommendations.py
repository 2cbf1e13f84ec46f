"""What is advised, and what is not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstack_core.domain.forecast import forecast
from flowstack_core.domain.periods import Period
from flowstack_core.domain.plans import Tier, plan_for
from flowstack_core.domain.quota import PeriodUsage
from flowstack_core.domain.recommendations import (
    Habits,
    Kind,
    Recommendation,
    recommendations,
)
from flowstack_core.domain.rollups import DaySlice, Route, Talk
from flowstack_core.domain.subscriptions import (
    Subscription,
    Terms,
    cancel,
    change_terms,
    end,
    schedule_downgrade,
)
from tests.support.fakes import NOVEMBER, UNPRICED, at, penny_a_token

NOW = at("2026-11-16T00:00:00")

NONE = Habits()


@dataclass
class Customer:
    """Somebody with so many sessions on each of so many days, alike every day."""

    tier: Tier = Tier.STARTER
    a_day: int = 10
    known: int = 56
    habits: Habits = NONE
    limit: int | None = None
    price: int | None = None
    now: datetime = NOW
    credited: int = 0
    change: Callable[[Subscription], Subscription] = lambda subscription: subscription

    def advice(self) -> Mapping[Kind, Recommendation]:
        """Return what is advised, by its kind; none comes twice."""
        terms = Terms.of(self.tier, self.limit, self.price)
        subscription = self.change(Subscription("cus_1", terms))
        history = {
            self.now.date() - timedelta(days=n): self.a_day for n in range(1, self.known + 1)
        }
        period = Period.containing(self.now)
        used = sum(n for day, n in history.items() if Period(day.year, day.month) == period)
        opened = PeriodUsage.opened(subscription, period)
        usage = replace(
            opened,
            sessions_used=used,
            credited_sessions=self.credited,
            session_limit=opened.session_limit + self.credited,
        )
        found = recommendations(forecast(history, used, self.now), usage, subscription, self.habits)
        assert len({one.kind for one in found}) == len(found)
        return {one.kind: one for one in found}


MANAGED = Habits(managed_sessions=20)
BYOK = Habits(byok_sessions=20, byok_cost=Decimal("41.509"))


def test_who_uses_its_plan_well_is_advised_nothing() -> None:
    assert Customer(a_day=25, habits=MANAGED).advice() == {}


# --- a smaller plan -------------------------------------------------------------------------


def test_less_than_half_of_a_paid_plan_suggests_the_cheaper_one_that_fits() -> None:
    advice = Customer(Tier.PROFESSIONAL, 10, habits=MANAGED).advice()
    assert set(advice) == {Kind.PLAN_OPTIMIZATION}
    found = advice[Kind.PLAN_OPTIMIZATION]
    assert (found.suggested, found.savings_cents) == (Terms.of(Tier.STARTER), 9_900 - 2_900)
    assert "$70.00 a month, from 2026-12 on" in found.message
    assert found.details["projected_sessions"] == 300
    assert found.details["sessions_limit"] == 10_000
    assert found.details["lost"] == [
        "9000 sessions a month",
        "advanced analytics",
        "priority support (email instead)",
    ]


@pytest.mark.parametrize("tier", [Tier.STARTER, Tier.PROFESSIONAL])
def test_free_is_never_suggested_to_who_uses_managed_models(tier: Tier) -> None:
    few = Customer(tier, 0, habits=Habits(managed_sessions=1))
    suggested = [advice.suggested for advice in few.advice().values()]
    assert Terms.of(Tier.FREE) not in suggested
    own = replace(few, habits=Habits(byok_sessions=1), a_day=0, known=56)
    assert own.advice() == {}  # nothing is known of a customer without any session


def test_free_is_suggested_to_who_has_few_sessions_with_own_keys() -> None:
    now = at("2026-11-29T00:00:00")
    advice = Customer(Tier.STARTER, 1, known=23, now=now, habits=Habits(byok_sessions=9)).advice()
    assert advice == {}  # 23 so far and maybe 3 more: it may be too small
    advice = Customer(Tier.STARTER, 1, known=16, now=now, habits=Habits(byok_sessions=9)).advice()
    assert advice[Kind.PLAN_OPTIMIZATION].suggested == Terms.of(Tier.FREE)


def test_nobody_is_sent_to_a_plan_that_only_the_expected_number_fits() -> None:
    """The upper end counts: 990 are expected, and 1,000 may not do."""
    assert Customer(Tier.PROFESSIONAL, 33, habits=MANAGED).advice() == {}


def test_the_last_thirty_days_have_to_fit_too() -> None:
    busy = Customer(Tier.PROFESSIONAL, 10, habits=Habits(managed_sessions=1_001))
    assert busy.advice() == {}


def test_nobody_is_sent_to_a_plan_whose_fair_use_its_busiest_day_exceeds() -> None:
    allowed = plan_for(Tier.STARTER).fair_use.managed_tokens_per_day
    at_it = Customer(
        Tier.PROFESSIONAL, habits=Habits(managed_sessions=1, managed_tokens_a_day=allowed)
    )
    assert at_it.advice()
    over = replace(at_it, habits=replace(at_it.habits, managed_tokens_a_day=allowed + 1))
    assert over.advice() == {}


def test_the_price_that_is_saved_is_that_of_the_contract() -> None:
    advice = Customer(Tier.ENTERPRISE, limit=1_200, price=120_000, habits=MANAGED).advice()
    found = advice[Kind.PLAN_OPTIMIZATION]
    assert found.suggested == Terms.of(Tier.STARTER)
    assert found.savings_cents == 120_000 - 2_900


def test_half_of_the_sessions_or_more_is_no_waste_but_a_cheaper_plan_may_do() -> None:
    advice = Customer(Tier.ENTERPRISE, 20, limit=1_200, price=120_000, habits=MANAGED).advice()
    assert set(advice) == {Kind.CHEAPEST_PLAN}
    assert advice[Kind.CHEAPEST_PLAN].savings_cents == 117_100


def test_a_cheap_contract_is_kept() -> None:
    assert Customer(Tier.PROFESSIONAL, price=2_900, habits=MANAGED).advice() == {}


def test_a_smaller_plan_gives_no_more_than_the_contract_did() -> None:
    """As choosing it would: a customer cannot raise its own limit (P6)."""
    advice = Customer(Tier.ENTERPRISE, 5, limit=500, price=120_000, habits=MANAGED).advice()
    assert advice[Kind.PLAN_OPTIMIZATION].suggested == Terms.of(Tier.STARTER, 500)


@pytest.mark.parametrize("known", [1, 7, 13])
def test_another_plan_is_not_spoken_of_before_two_weeks_are_known(known: int) -> None:
    small = Customer(Tier.PROFESSIONAL, 1, known, MANAGED)
    assert small.advice() == {}
    assert replace(small, known=14).advice()
    large = Customer(Tier.STARTER, 70, known, MANAGED)
    assert Kind.CHEAPEST_PLAN not in large.advice()
    assert Kind.CHEAPEST_PLAN in replace(large, known=14).advice()


def test_a_change_that_waits_is_not_advised_again() -> None:
    underused = Customer(Tier.PROFESSIONAL, 10, habits=MANAGED)
    waiting = replace(underused, change=lambda one: schedule_downgrade(one, Tier.STARTER, NOW))
    assert underused.advice()
    assert waiting.advice() == {}


# --- a larger plan --------------------------------------------------------------------------


def test_a_month_too_large_for_the_plan_names_the_cheapest_that_fits() -> None:
    found = Customer(Tier.STARTER, 40, habits=MANAGED).advice()[Kind.CHEAPEST_PLAN]
    assert (found.suggested, found.savings_cents) == (Terms.of(Tier.PROFESSIONAL), 0)
    assert found.details["extra_cost_cents"] == 7_000
    assert found.details["projected_sessions"] == 1_200
    assert "$70.00 a month more: the operator can give it" in found.message


def test_the_plan_must_fit_the_upper_end() -> None:
    """330 a day are 9,900 sessions: professional's 10,000 may be too few."""
    found = Customer(Tier.STARTER, 330, habits=MANAGED).advice()[Kind.CHEAPEST_PLAN]
    assert found.suggested == Terms.of(Tier.ENTERPRISE)


def test_a_plan_that_may_just_do_is_no_reason_to_pay_more() -> None:
    assert Customer(Tier.STARTER, 33, habits=MANAGED).advice() == {}


def test_what_no_plan_has_room_for_gets_the_largest() -> None:
    found = Customer(Tier.STARTER, 10_000, habits=MANAGED).advice()[Kind.CHEAPEST_PLAN]
    assert found.suggested == Terms.of(Tier.ENTERPRISE)


def test_beyond_the_highest_tier_there_is_no_plan_to_name() -> None:
    advice = Customer(Tier.ENTERPRISE, 40, limit=1_000, habits=MANAGED).advice()
    assert set(advice) == {Kind.LIMIT_SOON}
    assert advice[Kind.LIMIT_SOON].suggested is None


def test_who_goes_down_too_far_is_told_to_take_it_back() -> None:
    leaving = Customer(Tier.STARTER, 20, habits=MANAGED, change=lambda one: cancel(one, NOW))
    found = leaving.advice()[Kind.CHEAPEST_PLAN]
    assert found.suggested == Terms.of(Tier.STARTER)
    assert "take back the change that waits" in found.message


def test_a_dear_contract_of_few_sessions_may_even_be_left_for_less() -> None:
    found = Customer(Tier.STARTER, 40, price=20_000, habits=MANAGED).advice()[Kind.CHEAPEST_PLAN]
    assert found.savings_cents == 20_000 - 9_900
    assert "no more than now" in found.message


# --- the limit ------------------------------------------------------------------------------


def test_the_day_on_which_the_limit_is_reached_is_told() -> None:
    found = Customer(Tier.STARTER, 50, habits=MANAGED).advice()[Kind.LIMIT_SOON]
    assert found.details["limit_reached_at"] == "2026-11-21T00:00:00.000Z"
    assert found.details["sessions_beyond_limit"] == 500
    assert found.suggested == Terms.of(Tier.PROFESSIONAL)
    assert found.savings_cents == 0
    assert "2026-11-21" in found.message


def test_credits_put_the_day_off() -> None:
    assert Kind.LIMIT_SOON not in Customer(a_day=50, credited=600, habits=MANAGED).advice()


def test_a_limit_that_is_reached_is_said_to_be() -> None:
    found = Customer(Tier.FREE, 5).advice()[Kind.LIMIT_SOON]
    assert "All 25 sessions of 2026-11 are used" in found.message
    assert found.details["resets_at"] == "2026-12-01T00:00:00.000Z"


@pytest.mark.parametrize("known", [1, 2])
def test_two_days_are_too_few_to_speak_of_the_limit_unless_it_is_near(known: int) -> None:
    far = Customer(Tier.STARTER, 100, known)
    assert far.advice() == {}
    assert set(replace(far, known=3).advice()) == {Kind.LIMIT_SOON}
    near = Customer(Tier.STARTER, 900 // known, known)
    assert set(near.advice()) == {Kind.LIMIT_SOON}


def test_the_last_period_is_not_counted_against_this_ones_limit() -> None:
    """990 sessions last month, and 33 a day go on: no limit is near on the first."""
    assert Customer(a_day=32, now=at("2026-12-01T00:00:00"), habits=MANAGED).advice() == {}


# --- managed models instead of own keys -----------------------------------------------------


@pytest.mark.parametrize("tier", [Tier.STARTER, Tier.PROFESSIONAL])
def test_who_mostly_pays_providers_is_told_what_managed_models_save(tier: Tier) -> None:
    found = Customer(tier, 30, habits=BYOK).advice()[Kind.COST_REDUCTION]
    assert (found.savings_cents, found.suggested) == (4_150, None)
    assert "20 of 20 sessions" in found.message
    assert "about $41.50" in found.message
    assert found.details["estimated_byok_cost_cents"] == 4_150


@pytest.mark.parametrize("tier", [Tier.FREE, Tier.ENTERPRISE])
def test_without_managed_models_or_by_contract_own_keys_are_no_waste(tier: Tier) -> None:
    assert Kind.COST_REDUCTION not in Customer(tier, 1, habits=BYOK).advice()


@pytest.mark.parametrize(
    "habits",
    [
        replace(BYOK, managed_sessions=20),
        replace(BYOK, byok_sessions=9),
        replace(BYOK, byok_cost=Decimal(0)),
    ],
    ids=["as many with managed models", "too few", "for nothing"],
)
def test_own_keys_that_are_not_the_habit_are_left_alone(habits: Habits) -> None:
    assert Kind.COST_REDUCTION not in Customer(a_day=30, habits=habits).advice()


def test_a_few_days_are_no_habit() -> None:
    assert Kind.COST_REDUCTION not in Customer(a_day=30, known=6, habits=BYOK).advice()
    assert Kind.COST_REDUCTION in Customer(a_day=30, known=7, habits=BYOK).advice()


def test_where_prices_are_unknown_nothing_is_claimed() -> None:
    unknown = replace(BYOK, byok_cost=Decimal(0), unpriced=("custom/mine",))
    found = Customer(a_day=30, habits=unknown).advice()[Kind.COST_REDUCTION]
    assert found.savings_cents == 0
    assert found.details["estimated_byok_cost_cents"] is None
    assert found.details["models_without_a_price"] == ["custom/mine"]
    assert "$" not in found.message
    some = replace(BYOK, unpriced=("custom/mine",))
    said = Customer(a_day=30, habits=some).advice()[Kind.COST_REDUCTION]
    assert "at least $41.50" in said.message


def test_managed_models_have_to_carry_the_busiest_day() -> None:
    allowed = plan_for(Tier.STARTER).fair_use.managed_tokens_per_day
    heavy = replace(BYOK, tokens_a_day=allowed + 1, byok_cost=Decimal(100))
    found = Customer(a_day=30, habits=heavy).advice()[Kind.COST_REDUCTION]
    assert found.suggested == Terms.of(Tier.PROFESSIONAL)
    assert found.savings_cents == 10_000 - 7_000
    cheap = replace(heavy, byok_cost=Decimal(70))
    assert Kind.COST_REDUCTION not in Customer(a_day=30, habits=cheap).advice()
    endless = replace(heavy, tokens_a_day=10**12)
    assert Kind.COST_REDUCTION not in Customer(a_day=30, habits=endless).advice()


# --- whoever it is --------------------------------------------------------------------------


def test_who_was_stopped_is_left_alone() -> None:
    stopped = Customer(Tier.STARTER, 50, habits=MANAGED, change=lambda one: end(one, NOW))
    assert stopped.advice() == {}


def test_habits_are_added_up_from_slices() -> None:
    own, theirs = Route(False, "openai", "gpt-4o"), Route(True, "bedrock", "claude-haiku-4-5")
    days = [date(2026, 11, 14), date(2026, 11, 15)]
    slices = [
        DaySlice(days[0], "a", own, 3, Talk(3, 700, 300)),
        DaySlice(days[0], "b", own, 1, Talk(1, 0, 25)),
        DaySlice(days[0], "b", theirs, 2, Talk(2, 40, 60)),
        DaySlice(days[1], "a", Route(False, "custom", UNPRICED), 1, Talk(1, 9, 9)),
        DaySlice(days[1], "a", theirs, 0, Talk(5, 100, 50)),
    ]
    assert Habits.of(slices, penny_a_token) == Habits(
        managed_sessions=2,
        byok_sessions=5,
        managed_tokens_a_day=150,
        tokens_a_day=1_125,
        byok_cost=Decimal("10.25"),
        unpriced=(f"custom/{UNPRICED}",),
    )
    assert Habits.of([], penny_a_token) == Habits()


amounts: Any = st.integers(0, 20_000)


@given(
    st.sampled_from(list(Tier)),
    st.integers(0, 5_000),
    st.integers(0, 60),
    st.tuples(amounts, amounts),
    st.integers(1, 30),
    st.one_of(st.none(), st.integers(0, 50_000)),
    st.one_of(st.none(), st.integers(0, 500_000)),
    st.sampled_from([None, *Tier]),
)
def test_no_advice_ever_forbids_what_is_used_or_claims_to_save_less_than_nothing(
    tier: Tier,
    a_day: int,
    known: int,
    sessions: tuple[int, int],
    today: int,
    limit: int | None,
    price: int | None,
    moved_to: Tier | None,
) -> None:
    habits = Habits(*sessions, byok_cost=Decimal(sessions[1]) / 7)
    now = datetime(2026, 11, today, 13, tzinfo=NOW.tzinfo)

    def moved(one: Subscription) -> Subscription:
        return one if moved_to is None else change_terms(one, Terms.of(moved_to), now)

    customer = Customer(tier, a_day, known, habits, limit, price, now, change=moved)
    for advice in customer.advice().values():
        assert advice.savings_cents >= 0
        assert advice.message
        if advice.kind is Kind.PLAN_OPTIMIZATION:
            assert advice.savings_cents > 0
        if advice.suggested is not None and advice.savings_cents:
            assert advice.suggested.managed_models or not habits.managed_sessions
    assert Period.containing(now) == NOVEMBER
