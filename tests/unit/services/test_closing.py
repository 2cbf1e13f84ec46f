"""Closing a customer's periods: what the statement says, once, whatever happens meanwhile."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowstack_core.domain.errors import ServiceUnavailableError
from flowstack_core.domain.periods import Period
from flowstack_core.domain.plans import Tier
from flowstack_core.domain.statements import LineKind, Statement
from flowstack_core.domain.subscriptions import Terms
from flowstack_core.services.closing import ClosingService
from flowstack_core.services.retrying import Retrier
from flowstack_core.services.subscriptions import cancellation, downgrade_to, move_to, take_back
from tests.support.fakes import DECEMBER, NOVEMBER, World
from tests.support.faulty import FunctionKilled, Killed, Unreachable

JANUARY = Period(2027, 1)


def started(tier: Tier = Tier.STARTER, limit: int | None = None) -> World:
    """Return a world with a customer since the middle of November."""
    world = World()
    world.subscribe(tier, limit)
    return world


def close(world: World) -> int:
    """Close what the customer's clock has left behind."""
    return world.closing_service.close_due(world.customer_id)


def statement(world: World, period: Period = NOVEMBER) -> Statement:
    """Return the one statement of a period."""
    return world.tables.statements[world.customer_id, period]


def statements_sum(world: World) -> int:
    """Return the sessions that all statements together speak of."""
    return sum(
        s.sessions_used + sum(s.adjustments.values()) for s in world.tables.statements.values()
    )


# --- what a statement says -----------------------------------------------------------------------


def test_a_statement_says_what_was_counted_managed_and_with_own_keys() -> None:
    world = started()
    for name in "abc":
        world.send(name)
    world.send("d", managed=False)
    world.clock.move_to(DECEMBER.start)
    assert close(world) == 1
    found = statement(world)
    assert (found.sessions_used, found.managed_sessions, found.byok_sessions) == (4, 3, 1)
    assert (found.session_limit, found.total_cents) == (1_000, 2_900)
    assert found.tiers == (Tier.STARTER,)
    assert [(line.kind, line.amount_cents) for line in found.lines] == [(LineKind.PLAN, 2_900)]


def test_a_customer_who_did_nothing_has_a_statement_too() -> None:
    world = started(Tier.PROFESSIONAL)
    world.clock.move_to(DECEMBER.start)
    assert close(world) == 1
    found = statement(world)
    assert (found.sessions_used, found.total_cents) == (0, 9_900)
    counter = world.counter(NOVEMBER)
    assert counter is not None
    assert counter.closed_at == DECEMBER.start


def test_p5_the_highest_tier_in_force_is_charged_and_all_are_named() -> None:
    world = started()
    world.send("a")
    world.set_terms(Tier.PROFESSIONAL)
    world.command(downgrade_to(Tier.FREE))
    world.clock.move_to(DECEMBER.start)
    close(world)
    found = statement(world)
    assert found.tiers == (Tier.STARTER, Tier.PROFESSIONAL)
    assert found.total_cents == 9_900
    assert found.plan_change is not None
    assert found.plan_change.after == Terms.of(Tier.FREE)


def test_a_contract_is_charged_at_its_own_price_and_limit() -> None:
    world = started()
    world.command(move_to(Terms.of(Tier.ENTERPRISE, 250_000, 120_000)))
    world.clock.move_to(DECEMBER.start)
    close(world)
    assert (statement(world).total_cents, statement(world).session_limit) == (120_000, 250_000)


def test_credits_are_a_line_that_costs_nothing_and_do_not_roll_over() -> None:
    world = started(limit=1)
    world.credit(5)
    world.clock.move_to(JANUARY.start)
    assert close(world) == 2
    lines = [(line.kind, line.sessions, line.amount_cents) for line in statement(world).lines]
    assert lines == [(LineKind.PLAN, 1, 2_900), (LineKind.SESSION_CREDIT, 5, 0)]
    assert statement(world, DECEMBER).session_limit == 1


def test_a_period_that_still_runs_is_not_closed() -> None:
    world = started()
    world.clock.move_to(DECEMBER.start - timedelta(microseconds=1))
    assert close(world) == 0
    assert world.tables.statements == {}


