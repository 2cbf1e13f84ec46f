"""Providers that are asked over HTTPS, through the official clients of OpenAI and Anthropic.

Which client asks which provider, and why, is decision 20. Both clients are loaded with this module,
which takes half a second or more: it is imported when the first customer needs it.

A client lives for one call: it holds a customer's key, and what it may do, it may do until the
request's time is over. It is told everything it would otherwise look for in the environment, where
the operator's own keys might be.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Protocol

import anthropic
import httpx2
import openai

from flowstack_core.adapters.anthropic_wire import message_body, read_message
from flowstack_core.adapters.egress import EgressRefusedError
from flowstack_core.adapters.egress_transport import ResponseTooLargeError
from flowstack_core.adapters.model_failures import (
    QUOTA_RETRY_SECONDS,
    ModelFailures,
    host_refused,
)
from flowstack_core.adapters.openai_wire import Dialect, completion_body, read_completion
from flowstack_core.domain.errors import FlowStackError
from flowstack_core.domain.messages import ModelAnswer, ModelRequest, TokenUsage
from flowstack_core.domain.providers import WAYS, ProviderCredentials

OpenHttp = Callable[[float], httpx2.Client]
"""Opens an HTTP client for one exchange, which must be over in so many seconds."""

_MESSAGES_PATH = "/v1/messages"
_NO_KEY = "none"
"""What a server that wants no key is sent in its place: the client insists on one."""

_FILTERED = frozenset({"content_filter", "content_policy_violation"})
_FILTERED_TEXT = re.compile(r"content (filtering|management) policy", re.IGNORECASE)
_OUT_OF_QUOTA = frozenset({"insufficient_quota", "billing_hard_limit_reached"})
_TEXT_FIELDS = ("message", "description", "detail", "error", "errors", "msg")

_FILTERED_ANSWER = ModelAnswer((), "content_filter", TokenUsage(0, 0))


@dataclass(frozen=True, slots=True)
class OpenAIModelClient:
    """A provider, or a server of the customer's, that speaks as OpenAI does."""

    credentials: ProviderCredentials
    base_url: str
    dialect: Dialect
    open_http: OpenHttp

    def converse(self, request: ModelRequest) -> ModelAnswer:
        """Answer the messages, or say why there is no answer."""
        failures = ModelFailures.of(self.credentials, request.model.model)
        try:
            with (
                _errors_as(failures, openai),
                self.open_http(request.timeout_seconds) as http,
            ):
                client = openai.OpenAI(
                    api_key=self.credentials.values.get("api_key", _NO_KEY),
                    base_url=self.base_url,
                    max_retries=0,
                    timeout=request.timeout_seconds,
                    http_client=http,
                )
                # Taken from the environment where they are not given, and then the operator's.
                client.organization = client.project = client.admin_api_key = None
                document = client.post(
                    self.dialect.path,
                    cast_to=object,
                    body=completion_body(request, self.dialect),
                )
        except _ContentFilteredError:
            return _FILTERED_ANSWER
        return read_completion(document, failures)


@dataclass(frozen=True, slots=True)
class AnthropicModelClient:
    """Anthropic."""

    credentials: ProviderCredentials
    base_url: str
    open_http: OpenHttp

    def converse(self, request: ModelRequest) -> ModelAnswer:
        """Answer the messages, or say why there is no answer."""
        failures = ModelFailures.of(self.credentials, request.model.model)
        try:
            with (
                _errors_as(failures, anthropic),
                self.open_http(request.timeout_seconds) as http,
            ):
                client = anthropic.Anthropic(
                    api_key=self.credentials.values["api_key"],
                    base_url=self.base_url,
                    max_retries=0,
                    timeout=request.timeout_seconds,
                    http_client=http,
                    # A customer's conversations belong in nobody's traces.
                    open_telemetry=False,
                )
                document = client.post(_MESSAGES_PATH, cast_to=object, body=message_body(request))
        except _ContentFilteredError:
            return _FILTERED_ANSWER
        return read_message(document, failures)


# --- failures ------------------------------------------------------------------------------


class _ContentFilteredError(Exception):
    """The provider's filter stopped the request itself: an answer, of nothing."""


class _Client(Protocol):
    """The errors of both clients, which were made by the same generator."""

    @property
    def APIStatusError(self) -> type[Any]: ...  # noqa: N802 - the clients' name

    @property
    def APITimeoutError(self) -> type[Any]: ...  # noqa: N802

    @property
    def APIConnectionError(self) -> type[Any]: ...  # noqa: N802


@contextmanager
def _errors_as(failures: ModelFailures, client: _Client) -> Iterator[None]:
    """Raise what the client raises inside as the failure of a model.

    Causes are cut off: what a customer's provider wrote must not reach the operator's logs.
    """
    try:
        yield
    except EgressRefusedError as refusal:
        raise _not_connected(refusal, failures) from None
    except client.APIStatusError as error:
        raise _of_status(error.status_code, error.body, error.response.headers, failures) from None
    except client.APITimeoutError as error:
        if isinstance(error.__cause__, httpx2.ConnectTimeout):
            raise failures.unavailable() from None
        raise failures.timed_out() from None
    except client.APIConnectionError as error:
        match error.__cause__:
            case EgressRefusedError() as refusal:
                raise _not_connected(refusal, failures) from None
            case ResponseTooLargeError():
                raise failures.malformed() from None
        raise failures.unavailable() from None
    except (ValueError, RecursionError):
        raise failures.malformed() from None


def _not_connected(refusal: EgressRefusedError, failures: ModelFailures) -> FlowStackError:
    """Return the error of a host that is not connected to, whoever chose it."""
    if any("host" in way.required for way in WAYS[failures.provider]):
        return host_refused(failures.provider, str(refusal))
    return failures.unavailable()


def _of_status(
    status: int, body: object, headers: Mapping[str, str], failures: ModelFailures
) -> Exception:
    codes, said = _codes(body), _said(body)
    if status < 500 and (codes & _FILTERED or _FILTERED_TEXT.search(said)):
        return _ContentFilteredError()
    retry_after = _retry_after(headers.get("retry-after"))
    if retry_after is None and codes & _OUT_OF_QUOTA:
        retry_after = QUOTA_RETRY_SECONDS
    # A code says in one word what the text may say in any.
    text = " ".join((said, *sorted(codes))).strip()
    return failures.of_status(status, text, retry_after_seconds=retry_after)


def _codes(body: object) -> set[str]:
    """Return the words by which a provider classifies an error."""
    if not isinstance(body, Mapping):
        return set()
    found = {body.get("code"), body.get("type")}
    inner = body.get("error")
    return {code for code in found if isinstance(code, str)} | (
        _codes(inner) if isinstance(inner, Mapping) else set()
    )


def _said(body: object) -> str:
    """Return the text of an error, wherever a provider puts it."""
    if isinstance(body, str):
        return body
    if isinstance(body, Mapping):
        return next((said for name in _TEXT_FIELDS if (said := _said(body.get(name)))), "")
    if isinstance(body, list):
        return "; ".join(said for each in body if (said := _said(each)))
    return ""


def _retry_after(written: str | None) -> int | None:
    """Return the seconds of a ``Retry-After``, which is a number or a date."""
    if written is None:
        return None
    try:
        return max(1, round(float(written)))
    except (ValueError, OverflowError):
        pass
    try:
        return max(1, round(parsedate_to_datetime(written).timestamp() - time.time()))
    except (ValueError, OverflowError):
        return None
