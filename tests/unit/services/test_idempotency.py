"""A retried request is answered with the first answer, and does nothing else (S3)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from flowstack_core.domain.errors import (
    IdempotencyConflictError,
    ModelError,
    QuotaExceededError,
    RequestInProgressError,
    ServiceUnavailableError,
)
from flowstack_core.domain.idempotency import RETENTION, Claim, idempotency_key
from flowstack_core.domain.messages import ModelAnswer, ModelRequest
from flowstack_core.domain.plans import Tier
from flowstack_core.services.conversations import Answer
from tests.support.fakes import (
    DECEMBER,
    NOVEMBER,
    FixedClock,
    ScriptedModel,
    World,
    at,
    message,
    model_answer,
)
from tests.support.faulty import Answerless, Fault, Faults, Unreachable
from tests.support.races import race

KEY = "5f2c-retry"


def world_with(
    *reactions: BaseException | ModelAnswer,
    limit: int = 10,
    faults: Fault | None = None,
    clock: FixedClock | None = None,
) -> World:
    world = World(clock=clock or FixedClock(), model=ScriptedModel(*reactions), faults=faults)
    world.subscribe(Tier.STARTER, limit)
    return world


def crash(world: World, text: str = "Hi", key: str = KEY, conversation_id: str = "default") -> None:
    """Leave behind what a request leaves whose function is killed while the model is thinking."""
    command = message(text=text, idempotency_key=key, conversation_id=conversation_id)
    now = world.clock.now()
    named = idempotency_key(world.customer_id, key, command.operation, command.fingerprint)
    ticket = world.admit(conversation_id)
    claim = Claim(named, ticket.attempt.attempt_id, now + timedelta(seconds=34), now + RETENTION)
    assert world.sessions.claim(claim, now) == claim


@pytest.mark.parametrize("operation", ["invoke", "chat"])
def test_s3_a_retry_gets_the_first_answer_calls_no_model_and_counts_nothing(
    operation: str,
) -> None:
    world = world_with(model_answer("the first"), model_answer("the second"))
    first = world.send(idempotency_key=KEY, operation=operation)
    retried = world.send(idempotency_key=KEY, operation=operation)
    assert retried.document == first.document
    assert retried.document["content"] == "the first"
    assert (retried.replayed, retried.session_started, retried.usage_tokens) == (True, False, 0)
    assert len(world.model.requests) == 1
    assert (world.used(), len(world.tables.settlements)) == (1, 1)


def test_s3_a_retry_after_the_session_ended_starts_no_new_one() -> None:
    world = world_with()
    first = world.send(idempotency_key=KEY)
    world.clock.advance(hours=2)
    assert world.send(idempotency_key=KEY).document == first.document
    assert (world.used(), len(world.model.requests)) == (1, 1)


def test_s3_a_retry_in_the_next_period_counts_in_neither() -> None:
    world = world_with(clock=FixedClock(at("2026-11-30T23:59:59")))
    first = world.send(idempotency_key=KEY)
    world.clock.move_to(at("2026-12-01T12:00:00"))
    assert world.send(idempotency_key=KEY).document == first.document
    assert (world.used(NOVEMBER), world.used(DECEMBER)) == (1, 0)


def test_s3_a_retry_is_answered_when_the_quota_is_used_up() -> None:
    world = world_with(limit=1)
    first = world.send(idempotency_key=KEY)
    world.clock.advance(hours=1)
    assert world.send(idempotency_key=KEY).document == first.document


def test_s3_a_retry_does_not_prolong_the_session() -> None:
    world = world_with()
    world.send(idempotency_key=KEY)
    world.clock.advance(minutes=29)
    world.send(idempotency_key=KEY)
    world.clock.advance(minutes=1)
    assert world.send(idempotency_key="another").session_started


def test_s3_a_retry_adds_nothing_to_the_transcript() -> None:
    world = world_with()
    world.send(idempotency_key=KEY, operation="chat", text="Hi")
    world.send(idempotency_key=KEY, operation="chat", text="Hi")
    world.send(operation="chat", text="And?")
    assert len(world.model.requests[-1].messages) == 3


def test_s3_the_same_key_with_another_payload_is_a_conflict() -> None:
    world = world_with()
    world.send(idempotency_key=KEY, text="Hi")
    changes: list[dict[str, Any]] = [
        {"text": "Ho"},
        {"conversation_id": "other"},
        {"operation": "chat"},
    ]
    for change in changes:
        with pytest.raises(IdempotencyConflictError):
            world.send(idempotency_key=KEY, **{"text": "Hi", **change})
    assert (world.used(), len(world.model.requests)) == (1, 1)


def test_s3_the_same_key_with_another_payload_is_a_conflict_while_the_first_runs() -> None:
    world = world_with()
    crash(world, text="Hi")
    with pytest.raises(IdempotencyConflictError):
        world.send(idempotency_key=KEY, text="Ho")
    assert world.model.requests == []


def test_s3_customers_do_not_share_keys() -> None:
    world = world_with(model_answer("mine"))
    world.send(idempotency_key=KEY, text="Hi")
    other = World(tables=world.tables, clock=world.clock, ids=world.ids, customer_id="cus_2")
    other.subscribe(Tier.STARTER)
    assert other.send(idempotency_key=KEY, text="Ho").document["content"] == "Hello!"


def test_s3_a_repeat_while_the_first_still_runs_is_told_when_to_come_back() -> None:
    world = world_with()

    def repeat_meanwhile(request: ModelRequest) -> ModelAnswer:
        with pytest.raises(RequestInProgressError) as refusal:
            world.send(idempotency_key=KEY)
        assert refusal.value.retry_after_seconds is not None
        return model_answer("the first")

    world.model.reactions.append(repeat_meanwhile)
    world.send(idempotency_key=KEY)
    assert world.send(idempotency_key=KEY).document["content"] == "the first"
    assert (world.used(), len(world.model.requests)) == (1, 1)


@pytest.mark.parametrize("operation", ["invoke", "chat"])
def test_s3_racing_repeats_call_the_model_once(operation: str) -> None:
    world = world_with()
    outcomes = race([lambda: world.send(idempotency_key=KEY, operation=operation)] * 50)
    for outcome in outcomes:
        assert isinstance(outcome, Answer | RequestInProgressError)
    contents = [o.document for o in outcomes if isinstance(o, Answer)]
    assert contents
    assert all(document == contents[0] for document in contents)
    assert (len(world.model.requests), world.used(), world.drift()) == (1, 1, 0)


@pytest.mark.parametrize("seed", range(20))
def test_s3_retries_of_one_request_end_in_one_answer_while_a_third_of_the_calls_fail(
    seed: int,
) -> None:
    world = world_with(faults=Faults(seed=seed, rate=1 / 3))
    documents: list[dict[str, Any]] = []
    while len(documents) < 3:
        world.budget.seconds = 12.2
        try:
            documents.append(world.send(idempotency_key=KEY).document)
        except (ServiceUnavailableError, RequestInProgressError):
            world.clock.advance(seconds=40)
    assert documents[0] == documents[1] == documents[2]
    assert (len(world.tables.settlements), world.drift()) == (1, 0)
    assert world.used() == 1 + world.held()


# --- failures and crashes -------------------------------------------------------------------------


def test_s3_after_a_failure_a_retry_runs_at_once() -> None:
    world = world_with(ModelError("boom"))
    with pytest.raises(ModelError):
        world.send(idempotency_key=KEY)
    answer = world.send(idempotency_key=KEY)
    assert (answer.replayed, answer.session_started) == (False, True)
    assert (world.used(), world.drift()) == (1, 0)


def test_s3_a_refusal_is_not_remembered() -> None:
    world = world_with(limit=0)
    with pytest.raises(QuotaExceededError):
        world.send(idempotency_key=KEY)
    world.credit(1)
    assert world.send(idempotency_key=KEY).session_started


def test_s3_a_failed_request_frees_its_key_for_another_payload() -> None:
    world = world_with(ModelError("boom"))
    with pytest.raises(ModelError):
        world.send(idempotency_key=KEY, text="Hi")
    assert world.send(idempotency_key=KEY, text="Ho").session_started


def test_s3_a_killed_request_is_taken_over_when_it_cannot_be_running_any_more() -> None:
    world = world_with(limit=1)
    crash(world)
    world.clock.advance(seconds=33, microseconds=999_999)
    with pytest.raises(RequestInProgressError):
        world.send(idempotency_key=KEY)
    world.clock.advance(microseconds=1)
    answer = world.send(idempotency_key=KEY)
    assert not answer.replayed
    assert (len(world.model.requests), world.used(), world.held()) == (1, 1, 0)
    assert world.send(idempotency_key=KEY).document == answer.document


def test_s3_racing_retries_of_a_killed_request_call_the_model_once() -> None:
    world = world_with(limit=1)
    crash(world)
    world.clock.advance(seconds=34)
    race([lambda: world.send(idempotency_key=KEY)] * 50)
    assert (len(world.model.requests), world.used(), world.drift()) == (1, 1, 0)


def test_s3_a_request_whose_key_was_taken_over_meanwhile_is_not_delivered() -> None:
    world = world_with()

    def slow(request: ModelRequest) -> ModelAnswer:
        world.clock.advance(seconds=34)
        world.send(idempotency_key=KEY)
        return model_answer("from the dead")

    world.model.reactions.extend([slow, model_answer("the one that counts")])
    with pytest.raises(ServiceUnavailableError):
        world.send(idempotency_key=KEY)
    assert world.send(idempotency_key=KEY).document["content"] == "the one that counts"
    session = world.session()
    assert session is not None
    assert session.in_flight == {}
    assert (world.used(), world.drift(), len(world.tables.settlements)) == (1, 0, 1)


def test_s3_an_answer_settled_unseen_is_kept_for_the_retry() -> None:
    """The client got a 503; its retry gets the answer, and nothing happens twice."""
    world = world_with(model_answer("recorded"), faults=Answerless(*["settle"] * 200))
    with pytest.raises(ServiceUnavailableError):
        world.send(idempotency_key=KEY)
    assert isinstance(world.faults, Answerless)
    world.faults.left = []
    world.budget.seconds = 29.0
    retried = world.send(idempotency_key=KEY)
    assert retried.replayed
    assert retried.document["content"] == "recorded"
    assert (len(world.model.requests), world.used(), world.drift()) == (1, 1, 0)


def test_s3_marker_and_effect_are_one_write() -> None:
    """While the settlement cannot be made, there is neither an answer nor a processed session."""
    world = world_with(faults=Unreachable("settle", "drop_claim"))
    with pytest.raises(ServiceUnavailableError):
        world.send(idempotency_key=KEY)
    assert [claim.answer for claim in world.tables.claims.values()] == [None]
    assert (world.used(), world.tables.processed) == (0, set())


@pytest.mark.parametrize("lost", ["claim", "drop_claim", "settle", "start_session"])
def test_s3_an_answer_lost_on_the_way_back_from_the_store_changes_nothing(lost: str) -> None:
    world = world_with(ModelError("boom"), faults=Answerless(lost, lost))
    with pytest.raises(ModelError):
        world.send(idempotency_key=KEY)
    first = world.send(idempotency_key=KEY)
    assert world.send(idempotency_key=KEY).document == first.document
    assert (len(world.model.requests), world.used(), world.drift()) == (2, 1, 0)


def test_s3_a_key_is_forgotten_after_its_retention() -> None:
    world = world_with()
    world.send(idempotency_key=KEY, text="Hi")
    world.clock.move_to(world.clock.now() + RETENTION - timedelta(microseconds=1))
    with pytest.raises(IdempotencyConflictError):
        world.send(idempotency_key=KEY, text="Ho")
    world.clock.advance(microseconds=1)
    assert world.send(idempotency_key=KEY, text="Ho").session_started


def test_s3_without_a_key_the_same_message_twice_is_two_messages() -> None:
    world = world_with()
    world.send()
    assert not world.send().replayed
    assert len(world.model.requests) == 2
