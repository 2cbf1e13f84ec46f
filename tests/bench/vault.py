"""Counts what the vault costs in DynamoDB, and how a query grows with its collection."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from itertools import count
from typing import Any

from mypy_boto3_dynamodb import DynamoDBClient

from flowstack_core.adapters.dynamodb_vault import encode_document
from flowstack_core.domain.vault import Document, collection_of, pack, place_of
from tests.bench.metering import Meter, Request
from tests.support.fakes import NOON
from tests.support.http_events import LambdaContext, http_event, response_of

ONE, MANY, COMPUTED = 1, 1_000, 100_000
FIRST_PAGE = "the first 30"
_BATCH = 25
_OK = 200
_TEXT = "The depot says that order 48213 left on Monday and is held at the border until Friday. "
_customers = count(1)


@dataclass(frozen=True, slots=True)
class Operation:
    """What one operation cost, by name and HTTP status."""

    name: str
    status: int
    requests: tuple[Request, ...]


@dataclass(frozen=True, slots=True)
class QueryCost:
    """What one query cost on a collection of ``ONE`` document and on one of ``MANY``."""

    one: Operation
    many: Operation


@dataclass(frozen=True, slots=True)
class VaultCosts:
    """All operations, and the queries by the size of their collection."""

    operations: tuple[Operation, ...]
    queries: tuple[QueryCost, ...]


class VaultBench:
    """Drives the vault function as customers do.

    Parameters
    ----------
    handler
        The function's.
    database
        Fills collections, unseen by the meter.
    """

    def __init__(
        self, handler: Callable[..., dict[str, Any]], database: DynamoDBClient, meter: Meter
    ) -> None:
        self._handler = handler
        self._database = database
        self._meter = meter

    def measure(self) -> VaultCosts:
        """Run every operation, each on documents of some hundred bytes."""
        return VaultCosts(self._operations(), self._queries())

    def _operations(self) -> tuple[Operation, ...]:
        customer_id = self._customer(ONE)
        place = {"collection": "c", "key": "k"}
        store = {**place, "data": _data(7)}
        new = {"collection": "c", "data": _data(7)}
        keyed = {"Idempotency-Key": "order-48213"}

        def act(name: str, method: str, path: str = "", **sent: Any) -> Operation:
            return self._act(name, customer_id, method, f"/datavault{path}", **sent)

        return (
            act("store", "POST", body=store),
            act("store if there is none; there is", "POST", body={**store, "if_absent": True}),
            act("get by key", "GET", query=place),
            act("change", "PUT", body={**place, "updates": {"$inc": {"n": 1}}}),
            act("store, Idempotency-Key", "POST", body=new, headers=keyed),
            act("its repeat", "POST", body=new, headers=keyed),
            act("delete", "DELETE", body=place),
            act("list the one collection", "GET", "/collections"),
        )

    def _queries(self) -> tuple[QueryCost, ...]:
        one, many = self._customer(ONE), self._customer(MANY)

        def ask(name: str, path: str, **fields: Any) -> QueryCost:
            body = {"collection": "c", **fields}
            return QueryCost(
                *(
                    self._act(name, customer_id, "POST", f"/datavault/{path}", body=body)
                    for customer_id in (one, many)
                )
            )

        return (
            ask(FIRST_PAGE, "query", limit=30),
            ask("the 30 newest, sorted", "query", limit=30, sort=[["n", -1]]),
            ask("what a filter finds", "query", filter={"n": 0}),
            ask("count", "count"),
            ask("count of what a filter finds", "count", filter={"n": {"$gte": 500}}),
        )

    def _customer(self, documents: int) -> str:
        """Return a customer with a collection of so many documents."""
        customer_id = f"cus_vault{next(_customers):06d}"
        collection = collection_of(customer_id, "c")
        items = [
            encode_document(
                Document(
                    place_of(collection, f"doc_{n:026d}"), pack(_data(n)), f"ver_{n:016d}", NOON
                )
            )
            for n in range(documents)
        ]
        for first in range(0, documents, _BATCH):
            batch = [{"PutRequest": {"Item": item}} for item in items[first : first + _BATCH]]
            self._database.batch_write_item(RequestItems={"vault": batch})  # type: ignore[dict-item]
        return customer_id

    def _act(
        self,
        name: str,
        customer_id: str,
        method: str,
        path: str,
        *,
        body: Any = None,
        query: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
    ) -> Operation:
        event = http_event(
            method,
            path,
            None if body is None else json.dumps(body),
            headers,
            {"customer_id": customer_id, "key_id": "key_bench", "tier": "free"},
            query,
        )
        with self._meter.recording() as requests, redirect_stdout(StringIO()):
            response = response_of(self._handler(event, LambdaContext()))
        if response.status not in {_OK, 412}:
            raise RuntimeError(f"{name} answered {response.status}: {response.body}")
        return Operation(name, response.status, tuple(requests))


def _data(number: int) -> dict[str, Any]:
    return {"n": number, "customer": f"{number:012d}", "tags": ["order", "late"], "text": _TEXT}
