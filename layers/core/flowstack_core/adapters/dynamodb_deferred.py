"""Deferred requests in the table of the sessions.

Two items a request: its *state*, which is read and written all the time, and its *body*, which is
written once and read by whoever runs it. Both expire a day after the request was accepted. They
stand in one partition a customer, so that they can be listed when the customer is to be erased;
ids are random, so DynamoDB can split it.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from flowstack_core.adapters.dynamodb_claims import answer_claim, claim_key
from flowstack_core.adapters.dynamodb_codec import (
    Item,
    contention,
    document_value,
    epoch_value,
    escaped,
    failed_condition,
    flag,
    instant_value,
    read_document,
    read_instant,
    read_optional_instant,
    string,
    transact,
)
from flowstack_core.domain.errors import PayloadTooLargeError
from flowstack_core.domain.idempotency import Claim

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

    from flowstack_core.domain.deferred import DeferredRequest, Run

MAX_BODY_BYTES = 390_000
"""Compressed; an item of DynamoDB holds 400 KB with its keys and names."""


def request_key(customer_id: str, request_id: str, part: str) -> dict[str, Any]:
    """Return the key of a request's ``STATE`` or ``BODY``: of the customer who sent it."""
    return {
        "pk": string(f"REQUESTS#{customer_id}"),
        "sk": string(f"{escaped(request_id)}#{part}"),
    }


def decode_request(item: Item) -> DeferredRequest:
    """Read a state."""
    from flowstack_core.domain.deferred import DeferredRequest  # noqa: PLC0415

    return DeferredRequest(
        customer_id=item["customer_id"]["S"],
        request_id=item["request_id"]["S"],
        attempt_id=item["attempt_id"]["S"],
        tier=item["tier"]["S"],
        operation=item["operation"]["S"],
        managed=item["managed"]["BOOL"],
        agent=item["agent"]["S"],
        conversation_id=item["conversation_id"]["S"],
        session_id=item["session_id"]["S"],
        period=item["period"]["S"],
        session_started_at=read_instant(item, "session_started_at"),
        session_started=item["session_started"]["BOOL"],
        accepted_at=read_instant(item, "accepted_at"),
        deadline=read_instant(item, "deadline"),
        expires_at=read_instant(item, "expires_at"),
        status=item["status"]["S"],
        run_id=item["run_id"]["S"] if "run_id" in item else None,
        run_until=read_optional_instant(item, "run_until"),
        answer=read_document(item["answer"]) if "answer" in item else None,
        failure=read_document(item["failure"]) if "failure" in item else None,
    )


# --- requests ------------------------------------------------------------------------------


def put_state(table: str, request: DeferredRequest) -> dict[str, Any]:
    """Put a request as it is accepted: nobody knows of it before, so there is no condition."""
    return {
        "Put": {
            "TableName": table,
            "Item": {
                **request_key(request.customer_id, request.request_id, "STATE"),
                "customer_id": string(request.customer_id),
                "request_id": string(request.request_id),
                "attempt_id": string(request.attempt_id),
                "tier": string(request.tier),
                "operation": string(request.operation),
                "managed": flag(request.managed),
                "agent": string(request.agent),
                "conversation_id": string(request.conversation_id),
                "session_id": string(request.session_id),
                "period": string(request.period),
                "session_started_at": instant_value(request.session_started_at),
                "session_started": flag(request.session_started),
                "accepted_at": instant_value(request.accepted_at),
                "deadline": instant_value(request.deadline),
                "expires_at": instant_value(request.expires_at),
                "status": string("queued"),
                "ttl": epoch_value(request.expires_at),
            },
        }
    }


def put_body(table: str, request: DeferredRequest, body: dict[str, Any]) -> dict[str, Any]:
    """Put what was asked for.

    Raises
    ------
    PayloadTooLargeError
        It does not fit an item, compressed as it is.
    """
    value = document_value(body)
    if len(value["B"]) > MAX_BODY_BYTES:
        raise PayloadTooLargeError(
            "The body is too large for a request that is answered later.",
            details={
                "size": len(value["B"]),
                "maximum": MAX_BODY_BYTES,
                "hint": "Sizes are compressed ones. Send less history, or leave out "
                "Prefer: respond-async.",
            },
        )
    return {
        "Put": {
            "TableName": table,
            "Item": {
                **request_key(request.customer_id, request.request_id, "BODY"),
                "body": value,
                "ttl": epoch_value(request.expires_at),
            },
        }
    }


def delete_queued(table: str, request: DeferredRequest) -> dict[str, Any]:
    """Forget a request that no run has begun; one that is gone is as good as forgotten."""
    return {
        "Delete": {
            "TableName": table,
            "Key": request_key(request.customer_id, request.request_id, "STATE"),
            "ConditionExpression": "attribute_not_exists(pk) OR #status = :queued",
            "ExpressionAttributeNames": {"#status": "status"},
            "ExpressionAttributeValues": {":queued": string("queued")},
        }
    }


