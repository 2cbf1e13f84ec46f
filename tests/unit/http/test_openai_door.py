"""The door for OpenAI's clients: their words in and out, and the same admission behind it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from flowstack_core.domain.errors import ModelError, ModelTimeoutError
from flowstack_core.domain.messages import Message, ModelAnswer, TextBlock, TokenUsage, ToolCall
from flowstack_core.domain.plans import Tier
from flowstack_core.domain.providers import Provider
from flowstack_core.http.openai_errors import OpenAIErrorDocument
from flowstack_core.http.openai_messages import ChatCompletionDocument
from flowstack_core.http.openai_routes import ModelList, OpenAIRequestDocument
from tests.support.http_events import REQUEST_ID, HttpResponse
from tests.unit.http.conftest import ConversationApi

USER = {"role": "user", "content": "Hello"}
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tells it.",
        "parameters": {"type": "object", "properties": {"town": {"type": "string"}}},
    },
}


def call(id_: str, town: str) -> dict[str, Any]:
    arguments = json.dumps({"town": town}, separators=(",", ":"))
    return {
        "id": id_,
        "type": "function",
        "function": {"name": "weather", "arguments": arguments},
    }


TWO_CALLS = ModelAnswer(
    (
        TextBlock("Looking."),
        ToolCall("c1", "weather", {"town": "Rome"}),
        ToolCall("c2", "weather", {"town": "Oslo"}),
    ),
    "tool_use",
    TokenUsage(7, 3),
)


def assert_refused(
    api: ConversationApi, response: HttpResponse, status: int, code: str, param: str | None = None
) -> None:
    """The error is in OpenAI's form, and nothing happened."""
    assert (response.status, response.body["error"]["code"]) == (status, code), response.body
    OpenAIErrorDocument.model_validate(response.body)
    assert response.headers["x-request-id"] == REQUEST_ID
    assert response.body["error"]["param"] == param
    assert api.untouched


def events(response: HttpResponse) -> list[dict[str, Any]]:
    """Return the chunks of a stream, which ends as it must."""
    assert response.headers["Content-Type"] == "text/event-stream"
    written = response.text.split("\n\n")
    assert written[-2:] == ["data: [DONE]", ""]
    return [json.loads(event.removeprefix("data: ")) for event in written[:-2]]


# --- in and out ---------------------------------------------------------------------------------


def test_an_answer_is_a_chat_completion_with_its_session(api: ConversationApi) -> None:
    response = api.complete()
    ChatCompletionDocument.model_validate(response.body)
    (choice,) = response.body["choices"]
    assert choice["message"] == {"role": "assistant", "content": "Hello!", "refusal": None}
    assert choice["finish_reason"] == "stop"
    assert response.body["usage"] == {
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "total_tokens": 15,
    }
    assert response.body["created"] == int(api.world.clock.now().timestamp())
    session = response.body["flowstack"]["session"]
    assert (session["agent"], session["conversation_id"]) == ("openai", "default")
    assert response.headers["X-FlowStack-Session"] == session["id"]
    assert response.headers["X-FlowStack-Session-New"] == "true"
    assert response.headers["x-request-id"] == REQUEST_ID
    assert api.world.used() == 1


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("content_filter", "content_filter"),
    ],
)
def test_why_an_answer_ended_is_said_in_their_words(
    api: ConversationApi, reason: Any, finish: str
) -> None:
    api.world.model.reactions.append(ModelAnswer((TextBlock("x"),), reason, TokenUsage(1, 1)))
    assert api.complete().body["choices"][0]["finish_reason"] == finish


def test_system_and_developer_messages_are_the_system_prompt(api: ConversationApi) -> None:
    system = {"role": "system", "content": "Be brief."}
    developer = {"role": "developer", "content": [{"type": "text", "text": "Be kind."}]}
    assert api.complete(messages=[system, developer, USER]).status == 200
    (request,) = api.world.model.requests
    assert request.system == "Be brief.\n\nBe kind."
    assert request.messages == (Message("user", (TextBlock("Hello"),)),)


