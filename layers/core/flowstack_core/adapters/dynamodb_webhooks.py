"""Webhooks in DynamoDB: endpoints beside their customers, deliveries in the table of usage.

A delivery is one item, written anew with every step under the condition that its version is still
the one that was read. A second, small item gives its place in the order of time, so that a page of
deliveries is one query; both are added in one transaction, and only while there is an endpoint:
nothing is left behind of a customer who is erased. Both expire a month after the event.
"""

from __future__ import annotations

import base64
import binascii
import re
from itertools import islice
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from flowstack_core.adapters.dynamodb_accounts import Acts
from flowstack_core.adapters.dynamodb_codec import (
    Item,
    batch_get,
    contention,
    decode_instant,
    document_value,
    encode_instant,
    epoch_value,
    failed_condition,
    instant_value,
    number,
    put_once,
    query,
    read_document,
    read_instant,
    read_integer,
    read_optional_instant,
    string,
    transact,
)
from flowstack_core.domain.errors import InvalidRequestError
from flowstack_core.domain.webhooks import (
    Delivery,
    DeliveryAttempt,
    Failure,
    SealedSecret,
    Status,
    WebhookEndpoint,
    WebhookEvent,
)
from flowstack_core.services.ports.accounts import AuditRecord
from flowstack_core.services.ports.webhooks import DeliveryPage

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import PutItemInputTypeDef

_PLACE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{15}Z#.+")


# --- endpoints -----------------------------------------------------------------------------


def endpoint_key(customer_id: str) -> dict[str, Any]:
    """Return the key of a customer's endpoint."""
    return {"pk": string(f"CUSTOMER#{customer_id}"), "sk": string("WEBHOOK")}


def encode_endpoint(endpoint: WebhookEndpoint) -> dict[str, Any]:
    """Write an endpoint."""
    item = {
        **endpoint_key(endpoint.customer_id),
        "customer_id": string(endpoint.customer_id),
        "url": string(endpoint.url),
        "secrets": {"L": [{"M": _encode_secret(secret)} for secret in endpoint.secrets]},
        "created_at": instant_value(endpoint.created_at),
        "updated_at": instant_value(endpoint.updated_at),
        "version": number(endpoint.version),
    }
    if endpoint.switched_off_at is not None:
        item["switched_off_at"] = instant_value(endpoint.switched_off_at)
    return item


def _encode_secret(secret: SealedSecret) -> dict[str, Any]:
    item: dict[str, Any] = {"ciphertext": {"B": secret.ciphertext}}
    if secret.until is not None:
        item["until"] = instant_value(secret.until)
    return item


def decode_endpoint(item: Item) -> WebhookEndpoint:
    """Read an endpoint."""
    return WebhookEndpoint(
        customer_id=item["customer_id"]["S"],
        url=item["url"]["S"],
        secrets=tuple(
            SealedSecret(each["M"]["ciphertext"]["B"], read_optional_instant(each["M"], "until"))
            for each in item["secrets"]["L"]
        ),
        created_at=read_instant(item, "created_at"),
        updated_at=read_instant(item, "updated_at"),
        switched_off_at=read_optional_instant(item, "switched_off_at"),
        version=read_integer(item, "version"),
    )


def put_endpoint(
    table: str, before: WebhookEndpoint | None, after: WebhookEndpoint
) -> dict[str, Any]:
    """Write an endpoint in the place of the one that was read, or where there was none."""
    if before is None:
        return put_once(table, encode_endpoint(after))
    return {"Put": {"TableName": table, "Item": encode_endpoint(after), **_unchanged(before)}}


def remove_endpoint(table: str, endpoint: WebhookEndpoint) -> dict[str, Any]:
    """Delete an endpoint, if it is still the one that was read."""
    return {
        "Delete": {
            "TableName": table,
            "Key": endpoint_key(endpoint.customer_id),
            **_unchanged(endpoint),
        }
    }


def endpoint_exists(table: str, customer_id: str) -> dict[str, Any]:
    """Make sure that a customer has an endpoint."""
    return {
        "ConditionCheck": {
            "TableName": table,
            "Key": endpoint_key(customer_id),
            "ConditionExpression": "attribute_exists(pk)",
        }
    }


