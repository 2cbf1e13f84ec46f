"""What every store of customers' own limits must do, in memory and on DynamoDB."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import count
from typing import Any

import pytest
from mypy_boto3_dynamodb import DynamoDBClient

from flowstack_core.adapters.dynamodb_own_limits import budget_alert_key, decode_budget_alert
from flowstack_core.domain.own_limits import (
    BudgetAlert,
    CeilingAction,
    CeilingReached,
    OwnLimits,
    SessionCaps,
)
from flowstack_core.domain.sessions import Session
from flowstack_core.services.ports.accounts import AuditRecord
from flowstack_core.services.ports.failures import StoreContentionError
from flowstack_core.services.ports.sessions import (
    Admitted,
    BudgetReached,
    LimitReached,
    NoLiveSession,
    SessionCapped,
)
from tests.contract.conftest import Stores
from tests.contract.test_session_store import TOKENS, Thread
from tests.support.fakes import DECEMBER, NOON, NOVEMBER

_numbers = count(1)
SECOND = timedelta(seconds=1)
BLOCKED = CeilingReached(NOON, 4_000, 4_123, CeilingAction.BLOCK)
WARNED = replace(BLOCKED, action=CeilingAction.WARN)


@pytest.fixture
def thread(stores: Stores) -> Thread:
    """A conversation of a starter with a limit of five."""
    return Thread(stores).open()


def audit_of(stores: Stores) -> AuditRecord:
    """Return a record nobody else has."""
    audit_id = f"aud_l{next(_numbers):06d}"
    return AuditRecord(stores.customer_id, audit_id, NOON, "key_1", "test", None, {"n": 1})


def limits_of(stores: Stores, **fields: Any) -> OwnLimits:
    return OwnLimits(stores.customer_id, 1, **fields)


def put(
    stores: Stores, after: OwnLimits, reached: CeilingReached | None = None, **fields: Any
) -> bool:
    before = fields.get("before") or stores.own_limits.own_limits(stores.customer_id)
    return stores.own_limits.replace_limits(
        before, after, NOVEMBER, reached, fields.get("audit") or audit_of(stores)
    )


def follow(thread: Thread, name: str, at: datetime, caps: SessionCaps, **fields: bool) -> Any:
    attempt = replace(thread.attempt(name, at, **fields), caps=caps)
    return thread.stores.sessions.continue_session(attempt)


def counts(outcome: Any) -> tuple[int, int]:
    assert isinstance(outcome, Admitted | SessionCapped)
    return outcome.session.turns, outcome.session.tokens


# --- caps of a session --------------------------------------------------------------------------


def test_a_session_counts_its_turns_and_tokens(thread: Thread) -> None:
    session = thread.started("a")
    assert (session.turns, session.tokens) == (1, 0)
    assert thread.settle(session, "a", NOON)
    assert thread.settle(session, "a", NOON)
    joined = thread.follow("b", NOON + SECOND)
    assert counts(joined) == (2, TOKENS.total_tokens)
    assert thread.settle(joined.session, "b", NOON + SECOND)
    assert counts(thread.follow("c", NOON + 2 * SECOND)) == (3, 2 * TOKENS.total_tokens)


def test_an_attempt_that_joins_twice_is_one_turn(thread: Thread) -> None:
    thread.started("a")
    for _ in range(3):
        assert counts(thread.follow("b", NOON + SECOND)) == (2, 0)
    for _ in range(3):  # behind the session's last activity
        assert counts(thread.follow("c", NOON)) == (3, 0)


def test_an_attempt_that_joins_again_at_the_cap_has_joined(thread: Thread) -> None:
    thread.started("a")
    for _ in range(2):
        joined = follow(thread, "b", NOON + SECOND, SessionCaps(turns=2))
        assert isinstance(joined, Admitted)


def test_an_attempt_that_leaves_was_no_turn(thread: Thread) -> None:
    thread.started("a")
    thread.follow("b", NOON + SECOND)
    for _ in range(3):
        left = thread.stores.sessions.abandon(thread.conversation, "b")
        assert isinstance(left, Session)
        assert left.turns == 1
    assert counts(thread.follow("c", NOON + 2 * SECOND)) == (2, 0)


@pytest.mark.parametrize("managed", [True, False])
@pytest.mark.parametrize("at", [NOON + SECOND, NOON - SECOND], ids=["in order", "overtaken"])
def test_the_turn_after_the_cap_finds_the_session_capped_and_as_it_was(
    at: datetime, managed: bool, thread: Thread
) -> None:
    session = thread.started("a")
    caps = SessionCaps(turns=2)
    assert isinstance(follow(thread, "b", at, caps, managed=managed), Admitted)
    refused = follow(thread, "c", at + SECOND / 2, caps, managed=managed)
    assert isinstance(refused, SessionCapped)
    assert set(refused.session.in_flight) == {"a", "b"}
    assert refused.session.last_activity_at == max(NOON, at)
    assert counts(refused) == (2, 0)
    assert counts(follow(thread, "d", at + SECOND, SessionCaps(turns=3))) == (3, 0)
    assert refused.session.session_id == session.session_id


@pytest.mark.parametrize("at", [NOON + SECOND, NOON - SECOND], ids=["in order", "overtaken"])
def test_the_message_after_the_token_cap_finds_the_session_capped(
    at: datetime, thread: Thread
) -> None:
    session = thread.started("a")
    cap = SessionCaps(tokens=TOKENS.total_tokens)
    joined = follow(thread, "b", at, cap)
    assert isinstance(joined, Admitted)
    assert thread.settle(session, "a", NOON)
    assert isinstance(follow(thread, "c", at, cap), SessionCapped)
    above = SessionCaps(tokens=TOKENS.total_tokens + 1)
    assert isinstance(follow(thread, "c", at, above), Admitted)


def test_a_capped_session_that_ended_is_no_live_one(thread: Thread) -> None:
    session = thread.started("a")
    thread.settle(session, "a", NOON)
    late = NOON + timedelta(minutes=30)
    assert follow(thread, "b", late, SessionCaps(turns=1)) == NoLiveSession(None)
    assert counts(Admitted(thread.started("c", late), started=True)) == (1, 0)


def test_a_session_is_capped_before_it_is_granted_managed_models(thread: Thread) -> None:
    thread.started("a", managed=False)
    refused = follow(thread, "b", NOON + SECOND, SessionCaps(turns=1), managed=True)
    assert isinstance(refused, SessionCapped)


def test_of_racing_attempts_exactly_the_cap_joins(thread: Thread) -> None:
    thread.started("a")

    def join(number: int) -> bool:
        for _ in range(200):
            try:
                moment = NOON + timedelta(milliseconds=number % 3)
                outcome = follow(thread, f"r{number:02d}", moment, SessionCaps(turns=8))
                return isinstance(outcome, Admitted)
            except StoreContentionError:
                continue
        raise AssertionError("too much contention")

    with ThreadPoolExecutor(16) as pool:
        admitted = list(pool.map(join, range(40)))
    assert sum(admitted) == 7
    last = follow(thread, "last", NOON + SECOND, SessionCaps(turns=8))
    assert isinstance(last, SessionCapped)
    assert (last.session.turns, len(last.session.in_flight)) == (8, 8)


# --- the limits ---------------------------------------------------------------------------------


def test_who_set_no_limits_has_none(thread: Thread) -> None:
    stores = thread.stores
    assert stores.own_limits.own_limits(stores.customer_id) == OwnLimits(stores.customer_id)
    found = stores.own_limits.subscription_and_limits(stores.customer_id)
    assert found == (thread.subscription, OwnLimits(stores.customer_id))


def test_limits_come_back_as_they_were_set_and_with_the_subscription(thread: Thread) -> None:
    stores = thread.stores
    limits = limits_of(
        stores,
        monthly_ceiling_cents=4_000,
        action=CeilingAction.BLOCK,
        caps=SessionCaps(20, 10**12),
    )
    assert put(stores, limits)
    assert stores.own_limits.own_limits(stores.customer_id) == limits
    found = stores.own_limits.subscription_and_limits(stores.customer_id)
    assert found == (thread.subscription, limits)
    bare = OwnLimits(stores.customer_id, 2)
    assert put(stores, bare)
    assert stores.own_limits.own_limits(stores.customer_id) == bare


def test_nobody_has_neither_subscription_nor_limits(stores: Stores) -> None:
    assert stores.own_limits.subscription_and_limits("cus_nobody") is None


def test_limits_that_changed_meanwhile_are_not_replaced(thread: Thread) -> None:
    stores = thread.stores
    none = OwnLimits(stores.customer_id)
    first = limits_of(stores, caps=SessionCaps(turns=5))
    assert put(stores, first, before=none)
    assert not put(stores, limits_of(stores, caps=SessionCaps(turns=9)), before=none)
    assert not put(stores, replace(first, version=8), before=replace(first, version=7))
    assert stores.own_limits.own_limits(stores.customer_id) == first


def test_a_change_that_is_repeated_is_made_once(thread: Thread) -> None:
    stores = thread.stores
    audit, none = audit_of(stores), OwnLimits(stores.customer_id)
    for _ in range(3):
        assert put(stores, limits_of(stores), before=none, audit=audit)
    assert stores.own_limits.own_limits(stores.customer_id).version == 1
    assert stores.accounts.audit_record(stores.customer_id, audit.audit_id) == audit


def test_limits_are_not_set_beside_a_period_that_is_not_open(stores: Stores) -> None:
    Thread(stores).open()
    with pytest.raises(StoreContentionError):
        stores.own_limits.replace_limits(
            OwnLimits(stores.customer_id), limits_of(stores), DECEMBER, BLOCKED, audit_of(stores)
        )
    assert stores.own_limits.own_limits(stores.customer_id).version == 0
    assert stores.usage.period_usage(stores.customer_id, DECEMBER) is None


# --- the ceiling --------------------------------------------------------------------------------


def test_a_block_keeps_sessions_from_starting_until_it_is_lifted(thread: Thread) -> None:
    stores = thread.stores
    thread.started("a")
    blocking = limits_of(stores, monthly_ceiling_cents=4_000, action=CeilingAction.BLOCK)
    assert put(stores, blocking, BLOCKED)
    other = Thread(stores, "other")
    assert other.start("b") == BudgetReached(NOVEMBER, BLOCKED)
    assert other.start("b", managed=False) == BudgetReached(NOVEMBER, BLOCKED)
    assert isinstance(thread.follow("c", NOON + SECOND), Admitted)
    assert thread.used == 1
    assert put(stores, replace(blocking, version=2, action=CeilingAction.WARN), WARNED)
    assert isinstance(other.start("b"), Admitted)
    assert thread.used == 2


def test_a_session_can_be_given_back_while_starts_are_blocked(thread: Thread) -> None:
    session = thread.started("a")
    assert put(thread.stores, limits_of(thread.stores), BLOCKED)
    left = thread.stores.sessions.abandon(thread.conversation, "a")
    assert left is not None
    assert thread.stores.sessions.release(left, NOON)
    assert (thread.used, session.turns) == (0, 1)


def test_q1_the_limit_is_told_before_the_ceiling(stores: Stores) -> None:
    thread = Thread(stores).open(limit=1)
    thread.started("a")
    assert put(stores, limits_of(stores), BLOCKED)
    assert isinstance(Thread(stores, "other").start("b"), LimitReached)


def test_what_was_noted_of_a_ceiling_stands_on_the_counter(thread: Thread) -> None:
    stores = thread.stores
    limits = limits_of(stores, monthly_ceiling_cents=4_000)
    assert put(stores, limits)
    later = replace(WARNED, at=NOON + SECOND)
    for reached, told_at, block in (
        (None, None, None),
        (WARNED, NOON, None),
        (replace(BLOCKED, at=NOON + SECOND), NOON, replace(BLOCKED, at=NOON + SECOND)),
        (later, NOON, None),
        (None, NOON, None),
    ):
        assert stores.own_limits.note_ceiling(limits, NOVEMBER, reached)
        usage = stores.usage.period_usage(stores.customer_id, NOVEMBER)
        assert usage is not None
        assert (usage.budget_told_at, usage.budget_block) == (told_at, block)


def test_a_ceiling_that_was_changed_meanwhile_is_not_noted(thread: Thread) -> None:
    stores = thread.stores
    judged = limits_of(stores, monthly_ceiling_cents=4_000)
    assert put(stores, judged)
    assert put(stores, replace(judged, version=2, monthly_ceiling_cents=9_000))
    assert not stores.own_limits.note_ceiling(judged, NOVEMBER, BLOCKED)
    assert not stores.own_limits.note_ceiling(OwnLimits(stores.customer_id), NOVEMBER, BLOCKED)
    assert isinstance(thread.start("a"), Admitted)


def test_a_period_that_is_not_open_is_not_opened_by_a_ceiling(thread: Thread) -> None:
    stores = thread.stores
    limits = limits_of(stores, monthly_ceiling_cents=4_000)
    assert put(stores, limits)
    assert not stores.own_limits.note_ceiling(limits, DECEMBER, BLOCKED)
    assert stores.usage.period_usage(stores.customer_id, DECEMBER) is None


def test_an_upgrade_keeps_what_is_noted_of_a_ceiling(thread: Thread) -> None:
    stores = thread.stores
    assert put(stores, limits_of(stores), BLOCKED)
    raised = replace(thread.subscription, version=thread.subscription.version + 1)
    assert stores.accounts.change_subscription(
        thread.subscription, raised, NOVEMBER, audit_of(stores)
    )
    usage = stores.usage.period_usage(stores.customer_id, NOVEMBER)
    assert usage is not None
    assert (usage.subscription_version, usage.budget_block) == (raised.version, BLOCKED)


def test_on_dynamodb_a_ceiling_is_told_by_one_item_that_never_changes(
    stores: Stores, request: pytest.FixtureRequest
) -> None:
    if stores.kind != "dynamodb":
        pytest.skip("an item of DynamoDB")
    client: DynamoDBClient = request.getfixturevalue("dynamodb")
    Thread(stores).open()
    limits = limits_of(stores)
    assert put(stores, limits, WARNED)
    assert stores.own_limits.note_ceiling(limits, NOVEMBER, replace(BLOCKED, spent_cents=9_999))
    key = budget_alert_key(stores.customer_id, NOVEMBER)
    item = client.get_item(TableName="usage", Key=key, ConsistentRead=True)["Item"]
    assert decode_budget_alert(item) == BudgetAlert(stores.customer_id, NOVEMBER, WARNED)
    assert item["ttl"] == {"N": str(int((NOVEMBER.end + timedelta(days=400)).timestamp()))}
