"""AWS clients whose requests fail by chance, as requests to AWS do.

The faults stand where botocore hands a signed request to the network: everything above, our
adapters and botocore's own parsing of errors, is the real thing. What happens is decided by a seed
alone, so that a run can be had again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any, Protocol

from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.exceptions import ConnectTimeoutError, ReadTimeoutError

from tests.support.fakes import FixedClock
from tests.support.faulty import FunctionKilled

_LATE_SECONDS = (0.5, 5, 31, 400)
_THROTTLE = "ProvisionedThroughputExceededException"


class Session(Protocol):
    """What sends requests for botocore."""

    def send(self, request: Any) -> AWSResponse:
        """Send one."""
        ...


class _Body:
    """A body that was read before."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def stream(self, **_: Any) -> Iterator[bytes]:
        yield self._content


@dataclass
class AwsFaults:
    """Decides what becomes of each request.

    Attributes
    ----------
    rate
        The chance that something befalls a request.
    trace
        What was asked for, and what befell it: the story of a run.
    wrote
        Is told of each request that took effect: its operation and body.
    dead
        Whether the process was killed: then it asks for nothing more, until it is `revived`.
    """

    random: Random
    clock: FixedClock
    rate: float
    trace: list[str] = field(default_factory=list)
    dead: bool = False
    wrote: Callable[[str, bytes], None] = lambda operation, body: None

    FATES = (
        *("throttled", "unreachable", "broken", "killed before"),
        *("lost", "broken after", "late", "killed after"),
    )

    def attach(self, client: Any) -> None:
        """Stand between a client of boto3 and the network."""
        endpoint = client._endpoint
        endpoint.http_session = _FaultySession(endpoint.http_session, self)

    def revived(self) -> None:
        """Start a new process in the place of the one that was killed."""
        self.dead = False

    def next(self, operation: str) -> str:
        """Decide on one request."""
        if self.dead:
            raise FunctionKilled
        fate = "none" if self.random.random() >= self.rate else self.random.choice(self.FATES)
        self.trace.append(f"{operation}: {fate}")
        return fate

    def killed(self) -> FunctionKilled:
        """Note that the process is gone."""
        self.dead = True
        return FunctionKilled()


class _FaultySession:
    def __init__(self, session: Session, faults: AwsFaults) -> None:
        self._session = session
        self._faults = faults

    def send(self, request: Any) -> AWSResponse:
        """Send a request, or not; tell the truth about it, or not."""
        fate = self._faults.next(_operation(request))
        match fate:
            case "throttled":
                return _refusal(request, 400, _THROTTLE)
            case "broken":
                return _refusal(request, 500, "InternalServerError")
            case "unreachable":
                raise ConnectTimeoutError(endpoint_url=request.url)
            case "killed before":
                raise self._faults.killed()
        answer = self._session.send(request)
        if answer.status_code == 200:
            self._faults.wrote(_operation(request), request.body)
        match fate:
            case "lost":
                raise ReadTimeoutError(endpoint_url=request.url)
            case "broken after":
                return _refusal(request, 500, "InternalServerError")
            case "late":
                self._faults.clock.advance(seconds=self._faults.random.choice(_LATE_SECONDS))
            case "killed after":
                raise self._faults.killed()
        return answer


def _operation(request: Any) -> str:
    target = request.headers.get("X-Amz-Target", b"")
    name: str = target.decode() if isinstance(target, bytes) else str(target)
    return name.rpartition(".")[2] or str(request.method)


def _refusal(request: Any, status: int, code: str) -> AWSResponse:
    body = json.dumps({"__type": f"com.amazonaws#{code}", "message": "a fault"}).encode()
    headers = HTTPHeaders()
    headers["Content-Type"] = "application/x-amz-json-1.0"
    return AWSResponse(request.url, status, headers, _Body(body))
