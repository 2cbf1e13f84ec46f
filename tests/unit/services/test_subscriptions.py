"""Changing and trying changes of a subscription: audited, exact under races, dry when asked."""

from __future__ import annotations

from copy import deepcopy
from datetime import datetime, timedelta
from functools import partial
from itertools import pairwise
from typing import Any

import pytest

from flowstack_core.domain.errors import (
    ConflictError,
    FlowStackError,
    NotFoundError,
    ServiceUnavailableError,
    UpgradeNotSelfServiceError,
)
from flowstack_core.domain.plans import Tier
from flowstack_core.domain.subscriptions import Origin, Subscription, Terms
from flowstack_core.services.retrying import Retrier
from flowstack_core.services.subscriptions import (
    Command,
    SubscriptionService,
    cancellation,
    downgrade_to,
    move_to,
    take_back,
)
from tests.support.fakes import DECEMBER, NOVEMBER, FixedClock, World
from tests.support.faulty import Answerless, Unreachable
from tests.support.races import race

UP = move_to(Terms.of(Tier.ENTERPRISE))
DOWN = downgrade_to(Tier.STARTER)


def subscribed(tier: Tier = Tier.PROFESSIONAL) -> World:
    world = World()
    world.subscribe(tier)
    return world


def stored(world: World) -> Subscription:
    return world.tables.subscriptions[world.customer_id]


def trail(world: World) -> list[str]:
    return [record.action for record in world.accounts.audit_trail(world.customer_id, 100)]


def written(world: World) -> Any:
    """Return all that a change could write."""
    tables = world.tables
    return deepcopy((tables.subscriptions, tables.counters, tables.audits, tables.statements))


# --- carrying out --------------------------------------------------------------------------------


def test_p1_an_upgrade_reaches_the_counter_with_the_subscription() -> None:
    world = subscribed(Tier.STARTER)
    world.send("one")
    after = world.command(UP)
    assert stored(world) == after
    counter = world.counter()
    assert counter is not None
    assert (counter.session_limit, counter.sessions_used) == (100_000, 1)
    assert counter.subscription_version == after.version


def test_p2_a_downgrade_leaves_the_present_period_as_it_was_paid() -> None:
    world = subscribed()
    after = world.command(DOWN)
    assert after.pending is not None
    assert after.pending.effective_period == DECEMBER
    assert world.subscription_service.subscription("cus_1").terms.tier is Tier.PROFESSIONAL
    world.clock.move_to(DECEMBER.start)
    assert world.subscription_service.subscription("cus_1").terms.tier is Tier.STARTER


def test_every_change_is_in_the_trail_with_what_was_before_and_after() -> None:
    world = subscribed()
    for command in (DOWN, take_back(), cancellation(), UP):
        world.clock.advance(seconds=1)
        world.subscription_service.change("customer:key_7", "cus_1", command)
    assert trail(world) == [
        "subscription.change",
        "subscription.cancel",
        "subscription.undo",
        "subscription.downgrade",
    ]
    records = list(reversed(world.accounts.audit_trail("cus_1", 100)))
    assert {record.actor for record in records} == {"customer:key_7"}
    for earlier, later in pairwise(records):
        assert later.before == earlier.after
    lowered = records[0].after
    assert lowered is not None
    assert lowered["pending_change"]["origin"] == "customer"


def test_what_changes_nothing_leaves_no_trace() -> None:
    world = subscribed()
    world.command(DOWN)
    before = written(world)
    assert world.command(DOWN) == stored(world)
    assert written(world) == before


@pytest.mark.parametrize(
    ("command", "error"),
    [
        (downgrade_to(Tier.ENTERPRISE), UpgradeNotSelfServiceError),
        (downgrade_to(Tier.PROFESSIONAL), ConflictError),
        (take_back(), ConflictError),
    ],
)
def test_p6_what_is_refused_is_refused_dry_too_and_writes_nothing(
    command: Command, error: type[FlowStackError]
) -> None:
    world = subscribed()
    before = written(world)
    with pytest.raises(error):
        world.command(command)
    with pytest.raises(error):
        world.subscription_service.preview("cus_1", command)
    assert written(world) == before