def test_nothing_is_closed_before_the_customer_existed() -> None:
    world = started()
    world.clock.move_to(JANUARY.start)
    assert close(world) == 2
    assert {period for _, period in world.tables.statements} == {NOVEMBER, DECEMBER}


# --- plan changes --------------------------------------------------------------------------------


def test_p2_closing_writes_down_the_downgrade_that_took_effect_and_records_it() -> None:
    world = started(Tier.PROFESSIONAL)
    world.command(downgrade_to(Tier.STARTER))
    world.clock.move_to(DECEMBER.start)
    close(world)
    subscription = world.tables.subscriptions[world.customer_id]
    assert (subscription.terms, subscription.pending) == (Terms.of(Tier.STARTER), None)
    record = world.tables.audits[world.customer_id, "close:2026-11"]
    assert (record.actor, record.action) == ("month-end", "subscription.take_effect")


def test_p2_a_late_close_bills_the_terms_that_were_in_force() -> None:
    world = started(Tier.PROFESSIONAL)
    world.command(downgrade_to(Tier.FREE))
    world.clock.move_to(DECEMBER.start + timedelta(days=20))
    # Nothing has closed November yet, and now the customer moves up again.
    world.set_terms(Tier.STARTER)
    world.clock.move_to(JANUARY.start)
    close(world)
    assert statement(world).total_cents == 9_900
    assert statement(world, DECEMBER).tiers == (Tier.FREE, Tier.STARTER)
    assert statement(world, DECEMBER).total_cents == 2_900


def test_p3_a_cancelled_customer_is_charged_to_the_period_end_and_no_longer() -> None:
    world = started()
    world.command(cancellation())
    world.clock.move_to(JANUARY.start)
    close(world)
    assert [statement(world, p).total_cents for p in (NOVEMBER, DECEMBER)] == [2_900, 0]


def test_p2_a_change_taken_back_leaves_no_trace_on_the_statement() -> None:
    world = started()
    world.command(cancellation())
    world.command(take_back())
    world.clock.move_to(JANUARY.start)
    close(world)
    assert [statement(world, p).total_cents for p in (NOVEMBER, DECEMBER)] == [2_900, 2_900]
    assert statement(world).plan_change is None


# --- late facts ----------------------------------------------------------------------------------


def test_s4_a_start_that_waited_past_the_close_counts_in_the_period_that_runs() -> None:
    world = started()
    world.send("early")
    attempt_at = world.clock.now()
    world.clock.move_to(DECEMBER.start)
    close(world)
    before = statement(world)
    # The clock of this function is behind: it still thinks it is November.
    world.clock.move_to(DECEMBER.start - timedelta(milliseconds=50))
    assert attempt_at < DECEMBER.start
    ticket = world.admit("late")
    assert (ticket.session.period, ticket.session.started_at) == (DECEMBER, DECEMBER.start)
    assert (world.used(NOVEMBER), world.used(DECEMBER)) == (1, 1)
    assert statement(world) == before


@pytest.mark.parametrize("months_later", [0, 1, 2])
def test_s5_a_session_released_after_the_close_is_an_adjustment_on_the_next_statement(
    months_later: int,
) -> None:
    world = started()
    world.send("processed")
    held = world.admit("held", managed=False).session
    world.clock.move_to(DECEMBER.start)
    close(world)
    first = statement(world)
    assert (first.sessions_used, first.byok_sessions) == (2, 1)
    for _ in range(months_later):
        world.clock.move_to(Period.containing(world.clock.now()).end)
        close(world)
    world.tables.expire_head(held.conversation)
    assert world.sessions.release_expired(held, world.clock.now())
    next_period = Period.containing(world.clock.now())
    world.clock.move_to(next_period.end)
    close(world)
    assert statement(world) == first, "a statement is never edited"
    found = statement(world, next_period)
    assert found.adjustments == {NOVEMBER: -1}
    assert [(line.kind, line.period, line.sessions) for line in found.lines[1:]] == [
        (LineKind.LATE_RELEASE, NOVEMBER, -1)
    ]
    assert world.drift(NOVEMBER) == 0
    assert statements_sum(world) == 1


