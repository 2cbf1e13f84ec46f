"""HTTPS: addresses, keys, pooled connections, retries."""

from __future__ import annotations

import os
import re
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC
from email.utils import parsedate_to_datetime
from platform import python_version
from typing import Any, TypedDict, TypeVar, Unpack

import httpx

from flowstack.exceptions import (
    APIConnectionError,
    APITimeoutError,
    AuthenticationError,
    ConfigurationError,
    FlowStackError,
    error_of,
)
from flowstack.json_text import to_bytes
from flowstack.operations import Operation
from flowstack.retries import RetryPolicy
from flowstack.runtime import Runtime
from flowstack.version import __version__

Result = TypeVar("Result")
API_KEY_VARIABLE = "FLOWSTACK_API_KEY"
API_URL_VARIABLE = "FLOWSTACK_API_URL"
DEFAULT_TIMEOUT = 60.0
_CONNECT_TIMEOUT = 5.0
_LIMITS = httpx.Limits(max_connections=100, max_keepalive_connections=20)
_LOOPBACK = re.compile(r"127(\.\d{1,3}){3}|localhost|.*\.localhost|::1")
_USER_AGENT = f"flowstack-python/{__version__} (Python {python_version()})"
_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where FlowStack answers, and the key that it answers to. Never prints the key."""

    url: str
    api_key: str = field(repr=False)

    @classmethod
    def find(cls, api_key: str | None, base_url: str | None, *, allow_http: bool) -> Endpoint:
        """Return the endpoint that was named, or that the environment names.

        Raises
        ------
        AuthenticationError
            There is no key, or it cannot be one. The message does not hold it.
        ConfigurationError
            There is no address, or the key would cross a network in the clear.
        """
        key = api_key or os.environ.get(API_KEY_VARIABLE, "")
        if not key:
            raise AuthenticationError(f"There is no API key: give api_key, or {API_KEY_VARIABLE}.")
        if not key.isascii() or not key.isprintable() or " " in key:
            raise AuthenticationError("The API key holds characters that no key has.")
        url = base_url or os.environ.get(API_URL_VARIABLE, "")
        if not url:
            raise ConfigurationError(
                f"There is no address of FlowStack: give base_url, or {API_URL_VARIABLE}."
            )
        return cls(_checked_url(url, allow_http=allow_http), key)

    @property
    def host(self) -> str:
        """The host's name."""
        return httpx.URL(self.url).host

    @property
    def headers(self) -> dict[str, str]:
        """What goes along with every request."""
        return {"X-API-Key": self.api_key, "User-Agent": _USER_AGENT}


class SenderSettings(TypedDict, total=False):
    """How a client behaves, whether it waits or not."""

    timeout: float
    retries: RetryPolicy
    runtime: Runtime


class _Sender:
    """What a client knows whether it waits or not: how to ask, what an answer means."""

    def __init__(self, endpoint: Endpoint, settings: SenderSettings) -> None:
        self.endpoint = endpoint
        self.runtime = settings.get("runtime") or Runtime()
        self._timeout = settings.get("timeout", DEFAULT_TIMEOUT)
        self._retries = settings.get("retries") or RetryPolicy()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.endpoint.url!r})"

    @property
    def _direct(self) -> Mapping[str, None]:
        """Loopback is reached without a proxy: it would see the key on its way there."""
        local = _LOOPBACK.fullmatch(self.endpoint.host) is not None
        return dict.fromkeys(("all://", "http://", "https://")) if local else {}

    def _named(self, operation: Operation[Result]) -> Operation[Result]:
        """Name what changes something, once for all attempts, so that a repeat is known for one."""
        if operation.method == "GET" or operation.idempotency_key is not None:
            return operation
        return replace(operation, idempotency_key=self.runtime.new_id())

    def _request(self, operation: Operation[Any]) -> dict[str, Any]:
        headers = {**self.endpoint.headers, "Accept": operation.accept}
        content = None
        if operation.body is not None:
            content = to_bytes(operation.body)
            headers["Content-Type"] = "application/json"
        if operation.idempotency_key is not None:
            headers["Idempotency-Key"] = operation.idempotency_key
        timeout = self._timeout if operation.timeout is None else operation.timeout
        return {
            "method": operation.method,
            "url": self.endpoint.url + operation.path,
            "params": operation.query,
            "content": content,
            "headers": headers,
            "timeout": httpx.Timeout(timeout, connect=min(timeout, _CONNECT_TIMEOUT)),
            # Somebody else must not be sent the key.
            "follow_redirects": False,
        }

    def _result(self, operation: Operation[Result], response: httpx.Response) -> Result:
        """Read an answer.

        Raises
        ------
        FlowStackError
            It is a refusal, or not FlowStack's.
        """
        if response.is_success and operation.accept != "application/json":
            return operation.read(response.text)
        try:
            document = response.json() if response.content else {}
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise APIConnectionError(
                f"What answers at {self.endpoint.url} is not FlowStack "
                f"(HTTP {response.status_code}). The address ends with the stage, such as /prod.",
                status_code=response.status_code,
            )
        if response.is_success:
            return self._read(operation, document)
        asked = response.headers.get("Retry-After")
        raise error_of(
            response.status_code, document, retry_after=self._seconds(asked) if asked else None
        )

    def _read(self, operation: Operation[Result], document: Any) -> Result:
        try:
            return operation.read(document)
        except (KeyError, TypeError, ValueError):  # a validation error would quote the answer
            raise APIConnectionError(
                f"{operation.method} {operation.path} answered something that version "
                f"{__version__} of this package does not understand.",
                status_code=200,
            ) from None

    def _no_answer(self, error: httpx.HTTPError) -> APIConnectionError:
        sent = not isinstance(error, _NEVER_SENT)
        if isinstance(error, httpx.TimeoutException):
            return APITimeoutError(f"{self.endpoint.url} did not answer in time.", sent=sent)
        reason = str(error) or type(error).__name__
        return APIConnectionError(f"{self.endpoint.url} cannot be reached: {reason}", sent=sent)

    def _pause(self, error: FlowStackError, attempt: int) -> float | None:
        return self._retries.pause(error, attempt, self.runtime.random)

    def _seconds(self, asked: str) -> float | None:
        """Read ``Retry-After``: seconds, or a date."""
        if asked.strip().isdecimal():
            return float(asked)
        try:
            moment = parsedate_to_datetime(asked)
        except ValueError:
            return None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return max(0.0, (moment - self.runtime.now()).total_seconds())


