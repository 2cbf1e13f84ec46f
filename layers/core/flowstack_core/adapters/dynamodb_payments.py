"""What a payment provider has said, in the table of accounts.

One item a subscription of the provider's, one a payer, one a customer; and one that lists each of
the former under its customer, for exports and erasures. Every write names what it
expects to find, so that events handled side by side lose nothing of each other.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from flowstack_core.adapters.dynamodb_accounts import decode_terms, encode_terms
from flowstack_core.adapters.dynamodb_codec import (
    Item,
    contention,
    decode_instant,
    failed_condition,
    instant_value,
    number,
    read_instant,
    read_integer,
    read_optional_instant,
    string,
)
from flowstack_core.domain.payments import Governing, PaymentState, Snapshot, Standing

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


# --- keys and items ------------------------------------------------------------------------


def standing_key(subscription_id: str) -> dict[str, Any]:
    """Return the key of a standing."""
    return {"pk": string(f"PAYMENT#{subscription_id}"), "sk": string("STANDING")}


def payer_key(payer_id: str) -> dict[str, Any]:
    """Return the key of a payer's link to a customer."""
    return {"pk": string(f"PAYMENT#{payer_id}"), "sk": string("PAYER")}


def name_key(customer_id: str, name: str) -> dict[str, Any]:
    """Return the key under which a customer's subscriptions and payers are listed."""
    return {"pk": string(f"PAYMENTS#{customer_id}"), "sk": string(name)}


def governing_key(customer_id: str) -> dict[str, Any]:
    """Return the key of what decides a customer's plan."""
    return {"pk": string(f"CUSTOMER#{customer_id}"), "sk": string("PAYMENT")}


def encode_standing(standing: Standing) -> dict[str, Any]:
    """Write a standing."""
    item: dict[str, Any] = {
        **standing_key(standing.subscription_id),
        "subscription_id": string(standing.subscription_id),
        "told_by": string(standing.told_by),
        "failures": {"L": [instant_value(failure) for failure in standing.failures]},
    }
    if standing.customer_id is not None:
        item["customer_id"] = string(standing.customer_id)
    if standing.snapshot is not None:
        item["snapshot"] = {"M": _encode_snapshot(standing.snapshot)}
    return {**item, **_instants(began_at=standing.began_at, paid_at=standing.paid_at)}


def decode_standing(item: Item) -> Standing:
    """Read a standing."""
    return Standing(
        subscription_id=item["subscription_id"]["S"],
        customer_id=item["customer_id"]["S"] if "customer_id" in item else None,
        began_at=read_optional_instant(item, "began_at"),
        snapshot=_decode_snapshot(item["snapshot"]["M"]) if "snapshot" in item else None,
        paid_at=read_optional_instant(item, "paid_at"),
        failures=tuple(decode_instant(failure["S"]) for failure in item["failures"]["L"]),
        told_by=item["told_by"]["S"],
    )


def _encode_snapshot(snapshot: Snapshot) -> dict[str, Any]:
    item: dict[str, Any] = {
        "event_id": string(snapshot.event_id),
        "created": instant_value(snapshot.created),
        "state": number(snapshot.state),
    }
    if snapshot.terms is not None:
        item["terms"] = encode_terms(snapshot.terms)
    return {**item, **_instants(ends_at=snapshot.ends_at)}


def _decode_snapshot(item: Item) -> Snapshot:
    return Snapshot(
        event_id=item["event_id"]["S"],
        created=read_instant(item, "created"),
        state=PaymentState(read_integer(item, "state")),
        terms=decode_terms(item["terms"]["M"]) if "terms" in item else None,
        ends_at=read_optional_instant(item, "ends_at"),
    )


def _instants(**instants: datetime | None) -> dict[str, Any]:
    """Write the instants that there are."""
    return {name: instant_value(at) for name, at in instants.items() if at is not None}


# --- requests ------------------------------------------------------------------------------


