"""How many sessions can start, and when the count begins anew: rules Q1 to Q3."""

from __future__ import annotations

from functools import partial

import pytest

from flowstack_core.domain.errors import QuotaExceededError, ServiceUnavailableError
from flowstack_core.domain.plans import Tier
from flowstack_core.services.conversations import Answer
from tests.support.fakes import DECEMBER, NOVEMBER, Budget, FixedClock, World, at
from tests.support.faulty import Faults
from tests.support.races import race


def limited(limit: int, *, faults: Faults | None = None, clock: FixedClock | None = None) -> World:
    world = World(faults=faults, clock=clock or FixedClock())
    world.subscribe(Tier.STARTER, limit)
    return world


def use_up(world: World, limit: int) -> None:
    for number in range(limit):
        world.send(f"before {number}")


@pytest.mark.parametrize("limit", [0, 1, 2, 25])
@pytest.mark.parametrize("operation", ["invoke", "chat"])
def test_q1_exactly_limit_sessions_start_and_the_next_is_refused(
    limit: int, operation: str
) -> None:
    world = limited(limit)
    for number in range(limit):
        assert world.send(f"c{number}", operation=operation).session_started
    for number in range(3):
        with pytest.raises(QuotaExceededError):
            world.send(f"over {number}", operation=operation)
    assert (world.used(), world.drift(), world.held()) == (limit, 0, 0)
    assert len(world.model.requests) == limit


@pytest.mark.parametrize("limit", [0, 1, 25])
def test_q1_exactly_limit_of_200_racing_conversations_start(limit: int) -> None:
    world = limited(limit)
    outcomes = race([partial(world.send, f"c{number}") for number in range(200)])
    assert sum(isinstance(outcome, Answer) for outcome in outcomes) == limit
    assert sum(isinstance(outcome, QuotaExceededError) for outcome in outcomes) == 200 - limit
    assert (world.used(), world.drift(), world.held()) == (limit, 0, 0)


@pytest.mark.parametrize("seed", range(5))
def test_q1_exactly_limit_of_200_start_while_a_third_of_the_calls_fail(seed: int) -> None:
    faults = Faults(seed=seed, rate=1 / 3)
    world = limited(25, faults=faults)
    world.budget.seconds = 1_000_000.0  # shared by the threads
    outcomes = race([partial(world.send, f"c{number}") for number in range(200)])
    assert sum(isinstance(outcome, Answer) for outcome in outcomes) == 25
    assert sum(isinstance(outcome, QuotaExceededError) for outcome in outcomes) == 175
    assert (world.used(), world.drift(), world.held()) == (25, 0, 0)
    assert faults.raised > 100


@pytest.mark.parametrize("seed", range(40))
def test_q1_the_count_is_exact_whatever_fails_and_whenever_time_runs_out(seed: int) -> None:
    world = limited(5, faults=Faults(seed=seed, rate=1 / 3))
    started = 0
    for number in range(30):
        world.budget.seconds = 12.4 if number % 3 else 29.0
        try:
            started += world.send(f"c{number}").session_started
        except (QuotaExceededError, ServiceUnavailableError):
            assert world.used() <= 5
        assert world.drift() == 0
    # Where even cleaning up failed, a session is held, and it is given back when needed.
    assert world.used() == started + world.held()


def test_q1_a_refusal_explains_itself() -> None:
    world = limited(2)
    use_up(world, 1)
    world.admit("running")
    with pytest.raises(QuotaExceededError) as refusal:
        world.send("over")
    details = refusal.value.details
    assert details["current_usage"] == 2
    assert details["limit"] == 2
    assert details["held"] == 1
    assert details["remaining"] == 0
    assert details["resets_at"] == "2026-12-01T00:00:00.000Z"
    assert details["reason"].startswith("2 of 2 sessions of 2026-11 are used, 1 of them held")
    assert "Upgrade" in details["hint"]


