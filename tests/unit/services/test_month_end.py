"""The month end for all customers: listed in steps, closed in pages, resumed from anywhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowstack_core.domain.errors import InvalidRequestError, NotFoundError
from flowstack_core.domain.month_end import (
    CUSTOMERS_PER_PAGE,
    CUSTOMERS_PER_STEP,
    LISTING_GRACE,
    STALE_AFTER,
    ClosePage,
    Progress,
)
from flowstack_core.domain.periods import Period
from flowstack_core.domain.plans import Tier
from flowstack_core.domain.subscriptions import Subscription, Terms
from flowstack_core.services.month_end import (
    ATTEMPTS,
    CloseWorker,
    PageUnfinishedError,
)
from flowstack_core.services.ports.accounts import Customer
from flowstack_core.services.ports.closing import ClosingFacts
from flowstack_core.services.subscriptions import downgrade_to
from tests.support.fakes import DECEMBER, NOON, NOVEMBER, World
from tests.support.faulty import FunctionKilled, Killed


def populated(customers: int, world: World | None = None) -> World:
    """Return a world of customers, all on starter, on the first of December."""
    world = world or World()
    for number in range(customers):
        customer_id = f"cus_{number:05d}"
        created = NOON + timedelta(seconds=number)
        world.tables.customers[customer_id] = Customer(customer_id, "Ada", created)
        world.tables.subscriptions[customer_id] = Subscription(
            customer_id, Terms.of(Tier.PROFESSIONAL)
        )
    world.clock.move_to(DECEMBER.start + LISTING_GRACE)
    return world


def closed(world: World) -> set[str]:
    """Return who has a statement of November."""
    return {who for who, period in world.tables.statements if period == NOVEMBER}


def reached(world: World) -> Progress:
    return world.month_end.progress(NOVEMBER)


def deliver_all(world: World, *, delivery: int = 1) -> None:
    """Deliver what waits, and what that sends, once."""
    while world.queue.steps or world.queue.pages:
        if world.queue.steps:
            world.month_end.step(*world.queue.steps.popleft())
        if world.queue.pages:
            world.close_worker.close(world.queue.pages.popleft(), delivery)


# --- the whole ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "customers", [0, 1, CUSTOMERS_PER_PAGE, CUSTOMERS_PER_STEP, CUSTOMERS_PER_STEP + 1, 2_300]
)
@pytest.mark.parametrize("twice", [False, True], ids=["once", "all delivered twice"])
def test_every_customer_is_closed_once_and_the_books_agree(customers: int, twice: bool) -> None:
    world = populated(customers)
    world.close_month(twice=twice)
    assert len(closed(world)) == customers
    found = reached(world)
    assert (found.customers, found.closed, found.open) == (customers, customers, 0)
    assert found.done
    world.month_end.ensure()
    assert world.month_end.run(NOVEMBER).finished_at is not None


def test_no_step_lists_more_than_its_share_and_no_page_is_larger_than_a_read() -> None:
    world = populated(2_300)
    world.month_end.ensure()
    asked = []
    while world.queue.steps:
        world.month_end.step(*world.queue.steps.popleft())
        asked.append(sum(len(page.customer_ids) for page in world.queue.pages))
        world.queue.pages.clear()
    assert asked == [1_000, 1_000, 300]


def test_a_schedule_that_fires_twice_starts_one_run() -> None:
    world = populated(3)
    world.month_end.ensure()
    world.month_end.ensure()
    assert len(world.queue.steps) == 1


def test_q3_a_schedule_that_never_fired_delays_statements_and_nothing_else() -> None:
    world = populated(2)
    world.customer_id = "cus_00000"
    world.send("a")
    assert (world.used(DECEMBER), closed(world)) == (1, set())
    world.clock.move_to(DECEMBER.start + timedelta(days=25))
    world.close_month()
    assert len(closed(world)) == 2


def test_a_period_that_has_not_ended_is_not_closed() -> None:
    world = populated(1)
    with pytest.raises(InvalidRequestError):
        world.month_end.start(DECEMBER)
    with pytest.raises(NotFoundError):
        world.month_end.progress(DECEMBER)
    assert not world.queue.steps


def test_the_list_is_looked_at_again_until_the_index_must_have_everybody() -> None:
    world = populated(1)
    world.clock.move_to(DECEMBER.start)
    world.month_end.ensure()
    world.month_end.step(*world.queue.steps.popleft())
    assert world.month_end.run(NOVEMBER).listed_at is None
    assert world.queue.delays[-1] >= LISTING_GRACE.total_seconds()
    # Created in the last moment, and in the index only now.
    created = DECEMBER.start - timedelta(microseconds=1)
    world.tables.customers["cus_late"] = Customer("cus_late", "Eve", created)
    world.tables.subscriptions["cus_late"] = Subscription("cus_late", Terms.of(Tier.STARTER))
    world.clock.advance(minutes=2)
    deliver_all(world)
    assert "cus_late" in closed(world)
    assert reached(world).done


def test_customers_of_the_new_month_are_not_listed() -> None:
    world = populated(1)
    world.tables.customers["cus_new"] = Customer("cus_new", "Eve", DECEMBER.start)
    world.tables.subscriptions["cus_new"] = Subscription("cus_new", Terms.of(Tier.STARTER))
    world.close_month()
    assert reached(world).customers == 1


# --- lost and repeated messages -------------------------------------------------------------------


def test_a_step_delivered_twice_lists_nobody_twice() -> None:
    world = populated(1_500)
    world.month_end.ensure()
    first = world.queue.steps.popleft()
    world.month_end.step(*first)
    world.month_end.step(*first)
    assert world.month_end.run(NOVEMBER).customers == 1_000
    deliver_all(world)
    assert reached(world).customers == 1_500
    assert reached(world).done


@pytest.mark.parametrize("lost", ["step", "page"])
def test_a_message_that_got_lost_is_made_up_for_by_the_daily_reconciliation(lost: str) -> None:
    world = populated(1_500)
    world.month_end.ensure()
    if lost == "step":
        world.queue.steps.clear()
    else:
        world.month_end.step(*world.queue.steps.popleft())
        world.queue.pages.popleft()
    deliver_all(world)
    assert not reached(world).done
    world.month_end.ensure()
    assert not world.queue.pages, "what may still be under way is left alone"
    world.clock.advance(seconds=STALE_AFTER.total_seconds())
    world.close_month()
    assert reached(world).done
    assert len(closed(world)) == 1_500


# --- poison ---------------------------------------------------------------------------------------


class Poisoned:
    """A closing store on which some customers cannot be closed."""

    def __init__(self, world: World, poison: Sequence[str], error: type[BaseException]) -> None:
        self._world = world
        self.poison = set(poison)
        self._error = error

    def __getattr__(self, name: str) -> object:
        return getattr(self._world.closings, name)

    def close(self, closing: object, audit: object) -> bool:
        if closing.customer_id in self.poison:  # type: ignore[attr-defined]
            raise self._error("sour")
        return self._world.closings.close(closing, audit)  # type: ignore[arg-type]


def poisoned(
    world: World, poison: Sequence[str], error: type[BaseException] = ValueError
) -> Poisoned:
    """Let closing some customers fail."""
    store = Poisoned(world, poison, error)
    world.closing_service._closings = store  # type: ignore[assignment]
    return store


def deliver_as_sqs_does(world: World, *, receives: int = 5) -> list[ClosePage]:
    """Deliver pages until none is left; one that fails comes again; return the native dead ones."""
    deliveries: Counter[ClosePage] = Counter()
    dead = []
    while world.queue.pages:
        page = world.queue.pages.popleft()
        deliveries[page] += 1
        try:
            world.close_worker.close(page, deliveries[page])
        except (PageUnfinishedError, FunctionKilled):
            if deliveries[page] < receives:
                world.queue.pages.append(page)
            else:
                dead.append(page)
    return dead


def test_a_poisoned_customer_goes_to_the_dead_letters_with_its_reason_and_stops_nobody() -> None:
    world = populated(60)
    poisoned(world, ["cus_00007"])
    world.month_end.ensure()
    world.month_end.step(*world.queue.steps.popleft())
    assert deliver_as_sqs_does(world) == []
    assert len(closed(world)) == 59
    assert [(page.customer_ids, reason) for page, reason in world.queue.dead] == [
        (("cus_00007",), "ValueError: sour")
    ]
    found = reached(world)
    assert (found.closed, found.open, found.failed) == (59, 0, {"cus_00007": "ValueError: sour"})
    assert not found.done


def test_a_customer_that_kills_the_worker_stops_nobody_either() -> None:
    world = populated(30)
    poisoned(world, ["cus_00000"], FunctionKilled)
    world.month_end.ensure()
    world.month_end.step(*world.queue.steps.popleft())
    dead = deliver_as_sqs_does(world)
    assert [page.customer_ids for page in dead] == [("cus_00000",)]
    assert len(closed(world)) == 29
    assert list(reached(world).failed) == ["cus_00000"]
    assert "killed" in reached(world).failed["cus_00000"]


def test_a_redrive_closes_what_was_given_up_once_its_cause_is_gone() -> None:
    world = populated(3)
    store = poisoned(world, ["cus_00001"])
    world.month_end.ensure()
    world.month_end.step(*world.queue.steps.popleft())
    deliver_as_sqs_does(world)
    store.poison.clear()
    assert world.month_end.redrive(100) == 1
    deliver_as_sqs_does(world)
    assert reached(world).done
    assert reached(world).failed == {}


def test_the_daily_reconciliation_tries_again_who_was_given_up() -> None:
    world = populated(3)
    store = poisoned(world, ["cus_00001"])
    world.month_end.ensure()
    world.month_end.step(*world.queue.steps.popleft())
    deliver_as_sqs_does(world)
    store.poison.clear()
    world.queue.dead.clear()
    world.clock.advance(seconds=STALE_AFTER.total_seconds())
    world.month_end.ensure()
    deliver_as_sqs_does(world)
    assert reached(world).done
    assert reached(world).failed == {}


def test_a_customer_that_vanished_is_given_up_with_that_reason() -> None:
    world = populated(2)
    world.month_end.ensure()
    world.month_end.step(*world.queue.steps.popleft())
    del world.tables.customers["cus_00001"]
    deliver_as_sqs_does(world)
    assert reached(world).failed == {"cus_00001": "There is no such customer."}


def test_a_page_that_fails_is_delivered_again_before_anybody_is_given_up() -> None:
    world = populated(2)
    poisoned(world, ["cus_00001"])
    world.month_end.ensure()
    world.month_end.step(*world.queue.steps.popleft())
    page = world.queue.pages.popleft()
    for delivery in range(1, ATTEMPTS):
        with pytest.raises(PageUnfinishedError, match="sour"):
            world.close_worker.close(page, delivery)
    assert (world.queue.dead, reached(world).closed) == ([], 1)


def behind(world: World, customer_id: str) -> None:
    """Set a customer's test clock to three days ago."""
    facts = world.closings.facts

    def seen(customer_ids: Sequence[str], period: Period) -> dict[str, ClosingFacts]:
        found = dict(facts(customer_ids, period))
        if customer_id in found:
            offset = timedelta(days=-3).total_seconds()
            found[customer_id] = replace(found[customer_id], clock_offset_seconds=offset)
        return found

    world.closings.facts = seen  # type: ignore[method-assign]


