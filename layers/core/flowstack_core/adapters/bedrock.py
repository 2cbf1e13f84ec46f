"""Amazon Bedrock through its Converse API: the managed models, and the customer's own account.

A model is never asked twice unless the caller asks twice, so botocore's own retries are off.

The time a call may take differs from request to request, while botocore fixes ``read_timeout``
when a client is made (its per-request override is newer than the runtimes this runs on). Clients
are therefore kept by whole seconds of read time-out: making one more from the same session takes
about two milliseconds, and nearly all requests of one environment share one or two of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from threading import Lock
from typing import TYPE_CHECKING, Any, cast

import boto3

from flowstack_core.adapters.aws_calls import (
    CustomerAccounts,
    aws_errors_as,
    runtime_config,
    whole_read_timeout,
)
from flowstack_core.adapters.model_failures import ModelFailures
from flowstack_core.adapters.wire_messages import alternating, result_text
from flowstack_core.domain.errors import ModelRequestRejectedError
from flowstack_core.domain.messages import (
    ContentBlock,
    Message,
    ModelAnswer,
    ModelRequest,
    StopReason,
    TextBlock,
    TokenUsage,
    ToolCall,
    ToolResult,
    ToolSpec,
)
from flowstack_core.domain.providers import Provider, ProviderCredentials
from flowstack_core.services.ports.models import ModelClient

if TYPE_CHECKING:
    from mypy_boto3_bedrock_runtime.client import BedrockRuntimeClient
    from mypy_boto3_bedrock_runtime.type_defs import ConverseResponseTypeDef

_STOP_REASONS: Mapping[str, StopReason] = {
    "end_turn": "end_turn",
    "tool_use": "tool_use",
    "max_tokens": "max_tokens",
    "stop_sequence": "stop_sequence",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
}

# --- clients -------------------------------------------------------------------------------


class BedrockClients:
    """Serves Bedrock: managed by the execution role, or by the customer's own credentials.

    Parameters
    ----------
    region
        Where the managed models are called, and those of credentials that name no region.
    endpoint_url
        Where Bedrock answers; ``None`` leaves it to botocore.
    managed_session
        Makes the session of the managed models, on first use; it holds the execution role.
    accounts
        Opens clients of customers' own accounts.
    """

    def __init__(
        self,
        region: str,
        *,
        accounts: CustomerAccounts,
        endpoint_url: str | None = None,
        managed_session: Callable[[], boto3.Session] = boto3.Session,
    ) -> None:
        self._region = region
        self._accounts = accounts
        self._endpoint_url = endpoint_url
        self._managed_session = managed_session
        self._managed: BedrockModelClient | None = None
        self._lock = Lock()

    def managed(self) -> BedrockModelClient:
        """Return the client of the execution role, the same each time."""
        with self._lock:
            if self._managed is None:
                runtimes = _ManagedRuntimes(
                    self._managed_session(), self._region, self._endpoint_url
                )
                self._managed = BedrockModelClient(runtimes.open)
            return self._managed

    def own(self, credentials: ProviderCredentials) -> ModelClient:
        """Return a client that holds nothing but ``credentials``."""
        return self._accounts.client_in_account(credentials, self._with_keys)

    def _with_keys(self, credentials: ProviderCredentials) -> BedrockModelClient:
        def open_runtime(read_timeout: int) -> AbstractContextManager[BedrockRuntimeClient]:
            return self._accounts.open_client("bedrock-runtime", credentials.values, read_timeout)

        return BedrockModelClient(open_runtime, credentials)


class _ManagedRuntimes:
    """The clients of the execution role, by read time-out; making one is not thread-safe."""

    def __init__(self, session: boto3.Session, region: str, endpoint_url: str | None) -> None:
        self._session = session
        self._region = region
        self._endpoint_url = endpoint_url
        self._clients: dict[int, BedrockRuntimeClient] = {}
        self._lock = Lock()

    def open(self, read_timeout: int) -> AbstractContextManager[BedrockRuntimeClient]:
        """Return the client that waits so many seconds for an answer; it stays open."""
        with self._lock:
            client = self._clients.get(read_timeout)
            if client is None:
                client = self._clients[read_timeout] = self._session.client(
                    "bedrock-runtime",
                    region_name=self._region,
                    endpoint_url=self._endpoint_url,
                    config=runtime_config(read_timeout),
                )
            return nullcontext(client)


class BedrockModelClient:
    """The models of one account.

    Parameters
    ----------
    open_runtime
        Opens a botocore client with a read time-out of so many seconds, for one call.
    credentials
        The customer's own; none for the managed models.
    """

    def __init__(
        self,
        open_runtime: Callable[[int], AbstractContextManager[BedrockRuntimeClient]],
        credentials: ProviderCredentials | None = None,
    ) -> None:
        self._open_runtime = open_runtime
        self._credentials = credentials

    def converse(self, request: ModelRequest) -> ModelAnswer:
        """Answer the messages, or say why there is no answer.

        Raises
        ------
        ProviderRateLimitedError
            The account is throttled, or its quota is used.
        ModelTimeoutError
            No answer within ``request.timeout_seconds``.
        ModelUnavailableError
            Bedrock is overloaded or out of reach, or the operator's account may not use the model.
        ModelNotAvailableError
            Bedrock does not know the model (any more), or not in this region.
        ContextLengthExceededError, ModelRequestRejectedError
            Bedrock found the request too long, or wrong.
        ProviderCredentialsRejectedError
            The customer's own credentials were refused.
        ModelError
            The answer was malformed.
        """
        parameters = converse_parameters(request)
        name = request.model.model
        failures = (
            ModelFailures(Provider.BEDROCK, name)
            if self._credentials is None
            else ModelFailures.of(self._credentials, name)
        )
        with (
            aws_errors_as(failures),
            self._open_runtime(whole_read_timeout(request.timeout_seconds)) as runtime,
        ):
            response = runtime.converse(**parameters)
        return read_answer(response, name)


# --- the request ---------------------------------------------------------------------------


def converse_parameters(request: ModelRequest) -> dict[str, Any]:
    """Return the parameters of Converse.

    Raises
    ------
    ModelRequestRejectedError
        The messages hold tool calls, and the request describes no tools: Bedrock refuses that.
    """
    inference: dict[str, Any] = {"maxTokens": request.max_tokens}
    if request.temperature is not None:
        inference["temperature"] = request.temperature
    model_id = request.model.provider_model_id
    parameters: dict[str, Any] = {
        "modelId": model_id,
        "messages": _messages(request.messages, knows_status=_knows_tool_status(model_id)),
        "inferenceConfig": inference,
    }
    if request.system is not None and request.system.strip():
        parameters["system"] = [{"text": request.system}]
    if request.tools:
        parameters["toolConfig"] = {"tools": [_tool(spec) for spec in request.tools]}
    elif any(message.tool_calls or message.tool_results for message in request.messages):
        raise ModelRequestRejectedError(
            "The conversation holds tool calls; the request must describe its tools.",
            details={
                "field": "tools",
                "model": request.model.model,
                "hint": "Send the same tools with every request of the conversation.",
            },
        )
    return parameters


def _messages(messages: Iterable[Message], *, knows_status: bool) -> list[dict[str, Any]]:
    return [
        {
            "role": message.role,
            "content": [_block(block, knows_status=knows_status) for block in message.content],
        }
        for message in alternating(messages)
    ]


def _block(block: ContentBlock, *, knows_status: bool) -> dict[str, Any]:
    match block:
        case TextBlock(text):
            return {"text": text}
        case ToolCall(id_, name, arguments):
            return {"toolUse": {"toolUseId": id_, "name": name, "input": arguments}}
        case ToolResult(call_id, _, is_error):
            text = result_text(block, marks_errors=not knows_status)
            result: dict[str, Any] = {"toolUseId": call_id, "content": [{"text": text}]}
            if is_error and knows_status:
                result["status"] = "error"
            return {"toolResult": result}


def _knows_tool_status(model_id: str) -> bool:
    """Whether a tool result may carry a status; see ``ToolResultBlock`` in the API reference."""
    return "anthropic." in model_id or "amazon.nova" in model_id


def _tool(spec: ToolSpec) -> dict[str, Any]:
    described: dict[str, Any] = {"name": spec.name, "inputSchema": {"json": spec.input_schema}}
    if spec.description.strip():
        described["description"] = spec.description
    return {"toolSpec": described}


# --- the answer ----------------------------------------------------------------------------


def read_answer(response: ConverseResponseTypeDef, model: str) -> ModelAnswer:
    """Read what Converse answered. Reasoning is left out; nobody asked for it.

    Raises
    ------
    ModelError
        The answer is not in the form of the API, or the model wrote a malformed one.
    """
    document = cast("Mapping[str, Any]", response)
    try:
        blocks = document["output"]["message"]["content"]
        reason = document["stopReason"]
        usage = TokenUsage(
            input_tokens=document["usage"]["inputTokens"],
            output_tokens=document["usage"]["outputTokens"],
        )
        content = tuple(read for block in blocks for read in _read_block(block))
    except (KeyError, TypeError) as error:
        raise ModelFailures(Provider.BEDROCK, model).malformed() from error
    if reason.startswith("malformed_"):
        raise ModelFailures(Provider.BEDROCK, model).malformed()
    # A reason that is not known yet means, as far as is known, that something cut the answer off.
    return ModelAnswer(content, _STOP_REASONS.get(reason, "max_tokens"), usage)


def _read_block(block: Mapping[str, Any]) -> Iterable[ContentBlock]:
    if "text" in block:
        if block["text"]:
            yield TextBlock(block["text"])
    elif "toolUse" in block:
        call = block["toolUse"]
        arguments = call.get("input") or {}
        if not isinstance(arguments, dict):
            raise TypeError("a tool's input is not an object")
        yield ToolCall(call["toolUseId"], call["name"], arguments)
