"""The queue of deferred requests. A message holds names only: bodies may be larger than it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from flowstack_core.adapters.sqs_contention import contention

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient


class SqsDeferredQueue:
    """`flowstack_core.services.ports.deferred.DeferredQueue` on Amazon SQS."""

    def __init__(self, client: SQSClient, queue_url: str) -> None:
        self._client = client
        self._queue_url = queue_url

    def send(self, customer_id: str, request_id: str) -> None:
        """Have the request run."""
        body = encode_message(customer_id, request_id)
        with contention():
            self._client.send_message(QueueUrl=self._queue_url, MessageBody=body)


def encode_message(customer_id: str, request_id: str) -> str:
    """Write the message of a request."""
    return json.dumps({"customer_id": customer_id, "request_id": request_id})


def decode_message(body: str) -> tuple[str, str]:
    """Read what `encode_message` wrote: the customer's id and the request's."""
    document = json.loads(body)
    return document["customer_id"], document["request_id"]
