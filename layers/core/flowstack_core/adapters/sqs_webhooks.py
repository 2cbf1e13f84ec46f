"""Events for customers' webhooks as messages on SQS."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from flowstack_core.domain.periods import instant
from flowstack_core.domain.webhooks import WebhookEvent

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient


class SqsWebhookOutbox:
    """`flowstack_core.services.ports.WebhookOutbox` on SQS."""

    def __init__(self, client: SQSClient, queue_url: str) -> None:
        self._client = client
        self._queue_url = queue_url

    def send(self, event: WebhookEvent) -> None:
        """Have the event delivered to the customer's webhook, if there is one."""
        document = {
            "event_id": event.event_id,
            "customer_id": event.customer_id,
            "type": event.type,
            "at": instant(event.at),
            "data": dict(event.data),
        }
        self._client.send_message(QueueUrl=self._queue_url, MessageBody=json.dumps(document))