def _unchanged(endpoint: WebhookEndpoint) -> dict[str, Any]:
    """Return the condition that nobody changed or replaced an endpoint since it was read.

    Versions begin anew where one was deleted and another set in its place.
    """
    return {
        "ConditionExpression": "version = :version AND created_at = :created",
        "ExpressionAttributeValues": {
            ":version": number(endpoint.version),
            ":created": instant_value(endpoint.created_at),
        },
    }


class DynamoDBWebhookEndpoints(Acts):
    """`flowstack_core.services.ports.webhooks.WebhookEndpoints` on DynamoDB."""

    def endpoint(self, customer_id: str) -> WebhookEndpoint | None:
        """Return the customer's endpoint, read consistently."""
        item = self._get(endpoint_key(customer_id))
        return None if item is None else decode_endpoint(item)

    def replace_endpoint(
        self, before: WebhookEndpoint | None, after: WebhookEndpoint, audit: AuditRecord
    ) -> bool:
        """Put ``after`` in the place of ``before``, or where there was nothing."""
        return self._act(audit, [put_endpoint(self._accounts_table, before, after)])

    def delete_endpoint(self, endpoint: WebhookEndpoint, audit: AuditRecord) -> bool:
        """Delete it for good, with its secrets."""
        return self._act(audit, [remove_endpoint(self._accounts_table, endpoint)])


# --- deliveries ----------------------------------------------------------------------------


def delivery_key(customer_id: str, event_id: str) -> dict[str, Any]:
    """Return the key of the delivery of an event."""
    return {"pk": string(f"WEBHOOK#{customer_id}"), "sk": string(event_id)}


def place_key(customer_id: str, place: str) -> dict[str, Any]:
    """Return the key of a delivery's place in the order of time."""
    return {"pk": string(f"WEBHOOK_LOG#{customer_id}"), "sk": string(place)}


def place_of(delivery: Delivery) -> str:
    """Return a delivery's place; places sort by time."""
    return f"{encode_instant(delivery.created_at)}#{delivery.event.event_id}"


def encode_place(delivery: Delivery) -> dict[str, Any]:
    """Write a delivery's place in the order of time."""
    return {
        **place_key(delivery.event.customer_id, place_of(delivery)),
        "event_id": string(delivery.event.event_id),
        "ttl": epoch_value(delivery.expires_at),
    }


def encode_delivery(delivery: Delivery) -> dict[str, Any]:
    """Write a delivery."""
    event = delivery.event
    item = {
        **delivery_key(event.customer_id, event.event_id),
        "customer_id": string(event.customer_id),
        "event_id": string(event.event_id),
        "type": string(event.type),
        "at": instant_value(event.at),
        "data": document_value(dict(event.data)),
        "created_at": instant_value(delivery.created_at),
        "status": string(delivery.status.value),
        "series": number(delivery.series),
        "made": number(delivery.made),
        "attempts": document_value([_encode_attempt(each) for each in delivery.attempts]),
        "version": number(delivery.version),
        "ttl": epoch_value(delivery.expires_at),
    }
    optional = {"due_at": delivery.due_at, "busy_until": delivery.busy_until}
    item |= {name: instant_value(at) for name, at in optional.items() if at is not None}
    if delivery.failure is not None:
        item["failure"] = string(delivery.failure.value)
    if delivery.worker is not None:
        item["worker"] = string(delivery.worker)
    return item


def _encode_attempt(attempt: DeliveryAttempt) -> dict[str, Any]:
    return {
        "series": attempt.series,
        "number": attempt.number,
        "at": encode_instant(attempt.at),
        "status": attempt.status,
        "failure": attempt.failure,
        "milliseconds": attempt.milliseconds,
    }


def _decode_attempt(found: dict[str, Any]) -> DeliveryAttempt:
    failure = found["failure"]
    return DeliveryAttempt(
        series=found["series"],
        number=found["number"],
        at=decode_instant(found["at"]),
        status=found["status"],
        failure=None if failure is None else Failure(failure),
        milliseconds=found["milliseconds"],
    )


def decode_delivery(item: Item) -> Delivery:
    """Read a delivery."""
    return Delivery(
        event=WebhookEvent(
            event_id=item["event_id"]["S"],
            customer_id=item["customer_id"]["S"],
            type=item["type"]["S"],
            at=read_instant(item, "at"),
            data=read_document(item["data"]),
        ),
        created_at=read_instant(item, "created_at"),
        status=Status(item["status"]["S"]),
        failure=Failure(item["failure"]["S"]) if "failure" in item else None,
        series=read_integer(item, "series"),
        made=read_integer(item, "made"),
        due_at=read_optional_instant(item, "due_at"),
        attempts=tuple(map(_decode_attempt, read_document(item["attempts"]))),
        worker=item["worker"]["S"] if "worker" in item else None,
        busy_until=read_optional_instant(item, "busy_until"),
        version=read_integer(item, "version"),
    )