def test_p6_what_a_payment_scheduled_is_not_the_customers_to_take_back() -> None:
    world = subscribed()
    world.command(move_to(Terms.of(Tier.FREE), Origin.PAYMENT))
    with pytest.raises(ConflictError):
        world.command(take_back())


@pytest.mark.parametrize("command", [DOWN, UP])
def test_nobody_is_not_found(command: Command) -> None:
    service = World().subscription_service
    for ask in (
        partial(service.subscription, "cus_nobody"),
        partial(service.change, "op", "cus_nobody", command),
        partial(service.preview, "cus_nobody", command),
    ):
        with pytest.raises(NotFoundError):
            ask()


def test_p5_ended_periods_are_closed_before_their_terms_are_forgotten() -> None:
    world = subscribed()
    world.command(DOWN)
    world.clock.move_to(DECEMBER.start)
    world.command(UP)
    statement = world.tables.statements["cus_1", NOVEMBER]
    assert statement.total_cents == 9_900
    assert statement.plan_change is not None
    assert statement.plan_change.after.tier is Tier.STARTER
    assert stored(world).terms.tier is Tier.ENTERPRISE


class Ticking(FixedClock):
    """A clock by which every look at it takes a ``tick``."""

    tick = timedelta(0)

    def now(self) -> datetime:
        now = super().now()
        self.move_to(now + self.tick)
        return now


@pytest.mark.parametrize("ticks_before", range(1, 9))
def test_p5_a_change_around_midnight_is_paid_for_in_the_months_it_was_granted_in(
    ticks_before: int,
) -> None:
    clock = Ticking()
    world = World(clock=clock)
    world.subscribe()
    clock.tick = timedelta(milliseconds=1)
    clock.move_to(DECEMBER.start - ticks_before * clock.tick)
    world.command(UP)
    november = world.counter(NOVEMBER)
    upgraded = november is not None and november.session_limit == 100_000
    clock.move_to(DECEMBER.end)
    world.closing_service.close_due(world.customer_id)
    totals = [world.tables.statements["cus_1", each].total_cents for each in (NOVEMBER, DECEMBER)]
    assert totals == [49_900 if upgraded else 2_900, 49_900]


# --- once, whatever happens ----------------------------------------------------------------------


def test_under_one_id_a_change_is_made_once() -> None:
    world = subscribed()
    first = world.command(DOWN, "payment:evt_1")
    world.command(take_back())
    again = world.command(DOWN, "payment:evt_1")
    assert again.pending is None
    assert again.version == first.version + 1
    assert trail(world).count("subscription.downgrade") == 1


def test_under_one_id_a_repeat_is_harmless_where_it_would_be_refused_by_now() -> None:
    world = subscribed()
    world.command(DOWN, "request:1")
    world.clock.move_to(DECEMBER.start)
    assert world.command(DOWN, "request:1").terms.tier is Tier.STARTER


def patient(world: World, accounts: Any) -> SubscriptionService:
    """Return the service over another store of accounts, with time to wait for it."""
    clock = FixedClock()
    return SubscriptionService(
        accounts,
        world.usage,
        world.clock,
        clock,
        bytes,
        Retrier(sleep=lambda seconds: clock.advance(seconds=seconds), chance=lambda: 0.5),
        world.closing_service,
    )


def test_a_change_whose_answer_was_lost_is_made_once() -> None:
    world = subscribed()
    service = patient(world, Answerless("change_subscription").wrap(world.accounts))
    after = service.change("op", "cus_1", DOWN)
    assert stored(world) == after
    assert (after.version, trail(world)) == (2, ["subscription.downgrade"])


def test_contention_without_end_is_reported_and_changes_nothing() -> None:
    world = subscribed()
    before = written(world)
    service = patient(world, Unreachable("change_subscription").wrap(world.accounts))
    with pytest.raises(ServiceUnavailableError):
        service.change("op", "cus_1", DOWN)
    assert written(world) == before


