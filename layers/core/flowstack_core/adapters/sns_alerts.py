"""Alerts on the operators' topic."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from flowstack_core.domain.alerts import Alert
from flowstack_core.services.documents import usage_alert_event

if TYPE_CHECKING:
    from mypy_boto3_sns import SNSClient


class SnsAlertTopic:
    """`flowstack_core.services.ports.alerts.AlertTopic` on SNS."""

    def __init__(self, client: SNSClient, topic_arn: str) -> None:
        self._client = client
        self._topic_arn = topic_arn

    def publish(self, alert: Alert) -> None:
        """Tell that a threshold was reached; ``event_id`` is the same each time.

        The subject is for people who subscribe by mail; it is cut where SNS would refuse it.
        """
        event = usage_alert_event(alert)
        self._client.publish(
            TopicArn=self._topic_arn,
            Subject=f"FlowStack: {alert.threshold} % used by {alert.customer_id}"[:100],
            Message=json.dumps({"summary": alert.sentence, **event}),
            MessageAttributes={
                "event_id": {"DataType": "String", "StringValue": event["event_id"]},
                "customer_id": {"DataType": "String", "StringValue": alert.customer_id},
            },
        )
