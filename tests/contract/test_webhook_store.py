"""What every store of webhooks must do, in memory and on DynamoDB."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import count

import boto3
import pytest
from mypy_boto3_dynamodb import DynamoDBClient
from mypy_boto3_kms import KMSClient

from flowstack_core.adapters.dynamodb_webhooks import (
    DynamoDBDeliveryLog,
    DynamoDBWebhookEndpoints,
)
from flowstack_core.adapters.kms import KmsCredentialCipher, KmsWebhookSecrets
from flowstack_core.domain.errors import InvalidRequestError, StoredCredentialsUnreadableError
from flowstack_core.domain.providers import Provider
from flowstack_core.domain.webhooks import (
    RETENTION,
    Delivery,
    Failure,
    Reply,
    SealedSecret,
    WebhookEndpoint,
    WebhookEvent,
)
from flowstack_core.services.ports.accounts import AuditRecord
from tests.contract.conftest import Stores
from tests.support.emulator import REGION
from tests.support.fakes import NOON, Budget, retrier

_numbers = count(1)
HOUR = timedelta(hours=1)


def audit_of(stores: Stores, at: datetime = NOON) -> AuditRecord:
    return AuditRecord(
        stores.customer_id, f"aud_w{next(_numbers):06d}", at, "key_1", "test", None, {"n": 1}
    )


def endpoint_of(stores: Stores) -> WebhookEndpoint:
    secrets = (SealedSecret(b"two"), SealedSecret(bytes(range(256)), NOON + HOUR))
    return WebhookEndpoint(stores.customer_id, "https://a.example/hook", secrets, NOON, NOON)


def put(stores: Stores) -> WebhookEndpoint:
    endpoint = endpoint_of(stores)
    assert stores.webhooks.replace_endpoint(None, endpoint, audit_of(stores))
    return endpoint


def event_of(stores: Stores, event_id: str = "evt_1") -> WebhookEvent:
    data = {"threshold": 75, "nested": {"list": [1, None, "ä"]}}
    return WebhookEvent(event_id, stores.customer_id, "usage.alert", NOON, data)


def added(stores: Stores, event_id: str = "evt_1", at: datetime = NOON) -> Delivery:
    delivery = stores.deliveries.add(Delivery.of(event_of(stores, event_id), at))
    assert delivery is not None
    return delivery


def find(stores: Stores, event_id: str = "evt_1") -> Delivery | None:
    return stores.deliveries.delivery(stores.customer_id, event_id)


# --- endpoints ---------------------------------------------------------------------------------


def test_an_endpoint_is_found_as_it_was_set(stores: Stores) -> None:
    assert stores.webhooks.endpoint(stores.customer_id) is None
    endpoint = put(stores)
    assert stores.webhooks.endpoint(stores.customer_id) == endpoint
    off = endpoint.switched_off(NOON + HOUR)
    assert stores.webhooks.replace_endpoint(endpoint, off, audit_of(stores))
    assert stores.webhooks.endpoint(stores.customer_id) == off


def test_only_the_endpoint_that_was_read_is_changed_or_deleted(stores: Stores) -> None:
    first = put(stores)
    second = first.directed_to("https://b.example/", NOON)
    assert stores.webhooks.replace_endpoint(first, second, audit_of(stores))
    for stale in (first, None):
        assert not stores.webhooks.replace_endpoint(stale, first, audit_of(stores))
    assert not stores.webhooks.delete_endpoint(first, audit_of(stores))
    assert stores.webhooks.endpoint(stores.customer_id) == second


def test_an_endpoint_that_was_set_anew_is_another_one(stores: Stores) -> None:
    first = put(stores)
    assert stores.webhooks.delete_endpoint(first, audit_of(stores))
    anew = replace(first, created_at=NOON + HOUR, updated_at=NOON + HOUR)
    assert stores.webhooks.replace_endpoint(None, anew, audit_of(stores))
    assert not stores.webhooks.replace_endpoint(first, first.switched_off(NOON), audit_of(stores))
    assert stores.webhooks.endpoint(stores.customer_id) == anew


def test_a_change_of_an_endpoint_that_is_repeated_took_effect_once(stores: Stores) -> None:
    endpoint, audit = endpoint_of(stores), audit_of(stores)
    for _ in range(2):
        assert stores.webhooks.replace_endpoint(None, endpoint, audit)
    gone = audit_of(stores)
    for _ in range(2):
        assert stores.webhooks.delete_endpoint(endpoint, gone)
    assert stores.webhooks.endpoint(stores.customer_id) is None
    assert len(stores.accounts.audit_trail(stores.customer_id, 10)) == 2


# --- deliveries --------------------------------------------------------------------------------


def test_a_delivery_is_found_as_it_was_added(stores: Stores) -> None:
    put(stores)
    assert find(stores) is None
    assert added(stores) == find(stores) == Delivery.of(event_of(stores), NOON)


def test_an_event_has_one_delivery_whichever_came_first(stores: Stores) -> None:
    put(stores)
    first = added(stores)
    assert added(stores, at=NOON + HOUR) == first
    page = stores.deliveries.deliveries(stores.customer_id, 10, None)
    assert page.deliveries == (first,)


def test_without_an_endpoint_nothing_is_added(stores: Stores) -> None:
    assert stores.deliveries.add(Delivery.of(event_of(stores), NOON)) is None
    assert find(stores) is None
    assert stores.deliveries.deliveries(stores.customer_id, 10, None).deliveries == ()


def test_every_state_of_a_delivery_is_kept(stores: Stores) -> None:
    put(stores)
    before = added(stores)
    taken = before.taken("msg-1", NOON + HOUR)
    waits = taken.after(taken.attempted(Reply.answered(503), NOON, NOON + HOUR), HOUR, NOON)
    lost = waits.after(waits.attempted(Reply.none(Failure.TIMEOUT), NOON, NOON), None, NOON)
    again = lost.again(NOON + HOUR)
    done = again.after(again.attempted(Reply.answered(200), NOON, NOON), None, NOON)
    for after in (taken, waits, lost, again, done, done.dropped(Failure.REMOVED)):
        assert stores.deliveries.replace(before, after)
        assert find(stores) == after
        before = after


def test_a_step_is_taken_once_and_repeating_it_says_so(stores: Stores) -> None:
    put(stores)
    before = added(stores)
    mine, theirs = before.taken("msg-1", NOON + HOUR), before.taken("msg-2", NOON + HOUR)
    assert stores.deliveries.replace(before, mine)
    assert stores.deliveries.replace(before, mine), "its answer may have been lost"
    assert not stores.deliveries.replace(before, theirs)
    assert find(stores) == mine


def test_of_many_workers_one_takes_a_step(stores: Stores) -> None:
    put(stores)
    before = added(stores)
    wanted = [before.taken(f"msg-{number}", NOON + HOUR) for number in range(8)]

    def take(after: Delivery) -> bool:
        return retrier().run(
            lambda: stores.deliveries.replace(before, after), Budget(), reserve_seconds=0
        )

    with ThreadPoolExecutor(8) as threads:
        done = list(threads.map(take, wanted))
    assert done.count(True) == 1
    assert find(stores) == wanted[done.index(True)]


def test_a_delivery_that_is_gone_does_not_come_back(stores: Stores) -> None:
    put(stores)
    delivery = Delivery.of(event_of(stores), NOON)
    assert not stores.deliveries.replace(delivery, delivery.taken("msg-1", NOON))
    assert find(stores) is None


def test_deliveries_are_paged_from_the_newest(stores: Stores) -> None:
    put(stores)
    ids = [f"evt_{number}" for number in (3, 1, 4, 0, 2)]
    for number, event_id in enumerate(ids):
        added(stores, event_id, NOON + timedelta(minutes=number))
    seen: list[str] = []
    cursor, pages = None, 0
    while pages == 0 or cursor is not None:
        page = stores.deliveries.deliveries(stores.customer_id, 2, cursor)
        seen += [delivery.event.event_id for delivery in page.deliveries]
        cursor, pages = page.next_cursor, pages + 1
    assert (seen, pages) == (ids[::-1], 3)
    assert stores.deliveries.deliveries(f"{stores.customer_id}0", 2, None).deliveries == ()


@pytest.mark.parametrize("cursor", ["", "x", "AAAA", "ä", "MjAyNi0xMS0xNQ"])
def test_what_is_no_cursor_is_refused(cursor: str, stores: Stores) -> None:
    with pytest.raises(InvalidRequestError, match="cursor"):
        stores.deliveries.deliveries(stores.customer_id, 2, cursor)


def test_deliveries_and_their_places_expire(dynamodb: DynamoDBClient) -> None:
    customer_id = f"cus_expiring{next(_numbers):06d}"
    audit = AuditRecord(customer_id, "aud_1", NOON, "key_1", "test", None, None)
    endpoint = WebhookEndpoint(customer_id, "https://a.example/", (), NOON, NOON)
    assert DynamoDBWebhookEndpoints(dynamodb, "accounts").replace_endpoint(None, endpoint, audit)
    event = WebhookEvent("evt_1", customer_id, "usage.alert", NOON, {})
    log = DynamoDBDeliveryLog(dynamodb, "usage", "accounts")
    delivery = log.add(Delivery.of(event, NOON))
    assert delivery is not None
    assert log.replace(delivery, delivery.taken("msg-1", NOON + HOUR))
    for partition in (f"WEBHOOK#{customer_id}", f"WEBHOOK_LOG#{customer_id}"):
        (item,) = dynamodb.query(
            TableName="usage",
            KeyConditionExpression="pk = :pk",
            ExpressionAttributeValues={":pk": {"S": partition}},
        )["Items"]
        assert int(item["ttl"]["N"]) == int((NOON + RETENTION).timestamp())


# --- secrets, on the emulator's KMS ------------------------------------------------------------


def test_the_secret_of_a_webhook_opens_for_its_customer_and_as_nothing_else(
    emulator_url: str,
) -> None:
    kms: KMSClient = boto3.client(
        "kms",
        endpoint_url=emulator_url,
        region_name=REGION,
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    key = kms.create_key(Description="credentials")["KeyMetadata"]["Arn"]
    secrets = KmsWebhookSecrets(lambda: kms, key)
    sealed = secrets.seal("cus_1", "whsec_canary")
    assert b"canary" not in sealed
    assert secrets.open("cus_1", sealed) == "whsec_canary"
    assert secrets.open("cus_2", sealed) is None
    with pytest.raises(StoredCredentialsUnreadableError):
        KmsCredentialCipher(lambda: kms, key).decrypt("cus_1", Provider.OPENAI, sealed)
