"""Measures the month end: what closing a customer costs, and how fast one worker closes many."""

from __future__ import annotations

import resource
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import boto3
from mypy_boto3_dynamodb import DynamoDBClient

from flowstack_core.adapters.dynamodb_accounts import (
    DynamoDBAccountStore,
    encode_customer,
    encode_subscription,
)
from flowstack_core.adapters.dynamodb_closing import DynamoDBClosingStore
from flowstack_core.adapters.dynamodb_month_end import DynamoDBMonthEndStore
from flowstack_core.adapters.dynamodb_usage import encode_usage
from flowstack_core.domain.month_end import CUSTOMERS_PER_PAGE, ClosePage
from flowstack_core.domain.periods import Period
from flowstack_core.domain.plans import Tier
from flowstack_core.domain.quota import PeriodUsage
from flowstack_core.domain.subscriptions import Subscription, Terms, cancel
from flowstack_core.services.closing import ClosingService
from flowstack_core.services.month_end import CloseWorker, MonthEndService
from flowstack_core.services.ports.accounts import AuditRecord, Customer
from flowstack_core.services.retrying import Retrier
from tests.bench.capacity import Units
from tests.bench.metering import Meter, Request
from tests.support.emulator import REGION, create_tables, emulator

CUSTOMERS = 100_000

_OCTOBER, _NOVEMBER = Period(2026, 10), Period(2026, 11)
_CREATED = datetime(2026, 10, 7, tzinfo=UTC)
_NOW = _NOVEMBER.end + timedelta(hours=1)
_BATCH = 25
_INDEXES = {"accounts": ("kind_pk", "kind_sk")}


@dataclass(frozen=True, slots=True)
class PageCost:
    """What closing a page of customers of one kind cost."""

    name: str
    customers: int
    requests: tuple[Request, ...]

    @property
    def units(self) -> Units:
        """Capacity units a customer."""
        read = sum(request.units.read for request in self.requests)
        write = sum(request.units.write for request in self.requests)
        return Units(read / self.customers, write / self.customers)


@dataclass(frozen=True, slots=True)
class Throughput:
    """How one worker closed many customers, one after the other.

    Attributes
    ----------
    processor_seconds
        Of the worker itself; the emulator's are not among them.
    memory_mb
        Peak memory of the process after each tenth of the customers.
    """

    customers: int
    seconds: float
    processor_seconds: float
    requests: Counter[str]
    memory_mb: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class MonthEnd:
    """All that is measured of the month end."""

    pages: tuple[PageCost, ...]
    throughput: Throughput


class _Clock:
    def now(self) -> datetime:
        return _NOW


@dataclass
class _Queue:
    """Messages that wait in memory: SQS is not what is measured here."""

    steps: deque[tuple[Period, int]] = field(default_factory=deque)
    pages: deque[ClosePage] = field(default_factory=deque)

    def send_step(self, period: Period, step: int, delay_seconds: int = 0) -> None:
        self.steps.append((period, step))

    def send_pages(self, pages: Sequence[ClosePage]) -> None:
        self.pages.extend(pages)

    def give_up(self, page: ClosePage, reason: str) -> None:
        raise RuntimeError(f"{page} could not be closed: {reason}")

    def redrive(self, limit: int) -> int:
        return 0


@dataclass(frozen=True)
class _Bench:
    """The services of the month end on one DynamoDB."""

    database: DynamoDBClient
    queue: _Queue = field(default_factory=_Queue)

    @property
    def runs(self) -> DynamoDBMonthEndStore:
        return DynamoDBMonthEndStore(self.database, "usage")

    def service(self) -> MonthEndService:
        accounts = DynamoDBAccountStore(self.database, "accounts", "usage")
        return MonthEndService(self.runs, accounts, self.queue, _Clock())

    def worker(self) -> CloseWorker:
        store = DynamoDBClosingStore(self.database, "usage", "accounts", test_clocks=False)
        retrier = Retrier(sleep=time.sleep, chance=Random(1).random)
        return CloseWorker(
            ClosingService(store, _Clock(), retrier), self.runs, self.queue, _Clock()
        )


def measure_month_end(say: Callable[[str], None], customers: int = CUSTOMERS) -> MonthEnd:
    """Measure on a MiniStack of its own."""
    with TemporaryDirectory() as directory, emulator(Path(directory)) as url:
        say("what closing a customer costs")
        create_tables(_client(url))
        pages = tuple(_measure_pages(url))
        say(f"the close of {customers:,} customers: writing them down first")
        _populate(_client(url), customers)
        return MonthEnd(pages, _measure_throughput(url, customers, say))


def _client(url: str, session: boto3.Session | None = None) -> DynamoDBClient:
    return (session or boto3.Session()).client(
        "dynamodb",
        endpoint_url=url,
        region_name=REGION,
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )


# --- what it costs -------------------------------------------------------------------------------


