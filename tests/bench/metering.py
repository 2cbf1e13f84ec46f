"""Sees every DynamoDB request that a boto3 session's clients make, through botocore's events."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import boto3
from mypy_boto3_dynamodb import DynamoDBClient

from tests.bench.capacity import Indexes, Item, ItemWrite, Units, read_units, write_units

_SEEN_BEFORE = "items_before"
_PARAMETERS = "parameters"
_OF_COUNTS = frozenset({"Select", "FilterExpression", "ReturnConsumedCapacity"})
_WRITES = frozenset({"PutItem", "UpdateItem", "DeleteItem", "TransactWriteItems"})


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it was made.

    Attributes
    ----------
    operation
        DynamoDB's name for it.
    parts
        How many items it names; 1 but for transactions.
    refused
        Whether a condition failed, so that nothing was written.
    after_model
        Whether the model had been called.
    units
        Its capacity units by DynamoDB's rules.
    reported
        The units that the emulator itself reported; it reports none for refused requests.
    items_read
        How many items a read met: those that a query returned or left out, and each key of a get.
    asked
        What was asked for, in DynamoDB's own notation: another time it is another item.
    """

    operation: str
    parts: int
    refused: bool
    after_model: bool
    units: Units
    reported: float
    items_read: int
    asked: Mapping[str, Any] = field(compare=False, repr=False)

    @property
    def label(self) -> str:
        """Name the request for a table."""
        name = self.operation
        if self.operation == "TransactWriteItems":
            name += f" of {self.parts}"
        return name + (" (refused)" if self.refused else "")


class Meter:
    """Records the requests of a session's clients.

    Parameters
    ----------
    session
        Whose clients, made from now on, are seen.
    probe
        A client of another session, which reads the items before and after each write.
    model_calls
        Returns how often a model has been called so far.

    Attributes
    ----------
    probing_seconds
        How long the meter's own reads have taken so far.
    """

    def __init__(
        self,
        session: boto3.Session,
        probe: DynamoDBClient,
        indexes: Indexes,
        model_calls: Callable[[], int],
    ) -> None:
        self._probe = probe
        self._indexes = indexes
        self._model_calls = model_calls
        self._calls_at_start = 0
        self._requests: list[Request] | None = None
        self.probing_seconds = 0.0
        # The stubs know only handlers that return nothing; for this event the result counts.
        before: Any = self._before
        session.events.register("provide-client-params.dynamodb", before)
        session.events.register("after-call.dynamodb", self._after)

    @contextmanager
    def recording(self) -> Iterator[list[Request]]:
        """Collect the requests that are made meanwhile."""
        requests: list[Request] = []
        self._requests, self._calls_at_start = requests, self._model_calls()
        try:
            yield requests
        finally:
            self._requests = None

    def _before(
        self, params: dict[str, Any], model: Any, context: dict[str, Any], **_: Any
    ) -> dict[str, Any] | None:
        if self._requests is None:
            return None
        context[_PARAMETERS] = params
        context[_SEEN_BEFORE] = [self._item(part) for part in parts_of(model.name, params)]
        return {**params, "ReturnConsumedCapacity": "TOTAL"}

    def _after(self, parsed: dict[str, Any], model: Any, context: dict[str, Any], **_: Any) -> None:
        if self._requests is None:
            return
        params = context[_PARAMETERS]
        refused = "Error" in parsed
        self._requests.append(
            Request(
                operation=model.name,
                parts=len(parts_of(model.name, params)) or 1,
                refused=refused,
                after_model=self._model_calls() > self._calls_at_start,
                units=self._units(model.name, params, context[_SEEN_BEFORE], parsed),
                reported=0.0 if refused else _reported(parsed),
                items_read=_items_read(model.name, params, parsed),
                asked=params,
            )
        )

    def _units(
        self,
        operation: str,
        params: dict[str, Any],
        before: list[Item | None],
        parsed: dict[str, Any],
    ) -> Units:
        if operation == "BatchGetItem":
            return Units(read=_batch_read_units(params, parsed))
        if operation not in _WRITES:
            items = self._read(operation, params, parsed)
            consistent = params.get("ConsistentRead", False)
            return Units(read=read_units(items, consistent=consistent))
        writes = [
            ItemWrite(part["TableName"], old, self._item(part), part.get("Item"))
            for part, old in zip(parts_of(operation, params), before, strict=True)
        ]
        transactional = operation == "TransactWriteItems"
        return Units(
            write=sum(
                write_units(write, self._indexes, transactional=transactional) for write in writes
            )
        )

    def _read(
        self, operation: str, params: dict[str, Any], parsed: dict[str, Any]
    ) -> list[Item | None]:
        """Return the items that were read; a count does not return those it counted."""
        if operation != "Query":
            return [parsed.get("Item")]
        if params.get("Select") != "COUNT":
            return list(parsed["Items"])
        counted = {name: each for name, each in params.items() if name not in _OF_COUNTS}
        values = dict(params["ExpressionAttributeValues"])
        values.pop(":now")
        with self._probing():
            read = self._probe.query(**{**counted, "ExpressionAttributeValues": values})
        return list(read["Items"])

    def _item(self, part: Mapping[str, Any]) -> Item | None:
        with self._probing():
            found = self._probe.get_item(
                TableName=part["TableName"], Key=key_of(part), ConsistentRead=True
            )
        return found.get("Item")

    @contextmanager
    def _probing(self) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.probing_seconds += time.perf_counter() - began


def key_of(part: Mapping[str, Any]) -> dict[str, Any]:
    """Return the key of the item that a request, or a part of one, is about."""
    return part.get("Key") or {name: part["Item"][name] for name in ("pk", "sk")}


def parts_of(operation: str, params: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the single writes that a request consists of."""
    if operation == "TransactWriteItems":
        return [next(iter(action.values())) for action in params["TransactItems"]]
    return [params] if operation in _WRITES else []


def _items_read(operation: str, params: Mapping[str, Any], parsed: Mapping[str, Any]) -> int:
    if operation == "BatchGetItem":
        return sum(len(asked["Keys"]) for asked in params["RequestItems"].values())
    if operation == "GetItem":
        return 1
    # What finds its items by itself says how many it looked at.
    return int(parsed.get("ScannedCount", 0))


def _batch_read_units(params: Mapping[str, Any], parsed: Mapping[str, Any]) -> float:
    """Return the units of reading items by their keys, each item for itself."""
    units = 0.0
    for table, asked in params["RequestItems"].items():
        found = parsed["Responses"].get(table, [])
        missing = [None] * (len(asked["Keys"]) - len(found))
        consistent = asked.get("ConsistentRead", False)
        units += sum(read_units([item], consistent=consistent) for item in (*found, *missing))
    return units


def _reported(parsed: dict[str, Any]) -> float:
    consumed = parsed.get("ConsumedCapacity", [])
    tables = consumed if isinstance(consumed, list) else [consumed]
    return float(sum(table["CapacityUnits"] for table in tables))
