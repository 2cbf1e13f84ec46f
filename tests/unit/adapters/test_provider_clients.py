"""Every provider: its real client library against a server that speaks its wire format."""

from __future__ import annotations

import json
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from email.utils import format_datetime
from functools import cache
from typing import Any

import boto3
import pytest

from flowstack_core.adapters.egress import EgressPolicy
from flowstack_core.adapters.model_failures import ModelFailures
from flowstack_core.adapters.openai_wire import COMPATIBLE, OPENAI, completion_body
from flowstack_core.adapters.provider_clients import ProviderClients
from flowstack_core.domain.catalogue import default_catalogue
from flowstack_core.domain.errors import (
    ContextLengthExceededError,
    CredentialsRequiredError,
    FlowStackError,
    InvalidProviderError,
    InvalidRequestError,
    ModelError,
    ModelNotAvailableError,
    ModelRequestRejectedError,
    ModelTimeoutError,
    ModelUnavailableError,
    ProviderCredentialsRejectedError,
    ProviderRateLimitedError,
)
from flowstack_core.domain.messages import (
    Message,
    ModelAnswer,
    ModelRequest,
    TextBlock,
    TokenUsage,
    ToolCall,
    ToolResult,
    ToolSpec,
)
from flowstack_core.domain.providers import Provider, ProviderCredentials, parse_credentials
from tests.support.converse_server import ConverseServer
from tests.support.emulator import ROOT
from tests.support.fakes import text_message
from tests.support.provider_server import ProviderServer, Reply, sts_failure

TODAY = date(2026, 11, 24)
KEY = "key-of-the-customer-4711"
WEATHER = ToolSpec("get_weather", "Tells the weather.", {"type": "object"})
CLOCK = ToolSpec("get_time", "", {"type": "object", "properties": {"zone": {"type": "string"}}})

HTTP_PROVIDERS = [each for each in Provider if each not in {Provider.BEDROCK, Provider.SAGEMAKER}]
BYOK_ONLY = [each for each in Provider if not each.managed]
OPENAI_WIRE = [each for each in BYOK_ONLY if each is not Provider.ANTHROPIC]
PATHS = {
    Provider.OPENAI: "/openai/chat/completions",
    Provider.ANTHROPIC: "/anthropic/v1/messages",
    Provider.COHERE: "/cohere/chat/completions",
    Provider.MISTRAL: "/mistral/chat/completions",
    Provider.WRITER: "/writer/chat",
    Provider.OLLAMA: "/v1/chat/completions",
    Provider.LITELLM: "/litellm/chat/completions",
    Provider.SAGEMAKER: "/endpoints/my-endpoint/invocations",
}
AWS_KEYS = {
    "aws_access_key": "AKIACUSTOMER00000001",
    "aws_secret_key": "s3cr3t/customer+key",
    "aws_session_token": "t0ken-of-the-customer",
}
ROLE = {
    "role_arn": "arn:aws:iam::123456789012:role/flowstack-byok-models",
    "external_id": "flowstack:cus_1",
}


@pytest.fixture
def server() -> Iterator[ProviderServer]:
    with ProviderServer() as running:
        yield running


@cache
def operator_session() -> boto3.Session:
    return boto3.Session(
        aws_access_key_id="ASIAOPERATOR00000001",
        aws_secret_access_key="operator-secret",
        aws_session_token="operator-token",
    )


@pytest.fixture
def clients(server: ProviderServer) -> ProviderClients:
    return ProviderClients(
        "us-east-1",
        policy=EgressPolicy(loopback=True),
        vendors_at=server.url,
        aws_endpoint_url=server.url,
        operator_session=operator_session,
    )


@pytest.fixture
def own(server: ProviderServer) -> Callable[[Provider], ProviderCredentials]:
    """Return credentials for a provider, at the server where they name a host."""
    values: Mapping[Provider, dict[str, str]] = {
        Provider.OLLAMA: {"host": f"{server.url}/"},
        Provider.LITELLM: {"host": f"{server.url}/litellm", "api_key": KEY},
        Provider.SAGEMAKER: {"endpoint_name": "my-endpoint", "region": "eu-west-1", **AWS_KEYS},
    }

    def credentials(provider: Provider) -> ProviderCredentials:
        found = parse_credentials(provider, values.get(provider, {"api_key": KEY}))
        assert found is not None
        return found

    return credentials


def ask(text: str = "Hi", provider: Provider = Provider.OPENAI, **fields: Any) -> ModelRequest:
    model = fields.pop("model", "some-model")
    request = ModelRequest(
        model=default_catalogue().resolve_own(model, provider, "us-east-1", TODAY),
        messages=(text_message("user", text),),
        system=None,
        tools=(),
        temperature=None,
        max_tokens=100,
        timeout_seconds=10.0,
    )
    return replace(request, **fields)


@dataclass
class Asker:
    """Asks one provider."""

    clients: ProviderClients
    provider: Provider
    credentials: ProviderCredentials

    def __call__(self, text: str = "Hi", **fields: Any) -> ModelAnswer:
        client = self.clients.client(self.provider, self.credentials)
        return client.converse(ask(text, self.provider, **fields))


@pytest.fixture
def asker(
    request: pytest.FixtureRequest,
    clients: ProviderClients,
    own: Callable[[Provider], ProviderCredentials],
) -> Asker:
    provider: Provider = request.param
    return Asker(clients, provider, own(provider))


every_provider = pytest.mark.parametrize("asker", BYOK_ONLY, indirect=True)
every_http_provider = pytest.mark.parametrize("asker", HTTP_PROVIDERS, indirect=True)
every_openai_wire = pytest.mark.parametrize("asker", OPENAI_WIRE, indirect=True)


# --- one interface -------------------------------------------------------------------------


