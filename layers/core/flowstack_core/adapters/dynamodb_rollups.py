"""Daily rollups in DynamoDB.

A customer's rollups are one partition of the usage table: a total of each day, and slices of it by
agent and route. What of a session is in them stands on the session's record in the sessions table.
Both are written in one transaction, which the record's condition lets through once: adding is made
safe to repeat, to reorder and to do from two places by what is known, not by who was told what.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

from flowstack_core.adapters.dynamodb_codec import (
    Item,
    batch_get,
    epoch_value,
    escaped,
    number,
    query,
    string,
    transact,
    unescaped,
)
from flowstack_core.adapters.dynamodb_sessions import decode_record, record_key
from flowstack_core.adapters.dynamodb_talk import (
    OPENED_BY,
    encode_talk,
    named,
    opened_by_value,
)
from flowstack_core.domain.rollups import (
    DaySlice,
    DayTotal,
    Route,
    Talk,
    day_totals,
    merged,
    total_of,
)
from flowstack_core.domain.sessions import Growth, Session, SessionRecord

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

ROLLUP_RETENTION = timedelta(days=800)
"""How long a day is remembered: 24 months, and some time to look at them."""

_KNOWN = "rolled_up_messages"
_MANAGED, _BYOK = "managed", "byok"


# --- items ---------------------------------------------------------------------------------


def rollups_partition(customer_id: str) -> dict[str, str]:
    """Return the partition of a customer's rollups."""
    return string(f"ROLLUPS#{customer_id}")


def day_key(customer_id: str, day: date) -> dict[str, Any]:
    """Return the key of a day's total."""
    return {"pk": rollups_partition(customer_id), "sk": string(f"DAY#{day}")}


def slice_key(customer_id: str, part: DaySlice) -> dict[str, Any]:
    """Return the key of a slice."""
    route = part.route
    payer = _MANAGED if route.managed else _BYOK
    names = "#".join(escaped(name) for name in (part.agent, payer, route.provider, route.model))
    return {"pk": rollups_partition(customer_id), "sk": string(f"SLICE#{part.day}#{names}")}


def encode_total(total: DayTotal) -> dict[str, int]:
    """Return the sums of a day's total by the names of their attributes."""
    return {
        "sessions": total.sessions,
        "managed_sessions": total.managed_sessions,
        **_encode_talk(total.managed, f"{_MANAGED}_"),
        **_encode_talk(total.byok, f"{_BYOK}_"),
    }


def encode_slice(part: DaySlice) -> dict[str, int]:
    """Return the sums of a slice by the names of their attributes."""
    return {"sessions": part.sessions, **_encode_talk(part.talk)}


def _encode_talk(talk: Talk, prefix: str = "") -> dict[str, int]:
    return {
        f"{prefix}messages": talk.messages,
        f"{prefix}input_tokens": talk.input_tokens,
        f"{prefix}output_tokens": talk.output_tokens,
    }


def decode_total(item: Item) -> DayTotal:
    """Read a day's total."""
    return DayTotal(
        day=date.fromisoformat(item["sk"]["S"].removeprefix("DAY#")),
        sessions=_sum(item, "sessions"),
        managed_sessions=_sum(item, "managed_sessions"),
        managed=_decode_talk(item, f"{_MANAGED}_"),
        byok=_decode_talk(item, f"{_BYOK}_"),
    )


