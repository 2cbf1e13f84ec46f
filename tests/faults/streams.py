"""The streams of a life's tables, and the functions behind them.

Whatever a request changed is read off the tables after it, as DynamoDB's streams tell it: item by
item, before and after. Records are delivered late, in bulk, and again, those of one item in their
order; what a function reports as failed, or had in hand when it was killed, comes again.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Any

from aws_lambda_powertools.utilities.batch.exceptions import BatchProcessingError
from mypy_boto3_dynamodb import DynamoDBClient

from flowstack_core.adapters.dynamodb_sessions import HEAD_SORT_KEY
from flowstack_core.events.batches import LambdaFunction
from tests.support.faulty import FunctionKilled
from tests.support.http_events import LambdaContext

Item = dict[str, Any]
Place = tuple[str, str]

_WRITES = {"PutItem", "UpdateItem", "DeleteItem", "TransactWriteItems", "BatchWriteItem"}
_TOLD = ("STATEMENT#", "ALERT#", "BUDGET#")


def of_answers(record: Mapping[str, Any]) -> bool:
    """Whether a record concerns the rollups: a head of a session that was answered."""
    change = record["dynamodb"]
    image = change.get("NewImage", {})
    return bool(change["Keys"]["sk"]["S"] == HEAD_SORT_KEY and "processed_at" in image)


def of_counts(record: Mapping[str, Any]) -> bool:
    """Whether a record concerns the thresholds: a counter that moved."""
    sort_key = record["dynamodb"]["Keys"]["sk"]["S"]
    return bool(record["eventName"] == "MODIFY" and sort_key.startswith("PERIOD#"))


def of_news(record: Mapping[str, Any]) -> bool:
    """Whether a record is to be announced: a statement, an alert, a reached ceiling."""
    sort_key = record["dynamodb"]["Keys"]["sk"]["S"]
    return bool(record["eventName"] == "INSERT" and sort_key.startswith(_TOLD))


@dataclass
class Listener:
    """A function behind a stream, and what it has yet to be given."""

    concerns: Callable[[Mapping[str, Any]], bool]
    function: LambdaFunction
    invocation: Callable[[], LambdaContext]
    waiting: list[dict[str, Any]] = field(default_factory=list)
    given: list[dict[str, Any]] = field(default_factory=list)

    def deliver(self, random: Random) -> None:
        """Deliver a batch: some that wait, and some that were delivered before."""
        batch, self.waiting = _batch(self.waiting, random)
        again = random.sample(self.given, min(len(self.given), random.choice([0, 0, 1, 5])))
        self.give([*batch, *again] if random.random() < 0.5 else [*again, *batch])

    def give(self, batch: list[dict[str, Any]]) -> None:
        """Call the function; what did not succeed waits again, in its order."""
        if not batch:
            return
        failed = self._call(batch)
        back = {_number(record): record for record in batch if _number(record) in failed}
        waiting = {_number(record): record for record in self.waiting} | back
        self.waiting = sorted(waiting.values(), key=lambda record: int(_number(record)))
        given = {_number(record): record for record in [*self.given, *batch]}
        self.given = [record for number, record in given.items() if number not in waiting]

    def _call(self, batch: list[dict[str, Any]]) -> set[str]:
        """Call the function; return the numbers of the records that have to come again."""
        records = [json.loads(json.dumps(record, default=_text)) for record in batch]
        try:
            answer = self.function({"Records": records}, self.invocation())
        except (BatchProcessingError, FunctionKilled):
            return {_number(record) for record in batch}
        return {each["itemIdentifier"] for each in answer["batchItemFailures"]}


class Streams:
    """Tells listeners what happens to tables."""

    def __init__(self, client: DynamoDBClient, *tables: str) -> None:
        self._client = client
        self._known: dict[str, dict[Place, Item]] = {table: {} for table in tables}
        self._numbers = count(1)
        self.listeners: dict[str, list[Listener]] = {table: [] for table in tables}
        self.records: list[dict[str, Any]] = []

    def wrote(self, operation: str, body: bytes) -> None:
        """Tell of what a request that took effect has changed."""
        for table in self._known:
            if operation in _WRITES and f'"{table}"'.encode() in body:
                self.compare(table)

    def compare(self, table: str) -> None:
        """Tell of what has changed in a table."""
        before, after = self._known[table], self._read(table)
        for place in sorted({*before, *after}):
            old, new = before.get(place), after.get(place)
            if old != new:
                self._tell(table, place, old, new)
        self._known[table] = after

    def _read(self, table: str) -> dict[Place, Item]:
        pages = self._client.get_paginator("scan").paginate(TableName=table, ConsistentRead=True)
        items = [item for page in pages for item in page["Items"]]
        return {(item["pk"]["S"], item["sk"]["S"]): dict(item) for item in items}

    def _tell(self, table: str, place: Place, old: Item | None, new: Item | None) -> None:
        change: dict[str, Any] = {
            "SequenceNumber": str(next(self._numbers)),
            "Keys": {"pk": {"S": place[0]}, "sk": {"S": place[1]}},
        }
        change |= {} if old is None else {"OldImage": old}
        change |= {} if new is None else {"NewImage": new}
        record = {
            "eventID": change["SequenceNumber"],
            "eventName": "INSERT" if old is None else "REMOVE" if new is None else "MODIFY",
            "eventSource": "aws:dynamodb",
            "dynamodb": change,
        }
        self.records.append(record)
        for listener in self.listeners[table]:
            if listener.concerns(record):
                listener.waiting.append(record)


def _batch(
    waiting: list[dict[str, Any]], random: Random
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Take the first records of some items: shards go on at paces of their own."""
    places = sorted({_place(record) for record in waiting})
    chosen = set(random.sample(places, random.randint(0, len(places))))
    size = random.choice([1, 3, 100])
    taken = [record for record in waiting if _place(record) in chosen][:size]
    numbers = {_number(record) for record in taken}
    return taken, [record for record in waiting if _number(record) not in numbers]


def _place(record: Mapping[str, Any]) -> Place:
    keys = record["dynamodb"]["Keys"]
    return keys["pk"]["S"], keys["sk"]["S"]


def _number(record: Mapping[str, Any]) -> str:
    number: str = record["dynamodb"]["SequenceNumber"]
    return number


def _text(value: bytes) -> str:
    """Write bytes as Lambda's events do."""
    return base64.b64encode(value).decode()