def replace_delivery(table: str, before: Delivery, after: Delivery) -> PutItemInputTypeDef:
    """Write a delivery in the place of the version that was read; where it is gone, nowhere."""
    return {
        "TableName": table,
        "Item": encode_delivery(after),
        "ConditionExpression": "version = :version",
        "ExpressionAttributeValues": {":version": number(before.version)},
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }


# --- where a page of deliveries ends -------------------------------------------------------


def encode_cursor(place: str) -> str:
    """Return the cursor of the page that follows a place."""
    return base64.urlsafe_b64encode(place.encode()).decode().rstrip("=")


def decode_cursor(cursor: str) -> str:
    """Return the place that a page follows.

    Raises
    ------
    InvalidRequestError
        If the cursor is not one that `encode_cursor` made.
    """
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        place = base64.b64decode(padded, altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        place = ""
    if _PLACE.fullmatch(place) is None:
        raise InvalidRequestError(
            "The cursor is not one that a page of deliveries gave.",
            details={"field": "cursor", "hint": "Leave it out to begin with the newest."},
        )
    return place


class DynamoDBDeliveryLog:
    """`flowstack_core.services.ports.webhooks.DeliveryLog` on DynamoDB."""

    def __init__(self, client: DynamoDBClient, usage_table: str, accounts_table: str) -> None:
        self._client = client
        self._table = usage_table
        self._accounts_table = accounts_table

    def add(self, delivery: Delivery) -> Delivery | None:
        """Add a delivery if its event has none; return the one that there is then."""
        event = delivery.event
        failed = transact(
            self._client,
            put_once(self._table, encode_delivery(delivery)),
            {"Put": {"TableName": self._table, "Item": encode_place(delivery)}},
            endpoint_exists(self._accounts_table, event.customer_id),
        )
        if failed is None:
            return delivery
        return self.delivery(event.customer_id, event.event_id)

    def replace(self, before: Delivery, after: Delivery) -> bool:
        """Put ``after`` in the place of ``before``; ``False`` if that is no longer there."""
        try:
            with contention():
                self._client.put_item(**replace_delivery(self._table, before, after))
        except ClientError as error:
            item = failed_condition(error)
            if item is None:
                raise
            return bool(item) and decode_delivery(item) == after
        return True

    def delivery(self, customer_id: str, event_id: str) -> Delivery | None:
        """Return the delivery of an event, read consistently."""
        with contention():
            found = self._client.get_item(
                TableName=self._table,
                Key=delivery_key(customer_id, event_id),
                ConsistentRead=True,
            )
        return decode_delivery(found["Item"]) if "Item" in found else None

    def deliveries(self, customer_id: str, limit: int, cursor: str | None) -> DeliveryPage:
        """Return a page of the customer's deliveries, the newest first."""
        request: dict[str, Any] = {
            "TableName": self._table,
            "KeyConditionExpression": "pk = :log",
            "ExpressionAttributeValues": {":log": string(f"WEBHOOK_LOG#{customer_id}")},
            "ScanIndexForward": False,
            "Limit": limit + 1,
        }
        if cursor is not None:
            request["ExclusiveStartKey"] = place_key(customer_id, decode_cursor(cursor))
        places = list(islice(query(self._client, **request), limit + 1))
        page = places[:limit]
        return DeliveryPage(
            deliveries=self._at(customer_id, page),
            next_cursor=encode_cursor(page[-1]["sk"]["S"]) if len(places) > limit else None,
        )

    def _at(self, customer_id: str, places: list[Item]) -> tuple[Delivery, ...]:
        """Return the deliveries at some places, in their order; what has expired is left out."""
        ids = [place["event_id"]["S"] for place in places]
        keys = [delivery_key(customer_id, event_id) for event_id in ids]
        found = map(decode_delivery, batch_get(self._client, self._table, keys))
        by_id = {delivery.event.event_id: delivery for delivery in found}
        return tuple(by_id[event_id] for event_id in ids if event_id in by_id)
