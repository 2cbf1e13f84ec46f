"""Customers' own providers over HTTPS: their sessions count as others do, and failures do not."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.conftest import Customer, Stack, wait_until
from tests.integration.test_conversations import TOOL
from tests.support.provider_server import Reply

KEY = "canary-key-of-the-customer"


class Own:
    """A customer on the free tier, and the provider that it brings along."""

    def __init__(self, stack: Stack, provider: str, session_limit: int | None = None) -> None:
        self.stack = stack
        self.customer: Customer = stack.customer("free", session_limit)
        credentials = {"api_key": KEY}
        if provider == "litellm":
            credentials["host"] = f"{stack.vendors.url}/litellm"
        self.fields: dict[str, Any] = {
            "provider": provider,
            "model": "a-model-of-tomorrow",
            "byok_credentials": credentials,
        }

    def chat(self, message: Any = "Hello", conversation_id: str = "default", **fields: Any) -> Any:
        return self.customer.chat(message, conversation_id, **self.fields, **fields)

    def invoke(self, text: str = "Hello", conversation_id: str = "default", **fields: Any) -> Any:
        messages = [{"role": "user", "content": text}]
        return self.customer.invoke(conversation_id, messages=messages, **self.fields, **fields)


@pytest.fixture(params=["litellm", "openai", "anthropic"])
def own(request: pytest.FixtureRequest, stack: Stack) -> Own:
    return Own(stack, request.param)


def test_s1_s6_messages_to_an_own_provider_are_one_session(stack: Stack, own: Own) -> None:
    answers = [own.chat(text) for text in ("first-marker", "Here is data", "And a chart?")]
    assert [answer.status_code for answer in answers] == [200, 200, 200], answers[0].text
    assert answers[0].json()["content"] == "You said: first-marker"
    assert answers[0].json()["model"] == "a-model-of-tomorrow"
    assert answers[0].json()["usage"]["total_tokens"] == 18
    assert [answer.json()["session"]["new"] for answer in answers] == [True, False, False]
    assert len(stack.vendors.calls("first-marker")) == 3, "the history goes along"
    stack.assert_exact(own.customer, 1)
    assert stack.bedrock.calls() == []


def test_s2_s4_sessions_with_an_own_provider_end_and_belong_to_their_month(
    stack: Stack, own: Own
) -> None:
    stack.set_clock(own.customer, "2027-01-31T23:50:00Z")
    assert own.invoke().json()["session"]["new"] is True
    stack.set_clock(own.customer, "2027-02-01T00:05:00Z")
    assert own.invoke().json()["session"]["period"] == "2027-01"
    assert own.customer.used == 0
    stack.advance(own.customer, 30)
    assert own.invoke().json()["session"]["period"] == "2027-02"
    assert own.customer.used == 1


def test_s3_a_retried_request_asks_the_own_provider_once(stack: Stack, own: Own) -> None:
    headers = {"Idempotency-Key": f"own-{own.fields['provider']}"}
    first = own.invoke("retry-marker", headers=headers)
    again = own.invoke("retry-marker", headers=headers)
    assert first.status_code == 200, first.text
    assert again.json() == first.json()
    assert len(stack.vendors.calls("retry-marker")) == 1
    stack.assert_exact(own.customer, 1)


def test_s5_tool_calls_come_to_the_caller_and_their_results_are_free(
    stack: Stack, own: Own
) -> None:
    other = {**TOOL, "name": "clock"}
    asked = own.chat("Use weather and clock", tools=[TOOL, other])
    assert asked.status_code == 200, asked.text
    assert asked.json()["stop_reason"] == "tool_use"
    results = [
        {"type": "tool_result", "tool_use_id": call["id"], "content": f"result of {call['name']}"}
        for call in asked.json()["tool_calls"]
    ]
    answered = own.chat(results, tools=[TOOL, other])
    assert answered.status_code == 200, answered.text
    assert answered.json()["content"] == "The tools said: result of weather; result of clock"
    stack.assert_exact(own.customer, 1)


@pytest.mark.parametrize("provider", ["litellm", "anthropic"])
def test_s5_no_failure_of_an_own_provider_is_billed_or_falls_back_to_the_operators(
    stack: Stack, provider: str
) -> None:
    own = Own(stack, provider, session_limit=1)
    failures = [
        (Reply(status=401, body={"error": {"message": f"bad {KEY}"}}), 400),
        (Reply(status=404, body={"error": {"message": "no such model"}}), 400),
        (Reply(status=400, body={"error": {"message": "prompt is too long"}}), 400),
        (Reply(status=400, body={"error": {"message": f"odd {KEY}"}}), 400),
        (Reply(status=429, body={}, headers={"Retry-After": "7"}), 429),
        (Reply(status=500, body={}), 502),
        (Reply(status=503, body={}), 502),
        (Reply(status=504, body={}), 504),
        (Reply(status=302, body="", headers={"Location": stack.bedrock.url}), 502),
        (Reply(body="not json"), 502),
        (Reply(body="{}"), 502),
        (Reply(drop=True), 502),
    ]
    codes = []
    for reply, status in failures:
        stack.vendors.reply_with(reply)
        response = own.invoke("failing")
        assert response.status_code == status, (reply, response.text)
        assert KEY not in response.text
        assert response.json()["request_id"]
        codes.append(response.json()["error_code"])
        if status == 429:
            assert response.headers["Retry-After"] == "7"
    assert codes[:5] == [
        "PROVIDER_CREDENTIALS_REJECTED",
        "MODEL_NOT_AVAILABLE",
        "CONTEXT_LENGTH_EXCEEDED",
        "MODEL_REQUEST_REJECTED",
        "PROVIDER_RATE_LIMITED",
    ]
    stack.assert_exact(own.customer, 0)
    assert len(stack.vendors.calls("failing")) == len(failures), "nothing is asked twice"
    assert stack.bedrock.calls() == []
    stack.vendors.reply_with()
    assert own.invoke("works", "fresh").status_code == 200
    stack.assert_exact(own.customer, 1)


def test_s5_an_own_provider_that_is_too_slow_is_not_billed(stack: Stack) -> None:
    own = Own(stack, "litellm", session_limit=1)
    stack.vendors.reply_with(Reply(marker="slow", delay_seconds=60))
    response = own.invoke("slow")
    assert (response.status_code, response.json()["error_code"]) == (504, "MODEL_TIMEOUT")
    stack.assert_exact(own.customer, 0)


def test_a_content_filter_is_an_answer(stack: Stack) -> None:
    own = Own(stack, "openai")
    body = {"error": {"message": "filtered", "code": "content_filter"}}
    stack.vendors.reply_with(Reply(status=400, body=body))
    answer = own.invoke()
    assert (answer.status_code, answer.json()["stop_reason"]) == (200, "content_filter")


@pytest.mark.parametrize(
    "host",
    [
        "https://169.254.169.254/latest/meta-data",
        "https://10.0.0.5",
        "http://models.example.com",
        "https://2852039166",
        "https://[::ffff:169.254.169.254]",
        "ftp://127.0.0.1",
    ],
)
def test_a_host_that_only_flowstack_can_reach_is_refused_and_counts_nothing(
    stack: Stack, host: str
) -> None:
    customer = stack.customer("free")
    refused = customer.invoke(provider="ollama", model="llama3.2", byok_credentials={"host": host})
    assert (refused.status_code, refused.json()["error_code"]) == (400, "INVALID_REQUEST")
    assert refused.json()["details"]["field"] == "byok_credentials.host"
    stack.assert_exact(customer, 0)


def test_a_role_is_assumed_for_its_own_customer_only(stack: Stack) -> None:
    customer, other = stack.customer("free"), stack.customer("free")
    role = {
        "role_arn": "arn:aws:iam::123456789012:role/flowstack-byok-models",
        "external_id": f"flowstack:{customer.customer_id}",
    }
    stolen = other.invoke(byok_credentials=role)
    assert (stolen.status_code, stolen.json()["error_code"]) == (400, "INVALID_REQUEST")
    assert stolen.json()["details"]["external_id"] == f"flowstack:{other.customer_id}"
    stack.assert_exact(other, 0)
    assert stack.bedrock.calls() == []
    messages = [{"role": "user", "content": "role-marker"}]
    answer = customer.invoke(byok_credentials=role, messages=messages)
    assert answer.status_code == 200, answer.text
    wait_until(lambda: stack.asked("role-marker") == 1)
    (call,) = stack.bedrock.calls("role-marker")
    assert call.access_key.startswith("ASIA")
    stack.assert_exact(customer, 1)
