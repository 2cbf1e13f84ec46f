"""What every session store must do, in memory and on DynamoDB."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from flowstack_core.domain.api_keys import KeyRecord
from flowstack_core.domain.idempotency import Claim, IdempotencyKey
from flowstack_core.domain.messages import Message, TextBlock, TokenUsage, ToolCall, ToolResult
from flowstack_core.domain.plans import Tier
from flowstack_core.domain.rollups import MOST_ROUTES, OTHER, Route, Talk
from flowstack_core.domain.sessions import Conversation, Session
from flowstack_core.domain.subscriptions import Subscription, Terms
from flowstack_core.services.ports.accounts import AuditRecord, Customer
from flowstack_core.services.ports.sessions import (
    Admitted,
    Attempt,
    LimitReached,
    ManagedNotGranted,
    ManagedNotIncluded,
    NoLiveSession,
    PeriodNotOpen,
    SessionAlive,
    Settlement,
    Turn,
)
from tests.contract.conftest import Stores
from tests.support.fakes import DECEMBER, NOON, NOVEMBER

HALF_HOUR = timedelta(minutes=30)
A_MICROSECOND = timedelta(microseconds=1)
TOKENS = TokenUsage(input_tokens=10, output_tokens=5)
ROUTE = Route(managed=True, provider="bedrock", model="nova-lite")
OWN = Route(managed=False, provider="openai", model="ft:gpt-4o#7")


class Thread:
    """One conversation of one customer, seen through its stores."""

    def __init__(self, stores: Stores, name: str = "default") -> None:
        self.stores = stores
        self.conversation = Conversation(stores.customer_id, "agent", name)
        self.subscription = Subscription(stores.customer_id, Terms.of(Tier.STARTER))

    def open(self, limit: int = 5, tier: Tier = Tier.STARTER) -> Thread:
        """Create the customer and open November."""
        customer_id = self.stores.customer_id
        self.subscription = Subscription(customer_id, Terms.of(tier, limit))
        assert self.stores.accounts.create_customer(
            Customer(customer_id, "Ada", NOON),
            self.subscription,
            KeyRecord("key_1", customer_id, f"digest-{customer_id}", "fs_…", "first", NOON),
            AuditRecord(customer_id, "aud_1", NOON, "op", "customer.create", None, None),
        )
        assert self.stores.usage.open_period(self.subscription, NOVEMBER)
        return self

    def id_of(self, name: str) -> str:
        """Return the id of the session that ``name`` starts."""
        return f"ses_{self.stores.customer_id}_{name}"

    def attempt(self, name: str, at: datetime = NOON, *, managed: bool = True) -> Attempt:
        """Return an attempt that can run for 30 seconds."""
        return Attempt(self.conversation, name, at, at + timedelta(seconds=30), managed)

    def start(
        self, name: str, at: datetime = NOON, *, managed: bool = True, session: str | None = None
    ) -> Any:
        """Try to start a session."""
        return self.stores.sessions.start_session(
            self.attempt(name, at, managed=managed), session or self.id_of(name), NOVEMBER
        )

    def started(self, name: str, at: datetime = NOON, *, managed: bool = True) -> Session:
        """Start a session."""
        outcome = self.start(name, at, managed=managed)
        assert isinstance(outcome, Admitted)
        assert outcome.started
        return outcome.session

    def follow(self, name: str, at: datetime, *, managed: bool = True) -> Any:
        """Try to go on."""
        return self.stores.sessions.continue_session(self.attempt(name, at, managed=managed))

    def settle(
        self, session: Session, name: str, at: datetime, turn: Turn | None = None, **more: Any
    ) -> bool:
        """Settle an attempt."""
        return self.stores.sessions.settle(
            Settlement(session, name, at, more.pop("route", ROUTE), TOKENS, turn, **more)
        )

    @property
    def used(self) -> int:
        """The counter."""
        usage = self.stores.usage.period_usage(self.stores.customer_id, NOVEMBER)
        assert usage is not None
        return usage.sessions_used

    @property
    def held(self) -> list[str]:
        """The sessions that are held."""
        found = self.stores.sessions.held_sessions(self.stores.customer_id, NOVEMBER)
        return [session.session_id for session in found]

    @property
    def counted(self) -> int:
        """What the records say."""
        records = self.stores.sessions.records(self.stores.customer_id, NOVEMBER)
        return sum(record.counted for record in records)


@pytest.fixture
def thread(stores: Stores) -> Thread:
    """A conversation of a starter with a limit of five."""
    return Thread(stores).open()


def test_s1_a_start_puts_session_record_and_count_together(thread: Thread) -> None:
    session = thread.started("a")
    assert session.held
    assert session.period == NOVEMBER
    assert session.managed_until == NOVEMBER.end
    assert (thread.used, thread.counted, thread.held) == (1, 1, [thread.id_of("a")])


def test_s3_a_start_that_is_repeated_counts_once(thread: Thread) -> None:
    thread.started("a")
    assert thread.started("a").session_id == thread.id_of("a")
    assert (thread.used, thread.counted) == (1, 1)


def test_s3_a_second_start_finds_the_first_alive(thread: Thread) -> None:
    thread.started("a")
    assert thread.start("b", NOON + timedelta(seconds=1)) == SessionAlive()
    assert thread.used == 1


def test_s3_fifty_racing_starts_of_one_conversation_are_one_session(thread: Thread) -> None:
    def race(number: int) -> bool:
        for _ in range(200):
            try:
                return isinstance(thread.start(f"r{number:02d}"), Admitted)
            except Exception as error:
                if type(error).__name__ != "StoreContentionError":
                    raise
        raise AssertionError("too much contention")

    with ThreadPoolExecutor(16) as pool:
        admitted = list(pool.map(race, range(50)))
    assert sum(admitted) == 1
    assert (thread.used, thread.counted) == (1, 1)


def test_s2_a_follow_up_at_29_59_999999_goes_on_and_one_at_30_00_does_not(thread: Thread) -> None:
    session = thread.started("a")
    assert thread.settle(session, "a", NOON)
    late = thread.follow("b", NOON + HALF_HOUR)
    assert late == NoLiveSession(None)
    just = thread.follow("c", NOON + HALF_HOUR - A_MICROSECOND)
    assert isinstance(just, Admitted)
    assert not just.started
    assert just.session.last_activity_at == NOON + HALF_HOUR - A_MICROSECOND
    assert set(just.session.in_flight) == {"c"}


def test_s2_a_start_replaces_a_processed_session_at_30_00_and_not_before(thread: Thread) -> None:
    session = thread.started("a")
    thread.settle(session, "a", NOON)
    assert thread.start("b", NOON + HALF_HOUR - A_MICROSECOND) == SessionAlive()
    assert thread.started("c", NOON + HALF_HOUR).session_id == thread.id_of("c")
    assert thread.used == 2


def test_s2_activity_never_moves_back(thread: Thread) -> None:
    thread.started("a", NOON)
    thread.follow("b", NOON + timedelta(minutes=2))
    earlier = thread.follow("c", NOON + timedelta(minutes=1))
    assert isinstance(earlier, Admitted)
    assert earlier.session.last_activity_at == NOON + timedelta(minutes=2)
    assert set(earlier.session.in_flight) == {"a", "b", "c"}
    assert thread.settle(earlier.session, "c", NOON + timedelta(seconds=90))
    after = thread.follow("d", NOON + timedelta(minutes=3))
    assert set(after.session.in_flight) == {"a", "b", "d"}


def test_s2_delivery_is_activity(thread: Thread) -> None:
    session = thread.started("a")
    assert thread.settle(session, "a", NOON + timedelta(seconds=20))
    edge = NOON + timedelta(seconds=20) + HALF_HOUR
    assert thread.follow("b", edge) == NoLiveSession(None)
    assert isinstance(thread.follow("c", edge - A_MICROSECOND), Admitted)


def test_s5_the_first_settlement_ends_the_holding(thread: Thread) -> None:
    session = thread.started("a")
    assert thread.settle(session, "a", NOON + timedelta(seconds=2))
    assert thread.held == []
    assert thread.used == 1


def test_s5_a_settlement_that_is_repeated_is_still_settled(thread: Thread) -> None:
    session = thread.started("a")
    assert thread.settle(session, "a", NOON + timedelta(seconds=2))
    assert thread.settle(session, "a", NOON + timedelta(seconds=2))


def test_s6_what_was_said_is_added_up_by_the_way_it_went_once(thread: Thread) -> None:
    session = thread.started("a")
    for _ in range(2):
        assert thread.settle(session, "a", NOON)
    thread.follow("b", NOON + timedelta(minutes=1))
    thread.settle(session, "b", NOON + timedelta(minutes=1), route=OWN)
    thread.follow("c", NOON + timedelta(minutes=2))
    thread.settle(session, "c", NOON + timedelta(minutes=2))
    found = thread.follow("d", NOON + timedelta(minutes=3)).session
    assert found.said == {ROUTE: Talk(2, 20, 10), OWN: Talk(1, 10, 5)}
    assert found.opened_by == ROUTE


def test_s6_a_session_that_replaces_another_begins_its_own_sums(thread: Thread) -> None:
    thread.settle(thread.started("a"), "a", NOON)
    later = NOON + HALF_HOUR
    second = thread.started("b", later)
    assert (second.said, second.opened_by) == ({}, None)
    thread.settle(second, "b", later, route=OWN)
    found = thread.follow("c", later).session
    assert (found.said, found.opened_by) == ({OWN: Talk(1, 10, 5)}, OWN)


def test_routes_beyond_those_that_a_session_tells_apart_are_one(thread: Thread) -> None:
    session = thread.started("first")
    for number in range(MOST_ROUTES + 2):
        name = f"m{number}"
        session = thread.follow(name, NOON).session
        thread.settle(session, name, NOON, route=Route(False, "openai", name))
    found = thread.follow("last", NOON).session
    assert len(found.said) == MOST_ROUTES + 1
    assert found.said[Route(False, OTHER, OTHER)] == Talk(2, 20, 10)
    assert found.talk.messages == MOST_ROUTES + 2


def test_s5_a_released_session_cannot_be_settled(thread: Thread) -> None:
    session = thread.started("a")
    thread.stores.sessions.abandon(thread.conversation, "a")
    left = thread.stores.sessions.abandon(thread.conversation, "a")
    assert left is not None
    assert thread.stores.sessions.release(left, NOON)
    assert not thread.settle(session, "a", NOON)
    assert (thread.used, thread.counted, thread.held) == (0, 0, [])


def test_s5_a_release_that_is_repeated_gives_back_one(thread: Thread) -> None:
    thread.started("a")
    Thread(thread.stores, "other").started("b")
    left = thread.stores.sessions.abandon(thread.conversation, "a")
    assert left is not None
    assert thread.stores.sessions.release(left, NOON)
    assert thread.stores.sessions.release(left, NOON)
    assert (thread.used, thread.counted) == (1, 1)


def test_s5_a_session_in_flight_is_not_released(thread: Thread) -> None:
    session = thread.started("a")
    assert not thread.stores.sessions.release(session, NOON + timedelta(seconds=29))
    assert thread.stores.sessions.release(session, NOON + timedelta(seconds=30))
    assert thread.used == 0


def test_s5_a_release_sees_an_attempt_that_joined_meanwhile(thread: Thread) -> None:
    thread.started("a")
    judged = thread.stores.sessions.abandon(thread.conversation, "a")
    assert judged is not None
    thread.follow("b", NOON + timedelta(seconds=1))
    assert not thread.stores.sessions.release(judged, NOON + timedelta(seconds=1))
    assert thread.used == 1


def test_s5_a_processed_session_is_never_released(thread: Thread) -> None:
    session = thread.started("a")
    thread.settle(session, "a", NOON)
    assert not thread.stores.sessions.release(replace(session, in_flight={}), NOON + HALF_HOUR)
    assert thread.used == 1


def test_s5_an_ended_held_session_comes_along_to_be_released(thread: Thread) -> None:
    thread.started("a")
    follow = thread.follow("b", NOON + HALF_HOUR)
    start = thread.start("c", NOON + HALF_HOUR)
    assert isinstance(follow, NoLiveSession)
    assert isinstance(start, NoLiveSession)
    assert follow.held is not None
    assert start.held == follow.held
    assert thread.stores.sessions.release(follow.held, NOON + HALF_HOUR)
    thread.started("d", NOON + HALF_HOUR)
    assert thread.used == 1


def test_s5_what_expiry_deleted_is_released_once_by_its_image(thread: Thread) -> None:
    image = thread.started("a")
    for _ in range(2):
        assert thread.stores.sessions.release_expired(image, NOON + HALF_HOUR)
    assert (thread.used, thread.counted) == (0, 0)


def test_s5_a_processed_image_is_not_released(thread: Thread) -> None:
    session = thread.started("a")
    thread.settle(session, "a", NOON)
    image = replace(session, processed_at=NOON)
    assert not thread.stores.sessions.release_expired(image, NOON + HALF_HOUR)
    assert thread.used == 1


def test_s6_sessions_with_managed_models_and_with_own_keys_count_the_same(thread: Thread) -> None:
    thread.started("a", managed=False)
    assert (thread.used, thread.counted) == (1, 1)


def test_q1_the_start_after_the_last_is_refused(stores: Stores) -> None:
    thread = Thread(stores).open(limit=1)
    thread.started("a")
    refused = Thread(stores, "other").start("b")
    assert isinstance(refused, LimitReached)
    assert (refused.usage.sessions_used, refused.usage.session_limit) == (1, 1)
    assert (thread.used, thread.counted) == (1, 1)


def test_q1_a_limit_of_zero_admits_nothing(stores: Stores) -> None:
    thread = Thread(stores).open(limit=0)
    assert isinstance(thread.start("a"), LimitReached)
    assert (thread.used, thread.counted) == (0, 0)


def test_q2_a_follow_up_asks_no_quota(stores: Stores) -> None:
    thread = Thread(stores).open(limit=1)
    thread.started("a")
    assert isinstance(thread.follow("b", NOON + timedelta(minutes=1)), Admitted)


def test_q3_a_period_that_nobody_opened_says_so(thread: Thread) -> None:
    attempt = thread.attempt("a", DECEMBER.start)
    assert (
        thread.stores.sessions.start_session(attempt, thread.id_of("a"), DECEMBER)
        == PeriodNotOpen()
    )
    assert thread.stores.usage.open_period(thread.subscription, DECEMBER)
    assert not thread.stores.usage.open_period(thread.subscription, DECEMBER)
    outcome = thread.stores.sessions.start_session(attempt, thread.id_of("a"), DECEMBER)
    assert isinstance(outcome, Admitted)


def test_p1_opening_a_period_with_an_outdated_subscription_changes_nothing(thread: Thread) -> None:
    outdated = replace(thread.subscription, version=0)
    assert not thread.stores.usage.open_period(outdated, DECEMBER)
    assert thread.stores.usage.period_usage(thread.stores.customer_id, DECEMBER) is None


def test_p4_managed_is_refused_where_the_entitlement_has_none(stores: Stores) -> None:
    thread = Thread(stores).open(tier=Tier.FREE)
    assert isinstance(thread.start("a"), ManagedNotIncluded)
    assert thread.used == 0
    assert thread.started("b", managed=False).managed_until is None


def test_p4_a_byok_session_asks_the_quota_before_it_uses_managed_models(thread: Thread) -> None:
    session = thread.started("a", managed=False)
    asked = thread.follow("b", NOON + timedelta(minutes=1))
    assert isinstance(asked, ManagedNotGranted)
    assert thread.stores.sessions.grant_managed(asked.session, NOVEMBER)
    assert thread.stores.sessions.grant_managed(asked.session, NOVEMBER)
    granted = thread.follow("c", NOON + timedelta(minutes=1))
    assert isinstance(granted, Admitted)
    assert granted.session.session_id == session.session_id


def test_p4_no_grant_without_the_entitlement(stores: Stores) -> None:
    thread = Thread(stores).open(tier=Tier.FREE)
    session = thread.started("a", managed=False)
    assert not thread.stores.sessions.grant_managed(session, NOVEMBER)
    assert not thread.stores.sessions.grant_managed(session, DECEMBER)


def _turn(session: Session, number: int, text: str) -> Turn:
    said = (
        Message("user", (TextBlock(text), ToolResult("call", "fine", is_error=True))),
        Message("assistant", (TextBlock("så 🙂"), ToolCall("t1", "look", {"a": [1, None, "ü"]}))),
    )
    return Turn(session.session_id, NOON + timedelta(minutes=number), f"t{number}", said)


def test_a_transcript_comes_back_in_order_and_unchanged(thread: Thread) -> None:
    session = thread.started("t1")
    turns = [_turn(session, number, f"question {number}") for number in (1, 2, 3)]
    assert thread.settle(session, "t1", turns[0].at, turns[0])
    for turn in turns[1:]:
        thread.follow(turn.attempt_id, turn.at)
        assert thread.settle(session, turn.attempt_id, turn.at, turn)
    current = thread.follow("t4", NOON + timedelta(minutes=4)).session
    assert list(thread.stores.sessions.transcript(current, 1_000_000)) == turns


def test_a_transcript_may_leave_out_what_is_beyond_the_limit(thread: Thread) -> None:
    session = thread.started("t1")
    turn = _turn(session, 1, "question")
    thread.settle(session, "t1", turn.at, turn)
    newest = list(thread.stores.sessions.transcript(session, 0))
    assert newest[-1:] == [turn]


def _claim(stores: Stores, owner: str, fingerprint: str = "f", at: datetime = NOON) -> Claim:
    return Claim(
        key=IdempotencyKey(stores.customer_id, "digest", fingerprint),
        owner=owner,
        lease_until=at + timedelta(seconds=30),
        expires_at=at + timedelta(hours=24),
    )


def test_s3_an_idempotency_key_has_one_owner(stores: Stores) -> None:
    first = _claim(stores, "a")
    assert stores.sessions.claim(first, NOON) == first
    assert stores.sessions.claim(first, NOON) == first
    assert stores.sessions.claim(_claim(stores, "b"), NOON) == first


def test_s3_a_dead_attempts_key_passes_on_after_its_lease_for_the_same_request(
    stores: Stores,
) -> None:
    first = _claim(stores, "a")
    stores.sessions.claim(first, NOON)
    later = NOON + timedelta(seconds=30)
    assert stores.sessions.claim(_claim(stores, "b"), later - A_MICROSECOND) == first
    assert stores.sessions.claim(_claim(stores, "c", "other"), later) == first
    assert stores.sessions.claim(_claim(stores, "d"), later).owner == "d"


def test_s3_the_answer_is_stored_with_the_settlement_or_not_at_all(thread: Thread) -> None:
    stores = thread.stores
    mine = _claim(stores, "a")
    stores.sessions.claim(mine, NOON)
    session = thread.started("a")
    answer = {"content": "hello 🙂", "n": [1, 2.5, None]}
    assert thread.settle(session, "a", NOON, claim=mine, answer=answer)
    assert stores.sessions.claim(_claim(stores, "b"), NOON + timedelta(hours=1)).answer == answer
    stores.sessions.drop_claim(mine)
    assert stores.sessions.claim(_claim(stores, "c"), NOON + timedelta(hours=2)).answer == answer
    assert stores.sessions.claim(_claim(stores, "d"), NOON + timedelta(hours=24)).owner == "d"


def test_s3_an_attempt_that_lost_its_key_cannot_settle(thread: Thread) -> None:
    stores = thread.stores
    mine = _claim(stores, "a")
    stores.sessions.claim(mine, NOON)
    session = thread.started("a")
    stores.sessions.claim(_claim(stores, "b"), NOON + timedelta(seconds=30))
    assert not thread.settle(session, "a", NOON, claim=mine, answer={"content": "late"})
    assert thread.held == [thread.id_of("a")]


def test_s3_a_dropped_key_is_free_at_once(stores: Stores) -> None:
    mine = _claim(stores, "a")
    stores.sessions.claim(mine, NOON)
    stores.sessions.drop_claim(_claim(stores, "b"))
    assert stores.sessions.claim(_claim(stores, "c"), NOON) == mine
    stores.sessions.drop_claim(mine)
    assert stores.sessions.claim(_claim(stores, "d"), NOON).owner == "d"


def test_abandoning_where_nothing_is_finds_nothing(thread: Thread) -> None:
    assert thread.stores.sessions.abandon(thread.conversation, "a") is None


@pytest.mark.parametrize(
    ("first", "second"),
    [(("a#b", "c"), ("a", "b#c")), (("a%23b", "c"), ("a#b", "c")), (("é", "c"), ("e", "c"))],
)
def test_names_with_separators_stay_different_conversations(
    stores: Stores, first: tuple[str, str], second: tuple[str, str]
) -> None:
    one, two = Thread(stores).open(), Thread(stores)
    one.conversation = Conversation(stores.customer_id, *first)
    two.conversation = Conversation(stores.customer_id, *second)
    one.started("a")
    two.started("b")
    assert one.used == 2
