"""The services of AWS that only pass things on, in memory: SQS, EventBridge, SNS, SES and KMS.

They stand behind real clients of boto3, in the place of the network, so that the adapters in use
are the real ones. Queues go by a clock that a test moves.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from typing import Any
from urllib.parse import parse_qs

import boto3
from botocore.awsrequest import AWSResponse
from botocore.config import Config

from flowstack_core.services.ports.surroundings import Clock
from tests.support.emulator import REGION
from tests.support.faulty_aws import operation_of, respond
from tests.support.queues import Message

Document = dict[str, Any]

_ONCE = Config(retries={"total_max_attempts": 1})
_PUBLISHED = (
    b"<PublishResponse><PublishResult><MessageId>1</MessageId></PublishResult></PublishResponse>"
)


@dataclass
class LittleAws:
    """Remembers what it was told.

    Attributes
    ----------
    queues
        The messages of each queue, by its address.
    bus, topic, mail
        What was put on the bus, published, and sent by mail.
    broken
        The services that answer with failures.
    """

    clock: Clock
    queues: dict[str, list[Message]] = field(default_factory=dict)
    bus: list[Document] = field(default_factory=list)
    topic: list[Document] = field(default_factory=list)
    mail: list[Document] = field(default_factory=list)
    broken: set[str] = field(default_factory=set)
    _numbers: count[int] = field(default_factory=lambda: count(1))
    _sealed: dict[bytes, tuple[Mapping[str, str], str]] = field(default_factory=dict)

    def client(self, service: str) -> Any:
        """Return a client of one of the services; it tries everything once."""
        made: Any = boto3.client  # its overloads want the service's name literally
        client = made(
            service,
            region_name=REGION,
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=_ONCE,
        )
        client._endpoint.http_session = _LittleSession(self, service)
        return client

    def queue(self, url: str) -> list[Message]:
        """Return the messages of a queue."""
        return self.queues.setdefault(url, [])

    # --- SQS ---------------------------------------------------------------------------------

    def send_message(self, asked: Document) -> Document:
        """Take a message."""
        delay = timedelta(seconds=asked.get("DelaySeconds", 0))
        assert delay <= timedelta(seconds=900), "SQS delays for 15 minutes at most"
        message_id = f"msg-{next(self._numbers)}"
        message = Message(message_id, asked["MessageBody"], self.clock.now() + delay)
        self.queue(asked["QueueUrl"]).append(message)
        return {"MessageId": message_id, "MD5OfMessageBody": ""}

    def send_message_batch(self, asked: Document) -> Document:
        """Take some messages."""
        taken = [
            {"Id": entry["Id"], **self.send_message({**entry, "QueueUrl": asked["QueueUrl"]})}
            for entry in asked["Entries"]
        ]
        return {"Successful": taken, "Failed": []}

    def receive_message(self, asked: Document) -> Document:
        """Give some messages."""
        most = asked.get("MaxNumberOfMessages", 1)
        found = self.queue(asked["QueueUrl"])[:most]
        return {
            "Messages": [
                {"MessageId": one.message_id, "ReceiptHandle": one.message_id, "Body": one.body}
                for one in found
            ]
        }

    def delete_message(self, asked: Document) -> Document:
        """Forget a message."""
        queue = self.queue(asked["QueueUrl"])
        queue[:] = [one for one in queue if one.message_id != asked["ReceiptHandle"]]
        return {}

    # --- EventBridge, SNS, SES ---------------------------------------------------------------

    def put_events(self, asked: Document) -> Document:
        """Take events."""
        self.bus += [json.loads(entry["Detail"]) for entry in asked["Entries"]]
        return {"FailedEntryCount": 0, "Entries": [{"EventId": "1"} for _ in asked["Entries"]]}

    def publish(self, body: bytes | str) -> None:
        """Take what is published."""
        fields = parse_qs(body.decode() if isinstance(body, bytes) else body)
        self.topic.append(json.loads(fields["Message"][0]))

    def send_email(self, asked: Document) -> Document:
        """Take a mail."""
        self.mail.append(asked)
        return {"MessageId": "1"}

    # --- KMS ---------------------------------------------------------------------------------

    def encrypt(self, asked: Document) -> Document:
        """Return a number that stands for the plaintext under its context."""
        blob = f"sealed {next(self._numbers)}".encode()
        self._sealed[blob] = (asked["EncryptionContext"], asked["Plaintext"])
        return {"CiphertextBlob": base64.b64encode(blob).decode(), "KeyId": asked["KeyId"]}

    def decrypt(self, asked: Document) -> Document | None:
        """Return what the number stands for, if it was sealed under the same context."""
        found = self._sealed.get(base64.b64decode(asked["CiphertextBlob"]))
        if found is None or found[0] != asked["EncryptionContext"]:
            return None
        return {"Plaintext": found[1]}

    def opened(self, blob: bytes) -> bytes:
        """Return the plaintext of something sealed, whatever its context."""
        return base64.b64decode(self._sealed[blob][1])


class _LittleSession:
    """The network between a client and one of the services."""

    def __init__(self, aws: LittleAws, service: str) -> None:
        self._aws = aws
        self._service = service
        self._operations: Mapping[str, Callable[[Document], Document | None]] = {
            "SendMessage": aws.send_message,
            "SendMessageBatch": aws.send_message_batch,
            "ReceiveMessage": aws.receive_message,
            "DeleteMessage": aws.delete_message,
            "PutEvents": aws.put_events,
            "Encrypt": aws.encrypt,
            "Decrypt": aws.decrypt,
            "POST": aws.send_email,
        }

    def send(self, request: Any) -> AWSResponse:
        """Answer a request."""
        if self._service in self._aws.broken:
            return respond(request, b'{"__type": "InternalServerError"}', 500)
        if self._service == "sns":
            self._aws.publish(request.body)
            return respond(request, _PUBLISHED, kind="text/xml")
        answer = self._operations[operation_of(request)](json.loads(request.body))
        if answer is None:
            return respond(request, b'{"__type": "InvalidCiphertextException"}', 400)
        return respond(request, json.dumps(answer).encode())
