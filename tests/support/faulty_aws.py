"""AWS clients whose requests fail by chance, as requests to AWS do.

The faults stand where botocore hands a signed request to the network: everything above, our
adapters and botocore's own parsing of errors, is the real thing. What happens is decided by a seed
alone, so that a run can be had again.

Requests fail while a process runs that was begun with `AwsFaults.running`. Between any two of its
requests it may be killed, and others may do whatever they like.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from types import MappingProxyType
from typing import Any, Protocol

from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.exceptions import ConnectTimeoutError, ReadTimeoutError

from tests.support.fakes import FixedClock
from tests.support.faulty import FunctionKilled

FATES = (
    *("throttled", "unreachable", "broken", "killed before"),
    *("lost", "broken after", "late", "killed after"),
)
"""What can befall a request: those in the first line before it takes effect."""

_OUTAGES = 0.05
"""The share of faults after which everything is throttled for a while."""

_OUTAGE_SECONDS = (3, 20, 60)
_BOUND_TO_BE_MET = 3
_LATE_SECONDS = (0.5, 5, 20, 31, 400)
_THROTTLES: Mapping[str, tuple[int, str]] = MappingProxyType(
    {
        "dynamodb": (400, "ProvisionedThroughputExceededException"),
        "kms": (400, "ThrottlingException"),
        "sqs": (403, "RequestThrottled"),
        "events": (400, "ThrottlingException"),
        "sns": (400, "Throttled"),
        "sesv2": (429, "TooManyRequestsException"),
        "s3": (503, "SlowDown"),
    }
)
"""How each service says that it is too much."""

_XML = frozenset({"query", "rest-xml"})


class Session(Protocol):
    """What sends requests for botocore."""

    def send(self, request: Any) -> AWSResponse:
        """Send one."""
        ...


class Body:
    """A body that was read before."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def stream(self, **_: Any) -> Iterator[bytes]:
        """Yield it."""
        yield self._content


@dataclass
class Process:
    """Something that runs until it is done, killed, or out of the time that Lambda gives it."""

    workflow: str
    ends_at: datetime
    dead: bool = False


@dataclass
class AwsFaults:
    """Decides what becomes of each request.

    Attributes
    ----------
    rate
        The chance that something befalls a request. If there is any, something befalls each
        workflow: at its first, second or third request at the latest.
    first
        Which of the fates each workflow meets first; the others follow in their order.
    crowd
        The chance that somebody else comes between two requests.
    meanwhile
        What somebody else does then.
    trace
        What was asked for, and what befell it: the story of a run.
    befell
        How often each fate befell each workflow.
    wrote
        Is told of each request of DynamoDB that took effect: its operation and body.
    """

    random: Random
    clock: FixedClock
    rate: float
    crowd: float = 0.0
    first: int = 0
    meanwhile: Callable[[], None] = lambda: None
    trace: list[str] = field(default_factory=list)
    befell: Counter[tuple[str, str]] = field(default_factory=Counter)
    wrote: Callable[[str, bytes], None] = lambda operation, body: None
    _process: Process | None = None
    _crowded: bool = False
    _out_until: datetime | None = None
    _asked: Counter[str] = field(default_factory=Counter)
    _met: Counter[str] = field(default_factory=Counter)

    def attach(self, client: Any) -> None:
        """Stand between a client of boto3 and the network."""
        endpoint, model = client._endpoint, client.meta.service_model
        endpoint.http_session = _FaultySession(
            endpoint.http_session, self, model.service_name, model.metadata["protocol"]
        )

    @contextmanager
    def running(self, workflow: str, seconds: float) -> Iterator[Process]:
        """Run a process that has so much time."""
        ends_at = self.clock.now() + timedelta(seconds=seconds)
        outer, self._process = self._process, Process(workflow, ends_at)
        try:
            yield self._process
        finally:
            self._process = outer

    def calm(self) -> None:
        """Let nothing befall anybody any more."""
        self.rate, self.crowd, self._out_until = 0.0, 0.0, None

    def next(self, operation: str) -> str:
        """Decide on one request.

        Raises
        ------
        FunctionKilled
            The process is gone.
        """
        if self._process is None:
            return "none"
        self.let_others_in()
        self.survive()
        fate = self._fate(self._process.workflow)
        self.trace.append(f"  {self._process.workflow}: {operation}: {fate}")
        self.befell[self._process.workflow, fate] += 1
        return fate

    def let_others_in(self) -> None:
        """Let somebody else do something before the process goes on; nobody interrupts them."""
        if self._crowded or self.random.random() >= self.crowd:
            return
        self._crowded = True
        try:
            self.meanwhile()
        finally:
            self._crowded = False

    def survive(self) -> None:
        """Go on, if the process was not killed and has time left.

        Raises
        ------
        FunctionKilled
            It is gone.
        """
        process = self._process
        if process is not None and (process.dead or self.clock.now() >= process.ends_at):
            raise self.killed()

    def killed(self) -> FunctionKilled:
        """Note that the process is gone: it asks for nothing any more."""
        if self._process is not None:
            self._process.dead = True
        return FunctionKilled()

    def _fate(self, workflow: str) -> str:
        if self._out_until is not None and self.clock.now() < self._out_until:
            return "throttled"
        self._asked[workflow] += 1
        bound = self.rate > 0 and self._asked[workflow] == 1 + self.first % _BOUND_TO_BE_MET
        if self.random.random() >= self.rate and not bound:
            return "none"
        if self.random.random() < _OUTAGES and not bound:
            lasts = self.random.choice(_OUTAGE_SECONDS)
            self._out_until = self.clock.now() + timedelta(seconds=lasts)
            return "throttled"
        self._met[workflow] += 1
        return FATES[(self.first + self._met[workflow]) % len(FATES)]


