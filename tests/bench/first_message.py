"""Answers one message in a fresh process: ``python first_message.py <event of API Gateway>``.

The conversation function is imported and asked once. AWS is not: botocore is handed what DynamoDB
and Bedrock would answer, before it would connect. So this takes what the function itself takes, of
the first message of a session, from nothing to its answer.
"""

from __future__ import annotations

import json
import sys
from http import HTTPStatus
from importlib import import_module
from typing import Any

from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.httpsession import URLLib3Session

_ANSWER = {
    "output": {"message": {"role": "assistant", "content": [{"text": "You said: Hello"}]}},
    "stopReason": "end_turn",
    "usage": {"inputTokens": 1, "outputTokens": 4, "totalTokens": 5},
    "metrics": {"latencyMs": 1},
}
_NO_SESSION = {
    "__type": "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException",
    "message": "The conditional request failed",
}


class _Raw:
    """The body of a response, as urllib3 would hand it over."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self) -> list[bytes]:
        return [self._body]


class _Context:
    """The context object of the invocation."""

    function_name = "conversation"
    memory_limit_in_mb = 1024
    invoked_function_arn = "arn:aws:lambda:us-east-1:000000000000:function:conversation"
    aws_request_id = "lambda-1"

    def get_remaining_time_in_millis(self) -> int:
        return 28_000


def _send(_: URLLib3Session, request: AWSPreparedRequest) -> AWSResponse:
    """Answer as the service would that is asked, without asking it."""
    operation = request.headers.get("X-Amz-Target", b"").rpartition(b".")[2]
    # A conversation is first looked for as a session that goes on: there is none to update.
    unknown = operation == b"UpdateItem" and b"REMOVE" not in request.body
    status, document = (400, _NO_SESSION) if unknown else (200, {} if operation else _ANSWER)
    return AWSResponse(request.url, status, {}, _Raw(json.dumps(document).encode()))


def main() -> None:
    """Answer it, or say why it could not be answered."""
    URLLib3Session.send = _send
    answer = import_module("handler").handler(json.loads(sys.argv[1]), _Context())
    if answer["statusCode"] != HTTPStatus.OK:
        raise SystemExit(answer["body"])


if __name__ == "__main__":
    main()
