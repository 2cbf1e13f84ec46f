"""Records as DynamoDB's streams and SQS's queues give them to a Lambda function, in batches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Record = dict[str, Any]


def stream_record(
    number: int,
    event: str,
    *,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> Record:
    """Return what a stream tells of one item, by the images that the stream shows.

    Parameters
    ----------
    event
        ``INSERT``, ``MODIFY`` or ``REMOVE``.
    """
    image = after if after is not None else before
    assert image is not None
    change: Record = {
        "SequenceNumber": str(number),
        "Keys": {"pk": image["pk"], "sk": image["sk"]},
    }
    change |= {} if before is None else {"OldImage": before}
    change |= {} if after is None else {"NewImage": after}
    return {
        "eventID": str(number),
        "eventName": event,
        "eventSource": "aws:dynamodb",
        "dynamodb": change,
    }


def queue_record(message_id: str, body: str, *, received: int = 1) -> Record:
    """Return a message of a queue, which was ``received`` so often, this time included."""
    return {
        "messageId": message_id,
        "receiptHandle": f"handle-{message_id}",
        "body": body,
        "attributes": {"ApproximateReceiveCount": str(received)},
        "messageAttributes": {},
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:queue",
        "awsRegion": "us-east-1",
    }