class Client(_Sender):
    """Sends operations, one after another or from many threads.

    Parameters
    ----------
    http
        A client of your own: it decides on proxies and on whom to trust, may be shared, and stays
        open when this is closed.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        http: httpx.Client | None = None,
        **settings: Unpack[SenderSettings],
    ) -> None:
        super().__init__(endpoint, settings)
        self._http = http or httpx.Client(limits=_LIMITS, mounts=self._direct)
        # A forgotten client gives its connections back; one that was given is the caller's.
        self._closing = None if http else weakref.finalize(self, self._http.close)

    def run(self, operation: Operation[Result]) -> Result:
        """Send an operation and return its result; try again where that is safe.

        Raises
        ------
        FlowStackError
            The API said no, or there was no answer.
        """
        operation = self._named(operation)
        attempt = 0
        while True:
            try:
                return self._once(operation)
            except FlowStackError as error:
                pause = self._pause(error, attempt)
                if pause is None:
                    raise
            self.runtime.sleep(pause)
            attempt += 1

    def close(self) -> None:
        """Close the connections, unless the HTTP client was given."""
        if self._closing is not None:
            self._closing()

    def _once(self, operation: Operation[Result]) -> Result:
        try:
            response = self._http.request(**self._request(operation))
        except httpx.HTTPError as error:
            raise self._no_answer(error) from error
        return self._result(operation, response)


class AsyncClient(_Sender):
    """Sends operations from coroutines; otherwise a `Client`."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        http: httpx.AsyncClient | None = None,
        **settings: Unpack[SenderSettings],
    ) -> None:
        super().__init__(endpoint, settings)
        self._http = http or httpx.AsyncClient(limits=_LIMITS, mounts=self._direct)
        self._owned = http is None

    async def run(self, operation: Operation[Result]) -> Result:
        """Send an operation and return its result; try again where that is safe.

        Raises
        ------
        FlowStackError
            The API said no, or there was no answer.
        """
        operation = self._named(operation)
        attempt = 0
        while True:
            try:
                return await self._once(operation)
            except FlowStackError as error:
                pause = self._pause(error, attempt)
                if pause is None:
                    raise
            await self.runtime.async_sleep(pause)
            attempt += 1

    async def close(self) -> None:
        """Close the connections, unless the HTTP client was given."""
        if self._owned:
            await self._http.aclose()

    async def _once(self, operation: Operation[Result]) -> Result:
        try:
            response = await self._http.request(**self._request(operation))
        except httpx.HTTPError as error:
            raise self._no_answer(error) from error
        return self._result(operation, response)


def _checked_url(text: str, *, allow_http: bool) -> str:
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL as error:
        raise ConfigurationError(f"The address of FlowStack is no URL: {error}") from None
    if url.scheme not in {"http", "https"} or not url.host or url.userinfo or url.query:
        raise ConfigurationError("The address of FlowStack looks like https://host/stage.")
    if url.scheme == "http" and not allow_http and _LOOPBACK.fullmatch(url.host) is None:
        raise ConfigurationError(
            "The key is not sent without TLS: begin the address with https://, or say "
            "allow_http=True where the network is yours."
        )
    return text.rstrip("/")
