"""Bedrock: the real botocore client against a server that speaks Converse."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date
from functools import cache
from threading import Barrier, Thread
from typing import Any

import boto3
import pytest

from flowstack_core.adapters.aws_calls import CustomerAccounts
from flowstack_core.adapters.bedrock import (
    BedrockClients,
    BedrockModelClient,
    converse_parameters,
    read_answer,
)
from flowstack_core.domain.catalogue import default_catalogue
from flowstack_core.domain.errors import (
    ContextLengthExceededError,
    FlowStackError,
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
    ModelRequest,
    TextBlock,
    TokenUsage,
    ToolCall,
    ToolResult,
    ToolSpec,
)
from flowstack_core.domain.providers import Provider, parse_credentials
from tests.support.converse_server import STATUS_OF, Behaviour, ConverseServer
from tests.support.fakes import text_message

TODAY = date(2026, 11, 24)
BYOK = {
    "aws_access_key": "AKIACUSTOMER00000001",
    "aws_secret_key": "s3cr3t/customer+key",
    "aws_session_token": "t0ken-of-the-customer",
}
WEATHER = ToolSpec(
    "get_weather",
    "Tells the weather.",
    {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
)
CLOCK = ToolSpec("get_time", "Tells the time.", {"type": "object"})


@pytest.fixture
def server() -> Iterator[ConverseServer]:
    with ConverseServer() as running:
        yield running


@cache
def managed_session() -> boto3.Session:
    return boto3.Session(
        aws_access_key_id="ASIAMANAGED000000001",
        aws_secret_access_key="managed-secret",
        aws_session_token="managed-token",
    )


def clients_at(url: str, session: Callable[[], boto3.Session] = managed_session) -> BedrockClients:
    accounts = CustomerAccounts("us-east-1", operator_session=session, endpoint_url=url)
    return BedrockClients("us-east-1", accounts=accounts, endpoint_url=url, managed_session=session)


@pytest.fixture
def clients(server: ConverseServer) -> BedrockClients:
    return clients_at(server.url)


def ask(text: str = "Hi", model: str = "claude-haiku-4-5", **fields: Any) -> ModelRequest:
    request = ModelRequest(
        model=default_catalogue().resolve(model, "us-east-1", TODAY),
        messages=(text_message("user", text),),
        system=None,
        tools=(),
        temperature=None,
        max_tokens=100,
        timeout_seconds=20.0,
    )
    return replace(request, **fields)


def managed(clients: BedrockClients, request: ModelRequest) -> Any:
    return clients.managed().converse(request)


def byok(clients: BedrockClients, request: ModelRequest, **more: str) -> Any:
    credentials = parse_credentials(Provider.BEDROCK, {**BYOK, **more})
    assert credentials is not None
    return clients.own(credentials).converse(request)


# --- who is served -------------------------------------------------------------------------


def test_the_managed_session_is_made_on_first_use_and_only_once(server: ConverseServer) -> None:
    made: list[boto3.Session] = []

    def make() -> boto3.Session:
        made.append(managed_session())
        return made[-1]

    clients = clients_at(server.url, make)
    assert made == []
    for _ in range(3):
        managed(clients, ask())
    assert len(made) == 1


def test_requests_at_once_share_one_managed_client(clients: BedrockClients) -> None:
    barrier = Barrier(8)
    answers: list[str] = []

    def run(number: int) -> None:
        barrier.wait()
        answers.append(managed(clients, ask(f"number {number}")).content)

    threads = [Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [f"You said: number {number}" for number in range(8)]


def test_s6_own_credentials_sign_the_call_and_nothing_of_the_operator_does(
    clients: BedrockClients, server: ConverseServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", "the-operators-token")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "the-operators-session")
    byok(clients, ask())
    assert [call.access_key for call in server.calls()] == [BYOK["aws_access_key"]]


def test_without_own_credentials_the_execution_role_signs(
    clients: BedrockClients, server: ConverseServer
) -> None:
    byok(clients, ask())
    managed(clients, ask())
    assert server.calls()[-1].access_key == "ASIAMANAGED000000001"


def test_two_customers_never_share_a_client(
    clients: BedrockClients, server: ConverseServer
) -> None:
    for key in ("AKIACUSTOMER00000001", "AKIACUSTOMER00000002"):
        byok(clients, ask(), aws_access_key=key)
    assert [call.access_key[-1] for call in server.calls()] == ["1", "2"]


def test_own_credentials_are_used_in_their_own_region(clients: BedrockClients) -> None:
    credentials = parse_credentials(Provider.BEDROCK, {**BYOK, "region": "eu-west-1"})
    assert credentials is not None
    model: Any = clients.own(credentials)
    with model._open_runtime(5) as runtime:
        assert runtime.meta.region_name == "eu-west-1"


# --- what is asked -------------------------------------------------------------------------


def test_a_request_goes_out_with_system_prompt_temperature_and_length(
    clients: BedrockClients, server: ConverseServer
) -> None:
    answer = managed(clients, ask("Grüße 👋 \u4f60\u597d", system="Be brief.", temperature=0.25))
    assert answer.content == "You said: Grüße 👋 \u4f60\u597d"
    (call,) = server.calls()
    assert call.model_id == "us.anthropic.claude-haiku-4-5-20251001-v1:0"
    assert call.body == {
        "messages": [{"role": "user", "content": [{"text": "Grüße 👋 \u4f60\u597d"}]}],
        "system": [{"text": "Be brief."}],
        "inferenceConfig": {"maxTokens": 100, "temperature": 0.25},
    }


def test_what_was_not_given_is_not_sent() -> None:
    parameters = converse_parameters(ask(system="  "))
    assert set(parameters) == {"modelId", "messages", "inferenceConfig"}
    assert parameters["inferenceConfig"] == {"maxTokens": 100}


def test_zero_is_a_temperature() -> None:
    assert converse_parameters(ask(temperature=0.0))["inferenceConfig"]["temperature"] == 0.0


def test_blank_texts_and_messages_are_left_out_and_roles_still_alternate() -> None:
    messages = (
        Message("user", (TextBlock("one"), TextBlock(" \n"))),
        Message("assistant", ()),
        text_message("user", "two"),
        text_message("assistant", "\t"),
        text_message("user", "three"),
        text_message("assistant", "four"),
        text_message("user", "five"),
    )
    assert converse_parameters(ask(messages=messages))["messages"] == [
        {"role": "user", "content": [{"text": "one"}, {"text": "two"}, {"text": "three"}]},
        {"role": "assistant", "content": [{"text": "four"}]},
        {"role": "user", "content": [{"text": "five"}]},
    ]


def tool_conversation(is_error: bool = False, output: str = "Sunny") -> tuple[Message, ...]:
    return (
        text_message("user", "Weather?"),
        Message("assistant", (ToolCall("call-1", "get_weather", {"city": "Köln", "days": 2.5}),)),
        Message("user", (ToolResult("call-1", output, is_error), TextBlock("Now?"))),
    )


def test_tool_calls_and_their_results_are_written_as_converse_wants_them(
    clients: BedrockClients, server: ConverseServer
) -> None:
    managed(clients, ask(messages=tool_conversation(), tools=(WEATHER,)))
    body = server.calls()[0].body
    assert body["messages"][1:] == [
        {
            "role": "assistant",
            "content": [
                {
                    "toolUse": {
                        "toolUseId": "call-1",
                        "name": "get_weather",
                        "input": {"city": "Köln", "days": 2.5},
                    }
                }
            ],
        },
        {
            "role": "user",
            "content": [
                {"toolResult": {"toolUseId": "call-1", "content": [{"text": "Sunny"}]}},
                {"text": "Now?"},
            ],
        },
    ]
    assert body["toolConfig"]["tools"] == [
        {
            "toolSpec": {
                "name": "get_weather",
                "description": "Tells the weather.",
                "inputSchema": {"json": WEATHER.input_schema},
            }
        }
    ]


@pytest.mark.parametrize(
    ("model", "status", "text"),
    [
        ("claude-haiku-4-5", "error", "Boom"),
        ("nova-pro", "error", "Boom"),
        ("mistral-large-3", None, "Error: Boom"),
    ],
)
def test_a_failed_tool_is_reported_the_way_its_model_understands(
    model: str, status: str | None, text: str
) -> None:
    messages = tool_conversation(is_error=True, output="Boom")
    request = ask(model=model, messages=messages, tools=(WEATHER,))
    result = converse_parameters(request)["messages"][2]["content"][0]["toolResult"]
    assert (result.get("status"), result["content"]) == (status, [{"text": text}])


def test_an_empty_tool_result_says_so_because_converse_refuses_blank_text() -> None:
    request = ask(messages=tool_conversation(output=""), tools=(WEATHER,))
    result = converse_parameters(request)["messages"][2]["content"][0]["toolResult"]
    assert result["content"] == [{"text": "(no output)"}]


def test_a_tool_without_description_is_sent_without_one() -> None:
    tools = converse_parameters(ask(tools=(replace(CLOCK, description=""),)))["toolConfig"]["tools"]
    assert tools == [
        {"toolSpec": {"name": "get_time", "inputSchema": {"json": {"type": "object"}}}}
    ]


def test_a_conversation_with_tool_calls_but_no_tools_is_refused_before_any_call(
    clients: BedrockClients, server: ConverseServer
) -> None:
    with pytest.raises(ModelRequestRejectedError) as refusal:
        managed(clients, ask(messages=tool_conversation()))
    assert refusal.value.details["field"] == "tools"
    assert server.calls() == []


# --- what is answered ----------------------------------------------------------------------


def test_an_answer_carries_text_stop_reason_and_tokens(
    clients: BedrockClients, server: ConverseServer
) -> None:
    server.behave(Behaviour(text="Bonjour", input_tokens=17, output_tokens=3))
    answer = managed(clients, ask())
    assert (answer.content, answer.stop_reason) == ("Bonjour", "end_turn")
    assert answer.usage == TokenUsage(input_tokens=17, output_tokens=3)


def test_parallel_tool_calls_come_back_whole(clients: BedrockClients) -> None:
    answer = managed(clients, ask("Use get_weather and get_time", tools=(WEATHER, CLOCK)))
    assert answer.stop_reason == "tool_use"
    assert [(call.name, call.input) for call in answer.tool_calls] == [
        ("get_weather", {"city": "sample"}),
        ("get_time", {}),
    ]
    assert len({call.id for call in answer.tool_calls}) == 2


def test_text_beside_a_tool_call_is_kept_in_order(
    clients: BedrockClients, server: ConverseServer
) -> None:
    server.behave(
        Behaviour(text="Let me look.", tool_calls=[{"name": "get_time", "input": {"zone": None}}])
    )
    answer = managed(clients, ask(tools=(CLOCK,)))
    text, call = answer.content_blocks
    assert text == TextBlock("Let me look.")
    assert isinstance(call, ToolCall)
    assert call.input == {"zone": None}


def test_reasoning_is_left_out_of_the_answer(
    clients: BedrockClients, server: ConverseServer
) -> None:
    reasoning = {"reasoningContent": {"reasoningText": {"text": "hmm", "signature": "x"}}}
    server.behave(Behaviour(content=[reasoning, {"text": "Yes."}]))
    assert managed(clients, ask()).content_blocks == (TextBlock("Yes."),)


def test_an_answer_of_nothing_is_an_answer(clients: BedrockClients, server: ConverseServer) -> None:
    server.behave(Behaviour(content=[]))
    answer = managed(clients, ask())
    assert (answer.content_blocks, answer.stop_reason) == ((), "end_turn")


@pytest.mark.parametrize(
    ("converse", "ours"),
    [
        ("end_turn", "end_turn"),
        ("tool_use", "tool_use"),
        ("max_tokens", "max_tokens"),
        ("stop_sequence", "stop_sequence"),
        ("guardrail_intervened", "content_filter"),
        ("content_filtered", "content_filter"),
        ("model_context_window_exceeded", "max_tokens"),
        ("something_new", "max_tokens"),
    ],
)
def test_each_stop_reason_has_a_meaning(
    clients: BedrockClients, server: ConverseServer, converse: str, ours: str
) -> None:
    server.behave(Behaviour(stop_reason=converse))
    assert managed(clients, ask()).stop_reason == ours


@pytest.mark.parametrize("reason", ["malformed_model_output", "malformed_tool_use"])
def test_a_malformed_answer_is_a_model_error(
    clients: BedrockClients, server: ConverseServer, reason: str
) -> None:
    server.behave(Behaviour(stop_reason=reason))
    with pytest.raises(ModelError, match="cannot be read"):
        managed(clients, ask())


@pytest.mark.parametrize(
    "body",
    [
        "",
        "not json",
        "{}",
        '{"output": {}, "stopReason": "end_turn", "usage": {}}',
        '{"output": {"message": {"role": "assistant", "content": []}}, "stopReason": "end_turn"}',
        '{"output": {"message": {"content": []}}, "usage": {"inputTokens": 1, "outputTokens": 1}}',
    ],
)
def test_an_answer_that_is_not_converse_is_a_model_error(
    clients: BedrockClients, server: ConverseServer, body: str
) -> None:
    server.behave(Behaviour(body=body))
    with pytest.raises(ModelError) as failure:
        managed(clients, ask())
    assert failure.value.code == "MODEL_ERROR"


def test_a_tool_input_that_is_no_object_is_a_model_error() -> None:
    call = {"toolUse": {"toolUseId": "1", "name": "get_time", "input": "noon"}}
    response: Any = {
        "output": {"message": {"role": "assistant", "content": [call]}},
        "stopReason": "tool_use",
        "usage": {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2},
    }
    with pytest.raises(ModelError, match="cannot be read"):
        read_answer(response, "nova-pro")


# --- what goes wrong -----------------------------------------------------------------------

FAILURES: dict[str, type[FlowStackError]] = {
    "ThrottlingException": ProviderRateLimitedError,
    "ServiceQuotaExceededException": ProviderRateLimitedError,
    "ModelTimeoutException": ModelTimeoutError,
    "ServiceUnavailableException": ModelUnavailableError,
    "InternalServerException": ModelUnavailableError,
    "ModelNotReadyException": ModelUnavailableError,
    "ModelErrorException": ModelUnavailableError,
    "ValidationException": ModelRequestRejectedError,
    "ResourceNotFoundException": ModelNotAvailableError,
}
CREDENTIAL_FAILURES = (
    "AccessDeniedException",
    "UnrecognizedClientException",
    "InvalidSignatureException",
    "ExpiredTokenException",
)


def test_every_failure_that_converse_documents_is_covered() -> None:
    assert {*FAILURES, *CREDENTIAL_FAILURES} == set(STATUS_OF)


@pytest.mark.parametrize("exception", FAILURES)
@pytest.mark.parametrize("call", [managed, byok])
def test_s5_each_failure_has_its_own_class_and_the_model_is_called_once(
    clients: BedrockClients, server: ConverseServer, exception: str, call: Any
) -> None:
    server.behave(Behaviour(fail=exception))
    with pytest.raises(FlowStackError) as failure:
        call(clients, ask())
    assert type(failure.value) is FAILURES[exception]
    assert failure.value.details["model"] == "claude-haiku-4-5"
    assert failure.value.details["hint"]
    assert len(server.calls()) == 1


@pytest.mark.parametrize(
    ("exception", "seconds"), [("ThrottlingException", 5), ("ServiceQuotaExceededException", 60)]
)
def test_a_throttled_provider_says_when_to_come_back(
    clients: BedrockClients, server: ConverseServer, exception: str, seconds: int
) -> None:
    server.behave(Behaviour(fail=exception))
    with pytest.raises(ProviderRateLimitedError, match="Amazon Bedrock") as failure:
        managed(clients, ask())
    assert failure.value.retry_after_seconds == seconds


@pytest.mark.parametrize("status", [500, 502, 503, 504, 529])
def test_any_5xx_is_the_provider_being_unavailable(
    clients: BedrockClients, server: ConverseServer, status: int
) -> None:
    server.behave(Behaviour(status=status, body="<html>Bad gateway</html>"))
    with pytest.raises(ModelUnavailableError):
        managed(clients, ask())


@pytest.mark.parametrize(
    "message",
    [
        "Input is too long for requested model.",
        "The model returned the following errors: prompt is too long: 209154 tokens > 200000",
        "Input Tokens Exceeded: Number of input tokens exceeds maximum length.",
        "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000",
        "This model's maximum context length is 8192 tokens.",
    ],
)
def test_a_context_that_is_too_long_is_told_apart(
    clients: BedrockClients, server: ConverseServer, message: str
) -> None:
    server.behave(Behaviour(fail="ValidationException", message=message))
    with pytest.raises(ContextLengthExceededError) as failure:
        managed(clients, ask())
    assert failure.value.details["reason"] in message


@pytest.mark.parametrize(
    "message",
    [
        "The provided model identifier is invalid.",
        "Invocation of model ID x with on-demand throughput isn\u2019t supported.",
    ],
)
def test_a_model_bedrock_does_not_serve_is_not_available(
    clients: BedrockClients, server: ConverseServer, message: str
) -> None:
    server.behave(Behaviour(fail="ValidationException", message=message))
    with pytest.raises(ModelNotAvailableError):
        managed(clients, ask())


def test_a_rejected_request_is_explained_in_the_providers_words(
    clients: BedrockClients, server: ConverseServer
) -> None:
    server.behave(Behaviour(fail="ValidationException", message="top_p must be\nsmaller\x07"))
    with pytest.raises(ModelRequestRejectedError, match=r"top_p must be smaller\ufffd$"):
        managed(clients, ask())


def test_the_providers_words_are_bounded_and_hold_nothing_private(
    clients: BedrockClients, server: ConverseServer
) -> None:
    message = (
        f"key {BYOK['aws_secret_key']} of AKIACUSTOMER00000001 in account 123456789012, role "
        f"arn:aws:sts::123456789012:assumed-role/chat/x, token {BYOK['aws_session_token']} "
        + "long "
        * 200
    )
    server.behave(Behaviour(fail="ValidationException", message=message))
    with pytest.raises(ModelRequestRejectedError) as failure:
        byok(clients, ask())
    shown = failure.value.message
    assert len(shown) < 400
    for private in (*BYOK.values(), "123456789012", "arn:aws"):
        assert private not in shown


def test_a_request_that_botocore_itself_refuses_is_rejected(
    clients: BedrockClients, server: ConverseServer
) -> None:
    messages = (
        text_message("user", "Hi"),
        Message("assistant", (ToolCall("", "get_time", {}),)),
        Message("user", (ToolResult("", "noon"),)),
    )
    with pytest.raises(ModelRequestRejectedError, match="toolUseId"):
        managed(clients, ask(messages=messages, tools=(CLOCK,)))
    assert server.calls() == []


@pytest.mark.parametrize("exception", CREDENTIAL_FAILURES)
def test_p4_refused_own_credentials_are_reported_without_the_providers_text(
    clients: BedrockClients, server: ConverseServer, exception: str
) -> None:
    echo = f"bad signature for {BYOK['aws_access_key']} {BYOK['aws_secret_key']}"
    server.behave(Behaviour(fail=exception, message=echo))
    with pytest.raises(ProviderCredentialsRejectedError) as failure:
        byok(clients, ask())
    logged = "".join(traceback.format_exception(failure.value))
    for secret in BYOK.values():
        assert secret not in str(failure.value)
        assert secret not in json.dumps(failure.value.details)
        assert secret not in logged


@pytest.mark.parametrize("exception", CREDENTIAL_FAILURES)
def test_an_execution_role_without_access_is_the_operators_problem(
    clients: BedrockClients, server: ConverseServer, exception: str
) -> None:
    server.behave(Behaviour(fail=exception, message="User: arn:aws:sts::123456789012:x is not"))
    with pytest.raises(ModelUnavailableError, match="not enabled on this deployment") as failure:
        managed(clients, ask())
    assert "bedrock:InvokeModel" in failure.value.details["hint"]
    assert "123456789012" not in f"{failure.value.message} {failure.value.details}"
    assert "123456789012" in str(failure.value.__cause__), "the operator's log must say why"


def test_an_operator_without_credentials_is_told_apart_from_the_customer(
    server: ConverseServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(ModelUnavailableError, match="not enabled"):
        managed(clients_at(server.url, boto3.Session), ask())
    assert server.calls() == []


def test_an_error_nobody_foresaw_is_not_explained_away(
    clients: BedrockClients, server: ConverseServer
) -> None:
    server.behave(Behaviour(fail="TeapotException", status=418))
    with pytest.raises(Exception, match="TeapotException"):
        managed(clients, ask())


def test_what_nobody_foresaw_at_a_customers_account_is_reported_without_its_text(
    clients: BedrockClients, server: ConverseServer
) -> None:
    echo = f"you sent {BYOK['aws_secret_key']}"
    server.behave(Behaviour(fail="TeapotException", status=418, message=echo))
    with pytest.raises(ModelError) as failure:
        byok(clients, ask())
    assert failure.value.code == "MODEL_ERROR"
    logged = "".join(traceback.format_exception(failure.value))
    assert BYOK["aws_secret_key"] not in f"{logged} {failure.value.details}"


def test_a_dropped_connection_is_unavailability_and_is_not_retried(
    clients: BedrockClients, server: ConverseServer
) -> None:
    server.behave(Behaviour(drop=True))
    with pytest.raises(ModelUnavailableError):
        managed(clients, ask())
    assert len(server.calls()) == 1


def test_a_connection_that_is_refused_is_unavailability() -> None:
    with ConverseServer() as server:
        url = server.url
    clients = clients_at(url)
    with pytest.raises(ModelUnavailableError):
        managed(clients, ask())


def test_a_model_slower_than_the_request_may_take_times_out_and_is_not_retried(
    clients: BedrockClients, server: ConverseServer
) -> None:
    server.behave(Behaviour(delay_seconds=60))
    open_runtime: Any = clients.managed()._open_runtime
    impatient = BedrockModelClient(lambda read_timeout: open_runtime(read_timeout / 100))
    with pytest.raises(ModelTimeoutError):
        impatient.converse(ask(timeout_seconds=3.0))
    assert len(server.calls()) == 1


@pytest.mark.parametrize(
    ("timeout", "read", "connect"), [(25.9, 24, 1), (3.0, 2, 1), (2.0, 1, 1), (1.0, 1, 1)]
)
def test_connecting_and_reading_together_stay_within_the_requests_time(
    clients: BedrockClients, timeout: float, read: int, connect: int
) -> None:
    opened: list[int] = []
    model = clients.managed()
    open_runtime = model._open_runtime

    def record(read_timeout: int) -> Any:
        opened.append(read_timeout)
        return open_runtime(read_timeout)

    BedrockModelClient(record).converse(ask(timeout_seconds=timeout))
    assert opened == [read]
    with open_runtime(read) as runtime:
        config: Any = runtime.meta.config
        assert (config.connect_timeout, config.read_timeout) == (connect, read)
        assert config.retries["total_max_attempts"] == 1


def test_requests_with_the_same_whole_seconds_share_a_client(clients: BedrockClients) -> None:
    model = clients.managed()
    with model._open_runtime(24) as first, model._open_runtime(24) as second:
        assert first is second
    with model._open_runtime(23) as other:
        assert other is not first
