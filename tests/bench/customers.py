"""Customers to measure with, and the many sessions of theirs that wait for an answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from mypy_boto3_dynamodb import DynamoDBClient

from flowstack_core.adapters.dynamodb_accounts import DynamoDBAccountStore
from flowstack_core.adapters.dynamodb_sessions import head_key, record_key
from flowstack_core.adapters.dynamodb_usage import counter_key
from flowstack_core.domain.api_keys import KeyRecord
from flowstack_core.domain.periods import Period
from flowstack_core.domain.plans import Tier
from flowstack_core.domain.sessions import Conversation
from flowstack_core.domain.subscriptions import Subscription, Terms
from flowstack_core.services.ports.accounts import AuditRecord, Customer

_numbers = count(1)
_BATCH = 25


def create_customer(
    database: DynamoDBClient, tier: Tier, session_limit: int | None = None
) -> Subscription:
    """Create a customer as the admin API does; its period is not open yet."""
    now = datetime.now(UTC)
    customer_id = f"cus_bench{next(_numbers):011d}"
    subscription = Subscription(customer_id, Terms.of(tier, session_limit))
    created = DynamoDBAccountStore(database, "accounts", "usage").create_customer(
        Customer(customer_id, "Bench", now),
        subscription,
        KeyRecord(f"key_{customer_id}", customer_id, f"{customer_id:0>64}", "fs_…", "bench", now),
        AuditRecord(customer_id, f"aud_{customer_id}", now, "bench", "customer.create", None, {}),
    )
    if not created:
        raise RuntimeError(f"{customer_id} exists already")
    return subscription


def add_held_sessions(database: DynamoDBClient, conversation: Conversation, copies: int) -> None:
    """Add sessions like a conversation's, each of its own, that wait for their first answer."""
    period = Period.containing(datetime.now(UTC))
    customer_id = conversation.customer_id
    head = _get(database, "sessions", head_key(conversation))
    record = _get(database, "sessions", record_key(customer_id, period, head["session_id"]["S"]))
    items = (
        item for number in range(copies) for item in _copies(head, record, conversation, number)
    )
    for batch in _batches(items):
        database.batch_write_item(
            RequestItems={"sessions": [{"PutRequest": {"Item": item}} for item in batch]}
        )
    database.update_item(
        TableName="usage",
        Key=counter_key(customer_id, period),
        UpdateExpression="ADD sessions_used :copies",
        ExpressionAttributeValues={":copies": {"N": str(copies)}},
    )


def _get(database: DynamoDBClient, table: str, key: dict[str, Any]) -> dict[str, Any]:
    item: dict[str, Any] = database.get_item(TableName=table, Key=key, ConsistentRead=True)["Item"]
    return item


def _held_facts(head: dict[str, Any]) -> dict[str, Any]:
    busy_until = datetime.now(UTC) + timedelta(minutes=10)
    return {
        "held_in": {"S": f"{head['customer_id']['S']}#{head['period']['S']}"},
        "in_flight": {
            "M": {f"att_{'0' * 16}": {"S": f"{busy_until:%Y-%m-%dT%H:%M:%S.%f}Z"}},
        },
    }


def _copies(
    head: dict[str, Any],
    record: dict[str, Any],
    conversation: Conversation,
    number: int,
) -> Iterator[dict[str, Any]]:
    name = f"{conversation.conversation_id}-{number:05d}"
    session_id = f"{head['session_id']['S'][:-5]}{number:05d}"
    copy = Conversation(conversation.customer_id, conversation.agent, name)
    yield {
        **{name: value for name, value in head.items() if name != "processed_at"},
        **_held_facts(head),
        **head_key(copy),
        "conversation_id": {"S": name},
        "session_id": {"S": session_id},
    }
    yield {**record, "sk": {"S": session_id}, "conversation_id": {"S": name}}


def _batches(items: Iterator[dict[str, Any]]) -> Iterator[Sequence[dict[str, Any]]]:
    batch: list[dict[str, Any]] = []
    for item in items:
        batch.append(item)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
