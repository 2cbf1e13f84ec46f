"""Messages that are answered later: admitted at once, run as often as needed, charged once."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import Literal

import pytest

from flowstack_core.domain.deferred import LIFETIME
from flowstack_core.domain.errors import (
    CredentialsRequiredError,
    IdempotencyConflictError,
    InvalidRequestError,
    ModelError,
    NotFoundError,
    QuotaExceededError,
    RequestInProgressError,
    ServiceUnavailableError,
    TierLimitationError,
)
from flowstack_core.domain.messages import ModelAnswer, ModelRequest
from flowstack_core.domain.plans import Tier
from flowstack_core.domain.providers import Provider
from flowstack_core.domain.sessions import INACTIVITY_LIMIT
from flowstack_core.domain.subscriptions import Subscription, Terms
from flowstack_core.services.conversations import Answer, Caller
from flowstack_core.services.ports.failures import StoreContentionError
from tests.support.fakes import OWN, Budget, ScriptedModel, World, byok, message, model_answer
from tests.support.faulty import Answerless, Fault, FunctionKilled, Killed

KEY = "5f2c-retry"
OWN_OF = {Provider.OPENAI: {"api_key": "the stored secret"}}


def world_with(
    *reactions: BaseException | ModelAnswer, limit: int = 5, faults: Fault | None = None
) -> World:
    world = World(model=ScriptedModel(*reactions), faults=faults)
    world.subscribe(Tier.STARTER, limit)
    return world


def killed_in_the_model(world: World, request_id: str) -> None:
    """Run a request in a function that is killed while the model is thinking."""

    def die(request: ModelRequest) -> ModelAnswer:
        raise FunctionKilled

    world.model.reactions.append(die)
    with pytest.raises(FunctionKilled):
        world.run(request_id)


# --- accepting ----------------------------------------------------------------------------------


def test_s1_a_deferred_message_is_admitted_before_it_is_accepted_and_counts_one() -> None:
    world = world_with()
    accepted = world.submit()
    assert (accepted.document["status"], accepted.document["session"]["new"]) == ("queued", True)
    assert world.requests.sent == [(world.customer_id, accepted.request_id)]
    assert (world.used(), world.held()) == (1, 1)
    assert world.model.requests == []


def test_q1_a_deferred_message_is_refused_by_the_quota_at_once() -> None:
    world = world_with(limit=1)
    world.send("first")
    with pytest.raises(QuotaExceededError):
        world.submit("second")
    assert world.requests.sent == []
    assert world.tables.deferred == {}
    assert (world.used(), world.drift()) == (1, 0)


def test_p4_a_deferred_message_needs_managed_models_as_any_other() -> None:
    world = World()
    world.subscribe(Tier.FREE)
    with pytest.raises(TierLimitationError):
        world.submit(tier=Tier.FREE)
    assert (world.used(), world.requests.sent) == (0, [])


def test_credentials_in_the_body_of_a_deferred_request_are_refused_and_kept_nowhere() -> None:
    world = world_with()
    with pytest.raises(InvalidRequestError) as refusal:
        world.deferred.submit(
            Caller(world.customer_id, Tier.STARTER), message(credentials=byok()), world.budget
        )
    assert refusal.value.details["field"] == "byok_credentials"
    assert (world.tables.deferred, world.tables.bodies, world.used()) == ({}, {}, 0)


def test_what_is_kept_of_a_request_has_no_credentials_in_it() -> None:
    world = world_with()
    accepted = world.submit(text="keep me")
    (body,) = world.tables.bodies.values()
    assert "byok_credentials" not in body
    assert body["messages"][0]["content"] == "keep me"
    assert accepted.request_id in str(world.tables.deferred)


def test_s3_a_repeat_with_the_same_key_gets_the_same_request() -> None:
    world = world_with()
    first = world.submit(idempotency_key=KEY)
    again = world.submit(idempotency_key=KEY)
    assert (again.request_id, again.replayed) == (first.request_id, True)
    assert len(world.requests.sent) == 1
    world.run(first.request_id)
    assert world.submit(idempotency_key=KEY).document["status"] == "succeeded"
    assert (world.used(), len(world.model.requests)) == (1, 1)
    with pytest.raises(IdempotencyConflictError):
        world.send(idempotency_key=KEY)


def test_s5_a_queue_that_cannot_be_reached_leaves_nothing_behind() -> None:
    world = world_with()
    world.requests.failures = [StoreContentionError("no queue")] * 1_000
    with pytest.raises(ServiceUnavailableError):
        world.submit(idempotency_key=KEY)
    assert (world.tables.deferred, world.tables.bodies, world.tables.claims) == ({}, {}, {})
    assert (world.used(), world.held(), world.drift()) == (0, 0, 0)


def test_s5_a_request_that_may_have_been_kept_unseen_is_forgotten() -> None:
    world = world_with(faults=Answerless(*["accept"] * 1_000))
    with pytest.raises(ServiceUnavailableError):
        world.submit(idempotency_key=KEY)
    assert (world.tables.deferred, world.tables.claims, world.requests.sent) == ({}, {}, [])
    assert (world.used(), world.held(), world.drift()) == (0, 0, 0)


def test_s5_a_request_that_runs_already_is_accepted_although_the_queue_seemed_to_fail() -> None:
    world = world_with()
    world.requests.failures = [StoreContentionError("the answer was lost")] * 1_000
    world.requests.on_failure = world.run
    accepted = world.submit()
    assert world.found(accepted.request_id)["status"] == "succeeded"
    assert (world.used(), world.held(), world.drift()) == (1, 0, 0)


def test_s5_a_message_that_reached_the_queue_unseen_finds_nothing_to_run() -> None:
    world = world_with()
    world.requests.failures = [StoreContentionError("the answer was lost")] * 1_000
    world.requests.kept = True
    with pytest.raises(ServiceUnavailableError):
        world.submit()
    for _, request_id in world.requests.sent:
        assert world.run(request_id) is None
    assert (world.used(), world.model.requests) == (0, [])


# --- running ------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", ["invoke", "chat"])
def test_s1_an_answer_that_comes_later_is_charged_once(
    operation: Literal["invoke", "chat"],
) -> None:
    world = world_with()
    accepted = world.submit(operation=operation)
    answer = world.run(accepted.request_id)
    assert isinstance(answer, Answer)
    assert answer.session_started
    found = world.found(accepted.request_id)
    assert (found["status"], found["answer"]["content"]) == ("succeeded", "Hello!")
    assert found["answer"] == answer.document
    assert (world.used(), world.held(), world.drift()) == (1, 0, 0)


def test_s3_a_message_that_is_delivered_twice_asks_the_model_once() -> None:
    world = world_with()
    accepted = world.submit()
    assert isinstance(world.run(accepted.request_id), Answer)
    for _ in range(2):
        assert world.run(accepted.request_id) is None
        world.clock.advance(minutes=12)
    assert (world.used(), len(world.model.requests), len(world.tables.settlements)) == (1, 1, 1)


def test_s3_a_second_delivery_waits_while_the_first_may_still_run() -> None:
    world = world_with()
    accepted = world.submit()
    killed_in_the_model(world, accepted.request_id)
    with pytest.raises(RequestInProgressError):
        world.run(accepted.request_id)
    assert len(world.model.requests) == 1


def test_s5_a_worker_that_was_killed_is_followed_by_another_and_charged_once() -> None:
    world = world_with()
    accepted = world.submit()
    killed_in_the_model(world, accepted.request_id)
    assert world.found(accepted.request_id)["status"] == "running"
    world.clock.advance(minutes=13)
    assert isinstance(world.run(accepted.request_id), Answer)
    assert (world.used(), world.held(), world.drift()) == (1, 0, 0)
    assert len(world.tables.settlements) == 1


def test_s5_a_request_whose_workers_were_all_killed_is_not_billed() -> None:
    world = world_with(limit=1)
    accepted = world.submit()
    killed_in_the_model(world, accepted.request_id)
    world.clock.advance(seconds=LIFETIME.total_seconds())
    found = world.found(accepted.request_id)
    assert (found["status"], found["failure"]["error_code"]) == ("failed", "MODEL_TIMEOUT")
    assert world.send("another").session_started
    assert (world.used(), world.drift()) == (1, 0)
    assert world.run(accepted.request_id) is None
    assert len(world.model.requests) == 2


def test_s5_the_last_delivery_of_a_dead_request_gives_its_session_back() -> None:
    world = world_with()
    accepted = world.submit()
    killed_in_the_model(world, accepted.request_id)
    world.clock.advance(seconds=LIFETIME.total_seconds())
    assert world.run(accepted.request_id) is None
    assert (world.used(), world.held(), world.drift()) == (0, 0, 0)


def test_s2_a_request_is_over_before_its_session_can_end_of_silence() -> None:
    world = world_with()
    accepted = world.submit()
    session = world.session()
    assert session is not None
    assert LIFETIME < INACTIVITY_LIMIT
    assert max(session.in_flight.values()) == session.started_at + LIFETIME
    world.clock.advance(minutes=24)
    assert isinstance(world.run(accepted.request_id, Budget(59)), Answer)
    assert not world.send().session_started


def test_a_run_does_not_outlive_its_request() -> None:
    world = world_with()
    accepted = world.submit()
    world.clock.advance(minutes=24)
    world.run(accepted.request_id)
    (request,) = world.model.requests
    assert request.timeout_seconds <= 60


def test_a_deferred_model_has_ten_minutes() -> None:
    world = world_with()
    world.run(world.submit().request_id)
    (request,) = world.model.requests
    assert request.timeout_seconds == 600


def test_s5_a_failing_model_is_told_to_the_caller_and_not_billed() -> None:
    world = world_with(ModelError("the model is ill", details={"hint": "Retry."}))
    accepted = world.submit()
    assert isinstance(world.run(accepted.request_id), ModelError)
    found = world.found(accepted.request_id)
    assert found["failure"] == {
        "error": "the model is ill",
        "error_code": "MODEL_ERROR",
        "details": {"hint": "Retry."},
    }
    assert (world.used(), world.held(), world.drift()) == (0, 0, 0)
    assert world.run(accepted.request_id) is None
    assert len(world.model.requests) == 1


def test_s5_a_bug_is_not_billed_and_not_hidden() -> None:
    world = world_with(RuntimeError("a bug with canary-secret in it"))
    accepted = world.submit()
    with pytest.raises(RuntimeError):
        world.run(accepted.request_id)
    found = world.found(accepted.request_id)
    assert found["failure"]["error_code"] == "INTERNAL_ERROR"
    assert "canary" not in str(found)
    assert (world.used(), world.drift()) == (0, 0)
    assert world.run(accepted.request_id) is None


def test_s5_a_follow_up_that_fails_leaves_its_session_counted() -> None:
    world = world_with(model_answer(), ModelError("boom"))
    world.send()
    accepted = world.submit()
    assert accepted.document["session"]["new"] is False
    world.run(accepted.request_id)
    assert (world.used(), world.drift()) == (1, 0)
    assert not world.send().session_started


@pytest.mark.parametrize("lost", ["settle", "begin", "accept"])
def test_s3_a_write_whose_answer_was_lost_is_charged_once(lost: str) -> None:
    world = world_with(faults=Answerless(lost, lost))
    accepted = world.submit()
    assert isinstance(world.run(accepted.request_id), Answer)
    assert world.found(accepted.request_id)["status"] == "succeeded"
    assert (world.used(), world.held(), world.drift(), len(world.model.requests)) == (1, 0, 0, 1)


@pytest.mark.parametrize("reaction", [model_answer(), ModelError("boom")], ids=["ok", "failing"])
@pytest.mark.parametrize("applied", [False, True])
@pytest.mark.parametrize("survived", range(6))
def test_s5_a_worker_killed_at_any_write_is_charged_for_its_answer_and_for_nothing_else(
    survived: int, reaction: ModelAnswer | ModelError, *, applied: bool
) -> None:
    killer = Killed(1_000, applied=applied)
    world = world_with(reaction, reaction, faults=killer)
    accepted = world.submit()
    killer.left = survived
    with suppress(FunctionKilled):
        world.run(accepted.request_id)
    killer.left = 1_000
    world.clock.advance(minutes=13)
    world.run(accepted.request_id)
    answered = isinstance(reaction, ModelAnswer)
    status = world.found(accepted.request_id)["status"]
    assert status == ("succeeded" if answered else "failed")
    assert (world.used(), world.held(), world.drift()) == (int(answered), 0, 0)
    assert len(world.tables.settlements) == int(answered)


# --- own credentials ----------------------------------------------------------------------------


def with_stored(tier: Tier, provider: Provider = Provider.BEDROCK) -> World:
    world = World()
    world.subscribe(tier)
    world.models.served.add(provider)
    world.store(provider, **OWN_OF.get(provider, OWN))
    return world


def used(world: World) -> list[dict[str, str] | None]:
    """Return the credentials that models were asked with; ``None`` for the operator's."""
    return [None if one is None else dict(one.values) for one in world.models.used]


