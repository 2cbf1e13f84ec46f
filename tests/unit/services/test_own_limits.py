"""Limits that customers set themselves: caps of one session, and a ceiling on a month's cost."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import date, timedelta
from decimal import Decimal
from functools import partial
from typing import Any, Literal

import pytest

from flowstack_core.domain.errors import (
    AccountClosedError,
    BudgetExceededError,
    InvalidRequestError,
    ModelError,
    NotFoundError,
    QuotaExceededError,
    ServiceUnavailableError,
    SessionCapReachedError,
    TierLimitationError,
)
from flowstack_core.domain.messages import ModelAnswer, ModelRequest, TokenUsage
from flowstack_core.domain.own_limits import (
    MAX_CEILING_CENTS,
    MAX_TOKEN_CAP,
    MAX_TURN_CAP,
    UNCAPPED,
    CeilingAction,
    OwnLimits,
    SessionCaps,
)
from flowstack_core.domain.plans import Tier
from flowstack_core.domain.rollups import DaySlice, Route, Talk
from flowstack_core.services.conversations import Answer
from flowstack_core.services.own_limits import BudgetService, budget_document
from flowstack_core.services.ports.failures import StoreContentionError
from flowstack_core.services.subscriptions import ending
from tests.support.fakes import (
    DECEMBER,
    NOVEMBER,
    Budget,
    ScriptedModel,
    World,
    at,
    model_answer,
)
from tests.support.faulty import Answerless, Fault, Faults, FunctionKilled, Killed, Unreachable
from tests.support.races import race

Operation = Literal["invoke", "chat"]
operations = pytest.mark.parametrize("operation", ["invoke", "chat"])

OPENAI = Route(managed=False, provider="openai", model="gpt-4o")
UNKNOWN = Route(managed=False, provider="litellm", model="house-model")
MANAGED = Route(managed=True, provider="bedrock", model="claude-haiku-4-5")
TODAY = date(2026, 11, 15)
STARTER_PRICE = 29


def world_with(
    *reactions: BaseException | ModelAnswer | Callable[[ModelRequest], ModelAnswer],
    limit: int = 5,
    faults: Fault | None = None,
    **limits: Any,
) -> World:
    """Return a starter that limits itself."""
    world = World(model=ScriptedModel(*reactions), faults=faults)
    world.subscribe(Tier.STARTER, limit)
    if limits:
        undisturbed = world if faults is None else World(tables=world.tables, clock=world.clock)
        undisturbed.limit_itself(**limits)
    return world


def taking(tokens: int) -> ModelAnswer:
    return model_answer(tokens=TokenUsage(tokens - 1, 1))


def turns(world: World, conversation_id: str = "default") -> int:
    session = world.session(conversation_id)
    assert session is not None
    return session.turns


# --- a cap on turns -----------------------------------------------------------------------------


@operations
@pytest.mark.parametrize("cap", [1, 2, 7])
def test_a_session_takes_exactly_as_many_turns_as_its_cap(cap: int, operation: Operation) -> None:
    world = world_with(session_turn_cap=cap)
    for _ in range(cap):
        world.send(operation=operation)
    for _ in range(3):
        with pytest.raises(SessionCapReachedError):
            world.send(operation=operation)
    assert (turns(world), len(world.model.requests)) == (cap, cap)
    assert (world.used(), world.drift()) == (1, 0)


def test_without_a_cap_a_session_takes_as_many_turns_as_come() -> None:
    world = world_with()
    for _ in range(50):
        world.send()
    assert turns(world) == 50


def test_a_refusal_by_a_cap_explains_itself_and_moves_nothing() -> None:
    world = world_with(session_turn_cap=1)
    answer = world.send()
    before = world.session()
    world.clock.advance(minutes=29)
    with pytest.raises(SessionCapReachedError) as refusal:
        world.send(operation="chat", idempotency_key="k1")
    details = refusal.value.details
    assert {"kind": "turns", "cap": 1, "used": 1}.items() <= details.items()
    assert details["session_id"] == answer.document["session"]["id"]
    assert details["ends_at"] == "2026-11-15T12:30:00.000Z"
    assert "PUT /budget" in details["hint"]
    assert "Nothing was counted" in refusal.value.message
    assert world.session() == before
    assert world.tables.claims == {}
    world.clock.advance(minutes=1)
    assert world.send(operation="chat", idempotency_key="k1").session_started


def test_each_session_begins_anew_with_its_caps() -> None:
    world = world_with(session_turn_cap=2)
    for conversation_id in ("a", "b"):
        world.send(conversation_id)
        world.send(conversation_id)
        with pytest.raises(SessionCapReachedError):
            world.send(conversation_id)
    world.clock.advance(minutes=30)
    assert world.send("a").session_started
    assert not world.send("a").session_started
    with pytest.raises(SessionCapReachedError):
        world.send("a")


@operations
@pytest.mark.parametrize("cap", [1, 7, 49])
def test_of_50_racing_messages_of_a_session_exactly_its_cap_are_admitted(
    cap: int, operation: Operation
) -> None:
    world = world_with(session_turn_cap=cap)
    outcomes = race([partial(world.send, operation=operation)] * 50)
    assert sum(isinstance(outcome, Answer) for outcome in outcomes) == cap
    assert sum(isinstance(outcome, SessionCapReachedError) for outcome in outcomes) == 50 - cap
    assert (turns(world), world.used(), world.drift()) == (cap, 1, 0)


@pytest.mark.parametrize("seed", range(5))
def test_exactly_the_cap_is_admitted_while_a_third_of_the_calls_fail(seed: int) -> None:
    faults = Faults(seed=seed, rate=1 / 3)
    world = world_with(faults=faults, session_turn_cap=7)
    world.budget.seconds = 1_000_000.0  # shared by the threads
    outcomes = race([partial(world.send, operation="chat")] * 50)
    assert sum(isinstance(outcome, Answer) for outcome in outcomes) == 7
    assert sum(isinstance(outcome, SessionCapReachedError) for outcome in outcomes) == 43
    assert (turns(world), len(world.tables.settlements)) == (7, 7)
    assert faults.raised > 20


@pytest.mark.parametrize("seed", range(40))
def test_turns_are_what_was_answered_whatever_fails_and_whenever_time_runs_out(seed: int) -> None:
    world = world_with(faults=Faults(seed=seed, rate=1 / 3), session_turn_cap=5)
    for number in range(20):
        world.budget.seconds = 12.4 if number % 3 else 29.0
        with suppress(SessionCapReachedError, ServiceUnavailableError):
            world.send(operation="chat" if number % 2 else "invoke")
        session = world.session()
        if session is not None:
            # What could not even be withdrawn is in flight, and gives way when it is dead.
            settled = len(world.tables.settlements)
            assert session.turns == settled + len(session.in_flight) <= 5
    world.clock.advance(seconds=35)
    while len(world.tables.settlements) < 5:
        world.budget.seconds = 1_000.0
        world.send()
    world.budget.seconds = 1_000.0
    with pytest.raises(SessionCapReachedError):
        world.send()


@pytest.mark.parametrize("lost", ["continue_session", "abandon", "settle"])
def test_a_write_whose_answer_was_lost_is_one_turn(lost: str) -> None:
    world = world_with(model_answer(), ModelError("boom"), faults=Answerless(lost, lost))
    world.send()
    with pytest.raises(ModelError):
        world.send(operation="chat")
    assert turns(world) == 1
    world.send(operation="chat")
    assert turns(world) == 2


@operations
def test_a_message_that_failed_is_no_turn(operation: Operation) -> None:
    failures = [ModelError("boom")] * 5
    world = world_with(model_answer(), *failures, session_turn_cap=2)
    world.send(operation=operation)
    for _ in range(5):
        with pytest.raises(ModelError):
            world.send(operation=operation)
    assert turns(world) == 1
    world.send(operation=operation)
    with pytest.raises(SessionCapReachedError):
        world.send(operation=operation)


@pytest.mark.parametrize("applied", [True, False])
@pytest.mark.parametrize("survived", range(6))
def test_a_message_killed_at_any_call_takes_a_turn_no_longer_than_it_can_run(
    survived: int, applied: bool
) -> None:
    world = world_with(session_turn_cap=2)
    world.send(operation="chat")
    doomed = World(
        tables=world.tables,
        clock=world.clock,
        ids=world.ids,
        model=world.model,
        faults=Killed(survived, applied=applied),
    )
    with suppress(FunctionKilled):
        doomed.send(operation="chat", idempotency_key="k1")
    settled = len(world.tables.settlements)
    world.clock.advance(seconds=35)
    for _ in range(2 - settled):
        world.send(operation="chat")
    with pytest.raises(SessionCapReachedError):
        world.send(operation="chat")
    assert (turns(world), len(world.tables.settlements)) == (2, 2)


def test_a_message_that_still_runs_takes_its_turn() -> None:
    world = world_with(session_turn_cap=2)
    world.send()
    world.admit(budget=Budget(29))
    world.clock.advance(seconds=33, microseconds=999_999)
    with pytest.raises(SessionCapReachedError):
        world.send()
    world.clock.advance(microseconds=1)
    world.send()
    with pytest.raises(SessionCapReachedError):
        world.send()


def test_racing_messages_that_find_dead_ones_take_exactly_their_turns() -> None:
    world = world_with(session_turn_cap=5)
    world.send()
    for _ in range(4):
        world.admit(budget=Budget(29))
    world.clock.advance(seconds=34)
    outcomes = race([world.send] * 20)
    assert sum(isinstance(outcome, Answer) for outcome in outcomes) == 4
    assert (turns(world), len(world.tables.settlements)) == (5, 5)


def test_a_message_that_overtakes_another_is_a_turn_too() -> None:
    world = world_with(session_turn_cap=2)
    world.send()
    world.clock.move_to(world.clock.now() - timedelta(milliseconds=5))
    world.send()
    with pytest.raises(SessionCapReachedError):
        world.send()


# --- what is known of the caps may be old -------------------------------------------------------


@operations
@pytest.mark.parametrize("raised", [{"session_turn_cap": 3}, {"session_turn_cap": None}])
def test_a_raised_cap_holds_for_the_very_next_message(
    raised: dict[str, Any], operation: Operation
) -> None:
    world = world_with(session_turn_cap=2)
    known = world.caps
    for _ in range(2):
        world.send(operation=operation, caps=known)
    with pytest.raises(SessionCapReachedError):
        world.send(operation=operation, caps=known)
    world.limit_itself(**raised)
    world.send(operation=operation, caps=known)
    assert turns(world) == 3


def test_a_raised_cap_is_exact_for_those_who_still_know_the_old_one() -> None:
    world = world_with(session_turn_cap=10)
    outcomes = race([partial(world.send, caps=SessionCaps(turns=2))] * 50)
    assert sum(isinstance(outcome, Answer) for outcome in outcomes) == 10
    assert turns(world) == 10


def test_a_lowered_cap_holds_as_soon_as_it_is_known() -> None:
    world = world_with(session_turn_cap=2)
    for _ in range(3):
        world.send(caps=UNCAPPED)
    with pytest.raises(SessionCapReachedError) as refusal:
        world.send()
    assert refusal.value.details["used"] == 3


def test_a_refusal_that_cannot_be_made_sure_of_is_not_called_a_cap() -> None:
    world = world_with(faults=Unreachable("own_limits"), session_turn_cap=1)
    world.send()
    with pytest.raises(ServiceUnavailableError):
        world.send()
    assert turns(world) == 1


def test_a_message_below_its_cap_reads_no_limits() -> None:
    unreachable = Unreachable("own_limits", "subscription_and_limits")
    world = world_with(faults=unreachable, session_turn_cap=2)
    world.send()
    world.send(operation="chat")
    assert unreachable.calls == 0


# --- a cap on tokens ----------------------------------------------------------------------------


@operations
def test_the_message_that_crosses_the_token_cap_is_answered_and_the_next_is_not(
    operation: Operation,
) -> None:
    world = world_with(taking(60), taking(39), taking(500), session_token_cap=100)
    for _ in range(3):
        world.send(operation=operation)
    with pytest.raises(SessionCapReachedError) as refusal:
        world.send(operation=operation)
    assert {"kind": "tokens", "cap": 100, "used": 599}.items() <= refusal.value.details.items()
    assert len(world.model.requests) == 3


def test_the_token_cap_is_reached_at_its_last_token() -> None:
    world = world_with(taking(100), session_token_cap=100)
    world.send()
    with pytest.raises(SessionCapReachedError):
        world.send()


def test_tokens_of_managed_and_own_models_count_alike() -> None:
    world = world_with(taking(50), taking(50), session_token_cap=100)
    world.send(managed=True)
    world.send(managed=False)
    with pytest.raises(SessionCapReachedError):
        world.send()


def test_a_raised_token_cap_holds_for_the_very_next_message() -> None:
    world = world_with(taking(100), session_token_cap=100)
    known = world.caps
    world.send(caps=known)
    with pytest.raises(SessionCapReachedError):
        world.send(caps=known)
    world.limit_itself(session_token_cap=101)
    world.send(caps=known)


def test_a_settlement_that_is_repeated_counts_its_tokens_once() -> None:
    world = world_with(taking(60), faults=Answerless("settle"))
    world.send()
    session = world.session()
    assert session is not None
    assert session.tokens == 60


# --- doors and neighbours -----------------------------------------------------------------------


def test_a_deferred_message_is_one_turn_when_it_is_accepted_and_none_when_it_runs() -> None:
    world = world_with(session_turn_cap=2)
    first, second = world.submit(), world.submit()
    with pytest.raises(SessionCapReachedError):
        world.submit()
    with pytest.raises(SessionCapReachedError):
        world.send()
    assert world.requests.sent == [(world.customer_id, r.request_id) for r in (first, second)]
    for request in (first, second):
        assert isinstance(world.run(request.request_id), Answer)
    assert turns(world) == 2
    with pytest.raises(SessionCapReachedError):
        world.submit()


def test_a_deferred_message_that_fails_gives_its_turn_back() -> None:
    world = world_with(model_answer(), ModelError("boom"), session_turn_cap=2)
    world.send()
    accepted = world.submit()
    assert turns(world) == 2
    assert isinstance(world.run(accepted.request_id), ModelError)
    assert turns(world) == 1
    assert world.run(accepted.request_id) is None
    assert turns(world) == 1


def test_a_deferred_message_that_was_taken_back_is_no_turn() -> None:
    world = world_with(session_turn_cap=2)
    world.send()
    world.requests.failures = [StoreContentionError("no queue")] * 1_000
    with pytest.raises(ServiceUnavailableError):
        world.submit()
    assert turns(world) == 1


def test_a_message_beyond_the_cap_is_granted_nothing() -> None:
    world = world_with(session_turn_cap=1)
    world.send(managed=False)
    with pytest.raises(SessionCapReachedError):
        world.send(managed=True)
    session = world.session()
    assert session is not None
    assert session.managed_until is None


def test_p4_a_free_customer_below_its_cap_is_told_of_its_tier() -> None:
    world = World()
    world.subscribe(Tier.FREE)
    world.limit_itself(session_turn_cap=5)
    world.send(managed=False, tier=Tier.FREE)
    with pytest.raises(TierLimitationError):
        world.send(tier=Tier.FREE)


def test_a_session_in_which_the_first_turn_failed_is_not_billed_with_caps_either() -> None:
    world = world_with(ModelError("boom"), session_turn_cap=1)
    with pytest.raises(ModelError):
        world.send()
    assert (world.used(), world.held(), world.drift()) == (0, 0, 0)
    assert world.send().session_started


# --- setting them -------------------------------------------------------------------------------


def test_what_is_not_named_stays_and_null_takes_away() -> None:
    world = world_with()
    world.limit_itself(monthly_ceiling=50, action="block", session_turn_cap=20)
    world.limit_itself(session_token_cap=9_000)
    limits = world.tables.own_limits[world.customer_id]
    assert limits == OwnLimits(
        world.customer_id, 2, 5_000, CeilingAction.BLOCK, SessionCaps(20, 9_000)
    )
    world.limit_itself(monthly_ceiling=None, session_turn_cap=None)
    limits = world.tables.own_limits[world.customer_id]
    assert limits == OwnLimits(
        world.customer_id, 3, None, CeilingAction.BLOCK, SessionCaps(None, 9_000)
    )


def test_a_change_is_on_record_with_who_made_it() -> None:
    world = world_with()
    world.limit_itself(session_turn_cap=20)
    world.limit_itself(session_turn_cap=20)
    (audit,) = world.tables.audits.values()
    assert (audit.actor, audit.action) == ("key_1", "limits.change")
    assert audit.before is not None
    assert audit.after is not None
    assert audit.before["session_turn_cap"] is None
    assert audit.after["session_turn_cap"] == 20


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("monthly_ceiling", 0),
        ("monthly_ceiling", -5),
        ("monthly_ceiling", (MAX_CEILING_CENTS + 1) / 100),
        ("session_turn_cap", 0),
        ("session_turn_cap", -1),
        ("session_turn_cap", MAX_TURN_CAP + 1),
        ("session_token_cap", 0),
        ("session_token_cap", MAX_TOKEN_CAP + 1),
    ],
)
def test_limits_that_nobody_can_mean_are_refused(field: str, value: float) -> None:
    world = world_with()
    with pytest.raises(InvalidRequestError) as refusal:
        world.limit_itself(**{field: value})
    assert refusal.value.details["field"] == field
    assert field in refusal.value.message
    assert (world.tables.own_limits, world.tables.counters) == ({}, {})


def test_the_outermost_limits_are_taken() -> None:
    world = world_with()
    world.limit_itself(monthly_ceiling=0.01, session_turn_cap=1, session_token_cap=1)
    world.limit_itself(
        monthly_ceiling=MAX_CEILING_CENTS / 100,
        session_turn_cap=MAX_TURN_CAP,
        session_token_cap=MAX_TOKEN_CAP,
    )
    assert world.caps == SessionCaps(MAX_TURN_CAP, MAX_TOKEN_CAP)


def test_racing_changes_are_all_made_one_after_the_other() -> None:
    world = world_with()
    changes: list[dict[str, Any]] = [{"session_turn_cap": 5}, {"session_token_cap": 7}]
    race([partial(world.limit_itself, **change) for change in changes])
    assert world.caps == SessionCaps(5, 7)
    assert world.tables.own_limits[world.customer_id].version == 2


@pytest.mark.parametrize("seed", range(10))
def test_a_change_takes_effect_once_while_a_third_of_the_calls_fail(seed: int) -> None:
    world = world_with(faults=Faults(seed=seed, rate=1 / 3))
    world.budget.seconds = 1_000.0
    world.limit_itself(session_turn_cap=5)
    assert world.tables.own_limits[world.customer_id].version == 1
    assert len(world.tables.audits) == 1


def test_nobody_without_a_subscription_or_after_its_end_sets_limits() -> None:
    world = World()
    with pytest.raises(NotFoundError):
        world.limit_itself(session_turn_cap=5)
    world.subscribe(Tier.STARTER)
    world.command(ending())
    with pytest.raises(AccountClosedError):
        world.limit_itself(session_turn_cap=5)
    assert world.tables.own_limits == {}


def test_limits_that_cannot_be_reached_are_neither_shown_nor_set() -> None:
    world = world_with(faults=Unreachable("subscription_and_limits"))
    with pytest.raises(ServiceUnavailableError):
        world.budget_service.budget(world.customer_id, world.budget)
    with pytest.raises(ServiceUnavailableError):
        world.limit_itself(session_turn_cap=5)
    assert world.tables.own_limits == {}


# --- what was spent -----------------------------------------------------------------------------


def spent(world: World, *slices: DaySlice) -> None:
    world.rollups.given(world.customer_id, *slices)


def slice_of(route: Route, tokens: int, day: date = TODAY) -> DaySlice:
    return DaySlice(day, "agent", route, 1, Talk(1, tokens, 0))


def document(world: World) -> dict[str, Any]:
    return budget_document(world.budget_service.budget(world.customer_id, world.budget))


def test_the_plan_and_an_estimate_of_own_providers_is_what_is_spent() -> None:
    world = world_with()
    world.prices[OPENAI] = Decimal("0.01")
    world.prices[MANAGED] = Decimal(1)
    spent(
        world,
        slice_of(OPENAI, 1_000),
        slice_of(OPENAI, 50, date(2026, 11, 1)),
        slice_of(OPENAI, 5, date(2026, 11, 30)),
        slice_of(OPENAI, 900, date(2026, 10, 31)),
        slice_of(OPENAI, 900, date(2026, 12, 1)),
        slice_of(MANAGED, 1_000_000),
        slice_of(UNKNOWN, 7),
        slice_of(UNKNOWN, 8),
    )
    assert document(world) == {
        "monthly_ceiling": None,
        "action": "warn",
        "session_turn_cap": None,
        "session_token_cap": None,
        "period": "2026-11",
        "resets_at": "2026-12-01T00:00:00.000Z",
        "spent": {
            "plan": 29.0,
            "byok_estimate": 10.55,
            "total": 39.55,
            "unpriced_models": ["litellm/house-model"],
        },
        "reached": False,
        "notice": None,
    }


def test_p5_the_price_is_that_of_the_highest_plan_of_the_period() -> None:
    world = world_with()
    world.send()
    world.set_terms(Tier.PROFESSIONAL)
    assert document(world)["spent"]["plan"] == 99.0
    world.set_terms(Tier.FREE)
    assert document(world)["spent"]["plan"] == 99.0
    world.clock.move_to(DECEMBER.start)
    assert document(world)["spent"]["plan"] == 0.0


def test_a_ceiling_is_reached_at_its_last_fraction_of_a_cent() -> None:
    world = world_with(monthly_ceiling=30)
    world.prices[OPENAI] = Decimal("0.0001")
    spent(world, slice_of(OPENAI, 9_999))
    found = document(world)
    assert (found["reached"], found["spent"]["total"]) == (False, 30.0)
    spent(world, slice_of(OPENAI, 1))
    assert document(world)["reached"] is True


def test_looking_at_a_budget_opens_no_period_and_notes_nothing_that_is_not_so() -> None:
    world = world_with()
    assert document(world)["spent"]["total"] == 29.0
    assert (world.tables.counters, world.tables.budget_alerts) == ({}, {})


# --- the ceiling --------------------------------------------------------------------------------


def spending_with_openai(action: str = "block", **fields: Any) -> World:
    """Return a starter with a ceiling of $40 that pays a provider of its own a cent a token."""
    world = world_with(limit=20, monthly_ceiling=40, action=action, **fields)
    world.prices[OPENAI] = Decimal("0.01")
    return world


def test_a_ceiling_that_is_reached_keeps_sessions_from_starting_and_running_ones_go_on() -> None:
    world = spending_with_openai()
    world.send("running")
    spent(world, slice_of(OPENAI, 1_100))
    world.budget_service.evaluate(world.customer_id)
    for _ in range(3):
        with pytest.raises(BudgetExceededError) as refusal:
            world.send("another")
        world.send("running")
        world.send("running", operation="chat")
    details = refusal.value.details
    assert {"ceiling": 40.0, "spent": 40.0, "period": "2026-11"}.items() <= details.items()
    assert details["resets_at"] == "2026-12-01T00:00:00.000Z"
    assert "PUT /budget" in details["hint"]
    assert "$40.00" in refusal.value.message
    assert (world.used(), world.held(), world.drift()) == (1, 0, 0)
    world.clock.advance(minutes=30)
    with pytest.raises(BudgetExceededError):
        world.send("running")


@operations
def test_of_racing_starts_beyond_the_ceiling_none_starts(operation: Operation) -> None:
    world = spending_with_openai()
    world.send("running")
    spent(world, slice_of(OPENAI, 1_100))
    world.budget_service.evaluate(world.customer_id)
    starts: list[Callable[[], object]] = [
        *(partial(world.send, f"c{number}", operation=operation) for number in range(30)),
        partial(world.submit, "deferred"),
    ]
    outcomes = race(starts)
    assert all(isinstance(outcome, BudgetExceededError) for outcome in outcomes)
    assert (world.used(), world.drift()) == (1, 0)


@pytest.mark.parametrize(
    "lifting",
    [
        {"monthly_ceiling": 40.01},
        {"monthly_ceiling": None},
        {"action": "warn"},
    ],
    ids=str,
)
def test_a_block_is_lifted_at_once(lifting: dict[str, Any]) -> None:
    world = spending_with_openai()
    world.send("running")
    spent(world, slice_of(OPENAI, 1_100))
    world.budget_service.evaluate(world.customer_id)
    with pytest.raises(BudgetExceededError):
        world.send("another")
    world.limit_itself(**lifting)
    assert world.send("another").session_started


def test_a_block_ends_with_its_period() -> None:
    world = spending_with_openai()
    world.send("running")
    spent(world, slice_of(OPENAI, 1_100))
    world.budget_service.evaluate(world.customer_id)
    world.clock.move_to(at("2026-11-30T23:59:59.999999"))
    with pytest.raises(BudgetExceededError):
        world.send("too early")
    world.clock.move_to(DECEMBER.start)
    assert world.send("at last").session_started
    assert document(world)["reached"] is False


def test_a_ceiling_that_is_set_below_what_was_spent_blocks_from_the_same_write_on() -> None:
    world = world_with()
    world.send("running")
    standing = world.limit_itself(monthly_ceiling=10, action="block")
    assert standing.reached is not None
    assert "no new session can start" in str(budget_document(standing)["notice"])
    with pytest.raises(BudgetExceededError):
        world.send("another")
    world.send("running")


def test_a_ceiling_can_be_set_before_anything_started_in_the_period() -> None:
    world = world_with(monthly_ceiling=10, action="block")
    with pytest.raises(BudgetExceededError):
        world.send()
    world.limit_itself(monthly_ceiling=29.01)
    assert world.send().session_started


def test_a_ceiling_that_only_warns_lets_sessions_start_and_is_told() -> None:
    world = spending_with_openai("warn")
    world.send("one")
    spent(world, slice_of(OPENAI, 1_200))
    world.budget_service.evaluate(world.customer_id)
    assert world.send("two").session_started
    alert = world.tables.budget_alerts[world.customer_id, NOVEMBER]
    assert (alert.ceiling_cents, alert.spent_cents, alert.action.value) == (4_000, 4_100, "warn")
    assert document(world)["notice"] is None


def test_a_ceiling_is_told_once_a_period_however_often_it_is_reached() -> None:
    world = spending_with_openai()
    world.send("one")
    spent(world, slice_of(OPENAI, 1_100))
    for _ in range(3):
        world.budget_service.evaluate(world.customer_id)
        world.clock.advance(minutes=1)
    first = world.tables.budget_alerts[world.customer_id, NOVEMBER]
    world.limit_itself(monthly_ceiling=41)
    spent(world, slice_of(OPENAI, 500))
    world.budget_service.evaluate(world.customer_id)
    with pytest.raises(BudgetExceededError) as refusal:
        world.send("another")
    assert refusal.value.details["ceiling"] == 41.0
    assert world.tables.budget_alerts == {(world.customer_id, NOVEMBER): first}
    world.clock.move_to(DECEMBER.start)
    world.send("december")
    spent(world, slice_of(OPENAI, 5_000, date(2026, 12, 1)))
    world.budget_service.evaluate(world.customer_id)
    assert set(world.tables.budget_alerts) == {
        (world.customer_id, NOVEMBER),
        (world.customer_id, DECEMBER),
    }


def test_without_a_ceiling_holding_it_costs_one_read() -> None:
    unreachable = Unreachable("subscription_and_limits", "period_usage", "slices")
    world = world_with(faults=unreachable, session_turn_cap=5)
    world.send()
    world.budget_service.evaluate(world.customer_id)
    world.budget_service.evaluate("cus_nobody")
    assert unreachable.calls == 0


def test_a_customer_whose_subscription_is_erased_already_holds_up_nobody() -> None:
    world = spending_with_openai()
    world.limit_itself(monthly_ceiling=1)
    del world.tables.subscriptions[world.customer_id]
    world.budget_service.evaluate(world.customer_id)
    assert world.tables.budget_alerts.keys() <= {(world.customer_id, NOVEMBER)}


def test_what_is_noted_already_is_not_written_again() -> None:
    unreachable = Unreachable("note_ceiling")
    world = World(faults=unreachable)
    unreachable.active = False
    world.subscribe(Tier.STARTER)
    world.limit_itself(monthly_ceiling=10, action="block")
    unreachable.active = True
    world.budget_service.evaluate(world.customer_id)
    assert document(world)["reached"] is True
    assert unreachable.calls == 0


def test_an_estimate_that_turns_out_lower_lifts_the_block() -> None:
    world = spending_with_openai()
    world.send("one")
    spent(world, slice_of(OPENAI, 1_100))
    world.budget_service.evaluate(world.customer_id)
    world.prices[OPENAI] = Decimal("0.001")
    world.budget_service.evaluate(world.customer_id)
    assert world.send("two").session_started


def test_a_ceiling_judged_before_it_was_raised_does_not_block_after() -> None:
    world = spending_with_openai()
    world.send("one")
    spent(world, slice_of(OPENAI, 1_100))

    def raised_meanwhile(route: Route, talk: Talk, day: date) -> Decimal | None:
        if world.tables.own_limits[world.customer_id].version == 1:
            world.limit_itself(monthly_ceiling=100)
        return world.cost(route, talk, day)

    late = BudgetService(
        world.own_limits,
        world.usage,
        world.rollups,
        raised_meanwhile,
        world.clock,
        world.clock,
        bytes,
        world.retrier,
    )
    late.evaluate(world.customer_id)
    assert world.send("two").session_started
    assert world.tables.budget_alerts == {}


@pytest.mark.parametrize("applied", [True, False])
@pytest.mark.parametrize("survived", range(6))
def test_a_change_killed_at_any_call_leaves_limits_and_block_in_step(
    survived: int, applied: bool
) -> None:
    world = world_with()
    world.send("running")
    doomed = World(tables=world.tables, clock=world.clock, faults=Killed(survived, applied=applied))
    with suppress(FunctionKilled):
        doomed.limit_itself(monthly_ceiling=10, action="block")
    world.clock.advance(seconds=1)
    if world.customer_id in world.tables.own_limits:
        with pytest.raises(BudgetExceededError):
            world.send("another")
    else:
        assert world.send("another").session_started
    world.limit_itself(monthly_ceiling=None)
    assert world.send("a third").session_started


def test_a_closed_period_is_left_as_it_is() -> None:
    world = spending_with_openai()
    world.send("one")
    spent(world, slice_of(OPENAI, 1_100))
    world.clock.move_to(DECEMBER.start)
    world.closing_service.close_due(world.customer_id)
    world.clock.move_to(at("2026-11-30T23:59:59"))  # a clock that is behind
    world.budget_service.evaluate(world.customer_id)
    closed = world.counter(NOVEMBER)
    assert closed is not None
    assert closed.closed_at is not None
    assert (closed.budget_block, world.tables.budget_alerts) == (None, {})


def test_q1_the_quota_is_told_before_the_ceiling() -> None:
    world = world_with(limit=1)
    world.send("one")
    world.limit_itself(monthly_ceiling=10, action="block")
    with pytest.raises(QuotaExceededError):
        world.send("two")