def delete_body(table: str, request: DeferredRequest) -> dict[str, Any]:
    """Forget what was asked for."""
    return {
        "Delete": {
            "TableName": table,
            "Key": request_key(request.customer_id, request.request_id, "BODY"),
        }
    }


def delete_answered_claim(table: str, claim: Claim) -> dict[str, Any]:
    """Give up a claim that was answered with a request which is forgotten now."""
    return {
        "Delete": {
            "TableName": table,
            "Key": claim_key(claim.key),
            "ConditionExpression": "attribute_not_exists(pk) OR #owner = :owner",
            "ExpressionAttributeNames": {"#owner": "owner"},
            "ExpressionAttributeValues": {":owner": string(claim.owner)},
        }
    }


def begin_run(table: str, run: Run, now: datetime) -> dict[str, Any]:
    """Begin a run of a request that waits for one, or whose last run died.

    The condition says what `DeferredRequest.may_be_run` says, or that this run has begun before.
    """
    return {
        "TableName": table,
        "Key": request_key(run.customer_id, run.request_id, "STATE"),
        "UpdateExpression": "SET #status = :running, run_id = :run, run_until = :until",
        "ConditionExpression": (
            "(#status = :queued AND deadline > :now)"
            " OR (#status = :running AND run_until <= :now AND deadline > :now)"
            " OR (#status = :running AND run_id = :run)"
        ),
        "ExpressionAttributeNames": {"#status": "status"},
        "ExpressionAttributeValues": {
            ":queued": string("queued"),
            ":running": string("running"),
            ":run": string(run.run_id),
            ":until": instant_value(run.until),
            ":now": instant_value(now),
        },
        "ReturnValues": "ALL_NEW",
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }


def end_run(
    table: str, run: Run, status: str, outcome: str, document: dict[str, Any]
) -> dict[str, Any]:
    """Give a request its outcome, if this run is still its last and has given it none."""
    return {
        "TableName": table,
        "Key": request_key(run.customer_id, run.request_id, "STATE"),
        "UpdateExpression": "SET #status = :status, #outcome = :document",
        "ConditionExpression": "#status = :running AND run_id = :run",
        "ExpressionAttributeNames": {"#status": "status", "#outcome": outcome},
        "ExpressionAttributeValues": {
            ":status": string(status),
            ":document": document_value(document),
            ":running": string("running"),
            ":run": string(run.run_id),
        },
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }


# --- the store -----------------------------------------------------------------------------


class DynamoDBDeferredStore:
    """`flowstack_core.services.ports.deferred.DeferredStore` on DynamoDB."""

    def __init__(self, client: DynamoDBClient, sessions_table: str) -> None:
        self._client = client
        self._table = sessions_table

    def accept(self, request: DeferredRequest, body: dict[str, Any], claim: Claim | None) -> bool:
        """Keep a new request, and its id as the answer to its idempotency key."""
        parts = [put_state(self._table, request), put_body(self._table, request, body)]
        if claim is not None:
            parts.append(answer_claim(self._table, claim, {"request_id": request.request_id}))
        return transact(self._client, *parts) is None

    def take_back(self, request: DeferredRequest, claim: Claim | None) -> bool:
        """Forget a request and its idempotency key; ``False`` if a run has begun."""
        parts = [delete_queued(self._table, request), delete_body(self._table, request)]
        if claim is not None:
            parts.append(delete_answered_claim(self._table, claim))
        return transact(self._client, *parts) is None

    def request(self, customer_id: str, request_id: str) -> DeferredRequest | None:
        """Return the request as it stands, read consistently."""
        item = self._get(customer_id, request_id, "STATE")
        return None if item is None else decode_request(item)

    def body(self, customer_id: str, request_id: str) -> dict[str, Any] | None:
        """Return what was asked for."""
        item = self._get(customer_id, request_id, "BODY")
        if item is None:
            return None
        document: dict[str, Any] = read_document(item["body"])
        return document

    def _get(self, customer_id: str, request_id: str, part: str) -> Item | None:
        with contention():
            found = self._client.get_item(
                TableName=self._table,
                Key=request_key(customer_id, request_id, part),
                ConsistentRead=True,
            )
        return found.get("Item")

    def begin(self, run: Run, now: datetime) -> DeferredRequest | None:
        """Begin a run if the request may be run; return the request as it then stands."""
        try:
            with contention():
                updated = self._client.update_item(**begin_run(self._table, run, now))
        except ClientError as error:
            item = failed_condition(error)
            if item is None:
                raise
            return decode_request(item) if item else None
        return decode_request(updated["Attributes"])

    def fail(self, run: Run, failure: dict[str, Any]) -> bool:
        """Record that there will be no answer; ``False`` if the run is no longer the last one."""
        request = end_run(self._table, run, "failed", "failure", failure)
        try:
            with contention():
                self._client.update_item(**request)
        except ClientError as error:
            item = failed_condition(error)
            if item is None:
                raise
            return ended_by(item, run, "failed")
        return True


def ended_by(item: Item | None, run: Run, status: str) -> bool:
    """Whether it was this very run that gave a request this outcome."""
    if not item:
        return False
    request = decode_request(item)
    return request.run_id == run.run_id and request.status == status
