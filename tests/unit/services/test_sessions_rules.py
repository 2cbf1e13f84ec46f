"""What starts a session, goes on with it and ends it: rules S1 to S4 and S6."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from flowstack_core.domain.errors import FlowStackError
from flowstack_core.domain.messages import (
    Message,
    ModelAnswer,
    ModelRequest,
    TokenUsage,
    ToolCall,
    ToolResult,
)
from flowstack_core.domain.periods import Period
from flowstack_core.domain.plans import Tier
from flowstack_core.domain.sessions import INACTIVITY_LIMIT
from flowstack_core.services.conversations import Answer
from tests.support.fakes import (
    DECEMBER,
    NOVEMBER,
    FixedClock,
    ScriptedModel,
    World,
    at,
    model_answer,
    text_message,
)
from tests.support.faulty import Faults
from tests.support.races import race

MILLISECOND = timedelta(milliseconds=1)
MICROSECOND = timedelta(microseconds=1)


def subscribed(clock: FixedClock | None = None, model: ScriptedModel | None = None) -> World:
    world = World(clock=clock or FixedClock(), model=model or ScriptedModel())
    world.subscribe(Tier.STARTER)
    return world


# --- S1 --------------------------------------------------------------------------------------


def test_s1_the_first_message_starts_a_session_and_counts_one() -> None:
    world = subscribed()
    answer = world.send()
    assert answer.session_started
    assert answer.document["session"]["new"] is True
    assert world.used() == 1


@pytest.mark.parametrize("operation", ["invoke", "chat"])
def test_s1_follow_ups_are_free_however_many(operation: str) -> None:
    world = subscribed()
    first = world.send(operation=operation)
    for _ in range(200):
        world.clock.advance(minutes=29)
        answer = world.send(operation=operation)
        assert not answer.session_started
        assert answer.document["session"]["id"] == first.document["session"]["id"]
        assert answer.document["session"]["new"] is False
    assert sum(counter.sessions_used for counter in world.tables.counters.values()) == 1


def test_s1_six_messages_are_one_session() -> None:
    world = subscribed()
    said = ["Hello, can you help me?", "I need to analyze this data...", "Thanks! A chart?"]
    for text in said:
        world.send(operation="chat", text=text)
        world.clock.advance(minutes=5)
    history = world.model.requests[-1].messages
    assert [message.role for message in history] == ["user", "assistant"] * 2 + ["user"]
    assert world.used() == 1


@pytest.mark.parametrize(
    "other",
    [{"conversation_id": "other"}, {"agent": "other"}],
    ids=["another conversation", "another agent"],
)
def test_s1_each_conversation_has_sessions_of_its_own(other: dict[str, Any]) -> None:
    world = subscribed()
    world.send()
    assert world.send(**other).session_started
    assert world.used() == 2


def test_s1_another_customers_conversation_of_the_same_name_is_another() -> None:
    world = subscribed()
    world.send(operation="chat", text="my secret")
    stranger = World(tables=world.tables, clock=world.clock, ids=world.ids, customer_id="cus_2")
    stranger.subscribe(Tier.STARTER)
    assert stranger.send(operation="chat").session_started
    assert "my secret" not in repr(stranger.model.requests)
    assert (world.used(), stranger.used()) == (1, 1)


def test_s1_the_outcome_does_not_depend_on_which_write_is_tried_first() -> None:
    world = subscribed()
    assert world.admit("one", follow_up_expected=True).started
    assert world.admit("two", follow_up_expected=False).started
    assert not world.admit("one", follow_up_expected=False).started
    assert not world.admit("two", follow_up_expected=True).started
    assert world.used() == 2


# --- S2 --------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", ["invoke", "chat"])
@pytest.mark.parametrize(
    ("gap", "starts"),
    [
        (INACTIVITY_LIMIT - MILLISECOND, False),
        (INACTIVITY_LIMIT - MICROSECOND, False),
        (INACTIVITY_LIMIT, True),
        (INACTIVITY_LIMIT + MICROSECOND, True),
    ],
    ids=["29:59.999", "29:59.999999", "30:00", "30:00.000001"],
)
def test_s2_a_gap_of_exactly_30_minutes_starts_a_new_session(
    gap: timedelta, starts: bool, operation: str
) -> None:
    world = subscribed()
    world.send(operation=operation)
    world.clock.move_to(world.clock.now() + gap)
    assert world.send(operation=operation).session_started is starts
    assert world.used() == 1 + starts


@pytest.mark.parametrize(
    ("gap", "starts"), [(INACTIVITY_LIMIT - MICROSECOND, False), (INACTIVITY_LIMIT, True)]
)
def test_s2_the_gap_is_measured_from_the_delivery_of_the_answer(
    gap: timedelta, starts: bool
) -> None:
    clock = FixedClock()

    def think(request: ModelRequest) -> ModelAnswer:
        clock.advance(seconds=20)
        return model_answer()

    world = subscribed(clock, ScriptedModel(think))
    answer = world.send()
    delivered = clock.now()
    assert answer.document["session"]["ends_at"] == "2026-11-15T12:30:20.000Z"
    clock.move_to(delivered + gap)
    assert world.send().session_started is starts


@pytest.mark.parametrize(
    ("gap", "starts"), [(INACTIVITY_LIMIT - MICROSECOND, False), (INACTIVITY_LIMIT, True)]
)
def test_s2_the_arrival_of_a_message_whose_model_fails_is_activity_too(
    gap: timedelta, starts: bool
) -> None:
    world = subscribed(model=ScriptedModel(model_answer(), RuntimeError("boom")))
    world.send()
    world.clock.advance(minutes=29)
    with pytest.raises(RuntimeError):
        world.send()
    world.clock.move_to(world.clock.now() + gap)
    assert world.send().session_started is starts


def test_s2_the_later_of_two_overlapping_messages_decides() -> None:
    world = subscribed()
    world.send()

    def overtaken(request: ModelRequest) -> ModelAnswer:
        world.clock.advance(seconds=25)
        world.send()
        delivered_late = world.clock.now()
        world.clock.move_to(delivered_late - timedelta(seconds=5))  # a clock that lags behind
        return model_answer()

    world.model.reactions.append(overtaken)
    world.send()
    session = world.session()
    assert session is not None
    assert session.last_activity_at == at("2026-11-15T12:00:25")


def test_s2_an_expired_item_that_still_exists_is_not_a_live_session() -> None:
    world = subscribed()
    first = world.send().document["session"]["id"]
    world.clock.advance(days=2)
    assert world.session() is not None
    second = world.send()
    assert second.session_started
    assert second.document["session"]["id"] != first


def test_s2_an_expired_item_that_was_deleted_changes_nothing() -> None:
    world = subscribed()
    world.send()
    world.clock.advance(days=2)
    world.tables.expire_head(world.conversation())
    assert world.send().session_started
    assert (world.used(), world.drift()) == (2, 0)


def test_s2_a_new_session_begins_without_the_old_ones_transcript() -> None:
    world = subscribed()
    world.send(operation="chat", text="before")
    world.clock.advance(minutes=30)
    world.send(operation="chat", text="after")
    assert world.model.requests[-1].messages == (text_message("user", "after"),)


def test_s2_a_refused_request_is_not_activity() -> None:
    world = World()
    world.subscribe(Tier.FREE)
    world.send(managed=False, tier=Tier.FREE)
    world.clock.advance(minutes=29)
    with pytest.raises(FlowStackError):
        world.send(managed=True, tier=Tier.FREE)
    world.clock.advance(minutes=1)
    assert world.send(managed=False, tier=Tier.FREE).session_started


# --- S3: races ---------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", ["invoke", "chat"])
def test_s3_fifty_racing_first_messages_of_one_conversation_start_one_session(
    operation: str,
) -> None:
    world = subscribed()
    answers = race([lambda: world.send(operation=operation)] * 50)
    answered = [answer for answer in answers if isinstance(answer, Answer)]
    assert len(answered) == 50
    assert len({answer.document["session"]["id"] for answer in answered}) == 1
    assert sum(answer.session_started for answer in answered) == 1
    assert (world.used(), world.drift(), world.held()) == (1, 0, 0)


def test_s3_racing_messages_after_the_time_out_start_one_session() -> None:
    world = subscribed()
    world.send()
    world.clock.advance(minutes=30)
    race([world.send] * 50)
    assert (world.used(), world.drift()) == (2, 0)


def test_s3_racing_first_messages_start_one_session_while_a_third_of_the_calls_fail() -> None:
    world = World(faults=Faults(seed=7, rate=1 / 3))
    world.budget.seconds = 1_000_000.0  # shared by the threads
    world.subscribe(Tier.STARTER)
    answers = race([world.send] * 50)
    assert all(isinstance(answer, Answer) for answer in answers)
    assert (world.used(), world.drift(), world.held()) == (1, 0, 0)


# --- S4 --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("2026-11-30T23:59:59.999", "2026-12-01T00:00:00"),
        ("2026-12-31T23:45:00", "2027-01-01T00:10:00"),
        ("2027-02-28T23:59:59.999999", "2027-03-01T00:29:59.999"),
        ("2028-02-29T23:59:59.999999", "2028-03-01T00:00:00"),
    ],
    ids=["month", "year", "February", "leap February"],
)
def test_s4_a_session_across_the_end_of_a_period_belongs_to_the_one_it_started_in(
    before: str, after: str
) -> None:
    started_in, went_on_in = Period.containing(at(before)), Period.containing(at(after))
    world = subscribed(FixedClock(at(before)))
    world.send()
    world.clock.move_to(at(after))
    answer = world.send()
    assert not answer.session_started
    assert answer.document["session"]["period"] == started_in.name
    assert (world.used(started_in), world.used(went_on_in)) == (1, 0)


def test_s4_on_the_28th_of_a_leap_february_the_period_goes_on() -> None:
    world = subscribed(FixedClock(at("2028-02-28T23:59:59")))
    world.send()
    world.clock.move_to(at("2028-02-29T12:00:00"))
    world.send()
    assert world.used(Period(2028, 2)) == 2


def test_s4_a_session_kept_alive_through_a_whole_period_never_counts_in_it() -> None:
    world = subscribed(FixedClock(at("2026-11-30T23:40:00")))
    world.send()
    while world.clock.now() < DECEMBER.end:
        world.clock.advance(minutes=29)
        world.send()
    assert (world.used(NOVEMBER), world.used(DECEMBER)) == (1, 0)


def test_s4_an_answer_delivered_after_midnight_counts_when_its_message_arrived() -> None:
    clock = FixedClock(at("2026-11-30T23:59:59.999999"))

    def cross_midnight(request: ModelRequest) -> ModelAnswer:
        clock.move_to(at("2026-12-01T00:00:10"))
        return model_answer()

    world = subscribed(clock, ScriptedModel(cross_midnight))
    assert world.send().document["session"]["period"] == "2026-11"
    assert (world.used(NOVEMBER), world.used(DECEMBER)) == (1, 0)
    assert (world.drift(NOVEMBER), world.drift(DECEMBER)) == (0, 0)


def test_s4_a_session_released_after_midnight_gives_back_to_the_period_it_started_in() -> None:
    clock = FixedClock(at("2026-11-30T23:59:59"))

    def fail_after_midnight(request: ModelRequest) -> ModelAnswer:
        clock.move_to(at("2026-12-01T00:00:10"))
        raise RuntimeError("boom")

    world = subscribed(clock, ScriptedModel(fail_after_midnight))
    with pytest.raises(RuntimeError):
        world.send()
    assert (world.used(NOVEMBER), world.drift(NOVEMBER)) == (0, 0)
    assert world.counter(DECEMBER) is None


# --- S5: free things, S6 -----------------------------------------------------------------------


def test_s5_tool_results_sent_back_go_on_with_the_session_for_free() -> None:
    call = ToolCall("t1", "weather", {"city": "Oslo"})
    world = subscribed(
        model=ScriptedModel(ModelAnswer((call,), "tool_use", TokenUsage(10, 5)), model_answer())
    )
    first = world.send(text="Weather?")
    assert first.document["tool_calls"] == [
        {"id": "t1", "name": "weather", "input": {"city": "Oslo"}}
    ]
    history = (
        text_message("user", "Weather?"),
        Message("assistant", (call,)),
        Message("user", (ToolResult("t1", "sunny"),)),
    )
    second = world.send(messages=history)
    assert second.document["session"]["id"] == first.document["session"]["id"]
    assert world.used() == 1


def test_s5_reading_usage_counts_nothing() -> None:
    world = subscribed()
    for _ in range(3):
        world.usage_service.usage_document(world.customer_id)
        world.usage_service.tier_document(world.customer_id)
        world.usage_service.audit(world.customer_id, None)
    assert world.tables.counters == {}


@pytest.mark.parametrize("managed", [True, False], ids=["managed", "BYOK"])
def test_s6_sessions_with_managed_models_and_with_own_keys_both_count(managed: bool) -> None:
    world = subscribed()
    world.send("one", managed=managed)
    world.send("two", managed=managed)
    assert world.used() == 2


def test_s6_changing_who_pays_for_the_model_stays_in_the_session() -> None:
    world = subscribed()
    for managed in (False, True, False):
        world.send(managed=managed)
    assert world.used() == 1


@pytest.mark.parametrize("skew", [timedelta(seconds=1), timedelta(minutes=5)])
def test_s3_a_message_from_a_machine_whose_clock_is_behind_joins_the_session(
    skew: timedelta,
) -> None:
    midnight: datetime = DECEMBER.start
    world = subscribed(FixedClock(midnight))
    world.send()
    world.clock.move_to(midnight - skew)
    answer = world.send()
    assert not answer.session_started
    assert answer.document["session"]["period"] == "2026-12"
    session = world.session()
    assert session is not None
    assert session.last_activity_at == midnight
