"""A proxy in front of DynamoDB that lets calls fail at random, before or after they took effect.

It is transparent until it is told otherwise, in process by `FaultyDynamoDB.control` or over HTTP:

``POST /_control`` ``{"rate": 0.33, "seed": 1, "modes": ["throttle", "lost"]}``
    A call fails with a chance of ``rate``, by one of ``modes`` that fits it (`MODES`, all but
    ``hang`` if none are named). ``{"down": "close"}`` cuts every call off, ``{"down": "503"}``
    answers 503 to all, ``{"rate": 0}`` ends it all. ``operations`` narrows faults (not ``down``)
    to some operations.
``GET /_stats``, ``DELETE /_stats``
    What passed since the start or the last ``DELETE``: ``requests``, ``capacity_units`` by
    operation, ``faults`` by mode.

Where it has ``permissions`` it refuses what the role of the calling function does not allow.

While it ``meter``s (the default) it asks DynamoDB for the consumed capacity of each call whose
caller did not. The added field breaks the request's signature, which the emulator does not check.
"""

from __future__ import annotations

import json
import zlib
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from random import Random
from threading import Event, Lock
from typing import Any, Literal, cast

import urllib3

from tests.support.local_http import LocalHandler, LocalServer
from tests.support.permissions import Permissions

_TRANSACTIONS = frozenset({"TransactWriteItems", "TransactGetItems"})
_WRITES = frozenset({"PutItem", "UpdateItem", "DeleteItem"})
_DATA_OPERATIONS = _TRANSACTIONS | _WRITES | {
    "GetItem", "Query", "Scan", "BatchGetItem", "BatchWriteItem", "ExecuteStatement"
}  # fmt: skip

MODES = ("throttle", "throughput", "conflict", "internal", "lost", "late_error", "hang")
"""The faults. The first four are answers instead of an effect:

``throttle``, ``throughput``
    ThrottlingException, ProvisionedThroughputExceededException (400).
``conflict``
    TransactionCanceledException with reason TransactionConflict for a transaction,
    TransactionConflictException for a single write; reads do not have it.
``internal``
    InternalServerError (500).

The last three come after the effect:

``lost``
    The connection is closed without an answer.
``late_error``
    InternalServerError (500).
``hang``
    No answer for ``hang_seconds``, then the connection is closed.
"""

_DEFAULT_MODES = tuple(mode for mode in MODES if mode != "hang")
_AFTER_EFFECT = frozenset({"lost", "late_error", "hang"})
_NAMESPACE = "com.amazonaws.dynamodb.v20120810#"
_NOT_FORWARDED = frozenset({"connection", "content-length", "keep-alive", "transfer-encoding"})

Down = Literal["close", "503"]


@dataclass(frozen=True, slots=True)
class Faults:
    """What is to go wrong from now on; nothing, by default."""

    rate: float = 0.0
    seed: int = 0
    modes: tuple[str, ...] = _DEFAULT_MODES
    operations: frozenset[str] = frozenset()
    down: Down | None = None
    hang_seconds: float = 1.0
    meter: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.rate <= 1:
            raise ValueError(f"rate is {self.rate}, not a chance")
        if not self.modes or set(self.modes) - set(MODES):
            raise ValueError(f"modes are some of {MODES}")
        if set(self.operations) - _DATA_OPERATIONS:
            raise ValueError(f"operations are some of {sorted(_DATA_OPERATIONS)}")
        if self.down not in {None, "close", "503"}:
            raise ValueError("down is close, 503 or null")

    def modes_of(self, operation: str) -> list[str]:
        """Return the modes that fit an operation."""
        if operation not in (self.operations or _DATA_OPERATIONS):
            return []
        conflicts = operation in _WRITES | _TRANSACTIONS
        return [mode for mode in self.modes if mode != "conflict" or conflicts]


