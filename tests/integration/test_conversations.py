"""Conversations over HTTPS: what counts, what does not, and what the caller is told."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import httpx

from tests.integration.conftest import Stack, wait_until
from tests.support.converse_server import Behaviour

TOOL = {
    "name": "weather",
    "description": "Tells the weather of a town.",
    "input_schema": {
        "type": "object",
        "properties": {"town": {"type": "string"}},
        "required": ["town"],
    },
}


def test_s1_six_messages_are_one_session(stack: Stack) -> None:
    customer = stack.customer()
    answers = [customer.chat(text) for text in ("Can you help?", "Here is data", "And a chart?")]
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    sessions = [answer.json()["session"] for answer in answers]
    assert [session["new"] for session in sessions] == [True, False, False]
    assert len({session["id"] for session in sessions}) == 1
    period = customer.usage()["current_period"]
    assert (period["sessions_used"], period["sessions_held"]) == (1, 0)
    stack.assert_exact(customer, 1)


def test_chat_keeps_the_conversation_and_invoke_does_not(stack: Stack) -> None:
    customer = stack.customer()
    customer.chat("first-marker question")
    customer.chat("second question")
    (_, second) = stack.bedrock.calls("first-marker")
    said = [message["content"][0]["text"] for message in second.body["messages"]]
    assert said[0] == "first-marker question"
    assert said[2] == "second question"
    customer.invoke()
    assert stack.asked("first-marker") == 2


def test_chat_forgets_with_the_session(stack: Stack) -> None:
    customer = stack.customer()
    customer.chat("forgotten-marker")
    stack.advance(customer, 30)
    customer.chat("new question")
    assert stack.asked("forgotten-marker") == 1
    assert customer.used == 2


def test_s2_29_59_goes_on_and_30_00_starts_a_new_session(stack: Stack) -> None:
    customer = stack.customer()
    customer.invoke()
    stack.advance(customer, 29)
    assert customer.invoke().json()["session"]["new"] is False
    stack.advance(customer, 30)
    assert customer.invoke().json()["session"]["new"] is True
    stack.assert_exact(customer, 2)


def test_s4_a_session_belongs_to_the_month_it_started_in(stack: Stack) -> None:
    customer = stack.customer(session_limit=1)
    stack.set_clock(customer, "2027-01-31T23:50:00Z")
    assert customer.invoke().status_code == 200
    assert customer.invoke("other").status_code == 429
    stack.set_clock(customer, "2027-02-01T00:05:00Z")
    assert customer.invoke().json()["session"]["period"] == "2027-01"
    assert customer.used == 0
    assert customer.invoke("other").json()["session"]["period"] == "2027-02"
    assert customer.used == 1


def test_q3_a_new_month_starts_at_zero_by_itself(stack: Stack) -> None:
    customer = stack.customer(session_limit=2)
    stack.set_clock(customer, "2027-03-31T12:00:00Z")
    customer.invoke("a")
    customer.invoke("b")
    refused = customer.invoke("c")
    assert refused.json()["details"]["resets_at"] == "2027-04-01T00:00:00.000Z"
    stack.set_clock(customer, "2027-04-01T00:00:00Z")
    usage = customer.usage()["current_period"]
    assert (usage["name"], usage["sessions_used"], usage["sessions_limit"]) == ("2027-04", 0, 2)
    assert customer.invoke("c").status_code == 200
    assert customer.used == 1


def test_s3_a_retried_request_gets_the_first_answer(stack: Stack) -> None:
    customer = stack.customer()
    headers = {"Idempotency-Key": "order-1"}
    first = customer.invoke(headers=headers, messages=[{"role": "user", "content": "retry-marker"}])
    again = customer.invoke(headers=headers, messages=[{"role": "user", "content": "retry-marker"}])
    assert again.json() == first.json()
    assert again.headers["Idempotency-Replayed"] == "true"
    assert stack.asked("retry-marker") == 1
    other = customer.invoke(headers=headers, system="something else")
    assert (other.status_code, other.json()["error_code"]) == (409, "IDEMPOTENCY_CONFLICT")
    stack.assert_exact(customer, 1)


def test_s3_a_repeat_while_the_first_still_runs_calls_no_model_again(stack: Stack) -> None:
    customer = stack.customer()
    stack.bedrock.behave(Behaviour(marker="slow-marker", delay_seconds=16))

    def send() -> httpx.Response:
        return customer.invoke(
            headers={"Idempotency-Key": "slow-1"},
            messages=[{"role": "user", "content": "slow-marker"}],
        )

    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(send)
        wait_until(lambda: stack.asked("slow-marker") == 1)
        repeat = send()
        assert (repeat.status_code, repeat.json()["error_code"]) == (409, "REQUEST_IN_PROGRESS")
        assert int(repeat.headers["Retry-After"]) >= 1
        assert first.result().status_code == 200
    assert send().json() == first.result().json()
    assert stack.asked("slow-marker") == 1
    stack.assert_exact(customer, 1)


def test_s5_tool_calls_come_to_the_caller_and_their_results_are_free(stack: Stack) -> None:
    customer = stack.customer()
    asked = customer.chat("Use the weather tool", tools=[TOOL])
    assert asked.status_code == 200, asked.text
    assert asked.json()["stop_reason"] == "tool_use"
    (call,) = asked.json()["tool_calls"]
    assert call["name"] == "weather"
    result = {"type": "tool_result", "tool_use_id": call["id"], "content": "21 degrees"}
    answered = customer.chat([result], tools=[TOOL])
    assert answered.status_code == 200, answered.text
    assert answered.json()["session"]["new"] is False
    assert "21 degrees" in answered.json()["content"]
    stack.assert_exact(customer, 1)


def test_s5_a_failing_model_is_not_billed(stack: Stack) -> None:
    failures = {
        "ThrottlingException": (429, "PROVIDER_RATE_LIMITED"),
        "ServiceUnavailableException": (502, "MODEL_UNAVAILABLE"),
        "InternalServerException": (502, "MODEL_UNAVAILABLE"),
        "ModelTimeoutException": (504, "MODEL_TIMEOUT"),
        "ValidationException": (400, "MODEL_REQUEST_REJECTED"),
        "AccessDeniedException": (502, "MODEL_UNAVAILABLE"),
    }
    customer = stack.customer(session_limit=1)
    for exception, (status, code) in failures.items():
        stack.bedrock.behave(Behaviour(marker="failing", fail=exception))
        response = customer.invoke(messages=[{"role": "user", "content": "failing"}])
        assert (response.status_code, response.json()["error_code"]) == (status, code), exception
        assert response.json()["request_id"]
    stack.bedrock.behave(Behaviour(marker="failing", drop=True))
    assert customer.invoke(messages=[{"role": "user", "content": "failing"}]).status_code == 502
    stack.assert_exact(customer, 0)
    assert customer.invoke("fresh").status_code == 200


def test_s5_a_failure_later_in_a_session_leaves_it_counted(stack: Stack) -> None:
    customer = stack.customer()
    customer.invoke()
    stack.bedrock.behave(Behaviour(marker="failing", fail="ThrottlingException"))
    customer.invoke(messages=[{"role": "user", "content": "failing"}])
    stack.assert_exact(customer, 1)
    assert customer.invoke().json()["session"]["new"] is False


def test_s6_sessions_with_own_credentials_count_and_never_use_the_operators(stack: Stack) -> None:
    customer = stack.customer("free")
    secret = "canary-own-secret"
    own = {"aws_access_key": "AKIACANARY", "aws_secret_key": secret}
    answer = customer.invoke(
        byok_credentials=own, messages=[{"role": "user", "content": "own-marker"}]
    )
    assert answer.status_code == 200, answer.text
    (call,) = stack.bedrock.calls("own-marker")
    assert call.access_key == "AKIACANARY"
    stack.bedrock.behave(Behaviour(marker="own-marker", fail="UnrecognizedClientException"))
    rejected = customer.invoke(
        byok_credentials=own, messages=[{"role": "user", "content": "own-marker"}]
    )
    assert rejected.status_code == 400
    assert rejected.json()["error_code"] == "PROVIDER_CREDENTIALS_REJECTED"
    assert secret not in rejected.text
    stack.assert_exact(customer, 1)


def test_p4_managed_models_are_refused_on_free(stack: Stack) -> None:
    customer = stack.customer("free")
    refused = customer.invoke()
    assert (refused.status_code, refused.json()["error_code"]) == (403, "TIER_LIMITATION")
    assert "free tier" in refused.json()["error"]
    required = customer.invoke(provider="openai", model="gpt-4o")
    assert (required.status_code, required.json()["error_code"]) == (400, "CREDENTIALS_REQUIRED")
    stack.assert_exact(customer, 0)


def test_p1_an_upgrade_is_there_for_the_very_next_request(stack: Stack) -> None:
    customer = stack.customer("free", session_limit=1)
    own = {"aws_access_key": "AKIACANARY", "aws_secret_key": "secret"}
    assert customer.invoke("a", byok_credentials=own).status_code == 200
    assert customer.invoke("b", byok_credentials=own).status_code == 429
    stack.set_tier(customer, "starter")
    upgraded = customer.invoke("b")
    assert upgraded.status_code == 200, upgraded.text
    usage = customer.usage()
    assert (usage["tier"], usage["current_charges"]) == ("starter", 29.0)
    period = usage["current_period"]
    assert (period["sessions_used"], period["sessions_limit"]) == (2, 1000)
    assert customer.http.get("/tier-info").json()["can_use_managed"] is True
    assert customer.invoke("a").json()["session"]["new"] is False


def test_p2_a_downgrade_waits_for_the_next_month(stack: Stack) -> None:
    customer = stack.customer("starter")
    changed = stack.set_tier(customer, "free")
    assert changed["subscription"]["pending_change"]["tier"] == "free"
    assert customer.invoke().status_code == 200
    stack.set_clock(customer, "2027-06-01T00:00:00Z")
    assert customer.usage()["tier"] == "free"
    assert customer.invoke("next").json()["error_code"] == "TIER_LIMITATION"


def test_q2_at_the_limit_running_sessions_go_on(stack: Stack) -> None:
    customer = stack.customer(session_limit=1)
    customer.chat("Hello")
    refused = customer.chat("Hello", "other")
    assert refused.status_code == 429
    body = refused.json()
    assert (body["error_code"], body["current_usage"], body["limit"]) == ("QUOTA_EXCEEDED", 1, 1)
    assert set(body["details"]) >= {"held", "limit", "resets_at", "reason", "current_usage"}
    for _ in range(5):
        assert customer.chat("More").status_code == 200
    assert customer.usage()["quota"]["remaining"] == 0
    stack.assert_exact(customer, 1)


def test_a_credit_makes_room(stack: Stack) -> None:
    customer = stack.customer(session_limit=0)
    assert customer.invoke().status_code == 429
    credit = {"sessions": 1, "reason": "an apology", "request_id": "credit-1"}
    for _ in range(2):
        stack.admin.post(f"/admin/customers/{customer.customer_id}/credits", credit)
    assert customer.invoke().status_code == 200
    assert customer.invoke("other").status_code == 429


def test_another_customers_conversation_is_another_conversation(stack: Stack) -> None:
    ada, eve = stack.customer(), stack.customer()
    ada.chat("ada-secret-marker", "shared")
    answer = eve.chat("What was said?", "shared")
    assert answer.json()["session"]["new"] is True
    assert stack.asked("ada-secret-marker") == 1
    assert (ada.used, eve.used) == (1, 1)


def test_a_retired_model_gives_way_to_its_successor_and_says_so(stack: Stack) -> None:
    answer = stack.customer().invoke(model="claude-3-sonnet").json()
    assert answer["model"] != "claude-3-sonnet"
    assert "claude-3-sonnet was retired" in answer["model_notice"]


def test_f1_fair_use_is_told_apart_from_the_quota(stack: Stack) -> None:
    customer = stack.customer("free")
    # One after the other they meet one execution environment, and more than 60 fall into one of
    # the at most two minutes that they take.
    answers = [customer.invoke() for _ in range(125)]
    limited = [answer for answer in answers if answer.json()["error_code"] == "RATE_LIMITED"]
    assert limited
    assert all(answer.status_code == 429 for answer in limited)
    assert all(1 <= int(answer.headers["Retry-After"]) <= 60 for answer in limited)
    assert "current_usage" not in limited[0].json()
    stack.assert_exact(customer, 0)
