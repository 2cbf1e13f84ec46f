"""Upgrades, downgrades and what a tier allows, as the next message meets them: P1 to P5."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from flowstack_core.domain.errors import (
    CredentialsRequiredError,
    QuotaExceededError,
    TierLimitationError,
)
from flowstack_core.domain.plans import Tier
from flowstack_core.domain.providers import Provider, parse_credentials
from flowstack_core.domain.subscriptions import Terms, change_terms
from flowstack_core.services.conversations import Answer
from tests.support.fakes import DECEMBER, NOVEMBER, FixedClock, World, at
from tests.support.faulty import Faults
from tests.support.races import race


def on(tier: Tier, limit: int | None = None, clock: FixedClock | None = None) -> World:
    world = World(clock=clock or FixedClock())
    world.subscribe(tier, limit)
    return world


def change_behind_the_counter(world: World, tier: Tier, limit: int | None = None) -> None:
    """Change the subscription and leave the counter at the old terms: the stalest it can be."""
    before = world.tables.subscriptions[world.customer_id]
    world.tables.subscriptions[world.customer_id] = change_terms(
        before, Terms.of(tier, limit), world.clock.now()
    )


# --- P1 --------------------------------------------------------------------------------------


def test_p1_the_very_next_request_after_an_upgrade_sees_the_new_limit_and_keeps_the_count() -> None:
    world = on(Tier.STARTER, 2)
    world.send("one")
    world.send("two")
    with pytest.raises(QuotaExceededError):
        world.send("three")
    world.set_terms(Tier.PROFESSIONAL, 4)
    assert world.send("three").session_started
    assert world.used() == 3
    world.send("four")
    with pytest.raises(QuotaExceededError):
        world.send("five")


def test_p1_an_upgrade_that_the_open_counter_has_not_seen_is_found_before_refusing() -> None:
    world = on(Tier.STARTER, 1)
    world.send("one")
    change_behind_the_counter(world, Tier.PROFESSIONAL, 3)
    assert world.send("two").session_started
    counter = world.counter()
    assert counter is not None
    assert (counter.sessions_used, counter.session_limit) == (2, 3)


@pytest.mark.parametrize("behind_the_counter", [True, False])
def test_p1_an_upgrade_from_free_allows_managed_models_at_once(behind_the_counter: bool) -> None:
    world = on(Tier.FREE)
    world.send("one", managed=False)
    with pytest.raises(TierLimitationError):
        world.send("two")
    if behind_the_counter:
        change_behind_the_counter(world, Tier.STARTER)
    else:
        world.set_terms(Tier.STARTER)
    assert world.send("two").session_started
    assert world.used() == 2


@pytest.mark.parametrize("behind_the_counter", [True, False])
def test_p1_an_upgrade_allows_managed_models_in_a_session_that_is_running(
    behind_the_counter: bool,
) -> None:
    world = on(Tier.FREE)
    world.send(managed=False)
    with pytest.raises(TierLimitationError):
        world.send()
    if behind_the_counter:
        change_behind_the_counter(world, Tier.STARTER)
    else:
        world.set_terms(Tier.STARTER)
    assert not world.send().session_started
    assert world.used() == 1


def test_p1_an_upgrade_in_a_period_that_is_not_open_yet_holds_too() -> None:
    world = on(Tier.FREE, 0)
    world.set_terms(Tier.STARTER)
    assert world.send().session_started


def test_p1_credits_survive_an_upgrade() -> None:
    world = on(Tier.STARTER, 1)
    world.credit(2)
    world.set_terms(Tier.PROFESSIONAL, 5)
    counter = world.counter()
    assert counter is not None
    assert (counter.session_limit, counter.credited_sessions) == (7, 2)


def test_p1_racing_requests_and_upgrades_never_exceed_the_limit_granted() -> None:
    world = on(Tier.STARTER, 5)
    calls: list[Callable[[], object]] = [
        *(partial(world.send, f"c{number}") for number in range(100)),
        partial(world.set_terms, Tier.PROFESSIONAL, 20),
    ]
    outcomes = race(calls)
    started = sum(isinstance(outcome, Answer) for outcome in outcomes)
    assert 5 <= started <= 20
    for number in range(100, 130):
        try:
            started += world.send(f"c{number}").session_started
        except QuotaExceededError:
            continue
    assert started == world.used() == 20
    assert world.drift() == 0


def test_p1_an_upgrade_is_seen_while_a_third_of_the_calls_fail() -> None:
    world = World(faults=Faults(seed=3, rate=1 / 3))
    world.budget.seconds = 1_000_000.0
    world.subscribe(Tier.STARTER, 1)
    world.send("one")
    change_behind_the_counter(world, Tier.PROFESSIONAL, 3)
    world.send("two")
    world.send("three")
    with pytest.raises(QuotaExceededError):
        world.send("four")
    assert (world.used(), world.drift()) == (3, 0)


# --- P2, P3 ------------------------------------------------------------------------------------


def test_p2_a_downgrade_leaves_the_present_period_as_it_was_paid() -> None:
    world = on(Tier.PROFESSIONAL, 3)
    world.send("one")
    world.set_terms(Tier.FREE)
    assert world.send("two").session_started
    assert world.send("three").session_started
    with pytest.raises(QuotaExceededError):
        world.send("four")


def test_p2_a_downgrade_holds_from_the_first_instant_of_the_next_period() -> None:
    world = on(Tier.PROFESSIONAL)
    world.send("before")
    world.set_terms(Tier.STARTER, 1)
    world.clock.move_to(at("2026-11-30T23:59:59.999999"))
    assert world.send("just in time").session_started
    world.clock.move_to(DECEMBER.start)
    world.send("one")
    with pytest.raises(QuotaExceededError) as refusal:
        world.send("two")
    assert refusal.value.details["limit"] == 1
    assert (world.used(NOVEMBER), world.used(DECEMBER)) == (2, 1)


@pytest.mark.parametrize("back_to", [Tier.STARTER, Tier.PROFESSIONAL])
def test_p2_a_downgrade_is_undone_by_taking_it_back_or_by_an_upgrade(back_to: Tier) -> None:
    world = on(Tier.STARTER)
    world.set_terms(Tier.FREE)
    undone = world.set_terms(back_to)
    assert undone.pending is None
    world.clock.move_to(DECEMBER.start)
    assert world.send().session_started
    counter = world.counter()
    assert counter is not None
    assert counter.tier is back_to


@pytest.mark.parametrize("tier", [Tier.STARTER, Tier.PROFESSIONAL, Tier.ENTERPRISE])
def test_p3_after_a_cancellation_service_goes_on_until_the_period_ends(tier: Tier) -> None:
    world = on(tier)
    world.set_terms(Tier.FREE)
    world.clock.move_to(at("2026-11-30T23:59:59.999999"))
    assert world.send("managed to the end").session_started
    world.clock.move_to(DECEMBER.start)
    with pytest.raises(TierLimitationError, match="free tier"):
        world.send("too late")
    assert world.send("with an own key", managed=False).session_started
    counter = world.counter()
    assert counter is not None
    assert (counter.tier, counter.session_limit) == (Tier.FREE, 25)


# --- P4 --------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", ["invoke", "chat"])
def test_p4_managed_models_on_free_are_refused_by_name_and_count_nothing(operation: str) -> None:
    world = on(Tier.FREE)
    with pytest.raises(TierLimitationError, match="free tier") as refusal:
        world.send(operation=operation)
    assert refusal.value.details["tier"] == "free"
    assert (world.used(), world.held(), world.drift()) == (0, 0, 0)
    assert world.model.requests == []
    assert world.session() is None


@pytest.mark.parametrize("operation", ["invoke", "chat"])
def test_p4_on_free_a_session_with_an_own_key_cannot_turn_to_managed_models(
    operation: str,
) -> None:
    world = on(Tier.FREE)
    world.send(managed=False, operation=operation)
    with pytest.raises(TierLimitationError, match="free tier"):
        world.send(managed=True, operation=operation)
    assert not world.send(managed=False, operation=operation).session_started
    assert len(world.model.requests) == 2


def test_p4_the_tier_in_the_authorizers_cache_grants_nothing() -> None:
    world = on(Tier.FREE)
    with pytest.raises(TierLimitationError):
        world.send(tier=Tier.ENTERPRISE)


@pytest.mark.parametrize("tier", [Tier.STARTER, Tier.PROFESSIONAL, Tier.ENTERPRISE])
def test_p4_paid_tiers_may_use_managed_models_and_own_keys(tier: Tier) -> None:
    world = on(tier)
    assert world.send("managed").session_started
    assert world.send("own", managed=False).session_started


def test_p4_a_session_that_straddles_a_cancellation_goes_on_with_own_keys_only() -> None:
    world = on(Tier.STARTER, clock=FixedClock(at("2026-11-30T23:45:00")))
    world.send()
    world.set_terms(Tier.FREE)
    world.clock.move_to(DECEMBER.start)
    with pytest.raises(TierLimitationError, match="free tier"):
        world.send()
    assert not world.send(managed=False).session_started
    assert (world.used(NOVEMBER), world.used(DECEMBER)) == (1, 0)


def test_p4_a_paid_session_that_straddles_a_period_goes_on_with_managed_models() -> None:
    world = on(Tier.STARTER, clock=FixedClock(at("2026-11-30T23:45:00")))
    world.send()
    world.clock.move_to(DECEMBER.start)
    assert not world.send().session_started
    assert world.used(DECEMBER) == 0


def test_p4_at_the_limit_a_running_session_may_still_turn_to_managed_models() -> None:
    world = on(Tier.STARTER, 1)
    world.send(managed=False)
    assert not world.send(managed=True).session_started


@pytest.mark.parametrize("provider", [p for p in Provider if not p.managed])
def test_p4_a_byok_only_provider_without_credentials_is_refused(provider: Provider) -> None:
    with pytest.raises(CredentialsRequiredError, match="own credentials"):
        parse_credentials(provider, None)


# --- P5 --------------------------------------------------------------------------------------


def test_p5_the_price_of_a_period_is_that_of_its_highest_tier_in_whole_cents() -> None:
    world = on(Tier.STARTER)
    world.send()
    world.set_terms(Tier.PROFESSIONAL)
    world.set_terms(Tier.STARTER)
    counter = world.counter()
    assert counter is not None
    assert counter.price_cents == 9_900
    world.clock.move_to(DECEMBER.start)
    world.send()
    counter = world.counter()
    assert counter is not None
    assert counter.price_cents == 2_900
