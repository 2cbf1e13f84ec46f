"""The queue of deferred requests: names only, and which failures are worth another try."""

from __future__ import annotations

import json

import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber
from mypy_boto3_sqs import SQSClient

from flowstack_core.adapters.sqs_deferred import SqsDeferredQueue, decode_message, encode_message
from flowstack_core.services.ports.failures import StoreContentionError

URL = "http://127.0.0.1:9/requests"


def test_a_message_names_the_request_and_nothing_else(client: SQSClient) -> None:
    body = encode_message("cus_1", "req_1")
    assert json.loads(body) == {"customer_id": "cus_1", "request_id": "req_1"}
    assert decode_message(body) == ("cus_1", "req_1")
    with Stubber(client) as stub:
        sent = {"QueueUrl": URL, "MessageBody": body}
        stub.add_response("send_message", {"MessageId": "m1"}, sent)
        SqsDeferredQueue(client, URL).send("cus_1", "req_1")
        stub.assert_no_pending_responses()


@pytest.mark.parametrize(
    ("code", "status"), [("RequestThrottled", 403), ("InternalFailure", 500), ("Whatever", 503)]
)
def test_what_passes_by_itself_is_contention(client: SQSClient, code: str, status: int) -> None:
    with Stubber(client) as stub:
        stub.add_client_error("send_message", code, http_status_code=status)
        with pytest.raises(StoreContentionError):
            SqsDeferredQueue(client, URL).send("cus_1", "req_1")


def test_what_does_not_pass_by_itself_is_not_hidden(client: SQSClient) -> None:
    with Stubber(client) as stub:
        stub.add_client_error("send_message", "AccessDenied", http_status_code=403)
        with pytest.raises(ClientError):
            SqsDeferredQueue(client, URL).send("cus_1", "req_1")


def test_a_lost_connection_is_contention(client: SQSClient) -> None:
    with pytest.raises(StoreContentionError):
        SqsDeferredQueue(client, URL).send("cus_1", "req_1")