def test_parallel_tool_calls_go_out_and_their_results_come_back(api: ConversationApi) -> None:
    api.world.model.reactions.append(TWO_CALLS)
    asked = api.complete(tools=[TOOL], parallel_tool_calls=True, tool_choice="auto")
    (choice,) = asked.body["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["tool_calls"] == [call("c1", "Rome"), call("c2", "Oslo")]
    echoed = {**choice["message"], "annotations": [], "audio": None, "function_call": None}
    results = [
        {"role": "tool", "tool_call_id": "c1", "content": "21 degrees"},
        {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "3 degrees"}]},
    ]
    answered = api.complete(messages=[USER, echoed, *results], tools=[TOOL])
    assert answered.status == 200, answered.body
    (_, assistant, told) = api.world.model.requests[1].messages
    assert assistant.tool_calls == TWO_CALLS.tool_calls
    assert [one.content for one in told.tool_results] == ["21 degrees", "3 degrees"]
    (tool,) = api.world.model.requests[1].tools
    assert (tool.name, tool.input_schema) == ("weather", TOOL["function"]["parameters"])  # type: ignore[index]
    assert api.world.used() == 1


def test_an_answer_of_calls_alone_has_no_content(api: ConversationApi) -> None:
    api.world.model.reactions.append(
        ModelAnswer((ToolCall("c1", "weather", {}),), "tool_use", TokenUsage(1, 1))
    )
    message = api.complete(tools=[TOOL]).body["choices"][0]["message"]
    assert message["content"] is None
    assert message["tool_calls"][0]["function"]["arguments"] == "{}"


@pytest.mark.parametrize("arguments", ["[1]", "{", "NaN", "[" * 100_000, '"x"'])
def test_arguments_that_are_no_object_are_refused(api: ConversationApi, arguments: str) -> None:
    asked = {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "look", "arguments": arguments}}
        ],
    }
    response = api.complete(
        messages=[USER, asked, {"role": "tool", "tool_call_id": "c1", "content": ""}]
    )
    param = "messages[1].tool_calls[0].function.arguments"
    assert_refused(api, response, 400, "invalid_request", param)


RESULT = {"role": "tool", "tool_call_id": "c1", "content": "x"}
ASKED = {"role": "assistant", "content": None, "tool_calls": [call("c1", "Rome")]}


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([{"role": "system", "content": "x"}, {**USER, "content": " "}], "messages[1].content"),
        ([USER, RESULT, RESULT, USER], "messages[1].content"),
        ([USER, ASKED, RESULT, {**USER, "content": ""}], "messages[3].content"),
        ([USER, ASKED, RESULT, RESULT, USER], "messages[2].content"),
        ([USER, {"role": "assistant", "content": "Hi"}], "messages[1].role"),
    ],
)
def test_a_refusal_names_the_message_that_was_sent(
    api: ConversationApi, messages: list[Any], param: str
) -> None:
    response = api.complete(messages=messages, tools=[TOOL])
    assert_refused(api, response, 400, "invalid_request", param)


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_the_length_of_the_answer_goes_by_both_names(api: ConversationApi, name: str) -> None:
    fields: dict[str, Any] = {name: 77, "temperature": 0.5}
    api.complete(**fields)
    (request,) = api.world.model.requests
    assert (request.max_tokens, request.temperature) == (77, 0.5)


# --- streams ------------------------------------------------------------------------------------


def test_a_stream_is_chunks_that_end_with_done(api: ConversationApi) -> None:
    response = api.complete(stream=True)
    chunks = events(response)
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk["id"] for chunk in chunks}) == 1
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas == [{"role": "assistant", "content": ""}, {"content": "Hello!"}, {}]
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    assert all("usage" not in chunk for chunk in chunks)
    assert response.headers["X-FlowStack-Session"] == chunks[-1]["flowstack"]["session"]["id"]


def test_a_stream_tells_its_tokens_if_it_is_asked(api: ConversationApi) -> None:
    chunks = events(api.complete(stream=True, stream_options={"include_usage": True}))
    assert [chunk["usage"] for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["total_tokens"] == 15


def test_a_stream_carries_parallel_calls(api: ConversationApi) -> None:
    api.world.model.reactions.append(TWO_CALLS)
    chunks = events(api.complete(stream=True, tools=[TOOL]))
    calls = [one for chunk in chunks for one in chunk["choices"][0]["delta"].get("tool_calls", [])]
    assert calls == [{"index": 0, **call("c1", "Rome")}, {"index": 1, **call("c2", "Oslo")}]
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"


def test_s5_a_streamed_answer_is_recorded_as_any_other(api: ConversationApi) -> None:
    api.complete(stream=True)
    (settlement,) = api.world.tables.settlements
    assert settlement.tokens.total_tokens == 15
    assert (api.world.used(), api.world.held()) == (1, 0)


# --- conversations, models, keys ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "fields", "agent", "conversation_id"),
    [
        ({}, {}, "openai", "default"),
        ({}, {"user": "u1"}, "openai", "u1"),
        ({}, {"user": "u1", "metadata": {"conversation_id": "c1"}}, "openai", "c1"),
        ({}, {"metadata": {"agent": "helper", "other": "x"}}, "helper", "default"),
        (
            {"X-Agent": "a", "X-Conversation-Id": "c"},
            {"user": "u", "metadata": {"agent": "b", "conversation_id": "d"}},
            "a",
            "c",
        ),
    ],
)
def test_s1_where_a_conversation_is_named(
    api: ConversationApi,
    headers: dict[str, str],
    fields: dict[str, Any],
    agent: str,
    conversation_id: str,
) -> None:
    session = api.complete(headers, **fields).body["flowstack"]["session"]
    assert (session["agent"], session["conversation_id"]) == (agent, conversation_id)


