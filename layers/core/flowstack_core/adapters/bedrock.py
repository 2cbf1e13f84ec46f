"""Amazon Bedrock through its Converse API: the managed models, and the customer's own account.

A model is never asked twice unless the caller asks twice, so botocore's own retries are off.

The time a call may take differs from request to request, while botocore fixes ``read_timeout``
when a client is made (its per-request override is newer than the runtimes this runs on). Clients
are therefore kept by whole seconds of read time-out: making one more from the same session takes
about two milliseconds, and nearly all requests of one environment share one or two of them.

What a provider writes in an error may echo what it was sent. Refused credentials are therefore
reported without the provider's text, and any other text is shortened and stripped of account
numbers, ARNs, access keys and the values of the customer's credentials.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any, cast

import boto3
from botocore.config import Config
from botocore.exceptions import (
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    NoCredentialsError,
    ParamValidationError,
    ReadTimeoutError,
)
from botocore.exceptions import ConnectionError as BotocoreConnectionError
from botocore.loaders import Loader
from botocore.parsers import ResponseParserError
from botocore.session import Session

from flowstack_core.domain.errors import (
    ContextLengthExceededError,
    FlowStackError,
    InvalidProviderError,
    ModelError,
    ModelNotAvailableError,
    ModelRequestRejectedError,
    ModelTimeoutError,
    ModelUnavailableError,
    ProviderCredentialsRejectedError,
    ProviderRateLimitedError,
)
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

if TYPE_CHECKING:
    from mypy_boto3_bedrock_runtime.client import BedrockRuntimeClient
    from mypy_boto3_bedrock_runtime.type_defs import ConverseResponseTypeDef

_CONNECT_TIMEOUT_SECONDS = 1
_SHORTEST_READ_TIMEOUT_SECONDS = 1

_BUSY_RETRY_SECONDS = 5
_QUOTA_RETRY_SECONDS = 60

_THROTTLED = frozenset({"ThrottlingException", "TooManyRequestsException"})
_QUOTA = frozenset({"ServiceQuotaExceededException"})
_TIMED_OUT = frozenset({"ModelTimeoutException"})
_UNAVAILABLE = frozenset(
    {
        "ServiceUnavailableException",
        "InternalServerException",
        "InternalFailure",
        "ModelNotReadyException",
        "ModelErrorException",
    }
)
_REJECTED = frozenset({"ValidationException"})
_NO_SUCH_MODEL = frozenset({"ResourceNotFoundException"})
_CREDENTIALS = frozenset(
    {
        "AccessDeniedException",
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "IncompleteSignatureException",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)

_TOO_LONG = re.compile(
    r"(input|prompt) is too long|too many input tokens|input tokens exceed|context (length|window|"
    r"limit)|exceeds? (the )?maximum (input|length)|maximum context",
    re.IGNORECASE,
)
_UNKNOWN_MODEL = re.compile(
    r"model identifier is invalid|on-demand throughput isn.t supported|"
    r"model version has reached the end of its life",
    re.IGNORECASE,
)
_PRIVATE = re.compile(r"arn:aws[^\s,;]*|\b\d{12}\b|\bA[KS]IA[A-Z0-9]{12,}\b")
_WITHHELD = "[withheld]"
_LONGEST_TEXT = 300

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
    """

    def __init__(
        self,
        region: str,
        *,
        endpoint_url: str | None = None,
        managed_session: Callable[[], boto3.Session] = boto3.Session,
    ) -> None:
        self._region = region
        self._endpoint_url = endpoint_url
        self._managed_session = managed_session
        self._managed: BedrockModelClient | None = None
        # Holds botocore's description of the API, which takes 50 ms to read, and no credentials.
        self._loader = Loader()
        self._lock = Lock()

    def check(self, provider: Provider) -> None:
        """Make sure that the provider is served.

        Raises
        ------
        InvalidProviderError
            For every provider but Bedrock.
        """
        if provider is not Provider.BEDROCK:
            raise InvalidProviderError(
                f"{provider.value} is not served here; this deployment serves: "
                f"{Provider.BEDROCK.value}.",
                details={"field": "provider", "providers": [Provider.BEDROCK.value]},
            )

    def client(
        self, provider: Provider, credentials: ProviderCredentials | None
    ) -> BedrockModelClient:
        """Return the managed client, or one that holds nothing but ``credentials``.

        Raises
        ------
        InvalidProviderError
            The provider is not served.
        """
        self.check(provider)
        if credentials is not None:
            return self._byok_client(credentials.values)
        with self._lock:
            if self._managed is None:
                runtimes = _ManagedRuntimes(
                    self._managed_session(), self._region, self._endpoint_url
                )
                self._managed = BedrockModelClient(runtimes.open)
            return self._managed

    def _byok_client(self, values: Mapping[str, str]) -> BedrockModelClient:
        """Return a client of a session of its own: nothing is kept under a secret."""

        def open_runtime(read_timeout: int) -> AbstractContextManager[BedrockRuntimeClient]:
            session = Session()
            session.register_component("data_loader", self._loader)
            runtime = session.create_client(
                "bedrock-runtime",
                region_name=values.get("region", self._region),
                endpoint_url=self._endpoint_url,
                aws_access_key_id=values["aws_access_key"],
                aws_secret_access_key=values["aws_secret_key"],
                aws_session_token=values.get("aws_session_token"),
                # The signature is named, because a bearer token in AWS_BEARER_TOKEN_BEDROCK,
                # the operator's, would otherwise take the place of the customer's keys.
                config=_config(read_timeout).merge(Config(signature_version="v4")),
            )
            return closing(cast("BedrockRuntimeClient", runtime))

        secrets = tuple(value for name, value in values.items() if name != "region")
        return BedrockModelClient(open_runtime, secrets=secrets)


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
                    config=_config(read_timeout),
                )
            return nullcontext(client)


