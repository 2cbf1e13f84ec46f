"""The daily rollups in DynamoDB, as they are read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

from flowstack_core.adapters.dynamodb_codec import Item, query, read_integer, string, unescaped
from flowstack_core.domain.rollups import DaySlice, DayTotal, Route, Talk

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


def _talk(item: Item, kind: str = "") -> Talk:
    return Talk(
        read_integer(item, f"{kind}messages"),
        read_integer(item, f"{kind}input_tokens"),
        read_integer(item, f"{kind}output_tokens"),
    )


def decode_total(item: Item) -> DayTotal:
    """Read a day's total."""
    return DayTotal(
        date.fromisoformat(item["sk"]["S"].split("#")[1]),
        read_integer(item, "sessions"),
        read_integer(item, "managed_sessions"),
        _talk(item, "managed_"),
        _talk(item, "byok_"),
    )


def decode_slice(item: Item) -> DaySlice:
    """Read a part of a day by agent and route; the key says which."""
    _, day, agent, way, provider, model = item["sk"]["S"].split("#")
    return DaySlice(
        date.fromisoformat(day),
        unescaped(agent),
        Route(way == "managed", unescaped(provider), unescaped(model)),
        read_integer(item, "sessions"),
        _talk(item),
    )


class DynamoDBRollupStore:
    """`flowstack_core.services.ports.RollupReader` on DynamoDB."""

    def __init__(self, client: DynamoDBClient, usage_table: str) -> None:
        self._client = client
        self._table = usage_table

    def days(self, customer_id: str, first: date, last: date) -> Sequence[DayTotal]:
        """Return the days on which anything started, the oldest first."""
        return [decode_total(item) for item in self._between(customer_id, "DAY", first, last)]

    def slices(self, customer_id: str, first: date, last: date) -> Iterator[DaySlice]:
        """Yield the same days' parts by agent and route."""
        yield from map(decode_slice, self._between(customer_id, "SLICE", first, last))

    def _between(self, customer_id: str, kind: str, first: date, last: date) -> Iterator[Item]:
        request: dict[str, Any] = {
            "TableName": self._table,
            "KeyConditionExpression": "pk = :rollups AND sk BETWEEN :first AND :last",
            "ExpressionAttributeValues": {
                ":rollups": string(f"ROLLUPS#{customer_id}"),
                ":first": string(f"{kind}#{first}"),
                # Behind everything of the last day: `~` sorts after `#`.
                ":last": string(f"{kind}#{last}~"),
            },
        }
        return query(self._client, **request)