def test_s1_both_doors_lead_to_the_same_session(api: ConversationApi) -> None:
    api.invoke(agent="shared", conversation_id="c")
    again = api.complete({"X-Agent": "shared", "X-Conversation-Id": "c"})
    assert again.headers["X-FlowStack-Session-New"] == "false"
    assert api.world.used() == 1


def test_a_name_that_cannot_be_one_is_refused(api: ConversationApi) -> None:
    assert_refused(api, api.complete(user="a\nb"), 400, "invalid_request", "conversation_id")


def test_a_prefix_chooses_the_provider(api: ConversationApi) -> None:
    response = api.complete(model="openai/gpt-4o")
    assert_refused(api, response, 400, "credentials_required", "byok_credentials")
    assert api.complete(model="bedrock/claude-haiku-4-5").status == 200


@pytest.mark.parametrize("later", [False, True])
def test_byok_a_provider_is_reached_with_stored_credentials(
    api: ConversationApi, *, later: bool
) -> None:
    world = api.world
    world.models.served.add(Provider.OPENAI)
    world.store(Provider.OPENAI, api_key="sk-stored")
    headers = {"Prefer": "respond-async"} if later else {}
    response = api.complete(headers, model="openai/gpt-4o")
    if later:
        world.run(response.body["id"])
        response = api.get(response.headers["Location"])
    assert response.status == 200
    assert [dict(one.values) for one in world.models.used if one] == [{"api_key": "sk-stored"}]
    assert world.model.requests[0].model.provider_model_id == "gpt-4o"


def test_an_unknown_model_is_not_found(api: ConversationApi) -> None:
    response = api.complete(model="gpt-9")
    assert_refused(api, response, 404, "model_not_found", response.body["error"]["param"])


def test_s3_a_repeat_with_a_key_gets_the_same_completion(api: ConversationApi) -> None:
    headers = {"Idempotency-Key": "k1"}
    first, again = api.complete(headers), api.complete(headers)
    assert again.body == first.body
    assert again.headers["Idempotency-Replayed"] == "true"
    assert len(api.world.model.requests) == 1
    other = api.complete(headers, temperature=0.1)
    assert (other.status, other.headers["x-should-retry"]) == (409, "false")


def test_the_models_are_listed_and_seen_one_by_one(api: ConversationApi) -> None:
    listed = api.get("/v1/models")
    ModelList.model_validate(listed.body)
    assert "claude-haiku-4-5" in {model["id"] for model in listed.body["data"]}
    one = api.get("/v1/models/claude-haiku-4-5")
    assert one.body in listed.body["data"]
    assert one.body["owned_by"] == "anthropic"
    missing = api.get("/v1/models/gpt-9")
    assert (missing.status, missing.body["error"]["code"]) == (404, "model_not_found")


# --- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 2}, "n"),
        ({"top_p": 0.5}, "top_p"),
        ({"stop": ["x"]}, "stop"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": "none"}, "tool_choice"),
        ({"parallel_tool_calls": False}, "parallel_tool_calls"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"presence_penalty": 0.1}, "presence_penalty"),
        ({"frequency_penalty": 1}, "frequency_penalty"),
        ({"logit_bias": {"50256": -100}}, "logit_bias"),
        ({"logprobs": True}, "logprobs"),
        ({"seed": 7}, "seed"),
        ({"reasoning_effort": "high"}, "reasoning_effort"),
        ({"functions": []}, "functions"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"temperature": 1.5}, "temperature"),
        ({"misspelt": 1}, "misspelt"),
        ({"max_tokens": 5, "max_completion_tokens": 6}, "max_completion_tokens"),
    ],
)
def test_what_would_change_the_answer_and_cannot_be_passed_on_is_refused(
    api: ConversationApi, fields: dict[str, Any], param: str
) -> None:
    assert_refused(api, api.complete(**fields), 400, "invalid_request", param)


