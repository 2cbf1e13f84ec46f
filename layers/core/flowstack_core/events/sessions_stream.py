"""Batches of a DynamoDB stream: each record on its own, failures reported one by one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.batch import (
    BatchProcessor,
    EventType,
    process_partial_response,
)
from aws_lambda_powertools.utilities.data_classes.dynamo_db_stream_event import DynamoDBRecord

from flowstack_core.adapters.dynamodb_sessions import HEAD_SORT_KEY, decode_session
from flowstack_core.domain.sessions import Session

logger = Logger()

BatchFunction = Callable[[dict[str, Any], Any], Any]


def deleted_sessions(on_deleted: Callable[[Session], bool]) -> BatchFunction:
    """Return the Lambda handler that passes on each session whose item was deleted.

    The event source is told which records failed (``ReportBatchItemFailures``), so that one bad
    record neither hides nor holds up the others for ever.
    """
    processor = BatchProcessor(event_type=EventType.DynamoDBStreams)

    def record_handler(record: DynamoDBRecord) -> None:
        session = deleted_session(record.raw_event)
        if session is not None and on_deleted(session):
            logger.info(
                "released an expired session",
                extra={
                    "session_id": session.session_id,
                    "customer_id": session.conversation.customer_id,
                },
            )

    @logger.inject_lambda_context
    def handler(event: dict[str, Any], context: Any) -> Any:
        return process_partial_response(
            event=event, record_handler=record_handler, processor=processor, context=context
        )

    return handler


def deleted_session(record: dict[str, Any]) -> Session | None:
    """Return the session whose item a stream record reports as deleted, ``None`` for others."""
    change = record["dynamodb"]
    if record["eventName"] != "REMOVE" or change["Keys"]["sk"]["S"] != HEAD_SORT_KEY:
        return None
    return decode_session(change["OldImage"])
