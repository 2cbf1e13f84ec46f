"""What is said of a payment, put together in any order, and what it means for the plan."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstack_core.domain.payments import (
    GRACE,
    PaymentEvent,
    PaymentState,
    Snapshot,
    Standing,
    after_payment,
)
from flowstack_core.domain.periods import Period
from flowstack_core.domain.plans import Tier
from flowstack_core.domain.subscriptions import (
    Origin,
    PendingChange,
    Subscription,
    Terms,
    cancel,
    change_terms,
    schedule_downgrade,
)
from tests.support.fakes import DECEMBER, NOON, NOVEMBER, at

SECOND = timedelta(seconds=1)
JANUARY = DECEMBER.next()
FREE = Terms.of(Tier.FREE)

BEGUN, PAID, FAILING, ENDED = PaymentState


def said(
    state: PaymentState,
    created: datetime = NOON,
    tier: Tier | None = Tier.STARTER,
    ends_at: datetime | None = None,
    event_id: str = "evt_1",
) -> PaymentEvent:
    terms = None if tier is None else Terms.of(tier)
    snapshot = Snapshot(event_id, created, state, terms, ends_at)
    return PaymentEvent(event_id, created, "sub_1", began_at=NOON, snapshot=snapshot)


def failed(created: datetime = NOON, event_id: str = "evt_1") -> PaymentEvent:
    return PaymentEvent(event_id, created, "sub_1", failed=True)


def standing(*events: PaymentEvent) -> Standing:
    found = Standing("sub_1")
    for event in events:
        found = found.told(event, "cus_1")
    return found


def on(tier: Tier) -> Subscription:
    return Subscription("cus_1", Terms.of(tier))


def after(subscription: Subscription, *events: PaymentEvent, now: datetime = NOON) -> Subscription:
    return after_payment(subscription, standing(*events), now)


def pending_free(period: Period) -> PendingChange:
    return PendingChange(FREE, period, Origin.PAYMENT)


# --- which word is the last ----------------------------------------------------------------

moments = st.integers(0, 4).map(lambda n: NOON + n * SECOND)
states = st.sampled_from(PaymentState)
tiers = st.sampled_from([Tier.STARTER, Tier.PROFESSIONAL])


@st.composite
def histories(draw: st.DrawFn) -> list[PaymentEvent]:
    """Everything that may be said of a subscription, crowded into few seconds."""
    events = []
    for number in range(draw(st.integers(1, 6))):
        event_id, moment = f"evt_{number}", draw(moments)
        if draw(st.booleans()):
            events.append(said(draw(states), moment, draw(tiers), event_id=event_id))
        else:
            events.append(failed(moment, event_id))
    return events


@given(histories(), st.data())
def test_any_order_and_repetition_of_events_gives_the_same_standing(
    history: list[PaymentEvent], data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations(history))
    repeated = data.draw(st.lists(st.sampled_from(history)))
    expected, found = standing(*history), standing(*shuffled, *repeated)
    # Which event was the last to add something is the only thing that may differ.
    assert replace(found, told_by="") == replace(expected, told_by="")


@given(histories())
def test_an_event_that_was_told_before_adds_nothing(history: list[PaymentEvent]) -> None:
    found = standing(*history)
    for event in history:
        assert found.told(event, "cus_1") is found


def test_an_older_word_never_undoes_a_newer_one() -> None:
    newer = said(PAID, NOON + SECOND, Tier.PROFESSIONAL, event_id="evt_a")
    for state in (PAID, FAILING, ENDED):
        older = said(state, NOON, event_id="evt_z")
        assert standing(newer, older).snapshot == newer.snapshot


@pytest.mark.parametrize(
    ("earlier", "later"), [(PAID, FAILING), (FAILING, ENDED), (PAID, ENDED), (BEGUN, PAID)]
)
def test_of_one_second_the_word_that_can_follow_on_the_other_counts(
    earlier: PaymentState, later: PaymentState
) -> None:
    # The id is against it, so that it cannot be what decides.
    one, other = said(earlier, event_id="evt_z"), said(later, event_id="evt_a")
    assert standing(one, other).snapshot == other.snapshot
    assert standing(other, one).snapshot == other.snapshot


def test_what_a_checkout_said_gives_way_to_what_the_subscription_says_of_itself() -> None:
    checkout = said(BEGUN, NOON + SECOND, Tier.ENTERPRISE, event_id="evt_z")
    snapshot = said(PAID, NOON, Tier.STARTER, event_id="evt_a")
    assert standing(snapshot, checkout).snapshot == snapshot.snapshot


def test_a_customer_once_known_stays() -> None:
    found = Standing("sub_1").told(said(PAID), None)
    assert found.customer_id is None
    linked = found.told(failed(event_id="evt_2"), "cus_1")
    assert linked.customer_id == "cus_1"
    assert linked.told(failed(NOON + SECOND, "evt_3"), "cus_2").customer_id == "cus_1"


# --- what it means -------------------------------------------------------------------------


def test_p1_what_is_paid_for_holds_at_once() -> None:
    for event in (said(PAID, tier=Tier.PROFESSIONAL), said(BEGUN, tier=Tier.PROFESSIONAL)):
        assert after(on(Tier.FREE), event).terms_in(NOVEMBER) == Terms.of(Tier.PROFESSIONAL)


def test_p2_a_smaller_plan_that_is_paid_for_waits_for_the_next_period() -> None:
    found = after(on(Tier.PROFESSIONAL), said(PAID, tier=Tier.STARTER))
    assert found.terms == Terms.of(Tier.PROFESSIONAL)
    assert found.pending == PendingChange(Terms.of(Tier.STARTER), DECEMBER, Origin.PAYMENT)


def test_p2_a_word_that_changes_nothing_leaves_a_customer_s_own_change_alone() -> None:
    cancelled = cancel(on(Tier.STARTER), NOON)
    assert after(cancelled, said(PAID)).pending == cancelled.pending
    by_operator = change_terms(on(Tier.STARTER), FREE, NOON)
    assert after(by_operator, said(PAID)).pending == by_operator.pending


def test_a_price_that_changed_alone_leaves_a_customer_s_own_change_alone_too() -> None:
    old_price = Subscription("cus_1", Terms.of(Tier.STARTER, price_cents=1_900))
    found = after(cancel(old_price, NOON), said(PAID))
    assert found.terms == Terms.of(Tier.STARTER)
    assert found.pending is not None


def test_p1_paying_for_more_clears_what_was_waiting() -> None:
    cancelled = cancel(on(Tier.STARTER), NOON)
    assert after(cancelled, said(PAID, tier=Tier.PROFESSIONAL)).pending is None


def test_p3_a_subscription_that_ended_is_served_to_the_end_of_the_period() -> None:
    found = after(on(Tier.STARTER), said(ENDED))
    assert found.terms_in(NOVEMBER).tier is Tier.STARTER
    assert found.pending == pending_free(DECEMBER)


@pytest.mark.parametrize(
    ("ends_at", "period"),
    [
        ("2026-11-20T00:00:00", DECEMBER),
        ("2026-12-01T00:00:00", DECEMBER),
        ("2026-12-01T00:00:01", JANUARY),
        ("2026-12-15T12:00:00", JANUARY),
    ],
)
def test_p3_a_cancelled_subscription_is_served_for_as_long_as_it_is_paid(
    ends_at: str, period: Period
) -> None:
    found = after(on(Tier.STARTER), said(PAID, ends_at=at(ends_at)))
    assert found.terms == Terms.of(Tier.STARTER)
    assert found.pending == pending_free(period)


def test_a_cancellation_taken_back_in_time_is_cleared() -> None:
    ending = said(PAID, ends_at=NOON + timedelta(days=20))
    waiting = after(on(Tier.STARTER), ending)
    resumed = said(PAID, NOON + SECOND, event_id="evt_2")
    assert after(waiting, ending, resumed).pending is None


def test_a_cancellation_that_is_read_after_its_end_gives_nothing_any_more() -> None:
    ending = said(PAID, tier=Tier.PROFESSIONAL, ends_at=NOON + SECOND)
    found = after(on(Tier.FREE), ending, now=NOON + SECOND)
    assert found.terms == FREE
    assert found.pending is None


@pytest.mark.parametrize(
    ("when", "period"),
    [
        ("2026-11-15T12:00:00", DECEMBER),
        ("2026-11-24T00:00:00", DECEMBER),
        ("2026-11-24T00:00:01", JANUARY),
        ("2026-11-30T23:59:59", JANUARY),
    ],
)
def test_a_failed_payment_leaves_a_week_and_then_the_period(when: str, period: Period) -> None:
    now = at(when)
    for event in (failed(now, "evt_2"), said(FAILING, now, event_id="evt_2")):
        found = after(on(Tier.STARTER), said(PAID), event, now=now)
        assert found.terms == Terms.of(Tier.STARTER)
        assert found.pending == pending_free(period)
        assert period.start - now >= GRACE


def test_failing_again_does_not_begin_the_grace_anew() -> None:
    first, again = at("2026-11-23T00:00:00"), at("2026-11-28T00:00:00")
    events = [said(PAID), failed(first, "evt_2"), failed(again, "evt_3")]
    assert after(on(Tier.STARTER), *events, now=again).pending == pending_free(DECEMBER)
    assert after(on(Tier.STARTER), *reversed(events), now=again).pending == pending_free(DECEMBER)


def test_a_payment_after_a_failure_clears_it_and_the_next_failure_begins_anew() -> None:
    paid_again = said(PAID, NOON + timedelta(days=2), event_id="evt_3")
    events = [said(PAID), failed(NOON + SECOND, "evt_2"), paid_again]
    grace = after(on(Tier.STARTER), *events[:2])
    assert grace.pending == pending_free(DECEMBER)
    assert after(grace, *events).pending is None
    late = at("2026-11-28T00:00:00")
    events.append(failed(late, "evt_4"))
    assert after(on(Tier.STARTER), *events, now=late).pending == pending_free(JANUARY)


def test_a_subscription_that_ends_in_the_grace_is_served_no_longer_for_it() -> None:
    late = at("2026-11-28T00:00:00")
    ending = said(FAILING, late, ends_at=at("2026-12-01T00:00:00"))
    assert after(on(Tier.STARTER), ending, now=late).pending == pending_free(DECEMBER)


def test_a_failed_payment_grants_nothing() -> None:
    upgrade = said(PAID, tier=Tier.PROFESSIONAL)
    found = after(on(Tier.STARTER), failed(event_id="evt_2"), upgrade)
    assert found.terms == Terms.of(Tier.STARTER)


def test_a_customer_in_the_grace_may_leave_earlier_and_take_only_that_back() -> None:
    late = at("2026-11-28T00:00:00")
    grace = after(on(Tier.STARTER), said(PAID), failed(late, "evt_2"), now=late)
    leaving = schedule_downgrade(grace, Tier.FREE, late)
    assert leaving.pending == PendingChange(FREE, DECEMBER, Origin.CUSTOMER, grace.pending)


def test_a_customer_who_leaves_is_not_kept_by_a_failed_payment() -> None:
    late = at("2026-11-28T00:00:00")
    leaving = cancel(on(Tier.STARTER), late)
    found = after(leaving, said(PAID), failed(late, "evt_2"), now=late)
    assert found.terms_in(DECEMBER) == FREE
    assert found.pending == PendingChange(FREE, DECEMBER, Origin.CUSTOMER, pending_free(JANUARY))


def test_p2_a_smaller_plan_that_is_going_to_end_waits_for_its_month_and_ends_in_another() -> None:
    ending = said(PAID, tier=Tier.STARTER, ends_at=at("2026-12-10T00:00:00"))
    found = after(on(Tier.PROFESSIONAL), ending)
    tiers = [found.terms_in(each).tier for each in (NOVEMBER, DECEMBER, JANUARY)]
    assert tiers == [Tier.PROFESSIONAL, Tier.STARTER, Tier.FREE]


def test_p2_a_smaller_plan_that_cannot_be_collected_is_not_the_larger_one_for_another_month() -> (
    None
):
    late = at("2026-11-28T00:00:00")
    smaller = said(PAID, tier=Tier.STARTER)
    for events in ((smaller, failed(late, "evt_2")), (failed(late, "evt_2"), smaller)):
        found = after(on(Tier.PROFESSIONAL), *events, now=late)
        tiers = [found.terms_in(each).tier for each in (NOVEMBER, DECEMBER, JANUARY)]
        assert tiers == [Tier.PROFESSIONAL, Tier.STARTER, Tier.FREE]


@pytest.mark.parametrize("failed_on", ["2026-11-15T13:00:00", "2026-11-28T00:00:00"])
@pytest.mark.parametrize("tier", [Tier.STARTER, Tier.FREE])
def test_what_others_had_scheduled_outlives_a_failure_that_is_made_up_for(
    tier: Tier, failed_on: str
) -> None:
    now = at(failed_on)
    first, grace = said(PAID, tier=Tier.PROFESSIONAL), failed(now, "evt_2")
    again = said(PAID, now + SECOND, Tier.PROFESSIONAL, event_id="evt_3")
    for waiting in (
        schedule_downgrade(on(Tier.PROFESSIONAL), tier, NOON),
        change_terms(on(Tier.PROFESSIONAL), Terms.of(tier), NOON),
    ):
        failing = after(waiting, first, grace, now=now)
        assert failing.terms_in(DECEMBER).tier.rank <= tier.rank
        assert failing.terms_in(JANUARY) == FREE
        forgiven = after(failing, first, grace, again, now=now)
        assert forgiven.pending == waiting.pending


def test_a_cancellation_outlives_words_about_a_smaller_plan() -> None:
    smaller = said(PAID, tier=Tier.STARTER)
    leaving = cancel(after(on(Tier.PROFESSIONAL), smaller), NOON)
    again = said(PAID, NOON + SECOND, Tier.STARTER, event_id="evt_2")
    assert after(leaving, smaller, again).pending == leaving.pending


def test_on_free_there_is_nothing_to_lose() -> None:
    for event in (said(ENDED), said(FAILING)):
        assert after(on(Tier.FREE), event).pending is None


def test_a_link_alone_changes_no_plan() -> None:
    linked = standing(PaymentEvent("evt_1", NOON, "sub_1", customer_id="cus_1"))
    subscription = on(Tier.STARTER)
    found = after_payment(subscription, linked, NOON)
    assert (found.terms, found.pending) == (subscription.terms, None)


@given(histories(), st.sampled_from(Tier))
def test_whatever_is_said_the_version_rises_by_one_and_nothing_paid_for_is_cut(
    history: list[PaymentEvent], tier: Tier
) -> None:
    before = on(tier)
    found = after(before, *history)
    assert found.version == before.version + 1
    assert found.terms_in(NOVEMBER).session_limit >= before.terms.session_limit
    if found.pending is not None:
        assert found.pending.origin is Origin.PAYMENT
        assert found.pending.effective_period >= DECEMBER
