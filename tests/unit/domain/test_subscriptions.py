"""Which terms hold when, and what a change of terms does (P1, P2, P3 and P6)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from flowstack_core.domain.errors import ConflictError, UpgradeNotSelfServiceError
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
    undo,
)
from tests.support.fakes import DECEMBER, NOON, NOVEMBER, at

TIERS = list(Tier)
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


# --- what customers do by themselves -------------------------------------------------------------


def downgraded(subscription: Subscription, *tiers: Tier) -> Subscription:
    """Return the subscription after its customer asked for tiers, one after the other."""
    for tier in tiers:
        subscription = schedule_downgrade(subscription, tier, NOON)
    return subscription


def scheduled(
    subscription: Subscription, tier: Tier, origin: Origin = Origin.OPERATOR
) -> Subscription:
    """Return the subscription after somebody else scheduled a downgrade."""
    return change_terms(subscription, Terms.of(tier), NOON, origin)


@pytest.mark.parametrize(("low", "high"), UPGRADES)
def test_p2_a_customers_downgrade_waits_for_the_next_period(low: Tier, high: Tier) -> None:
    after = downgraded(on(high), low)
    assert after.terms_in(NOVEMBER) == Terms.of(high)
    assert after.terms_in(DECEMBER) == Terms.of(low)
    assert after.pending == PendingChange(Terms.of(low), DECEMBER, Origin.CUSTOMER)


@pytest.mark.parametrize(("low", "high"), UPGRADES)
def test_p2_undoing_a_downgrade_leaves_nothing_of_it(low: Tier, high: Tier) -> None:
    before = on(high)
    undone = undo(downgraded(before, low), NOON)
    assert undone == replace(before, version=before.version + 2)


def test_p2_of_several_downgrades_the_last_waits_and_undo_takes_back_all() -> None:
    before = on(Tier.ENTERPRISE)
    lowered = downgraded(before, Tier.FREE, Tier.PROFESSIONAL, Tier.STARTER)
    assert lowered.terms_in(DECEMBER) == Terms.of(Tier.STARTER)
    assert undo(lowered, NOON).pending is None


def test_p2_asking_again_for_what_waits_changes_nothing() -> None:
    for waiting in (
        downgraded(on(Tier.PROFESSIONAL), Tier.STARTER),
        scheduled(on(Tier.PROFESSIONAL), Tier.STARTER),
    ):
        assert downgraded(waiting, Tier.STARTER) is waiting
    cancelled = cancel(on(Tier.STARTER), NOON)
    assert cancel(cancelled, NOON) is cancelled


def test_p2_what_took_effect_cannot_be_undone() -> None:
    lowered = downgraded(on(Tier.PROFESSIONAL), Tier.STARTER)
    assert undo(lowered, at("2026-11-30T23:59:59.999999")).pending is None
    with pytest.raises(ConflictError, match="no scheduled change"):
        undo(lowered, DECEMBER.start)


def test_p2_the_present_tier_is_kept_by_undoing_and_not_by_a_downgrade_to_it() -> None:
    lowered = downgraded(on(Tier.PROFESSIONAL), Tier.STARTER)
    with pytest.raises(ConflictError, match="already on the professional plan") as refused:
        downgraded(lowered, Tier.PROFESSIONAL)
    assert "undo" in refused.value.details["hint"]


def test_p2_an_upgrade_by_the_operator_clears_the_customers_downgrade() -> None:
    raised = change_terms(
        downgraded(on(Tier.STARTER), Tier.FREE), Terms.of(Tier.PROFESSIONAL), NOON
    )
    assert raised.pending is None
    with pytest.raises(ConflictError):
        undo(raised, NOON)


@pytest.mark.parametrize("tier", [Tier.STARTER, Tier.PROFESSIONAL, Tier.ENTERPRISE])
def test_p3_a_customers_cancellation_leads_to_free_and_is_called_one(tier: Tier) -> None:
    cancelled = cancel(on(tier), NOON)
    assert cancelled.pending is not None
    assert cancelled.pending.cancellation
    assert cancelled.terms_in(NOVEMBER) == Terms.of(tier)
    assert cancelled.terms_in(DECEMBER) == Terms.of(Tier.FREE)


def test_p3_who_is_on_free_has_nothing_to_cancel() -> None:
    for subscription, now in (
        (on(Tier.FREE), NOON),
        (cancel(on(Tier.STARTER), NOON), DECEMBER.start),
    ):
        with pytest.raises(ConflictError, match="nothing to cancel"):
            cancel(subscription, now)


@pytest.mark.parametrize(("low", "high"), UPGRADES)
def test_p6_a_customer_cannot_raise_its_own_tier(low: Tier, high: Tier) -> None:
    with pytest.raises(UpgradeNotSelfServiceError) as refused:
        downgraded(on(low), high)
    assert refused.value.details["requested_tier"] == high.value


@pytest.mark.parametrize("origin", [Origin.OPERATOR, Origin.PAYMENT])
def test_p6_a_customer_cannot_soften_what_others_scheduled(origin: Origin) -> None:
    waiting = scheduled(on(Tier.ENTERPRISE), Tier.STARTER, origin)
    with pytest.raises(UpgradeNotSelfServiceError):
        downgraded(waiting, Tier.PROFESSIONAL)
    with pytest.raises(UpgradeNotSelfServiceError):
        downgraded(waiting, Tier.FREE, Tier.PROFESSIONAL)
    with pytest.raises(ConflictError) as refused:
        undo(waiting, NOON)
    assert refused.value.details["origin"] == origin.value


@pytest.mark.parametrize("origin", [Origin.OPERATOR, Origin.PAYMENT])
def test_p6_what_others_scheduled_comes_back_when_the_customer_undoes(origin: Origin) -> None:
    waiting = scheduled(on(Tier.ENTERPRISE), Tier.STARTER, origin)
    for undone in (
        undo(cancel(waiting, NOON), NOON),
        downgraded(waiting, Tier.FREE, Tier.STARTER),
    ):
        assert undone.pending == waiting.pending
        with pytest.raises(ConflictError):
            undo(undone, NOON)


def test_p6_a_downgrade_never_raises_a_contracts_limit() -> None:
    small = downgraded(on(Tier.ENTERPRISE, session_limit=300), Tier.STARTER)
    assert small.terms_in(DECEMBER) == Terms.of(Tier.STARTER, session_limit=300)
    waiting = change_terms(on(Tier.ENTERPRISE), Terms.of(Tier.PROFESSIONAL, 200), NOON)
    assert downgraded(waiting, Tier.STARTER).terms_in(DECEMBER).session_limit == 200
    assert cancel(on(Tier.STARTER, session_limit=5), NOON).terms_in(DECEMBER).session_limit == 5


# --- every order ---------------------------------------------------------------------------------


class RefusedError(Exception):
    """The rules refuse; the argument is the error they expect."""


@dataclass
class Wills:
    """What the rules say: what the operator wants, and what the customer wants below that.

    The operator's will is the terms in force and what it scheduled; the customer's is at most
    one choice for the next period, which hides what the operator scheduled and ends with it.
    """

    terms: Terms
    scheduled: tuple[Period, Terms] | None = None
    chosen: tuple[Period, Terms] | None = None

    def pass_to(self, period: Period) -> None:
        waiting = self.chosen or self.scheduled
        if waiting is not None and period >= waiting[0]:
            self.terms, self.scheduled, self.chosen = waiting[1], None, None

    def granted(self, period: Period) -> Terms:
        """Return what the operator alone would give in a period."""
        if self.scheduled is not None and period >= self.scheduled[0]:
            return self.scheduled[1]
        return self.terms

    def terms_in(self, period: Period) -> Terms:
        if self.chosen is not None and period >= self.chosen[0]:
            return self.chosen[1]
        return self.granted(period)

    def move(self, terms: Terms, period: Period) -> None:
        self.chosen = None
        up = terms.tier.rank > self.terms.tier.rank or (
            terms.tier is self.terms.tier and terms.session_limit >= self.terms.session_limit
        )
        kept = max(terms.session_limit, self.terms.session_limit)
        self.scheduled = None if up and kept == terms.session_limit else (period.next(), terms)
        if up:
            self.terms = replace(terms, session_limit=kept)

    def downgrade(self, tier: Tier, period: Period) -> bool:
        """Return whether anything changes."""
        following = period.next()
        if tier is self.terms.tier:
            raise RefusedError(ConflictError)
        if tier.rank > self.terms.tier.rank:
            raise RefusedError(UpgradeNotSelfServiceError)
        if self.terms_in(following).tier is tier:
            return False
        if tier.rank > self.granted(following).tier.rank:
            raise RefusedError(UpgradeNotSelfServiceError)
        if self.scheduled is not None and self.scheduled[1].tier is tier:
            self.chosen = None
            return True
        most = min(self.terms.session_limit, self.granted(following).session_limit)
        limit = min(Terms.of(tier).session_limit, most)
        self.chosen = (following, Terms.of(tier, limit))
        return True

    def cancel(self, period: Period) -> bool:
        if self.terms.tier is Tier.FREE:
            raise RefusedError(ConflictError)
        return self.downgrade(Tier.FREE, period)

    def undo(self) -> bool:
        if self.chosen is None:
            raise RefusedError(ConflictError)
        self.chosen = None
        return True


class Told:
    """A subscription and the rules, told the same."""

    def __init__(self, terms: Terms) -> None:
        self.now = NOON
        self.subscription = Subscription("cus_1", terms)
        self.wills = Wills(terms)

    @property
    def period(self) -> Period:
        return Period.containing(self.now)

    def operator_moves(self, terms: Terms, origin: Origin = Origin.OPERATOR) -> None:
        version = self.subscription.version
        self.subscription = change_terms(self.subscription, terms, self.now, origin)
        self.wills.move(terms, self.period)
        assert self.subscription.version > version

    def customer(
        self,
        does: Callable[[Subscription, datetime], Subscription],
        rules: Callable[[], bool],
    ) -> None:
        """Let the customer do something: refused or done, never more than was granted (P6)."""
        before, granted = self.subscription, self.wills.granted
        try:
            changes = rules()
        except RefusedError as refused:
            with pytest.raises(refused.args[0]):
                does(before, self.now)
            return
        self.subscription = does(before, self.now)
        assert (self.subscription.version > before.version) is changes
        assert self.subscription.terms_in(self.period) == before.terms_in(self.period)
        for period in (self.period, self.period.next(), self.period.next().next()):
            terms = self.subscription.terms_in(period)
            assert terms.tier.rank <= granted(period).tier.rank
            assert terms.session_limit <= granted(period).session_limit

    def customer_downgrades(self, tier: Tier) -> None:
        self.customer(
            lambda found, now: schedule_downgrade(found, tier, now),
            lambda: self.wills.downgrade(tier, self.period),
        )

    def customer_cancels(self) -> None:
        self.customer(cancel, lambda: self.wills.cancel(self.period))

    def customer_undoes(self) -> None:
        self.customer(undo, self.wills.undo)

    def month_passes(self, *, closed: bool = False) -> None:
        self.now = self.period.end
        self.wills.pass_to(self.period)
        if closed:
            self.subscription = self.subscription.settled(self.period)

    def check(self) -> None:
        period = self.period
        for _ in range(3):
            assert self.subscription.terms_in(period) == self.wills.terms_in(period)
            period = period.next()


ACTS: tuple[Callable[[Told], None], ...] = (
    lambda told: told.operator_moves(Terms.of(Tier.ENTERPRISE)),
    lambda told: told.operator_moves(Terms.of(Tier.PROFESSIONAL)),
    lambda told: told.operator_moves(Terms.of(Tier.PROFESSIONAL, 300)),
    lambda told: told.operator_moves(Terms.of(Tier.STARTER, 700)),
    lambda told: told.operator_moves(Terms.of(Tier.FREE), Origin.PAYMENT),
    lambda told: told.customer_downgrades(Tier.PROFESSIONAL),
    lambda told: told.customer_downgrades(Tier.STARTER),
    Told.customer_cancels,
    Told.customer_undoes,
    Told.month_passes,
)


def test_every_order_of_four_acts_does_what_the_rules_say() -> None:
    for acts in product(ACTS, repeat=4):
        told = Told(Terms.of(Tier.PROFESSIONAL))
        for act in acts:
            act(told)
            told.check()


CONTRACTS = st.builds(
    Terms.of, st.sampled_from(TIERS), st.sampled_from([None, 0, 5, 25, 300, 50_000]), st.none()
)


class Changes(RuleBasedStateMachine):
    """Operator, customer and time in any order, with contracts of any size."""

    @initialize(terms=CONTRACTS)
    def begin(self, terms: Terms) -> None:
        self.told = Told(terms)

    @rule(terms=CONTRACTS, origin=st.sampled_from([Origin.OPERATOR, Origin.PAYMENT]))
    def the_operator_moves_the_customer(self, terms: Terms, origin: Origin) -> None:
        self.told.operator_moves(terms, origin)

    @rule(tier=st.sampled_from(TIERS))
    def the_customer_downgrades(self, tier: Tier) -> None:
        self.told.customer_downgrades(tier)

    @rule()
    def the_customer_cancels(self) -> None:
        self.told.customer_cancels()

    @rule()
    def the_customer_undoes(self) -> None:
        self.told.customer_undoes()

    @rule(tiers=st.lists(st.sampled_from(TIERS), min_size=1, max_size=3))
    def the_customer_changes_its_mind(self, tiers: list[Tier]) -> None:
        """Whatever the customer schedules, undoing it restores exactly what was there."""
        before = self.told.subscription.settled(self.told.period)
        if before.pending is not None and before.pending.origin is Origin.CUSTOMER:
            return
        for tier in tiers:
            self.told.customer_downgrades(tier)
        self.told.customer_undoes()
        after = self.told.subscription.settled(self.told.period)
        assert (after.terms, after.pending) == (before.terms, before.pending)

    @rule(closed=st.booleans())
    def a_month_passes(self, closed: bool) -> None:
        self.told.month_passes(closed=closed)

    @invariant()
    def the_terms_are_those_that_the_rules_say(self) -> None:
        self.told.check()


TestChanges = Changes.TestCase
TestChanges.settings = settings(max_examples=150, stateful_step_count=25)