def _measure_pages(url: str) -> Iterator[PageCost]:
    session = boto3.Session()
    meter = Meter(session, _client(url), _INDEXES, lambda: 0)
    bench = _Bench(_client(url, session))
    cases: dict[str, Callable[[str], None]] = {
        "nothing used": lambda who: None,
        "sessions used": lambda who: _use(bench.database, who),
        "a cancellation takes effect": lambda who: _cancel(bench.database, who),
        "a late release is adjusted": lambda who: _adjust(bench.database, who),
    }
    for number, (name, prepare) in enumerate(cases.items()):
        people = [f"cus_case{number}{each:03d}" for each in range(CUSTOMERS_PER_PAGE)]
        for who in people:
            _put(bench.database, _items(who, used=False))
            prepare(who)
        page = ClosePage(_NOVEMBER, 10**6 + number, tuple(people))
        with meter.recording() as requests:
            bench.worker().close(page, 1)
        yield PageCost(name, len(people), tuple(requests))


def _use(database: DynamoDBClient, who: str) -> None:
    _put(database, _items(who, used=True))


def _cancel(database: DynamoDBClient, who: str) -> None:
    before = Subscription(who, Terms.of(Tier.STARTER))
    after = cancel(before, _NOVEMBER.start)
    record = AuditRecord(who, f"aud_{who}", _NOVEMBER.start, "customer", "cancel", None, {})
    store = DynamoDBAccountStore(database, "accounts", "usage")
    if not store.change_subscription(before, after, _NOVEMBER, record):
        raise RuntimeError(f"{who} could not cancel")


def _adjust(database: DynamoDBClient, who: str) -> None:
    _use(database, who)
    database.update_item(
        TableName="usage",
        Key={"pk": {"S": f"CUSTOMER#{who}"}, "sk": {"S": "ADJUSTMENTS"}},
        UpdateExpression="ADD #period :minus_one",
        ExpressionAttributeNames={"#period": _OCTOBER.name},
        ExpressionAttributeValues={":minus_one": {"N": "-1"}},
    )


# --- how fast it is ------------------------------------------------------------------------------


def _measure_throughput(url: str, customers: int, say: Callable[[str], None]) -> Throughput:
    session = boto3.Session()
    requests: Counter[str] = Counter()

    def counted(model: Any, **_: Any) -> None:
        requests[model.name] += 1

    session.events.register("before-call.dynamodb", counted)
    bench = _Bench(_client(url, session))
    service, worker = bench.service(), bench.worker()
    service.start(_NOVEMBER)
    memory: list[float] = []
    closed = 0
    began, processor_began = time.perf_counter(), time.process_time()
    while bench.queue.steps or bench.queue.pages:
        if bench.queue.steps:
            service.step(*bench.queue.steps.popleft())
        while bench.queue.pages:
            closed += worker.close(bench.queue.pages.popleft(), 1).closed
            if closed * 10 >= customers * (len(memory) + 1):
                memory.append(_peak_memory_mb())
                say(f"closed {closed:,} after {time.perf_counter() - began:.0f} s")
    seconds, processor = time.perf_counter() - began, time.process_time() - processor_began
    reached = service.progress(_NOVEMBER)
    if not reached.done or closed < customers:
        raise RuntimeError(f"the month end is not done: {reached}")
    return Throughput(closed, seconds, processor, requests, tuple(memory))


def _peak_memory_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


# --- customers -----------------------------------------------------------------------------------


def _populate(database: DynamoDBClient, customers: int) -> None:
    """Write customers down, half of them with sessions, as if October had been closed."""
    for first in range(0, customers, 10):
        people = [f"cus_{number:09d}" for number in range(first, min(first + 10, customers))]
        _put(database, [item for n, who in enumerate(people) for item in _items(who, used=n < 5)])


def _items(who: str, *, used: bool) -> list[tuple[str, dict[str, Any]]]:
    subscription = Subscription(who, Terms.of(Tier.STARTER))
    items = [
        ("accounts", encode_customer(Customer(who, "A customer", _CREATED))),
        ("accounts", encode_subscription(subscription)),
        # That October is closed is told by its statement's key alone.
        ("usage", {"pk": {"S": f"CUSTOMER#{who}"}, "sk": {"S": f"STATEMENT#{_OCTOBER.name}"}}),
    ]
    if used:
        counter = PeriodUsage.opened(subscription, _NOVEMBER)
        filled = encode_usage(counter) | {
            "sessions_used": {"N": "412"},
            "managed_sessions": {"N": "400"},
        }
        items.append(("usage", filled))
    return items


def _put(database: DynamoDBClient, items: Sequence[tuple[str, dict[str, Any]]]) -> None:
    for first in range(0, len(items), _BATCH):
        requests: dict[str, list[Any]] = {}
        for table, item in items[first : first + _BATCH]:
            requests.setdefault(table, []).append({"PutRequest": {"Item": item}})
        database.batch_write_item(RequestItems=requests)