def _config(read_timeout: int) -> Config:
    return Config(
        connect_timeout=_CONNECT_TIMEOUT_SECONDS,
        read_timeout=read_timeout,
        retries={"total_max_attempts": 1, "mode": "standard"},
        # A model may think for minutes, and a connection without a sound for so long is cut off.
        tcp_keepalive=True,
    )


class BedrockModelClient:
    """The models of one account.

    Parameters
    ----------
    open_runtime
        Opens a botocore client with a read time-out of so many seconds, for one call.
    secrets
        The values of the customer's credentials; none for the managed models.
    """

    def __init__(
        self,
        open_runtime: Callable[[int], AbstractContextManager[BedrockRuntimeClient]],
        *,
        secrets: Sequence[str] = (),
    ) -> None:
        self._open_runtime = open_runtime
        self._secrets = tuple(secrets)

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
        failure = _Failures(request.model.model, self._secrets)
        try:
            with self._open_runtime(_read_timeout(request.timeout_seconds)) as runtime:
                response = runtime.converse(**parameters)
        except ClientError as error:
            refusal = failure.of_client_error(error)
            if refusal is None:
                raise
            # What a customer's provider wrote must not reach the operator's logs either.
            raise refusal from (None if self._secrets else error)
        except ReadTimeoutError as error:
            raise failure.timed_out() from error
        except (BotocoreConnectionError, HTTPClientError) as error:
            raise failure.unavailable() from error
        except (NoCredentialsError, CredentialRetrievalError) as error:
            raise failure.access_denied() from error
        except ParamValidationError as error:
            raise failure.rejected(str(error)) from error
        except ResponseParserError as error:
            raise failure.malformed() from error
        return read_answer(response, request.model.model)


def _read_timeout(timeout_seconds: float) -> int:
    """Return the whole seconds left to wait for an answer once a connection was made.

    The two time-outs together stay within ``timeout_seconds``, unless that is less than two.
    """
    return max(_SHORTEST_READ_TIMEOUT_SECONDS, int(timeout_seconds) - _CONNECT_TIMEOUT_SECONDS)


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
    model_id = request.model.bedrock_model_id
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
    """Write the messages so that roles alternate, as Converse demands.

    Blank text is left out, because Converse refuses it, and a message with nothing else too:
    a model sometimes answers with nothing at all.
    """
    written: list[dict[str, Any]] = []
    for message in messages:
        blocks = [
            _block(block, knows_status=knows_status)
            for block in message.content
            if not (isinstance(block, TextBlock) and not block.text.strip())
        ]
        if not blocks:
            continue
        if written and written[-1]["role"] == message.role:
            written[-1]["content"].extend(blocks)
        else:
            written.append({"role": message.role, "content": blocks})
    return written


def _block(block: ContentBlock, *, knows_status: bool) -> dict[str, Any]:
    match block:
        case TextBlock(text):
            return {"text": text}
        case ToolCall(id_, name, arguments):
            return {"toolUse": {"toolUseId": id_, "name": name, "input": arguments}}
        case ToolResult(call_id, content, is_error):
            text = content if content.strip() else "(no output)"
            if is_error and not knows_status:
                text = f"Error: {text}"
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
        raise _Failures(model).malformed() from error
    if reason.startswith("malformed_"):
        raise _Failures(model).malformed()
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