def test_a_customer_on_a_test_clock_that_is_not_there_yet_stays_open() -> None:
    world = populated(2)
    behind(world, "cus_00001")
    world.close_month()
    assert closed(world) == {"cus_00000"}
    assert (reached(world).open, reached(world).failed) == (1, {})


def test_of_a_customer_whose_clock_is_not_there_at_the_last_delivery_nobody_says_it_killed() -> (
    None
):
    world = populated(1)
    behind(world, "cus_00000")
    world.month_end.ensure()
    world.month_end.step(*world.queue.steps.popleft())
    world.close_worker.close(world.queue.pages.popleft(), ATTEMPTS)
    assert world.queue.dead == []
    assert "has not ended" in reached(world).failed["cus_00000"]
    world.clock.advance(days=3)
    world.month_end.ensure()
    world.close_worker.close(world.queue.pages.popleft(), 1)
    assert (reached(world).done, reached(world).failed) == (True, {})


# --- killed anywhere ------------------------------------------------------------------------------


@settings(max_examples=80)
@given(seed=st.integers(0, 2**32), applied=st.booleans(), kills=st.integers(1, 6))
def test_a_month_end_killed_anywhere_and_resumed_closes_everybody_once(
    seed: int, applied: bool, kills: int
) -> None:
    chance = Random(seed)
    faults = Killed(10**9, applied=applied)
    world = populated(60, World(faults=faults))
    world.customer_id = "cus_00003"
    world.clock.move_to(NOVEMBER.end - timedelta(hours=1))
    world.command(downgrade_to(Tier.FREE))
    world.clock.move_to(DECEMBER.start + LISTING_GRACE)
    for _ in range(kills):
        faults.left = chance.randrange(80)
        try:
            world.month_end.ensure()
            deliver_all(world)
        except FunctionKilled:
            faults.left = 10**9
            # What was in hand is lost with the process: the queue would deliver it again, and
            # even without that the reconciliation takes it up.
            world.clock.advance(seconds=STALE_AFTER.total_seconds())
    faults.left = 10**9
    world.clock.advance(seconds=STALE_AFTER.total_seconds())
    world.close_month()
    assert len(closed(world)) == 60
    assert reached(world).done
    assert reached(world).customers == 60
    changes = [a for a in world.tables.audits.values() if a.actor == "month-end"]
    assert [change.customer_id for change in changes] == ["cus_00003"]
    subscription = world.tables.subscriptions["cus_00003"]
    assert (subscription.terms.tier, subscription.pending) == (Tier.FREE, None)


def test_runs_are_of_services_that_share_nothing_but_the_store() -> None:
    """Two workers on the same pages at once: each customer is closed by one of them."""
    world = populated(50)
    world.month_end.ensure()
    world.month_end.step(*world.queue.steps.popleft())
    other = CloseWorker(world.closing_service, world.runs, world.queue, world.clock)
    for page in list(world.queue.pages):
        world.close_worker.close(page, 1)
        other.close(page, 1)
    assert reached(world).done
    assert len(world.tables.statements) == 50
