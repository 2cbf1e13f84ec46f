"""The month end's messages on SQS: steps of the listing, and pages to be closed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from flowstack_core.domain.month_end import ClosePage
from flowstack_core.domain.periods import Period
from flowstack_core.services.ports.failures import StoreContentionError

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

_BATCH = 10
"""SQS takes and gives ten messages in a request."""

_LONGEST_REASON = 1_000


class MalformedMessageError(ValueError):
    """The message is not one that this queue carries."""


def encode_step(period: Period, step: int) -> str:
    """Write the message that asks for a step of the listing."""
    return json.dumps({"period": period.name, "step": step})


def decode_step(body: str) -> tuple[Period, int]:
    """Read the message that asks for a step.

    Raises
    ------
    MalformedMessageError
        If it is none.
    """
    try:
        message = json.loads(body)
        return Period.parse(message["period"]), int(message["step"])
    except (KeyError, TypeError, ValueError) as error:
        raise MalformedMessageError("not a step of a month end") from error


def encode_page(page: ClosePage) -> str:
    """Write the message that asks for a page to be closed."""
    return json.dumps(
        {
            "period": page.period.name,
            "page": page.number,
            "customers": list(page.customer_ids),
        }
    )


def decode_page(body: str) -> ClosePage:
    """Read the message that asks for a page to be closed.

    Raises
    ------
    MalformedMessageError
        If it is none.
    """
    try:
        message = json.loads(body)
        customer_ids = message["customers"]
        if not isinstance(customer_ids, list) or not all(isinstance(c, str) for c in customer_ids):
            raise MalformedMessageError("customers must be a list of ids")
        return ClosePage(Period.parse(message["period"]), int(message["page"]), tuple(customer_ids))
    except (KeyError, TypeError, ValueError) as error:
        raise MalformedMessageError("not a page of a month end") from error


class SQSMonthEndQueue:
    """`flowstack_core.services.ports.closing.MonthEndQueue` on SQS.

    Parameters
    ----------
    steps_url, closes_url, dead_letters_url
        The queues; a function that does not use one of them need not know it.
    """

    def __init__(
        self, client: SQSClient, steps_url: str, closes_url: str, dead_letters_url: str
    ) -> None:
        self._client = client
        self._steps_url = steps_url
        self._closes_url = closes_url
        self._dead_letters_url = dead_letters_url

    def send_step(self, period: Period, step: int, delay_seconds: int = 0) -> None:
        """Ask for a step of the listing."""
        self._client.send_message(
            QueueUrl=self._steps_url,
            MessageBody=encode_step(period, step),
            DelaySeconds=delay_seconds,
        )

    def send_pages(self, pages: Sequence[ClosePage]) -> None:
        """Ask for pages to be closed.

        Raises
        ------
        StoreContentionError
            If the queue did not take all of them.
        """
        self._send([encode_page(page) for page in pages])

    def give_up(self, page: ClosePage, reason: str) -> None:
        """Put a page among the dead letters, with the reason."""
        self._client.send_message(
            QueueUrl=self._dead_letters_url,
            MessageBody=encode_page(page),
            MessageAttributes={
                "Reason": {"DataType": "String", "StringValue": reason[:_LONGEST_REASON]}
            },
        )

    def redrive(self, limit: int) -> int:
        """Ask again for dead letters, up to ``limit``; return how many.

        A letter is sent before it is deleted: it may be asked for twice, and is never lost.
        """
        moved = 0
        while moved < limit:
            letters = self._client.receive_message(
                QueueUrl=self._dead_letters_url,
                MaxNumberOfMessages=min(_BATCH, limit - moved),
            ).get("Messages", [])
            if not letters:
                break
            self._send([letter["Body"] for letter in letters])
            for letter in letters:
                self._client.delete_message(
                    QueueUrl=self._dead_letters_url, ReceiptHandle=letter["ReceiptHandle"]
                )
            moved += len(letters)
        return moved

    def _send(self, bodies: Sequence[str]) -> None:
        for batch in _batches(bodies):
            entries: list[Any] = [
                {"Id": str(position), "MessageBody": body} for position, body in enumerate(batch)
            ]
            answer = self._client.send_message_batch(QueueUrl=self._closes_url, Entries=entries)
            if answer.get("Failed"):
                raise StoreContentionError("the queue did not take all messages")


def _batches(bodies: Sequence[str]) -> Iterator[Sequence[str]]:
    for first in range(0, len(bodies), _BATCH):
        yield bodies[first : first + _BATCH]
