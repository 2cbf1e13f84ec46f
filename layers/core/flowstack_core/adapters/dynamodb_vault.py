"""The vault in DynamoDB: a partition a customer, a sort key of collection and document's key.

Every request names the partition of one customer, made from the id that the API key stands for.
Nothing a customer can say gets into a partition key.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from flowstack_core.adapters.dynamodb_codec import (
    Item,
    contention,
    document_value,
    epoch_value,
    escaped,
    failed_condition,
    instant_value,
    read_document,
    read_instant,
    read_optional_instant,
    string,
    transact,
    unescaped,
)
from flowstack_core.domain.vault import (
    ANYTHING,
    Collection,
    Document,
    Expected,
    Place,
    Receipt,
)
from flowstack_core.services.ports.failures import StoreContentionError
from flowstack_core.services.ports.vault import (
    CountPage,
    DocumentPage,
    Refused,
    Repeated,
    WriteOutcome,
    Written,
)

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_BATCH = 25
_END_OF_KEYS = "$"
"""The character after ``#``, which ends a collection's name in a sort key."""

_LIVE = "(attribute_not_exists(expires_at) OR expires_at > :now)"
_ABSENT = "(attribute_not_exists(pk) OR expires_at <= :now)"


def partition_of(customer_id: str) -> dict[str, str]:
    """Return the partition of a customer's documents."""
    return string(f"DOCUMENTS#{escaped(customer_id)}")


def sort_prefix(collection: Collection) -> str:
    """Return what the sort keys of a collection's documents begin with, and no others."""
    return f"{escaped(collection.name)}#"


def document_key(place: Place) -> dict[str, Any]:
    """Return the key of a document."""
    return {
        "pk": partition_of(place.collection.customer_id),
        "sk": string(sort_prefix(place.collection) + place.key),
    }


def receipt_key(customer_id: str, digest: str) -> dict[str, Any]:
    """Return the key of a receipt."""
    return {"pk": string(f"RECEIPTS#{escaped(customer_id)}"), "sk": string(digest)}


def encode_document(document: Document) -> dict[str, Any]:
    """Write a document as an item."""
    item = {
        **document_key(document.place),
        "body": {"B": document.body},
        "version": string(document.version),
        "updated_at": instant_value(document.updated_at),
    }
    if document.expires_at is not None:
        item["expires_at"] = instant_value(document.expires_at)
        # Rounded up: an item must not be deleted before it has expired.
        item["ttl"] = epoch_value(document.expires_at)
    return item


def decode_document(customer_id: str, item: Item) -> Document:
    """Read a document."""
    name, _, key = item["sk"]["S"].partition("#")
    return Document(
        place=Place(Collection(customer_id, unescaped(name)), key),
        body=bytes(item["body"]["B"]),
        version=item["version"]["S"],
        updated_at=read_instant(item, "updated_at"),
        expires_at=read_optional_instant(item, "expires_at"),
    )


def put_document(
    table: str, document: Document, expected: Expected, now: datetime
) -> dict[str, Any]:
    """Store a document, if what is there is as expected. What has expired is absent."""
    return {
        "TableName": table,
        "Item": encode_document(document),
        **_condition(expected, now),
    }


def delete_document(table: str, document: Document) -> dict[str, Any]:
    """Delete a document that has its version still, or is gone already."""
    return {
        "TableName": table,
        "Key": document_key(document.place),
        "ConditionExpression": "attribute_not_exists(pk) OR version = :version",
        "ExpressionAttributeValues": {":version": string(document.version)},
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }


def put_receipt(table: str, receipt: Receipt, now: datetime) -> dict[str, Any]:
    """Remember what was answered, if the idempotency key is new or forgotten."""
    return {
        "TableName": table,
        "Item": {
            **receipt_key(receipt.customer_id, receipt.digest),
            "fingerprint": string(receipt.fingerprint),
            "answer": document_value(receipt.answer),
            "expires_at": instant_value(receipt.expires_at),
            "ttl": epoch_value(receipt.expires_at),
        },
        "ConditionExpression": _ABSENT,
        "ExpressionAttributeValues": {":now": instant_value(now)},
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }


def page_request(
    table: str, collection: Collection, after: str | None, limit: int | None
) -> dict[str, Any]:
    """Read the documents of a collection behind a key."""
    request: dict[str, Any] = {
        "TableName": table,
        "KeyConditionExpression": "pk = :pk AND begins_with(sk, :prefix)",
        "ExpressionAttributeValues": {
            ":pk": partition_of(collection.customer_id),
            ":prefix": string(sort_prefix(collection)),
        },
        "ConsistentRead": True,
    }
    if after is not None:
        request["ExclusiveStartKey"] = document_key(Place(collection, after))
    if limit is not None:
        request["Limit"] = limit
    return request


def count_request(
    table: str, collection: Collection, after: str | None, now: datetime
) -> dict[str, Any]:
    """Count the documents of a collection behind a key that have not expired."""
    request = page_request(table, collection, after, None)
    request["ExpressionAttributeValues"][":now"] = instant_value(now)
    return {**request, "FilterExpression": _LIVE, "Select": "COUNT"}


