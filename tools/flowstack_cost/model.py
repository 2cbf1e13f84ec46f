"""What messages cost beside the models that answer them, line by line.

Units of DynamoDB are those that ``make bench`` measures; a test holds the ones named here to the
page of benchmarks. Everything else is an assumption that `Workload` names. Whatever can be either
is taken at its dearer: no two changes of different customers share a batch of the stream, every
message brings its own authorizer call.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from flowstack_cost import prices


class Door(StrEnum):
    """The way a message comes: who keeps the transcript."""

    INVOKE = "/invoke"
    CHAT = "/chat"


@dataclass(frozen=True, slots=True)
class Units:
    """Capacity units of DynamoDB."""

    write: Decimal
    read: Decimal = Decimal(0)


START = {Door.INVOKE: Units(Decimal(9)), Door.CHAT: Units(Decimal(13))}
FOLLOW_UP = {Door.INVOKE: Units(Decimal(2)), Door.CHAT: Units(Decimal(5), Decimal(1))}
ROLLUP_ALONE = Units(Decimal(6), Decimal(1))
"""A message that shares its batch of the stream with no other of its customer."""

ROLLUP_TOGETHER = Units(Decimal("2.08"), Decimal(1))
"""The first message of a session among a hundred of one customer."""

CEILING_CHECK = Units(Decimal(0), Decimal(1))
"""Whether the customer has a ceiling: one read, once for a customer and batch."""

ALERT = Units(Decimal(8), Decimal(2))
"""Keeping an alert, and noting whom it was told to."""

DELIVERY = Units(Decimal(10), Decimal(3))
"""One event sent to a customer's webhook at the first attempt, with its place in the log."""

_CONVERSATION_GB = Decimal(1)
_AUTHORIZER_GB_SECONDS = Decimal("0.01")
_STREAM_GB_SECONDS = Decimal("0.01")
"""A call of a function behind a stream: 512 MB for 20 ms."""

_DELIVERY_GB_SECONDS = Decimal("0.15")
"""512 MB, and a server that answers in 300 ms."""

_TRACED = Decimal("0.05")


@dataclass(frozen=True, slots=True)
class Workload:
    """A month's traffic.

    Attributes
    ----------
    messages
        Those that are answered.
    messages_a_session
        How many messages a session has; the first of them starts it.
    seconds_an_answer
        How long the model takes, which Lambda waits for.
    together
        Whether the changes of a customer come in batches, as in busy accounts.
    log_kb
        What a message leaves in the logs.
    customers
        Each with three alerts, which are told to its webhook as its statement is.
    """

    messages: int = 1_000_000
    messages_a_session: int = 5
    seconds_an_answer: Decimal = Decimal(3)
    door: Door = Door.CHAT
    together: bool = False
    log_kb: Decimal = Decimal(2)
    customers: int = 100

    def __post_init__(self) -> None:
        if min(self.messages, self.messages_a_session, self.customers) < 1:
            raise ValueError("there is at least one message, one a session, and one customer")
        if min(self.seconds_an_answer, self.log_kb) < 0:
            raise ValueError("nothing takes less than no time and no room")

    @property
    def sessions(self) -> int:
        """How many sessions are started; the last may be shorter."""
        return -(-self.messages // self.messages_a_session)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the bill."""

    what: str
    amount: Decimal
    unit: str
    price: Decimal

    @property
    def dollars(self) -> Decimal:
        """What it comes to, exactly."""
        return self.amount * self.price


def bill(workload: Workload) -> list[Line]:
    """Return what a month's messages cost, without what has to be paid without any."""
    parts = (_answering, _counting, _following, _watching)
    return [line for part in parts for line in part(workload)]


def total(lines: list[Line]) -> Decimal:
    """Return the sum, exactly."""
    return sum((line.dollars for line in lines), Decimal(0))


def _answering(workload: Workload) -> Iterator[Line]:
    messages = Decimal(workload.messages)
    yield Line("API Gateway, REST API", messages, "requests", prices.GATEWAY_REQUEST)
    yield Line(
        "Lambda: requests, with the authorizer's", 2 * messages, "requests", prices.LAMBDA_REQUEST
    )
    waiting = messages * workload.seconds_an_answer * _CONVERSATION_GB
    yield Line("Lambda: waiting for the model", waiting, "GB-s", prices.LAMBDA_GB_SECOND)
    authorizing = messages * _AUTHORIZER_GB_SECONDS
    yield Line("Lambda: the authorizer", authorizing, "GB-s", prices.LAMBDA_GB_SECOND)


def _counting(workload: Workload) -> Iterator[Line]:
    starts = Decimal(workload.sessions)
    follow_ups = workload.messages - starts
    first, later = START[workload.door], FOLLOW_UP[workload.door]
    writes = starts * first.write + follow_ups * later.write
    reads = starts * first.read + follow_ups * later.read
    yield Line("DynamoDB: sessions and counts", writes, "write units", prices.WRITE_UNIT)
    yield Line("DynamoDB: transcripts", reads, "read units", prices.READ_UNIT)


def _following(workload: Workload) -> Iterator[Line]:
    """Yield what follows the answers: rollups, thresholds, alerts, webhooks."""
    messages, starts = Decimal(workload.messages), Decimal(workload.sessions)
    each = ROLLUP_TOGETHER if workload.together else ROLLUP_ALONE
    yield Line("DynamoDB: rollups", messages * each.write, "write units", prices.WRITE_UNIT)
    checked = messages * (each.read + CEILING_CHECK.read) + starts
    yield Line("DynamoDB: rollups, ceilings, thresholds", checked, "read units", prices.READ_UNIT)
    calls = messages + starts
    if workload.together:
        calls /= 100
    yield Line("Lambda: rollups and thresholds, calls", calls, "requests", prices.LAMBDA_REQUEST)
    yield Line(
        "Lambda: rollups and thresholds",
        calls * _STREAM_GB_SECONDS,
        "GB-s",
        prices.LAMBDA_GB_SECOND,
    )
    alerts, events = Decimal(3 * workload.customers), Decimal(4 * workload.customers)
    written = alerts * ALERT.write + events * DELIVERY.write
    yield Line("DynamoDB: alerts and webhooks", written, "write units", prices.WRITE_UNIT)
    # A message is sent, received and deleted.
    yield Line("SQS: webhooks", 3 * events, "requests", prices.QUEUE_REQUEST)
    yield Line("Lambda: webhooks", events * _DELIVERY_GB_SECONDS, "GB-s", prices.LAMBDA_GB_SECOND)


def _watching(workload: Workload) -> Iterator[Line]:
    messages = Decimal(workload.messages)
    logged = messages * workload.log_kb / 1_000_000
    yield Line("CloudWatch Logs, metrics among them", logged, "GB", prices.LOG_GB)
    yield Line("X-Ray", messages * _TRACED, "traces", prices.TRACE)