def test_who_keeps_losing_races_is_told_to_try_again() -> None:
    class Overtaken:
        """Somebody else is always faster."""

        def __getattr__(self, name: str) -> Any:
            if name == "change_subscription":
                return lambda *arguments: False
            return getattr(world.accounts, name)

    world = subscribed()
    with pytest.raises(ConflictError, match="somebody else"):
        patient(world, Overtaken()).change("op", "cus_1", DOWN)


def test_p6_racing_changes_follow_one_another_and_none_is_lost() -> None:
    world = subscribed(Tier.ENTERPRISE)
    commands = [
        downgrade_to(Tier.STARTER),
        cancellation(),
        move_to(Terms.of(Tier.PROFESSIONAL)),
        move_to(Terms.of(Tier.ENTERPRISE, 200_000)),
    ]

    def change(command: Command) -> str:
        try:
            world.command(command)
        except ConflictError:
            return "overtaken"
        except UpgradeNotSelfServiceError:
            return "refused"
        return "made"

    outcomes = race([partial(change, command) for command in commands * 4])
    records = list(world.accounts.audit_trail("cus_1", 100))
    facts = sorted((record.after or {} for record in records), key=lambda after: after["version"])
    assert [after["version"] for after in facts] == list(range(2, stored(world).version + 1))
    assert len(records) <= outcomes.count("made")
    assert stored(world).terms_in(NOVEMBER).session_limit >= 100_000


# --- trying dry ----------------------------------------------------------------------------------


def test_a_preview_of_an_upgrade_says_what_holds_at_once() -> None:
    world = subscribed(Tier.STARTER)
    world.send("one")
    world.credit(5)
    before = written(world)
    preview = world.subscription_service.preview("cus_1", UP)
    assert written(world) == before
    assert preview.immediate
    assert (preview.effective_at, preview.effective_period) == (world.clock.now(), NOVEMBER)
    assert preview.usage_after.sessions_remaining == 100_000 + 5 - 1
    assert (preview.usage.price_cents, preview.usage_after.price_cents) == (2_900, 49_900)
    assert preview.lost == ()


def test_a_preview_of_a_downgrade_says_what_is_lost_and_that_nothing_is_refunded() -> None:
    world = subscribed()
    preview = world.subscription_service.preview("cus_1", cancellation())
    assert not preview.immediate
    assert (preview.effective_at, preview.effective_period) == (DECEMBER.start, DECEMBER)
    assert preview.usage_after.price_cents == 9_900
    assert preview.lost == (
        "9975 sessions a month",
        "managed models",
        "advanced analytics",
        "priority support (community instead)",
    )


def test_a_preview_of_undoing_says_that_all_stays() -> None:
    world = subscribed()
    world.command(DOWN)
    preview = world.subscription_service.preview("cus_1", take_back())
    assert preview.terms_before == preview.terms_after == Terms.of(Tier.PROFESSIONAL)
    assert preview.lost == ()


def test_a_preview_counts_a_period_that_ended_unclosed_as_ended() -> None:
    world = subscribed()
    world.command(DOWN)
    world.clock.move_to(DECEMBER.start)
    before = written(world)
    preview = world.subscription_service.preview("cus_1", cancellation())
    assert written(world) == before
    assert preview.terms_before == Terms.of(Tier.STARTER)
    assert preview.effective_period == DECEMBER.next()


@pytest.mark.parametrize("tier", list(Tier))
@pytest.mark.parametrize("command", [DOWN, cancellation(), UP, move_to(Terms.of(Tier.FREE))])
def test_a_preview_is_what_the_change_then_does(tier: Tier, command: Command) -> None:
    world = subscribed(tier)
    world.send("one", managed=False)
    try:
        preview = world.subscription_service.preview("cus_1", command)
    except FlowStackError as refused:
        with pytest.raises(type(refused)):
            world.command(command)
        return
    assert world.command(command) == preview.after
    counter = world.counter()
    assert counter is not None
    assert counter == preview.usage_after