@every_provider
def test_an_answer_carries_text_stop_reason_and_tokens(
    asker: Asker, server: ProviderServer
) -> None:
    answer = asker("Grüße 👋 \u4f60\u597d", system="Be brief.", temperature=0.0)
    assert answer.content == "You said: Grüße 👋 \u4f60\u597d"
    assert answer.stop_reason == "end_turn"
    assert answer.usage == TokenUsage(input_tokens=11, output_tokens=7)
    (call,) = server.calls()
    assert call.path == PATHS[asker.provider]
    assert call.body["model"] == "some-model"
    assert call.body["temperature"] == 0.0
    assert "Be brief." in json.dumps(call.body)


@every_provider
def test_what_was_not_given_is_not_sent(asker: Asker, server: ProviderServer) -> None:
    asker(system=" ")
    (call,) = server.calls()
    length = "max_completion_tokens" if asker.provider is Provider.OPENAI else "max_tokens"
    assert set(call.body) == {"model", "messages", length}
    assert call.body[length] == 100
    assert len(call.body["messages"]) == 1


@every_provider
def test_parallel_tool_calls_come_back_whole_and_their_results_go_out(
    asker: Asker, server: ProviderServer
) -> None:
    tools = (WEATHER, CLOCK)
    asked = asker("Use get_weather and get_time", tools=tools)
    assert asked.stop_reason == "tool_use"
    assert [(call.name, call.input) for call in asked.tool_calls] == [
        ("get_weather", {"from": "get_weather"}),
        ("get_time", {"from": "get_time"}),
    ]
    first, second = asked.tool_calls
    assert first.id != second.id
    history = (
        text_message("user", "Use get_weather and get_time"),
        Message("assistant", asked.content_blocks),
        Message("user", (ToolResult(first.id, "Sunny"), ToolResult(second.id, "Noon"))),
    )
    assert asker(messages=history, tools=tools).content == "The tools said: Sunny; Noon"


@every_provider
def test_a_single_tool_call_comes_back(asker: Asker) -> None:
    answer = asker("Use get_time", tools=(WEATHER, CLOCK))
    assert [call.name for call in answer.tool_calls] == ["get_time"]
    assert answer.content == ""


@every_provider
@pytest.mark.parametrize("call_id", ["tooluse_abc.123:4", "x" * 64, "call_1", "aBcDeF123"])
def test_a_conversation_can_go_on_that_began_with_another_provider(
    asker: Asker, call_id: str
) -> None:
    history = (
        text_message("user", "Time?"),
        Message("assistant", (TextBlock("Let me see."), ToolCall(call_id, "get_time", {}))),
        Message("user", (TextBlock("And?"), ToolResult(call_id, ""))),
    )
    assert "(no output)" in asker(messages=history, tools=(CLOCK,)).content


@every_provider
def test_a_failed_tool_is_told_from_one_that_worked(asker: Asker, server: ProviderServer) -> None:
    history = (
        text_message("user", "Time?"),
        Message("assistant", (ToolCall("call_1", "get_time", {}),)),
        Message("user", (ToolResult("call_1", "Boom", is_error=True),)),
    )
    asker(messages=history, tools=(CLOCK,))
    sent = json.dumps(server.calls()[0].body)
    assert (
        '"is_error": true' in sent
        if asker.provider is Provider.ANTHROPIC
        else "Error: Boom" in sent
    )


@every_provider
def test_blank_answers_of_the_past_are_left_out(asker: Asker, server: ProviderServer) -> None:
    history = (
        text_message("user", "one"),
        Message("assistant", ()),
        text_message("user", "two"),
        text_message("assistant", " \n"),
        text_message("user", "three"),
    )
    assert "three" in asker(messages=history).content
    (message,) = server.calls()[0].body["messages"]
    assert all(text in json.dumps(message) for text in ("one", "two", "three"))


@every_http_provider
def test_s6_own_credentials_are_sent_and_nothing_of_the_operator_is(
    asker: Asker, server: ProviderServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (
        *("OPENAI_API_KEY", "OPENAI_ADMIN_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"),
        *("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "AWS_BEARER_TOKEN_BEDROCK"),
    ):
        monkeypatch.setenv(name, "canary-of-the-operator")
    for name in ("OPENAI_BASE_URL", "ANTHROPIC_BASE_URL"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    asker()
    (call,) = server.calls()
    assert "canary" not in json.dumps(dict(call.headers))
    sent = call.headers.get("x-api-key") or call.headers["authorization"].removeprefix("Bearer ")
    assert sent == ("none" if asker.provider is Provider.OLLAMA else KEY)


def test_an_ollama_server_behind_a_proxy_gets_its_key(
    clients: ProviderClients, server: ProviderServer
) -> None:
    values = {"host": server.url, "api_key": KEY}
    credentials = parse_credentials(Provider.OLLAMA, values)
    clients.client(Provider.OLLAMA, credentials).converse(ask())
    assert server.calls()[0].headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize(
    ("host", "path"),
    [("", "/v1"), ("/", "/v1"), ("/proxy/v1", "/proxy/v1"), ("/proxy/v1/", "/proxy/v1")],
)
def test_a_host_without_a_path_is_asked_where_openai_would_be(
    clients: ProviderClients, server: ProviderServer, host: str, path: str
) -> None:
    values = {"host": f"{server.url}{host}", "api_key": KEY}
    credentials = parse_credentials(Provider.LITELLM, values)
    clients.client(Provider.LITELLM, credentials).converse(ask())
    assert server.calls()[0].path == f"{path}/chat/completions"


def test_the_vendors_are_asked_at_their_own_addresses() -> None:
    clients = ProviderClients("us-east-1", policy=EgressPolicy())
    for provider in (
        *(Provider.OPENAI, Provider.ANTHROPIC, Provider.COHERE, Provider.MISTRAL, Provider.WRITER),
    ):
        client: Any = clients.client(provider, ProviderCredentials(provider, {"api_key": KEY}))
        assert client.base_url.startswith("https://api.")
        assert provider.value in client.base_url


# --- what is answered ----------------------------------------------------------------------


def completion(**choice: Any) -> Reply:
    message = {"role": "assistant", "content": "Yes."}
    return Reply(answer={"choices": [{"message": message, "finish_reason": "stop", **choice}]})


@every_openai_wire
@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("stop", "end_turn"),
        ("length", "max_tokens"),
        ("content_filter", "content_filter"),
        ("COMPLETE", "end_turn"),
        ("MAX_TOKENS", "max_tokens"),
        ("stop_sequence", "stop_sequence"),
        ("model_length", "max_tokens"),
        ("something_new", "max_tokens"),
        (None, "end_turn"),
    ],
)
def test_each_finish_reason_has_a_meaning(
    asker: Asker, server: ProviderServer, theirs: str | None, ours: str
) -> None:
    server.reply_with(completion(finish_reason=theirs))
    assert asker().stop_reason == ours


@pytest.mark.parametrize("asker", [Provider.ANTHROPIC], indirect=True)
@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("end_turn", "end_turn"),
        ("max_tokens", "max_tokens"),
        ("stop_sequence", "stop_sequence"),
        ("refusal", "content_filter"),
        ("model_context_window_exceeded", "max_tokens"),
        ("something_new", "max_tokens"),
    ],
)
def test_each_stop_reason_of_anthropic_has_a_meaning(
    asker: Asker, server: ProviderServer, theirs: str, ours: str
) -> None:
    server.reply_with(Reply(answer={"stop_reason": theirs}))
    assert asker().stop_reason == ours


