"""Margins in DynamoDB: the daily runs and their reports, and the counters of many customers.

A run and its report are one item each, however many customers there are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from flowstack_core.adapters.dynamodb_accounts import decode_subscription
from flowstack_core.adapters.dynamodb_codec import (
    Item,
    batch_get,
    contention,
    epoch_value,
    instant_value,
    number,
    read_instant,
    read_integer,
    read_optional_instant,
    string,
    transact,
)
from flowstack_core.adapters.dynamodb_usage import counter_key, decode_usage, subscription_key
from flowstack_core.domain.margin import ManagedUse, Margin, MarginRun, MarginTotals, TierTotal
from flowstack_core.domain.periods import Period
from flowstack_core.domain.plans import Tier
from flowstack_core.domain.quota import PeriodUsage
from flowstack_core.domain.rollups import Talk

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_RETENTION = timedelta(days=400)
"""How long after its period a report can be looked at."""


# --- keys and items ------------------------------------------------------------------------


def margins_key(period: Period, kind: str) -> dict[str, Any]:
    """Return the key of a period's ``RUN`` or ``REPORT``."""
    return {"pk": string(f"MARGINS#{period.name}"), "sk": string(kind)}


def encode_run(run: MarginRun, kind: str) -> dict[str, Any]:
    """Write a run, as itself or as a report."""
    item = {
        **margins_key(run.period, kind),
        "period": string(run.period.name),
        "run_day": string(run.day.isoformat()),
        "share_percent": number(run.share_percent),
        "started_at": instant_value(run.started_at),
        "step": number(run.step),
        "tiers": {
            "M": {tier.value: _encode_total(total) for tier, total in run.totals.tiers.items()}
        },
        "exceeding": number(run.totals.exceeding),
        "worst": {"L": [_encode_margin(margin) for margin in run.totals.worst]},
        "ttl": epoch_value(run.period.end + _RETENTION),
    }
    if run.cursor is not None:
        item["cursor"] = string(run.cursor)
    if run.finished_at is not None:
        item["finished_at"] = instant_value(run.finished_at)
    return item


def decode_run(item: Item) -> MarginRun:
    """Read a run or a report."""
    return MarginRun(
        period=Period.parse(item["period"]["S"]),
        day=date.fromisoformat(item["run_day"]["S"]),
        share_percent=read_integer(item, "share_percent"),
        started_at=read_instant(item, "started_at"),
        step=read_integer(item, "step"),
        cursor=item["cursor"]["S"] if "cursor" in item else None,
        totals=MarginTotals(
            tiers={
                Tier(tier): _decode_total(total["M"]) for tier, total in item["tiers"]["M"].items()
            },
            exceeding=read_integer(item, "exceeding"),
            worst=tuple(_decode_margin(margin["M"]) for margin in item["worst"]["L"]),
        ),
        finished_at=read_optional_instant(item, "finished_at"),
    )


def _encode_total(total: TierTotal) -> dict[str, Any]:
    return {
        "M": {
            "customers": number(total.customers),
            "revenue_cents": number(total.revenue_cents),
            **_encode_use(total.use),
        }
    }


def _decode_total(item: Item) -> TierTotal:
    return TierTotal(
        read_integer(item, "customers"), read_integer(item, "revenue_cents"), _decode_use(item)
    )


def _encode_margin(margin: Margin) -> dict[str, Any]:
    return {
        "M": {
            "customer_id": string(margin.customer_id),
            "tier": string(margin.tier.value),
            "revenue_cents": number(margin.revenue_cents),
            **_encode_use(margin.use),
        }
    }


def _decode_margin(item: Item) -> Margin:
    return Margin(
        item["customer_id"]["S"],
        Tier(item["tier"]["S"]),
        read_integer(item, "revenue_cents"),
        _decode_use(item),
    )


def _encode_use(use: ManagedUse) -> dict[str, Any]:
    return {
        "cost": {"N": f"{use.cost:f}"},
        "managed": _encode_talk(use.talk),
        "unpriced": _encode_talk(use.unpriced),
    }


