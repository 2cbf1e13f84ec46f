"""Closing periods in DynamoDB: what is read together, and the one transaction that closes.

A statement stands beside the counter it was written from. It is only ever put, never updated: its
existence is the durable proof that the period is closed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from flowstack_core.adapters.dynamodb_accounts import (
    clock_key,
    decode_customer,
    decode_subscription,
    decode_terms,
    encode_audit,
    encode_terms,
    profile_key,
    replace_subscription,
)
from flowstack_core.adapters.dynamodb_codec import (
    Item,
    batch_get,
    contention,
    instant_value,
    number,
    put_once,
    query,
    read_instant,
    read_integer,
    string,
    transact,
)
from flowstack_core.adapters.dynamodb_usage import (
    adjustments_key,
    counter_key,
    decode_usage,
    encode_usage,
    subscription_key,
)
from flowstack_core.domain.closing import Closing
from flowstack_core.domain.periods import Period
from flowstack_core.domain.plans import Tier
from flowstack_core.domain.quota import PeriodUsage
from flowstack_core.domain.statements import Line, LineKind, PlanChange, Statement
from flowstack_core.services.ports.accounts import AuditRecord
from flowstack_core.services.ports.closing import ClosingFacts
from flowstack_core.services.ports.failures import StoreContentionError

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

STATEMENT_PREFIX = "STATEMENT#"


# --- keys and items ------------------------------------------------------------------------


def statement_key(customer_id: str, period: Period) -> dict[str, Any]:
    """Return the key of a statement in the table of usage; it sorts as its period does."""
    return {
        "pk": string(f"CUSTOMER#{customer_id}"),
        "sk": string(f"{STATEMENT_PREFIX}{period.name}"),
    }


def encode_statement(statement: Statement) -> dict[str, Any]:
    """Write a statement. It has no time to live: statements are kept for good."""
    change = statement.plan_change
    item = {
        **statement_key(statement.customer_id, statement.period),
        "customer_id": string(statement.customer_id),
        "period": string(statement.period.name),
        "closed_at": instant_value(statement.closed_at),
        "tiers": {"L": [string(tier.value) for tier in statement.tiers]},
        "sessions_used": number(statement.sessions_used),
        "session_limit": number(statement.session_limit),
        "managed_sessions": number(statement.managed_sessions),
        "credited_sessions": number(statement.credited_sessions),
        "lines": string(json.dumps([_encode_line(line) for line in statement.lines])),
        "adjustments": _encode_adjustments(statement.adjustments),
        "total_cents": number(statement.total_cents),
    }
    if change is not None:
        item["plan_before"] = encode_terms(change.before)
        item["plan_after"] = encode_terms(change.after)
    return item


def decode_statement(item: Item) -> Statement:
    """Read a statement."""
    return Statement(
        customer_id=item["customer_id"]["S"],
        period=Period.parse(item["period"]["S"]),
        closed_at=read_instant(item, "closed_at"),
        tiers=tuple(Tier(tier["S"]) for tier in item["tiers"]["L"]),
        sessions_used=read_integer(item, "sessions_used"),
        session_limit=read_integer(item, "session_limit"),
        managed_sessions=read_integer(item, "managed_sessions"),
        credited_sessions=read_integer(item, "credited_sessions"),
        lines=tuple(_decode_line(line) for line in json.loads(item["lines"]["S"])),
        adjustments=_decode_adjustments(item["adjustments"]["M"]),
        plan_change=None
        if "plan_before" not in item
        else PlanChange(
            decode_terms(item["plan_before"]["M"]), decode_terms(item["plan_after"]["M"])
        ),
    )


def _encode_line(line: Line) -> list[Any]:
    return [line.kind.value, line.period.name, line.description, line.sessions, line.amount_cents]


def _decode_line(parts: list[Any]) -> Line:
    kind, period, description, sessions, amount_cents = parts
    return Line(LineKind(kind), Period.parse(period), description, sessions, amount_cents)


def _encode_adjustments(adjustments: Mapping[Period, int]) -> dict[str, Any]:
    return {"M": {period.name: number(change) for period, change in adjustments.items()}}


def _decode_adjustments(values: Item) -> dict[Period, int]:
    return {
        Period.parse(name): int(value["N"])
        for name, value in values.items()
        if name not in {"pk", "sk"}
    }


# --- requests ------------------------------------------------------------------------------


def fence_counter(table: str, basis: PeriodUsage | None, closed: PeriodUsage) -> dict[str, Any]:
    """Close the counter, if it still stands as the statement says.

    The subscription's version is part of that: terms that changed in the period changed it.
    """
    if basis is None:
        return put_once(table, encode_usage(closed))
    return {
        "Update": {
            "TableName": table,
            "Key": counter_key(basis.customer_id, basis.period),
            "UpdateExpression": "SET closed_at = :now",
            "ConditionExpression": (
                "attribute_not_exists(closed_at)"
                " AND sessions_used = :used AND managed_sessions = :managed"
                " AND session_limit = :limit AND credited_sessions = :credited"
                " AND price_cents = :price AND subscription_version = :version"
            ),
            "ExpressionAttributeValues": {
                ":now": encode_usage(closed)["closed_at"],
                ":used": number(basis.sessions_used),
                ":managed": number(basis.managed_sessions),
                ":limit": number(basis.session_limit),
                ":credited": number(basis.credited_sessions),
                ":price": number(basis.price_cents),
                ":version": number(basis.subscription_version),
            },
        }
    }


def take_adjustments(
    table: str, customer_id: str, adjustments: Mapping[Period, int]
) -> dict[str, Any]:
    """Take the adjustments that the statement carries, if they still stand so."""
    names = {f"#p{n}": period.name for n, period in enumerate(adjustments)}
    values = {f":a{n}": number(change) for n, change in enumerate(adjustments.values())}
    standing = " AND ".join(f"#p{n} = :a{n}" for n in range(len(adjustments)))
    return {
        "Update": {
            "TableName": table,
            "Key": adjustments_key(customer_id),
            "UpdateExpression": f"REMOVE {', '.join(names)}",
            "ConditionExpression": standing,
            "ExpressionAttributeNames": names,
            "ExpressionAttributeValues": values,
        }
    }


# --- the store -----------------------------------------------------------------------------


class DynamoDBClosingStore:
    """`flowstack_core.services.ports.closing.ClosingStore` on DynamoDB.

    Parameters
    ----------
    test_clocks
        Whether customers can have a test clock, whose offset is then read along.
    """

    def __init__(
        self, client: DynamoDBClient, usage_table: str, accounts_table: str, *, test_clocks: bool
    ) -> None:
        self._client = client
        self._usage_table = usage_table
        self._accounts_table = accounts_table
        self._test_clocks = test_clocks

    def facts(self, customer_ids: Sequence[str], period: Period) -> Mapping[str, ClosingFacts]:
        """Return the facts of each of the customers that exist, read together.

        Counters are read before subscriptions. A subscription that changed in the period changed
        its counter in the same transaction, so one that is older than its counter cannot be met.
        """
        usage = self._read(
            self._usage_table,
            [
                key
                for customer_id in customer_ids
                for key in (
                    counter_key(customer_id, period),
                    statement_key(customer_id, period),
                    statement_key(customer_id, period.previous()),
                    adjustments_key(customer_id),
                )
            ],
        )
        accounts = self._read(
            self._accounts_table,
            [key for customer_id in customer_ids for key in self._account_keys(customer_id)],
        )
        found = {}
        for customer_id in customer_ids:
            facts = _facts(customer_id, period, usage, accounts)
            if facts is not None:
                found[customer_id] = facts
        return found

    def close(self, closing: Closing, audit: AuditRecord | None) -> bool:
        """Write the statement, fence the counter, apply what waited: one transaction."""
        statement = closing.statement
        parts = [
            put_once(self._usage_table, encode_statement(statement)),
            fence_counter(self._usage_table, closing.basis, closing.usage),
        ]
        if statement.adjustments:
            parts.append(
                take_adjustments(self._usage_table, closing.customer_id, statement.adjustments)
            )
        if closing.subscription is not None:
            parts.append(replace_subscription(self._accounts_table, *closing.subscription))
        if audit is not None:
            parts.append(put_once(self._accounts_table, encode_audit(audit)))
        failed = transact(self._client, *parts, proof=0)
        if failed is None:
            return True
        if failed[0] is None:
            raise StoreContentionError("the period moved on while it was being closed")
        return False

    def statements(
        self, customer_id: str, limit: int, before: Period | None
    ) -> Sequence[Statement]:
        """Return the customer's newest statements first."""
        newest = "9999-12" if before is None else before.previous().name
        found = query(
            self._client,
            TableName=self._usage_table,
            KeyConditionExpression="pk = :customer AND sk BETWEEN :oldest AND :newest",
            ExpressionAttributeValues={
                ":customer": string(f"CUSTOMER#{customer_id}"),
                ":oldest": string(STATEMENT_PREFIX),
                ":newest": string(f"{STATEMENT_PREFIX}{newest}"),
            },
            ScanIndexForward=False,
            ConsistentRead=True,
            Limit=limit,
        )
        return [decode_statement(item) for item in islice(found, limit)]

    def statement(self, customer_id: str, period: Period) -> Statement | None:
        """Return one statement, read consistently."""
        with contention():
            found = self._client.get_item(
                TableName=self._usage_table,
                Key=statement_key(customer_id, period),
                ConsistentRead=True,
            )
        return decode_statement(found["Item"]) if "Item" in found else None

    def _account_keys(self, customer_id: str) -> list[dict[str, Any]]:
        keys = [profile_key(customer_id), subscription_key(customer_id)]
        return [*keys, clock_key(customer_id)] if self._test_clocks else keys

    def _read(self, table: str, keys: Sequence[dict[str, Any]]) -> dict[tuple[str, str], Item]:
        items = batch_get(self._client, table, keys)
        return {(item["pk"]["S"], item["sk"]["S"]): item for item in items}


def _facts(
    customer_id: str,
    period: Period,
    usage: Mapping[tuple[str, str], Item],
    accounts: Mapping[tuple[str, str], Item],
) -> ClosingFacts | None:
    """Put together what was read of a customer; ``None`` if there is no such customer."""
    profile = accounts.get(_place(profile_key(customer_id)))
    subscription = accounts.get(_place(subscription_key(customer_id)))
    if profile is None or subscription is None:
        return None
    counter = usage.get(_place(counter_key(customer_id, period)))
    clock = accounts.get(_place(clock_key(customer_id)))
    return ClosingFacts(
        customer=decode_customer(profile),
        subscription=decode_subscription(subscription),
        usage=None if counter is None else decode_usage(counter),
        closed=_place(statement_key(customer_id, period)) in usage,
        previous_closed=_place(statement_key(customer_id, period.previous())) in usage,
        adjustments=_decode_adjustments(usage.get(_place(adjustments_key(customer_id)), {})),
        clock_offset_seconds=0.0 if clock is None else float(clock["offset_seconds"]["N"]),
    )


def _place(key: Mapping[str, Any]) -> tuple[str, str]:
    return key["pk"]["S"], key["sk"]["S"]
