"""The steps of exports and erasures as messages on SQS."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

_LONGEST_DELAY_SECONDS = 900
"""SQS delays a message for 15 minutes at most; a step that comes too early asks again."""


class MalformedStepError(ValueError):
    """The message is no step of an export or an erasure."""


@dataclass(frozen=True, slots=True)
class StepMessage:
    """Asks for a step: of an export, or without ``export_id`` of an erasure."""

    customer_id: str
    step: int
    export_id: str | None = None


def encode_step_message(message: StepMessage) -> str:
    """Write a message."""
    return json.dumps(
        {
            "customer_id": message.customer_id,
            "step": message.step,
            "export_id": message.export_id,
        }
    )


def decode_step_message(body: str) -> StepMessage:
    """Read a message.

    Raises
    ------
    MalformedStepError
        If it is none.
    """
    try:
        document = json.loads(body)
        customer_id, export_id = document["customer_id"], document["export_id"]
        if not isinstance(customer_id, str) or not isinstance(export_id, str | None):
            raise MalformedStepError("ids must be texts")
        return StepMessage(customer_id, int(document["step"]), export_id)
    except (KeyError, TypeError, ValueError) as error:
        raise MalformedStepError("not a step of an export or an erasure") from error


class SQSDataRightsQueue:
    """`flowstack_core.services.ports.data_rights.DataRightsQueue` on SQS."""

    def __init__(self, client: SQSClient, url: str) -> None:
        self._client = client
        self._url = url

    def send_export(self, customer_id: str, export_id: str, step: int) -> None:
        """Ask for a step of an export."""
        self._send(StepMessage(customer_id, step, export_id), 0)

    def send_erasure(self, customer_id: str, step: int, delay: timedelta) -> None:
        """Ask for a step of an erasure, ``delay`` from now or as late as the queue can."""
        # Rounded up: a step that comes a moment too early would only ask again.
        seconds = -int(-delay.total_seconds() // 1)
        self._send(StepMessage(customer_id, step), min(seconds, _LONGEST_DELAY_SECONDS))

    def _send(self, message: StepMessage, delay_seconds: int) -> None:
        self._client.send_message(
            QueueUrl=self._url,
            MessageBody=encode_step_message(message),
            DelaySeconds=delay_seconds,
        )
