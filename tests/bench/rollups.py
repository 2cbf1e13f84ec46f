"""Measures the rollups: what a message costs in them, and how fast one worker rolls up many."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import boto3
from mypy_boto3_dynamodb import DynamoDBClient

from flowstack_core.adapters.dynamodb_own_limits import DynamoDBOwnLimitsStore
from flowstack_core.adapters.dynamodb_rollups import DynamoDBRollupStore
from flowstack_core.adapters.dynamodb_sessions import put_head, put_record
from flowstack_core.adapters.dynamodb_talk import OPENED_BY, encode_talk, opened_by_value
from flowstack_core.adapters.dynamodb_usage import DynamoDBUsageStore
from flowstack_core.adapters.system import SystemClock
from flowstack_core.domain.periods import Period
from flowstack_core.domain.rollups import Route, Talk
from flowstack_core.domain.sessions import Conversation, Session
from flowstack_core.events import rollup_stream
from flowstack_core.services.own_limits import BudgetService
from flowstack_core.services.retrying import Retrier
from flowstack_core.services.rollups import RollupService
from tests.bench.capacity import Units
from tests.bench.metering import Meter, Request
from tests.support.batch_events import stream_record
from tests.support.emulator import REGION, create_tables, emulator
from tests.support.http_events import LambdaContext

BATCH = 100
"""As many changes as Lambda gives the function at once."""

_BATCHES = 30
_AT = datetime(2026, 11, 24, 12, tzinfo=UTC)
_ROUTE = Route(managed=True, provider="bedrock", model="claude-haiku-4-5")


@dataclass(frozen=True, slots=True)
class BatchCost:
    """What rolling up one batch cost."""

    name: str
    messages: int
    requests: tuple[Request, ...]

    @property
    def units(self) -> Units:
        """Capacity units a message."""
        read = sum(request.units.read for request in self.requests)
        write = sum(request.units.write for request in self.requests)
        return Units(read / self.messages, write / self.messages)


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast one worker rolled up batches, one after the other."""

    name: str
    events: int
    seconds: float
    processor_seconds: float


@dataclass(frozen=True, slots=True)
class Rollups:
    """All that is measured of the rollups."""

    batches: tuple[BatchCost, ...]
    paces: tuple[Pace, ...]


def measure_rollups(say: Callable[[str], None]) -> Rollups:
    """Measure on a MiniStack of its own."""
    say("rollups")
    rollup_stream.logger.setLevel("ERROR")  # its lines are on in production, and unread here
    with TemporaryDirectory() as directory, emulator(Path(directory)) as url:
        create_tables(_client(url))
        return Rollups(tuple(_costs(url)), tuple(_paces(url)))


def _client(url: str, session: boto3.Session | None = None) -> DynamoDBClient:
    return (session or boto3.Session()).client(
        "dynamodb",
        endpoint_url=url,
        region_name=REGION,
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )


class _Worker:
    """The function over one DynamoDB, and sessions to give it."""

    def __init__(self, client: DynamoDBClient, database: DynamoDBClient) -> None:
        retrier = Retrier(sleep=time.sleep, chance=Random(1).random)
        rollups = DynamoDBRollupStore(client, "usage", "sessions")
        clock = SystemClock()  # one for all customers: there are no test clocks here
        ceilings = BudgetService(
            DynamoDBOwnLimitsStore(client, "accounts", "usage"),
            DynamoDBUsageStore(client, "usage", "accounts"),
            rollups,
            lambda route, talk, day: None,
            clock,
            clock,
            os.urandom,
            retrier,
        )
        service = RollupService(rollups, ceilings.evaluate, retrier)
        self._handler = rollup_stream.grown_sessions(lambda: service)
        self._database = database

    def begin(self, name: str, customer_id: str, agent: str = "agent") -> Session:
        """Start a session, and have its first message answered."""
        conversation = Conversation(customer_id, agent, name)
        session = Session(f"ses_{name}", conversation, Period.containing(_AT), _AT, _AT)
        request = put_record("sessions", session)["Put"]
        self._database.put_item(TableName="sessions", Item=request["Item"])
        return said_more(session)

    def roll_up(self, events: list[dict[str, Any]]) -> None:
        """Give the function a batch."""
        answer = self._handler({"Records": events}, LambdaContext())
        if answer["batchItemFailures"]:
            raise RuntimeError(f"not rolled up: {answer}")


def said_more(session: Session) -> Session:
    """Return the session after one more answer."""
    said = session.said.get(_ROUTE, Talk()) + Talk(1, 800, 350)
    return replace(session, opened_by=_ROUTE, processed_at=_AT, said={_ROUTE: said})


def change_of(session: Session, number: int) -> dict[str, Any]:
    """Return the record of a stream that tells of a session."""
    image = dict(put_head("sessions", session)["Put"]["Item"])
    image["processed_at"] = image["started_at"]
    image[OPENED_BY] = opened_by_value(_ROUTE)
    for route, talk in session.said.items():
        image |= encode_talk(route, talk)
    return stream_record(number, "MODIFY", after=image)


def _costs(url: str) -> Iterator[BatchCost]:
    session = boto3.Session()
    meter = Meter(session, _client(url), {}, lambda: 0)
    worker = _Worker(_client(url, session), _client(url))

    def cost(name: str, sessions: list[Session]) -> BatchCost:
        events = [change_of(each, number) for number, each in enumerate(sessions)]
        with meter.recording() as requests:
            worker.roll_up(events)
        return BatchCost(name, len(events), tuple(requests))

    lone = worker.begin("lone", "cus_lone")
    yield cost("one message, the first of its session", [lone])
    yield cost("one message, a follow-up", [said_more(lone)])
    strangers = [worker.begin(f"stranger{n}", f"cus_stranger{n:03}") for n in range(BATCH)]
    yield cost(f"{BATCH} messages, each of another customer", strangers)
    busy = [worker.begin(f"busy{n}", "cus_busy") for n in range(BATCH)]
    yield cost(f"{BATCH} messages of one customer's sessions", busy)
    talk = [worker.begin("talk", "cus_talk")]
    while len(talk) < BATCH:
        talk.append(said_more(talk[-1]))
    yield cost(f"{BATCH} messages of one session", talk)


def _paces(url: str) -> Iterator[Pace]:
    worker = _Worker(_client(url), _client(url))
    cases: dict[str, Callable[[int, int], str]] = {
        "each of another customer": lambda batch, n: f"cus_p{batch:03}{n:03}",
        "of one customer's sessions": lambda batch, _: f"cus_q{batch:03}",
    }
    for name, customer_of in cases.items():
        batches = [
            [
                change_of(worker.begin(f"{customer_of(batch, n)}-{n}", customer_of(batch, n)), n)
                for n in range(BATCH)
            ]
            for batch in range(_BATCHES)
        ]
        worker.roll_up(batches[0])  # connections, and what is loaded on first use
        began, processor_began = time.perf_counter(), time.process_time()
        for batch in batches[1:]:
            worker.roll_up(batch)
        yield Pace(
            name,
            (_BATCHES - 1) * BATCH,
            time.perf_counter() - began,
            time.process_time() - processor_began,
        )