@pytest.mark.parametrize(
    ("tier", "provider", "asked"),
    [
        (Tier.FREE, Provider.BEDROCK, False),
        (Tier.STARTER, Provider.BEDROCK, True),
        (Tier.STARTER, Provider.OPENAI, False),
    ],
    ids=["free", "byok", "provider"],
)
def test_byok_a_deferred_message_is_answered_with_stored_credentials(
    tier: Tier, provider: Provider, *, asked: bool
) -> None:
    world = with_stored(tier, provider)
    accepted = world.submit(tier=tier, provider=provider, byok=asked)
    assert isinstance(world.run(accepted.request_id), Answer)
    assert used(world) == [OWN_OF.get(provider, OWN)]
    assert (world.used(), world.drift()) == (1, 0)
    kept = f"{world.tables.bodies} {world.tables.deferred}"
    assert not any(secret in kept for secret in OWN.values())


def test_p4_a_deferred_message_without_credentials_is_refused_when_it_is_sent() -> None:
    world = World()
    world.subscribe(Tier.STARTER)
    with pytest.raises(CredentialsRequiredError):
        world.submit(provider=Provider.OPENAI)
    with pytest.raises(CredentialsRequiredError):
        world.submit(byok=True)
    assert (world.used(), world.tables.deferred, world.requests.sent) == (0, {}, [])