def test_an_adjustment_is_on_one_statement_only() -> None:
    world = started()
    held = world.admit("held").session
    world.clock.move_to(DECEMBER.start)
    close(world)
    world.tables.expire_head(held.conversation)
    for _ in range(3):
        assert world.sessions.release_expired(held, world.clock.now())
    world.clock.move_to(Period(2027, 3).start)
    assert close(world) == 3
    adjusted = [s.adjustments for s in world.tables.statements.values() if s.adjustments]
    assert adjusted == [{NOVEMBER: -1}]


# --- again, at once, and cut short ---------------------------------------------------------------


def test_closing_again_changes_nothing() -> None:
    world = started()
    world.send("a")
    world.command(cancellation())
    world.clock.move_to(DECEMBER.start)
    close(world)
    tables = (dict(world.tables.statements), dict(world.tables.subscriptions))
    world.clock.advance(minutes=5)
    assert close(world) == 0
    assert (world.tables.statements, world.tables.subscriptions) == tables


def test_what_happens_between_reading_and_writing_is_on_the_statement() -> None:
    world = started()
    held = world.admit("held").session
    world.clock.move_to(DECEMBER.start)
    real, calls = world.closings.close, []

    def overtaken(closing: object, audit: object) -> bool:
        calls.append(closing)
        if len(calls) == 1:
            assert world.sessions.release(held, world.clock.now())
        return real(closing, audit)  # type: ignore[arg-type]

    world.closings.close = overtaken  # type: ignore[method-assign]
    close(world)
    assert len(calls) == 2
    assert statement(world).sessions_used == 0
    assert statement(world).adjustments == {}


def test_a_change_decided_in_the_old_month_is_not_written_into_it_once_it_is_closed() -> None:
    world = started()
    world.clock.move_to(DECEMBER.start)
    close(world)
    before = world.tables.subscriptions[world.customer_id]
    late = move_to(Terms.of(Tier.PROFESSIONAL)).decide(before, NOVEMBER.start)
    audit = next(iter(world.tables.audits.values()), None)
    assert audit is None
    world.send("a", managed=False)
    record = world.account_service._audit("op", world.customer_id, "test", None, None)
    assert not world.accounts.change_subscription(before, late, NOVEMBER, record)
    assert statement(world).total_cents == 2_900


@settings(max_examples=60)
@given(
    survived=st.integers(0, 25),
    applied=st.booleans(),
    waiting=st.booleans(),
    late=st.booleans(),
)
def test_a_close_killed_anywhere_and_run_again_leaves_what_one_run_leaves(
    survived: int, applied: bool, waiting: bool, late: bool
) -> None:
    faults = Killed(10**6, applied=applied)
    world = World(faults=faults)
    world.subscribe(Tier.PROFESSIONAL)
    held = world.admit("held").session
    world.send("a")
    if late:
        world.clock.move_to(DECEMBER.start)
        close(world)
        world.tables.expire_head(held.conversation)
        world.sessions.release_expired(held, world.clock.now())
    if waiting:
        world.command(downgrade_to(Tier.STARTER))
    last = Period.containing(world.clock.now())
    world.clock.move_to(last.next().end)
    faults.left = survived
    try:
        close(world)
    except FunctionKilled:
        faults.left = 10**6
        close(world)
    periods = [period for _, period in sorted(world.tables.statements, key=lambda e: e[1])]
    assert periods == ([NOVEMBER, DECEMBER, JANUARY] if late else [NOVEMBER, DECEMBER])
    applied_changes = [a for a in world.tables.audits.values() if a.actor == "month-end"]
    assert len(applied_changes) == (1 if waiting else 0)
    assert world.tables.subscriptions[world.customer_id].pending is None
    assert statements_sum(world) == (1 if late else 2)


def test_a_store_that_stays_busy_is_reported_and_leaves_nothing_half_done() -> None:
    world = started()
    world.clock.move_to(DECEMBER.start)
    busy = Unreachable("close").wrap(world.closings)
    retrier = Retrier(sleep=lambda seconds: world.clock.advance(seconds=seconds), chance=lambda: 1)
    service = ClosingService(busy, world.clock, retrier)
    with pytest.raises(ServiceUnavailableError):
        service.close_due(world.customer_id)
    assert world.tables.statements == {}
    assert world.counter(NOVEMBER) is None
    assert close(world) == 1
