"""Daily rollups in DynamoDB: a customer's days, and their parts by agent and route."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from typing import TYPE_CHECKING

from flowstack_core.adapters.dynamodb_codec import Item, query, string, unescaped
from flowstack_core.domain.rollups import DaySlice, DayTotal, Route, Talk

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


class DynamoDBRollupStore:
    """`flowstack_core.services.ports.RollupReader` on DynamoDB."""

    def __init__(self, client: DynamoDBClient, usage_table: str) -> None:
        self._client = client
        self._table = usage_table

    def days(self, customer_id: str, first: date, last: date) -> Sequence[DayTotal]:
        """Return the days on which anything started."""
        return [
            DayTotal(
                date.fromisoformat(item["sk"]["S"].removeprefix("DAY#")),
                _sum(item, "sessions"),
                _sum(item, "managed_sessions"),
                _talk(item, "managed_"),
                _talk(item, "byok_"),
            )
            for item in self._between(customer_id, f"DAY#{first}", f"DAY#{last}")
        ]

    def slices(self, customer_id: str, first: date, last: date) -> Iterator[DaySlice]:
        """Yield the same days' parts."""
        # "$" comes after the "#" that follows a day.
        for item in self._between(customer_id, f"SLICE#{first}#", f"SLICE#{last}$"):
            _, day, agent, payer, provider, model = item["sk"]["S"].split("#")
            route = Route(payer == "managed", unescaped(provider), unescaped(model))
            yield DaySlice(
                date.fromisoformat(day),
                unescaped(agent),
                route,
                _sum(item, "sessions"),
                _talk(item),
            )

    def _between(self, customer_id: str, first: str, last: str) -> Iterator[Item]:
        return query(
            self._client,
            TableName=self._table,
            KeyConditionExpression="pk = :pk AND sk BETWEEN :first AND :last",
            ExpressionAttributeValues={
                ":pk": string(f"ROLLUPS#{customer_id}"),
                ":first": string(first),
                ":last": string(last),
            },
        )


def _sum(item: Item, name: str) -> int:
    """Read a sum; what was never added to is not there."""
    return int(item[name]["N"]) if name in item else 0


def _talk(item: Item, prefix: str = "") -> Talk:
    return Talk(
        _sum(item, f"{prefix}messages"),
        _sum(item, f"{prefix}input_tokens"),
        _sum(item, f"{prefix}output_tokens"),
    )
