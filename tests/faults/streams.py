"""The streams of a life's tables, and the functions behind them.

Whatever a request changed is read off the tables after it, as DynamoDB's streams tell it: item by
item, before and after. Records are delivered late, in bulk, and again, those of one item in their
order; what a function reports as failed, or had in hand when it was killed, comes again.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from random import Random
from typing import Any

from aws_lambda_powertools.utilities.batch.exceptions import BatchProcessingError
from mypy_boto3_dynamodb import DynamoDBClient

from flowstack_core.adapters.dynamodb_sessions import HEAD_SORT_KEY
from flowstack_core.services.ports.surroundings import Clock
from tests.support.batch_events import stream_record
from tests.support.faulty import FunctionKilled

Item = dict[str, Any]
Place = tuple[str, str, str]
"""A table, and the two parts of a key."""

Concerns = Callable[[Mapping[str, Any]], bool]
"""Says whether a record is one that a function is given: the filter of its event source."""

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


@dataclass(frozen=True)
class Change:
    """What became of one item; ``None`` where there is none."""

    at: datetime
    place: Place
    before: Item | None
    after: Item | None

    @property
    def table(self) -> str:
        """Where the item is."""
        return self.place[0]

    @property
    def sort_key(self) -> str:
        """The second part of the item's key."""
        return self.place[2]


@dataclass
class Listener:
    """A function behind a stream, and what it has yet to be given.

    Attributes
    ----------
    call
        Invokes the function.
    busy
        Whether it has a batch in hand: a shard is given to one invocation at a time.
    """

    concerns: Concerns
    call: Callable[[dict[str, Any]], Any]
    waiting: list[dict[str, Any]] = field(default_factory=list)
    given: list[dict[str, Any]] = field(default_factory=list)
    busy: bool = False

    def deliver(self, random: Random) -> None:
        """Deliver a batch: some that wait, and some that were delivered before."""
        if self.busy:
            return
        batch, self.waiting = _batch(self.waiting, random)
        again = random.sample(self.given, min(len(self.given), random.choice([0, 0, 1, 5])))
        self.give([*batch, *again] if random.random() < 0.5 else [*again, *batch])

    def give(self, batch: list[dict[str, Any]]) -> None:
        """Call the function; what did not succeed waits again, in its order."""
        if not batch:
            return
        self.busy = True
        failed = self._call(batch)
        self.busy = False
        back = {_number(record): record for record in batch if _number(record) in failed}
        waiting = {_number(record): record for record in self.waiting} | back
        self.waiting = sorted(waiting.values(), key=lambda record: int(_number(record)))
        given = {_number(record): record for record in [*self.given, *batch]}
        self.given = [record for number, record in given.items() if number not in waiting]

    def _call(self, batch: list[dict[str, Any]]) -> set[str]:
        """Call the function; return the numbers of the records that have to come again."""
        records = [json.loads(json.dumps(record, default=_text)) for record in batch]
        try:
            answer = self.call({"Records": records})
        except (BatchProcessingError, FunctionKilled):
            return {_number(record) for record in batch}
        return {each["itemIdentifier"] for each in answer["batchItemFailures"]}


class Streams:
    """Remembers what happens to tables, and tells listeners of it.

    Attributes
    ----------
    history
        Every change there was, the oldest first.
    records
        The same, as streams tell it.
    """

    def __init__(self, client: DynamoDBClient, tables: Mapping[str, str], clock: Clock) -> None:
        self._client = client
        self._names = {name: table for table, name in tables.items()}
        self._tables = tables
        self._clock = clock
        self._known: dict[Place, Item] = {}
        self._numbers = count(1)
        self.listeners: dict[str, list[Listener]] = {table: [] for table in tables}
        self.history: list[Change] = []
        self.records: list[dict[str, Any]] = []

    def wrote(self, operation: str, body: bytes) -> None:
        """Tell of what a request that took effect has changed."""
        places = {
            (self._names[table], key["pk"]["S"], key["sk"]["S"])
            for table, key in _written(operation, json.loads(body))
        }
        self.look_at(sorted(places))

    def look_at(self, places: Sequence[Place]) -> None:
        """Tell of what has changed at some places."""
        found = self._read(places)
        for place in places:
            old, new = self._known.get(place), found.get(place)
            if old == new:
                continue
            if new is None:
                del self._known[place]
            else:
                self._known[place] = new
            self._tell(Change(self._clock.now(), place, old, new))

    def _read(self, places: Sequence[Place]) -> dict[Place, Item]:
        if not places:
            return {}
        wanted: dict[str, Any] = {}
        for table, pk, sk in places:
            keys = wanted.setdefault(self._tables[table], {"Keys": [], "ConsistentRead": True})
            keys["Keys"].append({"pk": {"S": pk}, "sk": {"S": sk}})
        found = self._client.batch_get_item(RequestItems=wanted)
        assert not found["UnprocessedKeys"]
        return {
            (self._names[table], item["pk"]["S"], item["sk"]["S"]): dict(item)
            for table, items in found["Responses"].items()
            for item in items
        }

    def changes(self, table: str, sort_key: str, partition: str = "") -> Iterator[Change]:
        """Yield the changes of items of a table, by what their keys begin with."""
        for change in self.history:
            found, pk, sk = change.place
            if found == table and sk.startswith(sort_key) and pk.startswith(partition):
                yield change

    def _tell(self, change: Change) -> None:
        self.history.append(change)
        event = "INSERT" if change.before is None else "MODIFY" if change.after else "REMOVE"
        record = stream_record(next(self._numbers), event, before=change.before, after=change.after)
        self.records.append(record)
        for listener in self.listeners[change.table]:
            if listener.concerns(record):
                listener.waiting.append(record)


def _written(operation: str, asked: dict[str, Any]) -> Iterator[tuple[str, Item]]:
    """Yield the tables and keys of the items that a request writes."""
    match operation:
        case "PutItem":
            yield asked["TableName"], asked["Item"]
        case "UpdateItem" | "DeleteItem":
            yield asked["TableName"], asked["Key"]
        case "TransactWriteItems":
            for part in asked["TransactItems"]:
                for kind, write in part.items():
                    if kind != "ConditionCheck":
                        yield write["TableName"], write.get("Item") or write["Key"]
        case "BatchWriteItem":
            for table, writes in asked["RequestItems"].items():
                for write in writes:
                    ((_, what),) = write.items()
                    yield table, what.get("Item") or what["Key"]


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


def _place(record: Mapping[str, Any]) -> tuple[str, str]:
    keys = record["dynamodb"]["Keys"]
    return keys["pk"]["S"], keys["sk"]["S"]


def _number(record: Mapping[str, Any]) -> str:
    number: str = record["dynamodb"]["SequenceNumber"]
    return number


def _text(value: bytes) -> str:
    """Write bytes as Lambda's events do."""
    return base64.b64encode(value).decode()
