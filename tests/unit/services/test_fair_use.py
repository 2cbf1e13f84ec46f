"""Fair use refuses without counting anything or ending a session (F1)."""

from __future__ import annotations

import pytest

from flowstack_core.domain.errors import (
    ModelError,
    QuotaExceededError,
    RateLimitedError,
    ServiceUnavailableError,
)
from flowstack_core.domain.messages import TokenUsage
from flowstack_core.domain.plans import Tier, plan_for
from tests.support.fakes import NOVEMBER, ScriptedModel, World, model_answer
from tests.support.faulty import Answerless, Unreachable

A_MINUTE_OF_FREE = plan_for(Tier.FREE).fair_use.requests_per_minute
A_DAY_OF_STARTER = plan_for(Tier.STARTER).fair_use.managed_tokens_per_day


def free() -> World:
    world = World()
    world.subscribe(Tier.FREE)
    return world


def exhaust_the_minute(world: World) -> None:
    for _ in range(A_MINUTE_OF_FREE):
        world.send(managed=False, tier=Tier.FREE)


def test_f1_beyond_the_minutes_requests_nothing_is_counted_and_no_model_called() -> None:
    world = free()
    exhaust_the_minute(world)
    with pytest.raises(RateLimitedError) as refusal:
        world.send("another", managed=False, tier=Tier.FREE)
    assert refusal.value.retry_after_seconds == 60
    assert refusal.value.details["limit"] == "requests_per_minute"
    assert not isinstance(refusal.value, QuotaExceededError)
    assert (world.used(), len(world.model.requests)) == (1, A_MINUTE_OF_FREE)


def test_f1_a_refusal_ends_no_session() -> None:
    world = free()
    exhaust_the_minute(world)
    before = world.session()
    with pytest.raises(RateLimitedError):
        world.send(managed=False, tier=Tier.FREE)
    assert world.session() == before
    world.clock.advance(minutes=1)
    assert not world.send(managed=False, tier=Tier.FREE).session_started


def test_f1_a_refusal_claims_no_idempotency_key() -> None:
    world = free()
    exhaust_the_minute(world)
    with pytest.raises(RateLimitedError):
        world.send(managed=False, tier=Tier.FREE, idempotency_key="k1")
    assert world.tables.claims == {}


def test_f1_the_managed_tokens_of_a_day_are_counted_by_answers() -> None:
    world = World(
        model=ScriptedModel(model_answer(tokens=TokenUsage(A_DAY_OF_STARTER, 0))),
    )
    world.subscribe(Tier.STARTER)
    world.send()
    with pytest.raises(RateLimitedError) as refusal:
        world.send()
    assert refusal.value.details["limit"] == "managed_tokens_per_day"
    assert refusal.value.retry_after_seconds == 12 * 60 * 60
    assert not world.send(managed=False).session_started
    world.clock.advance(hours=12)
    assert world.send().session_started


def test_f1_tokens_of_an_own_key_and_of_failures_are_not_counted() -> None:
    world = World(
        model=ScriptedModel(
            model_answer(tokens=TokenUsage(A_DAY_OF_STARTER, 0)), ModelError("boom")
        ),
    )
    world.subscribe(Tier.STARTER)
    world.send(managed=False)
    with pytest.raises(ModelError):
        world.send()
    assert world.send().usage_tokens > 0


def test_f1_and_p1_a_refusal_first_makes_sure_of_the_tier() -> None:
    world = free()
    exhaust_the_minute(world)
    world.set_terms(Tier.STARTER)
    assert world.send(managed=False, tier=Tier.FREE).document["content"] == "Hello!"


def test_f1_within_the_limits_no_subscription_is_read() -> None:
    world = World(faults=Unreachable("subscription"))
    world.subscribe(Tier.STARTER)
    world.usage.open_period(world.tables.subscriptions[world.customer_id], NOVEMBER)
    assert world.send().session_started


def test_f1_making_sure_of_the_tier_is_retried_and_then_refused_as_unavailable() -> None:
    world = World(faults=Answerless(*["subscription"] * 4))
    world.subscribe(Tier.FREE)
    exhaust_the_minute(world)
    with pytest.raises(RateLimitedError):
        world.send(managed=False, tier=Tier.FREE)
    unreachable = World(
        faults=Unreachable(), tables=world.tables, fair_use=world.fair_use, clock=world.clock
    )
    with pytest.raises(ServiceUnavailableError):
        unreachable.send(managed=False, tier=Tier.FREE)


def test_f1_tokens_whose_answer_could_not_be_recorded_were_used_all_the_same() -> None:
    """Otherwise whoever finds an answer that cannot be kept asks the operator's models for free."""
    tokens = TokenUsage(A_DAY_OF_STARTER, 1)
    world = World(faults=Unreachable("settle"), model=ScriptedModel(model_answer(tokens=tokens)))
    world.subscribe(Tier.STARTER)
    with pytest.raises(ServiceUnavailableError):
        world.send()
    with pytest.raises(RateLimitedError) as refusal:
        world.send("another")
    assert refusal.value.details["limit"] == "managed_tokens_per_day"