def tool_call(**fields: Any) -> dict[str, Any]:
    function = {"name": "get_time", "arguments": "{}"}
    return {
        "id": "call_1",
        "type": "function",
        "function": {**function, **fields.pop("fn", {})},
    } | fields


@every_openai_wire
def test_a_server_that_says_stop_where_it_calls_tools_is_understood(
    asker: Asker, server: ProviderServer
) -> None:
    server.reply_with(completion(message={"content": "", "tool_calls": [tool_call()]}))
    assert asker(tools=(CLOCK,)).stop_reason == "tool_use"


@every_openai_wire
@pytest.mark.parametrize("theirs", [None, "", "same", "x" * 200, "with space", 7])
def test_parallel_calls_get_ids_that_differ_and_that_can_be_sent_back(
    asker: Asker, server: ProviderServer, theirs: Any
) -> None:
    from flowstack_core.http.requests import ToolUsePart

    calls = [tool_call(id=theirs), tool_call(id=theirs)]
    server.reply_with(completion(message={"content": None, "tool_calls": calls}))
    first, second = asker(tools=(CLOCK,)).tool_calls
    assert first.id != second.id
    for call in (first, second):
        ToolUsePart(type="tool_use", id=call.id, name=call.name, input={})


@every_openai_wire
@pytest.mark.parametrize(("arguments", "read"), [("", {}), (None, {}), ({"a": 1}, {"a": 1})])
def test_arguments_may_be_missing_or_an_object_already(
    asker: Asker, server: ProviderServer, arguments: Any, read: dict[str, Any]
) -> None:
    call = tool_call(fn={"arguments": arguments})
    server.reply_with(completion(message={"content": None, "tool_calls": [call]}))
    assert asker(tools=(CLOCK,)).tool_calls[0].input == read


@every_openai_wire
def test_reasoning_is_left_out_of_the_answer(asker: Asker, server: ProviderServer) -> None:
    parts = [{"type": "thinking", "thinking": []}, {"type": "text", "text": "Yes."}]
    server.reply_with(completion(message={"content": parts, "reasoning_content": "Hmm."}))
    assert asker().content_blocks == (TextBlock("Yes."),)


@pytest.mark.parametrize("asker", [Provider.ANTHROPIC], indirect=True)
def test_reasoning_of_anthropic_is_left_out_too(asker: Asker, server: ProviderServer) -> None:
    thinking = {"type": "thinking", "thinking": "Hmm.", "signature": "x"}
    server.reply_with(Reply(answer={"content": [thinking, {"type": "text", "text": "Yes."}]}))
    assert asker().content_blocks == (TextBlock("Yes."),)


@pytest.mark.parametrize("asker", [Provider.OPENAI], indirect=True)
def test_a_refusal_in_the_models_own_words_is_the_content_filter(
    asker: Asker, server: ProviderServer
) -> None:
    server.reply_with(completion(message={"content": None, "refusal": "I cannot."}))
    answer = asker()
    assert (answer.content, answer.stop_reason) == ("I cannot.", "content_filter")


@pytest.mark.parametrize(
    ("asker", "body"),
    [
        (Provider.OPENAI, {"error": {"message": "filtered", "code": "content_policy_violation"}}),
        (Provider.LITELLM, {"error": {"message": "filtered", "code": "content_filter"}}),
        (
            Provider.ANTHROPIC,
            {"type": "error", "error": {"message": "Output blocked by content filtering policy"}},
        ),
    ],
    indirect=["asker"],
)
def test_a_prompt_that_is_filtered_is_an_answer_of_nothing(
    asker: Asker, server: ProviderServer, body: Any
) -> None:
    server.reply_with(Reply(status=400, body=body))
    assert asker() == ModelAnswer((), "content_filter", TokenUsage(0, 0))


@every_openai_wire
def test_a_server_that_counts_no_tokens_used_none(asker: Asker, server: ProviderServer) -> None:
    server.reply_with(Reply(answer={"usage": None}))
    assert asker().usage == TokenUsage(0, 0)


