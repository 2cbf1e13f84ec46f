"""Which terms hold when, and what a change of terms does (P1 to P3)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstack_core.domain.closing import close_period
from flowstack_core.domain.errors import ConflictError
from flowstack_core.domain.periods import Period
from flowstack_core.domain.plans import Tier, plan_for
from flowstack_core.domain.subscriptions import (
    Origin,
    PendingChange,
    Subscription,
    Terms,
    cancel,
    change_terms,
    schedule_downgrade,
    schedule_for,
    undo,
    withdraw,
)
from tests.support.fakes import DECEMBER, NOON, NOVEMBER, at

TIERS = list(Tier)
FREE = Terms.of(Tier.FREE)
UPGRADES = [(low, high) for low in TIERS for high in TIERS if low.rank < high.rank]


def on(tier: Tier, session_limit: int | None = None) -> Subscription:
    return Subscription("cus_1", Terms.of(tier, session_limit))


@pytest.mark.parametrize(("low", "high"), UPGRADES)
def test_p1_an_upgrade_holds_at_once(low: Tier, high: Tier) -> None:
    after = change_terms(on(low), Terms.of(high), NOON)
    assert after.terms_in(NOVEMBER) == Terms.of(high)
    assert after.pending is None


@pytest.mark.parametrize(("low", "high"), UPGRADES)
def test_p2_a_downgrade_waits_for_the_next_period(low: Tier, high: Tier) -> None:
    after = change_terms(on(high), Terms.of(low), NOON)
    assert after.terms_in(NOVEMBER) == Terms.of(high)
    assert after.terms_in(DECEMBER) == Terms.of(low)
    assert after.terms_in(DECEMBER.next()) == Terms.of(low)


def test_p1_a_higher_tier_with_fewer_sessions_cuts_nothing_that_was_paid_for() -> None:
    after = change_terms(on(Tier.STARTER, session_limit=50_000), Terms.of(Tier.PROFESSIONAL), NOON)
    assert after.terms_in(NOVEMBER) == Terms.of(Tier.PROFESSIONAL, session_limit=50_000)
    assert after.terms_in(DECEMBER) == Terms.of(Tier.PROFESSIONAL)


def test_p1_a_higher_contract_limit_within_a_tier_holds_at_once() -> None:
    after = change_terms(on(Tier.ENTERPRISE), Terms.of(Tier.ENTERPRISE, 200_000), NOON)
    assert after.terms_in(NOVEMBER).session_limit == 200_000


def test_p2_a_lower_contract_limit_within_a_tier_waits() -> None:
    after = change_terms(on(Tier.ENTERPRISE, 200_000), Terms.of(Tier.ENTERPRISE), NOON)
    assert after.terms_in(NOVEMBER).session_limit == 200_000
    assert after.terms_in(DECEMBER).session_limit == 100_000


def test_p2_a_pending_downgrade_is_undone_by_asking_for_the_present_terms() -> None:
    waiting = change_terms(on(Tier.PROFESSIONAL), Terms.of(Tier.FREE), NOON)
    undone = change_terms(waiting, Terms.of(Tier.PROFESSIONAL), NOON)
    assert undone.pending is None
    assert undone.terms_in(DECEMBER) == Terms.of(Tier.PROFESSIONAL)


def test_p2_an_upgrade_clears_a_pending_downgrade() -> None:
    waiting = change_terms(on(Tier.STARTER), Terms.of(Tier.FREE), NOON)
    upgraded = change_terms(waiting, Terms.of(Tier.PROFESSIONAL), NOON)
    assert upgraded.pending is None
    assert upgraded.terms_in(DECEMBER) == Terms.of(Tier.PROFESSIONAL)


def test_p2_the_last_downgrade_asked_for_is_the_one_that_waits() -> None:
    waiting = change_terms(on(Tier.PROFESSIONAL), Terms.of(Tier.FREE), NOON)
    milder = change_terms(waiting, Terms.of(Tier.STARTER), NOON)
    assert milder.terms_in(NOVEMBER).tier is Tier.PROFESSIONAL
    assert milder.pending == PendingChange(Terms.of(Tier.STARTER), DECEMBER)


def test_p2_a_downgrade_that_took_effect_is_what_the_next_change_starts_from() -> None:
    waiting = change_terms(on(Tier.PROFESSIONAL), Terms.of(Tier.FREE), NOON)
    later = change_terms(waiting, Terms.of(Tier.STARTER), at("2026-12-01T00:00:00"))
    assert later.terms_in(DECEMBER) == Terms.of(Tier.STARTER)
    assert later.pending is None


def test_p3_a_cancelled_customer_is_served_to_the_last_instant_and_then_on_free() -> None:
    cancelled = change_terms(on(Tier.STARTER), Terms.of(Tier.FREE), at("2026-11-30T23:59:59.999"))
    assert cancelled.terms_in(NOVEMBER).tier is Tier.STARTER
    assert cancelled.terms_in(DECEMBER) == Terms.of(Tier.FREE)


@given(st.lists(st.sampled_from(TIERS), min_size=1, max_size=12))
def test_every_change_raises_the_version_and_never_lowers_the_present_terms(
    tiers: list[Tier],
) -> None:
    subscription = on(Tier.FREE)
    for tier in tiers:
        before = subscription
        subscription = change_terms(before, Terms.of(tier), NOON)
        assert subscription.version == before.version + 1
        assert (
            subscription.terms_in(NOVEMBER).session_limit >= before.terms_in(NOVEMBER).session_limit
        )
        assert subscription.terms_in(DECEMBER) == Terms.of(tier)


@pytest.mark.parametrize("tier", TIERS)
def test_terms_are_the_plan_unless_a_contract_says_otherwise(tier: Tier) -> None:
    plan = plan_for(tier)
    assert Terms.of(tier) == Terms(tier, plan.sessions_per_month, plan.price_cents)
    assert Terms.of(tier, 0, 0) == Terms(tier, 0, 0)
    assert Terms.of(tier).managed_models is plan.managed_models


# --- changes that are scheduled ------------------------------------------------------------


def test_a_change_may_be_scheduled_for_a_later_period_than_the_next() -> None:
    january = DECEMBER.next()
    waiting = schedule_for(on(Tier.STARTER), FREE, january, NOON, Origin.PAYMENT)
    assert waiting.version == 2
    assert waiting.terms_in(DECEMBER) == Terms.of(Tier.STARTER)
    assert waiting.terms_in(january) == FREE


@pytest.mark.parametrize("period", [NOVEMBER.previous(), NOVEMBER, DECEMBER])
def test_p2_a_change_is_scheduled_for_the_next_period_at_the_earliest(period: Period) -> None:
    waiting = schedule_for(on(Tier.STARTER), FREE, period, NOON, Origin.PAYMENT)
    assert waiting.pending == PendingChange(FREE, DECEMBER, Origin.PAYMENT)


def test_a_change_further_out_survives_the_closing_of_the_periods_before_it() -> None:
    january = DECEMBER.next()
    waiting = schedule_for(on(Tier.STARTER), FREE, january, NOON, Origin.PAYMENT)
    assert close_period(waiting, NOVEMBER, None, {}, DECEMBER.start).subscription is None
    closing = close_period(waiting, DECEMBER, None, {}, january.start)
    assert closing.subscription is not None
    _, settled = closing.subscription
    assert (settled.terms, settled.pending) == (FREE, None)


def test_p6_a_customer_cannot_take_back_what_a_payment_scheduled() -> None:
    waiting = schedule_for(on(Tier.STARTER), FREE, DECEMBER, NOON, Origin.PAYMENT)
    with pytest.raises(ConflictError, match="not made by you"):
        undo(waiting, NOON)


def test_p2_a_customer_s_own_cancellation_stays_on_top_of_a_later_one() -> None:
    cancelled = cancel(on(Tier.STARTER), NOON)
    january = DECEMBER.next()
    waiting = schedule_for(cancelled, FREE, january, NOON, Origin.PAYMENT)
    assert waiting.terms_in(DECEMBER) == FREE
    assert undo(waiting, NOON).pending == PendingChange(FREE, january, Origin.PAYMENT)


def test_a_customer_s_own_change_that_keeps_more_gives_way() -> None:
    milder = schedule_downgrade(on(Tier.PROFESSIONAL), Tier.STARTER, NOON)
    waiting = schedule_for(milder, FREE, DECEMBER, NOON, Origin.PAYMENT)
    assert waiting.pending == PendingChange(FREE, DECEMBER, Origin.PAYMENT)


def test_only_one_s_own_change_is_withdrawn() -> None:
    by_payment = schedule_for(on(Tier.STARTER), FREE, DECEMBER, NOON, Origin.PAYMENT)
    assert withdraw(by_payment, NOON, Origin.PAYMENT).pending is None
    assert withdraw(by_payment, NOON, Origin.OPERATOR).pending == by_payment.pending
    covered = schedule_for(cancel(on(Tier.STARTER), NOON), FREE, DECEMBER, NOON, Origin.PAYMENT)
    left = withdraw(covered, NOON, Origin.PAYMENT)
    assert left.pending == PendingChange(FREE, DECEMBER, Origin.CUSTOMER)
    assert withdraw(on(Tier.STARTER), NOON, Origin.PAYMENT).pending is None


def test_a_customer_may_go_earlier_than_what_waits_further_out() -> None:
    january = DECEMBER.next()
    waiting = schedule_for(on(Tier.STARTER), FREE, january, NOON, Origin.PAYMENT)
    going = cancel(waiting, NOON)
    assert going.terms_in(DECEMBER) == FREE
    assert undo(going, NOON).pending == waiting.pending
