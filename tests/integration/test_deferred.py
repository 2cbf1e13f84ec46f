"""Answers that are fetched later, on the deployed stack: queue, worker, and killed workers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from mypy_boto3_lambda import LambdaClient

from flowstack_core.adapters.dynamodb_deferred import DynamoDBDeferredStore
from flowstack_core.adapters.sqs_deferred import encode_message
from flowstack_core.domain.deferred import Run
from tests.integration.conftest import MODEL, Customer, Stack, wait_until
from tests.support.batch_events import queue_record
from tests.support.converse_server import Behaviour
from tests.support.emulator import dynamodb_client

LATER = {"Prefer": "respond-async"}


@contextmanager
def lambda_client(stack: Stack) -> Iterator[LambdaClient]:
    client = stack.client("lambda")
    yield client
    client.close()


@contextmanager
def queue_at_rest(stack: Stack) -> Iterator[LambdaClient]:
    """Keep the queue from calling the worker, so that the test calls it."""
    with lambda_client(stack) as client:
        mappings = client.list_event_source_mappings()["EventSourceMappings"]
        (mapping,) = [one for one in mappings if one["EventSourceArn"].endswith("-requests")]
        client.update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)
        try:
            yield client
        finally:
            client.update_event_source_mapping(UUID=mapping["UUID"], Enabled=True)


def deliver(stack: Stack, client: LambdaClient, customer: Customer, request_id: str) -> Any:
    """Call the worker as the queue does."""
    record = queue_record("m1", encode_message(customer.customer_id, request_id))
    answer = client.invoke(
        FunctionName=f"{stack.connection.functions['worker']}:live",
        Payload=json.dumps({"Records": [record]}).encode(),
    )
    return json.loads(answer["Payload"].read())


def outcome(customer: Customer, accepted: httpx.Response, seconds: float = 60) -> dict[str, Any]:
    """Fetch the outcome as a customer does: again and again."""
    location = accepted.headers["Location"]

    def found() -> dict[str, Any]:
        response = customer.http.get(location)
        assert response.status_code == 200, response.text
        document: dict[str, Any] = response.json()
        return document

    wait_until(lambda: found()["status"] in {"succeeded", "failed"}, seconds)
    return found()


def test_s1_an_answer_is_fetched_later_and_charged_once(stack: Stack) -> None:
    customer = stack.customer()
    accepted = customer.chat("later-marker", headers=LATER)
    assert accepted.status_code == 202, accepted.text
    assert accepted.headers["Preference-Applied"] == "respond-async"
    assert customer.used == 1
    found = outcome(customer, accepted)
    assert found["answer"]["content"] == "You said: later-marker"
    follow_up = customer.chat("and then?")
    assert follow_up.json()["session"] == {
        **follow_up.json()["session"],
        "id": found["session"]["id"],
        "new": False,
    }
    assert stack.asked("later-marker") == 2
    stack.assert_exact(customer, 1)


def test_an_answer_may_take_longer_than_the_gateway_waits(stack: Stack) -> None:
    customer = stack.customer()
    stack.bedrock.behave(Behaviour(marker="long-marker", delay_seconds=31))
    message = [{"role": "user", "content": "long-marker"}]
    accepted = customer.invoke(messages=message, headers=LATER)
    wait_until(lambda: stack.asked("long-marker") == 1)
    assert customer.http.get(accepted.headers["Location"]).json()["status"] == "running"
    found = outcome(customer, accepted, seconds=90)
    assert found["status"] == "succeeded", found
    stack.assert_exact(customer, 1)


def test_q1_the_quota_refuses_at_once(stack: Stack) -> None:
    customer = stack.customer(session_limit=1)
    assert customer.invoke("a", headers=LATER).status_code == 202
    refused = customer.invoke("b", headers=LATER)
    assert (refused.status_code, refused.json()["error_code"]) == (429, "QUOTA_EXCEEDED")
    audit = stack.audit(customer)  # whether the answer is still awaited, or not any more
    assert (audit["counted"], audit["drift"]) == (1, 0), audit


def test_s5_a_failing_model_is_not_billed(stack: Stack) -> None:
    customer = stack.customer()
    stack.bedrock.behave(Behaviour(marker="failing", fail="ThrottlingException"))
    message = [{"role": "user", "content": "failing"}]
    found = outcome(customer, customer.invoke(messages=message, headers=LATER))
    assert (found["status"], found["failure"]["error_code"]) == ("failed", "PROVIDER_RATE_LIMITED")
    stack.assert_exact(customer, 0)


def test_s3_a_message_that_is_delivered_twice_is_one_charge(stack: Stack) -> None:
    customer = stack.customer()
    with queue_at_rest(stack) as client:
        message = [{"role": "user", "content": "twice-marker"}]
        accepted = customer.invoke(messages=message, headers=LATER)
        request_id = accepted.json()["request_id"]
        for _ in range(2):
            assert deliver(stack, client, customer, request_id) == {"batchItemFailures": []}
        assert stack.asked("twice-marker") == 1
        stack.assert_exact(customer, 1)
    assert outcome(customer, accepted)["status"] == "succeeded"


def test_s5_a_killed_worker_is_followed_by_another_and_charged_once(stack: Stack) -> None:
    customer = stack.customer()
    with queue_at_rest(stack) as client:
        message = [{"role": "user", "content": "killed-marker"}]
        accepted = customer.invoke(messages=message, headers=LATER)
        request_id = accepted.json()["request_id"]
        # What a worker leaves that is killed while the model is thinking.
        dynamodb = dynamodb_client(stack.connection.endpoint_url)
        store = DynamoDBDeferredStore(dynamodb, stack.connection.tables["sessions"])
        now = datetime.now(UTC)
        store.begin(Run(customer.customer_id, request_id, "killed", now + timedelta(hours=1)), now)
        failed = deliver(stack, client, customer, request_id)
        assert "errorMessage" in failed, "it must come again: the first run may be going on"
        assert stack.asked("killed-marker") == 0
        assert (customer.used, customer.held) == (1, 1)
        dead = Run(customer.customer_id, request_id, "killed", now)
        store.begin(dead, now)
        dynamodb.close()
        for _ in range(2):
            assert deliver(stack, client, customer, request_id) == {"batchItemFailures": []}
    assert outcome(customer, accepted)["answer"]["content"] == "You said: killed-marker"
    assert stack.asked("killed-marker") == 1
    stack.assert_exact(customer, 1)


def test_s5_a_request_that_is_never_answered_is_not_billed(stack: Stack) -> None:
    customer = stack.customer(session_limit=1)
    with queue_at_rest(stack) as client:
        accepted = customer.invoke("dead", headers=LATER)
        stack.advance(customer, 25)
        found = outcome(customer, accepted)
        assert (found["status"], found["failure"]["error_code"]) == ("failed", "MODEL_TIMEOUT")
        assert deliver(stack, client, customer, accepted.json()["request_id"]) == {
            "batchItemFailures": []
        }
        stack.assert_exact(customer, 0)
    assert customer.invoke("next").status_code == 200


def test_only_who_sent_a_request_can_read_it(stack: Stack) -> None:
    customer, other = stack.customer(), stack.customer()
    accepted = customer.invoke(headers=LATER)
    assert other.http.get(accepted.headers["Location"]).status_code == 404
    assert stack.anonymous().get(accepted.headers["Location"]).status_code == 401
    outcome(customer, accepted)


def test_s3_the_same_key_names_the_same_request(stack: Stack) -> None:
    customer = stack.customer()
    headers = {**LATER, "Idempotency-Key": "k1"}
    first, again = (customer.invoke(headers=headers) for _ in range(2))
    assert again.headers["Location"] == first.headers["Location"]
    outcome(customer, first)
    stack.assert_exact(customer, 1)


def test_a_chat_completion_is_fetched_later(stack: Stack) -> None:
    customer = stack.customer()
    bearer = stack.anonymous(Authorization=f"Bearer {customer.key}", **LATER)
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Hello"}]}
    accepted = bearer.post("/v1/chat/completions", json=body)
    assert accepted.status_code == 202, accepted.text
    location = accepted.headers["Location"]
    wait_until(lambda: bearer.get(location).json()["status"] == "succeeded")
    response = bearer.get(location).json()["response"]
    assert response["choices"][0]["message"]["content"] == "You said: Hello"
    stack.assert_exact(customer, 1)


def test_byok_an_answer_that_comes_later_is_paid_for_with_stored_credentials(stack: Stack) -> None:
    customer = stack.customer("free")
    key = "sk-stored-for-later-0123456789"
    body = {"provider": "openai", "credentials": {"api_key": key}}
    assert customer.http.post("/api/byok-credentials", json=body).status_code == 200
    own: dict[str, Any] = {"provider": "openai", "model": "gpt-4o", "headers": LATER}
    accepted = customer.chat("later-own-marker", **own)
    assert accepted.status_code == 202, accepted.text
    found = outcome(customer, accepted)
    assert found["status"] == "succeeded", found
    (call,) = stack.vendors.calls("later-own-marker")
    assert call.headers["authorization"] == f"Bearer {key}"
    assert stack.bedrock.calls() == []
    stack.assert_exact(customer, 1)