# --- failures ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Failures:
    """Says in the caller's terms what went wrong at Bedrock.

    Attributes
    ----------
    model
        FlowStack's name of the model.
    secrets
        The values of the customer's credentials; none for the managed models.
    """

    model: str
    secrets: tuple[str, ...] = field(default=(), repr=False)

    def of_client_error(self, error: ClientError) -> FlowStackError | None:
        """Return the error to raise, or ``None`` for one that nobody foresaw."""
        code = error.response.get("Error", {}).get("Code", "")
        text = error.response.get("Error", {}).get("Message", "")
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if code in _THROTTLED:
            return self.rate_limited(_BUSY_RETRY_SECONDS)
        if code in _QUOTA:
            return self.rate_limited(_QUOTA_RETRY_SECONDS)
        if code in _TIMED_OUT:
            return self.timed_out()
        if code in _CREDENTIALS:
            return self.access_denied()
        if code in _NO_SUCH_MODEL or (code in _REJECTED and _UNKNOWN_MODEL.search(text)):
            return self.no_such_model(text)
        if code in _REJECTED and _TOO_LONG.search(text):
            return self.too_long(text)
        if code in _REJECTED:
            return self.rejected(text)
        if code in _UNAVAILABLE or status >= 500:
            return self.unavailable()
        return None

    def rate_limited(self, retry_after_seconds: int) -> FlowStackError:
        """Say that the account is throttled."""
        whose = "Your account at Amazon Bedrock" if self.secrets else "Amazon Bedrock"
        return ProviderRateLimitedError(
            f"{whose} takes no more requests for {self.model} right now.",
            details=self._details("This is the provider's limit, not your plan's. Retry later."),
            retry_after_seconds=retry_after_seconds,
        )

    def timed_out(self) -> FlowStackError:
        """Say that the model was too slow."""
        return ModelTimeoutError(
            f"{self.model} did not answer in time.",
            details=self._details("Ask for a shorter answer (max_tokens), or use a faster model."),
        )

    def unavailable(self) -> FlowStackError:
        """Say that the model, or the way to it, failed."""
        return ModelUnavailableError(
            f"{self.model} cannot be reached at Amazon Bedrock right now.",
            details=self._details("Retry in a moment, or use another model."),
            retry_after_seconds=_BUSY_RETRY_SECONDS,
        )

    def access_denied(self) -> FlowStackError:
        """Say that the account, the customer's or the operator's, may not use the model."""
        if self.secrets:
            return ProviderCredentialsRejectedError(
                f"Amazon Bedrock refused your credentials for {self.model}.",
                details={
                    **self._details(
                        "Check the keys, their region and expiry, and that they may invoke the "
                        "model."
                    ),
                    "field": "byok_credentials",
                },
            )
        return ModelUnavailableError(
            f"{self.model} is not enabled on this deployment.",
            details=self._details(
                "The operator must allow the execution role bedrock:InvokeModel on it and enable "
                "access to it in the Amazon Bedrock console. Meanwhile, use another model."
            ),
        )

    def no_such_model(self, text: str) -> FlowStackError:
        """Say that Bedrock does not serve the model here."""
        return ModelNotAvailableError(
            f"Amazon Bedrock does not serve {self.model} from this region.",
            details={
                **self._details("Use another model, or credentials for another region."),
                "reason": self._fit_to_show(text),
            },
        )

    def too_long(self, text: str) -> FlowStackError:
        """Say that the messages are longer than they were estimated to be."""
        return ContextLengthExceededError(
            f"The messages do not fit the context window of {self.model}.",
            details={
                **self._details("Send less, or choose a model with more context."),
                "reason": self._fit_to_show(text),
            },
        )

    def rejected(self, text: str) -> FlowStackError:
        """Say that Bedrock found the request wrong."""
        return ModelRequestRejectedError(
            f"Amazon Bedrock refused the request to {self.model}: {self._fit_to_show(text)}",
            details=self._details("Change the request; the same one will be refused again."),
        )

    def malformed(self) -> FlowStackError:
        """Say that the answer cannot be used."""
        return ModelError(
            f"{self.model} gave an answer that cannot be read.",
            details=self._details("Retry, or use another model."),
        )

    def _details(self, hint: str) -> dict[str, Any]:
        return {"provider": Provider.BEDROCK.value, "model": self.model, "hint": hint}

    def _fit_to_show(self, text: str) -> str:
        """Return a provider's text in one short line, without anything private."""
        for secret in self.secrets:
            text = text.replace(secret, _WITHHELD)
        line = " ".join(_PRIVATE.sub(_WITHHELD, text).split())
        printable = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)
        return printable if len(printable) <= _LONGEST_TEXT else f"{printable[:_LONGEST_TEXT]}…"
