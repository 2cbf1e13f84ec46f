"""The queue of webhooks: each message an event to be delivered, or the next step of that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.batch import EventType

from flowstack_core.adapters.sqs_webhooks import decode_message
from flowstack_core.domain.webhooks import Delivery, Status, Step, WebhookEvent
from flowstack_core.events.batches import LambdaFunction, each_record
from flowstack_core.metrics import MetricLog

logger = Logger()
_metrics = MetricLog("webhooks")


class Worker(Protocol):
    """Makes the attempts of deliveries; returns what it made one of."""

    def deliver(self, event: WebhookEvent, message_id: str) -> Delivery | None:
        """Begin to deliver an event."""
        ...

    def go_on(self, step: Step, message_id: str) -> Delivery | None:
        """Take a step of a delivery."""
        ...


def webhooks(worker: Callable[[], Worker]) -> LambdaFunction:
    """Return the Lambda handler of the queue. A message that fails comes again."""

    def on_message(record: dict[str, Any]) -> None:
        _metrics.count("WebhookMessages")
        asked, message_id = decode_message(record["body"]), record["messageId"]
        if isinstance(asked, Step):
            made = worker().go_on(asked, message_id)
        else:
            made = worker().deliver(asked, message_id)
        if made is not None:
            _report(made)

    each = each_record(EventType.SQS, on_message)

    def handler(event: dict[str, Any], context: Any) -> Any:
        try:
            return each(event, context)
        finally:
            _metrics.flush()

    return handler


def _report(delivery: Delivery) -> None:
    """Leave a line about an attempt, without address or content, and count it."""
    attempt = delivery.attempts[-1]
    _metrics.count("WebhookAttempts")
    _metrics.count("WebhooksDelivered", int(delivery.status is Status.DELIVERED))
    _metrics.count("WebhooksFailed", int(delivery.status is Status.FAILED))
    logger.info(
        "attempted",
        extra={
            "customer_id": delivery.event.customer_id,
            "event_id": delivery.event.event_id,
            "type": delivery.event.type,
            "series": attempt.series,
            "attempt": attempt.number,
            "status": attempt.status,
            "reason": attempt.failure,
            "milliseconds": attempt.milliseconds,
            "outcome": delivery.status.value,
        },
    )
