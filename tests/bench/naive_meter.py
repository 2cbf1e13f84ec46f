"""The obvious way to meter, to compare with: read the counter and the session, then write both.

It is here for its cost only. Between its reads and its writes other requests do the same, so it
admits more than the limit and counts fewer than it admits.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from mypy_boto3_dynamodb import DynamoDBClient

_INACTIVITY = timedelta(minutes=30)


class NaiveMeter:
    """Read-then-write metering on the same kind of tables."""

    def __init__(self, client: DynamoDBClient, sessions_table: str, usage_table: str) -> None:
        self._client = client
        self._sessions_table = sessions_table
        self._usage_table = usage_table

    def admit(self, customer_id: str, conversation_id: str, limit: int) -> bool:
        """Admit a message: start a session, or go on with the one that is alive."""
        now = datetime.now(UTC)
        counter_key = _key(f"NAIVE#{customer_id}", f"PERIOD#{now:%Y-%m}")
        session_key = _key(f"NAIVE#{customer_id}#{conversation_id}", "SESSION")
        counter = self._read(self._usage_table, counter_key)
        session = self._read(self._sessions_table, session_key)
        cutoff = (now - _INACTIVITY).isoformat()
        alive = session is not None and session["last_activity_at"]["S"] > cutoff
        used = int(counter["sessions_used"]["N"]) if counter is not None else 0
        if not alive and used >= limit:
            return False
        started_at = session["started_at"] if alive and session else {"S": now.isoformat()}
        self._client.put_item(
            TableName=self._sessions_table,
            Item={
                **session_key,
                "customer_id": {"S": customer_id},
                "conversation_id": {"S": conversation_id},
                "started_at": started_at,
                "last_activity_at": {"S": now.isoformat()},
            },
        )
        if not alive:
            self._client.update_item(
                TableName=self._usage_table,
                Key=counter_key,
                UpdateExpression="SET sessions_used = :used",
                ExpressionAttributeValues={":used": {"N": str(used + 1)}},
            )
        return True

    def _read(self, table: str, key: dict[str, Any]) -> dict[str, Any] | None:
        found = self._client.get_item(TableName=table, Key=key, ConsistentRead=True)
        return found.get("Item")


def _key(pk: str, sk: str) -> dict[str, Any]:
    return {"pk": {"S": pk}, "sk": {"S": sk}}