def test_what_changes_nothing_is_taken(api: ConversationApi) -> None:
    response = api.complete(
        n=1,
        top_p=1.0,
        stop=[],
        tool_choice="auto",
        response_format={"type": "text"},
        presence_penalty=0,
        frequency_penalty=0.0,
        logit_bias={},
        logprobs=False,
        store=True,
        service_tier="auto",
        prediction={"type": "content", "content": "x"},
        seed=None,
        tools=None,
        stream=None,
    )
    assert response.status == 200, response.body


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
        {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
        {"type": "file", "file": {"file_id": "f"}},
    ],
)
def test_parts_that_are_no_text_are_refused_by_name(
    api: ConversationApi, part: dict[str, Any]
) -> None:
    response = api.complete(messages=[{"role": "user", "content": [part]}])
    assert response.status == 400
    assert f"{part['type']} parts are not supported" in response.body["error"]["message"]
    assert api.untouched


def test_q1_at_the_limit_the_error_is_theirs_and_not_worth_repeating(
    api: ConversationApi,
) -> None:
    api.world.subscribe(Tier.STARTER, 1)
    assert api.complete({"X-Conversation-Id": "a"}).status == 200
    refused = api.complete({"X-Conversation-Id": "b"})
    assert (refused.status, refused.body["error"]["type"]) == (429, "insufficient_quota")
    assert refused.body["error"]["code"] == "insufficient_quota"
    assert refused.headers["x-should-retry"] == "false"
    details = refused.body["flowstack"]["details"]
    assert (details["current_usage"], details["limit"]) == (1, 1)
    assert api.complete({"X-Conversation-Id": "a"}).status == 200
    assert api.world.used() == 1


def test_s5_a_failing_model_is_an_error_of_the_server(api: ConversationApi) -> None:
    api.world.model.reactions += [ModelError("ill"), ModelTimeoutError("slow")]
    for status, code in ((502, "model_error"), (504, "model_timeout")):
        response = api.complete(stream=True)
        assert (response.status, response.body["error"]["code"]) == (status, code)
        assert response.body["error"]["type"] == "server_error"
    assert (api.world.used(), api.world.held(), api.world.drift()) == (0, 0, 0)


def test_what_is_wrong_before_there_is_a_route_is_said_in_their_words_too(
    api: ConversationApi,
) -> None:
    broken = api.send("/v1/chat/completions", "{")
    assert_refused(api, broken, 400, "invalid_request", "body")
    nowhere = api.send("/v1/embeddings", {})
    assert_refused(api, nowhere, 404, "not_found")


# --- later --------------------------------------------------------------------------------------

LATER = {"Prefer": "respond-async, wait=10"}


def test_an_answer_can_be_fetched_later(api: ConversationApi) -> None:
    accepted = api.complete(LATER)
    assert accepted.status == 202
    assert accepted.headers["Preference-Applied"] == "respond-async"
    location = accepted.headers["Location"]
    assert location == f"/v1/requests/{accepted.body['id']}"
    assert api.get(location).headers["Retry-After"] == "2"
    api.world.run(accepted.body["id"])
    found = api.get(location)
    OpenAIRequestDocument.model_validate(found.body)
    assert found.body["status"] == "succeeded"
    assert found.body["response"]["choices"][0]["message"]["content"] == "Hello!"
    assert "Retry-After" not in found.headers
    assert api.get(location, customer_id="cus_other").status == 404


def test_s5_a_failure_that_is_fetched_later_is_in_their_words(api: ConversationApi) -> None:
    api.world.model.reactions.append(ModelError("ill"))
    accepted = api.complete(LATER)
    api.world.run(accepted.body["id"])
    found = api.get(accepted.headers["Location"])
    OpenAIRequestDocument.model_validate(found.body)
    assert (found.body["status"], found.body["error"]["code"]) == ("failed", "model_error")
    assert api.world.used() == 0


def test_a_stream_is_answered_at_once_whatever_is_preferred(api: ConversationApi) -> None:
    response = api.complete(LATER, stream=True)
    assert response.status == 200
    assert "Preference-Applied" not in response.headers
