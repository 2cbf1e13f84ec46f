"""What the runs and reports of margins, and the counters of many, do in memory and on DynamoDB."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from itertools import count

import pytest

from flowstack_core.domain.margin import ManagedUse, Margin, MarginRun
from flowstack_core.domain.month_end import Listing
from flowstack_core.domain.periods import Period
from flowstack_core.domain.plans import Tier
from flowstack_core.domain.rollups import Talk
from flowstack_core.domain.subscriptions import Subscription, Terms, change_terms
from flowstack_core.services.ports.accounts import Customer
from tests.contract.conftest import Stores
from tests.contract.test_account_store import audit_of, key_of
from tests.support.fakes import NOON, NOVEMBER

_years = count(2100)
MORE, LAST = Listing(("cus_1",), "cursor", more=True), Listing(("cus_2",), "cursor2", more=False)
DEAR = Margin(
    "cus_1",
    Tier.STARTER,
    2_900,
    ManagedUse(Decimal("123456.000000000123"), Talk(3, 2, 1), Talk(1, 0, 1)),
)
CHEAP = Margin("cus_2", Tier.FREE, 0)


@pytest.fixture
def run() -> MarginRun:
    """A run of a period that no other test uses."""
    return MarginRun(Period(next(_years), 11), NOON.date(), 50, started_at=NOON)


def finished(run: MarginRun) -> tuple[MarginRun, MarginRun]:
    """Return a run after its only two steps."""
    half = run.after(MORE, [DEAR], NOON)
    return half, half.after(LAST, [CHEAP], NOON + timedelta(minutes=1))


# --- runs -----------------------------------------------------------------------------------------


def test_there_is_no_run_and_no_report_before_one_is_begun(stores: Stores, run: MarginRun) -> None:
    assert stores.margins.run(run.period) is None
    assert stores.margins.report(run.period) is None


def test_f2_a_run_is_kept_to_the_last_digit_and_becomes_the_report(
    stores: Stores, run: MarginRun
) -> None:
    half, done = finished(run)
    assert stores.margins.begin(run)
    assert stores.margins.run(run.period) == run
    assert stores.margins.advance(run, half)
    assert stores.margins.run(run.period) == half
    assert stores.margins.report(run.period) is None
    assert stores.margins.advance(half, done)
    assert stores.margins.run(run.period) == stores.margins.report(run.period) == done


def test_a_step_is_done_once(stores: Stores, run: MarginRun) -> None:
    half, done = finished(run)
    stores.margins.begin(run)
    assert stores.margins.advance(run, half)
    assert not stores.margins.advance(run, half)
    assert stores.margins.advance(half, done)
    assert not stores.margins.advance(half, done)
    assert not stores.margins.advance(done, replace(done, step=9))
    assert stores.margins.report(run.period) == done


def test_of_racing_steps_one_is_done(stores: Stores, run: MarginRun) -> None:
    half, _ = finished(run)
    stores.margins.begin(run)
    with ThreadPoolExecutor(8) as threads:
        outcomes = list(threads.map(lambda _: stores.margins.advance(run, half), range(8)))
    assert outcomes.count(True) == 1


def test_a_run_gives_way_to_one_of_a_later_day_only(stores: Stores, run: MarginRun) -> None:
    half, _ = finished(run)
    tomorrow = replace(run, day=run.day + timedelta(days=1))
    assert stores.margins.begin(run)
    assert not stores.margins.begin(run)
    assert stores.margins.begin(tomorrow)
    assert not stores.margins.begin(run)
    assert not stores.margins.advance(run, half), "its place was taken"
    assert stores.margins.run(run.period) == tomorrow


def test_the_last_report_stands_while_the_next_run_is_under_way(
    stores: Stores, run: MarginRun
) -> None:
    half, done = finished(run)
    stores.margins.begin(run)
    stores.margins.advance(run, half)
    stores.margins.advance(half, done)
    assert stores.margins.begin(replace(run, day=run.day + timedelta(days=1)))
    assert stores.margins.report(run.period) == done


# --- counters -------------------------------------------------------------------------------------


def test_counters_of_many_are_read_under_their_subscriptions(stores: Stores) -> None:
    def subscription(name: str) -> Subscription:
        return Subscription(f"{stores.customer_id}{name}", Terms.of(Tier.STARTER))

    opened, idle, upgraded = subscription("opened"), subscription("idle"), subscription("upgraded")
    for each in (opened, idle, upgraded):
        customer = Customer(each.customer_id, "Ada", NOON)
        audit, key = audit_of(each.customer_id), key_of(each.customer_id)
        assert stores.accounts.create_customer(customer, each, key, audit)
    stores.usage.open_period(opened, NOVEMBER)
    stores.usage.open_period(upgraded, NOVEMBER)
    stores.accounts.change_subscription(
        upgraded,
        change_terms(upgraded, Terms.of(Tier.PROFESSIONAL), NOON),
        NOVEMBER,
        audit_of(upgraded.customer_id, "upgrade"),
    )
    asked = [opened.customer_id, idle.customer_id, upgraded.customer_id, "cus_nobody"]
    # More than DynamoDB reads at once.
    asked += [f"cus_nobody{number}" for number in range(150)]
    found = stores.counters.counters(asked, NOVEMBER)
    assert {who: counter.price_cents for who, counter in found.items()} == {
        opened.customer_id: 2_900,
        idle.customer_id: 2_900,
        upgraded.customer_id: 9_900,
    }
    assert found[upgraded.customer_id].tiers == {Tier.STARTER, Tier.PROFESSIONAL}
    assert found[opened.customer_id] == stores.usage.period_usage(opened.customer_id, NOVEMBER)
