"""What operators do, and the trail it leaves."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial

import pytest

from flowstack_core.domain.api_keys import parse_key
from flowstack_core.domain.errors import (
    ConflictError,
    IdempotencyConflictError,
    InvalidRequestError,
    NotFoundError,
)
from flowstack_core.domain.plans import Tier
from flowstack_core.services.accounts import AccountService, IssuedKey
from flowstack_core.services.authorization import AuthorizationService
from flowstack_core.services.documents import subscription_facts
from tests.support.fakes import DECEMBER, NOVEMBER, FixedClock, World
from tests.support.races import race


def created(world: World, tier: Tier = Tier.STARTER) -> IssuedKey:
    customer, _, issued = world.account_service.create_customer("op", "Ada", tier, None, None)
    world.customer_id = customer.customer_id
    return issued


def authorization(world: World) -> AuthorizationService:
    return AuthorizationService(world.accounts, world.own_limits, world.clock)


def actions(world: World) -> list[str]:
    return [audit.action for audit in world.account_service.audit_trail(world.customer_id, 100)]


# --- customers and keys --------------------------------------------------------------------------


def test_a_new_customer_has_a_subscription_and_a_key_that_lets_it_in() -> None:
    world = World()
    issued = created(world, Tier.PROFESSIONAL)
    found = authorization(world).authorize(issued.key.text)
    assert found is not None
    assert (found.record.customer_id, found.tier) == (world.customer_id, Tier.PROFESSIONAL)
    assert actions(world) == ["customer.create"]


def test_the_text_of_a_key_is_stored_nowhere() -> None:
    world = World()
    issued = created(world)
    second = world.account_service.issue_key("op", world.customer_id, "ci", None)
    for text in (issued.key.text, second.key.text):
        assert text not in repr(world.tables)


def test_a_customer_may_have_several_keys_and_revoking_one_leaves_the_others() -> None:
    world = World()
    first = created(world)
    second = world.account_service.issue_key("op", world.customer_id, "ci", None)
    world.account_service.revoke_key("op", world.customer_id, first.record.key_id)
    assert authorization(world).authorize(first.key.text) is None
    assert authorization(world).authorize(second.key.text) is not None
    keys = world.account_service.keys(world.customer_id)
    assert sorted(key.status(world.clock.now()) for key in keys) == ["active", "revoked"]


def test_revoking_a_key_again_changes_nothing_and_says_when_it_was_revoked() -> None:
    world = World()
    issued = created(world)
    first = world.account_service.revoke_key("op", world.customer_id, issued.record.key_id)
    world.clock.advance(hours=1)
    second = world.account_service.revoke_key("op", world.customer_id, issued.record.key_id)
    assert first == second
    assert actions(world).count("key.revoke") == 1


def test_racing_revocations_leave_one_record() -> None:
    world = World()
    issued = created(world)
    revoke = partial(
        world.account_service.revoke_key, "op", world.customer_id, issued.record.key_id
    )
    assert len(set(race([revoke] * 20))) == 1
    assert actions(world).count("key.revoke") == 1


def test_a_key_lets_nobody_in_from_the_instant_it_expires() -> None:
    world = World()
    created(world)
    until = world.clock.now() + timedelta(days=1)
    issued = world.account_service.issue_key("op", world.customer_id, "ci", until)
    world.clock.move_to(until - timedelta(microseconds=1))
    assert authorization(world).authorize(issued.key.text) is not None
    world.clock.move_to(until)
    assert authorization(world).authorize(issued.key.text) is None


def test_a_key_cannot_be_issued_expired() -> None:
    world = World()
    created(world)
    with pytest.raises(InvalidRequestError):
        world.account_service.issue_key("op", world.customer_id, "ci", world.clock.now())
    assert len(world.account_service.keys(world.customer_id)) == 1


def test_a_mistyped_key_is_refused_without_a_read() -> None:
    class NoReads:
        def key(self, digest: str) -> None:
            raise AssertionError("the store was asked")

        def subscription_and_limits(self, customer_id: str) -> None:
            raise AssertionError("the store was asked")

    world = World()
    text = created(world).key.text
    typo = text[:-1] + ("0" if text[-1] != "0" else "1")
    assert parse_key(typo) is None
    assert AuthorizationService(NoReads(), NoReads(), world.clock).authorize(typo) is None


def test_a_well_formed_key_that_was_never_issued_lets_nobody_in() -> None:
    world, elsewhere = World(), World()
    elsewhere.account_service = AccountService(
        elsewhere.accounts,
        elsewhere.clock,
        elsewhere.clock,
        lambda size: b"\x07" * size,
        elsewhere.retrier,
        elsewhere.closing_service,
    )
    created(world)
    assert authorization(world).authorize(created(elsewhere).key.text) is None


def test_the_tier_of_a_key_is_the_one_in_force_on_the_customers_clock() -> None:
    world = World()
    issued = created(world, Tier.PROFESSIONAL)
    world.set_terms(Tier.FREE)
    tiers = []
    for _ in range(2):
        found = authorization(world).authorize(issued.key.text)
        assert found is not None
        tiers.append(found.tier)
        world.clock.move_to(DECEMBER.start)
    assert tiers == [Tier.PROFESSIONAL, Tier.FREE]


def test_customers_are_listed_in_the_order_they_were_created_page_by_page() -> None:
    world = World()
    names = [f"customer {number}" for number in range(5)]
    for name in names:
        world.account_service.create_customer("op", name, Tier.FREE, None, None)
        world.clock.advance(seconds=1)
    listed: list[str] = []
    cursor = None
    while True:
        page = world.account_service.customers(2, cursor)
        listed += [customer.name for customer, _ in page.customers]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert listed == names


@pytest.mark.parametrize(
    "act",
    [
        lambda s: s.customer("cus_none"),
        lambda s: s.issue_key("op", "cus_none", "ci", None),
        lambda s: s.keys("cus_none"),
        lambda s: s.revoke_key("op", "cus_none", "key_none"),
        lambda s: s.credit("op", "cus_none", 5, "sorry", None),
        lambda s: s.audit_trail("cus_none", 10),
        lambda s: s.move_clock("op", "cus_none", advance=timedelta(minutes=1)),
    ],
    ids=["get", "issue", "keys", "revoke", "credit", "audit", "clock"],
)
def test_acts_on_a_customer_that_does_not_exist_are_refused_and_leave_no_trail(
    act: Callable[[AccountService], object],
) -> None:
    world = World()
    with pytest.raises(NotFoundError):
        act(world.account_service)
    assert world.tables.audits == {}


# --- the audit trail -----------------------------------------------------------------------------


def test_every_act_leaves_a_record_of_who_did_what_before_and_after() -> None:
    world = World()
    created(world)
    steps: list[Callable[[], object]] = [
        lambda: world.set_terms(Tier.PROFESSIONAL),
        lambda: world.credit(5),
        lambda: world.account_service.issue_key("op", world.customer_id, "ci", None),
        lambda: world.account_service.move_clock(
            "op", world.customer_id, advance=timedelta(minutes=5)
        ),
    ]
    for step in steps:
        world.clock.advance(seconds=1)
        step()
    assert actions(world) == [
        "clock.move",
        "key.issue",
        "sessions.credit",
        "subscription.change",
        "customer.create",
    ]
    change = world.account_service.audit_trail(world.customer_id, 4)[-1]
    assert change.actor == "op"
    assert change.before is not None
    assert change.after is not None
    assert (change.before["tier"], change.after["tier"]) == ("starter", "professional")


def test_a_pending_change_is_written_down_with_the_instant_it_takes_effect() -> None:
    world = World()
    world.subscribe(Tier.PROFESSIONAL)
    facts = subscription_facts(world.set_terms(Tier.FREE))
    assert facts["tier"] == "professional"
    assert facts["pending_change"] == {
        "kind": "cancellation",
        "tier": "free",
        "session_limit": 25,
        "price_cents": 0,
        "effective_period": "2026-12",
        "effective_at": "2026-12-01T00:00:00.000Z",
        "origin": "operator",
    }


# --- terms and credits ---------------------------------------------------------------------------


def test_racing_changes_of_terms_are_applied_one_after_the_other() -> None:
    world = World()
    world.subscribe(Tier.STARTER)
    outcomes = race([partial(world.set_terms, Tier.ENTERPRISE, 100_000 + n) for n in range(4)])
    assert not any(isinstance(outcome, ConflictError) for outcome in outcomes)
    subscription = world.tables.subscriptions[world.customer_id]
    assert subscription.version == 5
    assert actions(world).count("subscription.change") == 4


def test_a_credit_repeated_later_tells_the_period_it_was_given_in() -> None:
    world = World()
    world.subscribe(Tier.STARTER, 1)
    given = world.account_service.credit("op", world.customer_id, 5, "sorry", "req-1")
    world.clock.move_to(DECEMBER.start)
    again = world.account_service.credit("op", world.customer_id, 5, "sorry", "req-1")
    assert (given, again) == (NOVEMBER, NOVEMBER)
    assert world.counter(DECEMBER) is None


def test_a_request_id_that_credited_another_number_is_refused_and_credits_nothing() -> None:
    world = World()
    world.subscribe(Tier.STARTER, 1)
    world.account_service.credit("op", world.customer_id, 5, "sorry", "req-1")
    with pytest.raises(IdempotencyConflictError) as refusal:
        world.account_service.credit("op", world.customer_id, 6, "sorry", "req-1")
    assert refusal.value.details["sessions"] == 5
    counter = world.counter()
    assert counter is not None
    assert counter.credited_sessions == 5


def test_a_credit_repeated_under_its_request_id_credits_once() -> None:
    world = World()
    world.subscribe(Tier.STARTER, 1)
    for _ in range(3):
        world.account_service.credit("op", world.customer_id, 5, "sorry", "req-1")
    counter = world.counter()
    assert counter is not None
    assert (counter.session_limit, counter.credited_sessions) == (6, 5)
    assert actions(world) == ["sessions.credit"]


def test_credits_without_a_request_id_add_up_even_in_a_race() -> None:
    world = World()
    world.subscribe(Tier.STARTER, 1)
    race([partial(world.credit, 2)] * 20)
    counter = world.counter()
    assert counter is not None
    assert (counter.session_limit, counter.credited_sessions) == (41, 40)


# --- test clocks ---------------------------------------------------------------------------------


def test_a_test_clock_moves_forward_by_minutes_or_to_an_instant() -> None:
    world = World()
    world.subscribe()
    service, now = world.account_service, world.clock.now()
    moved = service.move_clock("op", world.customer_id, advance=timedelta(minutes=30))
    assert moved.now == now + timedelta(minutes=30)
    target = now + timedelta(days=20, microseconds=1)
    assert service.move_clock("op", world.customer_id, set_to=target).now == target
    found = service.clock(world.customer_id)
    assert found is not None
    assert found.now == target


def test_a_test_clock_never_goes_back() -> None:
    world = World()
    world.subscribe()
    service, now = world.account_service, world.clock.now()
    service.move_clock("op", world.customer_id, advance=timedelta(hours=1))
    with pytest.raises(ConflictError):
        service.move_clock("op", world.customer_id, set_to=now + timedelta(minutes=59))
    with pytest.raises(ConflictError):
        service.move_clock("op", world.customer_id, advance=timedelta(seconds=-1))
    found = service.clock(world.customer_id)
    assert found is not None
    assert found.offset_seconds == 3_600


def test_a_stage_without_test_clocks_has_none() -> None:
    world = World()
    world.subscribe()
    clock = FixedClock()
    service = AccountService(
        world.accounts, clock, clock, bytes, world.retrier, world.closing_service
    )
    assert service.clock(world.customer_id) is None
    with pytest.raises(NotFoundError):
        service.move_clock("op", world.customer_id, advance=timedelta(minutes=1))
    assert world.counter(NOVEMBER) is None