MALFORMED_COMPLETIONS: list[Any] = [
    "",
    "not json",
    "[]",
    "7",
    "null",
    "{}",
    '{"choices": []}',
    '{"choices": [{}]}',
    '{"choices": [{"message": null}]}',
    "[" * 100_000,
    completion(message={"content": 7}),
    completion(message={"content": [{"type": "text", "text": 7}]}),
    completion(message={"content": None, "tool_calls": [{}]}),
    completion(message={"content": None, "tool_calls": [tool_call(fn={"arguments": "{"})]}),
    completion(message={"content": None, "tool_calls": [tool_call(fn={"arguments": "[1]"})]}),
    completion(message={"content": None, "tool_calls": [tool_call(fn={"name": None})]}),
    completion(finish_reason="error"),
    completion(finish_reason=7),
    Reply(answer={"usage": {"prompt_tokens": "many"}}),
    Reply(answer={"usage": {"prompt_tokens": -1}}),
    Reply(answer={"usage": [1]}),
]
MALFORMED_MESSAGES: list[Any] = [
    "",
    "not json",
    "[]",
    "null",
    "{}",
    Reply(answer={"content": None}),
    Reply(answer={"content": [{}]}),
    Reply(answer={"content": [{"type": "text", "text": 7}]}),
    Reply(answer={"content": [{"type": "tool_use", "id": "1", "name": "x", "input": "y"}]}),
    Reply(answer={"content": [{"type": "tool_use", "id": "1", "name": None, "input": {}}]}),
    Reply(answer={"usage": None}),
    Reply(answer={"usage": {"input_tokens": True, "output_tokens": 1}}),
    Reply(answer={"stop_reason": []}),
]


@pytest.mark.parametrize(
    ("asker", "reply"),
    [
        *((each, reply) for each in OPENAI_WIRE for reply in MALFORMED_COMPLETIONS),
        *((Provider.ANTHROPIC, reply) for reply in MALFORMED_MESSAGES),
    ],
    indirect=["asker"],
)
def test_a_malformed_answer_is_a_model_error(
    asker: Asker, server: ProviderServer, reply: Any
) -> None:
    server.reply_with(reply if isinstance(reply, Reply) else Reply(body=reply))
    with pytest.raises(ModelError, match="cannot be read") as failure:
        asker()
    assert failure.value.code == "MODEL_ERROR"
    assert len(server.calls()) == 1


@every_http_provider
def test_an_answer_that_is_no_json_at_all_is_a_model_error(
    asker: Asker, server: ProviderServer
) -> None:
    server.reply_with(Reply(body="<html>Hello</html>", headers={"Content-Type": "text/html"}))
    with pytest.raises(ModelError, match="cannot be read"):
        asker()


# --- what goes wrong -----------------------------------------------------------------------


def openai_error(message: str, code: str | None = None, type_: str = "error") -> Any:
    return {"error": {"message": message, "type": type_, "param": None, "code": code}}


def anthropic_error(type_: str, message: str) -> Any:
    return {"type": "error", "error": {"type": type_, "message": message}}


