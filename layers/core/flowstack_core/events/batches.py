"""Batches of records: each on its own, failures reported one by one."""

from __future__ import annotations

from collections.abc import Callable
from logging import Logger as StandardLogger
from typing import Any, cast

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.batch import (
    BatchProcessor,
    EventType,
    process_partial_response,
)

logger = Logger()

LambdaFunction = Callable[[dict[str, Any], Any], Any]


def each_record(source: EventType, on_record: Callable[[dict[str, Any]], None]) -> LambdaFunction:
    """Return the Lambda handler that passes on each record of a batch.

    The event source is told which records failed (``ReportBatchItemFailures``), so that one bad
    record neither hides nor holds up the others for ever. Why it failed is in the log.
    """
    # It is a `logging.Logger` in all but its class.
    processor = BatchProcessor(event_type=source, logger=cast("StandardLogger", logger))

    def record_handler(record: Any) -> None:
        on_record(record.raw_event)

    @logger.inject_lambda_context
    def handler(event: dict[str, Any], context: Any) -> Any:
        return process_partial_response(
            event=event, record_handler=record_handler, processor=processor, context=context
        )

    return handler
