"""The daily rollups in DynamoDB, as they are read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

from flowstack_core.adapters.dynamodb_codec import Item, escaped, query, string, unescaped
from flowstack_core.domain.rollups import DaySlice, DayTotal, Route, Talk

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_MANAGED, _BYOK = "managed", "byok"


def slice_key(customer_id: str, part: DaySlice) -> dict[str, Any]:
    """Return the key of a slice."""
    route = part.route
    payer = _MANAGED if route.managed else _BYOK
    names = "#".join(escaped(name) for name in (part.agent, payer, route.provider, route.model))
    return {"pk": string(f"ROLLUPS#{customer_id}"), "sk": string(f"SLICE#{part.day}#{names}")}


def encode_slice(part: DaySlice) -> dict[str, int]:
    """Return the sums of a slice by the names of their attributes."""
    return {
        "sessions": part.sessions,
        "messages": part.talk.messages,
        "input_tokens": part.talk.input_tokens,
        "output_tokens": part.talk.output_tokens,
    }


def decode_total(item: Item) -> DayTotal:
    """Read a day's total."""
    return DayTotal(
        date.fromisoformat(item["sk"]["S"].removeprefix("DAY#")),
        _sum(item, "sessions"),
        _sum(item, "managed_sessions"),
        _decode_talk(item, f"{_MANAGED}_"),
        _decode_talk(item, f"{_BYOK}_"),
    )


def decode_slice(item: Item) -> DaySlice:
    """Read a slice; what it is of stands in its key."""
    _, day, agent, payer, provider, model = item["sk"]["S"].split("#")
    return DaySlice(
        date.fromisoformat(day),
        unescaped(agent),
        Route(payer == _MANAGED, unescaped(provider), unescaped(model)),
        _sum(item, "sessions"),
        _decode_talk(item),
    )


def _decode_talk(item: Item, prefix: str = "") -> Talk:
    return Talk(
        _sum(item, f"{prefix}messages"),
        _sum(item, f"{prefix}input_tokens"),
        _sum(item, f"{prefix}output_tokens"),
    )


def _sum(item: Item, name: str) -> int:
    """Read a sum; what was never added to is not there."""
    return int(item[name]["N"]) if name in item else 0


class DynamoDBRollupStore:
    """`flowstack_core.services.ports.RollupReader` on DynamoDB."""

    def __init__(self, client: DynamoDBClient, usage_table: str) -> None:
        self._client = client
        self._table = usage_table

    def days(self, customer_id: str, first: date, last: date) -> Sequence[DayTotal]:
        """Return the days on which anything started, the oldest first."""
        found = self._between(customer_id, f"DAY#{first}", f"DAY#{last}")
        return [decode_total(item) for item in found]

    def slices(self, customer_id: str, first: date, last: date) -> Iterator[DaySlice]:
        """Yield the same days' parts by agent and route, the oldest day first."""
        # The sign after the "#" that follows a day in a key.
        yield from map(
            decode_slice, self._between(customer_id, f"SLICE#{first}#", f"SLICE#{last}$")
        )

    def _between(self, customer_id: str, first: str, last: str) -> Iterator[Item]:
        return query(
            self._client,
            TableName=self._table,
            KeyConditionExpression="pk = :rollups AND sk BETWEEN :first AND :last",
            ExpressionAttributeValues={
                ":rollups": string(f"ROLLUPS#{customer_id}"),
                ":first": string(first),
                ":last": string(last),
            },
        )