def first_request(table: str, customer_id: str, collection: str | None) -> dict[str, Any]:
    """Read the first document behind all of a collection, or the very first."""
    request: dict[str, Any] = {
        "TableName": table,
        "KeyConditionExpression": "pk = :pk",
        "ExpressionAttributeValues": {":pk": partition_of(customer_id)},
        "ConsistentRead": True,
        "Limit": 1,
    }
    if collection is not None:
        request["KeyConditionExpression"] += " AND sk > :end"
        request["ExpressionAttributeValues"][":end"] = string(escaped(collection) + _END_OF_KEYS)
    return request


def _condition(expected: Expected, now: datetime) -> dict[str, Any]:
    if expected == ANYTHING:
        return {}
    values = {":now": instant_value(now)}
    if expected.absent:
        condition = _ABSENT
    else:
        condition = f"version = :version AND {_LIVE}"
        values[":version"] = string(expected.version or "")
    return {
        "ConditionExpression": condition,
        "ExpressionAttributeValues": values,
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }


class DynamoDBVaultStore:
    """`flowstack_core.services.ports.vault.VaultStore` on DynamoDB."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._client = client
        self._table = table

    def get(self, place: Place) -> Document | None:
        """Return the document, whether it has expired or not."""
        item = self._get(document_key(place))
        return None if item is None else decode_document(place.collection.customer_id, item)

    def receipt(self, customer_id: str, digest: str) -> Receipt | None:
        """Return what was written under an idempotency key."""
        item = self._get(receipt_key(customer_id, digest))
        return None if item is None else _decode_receipt(customer_id, digest, item)

    def put(
        self, document: Document, expected: Expected, receipt: Receipt | None, now: datetime
    ) -> WriteOutcome:
        """Store the document if what is there is as expected."""
        request = put_document(self._table, document, expected, now)
        if receipt is not None:
            return self._write_with_receipt({"Put": request}, document, receipt, now)
        try:
            with contention():
                self._client.put_item(**request)
        except ClientError as error:
            return _outcome(document, failed_condition(error), error)
        return Written()

    def delete(self, document: Document, receipt: Receipt | None, now: datetime) -> WriteOutcome:
        """Delete the document if it has this version still."""
        request = delete_document(self._table, document)
        if receipt is not None:
            return self._write_with_receipt({"Delete": request}, document, receipt, now)
        try:
            with contention():
                self._client.delete_item(**request)
        except ClientError as error:
            return _outcome(document, failed_condition(error), error)
        return Written()

    def page(self, collection: Collection, after: str | None, limit: int | None) -> DocumentPage:
        """Return the documents after a key."""
        with contention():
            found = self._client.query(**page_request(self._table, collection, after, limit))
        documents = (decode_document(collection.customer_id, item) for item in found["Items"])
        return DocumentPage(tuple(documents), _next_after(found))

    def count_page(self, collection: Collection, after: str | None, now: datetime) -> CountPage:
        """Count the documents after a key that have not expired."""
        with contention():
            found = self._client.query(**count_request(self._table, collection, after, now))
        return CountPage(found["Count"], _next_after(found))

    def first_after(self, customer_id: str, collection: str | None) -> Document | None:
        """Return the first document of the first collection whose name follows a name."""
        with contention():
            found = self._client.query(**first_request(self._table, customer_id, collection))
        return next((decode_document(customer_id, item) for item in found["Items"]), None)

    def remove(self, places: Sequence[Place]) -> None:
        """Delete documents, whatever they are."""
        for first in range(0, len(places), _BATCH):
            requests = [
                {"DeleteRequest": {"Key": document_key(place)}}
                for place in places[first : first + _BATCH]
            ]
            with contention():
                done = self._client.batch_write_item(RequestItems={self._table: requests})  # type: ignore[dict-item]
            if done.get("UnprocessedItems"):
                raise StoreContentionError("UnprocessedItems")

    def _get(self, key: dict[str, Any]) -> Item | None:
        with contention():
            found = self._client.get_item(TableName=self._table, Key=key, ConsistentRead=True)
        return found.get("Item")

    def _write_with_receipt(
        self, write: dict[str, Any], document: Document, receipt: Receipt, now: datetime
    ) -> WriteOutcome:
        remember = {"Put": put_receipt(self._table, receipt, now)}
        # A receipt that is there says by itself that the write took effect before.
        failed = transact(self._client, remember, write, proof=0)
        if failed is None:
            return Written()
        written_before, found = failed
        if written_before is not None:
            return Repeated(_decode_receipt(receipt.customer_id, receipt.digest, written_before))
        return Refused(_decode_found(document, found or {}))


def _outcome(document: Document, found: Item | None, error: ClientError) -> WriteOutcome:
    """Tell a write that was refused from one that took effect when it was tried before."""
    if found is None:
        raise error
    other = _decode_found(document, found)
    if other is not None and other.version == document.version:
        return Written()
    return Refused(other)


def _decode_found(document: Document, found: Item) -> Document | None:
    if not found:
        return None
    return decode_document(document.place.collection.customer_id, found)


def _decode_receipt(customer_id: str, digest: str, item: Item) -> Receipt:
    return Receipt(
        customer_id=customer_id,
        digest=digest,
        fingerprint=item["fingerprint"]["S"],
        answer=read_document(item["answer"]),
        expires_at=read_instant(item, "expires_at"),
    )


def _next_after(found: Any) -> str | None:
    if "LastEvaluatedKey" not in found:
        return None
    _, _, key = found["LastEvaluatedKey"]["sk"]["S"].partition("#")
    return str(key)
