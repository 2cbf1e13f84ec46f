"""A session in which nothing was processed is not billed, whatever went wrong (S5)."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from flowstack_core.domain.errors import (
    ContextLengthExceededError,
    FlowStackError,
    InvalidRequestError,
    ModelError,
    ModelNotAvailableError,
    ModelRequestRejectedError,
    ModelTimeoutError,
    ModelUnavailableError,
    ProviderCredentialsRejectedError,
    ProviderRateLimitedError,
    QuotaExceededError,
    ServiceUnavailableError,
)
from flowstack_core.domain.messages import Message, ModelAnswer, ModelRequest, ToolResult
from flowstack_core.domain.plans import Tier
from flowstack_core.services.conversations import Answer
from flowstack_core.services.expiry import ExpiryService
from tests.support.fakes import (
    DECEMBER,
    NOVEMBER,
    Budget,
    FixedClock,
    ScriptedModel,
    World,
    at,
    model_answer,
    text_message,
)
from tests.support.faulty import Answerless, Fault, Faults, FunctionKilled, Killed, Unreachable
from tests.support.races import race

FAILURES = [
    ModelError("failed"),
    ProviderRateLimitedError("throttled", retry_after_seconds=3),
    ModelUnavailableError("overloaded"),
    ModelTimeoutError("too slow"),
    ModelRequestRejectedError("bad image"),
    ProviderCredentialsRejectedError("wrong key"),
    RuntimeError("a bug"),
    KeyboardInterrupt(),
    SystemExit(1),
]


def world_with(
    *reactions: BaseException | ModelAnswer,
    limit: int = 1,
    faults: Fault | None = None,
    clock: FixedClock | None = None,
) -> World:
    world = World(clock=clock or FixedClock(), model=ScriptedModel(*reactions), faults=faults)
    world.subscribe(Tier.STARTER, limit)
    return world


# --- seen failures are released at once ----------------------------------------------------------


@pytest.mark.parametrize("operation", ["invoke", "chat"])
@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: type(failure).__name__)
def test_s5_a_session_whose_model_failed_is_released_at_once(
    failure: BaseException, operation: str
) -> None:
    world = world_with(failure)
    with pytest.raises(type(failure)) as raised:
        world.send("failed", operation=operation)
    assert raised.value is failure
    assert (world.used(), world.held(), world.drift()) == (0, 0, 0)
    assert world.send("another").session_started


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: type(failure).__name__)
def test_s5_a_failed_follow_up_leaves_the_session_counted_and_alive(
    failure: BaseException,
) -> None:
    world = world_with(model_answer(), failure)
    first = world.send()
    with pytest.raises(type(failure)):
        world.send()
    session = world.session()
    assert session is not None
    assert session.in_flight == {}
    assert world.send().document["session"]["id"] == first.document["session"]["id"]
    assert (world.used(), world.drift()) == (1, 0)


def test_s5_a_failed_first_message_does_not_take_a_racing_second_with_it() -> None:
    world = world_with()

    def fail_while_another_runs(request: ModelRequest) -> ModelAnswer:
        world.admit()
        raise RuntimeError("boom")

    world.model.reactions.append(fail_while_another_runs)
    with pytest.raises(RuntimeError):
        world.send()
    assert (world.used(), world.held()) == (1, 1)


def test_s5_of_racing_first_messages_that_all_fail_nothing_is_left() -> None:
    world = world_with(*[RuntimeError("boom")] * 50)

    def send() -> None:
        with pytest.raises(RuntimeError):
            world.send()

    race([send] * 50)
    assert (world.used(), world.held(), world.drift()) == (0, 0, 0)


def test_s5_of_racing_first_messages_of_which_one_succeeds_one_session_is_left() -> None:
    world = world_with(*[ModelError("boom")] * 49, limit=10)
    outcomes = race([world.send] * 50)
    assert sum(isinstance(outcome, Answer) for outcome in outcomes) == 1
    assert (world.used(), world.held(), world.drift()) == (1, 0, 0)


@pytest.mark.parametrize("seed", range(20))
def test_s5_a_failure_is_released_exactly_once_while_a_third_of_the_calls_fail(seed: int) -> None:
    world = world_with(*[ModelError("boom")] * 20, faults=Faults(seed=seed, rate=1 / 3))
    for _ in range(20):
        world.budget.seconds = 29.0
        with pytest.raises(ModelError):
            world.send()
        assert (world.used(), world.held(), world.drift()) == (0, 0, 0)


@pytest.mark.parametrize("lost", ["abandon", "release"])
def test_s5_a_release_whose_answer_was_lost_is_not_done_twice(lost: str) -> None:
    world = world_with(model_answer(), ModelError("boom"), limit=5, faults=Answerless(lost, lost))
    world.send("counted")
    with pytest.raises(ModelError):
        world.send("failed")
    assert (world.used(), world.drift()) == (1, 0)


# --- requests that are refused ------------------------------------------------------------------


def test_s5_requests_that_are_wrong_in_themselves_reach_no_store_and_no_model() -> None:
    world = world_with(faults=Unreachable())
    tool_result = Message("user", (ToolResult("t1", "sunny"),))
    wrong: list[tuple[dict[str, Any], type[FlowStackError]]] = [
        ({"model": "gpt-9"}, ModelNotAvailableError),
        ({"max_tokens": 10_000_000}, InvalidRequestError),
        ({"text": " "}, InvalidRequestError),
        ({"text": "word " * 2_000_000}, ContextLengthExceededError),
        ({"messages": (text_message("assistant", "Hi"),)}, InvalidRequestError),
        ({"messages": (tool_result,)}, InvalidRequestError),
        ({"idempotency_key": "a\nb"}, InvalidRequestError),
    ]
    for fields, error in wrong:
        with pytest.raises(error):
            world.send(**fields)
    assert isinstance(world.faults, Unreachable)
    assert world.faults.calls == 0
    assert world.tables.counters == {}
    assert world.model.requests == []


def test_s5_tool_results_without_a_session_that_asked_for_them_count_nothing() -> None:
    world = world_with()
    with pytest.raises(InvalidRequestError):
        world.send(operation="chat", messages=(Message("user", (ToolResult("t1", "sunny"),)),))
    assert (world.used(), world.held(), world.drift()) == (0, 0, 0)
    assert world.model.requests == []


def test_s5_a_refusal_by_the_quota_leaves_nothing_behind() -> None:
    world = world_with(limit=0)
    with pytest.raises(QuotaExceededError):
        world.send()
    assert world.session() is None
    assert list(world.sessions.records(world.customer_id, NOVEMBER)) == []


# --- the stores cannot be reached, or not in time -----------------------------------------------


def test_when_the_stores_cannot_be_reached_admission_is_refused_never_waved_through() -> None:
    world = world_with(faults=Unreachable())
    with pytest.raises(ServiceUnavailableError) as refusal:
        world.send()
    assert refusal.value.retry_after_seconds is not None
    assert world.model.requests == []
    assert world.tables.counters == {}


@pytest.mark.parametrize(
    "operation", ["continue_session", "start_session", "subscription", "open_period", "claim"]
)
def test_when_one_write_of_admission_cannot_be_made_nothing_is_counted(operation: str) -> None:
    world = world_with(faults=Unreachable(operation))
    with pytest.raises(ServiceUnavailableError):
        world.send(operation="chat", idempotency_key="k1")
    assert world.model.requests == []
    assert (world.used(), world.held(), world.drift()) == (0, 0, 0)
    assert world.tables.claims == {}


@pytest.mark.parametrize("operation", ["held_sessions", "release", "subscription"])
def test_when_a_refusal_cannot_be_made_sure_of_it_is_not_called_a_quota(operation: str) -> None:
    world = world_with(faults=Unreachable(operation))
    assert isinstance(world.faults, Unreachable)
    world.faults.active = False
    world.admit("crashed", budget=Budget(29))
    world.clock.advance(seconds=34)
    world.faults.active = True
    with pytest.raises(ServiceUnavailableError):
        world.send("another")
    assert (world.used(), world.drift()) == (1, 0)


def test_a_start_that_took_effect_unseen_is_taken_back_when_time_runs_out() -> None:
    world = world_with(limit=2, faults=Answerless())
    world.send("opens the period")
    assert isinstance(world.faults, Answerless)
    world.faults.left = ["start_session"] * 200
    with pytest.raises(ServiceUnavailableError):
        world.send("unseen")
    assert len(list(world.sessions.records(world.customer_id, NOVEMBER))) == 2
    assert (world.used(), world.held(), world.drift()) == (1, 0, 0)
    assert len(world.model.requests) == 1


def test_a_follow_up_that_took_effect_unseen_leaves_nothing_in_flight() -> None:
    world = world_with(faults=Answerless())
    world.send()
    assert isinstance(world.faults, Answerless)
    world.faults.left = ["continue_session"] * 100
    with pytest.raises(ServiceUnavailableError):
        world.send(operation="chat")
    session = world.session()
    assert session is not None
    assert session.in_flight == {}
    assert (world.used(), world.drift()) == (1, 0)


def test_retries_stop_while_there_is_still_time_for_the_model() -> None:
    world = world_with(faults=Unreachable("start_session"))
    with pytest.raises(ServiceUnavailableError):
        world.send()
    assert world.budget.seconds >= 12.0
    assert world.budget.seconds < 29.0


def test_without_time_for_the_model_it_is_not_asked_and_nothing_counts() -> None:
    world = world_with()
    world.budget.seconds = 3.5
    with pytest.raises(ModelTimeoutError):
        world.send()
    assert world.model.requests == []
    assert (world.used(), world.held(), world.drift()) == (0, 0, 0)


def test_the_model_gets_the_time_that_is_left_less_what_settling_takes() -> None:
    world = world_with()
    world.budget.seconds = 20.0
    world.send()
    assert world.model.requests[0].timeout_seconds == 17.0


def test_an_answer_that_cannot_be_settled_is_not_delivered_and_not_billed() -> None:
    world = world_with(faults=Unreachable("settle"))
    with pytest.raises(ServiceUnavailableError):
        world.send()
    assert (world.used(), world.held(), world.drift()) == (0, 0, 0)


def test_an_answer_whose_settlement_took_effect_unseen_is_delivered_after_a_retry() -> None:
    world = world_with(faults=Answerless("settle"))
    assert world.send().session_started
    assert (world.used(), world.held(), len(world.tables.settlements)) == (1, 0, 1)


@pytest.mark.parametrize("faulty", [Answerless, Unreachable])
def test_when_it_is_unknown_whether_an_answer_was_recorded_the_client_is_not_told_otherwise(
    faulty: type[Answerless | Unreachable],
) -> None:
    operations = ["settle"] * (200 if faulty is Answerless else 1)
    world = world_with(faults=faulty(*operations))
    with pytest.raises(ServiceUnavailableError) as failure:
        world.send()
    assert "Nothing was counted" not in failure.value.message
    assert failure.value.retry_after_seconds is not None


def test_a_settlement_that_took_effect_unseen_is_neither_released_nor_counted_again() -> None:
    world = world_with(faults=Answerless(*["settle"] * 200))
    with pytest.raises(ServiceUnavailableError):
        world.send()
    assert isinstance(world.faults, Answerless)
    world.faults.left = []
    world.budget.seconds = 29.0
    assert (world.used(), world.held(), world.drift()) == (1, 0, 0)
    assert not world.send().session_started
    assert (world.used(), world.drift()) == (1, 0)


# --- crashes that nobody saw --------------------------------------------------------------------


def test_s5_a_crashed_session_counts_only_until_it_cannot_be_running_any_more() -> None:
    world = world_with()
    world.admit("crashed", budget=Budget(29))
    world.clock.advance(seconds=33, microseconds=999_999)
    with pytest.raises(QuotaExceededError) as refusal:
        world.send("another")
    assert refusal.value.details["held"] == 1
    world.clock.advance(microseconds=1)
    assert world.send("another").session_started
    assert (world.used(), world.held(), world.drift()) == (1, 0, 0)


def test_s5_a_crash_between_giving_up_and_releasing_is_released_by_the_next_refusal() -> None:
    world = world_with(ModelError("boom"), faults=Unreachable("release"))
    with pytest.raises(ModelError):
        world.send("failed")
    assert (world.used(), world.held()) == (1, 1)
    assert isinstance(world.faults, Unreachable)
    world.faults.active = False
    world.budget.seconds = 29.0
    assert world.send("another").session_started
    assert (world.used(), world.held(), world.drift()) == (1, 0, 0)


def test_s5_racing_refusals_release_each_crashed_session_once() -> None:
    world = world_with(limit=10)
    for number in range(10):
        world.admit(f"crashed {number}", budget=Budget(29))
    world.clock.advance(seconds=34)
    outcomes = race([partial(world.send, f"c{number}") for number in range(50)])
    assert sum(isinstance(outcome, Answer) for outcome in outcomes) == 10
    assert (world.used(), world.held(), world.drift()) == (10, 0, 0)


def test_s5_the_next_message_of_a_crashed_conversation_goes_on_with_its_session() -> None:
    world = world_with()
    crashed = world.admit()
    world.clock.advance(minutes=1)
    answer = world.send()
    assert answer.document["session"]["id"] == crashed.session.session_id
    assert (world.used(), world.held(), world.drift()) == (1, 0, 0)


def test_s5_a_crashed_session_that_ended_gives_way_to_the_next_of_its_conversation() -> None:
    world = world_with()
    crashed = world.admit()
    world.clock.advance(minutes=30)
    answer = world.send()
    assert answer.document["session"]["id"] != crashed.session.session_id
    assert (world.used(), world.held(), world.drift()) == (1, 0, 0)


def test_s5_a_crashed_session_of_a_past_period_is_given_back_there() -> None:
    world = world_with(limit=5, clock=FixedClock(at("2026-11-30T23:59:00")))
    world.admit()
    world.clock.move_to(at("2026-12-01T12:00:00"))
    world.send()
    assert (world.used(NOVEMBER), world.used(DECEMBER)) == (0, 1)
    assert (world.drift(NOVEMBER), world.drift(DECEMBER)) == (0, 0)


def test_s5_a_session_with_one_dead_and_one_running_attempt_is_not_released() -> None:
    world = world_with()
    world.admit("shared", budget=Budget(29))
    world.clock.advance(seconds=30)
    world.admit("shared", budget=Budget(29))
    world.clock.advance(seconds=10)
    with pytest.raises(QuotaExceededError):
        world.send("another")
    assert (world.used(), world.held()) == (1, 1)


def test_s5_a_processed_session_is_not_released_however_many_attempts_crash_in_it() -> None:
    world = world_with()
    world.send("c")
    world.admit("c", budget=Budget(29))
    world.clock.advance(minutes=5)
    with pytest.raises(QuotaExceededError):
        world.send("another")
    assert (world.used(), world.held()) == (1, 0)


def test_s5_an_answer_that_comes_after_its_session_was_released_is_not_delivered() -> None:
    world = world_with()

    def slow(request: ModelRequest) -> ModelAnswer:
        world.clock.advance(minutes=31)
        world.budget.seconds = 29.0
        world.send("another")
        return model_answer()

    world.model.reactions.append(slow)
    with pytest.raises(ServiceUnavailableError, match="too late"):
        world.send("slow")
    assert (world.used(), world.held(), world.drift()) == (1, 0, 0)


def test_s5_an_answer_too_late_for_its_session_does_not_touch_the_next_of_its_conversation() -> (
    None
):
    world = world_with(limit=5)

    def overtaken(request: ModelRequest) -> ModelAnswer:
        world.clock.advance(minutes=31)
        world.admit("c", budget=Budget(29))
        return model_answer()

    world.model.reactions.append(overtaken)
    with pytest.raises(ServiceUnavailableError, match="too late"):
        world.send("c")
    session = world.session("c")
    assert session is not None
    assert len(session.in_flight) == 1
    assert (world.used(), world.held(), world.drift()) == (1, 1, 0)


# --- a crash between any two writes --------------------------------------------------------------


@pytest.mark.parametrize("idempotency_key", [None, "k1"], ids=["without a key", "with a key"])
@pytest.mark.parametrize("reaction", [model_answer(), ModelError("boom")], ids=["answer", "error"])
@pytest.mark.parametrize("applied", [False, True], ids=["before the write", "after the write"])
@pytest.mark.parametrize("survived", range(11))
def test_s5_a_function_killed_at_any_write_leaves_a_count_that_is_right_or_rights_itself(
    survived: int, applied: bool, reaction: ModelAnswer | ModelError, idempotency_key: str | None
) -> None:
    world = world_with(reaction, faults=Killed(survived, applied=applied))
    with suppress(ModelError, FunctionKilled):
        world.send("killed", operation="chat", idempotency_key=idempotency_key)
    assert world.drift() == 0
    processed = len(world.tables.processed)
    assert world.used() == processed + world.held()

    world.clock.advance(seconds=35)
    after = World(tables=world.tables, clock=world.clock, ids=world.ids)
    if processed:
        with pytest.raises(QuotaExceededError):
            after.send("another")
    else:
        assert after.send("another").session_started
    assert (world.used(), world.held(), world.drift()) == (1, 0, 0)


@pytest.mark.parametrize("applied", [False, True], ids=["before the write", "after the write"])
@pytest.mark.parametrize("survived", range(6))
def test_s3_the_retry_of_a_request_killed_at_any_write_is_answered_and_counts_once(
    survived: int, applied: bool
) -> None:
    world = world_with(faults=Killed(survived, applied=applied))
    with suppress(FunctionKilled):
        world.send(operation="chat", idempotency_key="k1")
    settled = [settlement.answer for settlement in world.tables.settlements]

    world.clock.advance(seconds=35)
    after = World(tables=world.tables, clock=world.clock, ids=world.ids)
    retried = after.send(operation="chat", idempotency_key="k1")
    assert retried.replayed is bool(settled)
    assert [settlement.answer for settlement in world.tables.settlements] == [retried.document]
    assert (world.used(), world.held(), world.drift()) == (1, 0, 0)


# --- expiry -------------------------------------------------------------------------------------


def expiry(world: World) -> ExpiryService:
    return ExpiryService(world.sessions, world.clock)


def test_s5_expiry_releases_a_session_in_which_nothing_was_processed_once() -> None:
    world = world_with(limit=5)
    ticket = world.admit("crashed")
    world.send("counted")
    world.clock.advance(days=2)
    world.tables.expire_head(ticket.attempt.conversation)
    for _ in range(3):  # stream records are delivered at least once
        assert expiry(world).session_deleted(ticket.session)
        assert (world.used(), world.drift()) == (1, 0)


def test_s5_expiry_leaves_a_processed_session_counted() -> None:
    world = world_with()
    world.send()
    image = world.session()
    assert image is not None
    world.clock.advance(days=2)
    world.tables.expire_head(image.conversation)
    assert not expiry(world).session_deleted(image)
    assert (world.used(), world.drift()) == (1, 0)


def test_s5_a_session_that_was_released_before_is_not_released_again_by_its_expiry() -> None:
    world = world_with(limit=5)
    ticket = world.admit("crashed")
    world.send("counted")
    world.clock.advance(minutes=31)
    world.send("crashed")
    assert world.used() == 2
    expiry(world).session_deleted(ticket.session)
    assert (world.used(), world.drift()) == (2, 0)


def test_s5_a_new_session_may_start_before_the_old_ones_expiry_is_told() -> None:
    world = world_with(limit=5)
    crashed = world.admit()
    world.clock.advance(days=1)
    world.tables.expire_head(crashed.attempt.conversation)
    world.send()
    assert world.used() == 2
    expiry(world).session_deleted(crashed.session)
    assert (world.used(), world.held(), world.drift()) == (1, 0, 0)


def test_s5_busy_until_covers_the_callers_time_and_a_slow_kill() -> None:
    world = world_with()
    ticket = world.admit(budget=Budget(29))
    assert ticket.attempt.busy_until == world.clock.now() + timedelta(seconds=34)