Failure = tuple[Provider, int, Any, type[FlowStackError]]
FAILURES: list[Failure] = [
    (
        Provider.OPENAI,
        401,
        openai_error(f"Incorrect API key provided: {KEY}", "invalid_api_key"),
        ProviderCredentialsRejectedError,
    ),
    (Provider.OPENAI, 403, openai_error("Country not supported"), ProviderCredentialsRejectedError),
    (
        Provider.OPENAI,
        404,
        openai_error(
            "The model `x` does not exist or you do not have access to it.", "model_not_found"
        ),
        ModelNotAvailableError,
    ),
    (
        Provider.OPENAI,
        400,
        openai_error(
            "This model's maximum context length is 8192 tokens.", "context_length_exceeded"
        ),
        ContextLengthExceededError,
    ),
    (
        Provider.OPENAI,
        400,
        openai_error("Unsupported parameter: 'temperature'", "unsupported_parameter"),
        ModelRequestRejectedError,
    ),
    (
        Provider.OPENAI,
        429,
        openai_error("Rate limit reached", "rate_limit_exceeded"),
        ProviderRateLimitedError,
    ),
    (
        Provider.OPENAI,
        429,
        openai_error("You exceeded your current quota", "insufficient_quota"),
        ProviderRateLimitedError,
    ),
    (Provider.OPENAI, 500, openai_error("The server had an error"), ModelUnavailableError),
    (Provider.OPENAI, 503, openai_error("The engine is overloaded"), ModelUnavailableError),
    (
        Provider.ANTHROPIC,
        400,
        anthropic_error(
            "invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum"
        ),
        ContextLengthExceededError,
    ),
    (
        Provider.ANTHROPIC,
        400,
        anthropic_error("invalid_request_error", "top_k: too large"),
        ModelRequestRejectedError,
    ),
    (
        Provider.ANTHROPIC,
        401,
        anthropic_error("authentication_error", f"invalid x-api-key {KEY}"),
        ProviderCredentialsRejectedError,
    ),
    (
        Provider.ANTHROPIC,
        402,
        anthropic_error("billing_error", "no credit"),
        ProviderCredentialsRejectedError,
    ),
    (
        Provider.ANTHROPIC,
        403,
        anthropic_error("permission_error", "not allowed"),
        ProviderCredentialsRejectedError,
    ),
    (
        Provider.ANTHROPIC,
        404,
        anthropic_error("not_found_error", "model: claude-9"),
        ModelNotAvailableError,
    ),
    (
        Provider.ANTHROPIC,
        413,
        anthropic_error("request_too_large", "Request exceeds the maximum size"),
        ContextLengthExceededError,
    ),
    (
        Provider.ANTHROPIC,
        429,
        anthropic_error("rate_limit_error", "Number of requests"),
        ProviderRateLimitedError,
    ),
    (
        Provider.ANTHROPIC,
        500,
        anthropic_error("api_error", "Internal server error"),
        ModelUnavailableError,
    ),
    (
        Provider.ANTHROPIC,
        504,
        anthropic_error("timeout_error", "Request timed out"),
        ModelTimeoutError,
    ),
    (
        Provider.ANTHROPIC,
        529,
        anthropic_error("overloaded_error", "Overloaded"),
        ModelUnavailableError,
    ),
    (
        Provider.COHERE,
        401,
        {"id": "1", "message": f"invalid api token {KEY}"},
        ProviderCredentialsRejectedError,
    ),
    (
        Provider.COHERE,
        404,
        {"id": "1", "message": "model 'x' not found, make sure it is spelled right"},
        ModelNotAvailableError,
    ),
    (
        Provider.COHERE,
        400,
        {"message": "too many tokens: total number of tokens in the prompt cannot exceed 4081"},
        ContextLengthExceededError,
    ),
    (Provider.COHERE, 422, {"message": "tool_choice is not supported"}, ModelRequestRejectedError),
    (Provider.COHERE, 429, {"message": "You are using a Trial key"}, ProviderRateLimitedError),
    (Provider.COHERE, 499, {"message": "request cancelled"}, ModelRequestRejectedError),
    (Provider.COHERE, 503, {"message": "unavailable"}, ModelUnavailableError),
    (Provider.MISTRAL, 401, {"detail": "Unauthorized"}, ProviderCredentialsRejectedError),
    (
        Provider.MISTRAL,
        400,
        {"object": "error", "message": "Invalid model: x", "type": "invalid_model", "code": "1500"},
        ModelNotAvailableError,
    ),
    (
        Provider.MISTRAL,
        400,
        {
            "object": "error",
            "message": "Prompt contains 40000 tokens, too large for model with 32768",
            "type": "invalid_request_prompt",
            "code": "3051",
        },
        ContextLengthExceededError,
    ),
    (
        Provider.MISTRAL,
        422,
        {"detail": [{"loc": ["body", "top_p"], "msg": "must be less than 1"}]},
        ModelRequestRejectedError,
    ),
    (
        Provider.MISTRAL,
        429,
        {
            "object": "error",
            "message": "Service tier capacity exceeded",
            "type": "service_tier_capacity_exceeded",
        },
        ProviderRateLimitedError,
    ),
    (Provider.MISTRAL, 502, "<html>Bad gateway</html>", ModelUnavailableError),
    (
        Provider.WRITER,
        401,
        {
            "tpe": "unauthorized",
            "errors": [{"description": f"Invalid token {KEY}", "key": "fail.auth"}],
        },
        ProviderCredentialsRejectedError,
    ),
    (
        Provider.WRITER,
        404,
        {"errors": [{"description": "Model with name x not found", "key": "fail.notFound"}]},
        ModelNotAvailableError,
    ),
    (
        Provider.WRITER,
        400,
        {
            "errors": [
                {"description": "input tokens exceed context limit", "key": "fail.invalidInput"}
            ]
        },
        ContextLengthExceededError,
    ),
    (
        Provider.WRITER,
        400,
        {"errors": [{"description": "Bad top_p"}, {"description": "Bad stop"}]},
        ModelRequestRejectedError,
    ),
    (
        Provider.WRITER,
        429,
        {"errors": [{"description": "Too many requests"}]},
        ProviderRateLimitedError,
    ),
    (Provider.WRITER, 500, {"errors": []}, ModelUnavailableError),
    (
        Provider.OLLAMA,
        404,
        openai_error('model "x" not found, try pulling it first', type_="not_found_error"),
        ModelNotAvailableError,
    ),
    (Provider.OLLAMA, 400, openai_error("x does not support tools"), ModelRequestRejectedError),
    (Provider.OLLAMA, 401, openai_error("unauthorized"), ProviderCredentialsRejectedError),
    (Provider.OLLAMA, 429, openai_error("too many requests"), ProviderRateLimitedError),
    (
        Provider.OLLAMA,
        500,
        openai_error("llama runner process has terminated"),
        ModelUnavailableError,
    ),
    (Provider.OLLAMA, 503, openai_error("server busy, please try again"), ModelUnavailableError),
    (
        Provider.LITELLM,
        401,
        openai_error(f"Authentication Error, Invalid proxy server token passed: {KEY}", "401"),
        ProviderCredentialsRejectedError,
    ),
    (
        Provider.LITELLM,
        400,
        openai_error("litellm.ContextWindowExceededError: the input is too long", "400"),
        ContextLengthExceededError,
    ),
    (
        Provider.LITELLM,
        404,
        {
            "object": "error",
            "message": "The model `x` does not exist.",
            "type": "NotFoundError",
            "code": 404,
        },
        ModelNotAvailableError,
    ),
    (
        Provider.LITELLM,
        400,
        {
            "object": "error",
            "message": "This model's maximum context length is 8192 tokens",
            "code": 400,
        },
        ContextLengthExceededError,
    ),
    (Provider.LITELLM, 400, {"error": "a plain text"}, ModelRequestRejectedError),
    (
        Provider.LITELLM,
        400,
        {"error": {"message": "Invalid model name passed in model=x"}},
        ModelNotAvailableError,
    ),
    (Provider.LITELLM, 408, openai_error("litellm.Timeout"), ModelTimeoutError),
    (Provider.LITELLM, 418, "", ModelRequestRejectedError),
    (Provider.LITELLM, 429, openai_error("No deployments available"), ProviderRateLimitedError),
    (Provider.LITELLM, 503, openai_error("ServiceUnavailableError"), ModelUnavailableError),
    (Provider.LITELLM, 504, "<html>Gateway timeout</html>", ModelTimeoutError),
]


@pytest.mark.parametrize(
    ("asker", "status", "body", "expected"),
    FAILURES,
    indirect=["asker"],
    ids=lambda value: value.__name__ if isinstance(value, type) else str(value)[:20],
)
def test_s5_each_failure_has_its_own_class_and_the_model_is_called_once(
    asker: Asker, server: ProviderServer, status: int, body: Any, expected: type[FlowStackError]
) -> None:
    server.reply_with(Reply(status=status, body=body))
    with pytest.raises(FlowStackError) as failure:
        asker()
    assert type(failure.value) is expected
    assert failure.value.details["provider"] == asker.provider.value
    assert failure.value.details["hint"]
    assert len(server.calls()) == 1
    assert_withholds(failure.value, KEY)


