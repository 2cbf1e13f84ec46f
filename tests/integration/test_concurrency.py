"""Exactness under concurrency and faults, over HTTPS on the deployed stack."""

from __future__ import annotations

from collections import Counter

import httpx
import pytest

from tests.integration.conftest import CONNECTIONS, Customer, Stack, at_once
from tests.support.converse_server import Behaviour
from tests.support.faulty_dynamodb import Faults

ATTEMPTS = 40
THIRD = 1 / 3


@pytest.fixture(scope="module", autouse=True)
def environments(deployed: Stack) -> None:
    """Start as many execution environments as there are connections.

    The emulator makes each in its own process, and its start is part of the first request's
    time: none of the racing ones should wait for it.
    """
    customer = deployed.customer()
    customer.invoke()
    deployed.bedrock.behave(Behaviour(marker="warm-up", delay_seconds=6))
    said = [{"role": "user", "content": "warm-up"}]
    at_once(CONNECTIONS, lambda n: customer.invoke(f"warm-{n}", messages=said))
    deployed.bedrock.behave()


def persistent(customer: Customer, conversation_id: str, key: str) -> httpx.Response:
    """Send a first message as a good client does: the same key until there is an answer."""
    for _ in range(ATTEMPTS):
        response = customer.invoke(conversation_id, headers={"Idempotency-Key": key})
        retry = response.status_code in {500, 503} or (
            response.status_code == 409 and response.json()["error_code"] == "REQUEST_IN_PROGRESS"
        )
        if not retry:
            return response
    return response


def test_q1_200_racing_first_messages_at_a_limit_of_25_are_25_sessions(stack: Stack) -> None:
    customer = stack.customer("enterprise", session_limit=25)
    assert customer.used == 0
    answers = at_once(200, lambda n: customer.invoke(f"conversation-{n}"))
    assert Counter(answer.status_code for answer in answers) == {200: 25, 429: 175}
    assert {a.json()["error_code"] for a in answers if a.status_code == 429} == {"QUOTA_EXCEEDED"}
    stack.assert_exact(customer, 25)


def test_s3_50_racing_first_messages_of_one_conversation_are_one_session(stack: Stack) -> None:
    customer = stack.customer()
    assert customer.used == 0
    answers = at_once(50, lambda _: customer.invoke("the-one"))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["session"]["id"] for answer in answers}) == 1
    assert sum(answer.json()["session"]["new"] for answer in answers) == 1
    stack.assert_exact(customer, 1)


def test_q1_exact_while_a_third_of_the_dynamodb_calls_fail(stack: Stack) -> None:
    customer = stack.customer("enterprise", session_limit=25)
    assert customer.used == 0
    stack.dynamodb.control(Faults(rate=THIRD, seed=7))
    answers = at_once(200, lambda n: persistent(customer, f"conversation-{n}", f"key-{n}"))
    faults = stack.dynamodb.stats()["faults"]
    stack.dynamodb.control(Faults())
    assert sum(faults.values()) > 100
    assert Counter(answer.status_code for answer in answers) == {200: 25, 429: 175}
    stack.assert_exact(customer, 25)


def test_s3_exact_while_a_third_of_the_dynamodb_calls_fail(stack: Stack) -> None:
    customer = stack.customer()
    assert customer.used == 0
    stack.dynamodb.control(Faults(rate=THIRD, seed=11))
    answers = at_once(50, lambda n: persistent(customer, "the-one", f"key-{n}"))
    stack.dynamodb.control(Faults())
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["session"]["id"] for answer in answers}) == 1
    stack.assert_exact(customer, 1)


def test_an_unreachable_dynamodb_refuses_and_counts_nothing(stack: Stack) -> None:
    customer = stack.customer()
    customer.invoke("before")
    stack.dynamodb.control(Faults(down="503"))
    refused = customer.invoke("during")
    assert refused.status_code == 503, refused.text
    assert refused.json()["error_code"] == "SERVICE_UNAVAILABLE"
    assert int(refused.headers["Retry-After"]) >= 1
    stack.dynamodb.control(Faults())
    stack.assert_exact(customer, 1)
    assert customer.invoke("during").status_code == 200
