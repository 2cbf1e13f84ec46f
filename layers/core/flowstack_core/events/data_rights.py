"""The steps of exports and erasures, as SQS delivers them: one message, one step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.batch import EventType

from flowstack_core.adapters.sqs_data_rights import decode_step_message
from flowstack_core.events.batches import LambdaFunction, each_record
from flowstack_core.services.erasures import ErasureService
from flowstack_core.services.exports import ExportService

logger = Logger()


def data_rights_steps(
    exports: Callable[[], ExportService], erasures: Callable[[], ErasureService]
) -> LambdaFunction:
    """Return the Lambda handler that does one step a message."""

    def on_record(record: dict[str, Any]) -> None:
        message = decode_step_message(record["body"])
        facts = {"customer_id": message.customer_id, "step": message.step}
        if message.export_id is None:
            erasure = erasures().step(message.customer_id, message.step)
            logger.info("erasure", extra={**facts, "phase": erasure.phase.value})
            return
        export = exports().step(message.customer_id, message.export_id, message.step)
        ready = export is not None and export.ready_at is not None
        logger.info("export", extra={**facts, "export_id": message.export_id, "ready": ready})

    return each_record(EventType.SQS, on_record)
