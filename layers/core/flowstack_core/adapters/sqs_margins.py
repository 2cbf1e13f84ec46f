"""The messages of the daily report of margins on SQS: steps of its runs."""

from __future__ import annotations

import json
from datetime import date
from typing import TYPE_CHECKING

from flowstack_core.adapters.sqs_month_end import MalformedMessageError
from flowstack_core.domain.margin import MarginRun
from flowstack_core.domain.periods import Period

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient


def encode_step(run: MarginRun) -> str:
    """Write the message that asks for a run's next step."""
    return json.dumps({"period": run.period.name, "day": run.day.isoformat(), "step": run.step})


def decode_step(body: str) -> tuple[Period, date, int]:
    """Read the message that asks for a step.

    Raises
    ------
    MalformedMessageError
        If it is none.
    """
    try:
        message = json.loads(body)
        return (
            Period.parse(message["period"]),
            date.fromisoformat(message["day"]),
            int(message["step"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise MalformedMessageError("not a step of a report of margins") from error


class SQSMarginQueue:
    """`flowstack_core.services.ports.margins.MarginQueue` on SQS."""

    def __init__(self, client: SQSClient, queue_url: str) -> None:
        self._client = client
        self._queue_url = queue_url

    def send_step(self, run: MarginRun) -> None:
        """Ask for the run's next step."""
        self._client.send_message(QueueUrl=self._queue_url, MessageBody=encode_step(run))
