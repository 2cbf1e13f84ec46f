"""The counters in DynamoDB: one item a customer and period, with the entitlement it enforces."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flowstack_core.adapters.dynamodb_codec import (
    Item,
    contention,
    flag,
    instant_value,
    number,
    put_once,
    read_instant,
    read_integer,
    read_optional_instant,
    string,
    transact,
)
from flowstack_core.domain.own_limits import CeilingAction, CeilingReached
from flowstack_core.domain.periods import Period
from flowstack_core.domain.plans import Tier
from flowstack_core.domain.quota import PeriodUsage
from flowstack_core.domain.sessions import Session
from flowstack_core.domain.subscriptions import Subscription

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


COUNTER_PREFIX = "PERIOD#"


def counter_key(customer_id: str, period: Period) -> dict[str, Any]:
    """Return the key of a counter. The period is part of it: a new one starts at zero (Q3)."""
    return {
        "pk": string(f"CUSTOMER#{customer_id}"),
        "sk": string(f"{COUNTER_PREFIX}{period.name}"),
    }


def subscription_key(customer_id: str) -> dict[str, Any]:
    """Return the key of a subscription in the table of accounts."""
    return {"pk": string(f"CUSTOMER#{customer_id}"), "sk": string("SUBSCRIPTION")}


def encode_usage(usage: PeriodUsage) -> dict[str, Any]:
    """Write a counter."""
    item = {
        **counter_key(usage.customer_id, usage.period),
        "customer_id": string(usage.customer_id),
        "period": string(usage.period.name),
        "sessions_used": number(usage.sessions_used),
        "session_limit": number(usage.session_limit),
        "credited_sessions": number(usage.credited_sessions),
        "managed_sessions": number(usage.managed_sessions),
        "managed_models": flag(usage.managed_models),
        "tier": string(usage.tier.value),
        "tiers": {"SS": sorted(tier.value for tier in usage.tiers)},
        "price_cents": number(usage.price_cents),
        "subscription_version": number(usage.subscription_version),
    }
    if usage.closed_at is not None:
        item["closed_at"] = instant_value(usage.closed_at)
    if usage.budget_told_at is not None:
        item["budget_told_at"] = instant_value(usage.budget_told_at)
    if usage.budget_block is not None:
        item["budget_block"] = encode_reached(usage.budget_block)
    return item


def encode_reached(reached: CeilingReached) -> dict[str, Any]:
    """Write a ceiling that was reached, as a part of an item."""
    return {
        "M": {
            "at": instant_value(reached.at),
            "ceiling_cents": number(reached.ceiling_cents),
            "spent_cents": number(reached.spent_cents),
            "action": string(reached.action.value),
        }
    }


def decode_reached(item: Item) -> CeilingReached:
    """Read a ceiling that was reached."""
    return CeilingReached(
        at=read_instant(item, "at"),
        ceiling_cents=read_integer(item, "ceiling_cents"),
        spent_cents=read_integer(item, "spent_cents"),
        action=CeilingAction(item["action"]["S"]),
    )


def decode_usage(item: Item) -> PeriodUsage:
    """Read a counter."""
    return PeriodUsage(
        customer_id=item["customer_id"]["S"],
        period=Period.parse(item["period"]["S"]),
        sessions_used=read_integer(item, "sessions_used"),
        session_limit=read_integer(item, "session_limit"),
        credited_sessions=read_integer(item, "credited_sessions"),
        managed_models=item["managed_models"]["BOOL"],
        tier=Tier(item["tier"]["S"]),
        price_cents=read_integer(item, "price_cents"),
        subscription_version=read_integer(item, "subscription_version"),
        managed_sessions=read_integer(item, "managed_sessions"),
        tiers=frozenset(Tier(tier) for tier in item["tiers"]["SS"]),
        closed_at=read_optional_instant(item, "closed_at"),
        budget_told_at=read_optional_instant(item, "budget_told_at"),
        budget_block=decode_reached(item["budget_block"]["M"]) if "budget_block" in item else None,
    )


def adjustments_key(customer_id: str) -> dict[str, Any]:
    """Return the key of what became known of closed periods and is on no statement yet."""
    return {"pk": string(f"CUSTOMER#{customer_id}"), "sk": string("ADJUSTMENTS")}


def count_start(table: str, customer_id: str, period: Period, *, managed: bool) -> dict[str, Any]:
    """Count one session: the period is open, it may start (Q1), managed models included (P4).

    The customer's own ceiling does not keep it from starting.
    """
    condition = (
        "attribute_exists(pk) AND sessions_used < session_limit AND attribute_not_exists(closed_at)"
        " AND attribute_not_exists(budget_block)"
    )
    values: dict[str, Any] = {":one": number(1)}
    if managed:
        condition += " AND managed_models = :yes"
        values[":yes"] = flag(True)
    return {
        "Update": {
            "TableName": table,
            "Key": counter_key(customer_id, period),
            "UpdateExpression": _counting(":one", managed=managed),
            "ConditionExpression": condition,
            "ExpressionAttributeValues": values,
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
    }


def count_release(table: str, session: Session, *, late: bool) -> dict[str, Any]:
    """Take one session back (S5). A last guard: a count is never negative.

    Parameters
    ----------
    late
        Whether the session's period is closed: then an adjustment has to go with it.
    """
    closed = "attribute_exists(closed_at)" if late else "attribute_not_exists(closed_at)"
    return {
        "Update": {
            "TableName": table,
            "Key": counter_key(session.conversation.customer_id, session.period),
            "UpdateExpression": _counting(":minus_one", managed=session.managed),
            "ConditionExpression": f"sessions_used > :zero AND {closed}",
            "ExpressionAttributeValues": {":minus_one": number(-1), ":zero": number(0)},
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
    }


def adjust(table: str, session: Session) -> dict[str, Any]:
    """Leave for the next statement that a closed period has one session less."""
    return {
        "Update": {
            "TableName": table,
            "Key": adjustments_key(session.conversation.customer_id),
            "UpdateExpression": "ADD #period :minus_one",
            "ExpressionAttributeNames": {"#period": session.period.name},
            "ExpressionAttributeValues": {":minus_one": number(-1)},
        }
    }


def _counting(change: str, *, managed: bool) -> str:
    return f"ADD sessions_used {change}" + (f", managed_sessions {change}" if managed else "")


def counter_not_opened(table: str, customer_id: str, period: Period) -> dict[str, Any]:
    """Check that a period has not begun for a customer."""
    return {
        "ConditionCheck": {
            "TableName": table,
            "Key": counter_key(customer_id, period),
            "ConditionExpression": "attribute_not_exists(pk)",
        }
    }


def managed_included(table: str, customer_id: str, period: Period) -> dict[str, Any]:
    """Check that the entitlement in force includes managed models (P4)."""
    return {
        "ConditionCheck": {
            "TableName": table,
            "Key": counter_key(customer_id, period),
            "ConditionExpression": "managed_models = :yes",
            "ExpressionAttributeValues": {":yes": flag(True)},
        }
    }


def counter_open(
    table: str, subscription: Subscription, period: Period, before: Subscription
) -> dict[str, Any]:
    """Open a counter under the subscription.

    Parameters
    ----------
    before
        What the subscription was when the period began: its tier was in force too (P5).
    """
    return put_once(table, encode_usage(PeriodUsage.opened(before, period).under(subscription)))


def counter_raise(table: str, subscription: Subscription, current: PeriodUsage) -> dict[str, Any]:
    """Bring a counter's entitlement up to the subscription; the count is kept (P1).

    Parameters
    ----------
    current
        The counter as it was read. The price of the period is that of the highest tier in force
        during it (P5), and DynamoDB knows no maximum: which of the two prices that is, is decided
        from ``current`` and made sure of by the condition.
    """
    terms = subscription.terms_in(current.period)
    sets = [
        "session_limit = credited_sessions + :limit",
        "managed_models = :managed",
        "tier = :tier",
        "subscription_version = :version",
    ]
    if current.price_cents > terms.price_cents:
        price_condition = "price_cents > :price"
    else:
        price_condition = "price_cents <= :price"
        sets.append("price_cents = :price")
    return {
        "Update": {
            "TableName": table,
            "Key": counter_key(subscription.customer_id, current.period),
            "UpdateExpression": f"SET {', '.join(sets)} ADD tiers :tiers",
            "ConditionExpression": (
                "subscription_version < :version"
                f" AND attribute_not_exists(closed_at) AND {price_condition}"
            ),
            "ExpressionAttributeValues": {
                ":limit": number(terms.session_limit),
                ":managed": flag(terms.managed_models),
                ":tier": string(terms.tier.value),
                ":tiers": {"SS": [terms.tier.value]},
                ":version": number(subscription.version),
                ":price": number(terms.price_cents),
            },
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
    }


def subscription_unchanged(table: str, subscription: Subscription) -> dict[str, Any]:
    """Check that the subscription still has the version that a counter is brought up to."""
    return {
        "ConditionCheck": {
            "TableName": table,
            "Key": subscription_key(subscription.customer_id),
            "ConditionExpression": "version = :version",
            "ExpressionAttributeValues": {":version": number(subscription.version)},
        }
    }


class DynamoDBUsageStore:
    """`flowstack_core.services.ports.usage.UsageStore` on DynamoDB."""

    def __init__(self, client: DynamoDBClient, usage_table: str, accounts_table: str) -> None:
        self._client = client
        self._usage_table = usage_table
        self._accounts_table = accounts_table

    def period_usage(self, customer_id: str, period: Period) -> PeriodUsage | None:
        """Return the counter, read consistently."""
        with contention():
            found = self._client.get_item(
                TableName=self._usage_table,
                Key=counter_key(customer_id, period),
                ConsistentRead=True,
            )
        return decode_usage(found["Item"]) if "Item" in found else None

    def open_period(self, subscription: Subscription, period: Period) -> bool:
        """Open the period, or bring its entitlement up to the subscription."""
        current = self.period_usage(subscription.customer_id, period)
        if current is not None and (
            current.closed_at is not None or current.subscription_version >= subscription.version
        ):
            return False
        entitled = (
            counter_open(self._usage_table, subscription, period, before=subscription)
            if current is None
            else counter_raise(self._usage_table, subscription, current)
        )
        # A failed condition: another request opened it first, or the subscription has moved on.
        unchanged = subscription_unchanged(self._accounts_table, subscription)
        return transact(self._client, entitled, unchanged) is None
