"""Webhooks on the deployed stack: a customer's server is told, again and again if need be."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from mypy_boto3_sqs import SQSClient
from standardwebhooks import WebhookVerificationError

from flowstack_core.adapters.sqs_webhooks import SqsWebhookOutbox
from flowstack_core.domain.webhooks import WebhookEvent
from tests.integration.conftest import Customer, Stack, wait_until
from tests.support.emulator import dynamodb_client
from tests.support.webhook_server import Arrival, Reaction, WebhookServer

PATH = "/alerts/webhook"
FAILS = Reaction(status=500, body=b"canary-body")
ATTEMPTS = 4
"""On a local stage, where the schedule is short."""


@pytest.fixture(scope="module")
def server() -> Iterator[WebhookServer]:
    with WebhookServer() as running:
        yield running


@pytest.fixture
def sqs(stack: Stack) -> Iterator[SQSClient]:
    client: SQSClient = stack.client("sqs")
    yield client
    client.close()


def queue_url(sqs: SQSClient, name: str) -> str:
    return sqs.get_queue_url(QueueName=f"FlowStack-local-{name}")["QueueUrl"]


def set_webhook(customer: Customer, server: WebhookServer) -> str:
    """Set the webhook; return its secret."""
    response = customer.http.put(PATH, json={"url": f"{server.url}/{customer.customer_id}"})
    assert response.status_code == 200, response.text
    secret: str = response.json()["secret"]
    return secret


def send(sqs: SQSClient, customer: Customer, event_id: str) -> WebhookEvent:
    """Send an event as the functions do that have something to tell."""
    event = WebhookEvent(
        event_id, customer.customer_id, "usage.alert", datetime.now(UTC), {"threshold": 75}
    )
    SqsWebhookOutbox(sqs, queue_url(sqs, "webhooks")).send(event)
    return event


def delivery(customer: Customer, event_id: str) -> dict[str, Any]:
    response = customer.http.get(f"{PATH}/deliveries/{event_id}")
    if response.status_code == 404:
        return {"status": "unknown"}
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def wait_for(customer: Customer, event_id: str, status: str) -> dict[str, Any]:
    wait_until(lambda: delivery(customer, event_id)["status"] == status, 60)
    return delivery(customer, event_id)


def told(server: WebhookServer, customer: Customer) -> list[Arrival]:
    return [one for one in server.arrivals if one.path == f"/{customer.customer_id}"]


def test_a_test_arrives_signed_as_the_reference_implementation_wants_it(
    stack: Stack, server: WebhookServer
) -> None:
    server.react()
    customer = stack.customer()
    secret = set_webhook(customer, server)
    accepted = customer.http.post(f"{PATH}/test", json={})
    assert accepted.status_code == 202, accepted.text
    event_id = accepted.json()["event_id"]
    found = wait_for(customer, event_id, "delivered")
    (arrival,) = told(server, customer)
    assert arrival.verified(secret)["type"] == "webhook.test"
    assert arrival.event_id == event_id
    assert found["payload"] == arrival.document
    rotated = customer.http.post(f"{PATH}/secret", json={}).json()
    assert rotated["secret"] != secret
    assert customer.http.get(PATH).json().get("secret") is None


def test_a_server_that_fails_twice_is_told_at_the_third_attempt_under_one_id(
    stack: Stack, server: WebhookServer, sqs: SQSClient
) -> None:
    server.react(FAILS, FAILS)
    customer = stack.customer()
    old = set_webhook(customer, server)
    new = customer.http.post(f"{PATH}/secret", json={}).json()["secret"]
    send(sqs, customer, "evt_twice")
    send(sqs, customer, "evt_twice")
    found = wait_for(customer, "evt_twice", "delivered")
    assert [one["status"] for one in found["attempt_log"]] == [500, 500, 200]
    arrivals = told(server, customer)
    assert [one.event_id for one in arrivals] == ["evt_twice"] * 3
    for arrival in arrivals:
        assert arrival.verified(old) == arrival.verified(new)
        with pytest.raises(WebhookVerificationError):
            arrival.verified("whsec_" + "A" * 43 + "=")
    stamps = [int(one.headers["webhook-timestamp"]) for one in arrivals]
    assert stamps == sorted(stamps)
    assert stamps[-1] > stamps[0]
    (listed,) = customer.http.get(f"{PATH}/deliveries").json()["deliveries"]
    assert (listed["event_id"], listed["attempts"]) == ("evt_twice", 3)


def test_what_was_given_up_is_seen_by_all_and_delivered_when_it_is_redriven(
    stack: Stack, server: WebhookServer, sqs: SQSClient
) -> None:
    server.react(*[FAILS] * ATTEMPTS)
    customer = stack.customer()
    secret = set_webhook(customer, server)
    send(sqs, customer, "evt_dead")
    failed = wait_for(customer, "evt_dead", "failed")
    assert failed["reason"] == "status"
    assert len(failed["attempt_log"]) == ATTEMPTS
    of_operator = stack.admin.get(f"/admin/customers/{customer.customer_id}/webhook-deliveries")
    assert of_operator["deliveries"][0]["status"] == "failed"

    def redriven() -> bool:
        answer = stack.admin.post("/admin/webhooks/redrive", {}, {"limit": 10})
        return int(answer["redriven"]) >= 1

    wait_until(redriven)
    found = wait_for(customer, "evt_dead", "delivered")
    assert found["attempt_log"][-1]["series"] == 2
    assert told(server, customer)[-1].verified(secret)["data"] == {"threshold": 75}


def test_an_event_is_delivered_again_when_its_customer_asks(
    stack: Stack, server: WebhookServer, sqs: SQSClient
) -> None:
    server.react()
    customer = stack.customer()
    set_webhook(customer, server)
    send(sqs, customer, "evt_again")
    wait_for(customer, "evt_again", "delivered")
    path = f"{PATH}/deliveries/evt_again/redeliver"
    assert customer.http.post(path, json={}).status_code == 429
    wait_until(lambda: customer.http.post(path, json={}).status_code == 202, 30)
    wait_until(lambda: len(told(server, customer)) == 2)
    first, second = told(server, customer)
    assert (first.event_id, first.body) == (second.event_id, second.body)


def test_a_server_that_is_gone_is_told_nothing_more_until_it_is_set_again(
    stack: Stack, server: WebhookServer, sqs: SQSClient
) -> None:
    server.react(Reaction(status=410))
    customer = stack.customer()
    set_webhook(customer, server)
    send(sqs, customer, "evt_gone")
    assert wait_for(customer, "evt_gone", "failed")["reason"] == "gone"
    assert customer.http.get(PATH).json()["switched_off_at"] is not None
    assert customer.http.post(f"{PATH}/test", json={}).status_code == 409
    trail = stack.admin.get(f"/admin/customers/{customer.customer_id}/audit-trail")["audit_trail"]
    assert [act["action"] for act in trail[:2]] == ["webhook.gone", "webhook.set"]
    assert set_webhook_again(customer, server)["switched_off_at"] is None


def set_webhook_again(customer: Customer, server: WebhookServer) -> dict[str, Any]:
    url = f"{server.url}/{customer.customer_id}"
    found: dict[str, Any] = customer.http.put(PATH, json={"url": url}).json()
    assert "secret" not in found
    return found


def test_a_customer_without_a_webhook_costs_a_message_and_nothing_else(
    stack: Stack, server: WebhookServer, sqs: SQSClient
) -> None:
    server.react()
    without, with_one = stack.customer(), stack.customer()
    send(sqs, without, "evt_nobody")
    set_webhook(with_one, server)
    send(sqs, with_one, "evt_after")
    wait_for(with_one, "evt_after", "delivered")
    assert told(server, without) == []
    assert without.http.get(f"{PATH}/deliveries").json()["deliveries"] == []


def test_a_secret_is_in_no_table_and_what_was_deleted_is_gone(
    stack: Stack, server: WebhookServer
) -> None:
    customer = stack.customer()
    secret = set_webhook(customer, server)
    dynamodb = dynamodb_client(stack.connection.endpoint_url)
    key = {"pk": {"S": f"CUSTOMER#{customer.customer_id}"}, "sk": {"S": "WEBHOOK"}}
    table = stack.connection.tables["accounts"]
    item = dynamodb.get_item(TableName=table, Key=key)["Item"]
    assert secret not in str(item)
    assert secret.removeprefix("whsec_") not in str(item)
    assert customer.http.delete(PATH).json() == {"deleted": True}
    assert "Item" not in dynamodb.get_item(TableName=table, Key=key)
    assert customer.http.get(PATH).status_code == 404