def test_q1_a_credit_makes_room_for_exactly_as_many() -> None:
    world = limited(1)
    use_up(world, 1)
    world.credit(2)
    world.send("two")
    world.send("three")
    with pytest.raises(QuotaExceededError):
        world.send("four")
    assert world.used() == 3


def test_q1_a_released_session_makes_room_for_exactly_one() -> None:
    world = limited(1)
    world.model.reactions.append(RuntimeError("boom"))
    with pytest.raises(RuntimeError):
        world.send("failed")
    world.send("one")
    with pytest.raises(QuotaExceededError):
        world.send("two")


def test_q1_customers_do_not_share_a_quota() -> None:
    world = limited(1)
    use_up(world, 1)
    other = World(tables=world.tables, clock=world.clock, ids=world.ids, customer_id="cus_2")
    other.subscribe(Tier.STARTER, 1)
    assert other.send("before 0").session_started
    assert (world.used(), other.used()) == (1, 1)


@pytest.mark.parametrize("operation", ["invoke", "chat"])
def test_q2_at_the_limit_running_sessions_go_on_until_inactivity_ends_them(
    operation: str,
) -> None:
    world = limited(1)
    use_up(world, 1)
    for _ in range(10):
        world.clock.advance(minutes=29, seconds=59)
        assert not world.send("before 0", operation=operation).session_started
        with pytest.raises(QuotaExceededError):
            world.send("another", operation=operation)
    world.clock.advance(minutes=30)
    with pytest.raises(QuotaExceededError):
        world.send("before 0", operation=operation)


def test_q2_at_the_limit_usage_stays_readable() -> None:
    world = limited(1)
    use_up(world, 1)
    document = world.usage_service.usage_document(world.customer_id)
    assert document["current_period"]["sessions_remaining"] == 0
    assert document["quota"]["reason"] == "1 of 1 sessions of 2026-11 are used."


def test_q3_a_new_period_starts_at_zero_at_midnight_by_itself() -> None:
    world = limited(2, clock=FixedClock(at("2026-11-15T12:00:00")))
    use_up(world, 2)
    world.clock.move_to(at("2026-11-30T23:59:59.999999"))
    with pytest.raises(QuotaExceededError):
        world.send("too early")
    world.clock.move_to(at("2026-12-01T00:00:00"))
    assert world.send("at last").session_started
    assert (world.used(NOVEMBER), world.used(DECEMBER)) == (2, 1)


def test_q3_unused_sessions_and_credits_do_not_roll_over() -> None:
    world = limited(2)
    world.credit(3)
    world.send("the only one")
    world.clock.move_to(DECEMBER.start)
    use_up(world, 2)
    with pytest.raises(QuotaExceededError):
        world.send("over")
    counter = world.counter(DECEMBER)
    assert counter is not None
    assert (counter.session_limit, counter.credited_sessions) == (2, 0)


def test_q3_a_period_in_which_nothing_happened_needs_no_opening() -> None:
    world = limited(1)
    use_up(world, 1)
    world.clock.move_to(at("2027-06-01T00:00:00"))
    document = world.usage_service.usage_document(world.customer_id)
    assert document["current_period"]["sessions_used"] == 0
    assert world.send("after half a year").session_started


def test_q3_racing_first_messages_of_a_period_open_it_once() -> None:
    world = limited(10)
    use_up(world, 10)
    world.clock.move_to(DECEMBER.start)
    outcomes = race([partial(world.send, f"c{number}") for number in range(50)])
    assert sum(isinstance(outcome, Answer) for outcome in outcomes) == 10
    assert (world.used(DECEMBER), world.drift(DECEMBER)) == (10, 0)


def test_q1_a_reading_of_the_quota_while_everything_is_held_says_so() -> None:
    world = limited(3)
    for number in range(3):
        world.admit(f"c{number}", budget=Budget())
    document = world.usage_service.usage_document(world.customer_id)
    assert document["current_period"]["sessions_held"] == 3
    assert document["quota"]["held"] == 3