@dataclass(frozen=True)
class _FaultySession:
    session: Session
    faults: AwsFaults
    service: str
    protocol: str

    def send(self, request: Any) -> AWSResponse:
        """Send a request, or not; tell the truth about it, or not."""
        operation = operation_of(request)
        fate = self.faults.next(f"{self.service} {operation}")
        match fate:
            case "throttled":
                return self._refusal(request, *_THROTTLES[self.service])
            case "broken":
                return self._refusal(request, 500, "InternalServerError")
            case "unreachable":
                raise ConnectTimeoutError(endpoint_url=request.url)
            case "killed before":
                raise self.faults.killed()
        answer = self.session.send(request)
        if answer.status_code == 200 and self.service == "dynamodb":
            self.faults.wrote(operation, request.body)
        match fate:
            case "lost":
                raise ReadTimeoutError(endpoint_url=request.url)
            case "broken after":
                return self._refusal(request, 500, "InternalServerError")
            case "late":
                self.faults.clock.advance(seconds=self.faults.random.choice(_LATE_SECONDS))
                self.faults.survive()
            case "killed after":
                raise self.faults.killed()
        return answer

    def _refusal(self, request: Any, status: int, code: str) -> AWSResponse:
        if self.protocol in _XML:
            error = f"<Error><Code>{code}</Code><Message>a fault</Message></Error>"
            wrapped = error if self.service == "s3" else f"<ErrorResponse>{error}</ErrorResponse>"
            return respond(request, wrapped.encode(), status, "text/xml")
        document = {"__type": f"com.amazonaws#{code}", "message": "a fault"}
        return respond(request, json.dumps(document).encode(), status)


def respond(
    request: Any, content: bytes, status: int = 200, kind: str = "application/x-amz-json-1.0"
) -> AWSResponse:
    """Return what botocore takes for an answer of AWS."""
    headers = HTTPHeaders()
    headers["Content-Type"] = kind
    return AWSResponse(request.url, status, headers, Body(content))


def operation_of(request: Any) -> str:
    """Return what is asked for, where the service's protocol names it, or else the method."""
    target = request.headers.get("X-Amz-Target", b"")
    name: str = target.decode() if isinstance(target, bytes) else str(target)
    return name.rpartition(".")[2] or str(request.method)
