"""Messages of the queue of deferred requests: each on its own, failures reported one by one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.batch import EventType

from flowstack_core.adapters.sqs_deferred import decode_message
from flowstack_core.adapters.system import LambdaTimeBudget
from flowstack_core.domain.errors import FlowStackError
from flowstack_core.events.batches import LambdaFunction, each_record
from flowstack_core.http import telemetry
from flowstack_core.services.deferred import DeferredRunner

logger = Logger()


def deferred_requests(runner: Callable[[], DeferredRunner]) -> LambdaFunction:
    """Return the Lambda handler that runs each request that a message names.

    A message that fails comes again; what a request has failed at for good is no failure of its
    message.
    """

    def run(record: dict[str, Any], budget: LambdaTimeBudget) -> None:
        telemetry.count_run()
        try:
            answer(record, budget)
        finally:
            telemetry.flush()

    def answer(record: dict[str, Any], budget: LambdaTimeBudget) -> None:
        customer_id, request_id = decode_message(record["body"])
        named = {"customer_id": customer_id, "request_id": request_id}
        outcome = runner().run(customer_id, request_id, budget)
        if outcome is None:
            logger.info("nothing to do", extra=named)
        elif isinstance(outcome, FlowStackError):
            logger.info("failed", extra={**named, "error_code": outcome.code})
            telemetry.count_error(outcome)
        else:
            telemetry.count_answer("deferred", outcome)

    def handler(event: dict[str, Any], context: Any) -> Any:
        budget = LambdaTimeBudget(context)
        return each_record(EventType.SQS, lambda record: run(record, budget))(event, context)

    return handler
