"""What a statement says of a closed period, and what it costs (P2, P5)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstack_core.domain.periods import Period
from flowstack_core.domain.plans import Tier
from flowstack_core.domain.quota import PeriodUsage
from flowstack_core.domain.statements import (
    Line,
    LineKind,
    PlanChange,
    Statement,
    draft_statement,
    plan_change_after,
)
from flowstack_core.domain.subscriptions import Subscription, Terms, cancel, change_terms
from tests.support.fakes import DECEMBER, NOON, NOVEMBER

OCTOBER = NOVEMBER.previous()
CLOSED_AT = DECEMBER.start


def counter(tier: Tier = Tier.STARTER, **fields: object) -> PeriodUsage:
    opened = PeriodUsage.opened(Subscription("cus_1", Terms.of(tier)), NOVEMBER)
    return replace(opened, **fields)  # type: ignore[arg-type]


def drafted(usage: PeriodUsage, adjustments: dict[Period, int] | None = None) -> Statement:
    return draft_statement(usage, adjustments or {}, None, CLOSED_AT)


def test_a_statement_says_what_the_counter_says() -> None:
    statement = drafted(counter(sessions_used=7, managed_sessions=4))
    assert (statement.customer_id, statement.period) == ("cus_1", NOVEMBER)
    assert (statement.sessions_used, statement.session_limit) == (7, 1_000)
    assert (statement.managed_sessions, statement.byok_sessions) == (4, 3)
    assert statement.closed_at == CLOSED_AT


def test_a_statement_has_one_name() -> None:
    assert drafted(counter()).statement_id == "stm_1_2026-11"


def test_the_plan_is_one_line_at_its_price() -> None:
    statement = drafted(counter())
    assert statement.lines == (Line(LineKind.PLAN, NOVEMBER, "Starter plan", 1_000, 2_900),)
    assert statement.total_cents == 2_900


def test_p5_the_highest_tier_in_force_is_named_and_charged() -> None:
    usage = counter().under(Subscription("cus_1", Terms.of(Tier.PROFESSIONAL), version=2))
    lowered = usage.under(Subscription("cus_1", Terms.of(Tier.STARTER), version=3))
    statement = drafted(lowered)
    assert statement.tiers == (Tier.STARTER, Tier.PROFESSIONAL)
    assert (statement.lines[0].description, statement.total_cents) == ("Professional plan", 9_900)


def test_credits_are_a_line_of_their_own_that_costs_nothing() -> None:
    statement = drafted(counter(session_limit=1_050, credited_sessions=50))
    assert [(line.kind, line.sessions, line.amount_cents) for line in statement.lines] == [
        (LineKind.PLAN, 1_000, 2_900),
        (LineKind.SESSION_CREDIT, 50, 0),
    ]


def test_adjustments_are_lines_of_the_periods_they_correct_the_oldest_first() -> None:
    statement = drafted(counter(), {OCTOBER: -2, OCTOBER.previous(): -1})
    assert [(line.period, line.sessions, line.amount_cents) for line in statement.lines[1:]] == [
        (OCTOBER.previous(), -1, 0),
        (OCTOBER, -2, 0),
    ]
    assert all(line.kind is LineKind.LATE_RELEASE for line in statement.lines[1:])
    assert statement.adjustments == {OCTOBER: -2, OCTOBER.previous(): -1}
    assert statement.sessions_used == 0


def test_a_statement_does_not_follow_what_it_was_drafted_from() -> None:
    adjustments = {OCTOBER: -1}
    statement = drafted(counter(), adjustments)
    adjustments[OCTOBER] = -9
    assert statement.adjustments == {OCTOBER: -1}


@pytest.mark.parametrize("tier", list(Tier))
def test_nothing_changes_where_nothing_waits(tier: Tier) -> None:
    assert plan_change_after(Subscription("cus_1", Terms.of(tier)), NOVEMBER) is None


def test_p2_a_downgrade_is_on_the_statement_of_the_period_that_it_ends() -> None:
    waiting = change_terms(
        Subscription("cus_1", Terms.of(Tier.PROFESSIONAL)), Terms.of(Tier.STARTER), NOON
    )
    change = PlanChange(Terms.of(Tier.PROFESSIONAL), Terms.of(Tier.STARTER))
    assert plan_change_after(waiting, NOVEMBER) == change
    assert plan_change_after(waiting, OCTOBER) is None
    assert plan_change_after(waiting, DECEMBER) is None


def test_p3_so_is_a_cancellation() -> None:
    change = plan_change_after(
        cancel(Subscription("cus_1", Terms.of(Tier.STARTER)), NOON), NOVEMBER
    )
    assert change == PlanChange(Terms.of(Tier.STARTER), Terms.of(Tier.FREE))


@given(
    terms=st.builds(
        Terms,
        st.sampled_from(list(Tier)),
        st.integers(0, 10**9),
        st.integers(0, 10**9),
    ),
    credited=st.integers(0, 10**6),
    adjustments=st.dictionaries(
        st.builds(Period, st.integers(2020, 2025), st.integers(1, 12)), st.integers(-1_000, -1)
    ),
)
def test_the_lines_add_up_whatever_the_contract(
    terms: Terms, credited: int, adjustments: dict[Period, int]
) -> None:
    usage = PeriodUsage.opened(Subscription("cus_1", terms), NOVEMBER)
    usage = replace(usage, credited_sessions=credited, session_limit=terms.session_limit + credited)
    statement = drafted(usage, adjustments)
    own = [line for line in statement.lines if line.kind is not LineKind.LATE_RELEASE]
    late = [line for line in statement.lines if line.kind is LineKind.LATE_RELEASE]
    assert sum(line.sessions for line in own) == statement.session_limit
    assert sum(line.sessions for line in late) == sum(adjustments.values())
    assert statement.total_cents == terms.price_cents
    assert all(isinstance(line.amount_cents, int) for line in statement.lines)
