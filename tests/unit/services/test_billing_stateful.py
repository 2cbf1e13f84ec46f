"""Months of a customer's life in any order: what is billed is what was counted and in force."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from flowstack_core.domain.errors import (
    ConflictError,
    QuotaExceededError,
    TierLimitationError,
    UpgradeNotSelfServiceError,
)
from flowstack_core.domain.periods import Period
from flowstack_core.domain.plans import Tier
from flowstack_core.domain.sessions import Session
from flowstack_core.domain.subscriptions import Terms
from flowstack_core.services.subscriptions import (
    Command,
    cancellation,
    downgrade_to,
    move_to,
    take_back,
)
from tests.support.fakes import World

TIERS = st.sampled_from(list(Tier))
CONTRACTS = st.sampled_from(
    [
        Terms.of(Tier.FREE, 2),
        Terms.of(Tier.STARTER, 3),
        Terms.of(Tier.PROFESSIONAL, 4),
        Terms.of(Tier.ENTERPRISE, 5, 70_000),
        Terms.of(Tier.ENTERPRISE, 6, 60_000),
    ]
)


class Months(RuleBasedStateMachine):
    """One customer; the model is what was in force when, and what the records say."""

    @initialize(tier=TIERS)
    def begin(self, tier: Tier) -> None:
        self.world = World()
        self.world.subscribe(tier, 3)
        self.first = Period.containing(self.world.clock.now())
        self.prices: dict[Period, int] = {}
        self.tiers: dict[Period, set[Tier]] = {}
        self.left: list[Session] = []
        self.names = 0
        self.in_force()

    @property
    def period(self) -> Period:
        return Period.containing(self.world.clock.now())

    @property
    def terms(self) -> Terms:
        subscription = self.world.tables.subscriptions[self.world.customer_id]
        return subscription.terms_in(self.period)

    def in_force(self) -> None:
        """Note the terms of the present period for the model."""
        terms = self.terms
        self.prices[self.period] = max(self.prices.get(self.period, 0), terms.price_cents)
        self.tiers.setdefault(self.period, set()).add(terms.tier)

    def change(self, command: Command) -> None:
        with suppress(ConflictError, UpgradeNotSelfServiceError):
            self.world.command(command)
        self.in_force()

    # --- the customer --------------------------------------------------------------------------

    @rule(managed=st.booleans())
    def a_session(self, managed: bool) -> None:
        self.names += 1
        with suppress(QuotaExceededError, TierLimitationError):
            self.world.send(f"c{self.names}", managed=managed)

    @rule()
    def a_session_that_is_left_in_flight(self) -> None:
        self.names += 1
        with suppress(QuotaExceededError):
            self.left.append(self.world.admit(f"c{self.names}", managed=False).session)

    @rule(tier=TIERS)
    def downgrade(self, tier: Tier) -> None:
        before = self.terms
        self.change(downgrade_to(tier))
        assert self.terms == before, "P2: a downgrade changes nothing before the period ends"

    @rule()
    def cancel(self) -> None:
        self.change(cancellation())

    @rule()
    def undo(self) -> None:
        self.change(take_back())

    # --- the operator --------------------------------------------------------------------------

    @rule(terms=CONTRACTS)
    def move(self, terms: Terms) -> None:
        before = self.terms
        self.change(move_to(terms))
        assert self.terms.session_limit >= before.session_limit, "nothing paid for is cut"
        if terms.raises(before):
            assert self.terms.tier is terms.tier, "P1: an upgrade is immediate"

    @rule(sessions=st.integers(1, 3))
    def credit(self, sessions: int) -> None:
        self.world.credit(sessions)

    # --- time ----------------------------------------------------------------------------------

    @rule()
    def an_hour_passes(self) -> None:
        self.world.clock.advance(hours=1)
        self.in_force()

    @rule(months=st.integers(1, 3))
    def months_pass(self, months: int) -> None:
        for _ in range(months):
            self.world.clock.move_to(self.period.end + timedelta(minutes=5))
            self.in_force()

    @rule(twice=st.booleans())
    def the_month_end(self, twice: bool) -> None:
        self.world.close_month(twice=twice)

    @rule()
    def the_customer_is_closed_by_need(self) -> None:
        self.world.closing_service.close_due(self.world.customer_id)

    @rule()
    def expiry_finds_what_was_left(self) -> None:
        for session in self.left:
            self.world.tables.expire_head(session.conversation)
            self.world.sessions.release_expired(session, self.world.clock.now())
        self.left.clear()

    # --- what always holds ---------------------------------------------------------------------

    @invariant()
    def statements_and_counters_say_what_the_records_say(self) -> None:
        tables, me = self.world.tables, self.world.customer_id
        stated = sum(
            s.sessions_used + sum(s.adjustments.values()) for s in tables.statements.values()
        )
        waiting = sum(tables.adjustments.get(me, {}).values())
        running = sum(
            counter.sessions_used
            for counter in tables.counters.values()
            if counter.closed_at is None
        )
        counted = sum(record.counted for record in tables.records.values())
        assert stated + waiting + running == counted

    @invariant()
    def managed_and_own_sessions_are_those_of_the_records(self) -> None:
        tables = self.world.tables
        for (_, period), counter in tables.counters.items():
            managed = [r for r in tables.records.values() if r.period == period and r.managed]
            assert counter.managed_sessions == sum(record.counted for record in managed)

    @invariant()
    def periods_are_closed_once_without_gaps_and_only_when_they_have_ended(self) -> None:
        periods = sorted(period for _, period in self.world.tables.statements)
        assert all(period < self.period for period in periods)
        expected, period = [], self.first
        for _ in periods:
            expected.append(period)
            period = period.next()
        assert periods == expected

    @invariant()
    def each_statement_charges_the_highest_tier_in_force(self) -> None:
        for (_, period), statement in self.world.tables.statements.items():
            assert statement.total_cents == self.prices[period], period
            assert set(statement.tiers) == self.tiers[period], period

    @invariant()
    def no_more_sessions_than_the_limit(self) -> None:
        for counter in self.world.tables.counters.values():
            assert counter.sessions_used <= counter.session_limit


Months.TestCase.settings = settings(max_examples=150, stateful_step_count=30)
TestMonths = Months.TestCase
