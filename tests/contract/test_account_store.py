"""What every account store must do, in memory and on DynamoDB."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import count
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber
from mypy_boto3_dynamodb import DynamoDBClient

from flowstack_core.adapters.dynamodb_accounts import DynamoDBAccountStore
from flowstack_core.domain.api_keys import KeyRecord
from flowstack_core.domain.closing import close_period
from flowstack_core.domain.errors import InvalidRequestError
from flowstack_core.domain.periods import Period
from flowstack_core.domain.plans import Tier
from flowstack_core.domain.quota import PeriodUsage
from flowstack_core.domain.subscriptions import PendingChange, Subscription, Terms, change_terms
from flowstack_core.services.ports.accounts import AuditRecord, Customer
from flowstack_core.services.ports.failures import StoreContentionError
from tests.contract.conftest import Stores
from tests.support.fakes import DECEMBER, NOON, NOVEMBER

_numbers = count(1)
HOUR = timedelta(hours=1)


def audit_of(customer_id: str, action: str = "test", **fields: Any) -> AuditRecord:
    """Return a record nobody else has."""
    facts: dict[str, Any] = {
        "audit_id": f"aud_{next(_numbers):06d}",
        "at": NOON,
        "actor": "arn:aws:iam::1:user/op",
        "before": None,
        "after": {"note": "ünïcode ✓"},
        **fields,
    }
    return AuditRecord(customer_id=customer_id, action=action, **facts)


def key_of(customer_id: str, **fields: Any) -> KeyRecord:
    """Return a key nobody else has."""
    number = next(_numbers)
    facts: dict[str, Any] = {
        "key_id": f"key_{number:06d}",
        "digest": f"digest-{number:06d}",
        "masked": "fs_…abc123",
        "name": "a key",
        "created_at": NOON,
        **fields,
    }
    return KeyRecord(customer_id=customer_id, **facts)


@dataclass
class Account:
    """A customer of one implementation, as it was created."""

    stores: Stores
    customer: Customer
    subscription: Subscription
    key: KeyRecord
    audit: AuditRecord

    @property
    def id(self) -> str:
        return self.customer.customer_id

    def create(self) -> bool:
        return self.stores.accounts.create_customer(
            self.customer, self.subscription, self.key, self.audit
        )

    def open(self, period: Period = NOVEMBER) -> None:
        assert self.stores.usage.open_period(self.current, period)

    @property
    def current(self) -> Subscription:
        found = self.stores.accounts.subscription(self.id)
        assert found is not None
        return found

    def counter(self, period: Period = NOVEMBER) -> PeriodUsage:
        found = self.stores.usage.period_usage(self.id, period)
        assert found is not None
        return found

    def trail(self, limit: int = 100) -> list[AuditRecord]:
        return list(self.stores.accounts.audit_trail(self.id, limit))

    def change(
        self, tier: Tier, limit: int | None = None, audit: AuditRecord | None = None
    ) -> tuple[Subscription, bool]:
        before = self.current
        after = change_terms(before, Terms.of(tier, limit), NOON)
        audit = audit or audit_of(self.id)
        return after, self.stores.accounts.change_subscription(before, after, NOVEMBER, audit)


def account_of(stores: Stores, customer_id: str, tier: Tier = Tier.STARTER) -> Account:
    return Account(
        stores,
        Customer(customer_id, "Ada & Søn", NOON),
        Subscription(customer_id, Terms.of(tier)),
        key_of(customer_id),
        audit_of(customer_id, "customer.create"),
    )


@pytest.fixture
def account(stores: Stores) -> Account:
    """A starter with one key; no period is open."""
    account = account_of(stores, stores.customer_id)
    assert account.create()
    return account


# --- customers -----------------------------------------------------------------------------


def test_a_new_customer_has_profile_subscription_key_and_audit_record(account: Account) -> None:
    accounts = account.stores.accounts
    assert accounts.customer(account.id) == account.customer
    assert accounts.subscription(account.id) == account.subscription
    assert accounts.key(account.key.digest) == account.key
    assert accounts.keys(account.id) == [account.key]
    assert account.trail() == [account.audit]


def test_creating_a_customer_again_is_applied_already(account: Account) -> None:
    _, changed = account.change(Tier.PROFESSIONAL)
    assert changed
    assert account.create()
    assert account.current.terms.tier is Tier.PROFESSIONAL
    assert len(account.trail()) == 2


def test_an_id_that_is_taken_creates_nobody(account: Account) -> None:
    other = replace(
        account_of(account.stores, account.id), customer=Customer(account.id, "B", NOON)
    )
    assert not other.create()
    assert account.stores.accounts.customer(account.id) == account.customer
    assert account.stores.accounts.key(other.key.digest) is None
    assert account.trail() == [account.audit]


def test_a_key_that_is_taken_creates_no_customer(account: Account) -> None:
    other = account_of(account.stores, f"{account.id}b")
    other.key = replace(other.key, digest=account.key.digest)
    assert not other.create()
    assert account.stores.accounts.customer(other.id) is None
    assert account.stores.accounts.subscription(other.id) is None
    assert other.trail() == []
    assert account.stores.accounts.key(account.key.digest) == account.key


def test_who_does_not_exist_has_nothing(stores: Stores) -> None:
    assert stores.accounts.customer("cus_nobody") is None
    assert stores.accounts.subscription("cus_nobody") is None
    assert stores.accounts.key("no such digest") is None
    assert stores.accounts.keys("cus_nobody") == []
    assert stores.accounts.audit_trail("cus_nobody", 10) == []


# --- pages ---------------------------------------------------------------------------------


def pages(stores: Stores, limit: int) -> list[list[str]]:
    found, cursor = [], None
    while True:
        page = stores.accounts.customers(limit, cursor)
        assert all(s.customer_id == c.customer_id for c, s in page.customers)
        found.append([customer.customer_id for customer, _ in page.customers])
        if page.next_cursor is None:
            return found
        assert page.next_cursor != cursor
        cursor = page.next_cursor


def test_pages_hold_every_customer_once_in_the_order_of_creation(stores: Stores) -> None:
    mine = [f"{stores.customer_id}n{number}" for number in (3, 1, 4, 2, 5)]
    for number, customer_id in enumerate(mine):
        account = account_of(stores, customer_id)
        account.customer = replace(account.customer, created_at=NOON + number * HOUR)
        assert account.create()
    for limit in (1, 2, 100):
        listed = [customer_id for page in pages(stores, limit) for customer_id in page]
        assert len(listed) == len(set(listed))
        assert [customer_id for customer_id in listed if customer_id in mine] == mine


def test_the_last_full_page_has_no_next_one(account: Account) -> None:
    everyone = [customer_id for page in pages(account.stores, 100) for customer_id in page]
    page = account.stores.accounts.customers(len(everyone), None)
    assert len(page.customers) == len(everyone)
    assert page.next_cursor is None


def test_a_page_shows_the_subscription_as_it_is_now(account: Account) -> None:
    account.change(Tier.ENTERPRISE, 123_456)
    page, cursor = account.stores.accounts.customers(100, None), None
    while account.id not in {customer.customer_id for customer, _ in page.customers}:
        cursor = page.next_cursor
        assert cursor is not None
        page = account.stores.accounts.customers(100, cursor)
    subscriptions = {
        customer.customer_id: subscription for customer, subscription in page.customers
    }
    assert subscriptions[account.id].terms.session_limit == 123_456


def test_a_cursor_tells_nothing_and_survives_no_change(dynamodb: DynamoDBClient) -> None:
    store = DynamoDBAccountStore(dynamodb, "accounts", "usage")
    for customer_id in ("cus_page1", "cus_page2"):
        customer = Customer(customer_id, "Ada", NOON - HOUR)
        subscription = Subscription(customer_id, Terms.of(Tier.FREE))
        audit = audit_of(customer_id)
        assert store.create_customer(customer, subscription, key_of(customer_id), audit)
    cursor = store.customers(1, None).next_cursor
    assert cursor is not None
    assert "cus_" not in cursor
    flipped = cursor[:12] + ("A" if cursor[12] != "A" else "B") + cursor[13:]
    raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    elsewhere = base64.urlsafe_b64encode(raw.replace(b"cus_page1", b"cus_page2")).decode()
    for tampered in (
        *(cursor[:-2], cursor + "AAAA", flipped, elsewhere.rstrip("=")),
        *("¡no cursor!", "", "AAAA", "AAA=="),
    ):
        with pytest.raises(InvalidRequestError) as refusal:
            store.customers(1, tampered)
        assert refusal.value.details["field"] == "cursor"


# --- keys ----------------------------------------------------------------------------------


def test_a_customer_has_several_keys_each_with_its_expiry(account: Account) -> None:
    second = key_of(account.id, name="CI", expires_at=NOON + HOUR)
    audit = audit_of(account.id, "key.issue")
    for _ in range(2):
        assert account.stores.accounts.add_key(second, audit)
    assert account.stores.accounts.key(second.digest) == second
    assert account.stores.accounts.keys(account.id) == [account.key, second]
    assert account.trail() == [audit, account.audit]


def test_nobody_cannot_have_a_key(stores: Stores) -> None:
    key = key_of("cus_nobody")
    assert not stores.accounts.add_key(key, audit_of("cus_nobody"))
    assert stores.accounts.key(key.digest) is None
    assert stores.accounts.audit_trail("cus_nobody", 10) == []


def test_a_key_that_exists_is_not_added_again(account: Account) -> None:
    again = replace(account.key, name="another name")
    assert not account.stores.accounts.add_key(again, audit_of(account.id))
    assert account.stores.accounts.keys(account.id) == [account.key]


def test_revocation_is_seen_by_authorizer_and_operator_alike(account: Account) -> None:
    audit = audit_of(account.id, "key.revoke", at=NOON + HOUR)
    assert account.stores.accounts.revoke_key(account.key, audit)
    revoked = replace(account.key, revoked_at=NOON + HOUR)
    assert account.stores.accounts.key(account.key.digest) == revoked
    assert account.stores.accounts.keys(account.id) == [revoked]
    assert account.trail()[0] == audit


def test_a_key_keeps_the_instant_of_its_first_revocation(account: Account) -> None:
    first = audit_of(account.id, at=NOON + HOUR)
    later = audit_of(account.id, at=NOON + 2 * HOUR)
    assert account.stores.accounts.revoke_key(account.key, first)
    assert account.stores.accounts.revoke_key(account.key, first)
    assert not account.stores.accounts.revoke_key(account.key, later)
    found = account.stores.accounts.key(account.key.digest)
    assert found is not None
    assert found.revoked_at == NOON + HOUR
    assert later not in account.trail()


def test_a_key_that_does_not_exist_cannot_be_revoked(account: Account) -> None:
    unknown = key_of(account.id)
    assert not account.stores.accounts.revoke_key(unknown, audit_of(account.id))
    assert account.stores.accounts.keys(account.id) == [account.key]


# --- subscriptions -------------------------------------------------------------------------


def test_p1_an_upgrade_reaches_the_open_counter_in_the_same_write(account: Account) -> None:
    account.open()
    after, changed = account.change(Tier.ENTERPRISE, 200_000)
    assert changed
    assert account.current == after
    counter = account.counter()
    assert (counter.session_limit, counter.tier) == (200_000, Tier.ENTERPRISE)
    assert counter.price_cents == 49_900
    assert counter.subscription_version == after.version


def test_p1_an_upgrade_keeps_credits(account: Account) -> None:
    account.open()
    assert account.stores.accounts.credit(account.current, NOVEMBER, 7, audit_of(account.id))
    account.change(Tier.PROFESSIONAL)
    counter = account.counter()
    assert (counter.session_limit, counter.credited_sessions) == (10_007, 7)


def test_a_change_opens_a_period_that_was_not_open(account: Account) -> None:
    account.change(Tier.FREE)
    counter = account.counter()
    assert (counter.sessions_used, counter.session_limit) == (0, 1_000)
    assert account.stores.usage.period_usage(account.id, DECEMBER) is None


def test_p2_a_downgrade_waits_and_is_stored_as_it_is(account: Account) -> None:
    account.open()
    after, changed = account.change(Tier.FREE)
    assert changed
    assert account.current.pending == PendingChange(Terms.of(Tier.FREE), DECEMBER)
    assert account.current == after
    assert account.counter().tier is Tier.STARTER
    assert account.counter().subscription_version == after.version
    back, changed = account.change(Tier.STARTER)
    assert changed
    assert account.current == back
    assert account.current.pending is None


def test_p5_the_price_of_the_period_is_that_of_its_highest_tier(account: Account) -> None:
    """Contracts may be cheaper than what was in force before them."""
    account.open()
    account.change(Tier.ENTERPRISE)
    before = account.current
    cheaper = replace(
        before, terms=Terms.of(Tier.ENTERPRISE, price_cents=100), version=before.version + 1
    )
    assert account.stores.accounts.change_subscription(
        before, cheaper, NOVEMBER, audit_of(account.id)
    )
    assert account.counter().price_cents == 49_900


def test_a_change_from_an_outdated_version_does_not_apply(account: Account) -> None:
    outdated = account.current
    after, _ = account.change(Tier.PROFESSIONAL)
    late = change_terms(outdated, Terms.of(Tier.ENTERPRISE), NOON)
    audit = audit_of(account.id)
    assert not account.stores.accounts.change_subscription(outdated, late, NOVEMBER, audit)
    assert account.current == after
    assert account.counter().tier is Tier.PROFESSIONAL
    assert audit not in account.trail()


def test_a_change_that_is_repeated_later_does_not_undo_what_came_after(account: Account) -> None:
    before, audit = account.current, audit_of(account.id)
    first = change_terms(before, Terms.of(Tier.ENTERPRISE), NOON)
    change = account.stores.accounts.change_subscription
    assert change(before, first, NOVEMBER, audit)
    second, changed = account.change(Tier.ENTERPRISE, 500_000)
    assert changed
    assert change(before, first, NOVEMBER, audit)
    assert account.current == second
    assert account.counter().session_limit == 500_000
    assert len(account.trail()) == 3


def test_nobody_cannot_change_a_subscription(stores: Stores) -> None:
    before = Subscription("cus_nobody", Terms.of(Tier.FREE))
    after = change_terms(before, Terms.of(Tier.STARTER), NOON)
    audit = audit_of("cus_nobody")
    assert not stores.accounts.change_subscription(before, after, NOVEMBER, audit)
    assert stores.usage.period_usage("cus_nobody", NOVEMBER) is None


# --- credits -------------------------------------------------------------------------------


@pytest.mark.parametrize("opened", [True, False])
def test_a_credit_raises_the_limit_of_one_period_only(account: Account, opened: bool) -> None:
    if opened:
        account.open()
    assert account.stores.accounts.credit(account.current, NOVEMBER, 5, audit_of(account.id))
    counter = account.counter()
    assert (counter.session_limit, counter.credited_sessions) == (1_005, 5)
    account.open(DECEMBER)
    assert account.counter(DECEMBER).session_limit == 1_000


def test_a_credit_is_given_once_however_often_it_is_repeated(account: Account) -> None:
    audit = audit_of(account.id)
    for _ in range(3):
        assert account.stores.accounts.credit(account.current, NOVEMBER, 5, audit)
    account.change(Tier.PROFESSIONAL)
    assert account.stores.accounts.credit(account.current, NOVEMBER, 5, audit)
    assert account.counter().credited_sessions == 5
    assert account.counter().session_limit == 10_005


def test_a_repeated_credit_of_last_period_gives_nothing_in_this_one(account: Account) -> None:
    audit = audit_of(account.id)
    account.open(DECEMBER)
    assert account.stores.accounts.credit(account.current, NOVEMBER, 5, audit)
    assert account.stores.accounts.credit(account.current, DECEMBER, 5, audit)
    assert account.counter(DECEMBER).session_limit == 1_000


def test_two_credits_add_up(account: Account) -> None:
    for sessions in (5, 6):
        audit = audit_of(account.id)
        assert account.stores.accounts.credit(account.current, NOVEMBER, sessions, audit)
    assert account.counter().session_limit == 1_011


def test_a_credit_brings_a_counter_up_to_the_subscription(account: Account) -> None:
    """The counter of December was opened before November's close applied what had waited."""
    account.change(Tier.FREE)
    account.open(DECEMBER)
    closing = close_period(account.current, NOVEMBER, account.counter(), {}, DECEMBER.start)
    assert account.stores.closings.close(closing, None)
    assert account.stores.accounts.credit(account.current, DECEMBER, 5, audit_of(account.id))
    counter = account.counter(DECEMBER)
    assert (counter.session_limit, counter.tier) == (30, Tier.FREE)
    assert counter.subscription_version == account.current.version


