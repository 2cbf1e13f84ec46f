"""Margins: of one customer now, and of all of them in steps that can be repeated and resumed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowstack_core.domain.errors import NotFoundError
from flowstack_core.domain.margin import (
    CUSTOMERS_PER_STEP,
    ManagedUse,
    Margin,
    MarginRun,
    MarginTotals,
)
from flowstack_core.domain.month_end import Listing
from flowstack_core.domain.periods import Period
from flowstack_core.domain.plans import Tier
from flowstack_core.domain.quota import PeriodUsage
from flowstack_core.domain.rollups import DaySlice, Route, Talk
from flowstack_core.domain.subscriptions import Subscription, Terms
from flowstack_core.services.ports.accounts import Customer
from flowstack_core.services.ports.closing import CustomerDirectory
from tests.support.fakes import DECEMBER, NOON, NOVEMBER, World, at
from tests.support.faulty import FunctionKilled, Killed

TODAY = NOON.date()
HAIKU = Route(managed=True, provider="bedrock", model="claude-haiku-4-5")
DOLLAR_10 = Talk(1, 1_000_000, 1_618_182)
"""What comes to ten dollars and a hundred-thousandth on Haiku: $1.10 and $5.50 a million."""


def add(
    world: World,
    customer_id: str,
    tier: Tier = Tier.STARTER,
    *,
    talk: Talk | None = None,
    day: date = TODAY,
    created: datetime = NOON,
) -> None:
    """Add a customer, and what it said on managed models on a day."""
    subscription = Subscription(customer_id, Terms.of(tier))
    world.tables.customers[customer_id] = Customer(customer_id, "Ada", created)
    world.tables.subscriptions[customer_id] = subscription
    if talk is not None:
        period = Period(day.year, day.month)
        counter = replace(PeriodUsage.opened(subscription, period), sessions_used=1)
        world.tables.counters[customer_id, period] = counter
        world.rollups.given(customer_id, DaySlice(day, "agent", HAIKU, 1, talk))


@dataclass
class Told:
    """What was told of customers that cost much."""

    told: list[str] = field(default_factory=list)

    def __call__(self, run: MarginRun, margin: Margin) -> None:
        self.told.append(margin.customer_id)


def deliver_all(
    world: World,
    told: Told | None = None,
    take: Callable[[], tuple[Period, date, int]] | None = None,
) -> list[MarginRun]:
    """Deliver what waits, and what that sends; a function that is killed is called again."""
    queue, told, finished = world.margin_queue, told or Told(), []
    while queue.steps:
        message = (take or queue.steps.popleft)()
        try:
            report = world.margin_reporter.step(*message, told)
        except FunctionKilled:
            revive(world)
            queue.steps.append(message)
            continue
        if report is not None:
            finished.append(report)
    return finished


def revive(world: World) -> None:
    assert isinstance(world.faults, Killed)
    world.faults.left = 10**9


class FewAtOnce:
    """A directory that never lists more than three customers at once."""

    def __init__(self, directory: CustomerDirectory) -> None:
        self._directory = directory

    def created_before(self, end: datetime, cursor: str | None, limit: int) -> Listing:
        return self._directory.created_before(end, cursor, min(limit, 3))


def in_small_steps(world: World) -> World:
    reporter = world.margin_reporter
    reporter._directory = FewAtOnce(reporter._directory)
    return world


def totals_of(world: World, period: Period = NOVEMBER) -> MarginTotals:
    report = world.margin_reports.report(period)
    assert report is not None
    return report.totals


# --- one customer ---------------------------------------------------------------------------------


def test_f2_a_customers_margin_is_its_price_less_what_its_managed_models_cost() -> None:
    world = World()
    add(world, "cus_1", talk=DOLLAR_10)
    period, margin = world.margin_service.margin("cus_1", None)
    assert period == NOVEMBER
    assert margin.revenue_cents == 2_900
    assert margin.use == ManagedUse(Decimal("10.000001"), DOLLAR_10)


def test_s4_only_sessions_that_began_in_the_period_are_its_cost() -> None:
    world = World()
    for day in (date(2026, 10, 31), date(2026, 11, 1), date(2026, 11, 30), date(2026, 12, 1)):
        add(world, "cus_1", talk=Talk(1, 10, 10), day=day, created=at("2026-01-01T00:00:00"))
    world.tables.counters["cus_1", NOVEMBER] = replace(
        world.tables.counters["cus_1", NOVEMBER], sessions_used=2
    )
    for period, messages in ((NOVEMBER, 2), (DECEMBER, 1), (Period(2026, 10), 1)):
        assert world.margin_service.margin("cus_1", period)[1].use.talk.messages == messages


def test_who_pays_and_starts_nothing_is_all_margin() -> None:
    world = World()
    add(world, "cus_1", Tier.PROFESSIONAL)
    _, margin = world.margin_service.margin("cus_1", None)
    assert (margin.tier, margin.revenue_cents, margin.use) == (
        Tier.PROFESSIONAL,
        9_900,
        ManagedUse(),
    )


def test_a_closed_period_keeps_its_price_whatever_was_bought_since() -> None:
    world = World()
    add(world, "cus_1", talk=DOLLAR_10)
    world.clock.move_to(DECEMBER.start)
    closed = replace(world.tables.counters["cus_1", NOVEMBER], closed_at=DECEMBER.start)
    world.tables.counters["cus_1", NOVEMBER] = closed
    world.tables.subscriptions["cus_1"] = Subscription(
        "cus_1", Terms.of(Tier.PROFESSIONAL), version=2
    )
    assert world.margin_service.margin("cus_1", NOVEMBER)[1].revenue_cents == 2_900
    assert world.margin_service.margin("cus_1", None)[1].revenue_cents == 9_900


def test_p1_an_upgrade_that_the_counter_has_not_seen_is_revenue_already() -> None:
    world = World()
    add(world, "cus_1", talk=DOLLAR_10)
    world.tables.subscriptions["cus_1"] = Subscription(
        "cus_1", Terms.of(Tier.PROFESSIONAL), version=2
    )
    assert world.margin_service.margin("cus_1", None)[1].revenue_cents == 9_900


@pytest.mark.parametrize(
    ("customer_id", "period"), [("cus_unknown", None), ("cus_1", Period(2026, 10))]
)
def test_nobody_has_no_margin_and_neither_has_who_was_not_there_yet(
    customer_id: str, period: Period | None
) -> None:
    world = World()
    add(world, "cus_1")
    with pytest.raises(NotFoundError) as refused:
        world.margin_service.margin(customer_id, period)
    assert refused.value.details == {"customer_id": customer_id}


def test_a_period_without_a_report_is_said_to_have_none() -> None:
    with pytest.raises(NotFoundError, match="no report of 2026-11 yet"):
        World().margin_service.report(None)


# --- all of them ----------------------------------------------------------------------------------


@pytest.mark.parametrize("customers", [0, 1, CUSTOMERS_PER_STEP, 2 * CUSTOMERS_PER_STEP + 1])
def test_f2_the_report_has_every_customer_once(customers: int) -> None:
    world = World()
    for number in range(customers):
        add(world, f"cus_{number:04d}", created=NOON + timedelta(seconds=number))
    world.margin_reporter.ensure()
    (report,) = deliver_all(world)
    assert report.step == max(1, -(-customers // CUSTOMERS_PER_STEP))
    assert report == world.margin_service.report(None)
    assert report.totals.everybody.customers == customers
    assert report.totals.everybody.revenue_cents == customers * 2_900


def test_f2_who_costs_more_than_the_set_share_is_counted_and_told_of_by_name() -> None:
    world, told = World(), Told()
    add(world, "cus_cheap", talk=DOLLAR_10)
    add(world, "cus_dear", talk=DOLLAR_10 + DOLLAR_10)
    add(world, "cus_big", Tier.PROFESSIONAL, talk=DOLLAR_10 + DOLLAR_10)
    world.margin_reporter.ensure()
    deliver_all(world, told)
    assert told.told == ["cus_dear"]
    totals = totals_of(world)
    assert totals.exceeding == 1
    assert [margin.customer_id for margin in totals.worst] == ["cus_dear", "cus_cheap", "cus_big"]


def test_a_period_that_just_ended_is_reported_too() -> None:
    world = World()
    add(world, "cus_old", talk=DOLLAR_10)
    world.clock.move_to(at("2026-12-01T07:00:00"))
    add(world, "cus_new", created=at("2026-12-01T01:00:00"))
    world.margin_reporter.ensure()
    reports = {report.period: report for report in deliver_all(world)}
    assert {period: each.of_present for period, each in reports.items()} == {
        NOVEMBER: False,
        DECEMBER: True,
    }
    assert totals_of(world, NOVEMBER).everybody.customers == 1
    assert totals_of(world, DECEMBER).everybody.customers == 2
    assert totals_of(world, DECEMBER).everybody.use == ManagedUse()


def test_a_schedule_that_fires_twice_begins_one_run_and_resumes_it() -> None:
    world = in_small_steps(World())
    for number in range(7):
        add(world, f"cus_{number}")
    world.margin_reporter.ensure()
    world.margin_reporter.step(*world.margin_queue.steps.popleft(), Told())
    world.margin_queue.steps.clear()  # the message was lost
    world.margin_reporter.ensure()
    assert list(world.margin_queue.steps) == [(NOVEMBER, TODAY, 1)]
    assert len(deliver_all(world)) == 1
    assert totals_of(world).everybody.customers == 7
    world.margin_reporter.ensure()
    assert not world.margin_queue.steps, "what is finished is not begun again on the same day"


def test_the_next_day_begins_anew_and_late_messages_of_the_day_before_do_nothing() -> None:
    world = in_small_steps(World())
    for number in range(7):
        add(world, f"cus_{number}")
    world.margin_reporter.ensure()
    late = world.margin_queue.steps.popleft()
    world.clock.advance(seconds=24 * 3600)
    add(world, "cus_7")
    world.margin_reporter.ensure()
    assert world.margin_reporter.step(*late, Told()) is None
    (report,) = deliver_all(world)
    assert report.day == TODAY + timedelta(days=1)
    assert report.totals.everybody.customers == 8


def test_the_last_report_stands_until_the_next_one_is_finished() -> None:
    world = World()
    add(world, "cus_1")
    world.margin_reporter.ensure()
    deliver_all(world)
    first = world.margin_service.report(None)
    world.clock.advance(seconds=24 * 3600)
    world.margin_reporter.ensure()
    assert world.margin_service.report(None) == first
    deliver_all(world)
    assert world.margin_service.report(None).day > first.day


def test_a_last_step_that_is_delivered_again_hands_out_the_report_again() -> None:
    """Else a function that dies between the report and its metrics would keep the alarm silent."""
    world = World()
    add(world, "cus_1")
    world.margin_reporter.ensure()
    message = world.margin_queue.steps.popleft()
    first = world.margin_reporter.step(*message, Told())
    assert first is not None
    assert world.margin_reporter.step(*message, Told()) == first


@settings(max_examples=60, deadline=None)
@given(
    costs=st.lists(st.integers(0, 10**7), max_size=10),
    survived=st.integers(0, 25),
    applied=st.booleans(),
    seed=st.integers(0, 1_000),
)
def test_f2_steps_killed_anywhere_repeated_and_reordered_give_the_same_report(
    costs: list[int], survived: int, applied: bool, seed: int
) -> None:
    def populated(world: World) -> World:
        for number, tokens in enumerate(costs):
            talk = Talk(1, tokens, tokens)
            add(world, f"cus_{number}", created=NOON + timedelta(seconds=number), talk=talk)
        return in_small_steps(world)

    undisturbed = populated(World())
    undisturbed.margin_reporter.ensure()
    told_once = Told()
    deliver_all(undisturbed, told_once)

    world = populated(World(faults=Killed(survived, applied=applied)))
    random, queue, told = Random(seed), world.margin_queue, Told()

    def take_any() -> tuple[Period, date, int]:
        """Take a message out of order; some of them come again later."""
        queue.steps.rotate(random.randrange(len(queue.steps)))
        message = queue.steps.popleft()
        if random.random() < 0.3:
            queue.steps.append(message)
        return message

    try:
        world.margin_reporter.ensure()
    except FunctionKilled:
        revive(world)
        world.margin_reporter.ensure()
    finished = deliver_all(world, told, take_any)
    assert finished
    assert totals_of(world) == totals_of(undisturbed)
    assert set(told.told) == set(told_once.told)
