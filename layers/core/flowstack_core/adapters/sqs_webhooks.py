"""The queue of webhooks: events to be delivered, and the steps of their deliveries."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from flowstack_core.adapters.dynamodb_codec import decode_instant, encode_instant
from flowstack_core.adapters.sqs_contention import contention
from flowstack_core.domain.webhooks import Step, WebhookEvent

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

_LONGEST_DELAY_SECONDS = 900
"""SQS delays a message for 15 minutes at most; a step that comes too early asks again."""

_BATCH = 10


class MalformedMessageError(ValueError):
    """The message is neither an event nor a step."""


def encode_event(event: WebhookEvent) -> str:
    """Write the message that has an event delivered."""
    return json.dumps(
        {
            "event": {
                "event_id": event.event_id,
                "customer_id": event.customer_id,
                "type": event.type,
                "at": encode_instant(event.at),
                "data": dict(event.data),
            }
        }
    )


def encode_step(step: Step) -> str:
    """Write the message that asks for a step."""
    return json.dumps(
        {
            "customer_id": step.customer_id,
            "event_id": step.event_id,
            "series": step.series,
            "number": step.number,
        }
    )


def decode_message(body: str) -> WebhookEvent | Step:
    """Read a message.

    Raises
    ------
    MalformedMessageError
        If it is none.
    """
    try:
        document = json.loads(body)
        return _event(document["event"]) if "event" in document else _step(document)
    except (KeyError, TypeError, ValueError) as error:
        raise MalformedMessageError("neither an event of a webhook nor a step") from error


def _event(document: dict[str, Any]) -> WebhookEvent:
    return WebhookEvent(
        event_id=_text(document["event_id"]),
        customer_id=_text(document["customer_id"]),
        type=_text(document["type"]),
        at=decode_instant(document["at"]),
        data=dict(document["data"]),
    )


def _step(document: dict[str, Any]) -> Step:
    return Step(
        customer_id=_text(document["customer_id"]),
        event_id=_text(document["event_id"]),
        series=int(document["series"]),
        number=int(document["number"]),
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise MalformedMessageError("ids and types must be texts")
    return value


class SqsWebhookOutbox:
    """`flowstack_core.services.ports.webhooks.WebhookOutbox` on Amazon SQS."""

    def __init__(self, client: SQSClient, queue_url: str) -> None:
        self._client = client
        self._queue_url = queue_url

    def send(self, event: WebhookEvent) -> None:
        """Have an event delivered, if its customer has a webhook."""
        self._put(encode_event(event))

    def _put(self, body: str, delay_seconds: int = 0) -> None:
        with contention():
            self._client.send_message(
                QueueUrl=self._queue_url, MessageBody=body, DelaySeconds=delay_seconds
            )


class SqsWebhookQueue(SqsWebhookOutbox):
    """`flowstack_core.services.ports.webhooks.WebhookQueue` on Amazon SQS.

    Parameters
    ----------
    dead_letters_url
        Where steps go that were given up; a function that gives up none need not know it.
    """

    def __init__(self, client: SQSClient, queue_url: str, dead_letters_url: str) -> None:
        super().__init__(client, queue_url)
        self._dead_letters_url = dead_letters_url

    def go_on(self, step: Step, delay: timedelta) -> None:
        """Ask for a step, ``delay`` from now or as late as the queue can."""
        # Rounded up: a step that comes a moment too early would only ask again.
        seconds = max(0, -int(-delay.total_seconds() // 1))
        self._put(encode_step(step), min(seconds, _LONGEST_DELAY_SECONDS))

    def give_up(self, step: Step, reason: str) -> None:
        """Put a step among the dead letters, with the reason."""
        with contention():
            self._client.send_message(
                QueueUrl=self._dead_letters_url,
                MessageBody=encode_step(step),
                MessageAttributes={"Reason": {"DataType": "String", "StringValue": reason}},
            )

    def redrive(self, limit: int) -> int:
        """Ask again for dead letters, up to ``limit``; return how many.

        A letter is sent before it is deleted: it may be asked for twice, and is never lost.
        """
        moved = 0
        while moved < limit:
            letters = self._client.receive_message(
                QueueUrl=self._dead_letters_url, MaxNumberOfMessages=min(_BATCH, limit - moved)
            ).get("Messages", [])
            if not letters:
                break
            for letter in letters:
                self._put(letter["Body"])
                self._client.delete_message(
                    QueueUrl=self._dead_letters_url, ReceiptHandle=letter["ReceiptHandle"]
                )
            moved += len(letters)
        return moved