def _decode_use(item: Item) -> ManagedUse:
    return ManagedUse(
        Decimal(item["cost"]["N"]),
        _decode_talk(item["managed"]["M"]),
        _decode_talk(item["unpriced"]["M"]),
    )


def _encode_talk(talk: Talk) -> dict[str, Any]:
    return {
        "M": {
            "messages": number(talk.messages),
            "input_tokens": number(talk.input_tokens),
            "output_tokens": number(talk.output_tokens),
        }
    }


def _decode_talk(item: Item) -> Talk:
    return Talk(
        read_integer(item, "messages"),
        read_integer(item, "input_tokens"),
        read_integer(item, "output_tokens"),
    )


# --- requests ------------------------------------------------------------------------------


def begin_run(table: str, run: MarginRun) -> dict[str, Any]:
    """Put a run where there is none, or one of an earlier day."""
    return {
        "Put": {
            "TableName": table,
            "Item": encode_run(run, "RUN"),
            "ConditionExpression": "attribute_not_exists(pk) OR run_day < :day",
            "ExpressionAttributeValues": {":day": string(run.day.isoformat())},
        }
    }


def move_run(table: str, before: MarginRun, after: MarginRun) -> dict[str, Any]:
    """Move a run on, if it is still this day's and nobody did the step before."""
    return {
        "Put": {
            "TableName": table,
            "Item": encode_run(after, "RUN"),
            "ConditionExpression": (
                "run_day = :day AND step = :step AND attribute_not_exists(finished_at)"
            ),
            "ExpressionAttributeValues": {
                ":day": string(before.day.isoformat()),
                ":step": number(before.step),
            },
        }
    }


# --- stores --------------------------------------------------------------------------------


class DynamoDBMarginStore:
    """`flowstack_core.services.ports.margins.MarginStore` on DynamoDB."""

    def __init__(self, client: DynamoDBClient, usage_table: str) -> None:
        self._client = client
        self._table = usage_table

    def run(self, period: Period) -> MarginRun | None:
        """Return the run of a period that was begun last, read consistently."""
        return self._get(period, "RUN")

    def begin(self, run: MarginRun) -> bool:
        """Put a run in the place of one of an earlier day; ``False`` if there is none such."""
        return transact(self._client, begin_run(self._table, run)) is None

    def advance(self, before: MarginRun, after: MarginRun) -> bool:
        """Do a step; where that finishes the run, it becomes the report, both or neither."""
        report = {"Put": {"TableName": self._table, "Item": encode_run(after, "REPORT")}}
        finished = [] if after.finished_at is None else [report]
        return transact(self._client, move_run(self._table, before, after), *finished) is None

    def report(self, period: Period) -> MarginRun | None:
        """Return the run of a period that was finished last, read consistently."""
        return self._get(period, "REPORT")

    def _get(self, period: Period, kind: str) -> MarginRun | None:
        with contention():
            found = self._client.get_item(
                TableName=self._table, Key=margins_key(period, kind), ConsistentRead=True
            )
        return decode_run(found["Item"]) if "Item" in found else None


class DynamoDBCounterReader:
    """`flowstack_core.services.ports.usage.CounterReader` on DynamoDB."""

    def __init__(self, client: DynamoDBClient, usage_table: str, accounts_table: str) -> None:
        self._client = client
        self._usage_table = usage_table
        self._accounts_table = accounts_table

    def counters(self, customer_ids: Sequence[str], period: Period) -> Mapping[str, PeriodUsage]:
        """Return each customer's counter under its subscription, whether it was opened or not."""
        keys = [counter_key(customer_id, period) for customer_id in customer_ids]
        found = batch_get(self._client, self._usage_table, keys)
        opened = {usage.customer_id: usage for usage in map(decode_usage, found)}
        keys = [subscription_key(customer_id) for customer_id in customer_ids]
        found = batch_get(self._client, self._accounts_table, keys)
        return {
            subscription.customer_id: PeriodUsage.standing(
                opened.get(subscription.customer_id), subscription, period
            )
            for subscription in map(decode_subscription, found)
        }
