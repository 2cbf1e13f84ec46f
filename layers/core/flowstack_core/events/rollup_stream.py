"""The stream of the sessions table: sessions in which something was answered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.batch import EventType

from flowstack_core.adapters.dynamodb_sessions import HEAD_SORT_KEY, decode_session
from flowstack_core.adapters.dynamodb_talk import decode_said
from flowstack_core.adapters.system import LambdaTimeBudget
from flowstack_core.domain.sessions import Session
from flowstack_core.events.batches import LambdaFunction, each_record
from flowstack_core.services.rollups import RollupService

logger = Logger()


def grown_sessions(service: Callable[[], RollupService]) -> LambdaFunction:
    """Return the Lambda handler that rolls up the sessions of a batch.

    They are rolled up together, and reported one by one: each record that a session failed in,
    and each that cannot be read.
    """

    @logger.inject_lambda_context
    def handler(event: dict[str, Any], context: Any) -> Any:
        states: dict[str, Session | Exception | None] = {}
        for record in event["Records"]:
            states[_number(record)] = _read(record)
        grown = [state for state in states.values() if isinstance(state, Session)]
        failed = service().roll_up(grown, LambdaTimeBudget(context)) if grown else {}
        logger.info(
            "rolled up", extra={"records": len(states), "grown": len(grown), "failed": len(failed)}
        )

        def report(record: dict[str, Any]) -> None:
            state = states[_number(record)]
            failure = failed.get(state.session_id) if isinstance(state, Session) else state
            if failure is not None:
                raise failure

        return each_record(EventType.DynamoDBStreams, report)(event, context)

    return handler


def grown_session(record: dict[str, Any]) -> Session | None:
    """Return the session in which a stream record reports an answer, ``None`` for other changes.

    A message that joins changes a session too, and no sums; that is told without a request.
    """
    change = record["dynamodb"]
    image = change.get("NewImage")
    if image is None or change["Keys"]["sk"]["S"] != HEAD_SORT_KEY or "processed_at" not in image:
        return None
    before = change.get("OldImage", {})
    same_session = before.get("session_id") == image["session_id"]
    if same_session and decode_said(before) == decode_said(image):
        return None
    return decode_session(image)


def _read(record: dict[str, Any]) -> Session | Exception | None:
    try:
        return grown_session(record)
    except (KeyError, ValueError) as error:
        return error


def _number(record: dict[str, Any]) -> str:
    return str(record["dynamodb"]["SequenceNumber"])