def test_a_credit_from_an_outdated_version_does_not_apply(account: Account) -> None:
    outdated = account.current
    account.change(Tier.PROFESSIONAL)
    assert not account.stores.accounts.credit(outdated, NOVEMBER, 5, audit_of(account.id))
    assert account.counter().credited_sessions == 0


def test_credits_that_race_all_count(account: Account) -> None:
    def credit(audit: AuditRecord) -> None:
        for _ in range(1_000):
            try:
                assert account.stores.accounts.credit(account.current, NOVEMBER, 1, audit)
            except StoreContentionError:
                continue
            return
        raise AssertionError("contention without end")

    audits = [audit_of(account.id) for _ in range(20)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(credit, [*audits, *audits]))
    assert account.counter().credited_sessions == 20
    assert len(account.trail()) == 21


# --- the audit trail -----------------------------------------------------------------------


def test_the_trail_shows_the_newest_first_and_no_more_than_asked_for(account: Account) -> None:
    for hour in (2, 1, 3):
        audit = audit_of(account.id, "key.issue", at=NOON + hour * HOUR)
        assert account.stores.accounts.add_key(key_of(account.id), audit)
    hours = [(record.at - NOON) // HOUR for record in account.trail()]
    assert hours == [3, 2, 1, 0]
    assert [(record.at - NOON) // HOUR for record in account.trail(2)] == [3, 2]


def test_a_record_tells_what_was_before_and_after(account: Account) -> None:
    audit = audit_of(account.id, before={"tier": "free"}, after={"a": [1, None, {"b": "✓"}]})
    assert account.stores.accounts.add_key(key_of(account.id), audit)
    assert audit in account.trail()


def test_the_trail_of_one_customer_is_not_anothers(account: Account) -> None:
    other = account_of(account.stores, f"{account.id}x")
    assert other.create()
    assert account.trail() == [account.audit]


# --- test clocks ---------------------------------------------------------------------------


def test_a_clock_that_was_never_moved_is_not_ahead(account: Account) -> None:
    assert account.stores.clock_offsets.offset_seconds(account.id) == 0.0


def test_a_clock_moves_from_where_it_stands_to_the_microsecond(account: Account) -> None:
    offsets = account.stores.clock_offsets
    first, second = 1799.999999, 1e8 + 0.000001
    assert offsets.set_offset(account.id, 0.0, first, audit_of(account.id, "clock.move"))
    assert offsets.offset_seconds(account.id) == first
    assert offsets.set_offset(account.id, first, second, audit_of(account.id, "clock.move"))
    assert offsets.offset_seconds(account.id) == second
    assert len(account.trail()) == 3


def test_a_clock_that_was_moved_meanwhile_stays(account: Account) -> None:
    offsets = account.stores.clock_offsets
    audit = audit_of(account.id)
    assert offsets.set_offset(account.id, 0.0, 60.0, audit)
    assert not offsets.set_offset(account.id, 0.0, 120.0, audit_of(account.id))
    assert not offsets.set_offset(account.id, 59.0, 120.0, audit_of(account.id))
    assert offsets.offset_seconds(account.id) == 60.0
    assert offsets.set_offset(account.id, 0.0, 60.0, audit)
    assert offsets.offset_seconds(account.id) == 60.0


# --- what a cancelled transaction means ----------------------------------------------------


@contextmanager
def stubbed() -> Iterator[tuple[DynamoDBAccountStore, Stubber]]:
    """An account store, and what DynamoDB will answer to it."""
    client = boto3.client(
        "dynamodb", "us-east-1", aws_access_key_id="test", aws_secret_access_key="test"
    )
    with Stubber(client) as stub:
        yield DynamoDBAccountStore(client, "accounts", "usage"), stub


def cancel(stub: Stubber, *reasons: str) -> None:
    stub.add_client_error(
        "transact_write_items",
        "TransactionCanceledException",
        http_status_code=400,
        modeled_fields={"CancellationReasons": [{"Code": reason} for reason in reasons]},
    )


def add_key_when_cancelled(*reasons: str, recorded: bool = False) -> bool:
    with stubbed() as (store, stub):
        cancel(stub, *reasons)
        stub.add_response("get_item", {"Item": {"pk": {"S": "AUDIT#cus_1"}}} if recorded else {})
        return store.add_key(key_of("cus_1"), audit_of("cus_1"))


FAILED = "ConditionalCheckFailed"


def test_a_record_that_is_there_already_means_applied() -> None:
    assert add_key_when_cancelled("None", FAILED, FAILED, FAILED)
    assert add_key_when_cancelled("None", "TransactionConflict", FAILED, FAILED)


def test_a_record_that_was_not_looked_at_is_looked_for() -> None:
    assert add_key_when_cancelled("None", FAILED, "None", "None", recorded=True)
    assert not add_key_when_cancelled("None", FAILED, "None", "None", recorded=False)


@pytest.mark.parametrize(
    "passing", ["TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"]
)
def test_what_passes_by_itself_is_contention_whatever_else_failed(passing: str) -> None:
    """An earlier try of ours may be half visible: only its end tells what came of it."""
    for reasons in ((passing, "None", "None", "None"), ("None", FAILED, FAILED, passing)):
        with pytest.raises(StoreContentionError):
            add_key_when_cancelled(*reasons)


def test_a_request_that_dynamodb_calls_wrong_is_a_failure_not_a_refusal() -> None:
    with pytest.raises(ClientError):
        add_key_when_cancelled("ValidationError", "None", "None", "None")


@pytest.mark.parametrize("subscription", ["None", FAILED])
def test_a_counter_that_moved_on_is_contention_unless_the_subscription_did_too(
    subscription: str,
) -> None:
    before = Subscription("cus_1", Terms.of(Tier.FREE))
    after = change_terms(before, Terms.of(Tier.STARTER), NOON)
    with stubbed() as (store, stub):
        stub.add_response("get_item", {})  # the counter
        cancel(stub, subscription, "None", FAILED, "None")
        stub.add_response("get_item", {})  # the audit record
        if subscription == FAILED:
            assert not store.change_subscription(before, after, NOVEMBER, audit_of("cus_1"))
        else:
            with pytest.raises(StoreContentionError):
                store.change_subscription(before, after, NOVEMBER, audit_of("cus_1"))
