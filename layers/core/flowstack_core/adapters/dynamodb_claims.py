"""Idempotency keys in the table of the sessions: a *claim* is the state of one (S3)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from flowstack_core.adapters.dynamodb_codec import (
    Item,
    document_value,
    epoch_value,
    instant_value,
    read_document,
    read_instant,
    string,
)
from flowstack_core.domain.idempotency import Claim, IdempotencyKey


def claim_key(key: IdempotencyKey) -> dict[str, Any]:
    """Return the key of an idempotency key's claim."""
    return {"pk": string(f"IDEMPOTENCY#{key.customer_id}#{key.digest}"), "sk": string("CLAIM")}


def decode_claim(item: Item) -> Claim:
    """Read a claim."""
    return Claim(
        key=IdempotencyKey(
            customer_id=item["customer_id"]["S"],
            digest=item["digest"]["S"],
            fingerprint=item["fingerprint"]["S"],
        ),
        owner=item["owner"]["S"],
        lease_until=read_instant(item, "lease_until"),
        expires_at=read_instant(item, "expires_at"),
        answer=read_document(item["answer"]) if "answer" in item else None,
    )


def answer_claim(table: str, claim: Claim, answer: dict[str, Any]) -> dict[str, Any]:
    """Keep the answer for retries, if the key is still this attempt's (S3)."""
    return {
        "Update": {
            "TableName": table,
            "Key": claim_key(claim.key),
            "UpdateExpression": "SET answer = :answer",
            "ConditionExpression": "#owner = :owner",
            "ExpressionAttributeNames": {"#owner": "owner"},
            "ExpressionAttributeValues": {
                ":answer": document_value(answer),
                ":owner": string(claim.owner),
            },
        }
    }


def put_claim(table: str, claim: Claim, now: datetime) -> dict[str, Any]:
    """Take an idempotency key that is free, forgotten, our own, or left by a dead attempt (S3).

    The condition says what `Claim.may_be_taken_by` says.
    """
    return {
        "TableName": table,
        "Item": {
            **claim_key(claim.key),
            "customer_id": string(claim.key.customer_id),
            "digest": string(claim.key.digest),
            "fingerprint": string(claim.key.fingerprint),
            "owner": string(claim.owner),
            "lease_until": instant_value(claim.lease_until),
            "expires_at": instant_value(claim.expires_at),
            "ttl": epoch_value(claim.expires_at),
        },
        "ConditionExpression": (
            "attribute_not_exists(pk) OR expires_at <= :now"
            " OR (attribute_not_exists(answer) AND #owner = :owner)"
            " OR (attribute_not_exists(answer) AND lease_until <= :now"
            " AND fingerprint = :fingerprint)"
        ),
        "ExpressionAttributeNames": {"#owner": "owner"},
        "ExpressionAttributeValues": {
            ":now": instant_value(now),
            ":owner": string(claim.owner),
            ":fingerprint": string(claim.key.fingerprint),
        },
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }


def delete_claim(table: str, claim: Claim) -> dict[str, Any]:
    """Give up our own unanswered claim."""
    return {
        "TableName": table,
        "Key": claim_key(claim.key),
        "ConditionExpression": "#owner = :owner AND attribute_not_exists(answer)",
        "ExpressionAttributeNames": {"#owner": "owner"},
        "ExpressionAttributeValues": {":owner": string(claim.owner)},
    }
