"""The queue of webhooks: what its messages say, and which failures are worth another try."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta

import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber
from mypy_boto3_sqs import SQSClient

from flowstack_core.adapters.sqs_webhooks import (
    MalformedMessageError,
    SqsWebhookOutbox,
    SqsWebhookQueue,
    decode_message,
    encode_event,
    encode_step,
)
from flowstack_core.domain.webhooks import Step, WebhookEvent
from flowstack_core.services.ports.failures import StoreContentionError
from tests.support.fakes import NOON

URL = "http://127.0.0.1:9/webhooks"
LETTERS = "http://127.0.0.1:9/letters"
EVENT = WebhookEvent("evt_1", "cus_1", "usage.alert", NOON, {"threshold": 75})
STEP = Step("cus_1", "evt_1", 2, 3)


@pytest.fixture
def sqs(client: SQSClient) -> Iterator[Stubber]:
    with Stubber(client) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()


def test_messages_are_read_as_they_were_written() -> None:
    assert decode_message(encode_event(EVENT)) == EVENT
    assert decode_message(encode_step(STEP)) == STEP


@pytest.mark.parametrize(
    "body",
    [
        *("", "null", "[]", "{}", '"event"', '{"event": {}}', '{"event": null}'),
        json.dumps({"customer_id": 1, "event_id": "e", "series": 1, "number": 1}),
        json.dumps({"customer_id": "c", "event_id": "e", "series": None, "number": 1}),
        encode_event(EVENT).replace("evt_1", "evt.1"),
        encode_event(EVENT).replace("2026", "now"),
    ],
)
def test_what_is_no_message_says_so(body: str) -> None:
    with pytest.raises(MalformedMessageError):
        decode_message(body)


def test_an_event_is_sent_at_once(client: SQSClient, sqs: Stubber) -> None:
    sent = {"QueueUrl": URL, "MessageBody": encode_event(EVENT), "DelaySeconds": 0}
    sqs.add_response("send_message", {"MessageId": "m1"}, sent)
    SqsWebhookOutbox(client, URL).send(EVENT)


@pytest.mark.parametrize(
    ("delay", "seconds"), [(-1, 0), (0, 0), (0.2, 1), (5, 5), (900, 900), (36_000, 900)]
)
def test_a_step_is_delayed_for_as_long_as_the_queue_can(
    delay: float, seconds: int, client: SQSClient, sqs: Stubber
) -> None:
    sent = {"QueueUrl": URL, "MessageBody": encode_step(STEP), "DelaySeconds": seconds}
    sqs.add_response("send_message", {"MessageId": "m1"}, sent)
    SqsWebhookQueue(client, URL, LETTERS).go_on(STEP, timedelta(seconds=delay))


def test_what_is_given_up_says_why(client: SQSClient, sqs: Stubber) -> None:
    reason = {"DataType": "String", "StringValue": "timeout"}
    sent = {
        "QueueUrl": LETTERS,
        "MessageBody": encode_step(STEP),
        "MessageAttributes": {"Reason": reason},
    }
    sqs.add_response("send_message", {"MessageId": "m1"}, sent)
    SqsWebhookQueue(client, URL, LETTERS).give_up(STEP, "timeout")


def test_a_dead_letter_is_sent_before_it_is_deleted_and_no_more_than_asked_for(
    client: SQSClient, sqs: Stubber
) -> None:
    def letters(*bodies: str) -> dict[str, object]:
        return {"Messages": [{"Body": body, "ReceiptHandle": f"r-{body}"} for body in bodies]}

    for wanted, bodies in ((3, ("a", "b")), (1, ("c",))):
        asked = {"QueueUrl": LETTERS, "MaxNumberOfMessages": wanted}
        sqs.add_response("receive_message", letters(*bodies), asked)
        for body in bodies:
            sent = {"QueueUrl": URL, "MessageBody": body, "DelaySeconds": 0}
            sqs.add_response("send_message", {"MessageId": "m1"}, sent)
            deleted = {"QueueUrl": LETTERS, "ReceiptHandle": f"r-{body}"}
            sqs.add_response("delete_message", {}, deleted)
    assert SqsWebhookQueue(client, URL, LETTERS).redrive(3) == 3


def test_without_dead_letters_there_is_nothing_to_redrive(client: SQSClient, sqs: Stubber) -> None:
    sqs.add_response("receive_message", {}, {"QueueUrl": LETTERS, "MaxNumberOfMessages": 10})
    assert SqsWebhookQueue(client, URL, LETTERS).redrive(100) == 0


@pytest.mark.parametrize(
    ("code", "status"), [("RequestThrottled", 403), ("InternalFailure", 500), ("Whatever", 503)]
)
def test_what_passes_by_itself_is_contention(
    code: str, status: int, client: SQSClient, sqs: Stubber
) -> None:
    sqs.add_client_error("send_message", code, http_status_code=status)
    with pytest.raises(StoreContentionError):
        SqsWebhookOutbox(client, URL).send(EVENT)


def test_what_does_not_pass_by_itself_is_not_hidden(client: SQSClient, sqs: Stubber) -> None:
    sqs.add_client_error("send_message", "AccessDenied", http_status_code=403)
    with pytest.raises(ClientError):
        SqsWebhookOutbox(client, URL).send(EVENT)
