"""OpenAI's own client on the deployed stack, with nothing changed but its base URL and key."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import openai
import pytest

from tests.integration.conftest import MODEL, Customer, Stack
from tests.support.converse_server import Behaviour

Connect = Callable[..., openai.OpenAI]
HELLO: list[Any] = [{"role": "user", "content": "Hello"}]
TOOLS: list[Any] = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": f"Tells the {name} of a town.",
            "parameters": {
                "type": "object",
                "properties": {"town": {"type": "string"}},
                "required": ["town"],
            },
        },
    }
    for name in ("weather", "population")
]


@pytest.fixture
def connect(stack: Stack) -> Iterator[Connect]:
    """Make clients; they are closed when the test ends."""
    opened: list[openai.OpenAI] = []

    def client(customer: Customer | None = None, **options: Any) -> openai.OpenAI:
        made = openai.OpenAI(
            base_url=f"{stack.connection.preferred_url}/v1",
            api_key=customer.key if customer else "fs_unknown",
            http_client=openai.DefaultHttpx2Client(verify=stack.tls, trust_env=False),
            max_retries=0,
            **options,
        )
        opened.append(made)
        return made

    yield client
    for each in opened:
        each.close()


def test_s1_a_chat_is_one_session_however_many_messages(stack: Stack, connect: Connect) -> None:
    customer = stack.customer()
    client = connect(customer)
    first = client.chat.completions.create(model=MODEL, messages=HELLO, user="thread-1")
    said = [*HELLO, first.choices[0].message, {"role": "user", "content": "And then?"}]
    second = client.chat.completions.create(model=MODEL, messages=said, user="thread-1")
    assert second.choices[0].message.content == "You said: And then?"
    assert second.choices[0].finish_reason == "stop"
    assert second.usage is not None
    assert second.usage.total_tokens > 0
    facts: Any = second.model_extra
    assert facts["flowstack"]["session"]["conversation_id"] == "thread-1"
    assert facts["flowstack"]["session"]["new"] is False
    stack.assert_exact(customer, 1)


def test_s2_and_s3_through_this_door(stack: Stack, connect: Connect) -> None:
    customer = stack.customer()
    create = connect(customer).chat.completions.with_raw_response.create
    key = {"Idempotency-Key": "order-1"}
    marked: list[Any] = [{"role": "user", "content": "door-marker"}]
    first = create(model=MODEL, messages=marked, extra_headers=key)
    again = create(model=MODEL, messages=marked, extra_headers=key)
    assert again.text == first.text
    assert again.headers["Idempotency-Replayed"] == "true"
    assert stack.asked("door-marker") == 1
    stack.advance(customer, 29)
    assert create(model=MODEL, messages=HELLO).headers["X-FlowStack-Session-New"] == "false"
    stack.advance(customer, 30)
    assert create(model=MODEL, messages=HELLO).headers["X-FlowStack-Session-New"] == "true"
    stack.assert_exact(customer, 2)


def test_s3_racing_first_messages_through_both_doors_start_one_session(
    stack: Stack, connect: Connect
) -> None:
    customer = stack.customer()
    client = connect(customer)

    def send(number: int) -> None:
        if number % 2:
            assert customer.invoke("race", agent="openai").status_code == 200
        else:
            client.chat.completions.create(model=MODEL, messages=HELLO, user="race")

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(send, range(8)))
    stack.assert_exact(customer, 1)


def test_s4_a_session_through_this_door_belongs_to_the_month_it_started_in(
    stack: Stack, connect: Connect
) -> None:
    customer = stack.customer()
    create = connect(customer).chat.completions.create
    stack.set_clock(customer, "2027-01-31T23:50:00Z")
    create(model=MODEL, messages=HELLO)
    stack.set_clock(customer, "2027-02-01T00:05:00Z")
    facts: Any = create(model=MODEL, messages=HELLO).model_extra
    assert facts["flowstack"]["session"]["period"] == "2027-01"
    assert customer.used == 0


def test_s5_parallel_tool_calls_come_and_their_results_are_free(
    stack: Stack, connect: Connect
) -> None:
    customer = stack.customer()
    client = connect(customer)
    messages: list[Any] = [{"role": "user", "content": "weather and population, please"}]
    asked = client.chat.completions.create(model=MODEL, messages=messages, tools=TOOLS)
    assert asked.choices[0].finish_reason == "tool_calls"
    message: Any = asked.choices[0].message
    assert [call.function.name for call in message.tool_calls] == ["weather", "population"]
    assert "town" in json.loads(message.tool_calls[0].function.arguments)
    results: list[Any] = [
        {"role": "tool", "tool_call_id": call.id, "content": f"{call.function.name}: 21"}
        for call in message.tool_calls
    ]
    answered = client.chat.completions.create(
        model=MODEL, messages=[*messages, message, *results], tools=TOOLS
    )
    assert answered.choices[0].message.content == "The tools said: weather: 21; population: 21"
    stack.assert_exact(customer, 1)


def test_s5_a_stream_is_consumed_and_counted_as_any_answer(stack: Stack, connect: Connect) -> None:
    customer = stack.customer()
    client = connect(customer)
    chunks = list(
        client.chat.completions.create(
            model=MODEL, messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == "You said: Hello"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens > 0
    stack.assert_exact(customer, 1)


def test_q1_the_limit_is_a_rate_limit_error_and_running_sessions_go_on(
    stack: Stack, connect: Connect
) -> None:
    customer = stack.customer(session_limit=1)
    client = connect(customer).with_options(max_retries=2)
    client.chat.completions.create(model=MODEL, messages=HELLO, user="a")
    with pytest.raises(openai.RateLimitError) as refusal:
        client.chat.completions.create(model=MODEL, messages=HELLO, user="b")
    assert (refusal.value.code, refusal.value.type) == ("insufficient_quota", "insufficient_quota")
    assert refusal.value.request_id
    client.chat.completions.create(model=MODEL, messages=HELLO, user="a")
    stack.assert_exact(customer, 1)


def test_s5_a_failing_model_is_an_error_of_the_server_and_not_billed(
    stack: Stack, connect: Connect
) -> None:
    customer = stack.customer()
    client = connect(customer)
    stack.bedrock.behave(Behaviour(marker="failing", fail="ServiceUnavailableException"))
    with pytest.raises(openai.InternalServerError) as failure:
        client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "failing"}]
        )
    assert (failure.value.status_code, failure.value.code) == (502, "model_unavailable")
    stack.assert_exact(customer, 0)


def test_s6_the_free_tier_has_no_managed_models_through_this_door_either(
    stack: Stack, connect: Connect
) -> None:
    customer = stack.customer("free")
    client = connect(customer)
    with pytest.raises(openai.PermissionDeniedError, match="free tier"):
        client.chat.completions.create(model=MODEL, messages=HELLO)
    with pytest.raises(openai.BadRequestError) as refusal:
        client.chat.completions.create(model="openai/gpt-4o", messages=HELLO)
    assert refusal.value.code == "credentials_required"
    stack.assert_exact(customer, 0)


def test_an_unknown_key_is_an_authentication_error(connect: Connect) -> None:
    with pytest.raises(openai.AuthenticationError):
        connect().models.list()
    with pytest.raises(openai.AuthenticationError):
        connect().with_options(api_key="sk-not-ours").models.list()


def test_the_models_are_listed_and_an_unknown_one_is_not_found(
    stack: Stack, connect: Connect
) -> None:
    client = connect(stack.customer())
    assert MODEL in {model.id for model in client.models.list()}
    assert client.models.retrieve(MODEL).owned_by == "anthropic"
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="gpt-9", messages=HELLO)
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.NotFoundError):
        client.embeddings.create(model="any", input="x")


def test_two_keys_in_one_request_are_never_mixed_up(stack: Stack) -> None:
    mine, other = stack.customer(), stack.customer()
    both = stack.anonymous(
        **{"X-API-Key": other.key, "Authorization": f"Bearer {mine.key}"},
    )
    completion = {"model": MODEL, "messages": HELLO}
    for _ in range(2):
        assert both.post("/v1/chat/completions", json=completion).status_code == 200
        assert both.get("/usage").json()["current_period"]["sessions_used"] == 0
    assert (mine.used, other.used) == (1, 0)


def test_the_doors_do_not_take_each_other_s_keys(stack: Stack) -> None:
    customer = stack.customer()
    assert customer.http.get("/v1/models").status_code == 401
    bearer = stack.anonymous(Authorization=f"Bearer {customer.key}")
    assert bearer.get("/usage").status_code == 401
    models: httpx.Response = bearer.get("/v1/models")
    assert models.status_code == 200


def test_byok_a_prefix_reaches_a_provider_with_stored_credentials(
    stack: Stack, connect: Connect
) -> None:
    customer = stack.customer("free")
    client = connect(customer)
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model="openai/gpt-4o", messages=HELLO)
    assert refused.value.code == "credentials_required"
    body = {"provider": "openai", "credentials": {"api_key": "sk-stored-0123456789abc"}}
    assert customer.http.post("/api/byok-credentials", json=body).status_code == 200
    answer = client.chat.completions.create(model="openai/gpt-4o", messages=HELLO)
    assert answer.choices[0].message.content == "You said: Hello"
    (call,) = stack.vendors.calls()
    assert call.headers["authorization"] == "Bearer sk-stored-0123456789abc"
    stack.assert_exact(customer, 1)