def test_p4_after_a_downgrade_a_deferred_message_finds_stored_credentials_too() -> None:
    world = with_stored(Tier.FREE)
    accepted = world.submit(tier=Tier.STARTER, idempotency_key=KEY)
    assert isinstance(world.run(accepted.request_id), Answer)
    assert used(world) == [OWN]
    assert (world.used(), len(world.requests.sent)) == (1, 1)


@pytest.mark.parametrize("tier", [Tier.FREE, Tier.STARTER])
def test_byok_a_request_whose_credentials_are_gone_does_not_use_the_operators(tier: Tier) -> None:
    world = with_stored(tier)
    accepted = world.submit(tier=tier, byok=tier is not Tier.FREE)
    world.set_terms(Tier.PROFESSIONAL)
    world.credential_service.delete("key_1", world.customer_id, "bedrock", world.budget)
    world.clock.advance(minutes=2)
    assert isinstance(world.run(accepted.request_id), CredentialsRequiredError)
    assert (used(world), world.used(), world.drift()) == ([], 0, 0)


def test_byok_who_pays_for_a_deferred_message_is_decided_when_it_is_sent() -> None:
    own = with_stored(Tier.FREE)
    accepted = own.submit(tier=Tier.FREE)
    own.set_terms(Tier.STARTER)
    assert isinstance(own.run(accepted.request_id), Answer)
    assert used(own) == [OWN]

    managed = World()
    managed.subscribe(Tier.STARTER)
    # The caller's tier is out of date.
    accepted = managed.submit(tier=Tier.FREE)
    managed.store()
    managed.tables.subscriptions[managed.customer_id] = Subscription(
        managed.customer_id, Terms.of(Tier.FREE)
    )
    assert isinstance(managed.run(accepted.request_id), Answer)
    assert used(managed) == [None]


def test_a_deferred_chat_remembers_and_is_remembered() -> None:
    world = world_with()
    world.send(operation="chat", text="first")
    world.run(world.submit(operation="chat", text="second").request_id)
    world.send(operation="chat", text="third")
    assert [len(request.messages) for request in world.model.requests] == [1, 3, 5]


# --- reading ------------------------------------------------------------------------------------


def test_only_who_sent_a_request_can_read_it() -> None:
    world = world_with()
    accepted = world.submit()
    with pytest.raises(NotFoundError):
        world.deferred.find("cus_other", accepted.request_id, world.budget)
    with pytest.raises(NotFoundError):
        world.found("req_of_nobody")


def test_an_outcome_can_be_read_for_a_day_and_no_longer() -> None:
    world = world_with()
    accepted = world.submit()
    world.run(accepted.request_id)
    world.clock.advance(seconds=timedelta(hours=24).total_seconds() - 1)
    assert world.found(accepted.request_id)["status"] == "succeeded"
    world.clock.advance(seconds=1)
    with pytest.raises(NotFoundError):
        world.found(accepted.request_id)
