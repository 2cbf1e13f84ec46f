"""Alerts and their settings in DynamoDB.

An alert is an item that is put once: its existence is the durable proof that its threshold was
reached, and its insertion, seen in the stream, is what tells everybody. Who was told is noted on
it, which the stream's listeners take no interest in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from flowstack_core.adapters.dynamodb_accounts import Acts
from flowstack_core.adapters.dynamodb_codec import (
    Item,
    batch_get,
    contention,
    epoch_value,
    failed_condition,
    instant_value,
    number,
    query,
    read_instant,
    read_integer,
    string,
    transact,
)
from flowstack_core.adapters.dynamodb_customer_data import erasure_key
from flowstack_core.domain.alerts import Alert, AlertSettings
from flowstack_core.domain.periods import Period
from flowstack_core.services.ports.accounts import AuditRecord

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import UpdateItemInputTypeDef

ALERT_PREFIX = "ALERT#"

KEPT_FOR = timedelta(days=400)
"""How long an alert outlives its period: much longer than any stream could repeat a count."""


# --- keys and items ------------------------------------------------------------------------


def settings_key(customer_id: str) -> dict[str, Any]:
    """Return the key of a customer's settings, in the table of accounts."""
    return {"pk": string(f"CUSTOMER#{customer_id}"), "sk": string("ALERT_SETTINGS")}


def encode_settings(customer_id: str, settings: AlertSettings) -> dict[str, Any]:
    """Write settings."""
    item = {
        **settings_key(customer_id),
        "customer_id": string(customer_id),
        "thresholds": {"L": [number(threshold) for threshold in settings.thresholds]},
        "version": number(settings.version),
    }
    if settings.email is not None:
        item["email"] = string(settings.email)
    return item


def decode_settings(item: Item) -> AlertSettings:
    """Read settings."""
    return AlertSettings(
        thresholds=tuple(int(threshold["N"]) for threshold in item["thresholds"]["L"]),
        email=item["email"]["S"] if "email" in item else None,
        version=read_integer(item, "version"),
    )


def alert_key(customer_id: str, period: Period, threshold: int) -> dict[str, Any]:
    """Return the key of an alert, in the table of usage; a period's sort by threshold."""
    return {
        "pk": string(f"CUSTOMER#{customer_id}"),
        "sk": string(f"{ALERT_PREFIX}{period.name}#{threshold:03d}"),
    }


def encode_alert(alert: Alert) -> dict[str, Any]:
    """Write an alert."""
    return {
        **_key_of(alert),
        "customer_id": string(alert.customer_id),
        "period": string(alert.period.name),
        "threshold": number(alert.threshold),
        "at": instant_value(alert.at),
        "sessions_used": number(alert.sessions_used),
        "session_limit": number(alert.session_limit),
        "ttl": epoch_value(alert.period.end + KEPT_FOR),
    }


def decode_alert(item: Item) -> Alert:
    """Read an alert."""
    return Alert(
        customer_id=item["customer_id"]["S"],
        period=Period.parse(item["period"]["S"]),
        threshold=read_integer(item, "threshold"),
        at=read_instant(item, "at"),
        sessions_used=read_integer(item, "sessions_used"),
        session_limit=read_integer(item, "session_limit"),
    )


def _key_of(alert: Alert) -> dict[str, Any]:
    return alert_key(alert.customer_id, alert.period, alert.threshold)


# --- requests ------------------------------------------------------------------------------


def put_settings(
    table: str, customer_id: str, before: AlertSettings, after: AlertSettings
) -> dict[str, Any]:
    """Write settings in the place of those that were read, or where there were none."""
    put: dict[str, Any] = {"TableName": table, "Item": encode_settings(customer_id, after)}
    if before.version == 0:
        put["ConditionExpression"] = "attribute_not_exists(pk)"
    else:
        put["ConditionExpression"] = "version = :before"
        put["ExpressionAttributeValues"] = {":before": number(before.version)}
    return {"Put": put}


