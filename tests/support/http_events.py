"""Events as API Gateway's REST API sends them to a Lambda function."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

REQUEST_ID = "req-1"
EXTENDED_REQUEST_ID = "JlJgwqCvoAMFkdw="


@dataclass
class LambdaContext:
    """The context object of an invocation."""

    seconds: float = 28.0
    function_name: str = "conversation"
    memory_limit_in_mb: int = 1024
    invoked_function_arn: str = "arn:aws:lambda:us-east-1:000000000000:function:conversation"
    aws_request_id: str = "lambda-1"

    def get_remaining_time_in_millis(self) -> int:
        """Return what is left."""
        return int(self.seconds * 1000)


@dataclass(frozen=True)
class HttpResponse:
    """What a function answered. ``body`` is the document, where it is JSON."""

    status: int
    body: dict[str, Any]
    headers: dict[str, str] = field(default_factory=dict)
    text: str = ""


def http_event(
    method: str,
    path: str,
    body: str | None = None,
    headers: dict[str, str] | None = None,
    authorizer: dict[str, Any] | None = None,
    query: dict[str, str] | None = None,
    identity: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Build the event of a request."""
    sent = {"Content-Type": "application/json", **(headers or {})}
    return {
        "resource": path,
        "path": path,
        "httpMethod": method,
        "headers": sent,
        "multiValueHeaders": {name: [value] for name, value in sent.items()},
        "queryStringParameters": query,
        "multiValueQueryStringParameters": {k: [v] for k, v in (query or {}).items()} or None,
        "pathParameters": None,
        "stageVariables": None,
        "requestContext": {
            "requestId": REQUEST_ID,
            "extendedRequestId": EXTENDED_REQUEST_ID,
            "stage": "test",
            "path": f"/test{path}",
            "httpMethod": method,
            "resourcePath": path,
            "authorizer": authorizer,
            "identity": identity or {},
        },
        "body": body,
        "isBase64Encoded": False,
    }


def response_of(answer: dict[str, Any]) -> HttpResponse:
    """Read what a resolver returned."""
    headers = {name: values[0] for name, values in answer["multiValueHeaders"].items()}
    is_json = headers["Content-Type"] == "application/json"
    document = json.loads(answer["body"]) if is_json else {}
    return HttpResponse(answer["statusCode"], document, headers, answer["body"])
