"""What went wrong at a provider that is asked over HTTPS, whichever client asked it.

The clients of OpenAI and Anthropic were made by the same generator: their errors have the same
names and attributes. What is in the body of an error differs from provider to provider.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import Any, Protocol

import httpx2

from flowstack_core.adapters.egress import EgressRefusedError
from flowstack_core.adapters.egress_transport import ResponseTooLargeError
from flowstack_core.adapters.model_failures import (
    QUOTA_RETRY_SECONDS,
    ModelFailures,
    host_refused,
)
from flowstack_core.domain.errors import FlowStackError
from flowstack_core.domain.messages import ModelAnswer, TokenUsage
from flowstack_core.domain.nesting import deeper_than
from flowstack_core.domain.providers import WAYS

FILTERED_ANSWER = ModelAnswer((), "content_filter", TokenUsage(0, 0))
"""What a provider's filter leaves of a request that it stops."""

_FILTERED = frozenset({"content_filter", "content_policy_violation"})
_FILTERED_TEXT = re.compile(r"content (filtering|management) policy", re.IGNORECASE)
_OUT_OF_QUOTA = frozenset({"insufficient_quota", "billing_hard_limit_reached"})
_MAX_DEPTH = 16
"""Of an error's body."""

_TEXT_FIELDS = ("message", "description", "detail", "error", "errors", "msg")


class ContentFilteredError(Exception):
    """The provider's filter stopped the request itself: an answer, of nothing."""


class ClientLibrary(Protocol):
    """The errors of both clients, which were made by the same generator."""

    @property
    def APIStatusError(self) -> type[Any]:  # noqa: N802 - the libraries' name, as below
        """An answer with another status than 2xx."""
        ...

    @property
    def APITimeoutError(self) -> type[Any]:  # noqa: N802
        """No answer in time; a kind of the next."""
        ...

    @property
    def APIConnectionError(self) -> type[Any]:  # noqa: N802
        """No answer."""
        ...


@contextmanager
def client_errors_as(failures: ModelFailures, client: ClientLibrary) -> Iterator[None]:
    """Raise what the client raises inside as the failure of a model.

    Causes are cut off: what a customer's provider wrote must not reach the operator's logs.
    """
    try:
        yield
    except EgressRefusedError as error:
        raise _not_connected(error, failures) from None
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
    # Both go through it by recursion; a customer's own server may have written it.
    if deeper_than(_MAX_DEPTH, body):
        body = None
    codes, said = _codes(body), _said(body)
    if status < 500 and (codes & _FILTERED or _FILTERED_TEXT.search(said)):
        return ContentFilteredError()
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