def assert_withholds(failure: FlowStackError, secret: str) -> None:
    """A secret is neither in the answer nor in what would be logged of it."""
    logged = "".join(traceback.format_exception(failure))
    assert secret not in f"{failure.message} {json.dumps(failure.details)} {logged}"


@every_provider
def test_the_providers_words_are_bounded_and_hold_nothing_private(
    asker: Asker, server: ProviderServer
) -> None:
    secrets = [KEY, *AWS_KEYS.values(), "sk-another12345", "arn:aws:iam::123456789012:role/x"]
    words = f"Bad\x07 request of {' '.join(secrets)}" + " long" * 200
    server.reply_with(container_failure(asker.provider, 400, words))
    with pytest.raises(ModelRequestRejectedError) as failure:
        asker()
    assert "Bad\ufffd request of" in failure.value.message
    assert "[withheld]" in failure.value.message
    assert len(failure.value.message) < 450
    present = [KEY] if asker.provider is not Provider.OLLAMA else []
    present = list(AWS_KEYS.values()) if asker.provider is Provider.SAGEMAKER else present
    for secret in (*present, "sk-another12345", "123456789012"):
        assert_withholds(failure.value, secret)


def test_a_secret_that_is_part_of_another_leaves_nothing_of_it_behind() -> None:
    values = {"aws_access_key": "part", "aws_secret_key": "a-part-of-it", "region": "eu-west-1"}
    failures = ModelFailures.of(ProviderCredentials(Provider.BEDROCK, values), "model")
    assert str(failures.rejected("a-part-of-it, part, eu-west-1")).endswith(
        ": [withheld], [withheld], eu-west-1"
    )


def container_failure(provider: Provider, status: int, message: str) -> Reply:
    """Return a failure as a provider reports it; SageMaker wraps its container's."""
    if provider is Provider.SAGEMAKER:
        body = {
            "Message": "Received client error",
            "OriginalStatusCode": status,
            "OriginalMessage": message,
        }
        return Reply(status=424, body=body, headers={"x-amzn-ErrorType": "ModelError"})
    return Reply(status=status, body=openai_error(message))


@every_http_provider
@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "17"}, 17),
        ({"Retry-After": "0"}, 1),
        ({"Retry-After": "2.4"}, 2),
        ({"Retry-After": "-3"}, 1),
        ({"Retry-After": "999999999"}, 3_600),
        ({"Retry-After": "inf"}, 5),
        ({"Retry-After": "soon"}, 5),
        ({}, 5),
    ],
)
def test_a_throttled_provider_says_when_to_come_back(
    asker: Asker, server: ProviderServer, headers: dict[str, str], seconds: int
) -> None:
    server.reply_with(Reply(status=429, body={"error": "slow down"}, headers=headers))
    with pytest.raises(ProviderRateLimitedError, match=r"takes no more requests") as failure:
        asker()
    assert failure.value.retry_after_seconds == seconds


@pytest.mark.parametrize("asker", [Provider.OPENAI], indirect=True)
def test_a_provider_may_say_when_to_come_back_by_a_date(
    asker: Asker, server: ProviderServer
) -> None:
    when = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    server.reply_with(Reply(status=429, body={}, headers={"Retry-After": when}))
    with pytest.raises(ProviderRateLimitedError) as failure:
        asker()
    assert failure.value.retry_after_seconds in range(80, 92)


@pytest.mark.parametrize("asker", [Provider.OPENAI], indirect=True)
def test_an_account_without_money_is_not_asked_again_at_once(
    asker: Asker, server: ProviderServer
) -> None:
    server.reply_with(Reply(status=429, body=openai_error("quota", "insufficient_quota")))
    with pytest.raises(ProviderRateLimitedError) as failure:
        asker()
    assert failure.value.retry_after_seconds == 60


@every_provider
def test_a_dropped_connection_is_unavailability_and_is_not_retried(
    asker: Asker, server: ProviderServer
) -> None:
    server.reply_with(Reply(drop=True))
    with pytest.raises(ModelUnavailableError):
        asker()
    assert len(server.calls()) == 1


@every_provider
def test_a_model_slower_than_the_request_may_take_times_out_and_is_not_retried(
    asker: Asker, server: ProviderServer
) -> None:
    server.reply_with(Reply(delay_seconds=60))
    # botocore knows whole seconds only.
    seconds = 1.0 if asker.provider is Provider.SAGEMAKER else 0.2
    with pytest.raises(ModelTimeoutError):
        asker(timeout_seconds=seconds)
    assert len(server.calls()) == 1


@every_http_provider
def test_a_redirect_is_not_followed(asker: Asker, server: ProviderServer) -> None:
    server.reply_with(
        Reply(status=307, body="", headers={"Location": f"{server.url}/v1/elsewhere"})
    )
    with pytest.raises(ModelUnavailableError, match="redirect"):
        asker()
    assert len(server.calls()) == 1


