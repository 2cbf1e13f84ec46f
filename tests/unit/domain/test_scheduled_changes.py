"""Changes that others schedule for a customer, for the next period or one further out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flowstack_core.domain.closing import close_period
from flowstack_core.domain.errors import ConflictError
from flowstack_core.domain.periods import Period
from flowstack_core.domain.plans import Tier
from flowstack_core.domain.subscriptions import (
    Origin,
    PendingChange,
    Subscription,
    Terms,
    cancel,
    schedule_downgrade,
    schedule_for,
    undo,
    withdraw,
)
from tests.support.fakes import DECEMBER, NOON, NOVEMBER

FREE = Terms.of(Tier.FREE)


def on(tier: Tier) -> Subscription:
    return Subscription("cus_1", Terms.of(tier))


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


def test_a_customer_s_own_change_that_keeps_more_gives_way_until_the_other_is_withdrawn() -> None:
    milder = schedule_downgrade(on(Tier.PROFESSIONAL), Tier.STARTER, NOON)
    waiting = schedule_for(milder, FREE, DECEMBER, NOON, Origin.PAYMENT)
    assert waiting.terms_in(DECEMBER) == FREE
    assert (waiting.settled(DECEMBER).terms, waiting.settled(DECEMBER).pending) == (FREE, None)
    assert withdraw(waiting, NOON, Origin.PAYMENT).pending == milder.pending


@pytest.mark.parametrize("origin", Origin)
def test_p2_what_comes_earlier_is_followed_by_what_comes_later(origin: Origin) -> None:
    january, starter = DECEMBER.next(), Terms.of(Tier.STARTER)
    smaller = schedule_for(on(Tier.PROFESSIONAL), starter, DECEMBER, NOON, origin)
    waiting = schedule_for(smaller, FREE, january, NOON, Origin.PAYMENT)
    terms = [waiting.terms_in(each).tier for each in (NOVEMBER, DECEMBER, january)]
    assert terms == [Tier.PROFESSIONAL, Tier.STARTER, Tier.FREE]
    closing = close_period(waiting, NOVEMBER, None, {}, DECEMBER.start)
    assert closing.subscription is not None
    _, settled = closing.subscription
    last = PendingChange(FREE, january, Origin.PAYMENT)
    assert (settled.terms, settled.pending) == (starter, last)
    assert waiting.settled(january) == replace(waiting, terms=FREE, pending=None, version=4)


def test_what_comes_later_and_leads_higher_never_raises_what_came_before() -> None:
    cancelled = cancel(on(Tier.PROFESSIONAL), NOON)
    january = DECEMBER.next()
    waiting = schedule_for(cancelled, Terms.of(Tier.STARTER), january, NOON, Origin.PAYMENT)
    assert waiting.terms_in(january) == FREE
    assert undo(waiting, NOON).terms_in(january) == Terms.of(Tier.STARTER)


def test_what_is_hidden_in_its_own_period_hides_nothing_of_a_later_one() -> None:
    january = DECEMBER.next()
    milder = schedule_for(
        on(Tier.ENTERPRISE), Terms.of(Tier.PROFESSIONAL), DECEMBER, NOON, Origin.OPERATOR
    )
    later = schedule_for(milder, FREE, january, NOON, Origin.PAYMENT)
    waiting = schedule_downgrade(later, Tier.STARTER, NOON)
    assert waiting.terms_in(DECEMBER) == Terms.of(Tier.STARTER)
    assert waiting.terms_in(january) == FREE
    assert undo(waiting, NOON).pending == later.pending


def test_p6_a_customer_may_go_down_before_what_comes_later_and_change_its_mind() -> None:
    january = DECEMBER.next()
    waiting = schedule_for(on(Tier.PROFESSIONAL), FREE, january, NOON, Origin.PAYMENT)
    for chosen in (Tier.STARTER, Tier.FREE, Tier.STARTER):
        lowered = schedule_downgrade(waiting, chosen, NOON)
        assert lowered.terms_in(DECEMBER) == Terms.of(chosen)
        assert lowered.terms_in(january) == FREE
        assert undo(lowered, NOON).pending == PendingChange(FREE, january, Origin.PAYMENT)
        waiting = lowered


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