def put_standing(table: str, before: Standing | None, after: Standing) -> dict[str, Any]:
    """Replace a standing, if no event added to it since it was read.

    An event adds something once, and again only by the customer that has become known meanwhile.
    So the last one that did, and whether the customer is known, name the version.
    """
    request: dict[str, Any] = {
        "TableName": table,
        "Item": encode_standing(after),
        "ConditionExpression": "attribute_not_exists(pk)",
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }
    if before is not None:
        request["ConditionExpression"] = "told_by = :before"
        if before.customer_id is None:
            request["ConditionExpression"] += " AND attribute_not_exists(customer_id)"
        request["ExpressionAttributeValues"] = {":before": string(before.told_by)}
    return request


def put_governing(table: str, customer_id: str, governing: Governing) -> dict[str, Any]:
    """Let a subscription decide, unless it is another one that began later."""
    return {
        "TableName": table,
        "Item": {
            **governing_key(customer_id),
            "customer_id": string(customer_id),
            "subscription_id": string(governing.subscription_id),
            "began_at": instant_value(governing.began_at),
        },
        "ConditionExpression": (
            "attribute_not_exists(pk) OR subscription_id = :subscription OR began_at < :began"
            " OR (began_at = :began AND subscription_id < :subscription)"
        ),
        "ExpressionAttributeValues": {
            ":subscription": string(governing.subscription_id),
            ":began": instant_value(governing.began_at),
        },
    }


# --- the store -----------------------------------------------------------------------------


class DynamoDBPaymentStore:
    """`flowstack_core.services.ports.payments.PaymentStore` on DynamoDB."""

    def __init__(self, client: DynamoDBClient, accounts_table: str) -> None:
        self._client = client
        self._table = accounts_table

    def standing(self, subscription_id: str) -> Standing | None:
        """Return the standing of one of the provider's subscriptions, read consistently."""
        item = self._get(standing_key(subscription_id))
        return None if item is None else decode_standing(item)

    def replace_standing(self, before: Standing | None, after: Standing) -> bool:
        """Put ``after`` in the place of ``before``; ``False`` if that is not what stands there."""
        if after.customer_id is not None and (before is None or before.customer_id is None):
            self._list(after.customer_id, after.subscription_id)
        found = self._put(put_standing(self._table, before, after))
        return found is None or found.get("told_by") == string(after.told_by)

    def customer_of(self, payer_id: str) -> str | None:
        """Return our customer for the provider's, read consistently."""
        item = self._get(payer_key(payer_id))
        return None if item is None else str(item["customer_id"]["S"])

    def link_payer(self, payer_id: str, customer_id: str) -> None:
        """Remember whom a payer pays for; the last link stays."""
        self._list(customer_id, payer_id)
        item = {**payer_key(payer_id), "customer_id": string(customer_id)}
        with contention():
            self._client.put_item(TableName=self._table, Item=item)

    def _list(self, customer_id: str, name: str) -> None:
        """List what is about to be written: nothing of a customer is ever there unlisted."""
        with contention():
            self._client.put_item(TableName=self._table, Item=name_key(customer_id, name))

    def govern(self, customer_id: str, governing: Governing) -> bool:
        """Let a subscription decide the customer's plan, unless one begun later does."""
        return self._put(put_governing(self._table, customer_id, governing)) is None

    def governing(self, customer_id: str) -> Governing | None:
        """Return which subscription decides the customer's plan, read consistently."""
        item = self._get(governing_key(customer_id))
        if item is None:
            return None
        return Governing(item["subscription_id"]["S"], read_instant(item, "began_at"))

    def _get(self, key: dict[str, Any]) -> Item | None:
        with contention():
            found = self._client.get_item(TableName=self._table, Key=key, ConsistentRead=True)
        return found.get("Item")

    def _put(self, request: dict[str, Any]) -> Item | None:
        """Write an item; return what its condition failed on, ``None`` if it was written."""
        try:
            with contention():
                self._client.put_item(**request)
        except ClientError as error:
            found = failed_condition(error)
            if found is None:
                raise
            return found
        return None
