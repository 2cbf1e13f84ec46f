"""An httpx transport that connects only where `egress` lets it, and not for longer than it may.

The transport checks what it is about to connect to, and not what somebody wrote: host and port as
the HTTP client read them, and the addresses that the host has at that moment. TLS is still verified
against the name. Redirects are not followed, answers are read as they are (no compression, so that
a small answer cannot become a large one), up to a size, within a time.
"""

from __future__ import annotations

import logging
import ssl
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

import httpcore2
import httpx2

from flowstack_core.adapters.egress import (
    Destination,
    EgressPolicy,
    EgressRefusedError,
    Resolver,
    check_destination,
    public_addresses,
    resolve_by_system,
)

MAX_RESPONSE_BYTES = 8_000_000
_CONNECT_SECONDS = 3.0

# It writes a line with the address of each request, and customers' hosts are no business of logs.
logging.getLogger("httpx2").setLevel(logging.WARNING)


class ResponseTooLargeError(httpx2.ReadError):
    """The answer is longer than FlowStack reads."""


@dataclass(frozen=True, slots=True)
class Deadline:
    """The instant at which everything must be done, on a monotonic clock."""

    at: float
    now: Callable[[], float] = time.monotonic

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """Return the instant so many seconds from now."""
        return cls(time.monotonic() + seconds)

    def bound(self, timeout: float | None = None) -> float:
        """Return what is left, or ``timeout`` if that is less.

        Raises
        ------
        httpcore2.ReadTimeout
            Nothing is left.
        """
        left = self.at - self.now()
        if left <= 0:
            raise httpcore2.ReadTimeout("the time for the whole exchange is over")
        return left if timeout is None else min(left, timeout)


def guarded_client(
    policy: EgressPolicy,
    seconds: float,
    *,
    resolve: Resolver = resolve_by_system,
    tls: ssl.SSLContext | None = None,
) -> httpx2.Client:
    """Return a client for one exchange, which must be over in so many seconds.

    Nothing of the environment is used: no proxy, no ``.netrc``.
    """
    transport = GuardedTransport(policy, Deadline.after(seconds), resolve=resolve, tls=tls)
    return httpx2.Client(
        transport=transport, timeout=seconds, follow_redirects=False, trust_env=False
    )


class GuardedTransport(httpx2.BaseTransport):
    """Sends requests to destinations that the policy allows, and to no others.

    Parameters
    ----------
    deadline
        When the exchange must be over, however slowly the other side sends.
    resolve
        Finds the addresses of a name.
    tls
        What certificates are trusted; those the system trusts, by default.
    """

    def __init__(
        self,
        policy: EgressPolicy,
        deadline: Deadline,
        *,
        resolve: Resolver = resolve_by_system,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._policy = policy
        self._deadline = deadline
        self._pool = httpcore2.ConnectionPool(
            ssl_context=tls or _trusted_by_the_system(),
            network_backend=_GuardedNetwork(policy, deadline, resolve),
        )

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request.

        Raises
        ------
        EgressRefusedError
            FlowStack does not connect there; nothing was sent.
        httpx2.TransportError
            There is no answer, or none that can be read.
        """
        url = request.url
        host = url.raw_host.decode("ascii").strip("[]").lower()
        default = 443 if url.scheme == "https" else 80
        if url.userinfo:
            raise EgressRefusedError("it must not hold a user name or a password")
        check_destination(Destination(url.scheme, host, url.port or default), self._policy)
        headers = [pair for pair in request.headers.raw if pair[0].lower() != b"accept-encoding"]
        with _httpx_errors():
            response = self._pool.handle_request(
                httpcore2.Request(
                    method=request.method,
                    url=httpcore2.URL(
                        scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
                    ),
                    headers=[*headers, (b"Accept-Encoding", b"identity")],
                    content=request.stream,
                    extensions=request.extensions,
                )
            )
        body = _BoundedBody(response.stream)
        answer = httpx2.Response(response.status, headers=response.headers, stream=body)
        if answer.headers.get("content-encoding", "identity").lower() != "identity":
            answer.close()
            raise httpx2.RemoteProtocolError("the answer is compressed, which was not asked for")
        return answer

    def close(self) -> None:
        """Close the connections."""
        self._pool.close()


class _BoundedBody(httpx2.SyncByteStream):
    """The body of an answer, up to the size that is read."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        read = 0
        with _httpx_errors():
            for chunk in self._stream:
                read += len(chunk)
                if read > MAX_RESPONSE_BYTES:
                    raise ResponseTooLargeError("the answer is too large")
                yield chunk

    def close(self) -> None:
        self._stream.close()


class _GuardedNetwork(httpcore2.NetworkBackend):
    """Connects to the addresses that were checked, and never by name."""

    def __init__(self, policy: EgressPolicy, deadline: Deadline, resolve: Resolver) -> None:
        self._policy = policy
        self._deadline = deadline
        self._resolve = resolve
        self._sockets = httpcore2.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:
        addresses = self._addresses(host, port)
        failure: Exception = httpcore2.ConnectError("the host has no address")
        for address in addresses:
            seconds = self._deadline.bound(min(_CONNECT_SECONDS, timeout or _CONNECT_SECONDS))
            try:
                stream = self._sockets.connect_tcp(
                    address, port, seconds, local_address, socket_options
                )
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
            else:
                return _TimedStream(stream, self._deadline)
        raise failure

    def _addresses(self, host: str, port: int) -> list[str]:
        """Resolve the host; who runs its name servers decides how long that takes, up to a point.

        The system's resolver cannot be interrupted, so it is left behind in a thread.
        """
        outcome: SimpleQueue[list[str] | Exception] = SimpleQueue()

        def run() -> None:
            try:
                outcome.put(public_addresses(host, port, self._policy, self._resolve))
            except (EgressRefusedError, OSError, ValueError) as error:
                outcome.put(error)

        Thread(target=run, daemon=True).start()
        try:
            found = outcome.get(timeout=self._deadline.bound(_CONNECT_SECONDS))
        except Empty:
            raise httpcore2.ConnectTimeout("the name was not resolved in time") from None
        if isinstance(found, EgressRefusedError):
            raise found
        if isinstance(found, Exception):
            raise httpcore2.ConnectError("the name could not be resolved") from found
        return found


class _TimedStream(httpcore2.NetworkStream):
    """A connection on which nothing waits beyond the deadline."""

    def __init__(self, stream: httpcore2.NetworkStream, deadline: Deadline) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._deadline.bound(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._deadline.bound(timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore2.NetworkStream:
        stream = self._stream.start_tls(ssl_context, server_hostname, self._deadline.bound(timeout))
        return _TimedStream(stream, self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


@contextmanager
def _httpx_errors() -> Iterator[None]:
    """Raise httpcore's errors as those of httpx, which its users know."""
    try:
        yield
    except httpcore2.ConnectTimeout as error:
        raise httpx2.ConnectTimeout(str(error)) from error
    except httpcore2.TimeoutException as error:
        raise httpx2.ReadTimeout(str(error)) from error
    except httpcore2.ConnectError as error:
        raise httpx2.ConnectError(str(error)) from error
    except httpcore2.NetworkError as error:
        raise httpx2.ReadError(str(error)) from error
    except (httpcore2.ProtocolError, httpcore2.UnsupportedProtocol) as error:
        raise httpx2.RemoteProtocolError(str(error)) from error


@cache
def _trusted_by_the_system() -> ssl.SSLContext:
    """Return what the system trusts; reading the certificates takes some milliseconds."""
    return httpx2.create_ssl_context(trust_env=False)