def put_alert(table: str, alert: Alert) -> dict[str, Any]:
    """Write an alert unless there is one of its customer, period and threshold (A1)."""
    return {
        "Put": {
            "TableName": table,
            "Item": encode_alert(alert),
            "ConditionExpression": "attribute_not_exists(pk)",
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
    }


def not_erased(table: str, customer_id: str) -> dict[str, Any]:
    """Check that the customer's data is not being erased: a late count must leave nothing."""
    return {
        "ConditionCheck": {
            "TableName": table,
            "Key": erasure_key(customer_id),
            "ConditionExpression": "attribute_not_exists(pk)",
        }
    }


def note_told(table: str, alert: Alert, channel: str) -> UpdateItemInputTypeDef:
    """Write down who was told of an alert; one that was erased is not made again."""
    return {
        "TableName": table,
        "Key": _key_of(alert),
        "UpdateExpression": "ADD told :channel",
        "ConditionExpression": "attribute_exists(pk)",
        "ExpressionAttributeValues": {":channel": {"SS": [channel]}},
    }


class DynamoDBAlertStore(Acts):
    """`flowstack_core.services.ports.alerts.AlertStore` on DynamoDB."""

    def __init__(self, client: DynamoDBClient, accounts_table: str, usage_table: str) -> None:
        super().__init__(client, accounts_table)
        self._usage_table = usage_table

    def settings(self, customer_id: str) -> AlertSettings:
        """Return a customer's settings, read consistently; the defaults if it has none."""
        item = self._get(settings_key(customer_id))
        return AlertSettings() if item is None else decode_settings(item)

    def settings_of(self, customer_ids: Sequence[str]) -> Mapping[str, AlertSettings]:
        """Return the settings of many customers, a hundred in a request."""
        keys = [settings_key(customer_id) for customer_id in customer_ids]
        found = {
            item["customer_id"]["S"]: decode_settings(item)
            for item in batch_get(self._client, self._accounts_table, keys)
        }
        return {each: found.get(each, AlertSettings()) for each in customer_ids}

    def replace_settings(
        self, customer_id: str, before: AlertSettings, after: AlertSettings, audit: AuditRecord
    ) -> bool:
        """Put ``after`` in the place of ``before``, if that is what stands there."""
        change = put_settings(self._accounts_table, customer_id, before, after)
        return self._act(audit, [change])

    def keep(self, alert: Alert) -> Alert | None:
        """Keep an alert if there is none; return the one that is kept, ``None`` after an erasure.

        The check is of an item that nothing else is about, so it is in nobody's way: a check of
        the counter would make sessions that start at the same moment wait for each other.
        """
        failed = transact(
            self._client,
            put_alert(self._usage_table, alert),
            not_erased(self._accounts_table, alert.customer_id),
        )
        if failed is None:
            return alert
        earlier = failed[0]
        return None if earlier is None else decode_alert(earlier)

    def alerts(self, customer_id: str, period: Period) -> Sequence[Alert]:
        """Return the alerts of a period, the lowest threshold first."""
        found = query(
            self._client,
            TableName=self._usage_table,
            KeyConditionExpression="pk = :customer AND begins_with(sk, :period)",
            ExpressionAttributeValues={
                ":customer": string(f"CUSTOMER#{customer_id}"),
                ":period": string(f"{ALERT_PREFIX}{period.name}#"),
            },
            ConsistentRead=True,
        )
        return [decode_alert(item) for item in found]

    def told(self, alert: Alert) -> frozenset[str] | None:
        """Return the channels that were told of an alert; ``None`` if it is kept no more."""
        with contention():
            found = self._client.get_item(
                TableName=self._usage_table, Key=_key_of(alert), ConsistentRead=True
            )
        if "Item" not in found:
            return None
        return frozenset(found["Item"].get("told", {}).get("SS", ()))

    def mark_told(self, alert: Alert, channel: str) -> None:
        """Note that a channel was told of an alert, if it is still kept."""
        try:
            with contention():
                self._client.update_item(**note_told(self._usage_table, alert, channel))
        except ClientError as error:
            if failed_condition(error) is None:
                raise
