"""Margins: exact sums, whoever adds them up in whatever steps."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal
from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstack_core.domain.margin import (
    WORST_SHOWN,
    ManagedUse,
    Margin,
    MarginTotals,
    managed_use,
    reported_periods,
)
from flowstack_core.domain.plans import Tier
from flowstack_core.domain.prices import default_prices
from flowstack_core.domain.quota import PeriodUsage
from flowstack_core.domain.rollups import DaySlice, Route, Talk
from flowstack_core.domain.subscriptions import Subscription, Terms
from tests.support.fakes import DECEMBER, NOVEMBER, at

DAY = date(2026, 11, 24)
HAIKU = Route(managed=True, provider="bedrock", model="claude-haiku-4-5")
OWN_HAIKU = replace(HAIKU, managed=False)
NEW = Route(managed=True, provider="bedrock", model="claude-of-next-year")
MILLION = Talk(7, 1_000_000, 1_000_000)

counts = st.integers(0, 10**9)
talks = st.builds(Talk, counts, counts, counts)
uses = st.builds(ManagedUse, st.decimals(0, 10**6, places=8), talks, talks)
margins = st.lists(
    st.tuples(st.sampled_from(Tier), st.integers(0, 10**7), uses), max_size=2 * WORST_SHOWN
).map(
    lambda facts: [
        Margin(f"cus_{number}", tier, cents, use) for number, (tier, cents, use) in enumerate(facts)
    ]
)


def used(*parts: tuple[Route, Talk]) -> ManagedUse:
    slices = [DaySlice(DAY, "agent", route, 1, talk) for route, talk in parts]
    return managed_use(slices, default_prices(), "us-east-1")


def costing(dollars: str, cents: int = 2_900) -> Margin:
    return Margin("cus_1", Tier.STARTER, cents, ManagedUse(Decimal(dollars)))


# --- one customer ---------------------------------------------------------------------------------


def test_f2_managed_tokens_are_what_a_customer_costs_and_own_keys_are_not() -> None:
    assert used((HAIKU, MILLION), (OWN_HAIKU, MILLION)) == ManagedUse(Decimal("6.60"), MILLION)


def test_f2_tokens_without_a_price_are_told_apart_and_not_taken_to_be_free() -> None:
    found = used((HAIKU, MILLION), (NEW, MILLION))
    assert found == ManagedUse(Decimal("6.60"), MILLION + MILLION, MILLION)


def test_p5_the_tier_of_a_margin_is_the_one_that_its_price_is_of() -> None:
    subscription = Subscription("cus_1", Terms.of(Tier.PROFESSIONAL))
    counter = PeriodUsage.opened(subscription, NOVEMBER)
    cheaper = replace(subscription, terms=Terms.of(Tier.FREE), version=2)
    found = Margin.of(counter.under(cheaper), ManagedUse())
    assert (found.tier, found.revenue_cents) == (Tier.PROFESSIONAL, 9_900)


@pytest.mark.parametrize(
    ("margin", "exceeds"),
    [
        (costing("14.50"), False),
        (costing("14.50000001"), True),
        (costing("0", cents=0), False),
        (costing("0.00000001", cents=0), True),
    ],
    ids=["exactly half", "more than half", "nothing of nothing", "something of nothing"],
)
def test_f2_a_cost_above_the_set_share_of_the_price_is_of_interest(
    margin: Margin, exceeds: bool
) -> None:
    assert margin.exceeds(50) is exceeds
    assert MarginTotals().plus([margin], 50).exceeding == int(exceeds)


def test_a_share_of_no_price_is_none() -> None:
    assert costing("1", cents=0).share is None
    assert costing("14.50").share == Decimal("0.5")


# --- all of them ----------------------------------------------------------------------------------


@given(margins, st.integers(1, 7))
def test_f2_totals_are_the_sums_of_the_customers_however_they_are_cut(
    everybody: list[Margin], size: int
) -> None:
    pages = [everybody[first : first + size] for first in range(0, len(everybody), size)]
    totals = reduce(lambda so_far, page: so_far.plus(page, 50), pages, MarginTotals())
    assert totals == MarginTotals().plus(everybody, 50)
    everything = totals.everybody
    assert everything.customers == len(everybody)
    assert everything.revenue_cents == sum(margin.revenue_cents for margin in everybody)
    assert everything.use == sum((margin.use for margin in everybody), start=ManagedUse())
    for tier, total in totals.tiers.items():
        there = [margin for margin in everybody if margin.tier is tier]
        assert total.customers == len(there)
        assert total.use.cost == sum(margin.use.cost for margin in there)
    assert totals.exceeding == sum(margin.exceeds(50) for margin in everybody)


@given(margins)
def test_the_worst_are_those_who_cost_the_greatest_share(everybody: list[Margin]) -> None:
    worst = MarginTotals().plus(everybody, 50).worst
    costly = [margin for margin in everybody if margin.use != ManagedUse()]
    assert len(worst) == min(len(costly), WORST_SHOWN)
    assert set(worst) <= set(costly)
    infinite = Decimal("Infinity")
    shares = [infinite if margin.share is None else margin.share for margin in worst]
    assert shares == sorted(shares, reverse=True)
    left_out = [margin for margin in costly if margin not in worst]
    for margin in left_out:
        assert (infinite if margin.share is None else margin.share) <= shares[-1]


# --- when -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("now", "periods"),
    [
        ("2026-11-30T23:59:59", (NOVEMBER,)),
        ("2026-12-01T07:00:00", (NOVEMBER, DECEMBER)),
        ("2026-12-02T07:00:00", (NOVEMBER, DECEMBER)),
        ("2026-12-03T07:00:00", (DECEMBER,)),
    ],
)
def test_a_period_is_reported_while_it_runs_and_two_days_after(
    now: str, periods: tuple[object, ...]
) -> None:
    assert reported_periods(at(now)) == periods