@every_http_provider
def test_an_answer_that_is_too_large_is_not_read(
    asker: Asker, server: ProviderServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flowstack_core.adapters import egress_transport

    monkeypatch.setattr(egress_transport, "MAX_RESPONSE_BYTES", 1_000)
    server.reply_with(Reply(body="x" * 2_000))
    with pytest.raises(ModelError, match="cannot be read"):
        asker()


def test_a_server_that_is_not_there_is_unavailability() -> None:
    with ProviderServer() as stopped:
        url = stopped.url
    clients = ProviderClients("us-east-1", policy=EgressPolicy(loopback=True))
    credentials = parse_credentials(Provider.OLLAMA, {"host": url})
    with pytest.raises(ModelUnavailableError, match="your Ollama server"):
        clients.client(Provider.OLLAMA, credentials).converse(ask())


# --- whose account, and which host ---------------------------------------------------------


@pytest.mark.parametrize("provider", BYOK_ONLY)
def test_p4_nobody_is_served_by_the_operator_who_brings_no_credentials(
    clients: ProviderClients, provider: Provider
) -> None:
    with pytest.raises(CredentialsRequiredError):
        clients.client(provider, None)


@pytest.mark.parametrize("provider", Provider)
def test_credentials_never_go_to_another_provider(
    clients: ProviderClients, provider: Provider
) -> None:
    other = Provider.COHERE if provider is Provider.OPENAI else Provider.OPENAI
    with pytest.raises(InvalidProviderError):
        clients.client(provider, ProviderCredentials(other, {"api_key": KEY}))


def test_s6_bedrock_with_own_keys_is_never_the_operators() -> None:
    with ConverseServer() as bedrock:
        clients = ProviderClients(
            "us-east-1",
            policy=EgressPolicy(),
            aws_endpoint_url=bedrock.url,
            operator_session=operator_session,
        )
        keys = parse_credentials(Provider.BEDROCK, AWS_KEYS)
        for credentials in (keys, None):
            client = clients.client(Provider.BEDROCK, credentials)
            client.converse(ask(model="claude-haiku-4-5", provider=Provider.BEDROCK))
        called_by = [call.access_key for call in bedrock.calls()]
    assert called_by == [AWS_KEYS["aws_access_key"], "ASIAOPERATOR00000001"]


@every_provider
def test_own_credentials_that_fail_never_lead_to_the_operators_account(
    asker: Asker, server: ProviderServer
) -> None:
    server.reply_with(Reply(status=401, body={"message": "no"}))
    with pytest.raises(FlowStackError):
        asker()
    assert [call.path for call in server.calls()] == [PATHS[asker.provider]]
    assert not any("OPERATOR" in call.access_key for call in server.calls())


@pytest.mark.parametrize("provider", [Provider.OLLAMA, Provider.LITELLM])
@pytest.mark.parametrize(
    "host",
    [
        "http://models.example.com",
        "https://127.0.0.1:11434",
        "https://169.254.169.254",
        "https://user:secret@models.example.com",
        "https://models.example.com/v1?key=secret",
        "https://models.example.com/v1#x",
        "models.example.com",
    ],
)
def test_a_host_that_is_never_asked_is_refused_before_anything_is_counted(
    provider: Provider, host: str
) -> None:
    clients = ProviderClients("us-east-1", policy=EgressPolicy())
    credentials = parse_credentials(provider, {"host": host, "api_key": KEY})
    with pytest.raises(InvalidRequestError) as refused:
        clients.check(provider, credentials)
    assert refused.value.details["field"] == "byok_credentials.host"
    assert_withholds(refused.value, "secret")


@pytest.mark.parametrize("provider", [Provider.OLLAMA, Provider.LITELLM])
def test_a_host_that_resolves_to_a_private_address_is_refused_when_it_is_asked(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flowstack_core.adapters.egress_transport import guarded_client

    clients = ProviderClients("us-east-1", policy=EgressPolicy())
    values = {"host": "https://models.example.com", "api_key": KEY}
    credentials = parse_credentials(provider, values)
    clients.check(provider, credentials)
    monkeypatch.setattr(
        ProviderClients,
        "_open_http",
        lambda self, seconds: guarded_client(
            EgressPolicy(), seconds, resolve=lambda host, port: ["10.0.0.5"]
        ),
    )
    with pytest.raises(InvalidRequestError, match="not on the public Internet") as refused:
        clients.client(provider, credentials).converse(ask())
    assert refused.value.details["field"] == "byok_credentials.host"
    assert "10.0.0.5" not in json.dumps(refused.value.details)


def test_a_vendor_that_cannot_be_connected_to_is_not_the_customers_mistake(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from flowstack_core.adapters.egress_transport import guarded_client

    clients = ProviderClients("us-east-1", policy=EgressPolicy())
    monkeypatch.setattr(
        ProviderClients,
        "_open_http",
        lambda self, seconds: guarded_client(
            EgressPolicy(), seconds, resolve=lambda host, port: ["10.0.0.5"]
        ),
    )
    for provider in (Provider.OPENAI, Provider.ANTHROPIC):
        credentials = ProviderCredentials(provider, {"api_key": KEY})
        with pytest.raises(ModelUnavailableError):
            clients.client(provider, credentials).converse(ask(provider=provider))


# --- AWS: keys, roles, SageMaker -----------------------------------------------------------


def role_credentials(provider: Provider) -> ProviderCredentials:
    more = {"endpoint_name": "my-endpoint", "region": "eu-west-1"}
    values = {**ROLE, **(more if provider is Provider.SAGEMAKER else {})}
    found = parse_credentials(provider, values)
    assert found is not None
    return found


@pytest.mark.parametrize("asker", [Provider.SAGEMAKER], indirect=True)
def test_s6_an_endpoint_is_called_with_the_customers_keys(
    asker: Asker, server: ProviderServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "the-operators-session")
    asker()
    (call,) = server.calls()
    assert call.access_key == AWS_KEYS["aws_access_key"]
    assert call.headers["x-amz-security-token"] == AWS_KEYS["aws_session_token"]
    assert "/eu-west-1/" in call.headers["authorization"]


def test_a_role_is_assumed_with_its_external_id_for_one_call_and_little_else(
    clients: ProviderClients, server: ProviderServer
) -> None:
    credentials = role_credentials(Provider.SAGEMAKER)
    for _ in range(2):
        clients.client(Provider.SAGEMAKER, credentials).converse(ask())
    assumed, call, again, _ = server.calls()
    assert (assumed.path, again.path) == ("/", "/")
    assert assumed.access_key == "ASIAOPERATOR00000001"
    assert assumed.body["RoleArn"] == ROLE["role_arn"]
    assert assumed.body["ExternalId"] == ROLE["external_id"]
    assert assumed.body["DurationSeconds"] == "900"
    (statement,) = json.loads(assumed.body["Policy"])["Statement"]
    assert statement["Action"] == ["bedrock:InvokeModel", "sagemaker:InvokeEndpoint"]
    assert call.access_key == "ASIAROLE000000000001"
    assert call.headers["x-amz-security-token"] == "role-token"


@pytest.mark.parametrize("provider", [Provider.BEDROCK, Provider.SAGEMAKER])
def test_a_role_that_does_not_trust_us_is_refused_credentials(
    clients: ProviderClients, server: ProviderServer, provider: Provider
) -> None:
    echo = "User: arn:aws:sts::999999999999:assumed-role/x is not authorized"
    body = sts_failure("AccessDenied", echo)
    server.reply_with(Reply(status=403, body=body, headers={"Content-Type": "text/xml"}))
    client = clients.client(provider, role_credentials(provider))
    with pytest.raises(ProviderCredentialsRejectedError) as failure:
        client.converse(ask(provider=provider))
    assert "flowstack:cus_1" in failure.value.details["hint"]
    assert_withholds(failure.value, "999999999999")
    assert [call.path for call in server.calls()] == ["/"]


@pytest.mark.parametrize("asker", [Provider.SAGEMAKER], indirect=True)
@pytest.mark.parametrize(
    ("code", "status", "body", "expected"),
    [
        (
            "ValidationError",
            400,
            {"Message": "Endpoint my-endpoint of account 123456789012 not found."},
            ModelNotAvailableError,
        ),
        (
            "ValidationError",
            400,
            {"Message": "1 validation error detected"},
            ModelRequestRejectedError,
        ),
        ("ServiceUnavailable", 503, {"Message": "later"}, ModelUnavailableError),
        ("InternalFailure", 500, {"Message": "oh"}, ModelUnavailableError),
        ("InternalDependencyException", 530, {"Message": "oh"}, ModelUnavailableError),
        ("ModelNotReadyException", 429, {"Message": "starting"}, ModelUnavailableError),
        ("ThrottlingException", 400, {"Message": "Rate exceeded"}, ProviderRateLimitedError),
        ("AccessDeniedException", 403, {"Message": "no"}, ProviderCredentialsRejectedError),
        (
            "ModelError",
            424,
            {
                "OriginalStatusCode": 400,
                "OriginalMessage": "inputs tokens + max_new_tokens exceed; prompt is too long",
            },
            ContextLengthExceededError,
        ),
        (
            "ModelError",
            424,
            {"OriginalStatusCode": 422, "OriginalMessage": "bad"},
            ModelRequestRejectedError,
        ),
        (
            "ModelError",
            424,
            {"OriginalStatusCode": 429, "OriginalMessage": "busy"},
            ProviderRateLimitedError,
        ),
        (
            "ModelError",
            424,
            {"OriginalStatusCode": 500, "OriginalMessage": "crash"},
            ModelUnavailableError,
        ),
        ("SomethingNew", 418, {"Message": "s3cr3t/customer+key"}, ModelError),
    ],
)
def test_each_failure_of_an_endpoint_has_its_own_class(
    asker: Asker,
    server: ProviderServer,
    code: str,
    status: int,
    body: Any,
    expected: type[FlowStackError],
) -> None:
    server.reply_with(Reply(status=status, body=body, headers={"x-amzn-ErrorType": code}))
    with pytest.raises(FlowStackError) as failure:
        asker()
    assert type(failure.value) is expected
    assert failure.value.details["provider"] == "sagemaker"
    for private in ("123456789012", "s3cr3t"):
        assert_withholds(failure.value, private)


# --- details of the wire -------------------------------------------------------------------


def test_a_tool_without_description_is_sent_without_one() -> None:
    (tool,) = completion_body(ask(tools=(CLOCK,)), COMPATIBLE)["tools"]
    assert tool["function"] == {"name": "get_time", "parameters": CLOCK.input_schema}


def test_a_schema_without_properties_gets_none_because_openai_insists() -> None:
    (tool,) = completion_body(ask(tools=(WEATHER,)), OPENAI)["tools"]
    assert tool["function"]["parameters"] == {"type": "object", "properties": {}}


_MANAGED = """
import sys
sys.path[:0] = sys.argv[1:]
import handler
from datetime import date
from flowstack_core import bootstrap
from flowstack_core.domain.catalogue import default_catalogue
from flowstack_core.domain.messages import Message, ModelRequest, TextBlock
from flowstack_core.domain.providers import Provider

models = bootstrap.conversation_service()._model_clients
models.check(Provider.BEDROCK, None)
model = default_catalogue().resolve("claude-haiku-4-5", "us-east-1", date(2026, 11, 24))
said = (Message("user", (TextBlock("Hi"),)),)
answer = models.client(Provider.BEDROCK, None).converse(
    ModelRequest(model, said, None, (), None, 100, 20.0)
)
assert answer.content == "You said: Hi"
heavy = {"openai", "anthropic", "httpx2", "httpcore2", "httpx", "anyio", "jiter", "opentelemetry"}
ours = {f"flowstack_core.adapters.{name}" for name in ("openai_client", "sagemaker")}
assert not (heavy | ours) & set(sys.modules), (heavy | ours) & set(sys.modules)
"""


def test_the_handler_and_a_managed_message_load_no_providers_library() -> None:
    with ConverseServer() as bedrock:
        subprocess.run(
            [
                *(sys.executable, "-c", _MANAGED),
                *(str(ROOT / "layers/core"), str(ROOT / "functions/conversation")),
            ],
            check=True,
            env={
                "AWS_ACCESS_KEY_ID": "x",
                "AWS_SECRET_ACCESS_KEY": "x",
                "AWS_REGION": "us-east-1",
                "AWS_DEFAULT_REGION": "us-east-1",
                "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": bedrock.url,
                "FLOWSTACK_STAGE": "prod",
            },
        )
        assert len(bedrock.calls()) == 1
