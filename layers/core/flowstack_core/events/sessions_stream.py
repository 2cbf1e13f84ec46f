"""The stream of the sessions table: sessions whose items were deleted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.batch import EventType

from flowstack_core.adapters.dynamodb_sessions import HEAD_SORT_KEY, decode_session
from flowstack_core.domain.sessions import Session
from flowstack_core.events.batches import LambdaFunction, each_record
from flowstack_core.metrics import MetricLog

logger = Logger()
_metrics = MetricLog("expiry")


def deleted_sessions(on_deleted: Callable[[Session], bool]) -> LambdaFunction:
    """Return the Lambda handler that passes on each session whose item was deleted."""

    def on_record(record: dict[str, Any]) -> None:
        session = deleted_session(record)
        if session is not None and on_deleted(session):
            _metrics.count("SessionsReleased")
            logger.info(
                "released an expired session",
                extra={
                    "session_id": session.session_id,
                    "customer_id": session.conversation.customer_id,
                },
            )

    records = each_record(EventType.DynamoDBStreams, on_record)

    def handler(event: dict[str, Any], context: Any) -> Any:
        try:
            return records(event, context)
        finally:
            _metrics.flush()

    return handler


def deleted_session(record: dict[str, Any]) -> Session | None:
    """Return the session whose item a stream record reports as deleted, ``None`` for others."""
    change = record["dynamodb"]
    if record["eventName"] != "REMOVE" or change["Keys"]["sk"]["S"] != HEAD_SORT_KEY:
        return None
    return decode_session(change["OldImage"])
