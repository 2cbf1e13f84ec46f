"""The limits that customers set themselves, in DynamoDB.

They stand beside the subscription, so that the authorizer reads both with one query. What follows
from a ceiling stands on the period's counter, where a start meets it without a further request.
That it was reached is told by an item of its own, which is added once and never changes.

Functions build every request and name every condition after what it protects; the store sends
them.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from flowstack_core.adapters.dynamodb_accounts import Acts, decode_subscription
from flowstack_core.adapters.dynamodb_codec import (
    Item,
    epoch_value,
    instant_value,
    number,
    read_integer,
    string,
    transact,
)
from flowstack_core.adapters.dynamodb_usage import (
    counter_key,
    decode_reached,
    encode_reached,
    subscription_key,
)
from flowstack_core.domain.own_limits import (
    BudgetAlert,
    CeilingAction,
    CeilingReached,
    OwnLimits,
    SessionCaps,
)
from flowstack_core.domain.periods import Period
from flowstack_core.domain.subscriptions import Subscription
from flowstack_core.services.ports.accounts import AuditRecord

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

BUDGET_ALERT_PREFIX = "BUDGET#"

ALERTS_KEPT_FOR = timedelta(days=400)
"""How long it is known that a ceiling was reached in a period, after the period's end."""

_LIMITS = "SUBSCRIPTION#LIMITS"


# --- keys and items ------------------------------------------------------------------------


def limits_key(customer_id: str) -> dict[str, Any]:
    """Return the key of a customer's own limits in the table of accounts."""
    return {"pk": string(f"CUSTOMER#{customer_id}"), "sk": string(_LIMITS)}


def budget_alert_key(customer_id: str, period: Period) -> dict[str, Any]:
    """Return the key of what tells that the ceiling was reached; there is one a period."""
    return {
        "pk": string(f"CUSTOMER#{customer_id}"),
        "sk": string(f"{BUDGET_ALERT_PREFIX}{period.name}"),
    }


def encode_limits(limits: OwnLimits) -> dict[str, Any]:
    """Write a customer's own limits; those that are not set are not there."""
    item = {
        **limits_key(limits.customer_id),
        "customer_id": string(limits.customer_id),
        "version": number(limits.version),
        "ceiling_action": string(limits.action.value),
    }
    for name, value in (
        ("monthly_ceiling_cents", limits.monthly_ceiling_cents),
        ("session_turn_cap", limits.caps.turns),
        ("session_token_cap", limits.caps.tokens),
    ):
        if value is not None:
            item[name] = number(value)
    return item


def decode_limits(item: Item) -> OwnLimits:
    """Read a customer's own limits."""

    def limit(name: str) -> int | None:
        return read_integer(item, name) if name in item else None

    return OwnLimits(
        customer_id=item["customer_id"]["S"],
        version=read_integer(item, "version"),
        monthly_ceiling_cents=limit("monthly_ceiling_cents"),
        action=CeilingAction(item["ceiling_action"]["S"]),
        caps=SessionCaps(limit("session_turn_cap"), limit("session_token_cap")),
    )


def decode_budget_alert(item: Item) -> BudgetAlert:
    """Read what tells that a ceiling was reached."""
    return BudgetAlert(
        customer_id=item["customer_id"]["S"],
        period=Period.parse(item["period"]["S"]),
        reached=decode_reached(item["reached"]["M"]),
    )


# --- requests ------------------------------------------------------------------------------


def put_limits(table: str, before: OwnLimits, after: OwnLimits) -> dict[str, Any]:
    """Replace a customer's limits, if nobody changed them since they were read."""
    return {
        "Put": {
            "TableName": table,
            "Item": encode_limits(after),
            **_still(before),
        }
    }


def limits_unchanged(table: str, limits: OwnLimits) -> dict[str, Any]:
    """Check that a ceiling is still the one that was judged: a raised one is never undone."""
    return {
        "ConditionCheck": {
            "TableName": table,
            "Key": limits_key(limits.customer_id),
            **_still(limits),
        }
    }


def _still(limits: OwnLimits) -> dict[str, Any]:
    if limits.version == 0:
        return {"ConditionExpression": "attribute_not_exists(pk)"}
    return {
        "ConditionExpression": "version = :before",
        "ExpressionAttributeValues": {":before": number(limits.version)},
    }


