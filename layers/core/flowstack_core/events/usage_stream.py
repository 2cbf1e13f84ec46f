"""The stream of the usage table: statements that were written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.batch import EventType

from flowstack_core.adapters.dynamodb_closing import STATEMENT_PREFIX, decode_statement
from flowstack_core.domain.statements import Statement
from flowstack_core.events.batches import LambdaFunction, each_record

logger = Logger()


def written_statements(on_written: Callable[[Statement], None]) -> LambdaFunction:
    """Return the Lambda handler that passes on each statement that was written."""

    def on_record(record: dict[str, Any]) -> None:
        statement = written_statement(record)
        if statement is not None:
            on_written(statement)
            logger.info("told of a statement", extra={"statement_id": statement.statement_id})

    return each_record(EventType.DynamoDBStreams, on_record)


def written_statement(record: dict[str, Any]) -> Statement | None:
    """Return the statement that a stream record reports as new, ``None`` for other changes."""
    change = record["dynamodb"]
    if record["eventName"] != "INSERT" or not change["Keys"]["sk"]["S"].startswith(
        STATEMENT_PREFIX
    ):
        return None
    return decode_statement(change["NewImage"])
