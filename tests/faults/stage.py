"""What a life takes place on: a clock, chance, an AWS that fails, and processes that die."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from random import Random
from typing import Any, TypeVar

from botocore.exceptions import BotoCoreError, ClientError
from mypy_boto3_dynamodb import DynamoDBClient

from flowstack_core.adapters.system import LambdaTimeBudget
from flowstack_core.domain.errors import ConflictError, ServiceUnavailableError
from flowstack_core.events.batches import LambdaFunction
from flowstack_core.services.ports.failures import StoreContentionError
from flowstack_core.services.retrying import Retrier
from tests.faults.streams import Streams
from tests.support.emulator import TABLES, create_tables, dynamodb_client
from tests.support.fakes import FixedClock, at
from tests.support.faulty import FunctionKilled
from tests.support.faulty_aws import AwsFaults
from tests.support.http_events import LambdaContext
from tests.support.little_aws import LittleAws

Result = TypeVar("Result")

BEGINNING = at("2026-11-29T20:00")
REQUEST_SECONDS = 28.0
NO_ANSWER = (
    *(FunctionKilled, StoreContentionError, ServiceUnavailableError),
    *(ClientError, BotoCoreError),
)
"""What a caller takes for a request that may have been done or not."""

_lives = count(1)
"""A life may be lived twice, on other tables."""

_DELIVERIES = 400
_LONGEST_PAUSE_SECONDS = 16


@dataclass
class Invocation(LambdaContext):
    """A call of a function that begins now, and whose time passes with the clock's."""

    clock: FixedClock = field(kw_only=True)

    def __post_init__(self) -> None:
        self._ends_at = self.clock.now() + timedelta(seconds=self.seconds)

    def get_remaining_time_in_millis(self) -> int:
        """Return what is left."""
        return (self._ends_at - self.clock.now()) // timedelta(milliseconds=1)


class Stage:
    """Everything that the parts of a life have in common.

    Attributes
    ----------
    plain
        A client that nothing befalls: what a life is looked at with.
    name
        What the tables' names begin with.
    customer_id, key_id
        Whom the life is about, once there is somebody.
    violations
        The rules that were seen broken while the product's code was running, which might have
        swallowed an error of ours.
    """

    def __init__(self, url: str, seed: int, rate: float, crowd: float) -> None:
        self.url, self.seed = url, seed
        self.random = Random(f"story {seed}")
        self.clock = FixedClock(BEGINNING)
        self.faults = AwsFaults(Random(f"faults {seed}"), self.clock, rate, crowd, first=seed)
        self.aws = LittleAws(self.clock)
        self.plain = dynamodb_client(url)
        self.name = f"life{seed}-{next(_lives)}"
        self.tables = {table: f"{self.name}-{table}" for table in TABLES}
        create_tables(self.plain, f"{self.name}-")
        self.streams = Streams(self.plain, self.tables, self.clock)
        self.faults.wrote = self.streams.wrote
        self.dynamodb: DynamoDBClient = dynamodb_client(url)
        self.faults.attach(self.dynamodb)
        self.retrier = Retrier(
            sleep=lambda seconds: self.clock.advance(seconds=seconds),
            chance=Random(f"pauses {seed}").random,
        )
        self.customer_id = self.key_id = ""
        self.violations: list[str] = []
        self._numbers = count(1)
        self._under_way: list[Callable[[], None]] = []

    def client(self, service: str) -> Any:
        """Return a client of another service, which fails as often."""
        client = self.aws.client(service)
        self.faults.attach(client)
        return client

    def chance(self, purpose: str) -> Random:
        """Return a source of chance of its own."""
        return Random(f"{purpose} {self.seed}")

    def number(self) -> int:
        """Return a number that was not there before."""
        return next(self._numbers)

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.advance(seconds=seconds)

    def budget(self) -> LambdaTimeBudget:
        """Return the time that a request has which begins now."""
        return LambdaTimeBudget(Invocation(REQUEST_SECONDS, clock=self.clock))

    def insist(self, holds: bool, rule: str) -> None:
        """Note that a rule is broken, if it is; whoever tells the story asks for it."""
        if not holds:
            self.violations.append(rule)

    def request(
        self, workflow: str, call: Callable[[], Result], seconds: float = REQUEST_SECONDS
    ) -> Result:
        """Run a request in a process of its own."""
        with self.faults.running(workflow, seconds):
            return call()

    def deliver(
        self, workflow: str, call: Callable[[], Result], seconds: float = REQUEST_SECONDS
    ) -> Result:
        """Run something that is sent again until it succeeds."""
        for delivery in range(_DELIVERIES):
            try:
                return self.request(workflow, call, seconds)
            except (*NO_ANSWER, ConflictError):
                self.wait(min(2**delivery, _LONGEST_PAUSE_SECONDS))
        raise AssertionError(f"{workflow} never succeeded")

    @contextmanager
    def repeatable(self, again: Callable[[], None]) -> Iterator[None]:
        """While a request under a key is under way, let its caller send it a second time."""
        self._under_way.append(again)
        try:
            yield
        finally:
            self._under_way.remove(again)

    def lose_patience(self) -> None:
        """Have a caller send again what is under way."""
        if self._under_way:
            self.random.choice(self._under_way)()

    def call(self, workflow: str, function: LambdaFunction, event: Any, seconds: float) -> Any:
        """Invoke a Lambda function."""
        invocation = Invocation(seconds, clock=self.clock)
        return self.request(workflow, lambda: function(event, invocation), seconds)