def decode_slice(item: Item) -> DaySlice:
    """Read a slice; what it is of stands in its key."""
    _, day, agent, payer, provider, model = item["sk"]["S"].split("#")
    return DaySlice(
        day=date.fromisoformat(day),
        agent=unescaped(agent),
        route=Route(payer == _MANAGED, unescaped(provider), unescaped(model)),
        sessions=_sum(item, "sessions"),
        talk=_decode_talk(item),
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


# --- requests ------------------------------------------------------------------------------


def note_on_record(table: str, growth: Growth) -> dict[str, Any]:
    """Note on a session's record what is in the rollups from now on.

    The record exists (an erased customer's does not), was not released (S5), and knows what it
    knew when it was read: what is added to the rollups beside this is added once.
    """
    session, known = growth.session, total_of(growth.record.rolled_up).messages
    sums: dict[str, Any] = {_KNOWN: number(session.talk.messages)}
    for route, talk in session.said.items():
        if talk != growth.record.rolled_up.get(route):
            sums |= encode_talk(route, talk)
    if session.opened_by is not None and not known:
        sums[OPENED_BY] = opened_by_value(session.opened_by)
    names, values, pairs = named(sums)
    as_read = f"{_KNOWN} = :known" if known else f"attribute_not_exists({_KNOWN})"
    return {
        "Update": {
            "TableName": table,
            "Key": record_key(session.conversation.customer_id, session.period, session.session_id),
            "UpdateExpression": f"SET {', '.join(f'{name} = {value}' for name, value in pairs)}",
            "ConditionExpression": (
                f"attribute_exists(pk) AND attribute_not_exists(released_at) AND {as_read}"
            ),
            "ExpressionAttributeNames": names,
            "ExpressionAttributeValues": {**values, **({":known": number(known)} if known else {})},
        }
    }


def add_sums(
    table: str, key: Mapping[str, Any], day: date, sums: Mapping[str, int]
) -> dict[str, Any]:
    """Add to an item of the rollups; the first addition makes it."""
    added = {name: number(amount) for name, amount in sums.items() if amount}
    names, values, pairs = named(added)
    return {
        "Update": {
            "TableName": table,
            "Key": dict(key),
            "UpdateExpression": (
                f"SET #ttl = :ttl ADD {', '.join(f'{name} {value}' for name, value in pairs)}"
            ),
            "ExpressionAttributeNames": {"#ttl": "ttl", **names},
            "ExpressionAttributeValues": {":ttl": rollup_ttl(day), **values},
        }
    }


def rollup_ttl(day: date) -> dict[str, str]:
    """Return until when a day is kept."""
    return epoch_value(datetime.combine(day, time(), UTC) + ROLLUP_RETENTION)


# --- the store -----------------------------------------------------------------------------


class DynamoDBRollupStore:
    """`flowstack_core.services.ports.rollups.RollupStore` on DynamoDB."""

    def __init__(self, client: DynamoDBClient, usage_table: str, sessions_table: str) -> None:
        self._client = client
        self._usage_table = usage_table
        self._sessions_table = sessions_table

    def days(self, customer_id: str, first: date, last: date) -> Sequence[DayTotal]:
        """Return the days on which anything started, the oldest first."""
        found = self._between(customer_id, f"DAY#{first}", f"DAY#{last}")
        return [decode_total(item) for item in found]

    def slices(self, customer_id: str, first: date, last: date) -> Iterator[DaySlice]:
        """Yield the same days' parts, the oldest day first."""
        # The sign after the "#" that follows a day in a key.
        for item in self._between(customer_id, f"SLICE#{first}#", f"SLICE#{last}$"):
            yield decode_slice(item)

    def _between(self, customer_id: str, first: str, last: str) -> Iterator[Item]:
        return query(
            self._client,
            TableName=self._usage_table,
            KeyConditionExpression="pk = :pk AND sk BETWEEN :first AND :last",
            ExpressionAttributeValues={
                ":pk": rollups_partition(customer_id),
                ":first": string(first),
                ":last": string(last),
            },
        )

    def records_of(self, sessions: Sequence[Session]) -> Mapping[str, SessionRecord]:
        """Return the sessions' records by session id; some may be gone."""
        wanted = {session.session_id: session for session in sessions}
        keys = [
            record_key(session.conversation.customer_id, session.period, session.session_id)
            for session in wanted.values()
        ]
        found: dict[str, SessionRecord] = {}
        for item in batch_get(self._client, self._sessions_table, keys):
            session = wanted[item["sk"]["S"]]
            found[session.session_id] = decode_record(
                item, session.conversation.customer_id, session.period
            )
        return found

    def add(self, growths: Sequence[Growth]) -> bool:
        """Add sessions of one customer and day: one transaction."""
        customer_id = growths[0].session.conversation.customer_id
        slices = merged(part for growth in growths for part in growth.slices())
        failed = transact(
            self._client,
            *(note_on_record(self._sessions_table, growth) for growth in growths),
            *self._additions(customer_id, slices),
        )
        return failed is None

    def _additions(self, customer_id: str, slices: Iterable[DaySlice]) -> Iterator[dict[str, Any]]:
        parts = list(slices)
        for total in day_totals(parts):
            key = day_key(customer_id, total.day)
            yield add_sums(self._usage_table, key, total.day, encode_total(total))
        for part in parts:
            key = slice_key(customer_id, part)
            yield add_sums(self._usage_table, key, part.day, encode_slice(part))
