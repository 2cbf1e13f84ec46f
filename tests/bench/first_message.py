"""Answers one message in a fresh process: ``python first_message.py <event of API Gateway>``.

The conversation function is imported and asked once. AWS is not: botocore is handed what DynamoDB
and Bedrock would answer, before it would connect. So this takes what the function itself takes, of
the first message of a session, from nothing to its answer.
"""

from __future__ import annotations

import json
import os
import sys
from http import HTTPStatus
from importlib import import_module
from typing import Any

_SAID = {
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


def _answer(request: Any) -> tuple[int, dict[str, Any]]:
    """Return status and document of the service that is asked."""
    operation = request.headers.get("X-Amz-Target", b"").rpartition(b".")[2]
    # A conversation is first looked for as a session that goes on: there is none to update.
    if operation == b"UpdateItem" and b"REMOVE" not in request.body:
        return 400, _NO_SESSION
    return 200, {} if operation else _SAID


def main() -> None:
    """Answer it, or say why it could not be answered."""
    function = import_module("handler")
    # As Lambda does, let the function be the first to import these.
    from botocore.awsrequest import AWSResponse
    from botocore.compat import HTTPHeaders
    from botocore.httpsession import URLLib3Session

    def send(_: URLLib3Session, request: Any) -> AWSResponse:
        status, document = _answer(request)
        return AWSResponse(request.url, status, HTTPHeaders(), _Raw(json.dumps(document).encode()))

    URLLib3Session.send = send  # type: ignore[method-assign, assignment]
    answer = function.handler(json.loads(sys.argv[1]), _Context())
    if answer["statusCode"] != HTTPStatus.OK:
        raise SystemExit(answer["body"])
    sys.stdout.flush()
    os._exit(0)  # Lambda's processes do not come to an end either


if __name__ == "__main__":
    main()