@dataclass(slots=True)
class Stats:
    """What passed."""

    requests: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    capacity_units: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))

    def as_document(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return {
            "requests": dict(self.requests),
            "faults": dict(self.faults),
            "capacity_units": dict(self.capacity_units),
        }


class FaultyDynamoDB(LocalServer):
    """The proxy; use it as a context manager.

    Parameters
    ----------
    upstream
        The address of DynamoDB, such as ``http://127.0.0.1:4566``.
    """

    def __init__(self, upstream: str, port: int = 0) -> None:
        super().__init__(_Handler, port)
        # Connections are kept and shared: one for each client would wear the emulator out.
        self.upstream = urllib3.connection_from_url(
            upstream, maxsize=64, block=True, retries=False, timeout=30
        )
        self.permissions: Permissions | None = None
        self.stopping = Event()
        self._lock = Lock()
        self._faults = Faults()
        self._random = Random(0)
        self._stats = Stats()

    @property
    def faults(self) -> Faults:
        """Return what is going wrong."""
        return self._faults

    def control(self, faults: Faults) -> None:
        """Change what goes wrong, and begin the random sequence of its seed."""
        with self._lock:
            self._faults = faults
            self._random = Random(faults.seed)

    def stats(self) -> dict[str, Any]:
        """Return what passed since the start or the last reset."""
        with self._lock:
            return self._stats.as_document()

    def reset_stats(self) -> None:
        """Begin to count afresh."""
        with self._lock:
            self._stats = Stats()

    def decide(self, operation: str) -> str | None:
        """Count a request; return the mode by which it is to fail."""
        with self._lock:
            self._stats.requests[operation] += 1
            faults = self._faults
            if faults.down is not None:
                self._stats.faults["down"] += 1
                return "down"
            modes = faults.modes_of(operation)
            if not modes or self._random.random() >= faults.rate:
                return None
            mode = self._random.choice(modes)
            self._stats.faults[mode] += 1
            return mode

    def record_capacity(self, operation: str, units: float) -> None:
        """Add what a call consumed."""
        with self._lock:
            self._stats.capacity_units[operation] += units

    def record_upstream_failure(self) -> None:
        """Count a call that DynamoDB itself left without an answer."""
        with self._lock:
            self._stats.faults["upstream"] += 1

    def shutdown(self) -> None:
        """Stop serving, and let nobody hang any longer."""
        self.stopping.set()
        super().shutdown()

    def server_close(self) -> None:
        """Close the connections to DynamoDB too."""
        super().server_close()
        self.upstream.close()


class _Handler(LocalHandler):
    @property
    def _proxy(self) -> FaultyDynamoDB:
        return cast("FaultyDynamoDB", self.server)

    def do_GET(self) -> None:  # noqa: N802 (the base class names it)
        if self.route()[0] == "/_stats":
            self.reply_json(200, self._proxy.stats())
        else:
            self._pass_on("", self.read_body())

    def do_DELETE(self) -> None:  # noqa: N802 (the base class names it)
        if self.route()[0] == "/_stats":
            self._proxy.reset_stats()
            self.reply_json(200, {})
        else:
            self._pass_on("", self.read_body())

    def do_POST(self) -> None:  # noqa: N802 (the base class names it)
        body = self.read_body()
        if self.route()[0] == "/_control":
            self._control(body)
            return
        operation = self.headers.get("X-Amz-Target", "").rpartition(".")[2]
        permissions = self._proxy.permissions
        if permissions is not None and operation in _DATA_OPERATIONS:
            refusal = permissions.refusal(self.headers.get("User-Agent", ""), operation, body)
            if refusal is not None:
                self._reply_dynamodb(400, _error("AccessDeniedException", refusal))
                return
        mode = self._proxy.decide(operation)
        if mode is None:
            self._pass_on(operation, body)
        elif mode == "down":
            self._be_down()
        elif mode in _AFTER_EFFECT:
            self._fail_after(mode, operation, body)
        else:
            self._reply_dynamodb(*_refusal(mode, operation, body))

    def _control(self, body: bytes) -> None:
        try:
            document = json.loads(body)
            for name in ("modes", "operations"):
                if name in document:
                    kind = tuple if name == "modes" else frozenset
                    document[name] = kind(document[name])
            faults = Faults(**document)
        except (ValueError, TypeError) as error:
            self.reply_json(400, {"error": str(error)})
            return
        self._proxy.control(faults)
        self.reply_json(200, {})

    def _be_down(self) -> None:
        if self._proxy.faults.down == "503":
            self._reply_dynamodb(503, {"__type": "ServiceUnavailable", "message": "down"})
        else:
            self.drop_connection()

    def _fail_after(self, mode: str, operation: str, body: bytes) -> None:
        self._forward(operation, body)
        if mode == "late_error":
            self._reply_dynamodb(*_refusal("internal", operation, body))
            return
        if mode == "hang":
            self._proxy.stopping.wait(self._proxy.faults.hang_seconds)
        self.drop_connection()

    def _pass_on(self, operation: str, body: bytes) -> None:
        answer = self._forward(operation, body)
        if answer is None:
            self.drop_connection()
            return
        headers = {
            name: value
            for name, value in answer.headers.items()
            if name.lower() not in _NOT_FORWARDED
        }
        # The body goes out byte for byte, so its x-amz-crc32 is still right.
        self.reply(answer.status, answer.data, headers)

    def _forward(self, operation: str, body: bytes) -> urllib3.BaseHTTPResponse | None:
        """Let DynamoDB answer, and count what that consumed."""
        if self._proxy.faults.meter and operation in _DATA_OPERATIONS:
            body = _metered(body)
        headers = {
            name: value
            for name, value in self.headers.items()
            if name.lower() not in _NOT_FORWARDED
        }
        try:
            answer = self._proxy.upstream.urlopen(
                self.command,
                self.path,
                body=body,
                headers=headers,
                redirect=False,
                decode_content=False,
            )
        except urllib3.exceptions.HTTPError:
            self._proxy.record_upstream_failure()
            return None
        if answer.status == 200 and operation in _DATA_OPERATIONS:
            self._proxy.record_capacity(operation, _consumed_units(answer.data))
        return answer

    def _reply_dynamodb(self, status: int, document: dict[str, Any]) -> None:
        body = json.dumps(document).encode()
        headers = {
            "Content-Type": "application/x-amz-json-1.0",
            "x-amz-crc32": str(zlib.crc32(body)),
        }
        self.reply(status, body, headers)


def _refusal(mode: str, operation: str, body: bytes) -> tuple[int, dict[str, Any]]:
    """Return the status and document of a failure in DynamoDB's own words."""
    if mode == "internal":
        return 500, _error("InternalServerError", "The request could not be completed.")
    if mode == "throttle":
        return 400, _error("ThrottlingException", "Rate of requests exceeds the allowed one.")
    if mode == "throughput":
        return 400, _error(
            "ProvisionedThroughputExceededException", "The level of throughput was exceeded."
        )
    if operation not in _TRANSACTIONS:
        return 400, _error("TransactionConflictException", "Transaction is ongoing for the item")
    actions = json.loads(body)["TransactItems"]
    reasons: list[dict[str, str]] = [{"Code": "None"} for _ in actions]
    reasons[-1] = {"Code": "TransactionConflict", "Message": "Transaction is ongoing for the item"}
    codes = ", ".join(reason["Code"] for reason in reasons)
    return 400, {
        "__type": f"{_NAMESPACE}TransactionCanceledException",
        "Message": "Transaction cancelled, please refer cancellation reasons for specific reasons "
        f"[{codes}]",
        "CancellationReasons": reasons,
    }


def _error(name: str, message: str) -> dict[str, Any]:
    return {"__type": f"{_NAMESPACE}{name}", "message": message}


def _metered(body: bytes) -> bytes:
    document = json.loads(body)
    if document.get("ReturnConsumedCapacity", "NONE") == "NONE":
        document["ReturnConsumedCapacity"] = "TOTAL"
        return json.dumps(document).encode()
    return body


def _consumed_units(answer: bytes) -> float:
    """Return the capacity units of a call, all its tables and indexes together."""
    consumed = json.loads(answer).get("ConsumedCapacity", [])
    tables = consumed if isinstance(consumed, list) else [consumed]
    return float(sum(table.get("CapacityUnits", 0) for table in tables))