def mark_counter(
    table: str, customer_id: str, period: Period, reached: CeilingReached | None
) -> dict[str, Any]:
    """Let the counter of an open period forbid starts, or allow them again."""
    sets, values = [], {}
    if reached is not None:
        sets.append("budget_told_at = if_not_exists(budget_told_at, :at)")
        values[":at"] = instant_value(reached.at)
    if reached is not None and reached.blocks:
        sets.append("budget_block = :block")
        values[":block"] = encode_reached(reached)
        removed = ""
    else:
        removed = "REMOVE budget_block"
    update = {
        "TableName": table,
        "Key": counter_key(customer_id, period),
        "UpdateExpression": f"{'SET ' if sets else ''}{', '.join(sets)} {removed}".strip(),
        "ConditionExpression": "attribute_exists(pk) AND attribute_not_exists(closed_at)",
    }
    return {"Update": {**update, "ExpressionAttributeValues": values} if values else update}


def tell_once(
    table: str, customer_id: str, period: Period, reached: CeilingReached
) -> dict[str, Any]:
    """Add what tells that the ceiling was reached; where that was told in the period, do nothing.

    An update that changes nothing leaves no record in the table's stream.
    """
    return {
        "Update": {
            "TableName": table,
            "Key": budget_alert_key(customer_id, period),
            "UpdateExpression": (
                "SET customer_id = if_not_exists(customer_id, :customer)"
                ", #period = if_not_exists(#period, :period)"
                ", reached = if_not_exists(reached, :reached)"
                ", #ttl = if_not_exists(#ttl, :ttl)"
            ),
            "ExpressionAttributeNames": {"#period": "period", "#ttl": "ttl"},
            "ExpressionAttributeValues": {
                ":customer": string(customer_id),
                ":period": string(period.name),
                ":reached": encode_reached(reached),
                ":ttl": epoch_value(period.end + ALERTS_KEPT_FOR),
            },
        }
    }


# --- the store -----------------------------------------------------------------------------


class DynamoDBOwnLimitsStore(Acts):
    """`flowstack_core.services.ports.own_limits.OwnLimitsStore` on DynamoDB."""

    def __init__(self, client: DynamoDBClient, accounts_table: str, usage_table: str) -> None:
        super().__init__(client, accounts_table)
        self._usage_table = usage_table

    def own_limits(self, customer_id: str) -> OwnLimits:
        """Return the customer's limits, read consistently."""
        item = self._get(limits_key(customer_id))
        return OwnLimits(customer_id) if item is None else decode_limits(item)

    def subscription_and_limits(self, customer_id: str) -> tuple[Subscription, OwnLimits] | None:
        """Return both with one query: it costs what reading the subscription alone does."""
        subscription_sort = subscription_key(customer_id)["sk"]
        request = {
            "KeyConditionExpression": "pk = :customer AND begins_with(sk, :subscription)",
            "ExpressionAttributeValues": {
                ":customer": string(f"CUSTOMER#{customer_id}"),
                ":subscription": subscription_sort,
            },
            "ConsistentRead": True,
        }
        found = {item["sk"]["S"]: item for item in self._query(request)}
        subscription, limits = found.get(subscription_sort["S"]), found.get(_LIMITS)
        if subscription is None:
            return None
        return (
            decode_subscription(subscription),
            OwnLimits(customer_id) if limits is None else decode_limits(limits),
        )

    def replace_limits(
        self,
        before: OwnLimits,
        after: OwnLimits,
        period: Period,
        reached: CeilingReached | None,
        audit: AuditRecord,
    ) -> bool:
        """Put ``after`` in the place of ``before``, with what follows in ``period``."""
        return self._act(
            audit,
            [put_limits(self._accounts_table, before, after)],
            self._follow(after.customer_id, period, reached),
        )

    def note_ceiling(
        self, limits: OwnLimits, period: Period, reached: CeilingReached | None
    ) -> bool:
        """Note on the counter what follows from a ceiling, and tell of it once."""
        failed = transact(
            self._client,
            limits_unchanged(self._accounts_table, limits),
            *self._follow(limits.customer_id, period, reached),
        )
        return failed is None

    def _follow(
        self, customer_id: str, period: Period, reached: CeilingReached | None
    ) -> list[dict[str, Any]]:
        marked = mark_counter(self._usage_table, customer_id, period, reached)
        if reached is None:
            return [marked]
        return [marked, tell_once(self._usage_table, customer_id, period, reached)]
