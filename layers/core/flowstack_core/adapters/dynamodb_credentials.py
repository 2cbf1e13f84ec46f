"""Stored credentials in DynamoDB: sealed, in partitions of their own.

They stand in the accounts table under ``CREDENTIALS#<customer>``, apart from the customer's other
items, so that a role can be held to them by the keys it may write.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from flowstack_core.adapters.dynamodb_accounts import Acts
from flowstack_core.adapters.dynamodb_codec import (
    Item,
    contention,
    failed_condition,
    instant_value,
    number,
    read_instant,
    read_integer,
    read_optional_instant,
    string,
)
from flowstack_core.domain.providers import Provider
from flowstack_core.domain.stored_credentials import USE_RESOLUTION, StoredCredentials
from flowstack_core.services.ports.accounts import AuditRecord

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.type_defs import UpdateItemInputTypeDef


def credentials_key(customer_id: str, provider: Provider) -> dict[str, Any]:
    """Return the key of a customer's credentials at a provider."""
    return {"pk": string(f"CREDENTIALS#{customer_id}"), "sk": string(provider.value)}


def encode_credentials(stored: StoredCredentials) -> dict[str, Any]:
    """Write stored credentials."""
    item = {
        **credentials_key(stored.customer_id, stored.provider),
        "customer_id": string(stored.customer_id),
        "provider": string(stored.provider.value),
        "masked": {"M": {name: string(value) for name, value in stored.masked.items()}},
        "ciphertext": {"B": stored.ciphertext},
        "created_at": instant_value(stored.created_at),
        "updated_at": instant_value(stored.updated_at),
        "version": number(stored.version),
    }
    if stored.last_used_at is not None:
        item["last_used_at"] = instant_value(stored.last_used_at)
    return item


def decode_credentials(item: Item) -> StoredCredentials:
    """Read stored credentials."""
    return StoredCredentials(
        customer_id=item["customer_id"]["S"],
        provider=Provider(item["provider"]["S"]),
        masked={name: value["S"] for name, value in item["masked"]["M"].items()},
        ciphertext=item["ciphertext"]["B"],
        created_at=read_instant(item, "created_at"),
        updated_at=read_instant(item, "updated_at"),
        last_used_at=read_optional_instant(item, "last_used_at"),
        version=read_integer(item, "version"),
    )


def put_credentials(
    table: str, before: StoredCredentials | None, after: StoredCredentials
) -> dict[str, Any]:
    """Write credentials in the place of those that were read, or where there were none."""
    put: dict[str, Any] = {"TableName": table, "Item": encode_credentials(after)}
    if before is None:
        put["ConditionExpression"] = "attribute_not_exists(pk)"
    else:
        put.update(_unchanged(before))
    return {"Put": put}


def remove_credentials(table: str, stored: StoredCredentials) -> dict[str, Any]:
    """Delete credentials, if they are still those that were read."""
    return {
        "Delete": {
            "TableName": table,
            "Key": credentials_key(stored.customer_id, stored.provider),
            **_unchanged(stored),
        }
    }


def note_use(table: str, stored: StoredCredentials, at: datetime) -> UpdateItemInputTypeDef:
    """Write down a use, unless one is on record that is as good, or they were replaced."""
    return {
        "TableName": table,
        "Key": credentials_key(stored.customer_id, stored.provider),
        "UpdateExpression": "SET last_used_at = :at",
        "ConditionExpression": (
            "version = :before AND (attribute_not_exists(last_used_at) OR last_used_at <= :due)"
        ),
        "ExpressionAttributeValues": {
            ":at": instant_value(at),
            ":due": instant_value(at - USE_RESOLUTION),
            ":before": number(stored.version),
        },
    }


def _unchanged(stored: StoredCredentials) -> dict[str, Any]:
    """Return the condition that nobody replaced or deleted the credentials since."""
    return {
        "ConditionExpression": "version = :before",
        "ExpressionAttributeValues": {":before": number(stored.version)},
    }


class DynamoDBCredentialStore(Acts):
    """`flowstack_core.services.ports.credentials.StoredCredentialStore` on DynamoDB."""

    def credentials(self, customer_id: str, provider: Provider) -> StoredCredentials | None:
        """Return the customer's credentials at the provider, read consistently."""
        item = self._get(credentials_key(customer_id, provider))
        return None if item is None else decode_credentials(item)

    def all_credentials(self, customer_id: str) -> Sequence[StoredCredentials]:
        """Return the customer's credentials, by provider, read consistently."""
        request = {
            "KeyConditionExpression": "pk = :customer",
            "ExpressionAttributeValues": {":customer": string(f"CREDENTIALS#{customer_id}")},
            "ConsistentRead": True,
        }
        return [decode_credentials(item) for item in self._query(request)]

    def replace_credentials(
        self, before: StoredCredentials | None, after: StoredCredentials, audit: AuditRecord
    ) -> bool:
        """Put ``after`` in the place of ``before``, or where there was nothing."""
        return self._act(audit, [put_credentials(self._accounts_table, before, after)])

    def delete_credentials(self, stored: StoredCredentials, audit: AuditRecord) -> bool:
        """Delete them for good."""
        return self._act(audit, [remove_credentials(self._accounts_table, stored)])

    def mark_used(self, stored: StoredCredentials, at: datetime) -> None:
        """Note that they were used, if that is news and they are still the ones in force."""
        try:
            with contention():
                self._client.update_item(**note_use(self._accounts_table, stored, at))
        except ClientError as error:
            if failed_condition(error) is None:
                raise
