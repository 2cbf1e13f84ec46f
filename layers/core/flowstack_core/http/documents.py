"""What responses look like: the schemas of the OpenAPI document.

Services render documents as plain dictionaries; a test holds each of them to its schema here.
"""

from __future__ import annotations

from types import UnionType
from typing import Any

from aws_lambda_powertools.event_handler.openapi.types import OpenAPIResponse
from pydantic import BaseModel, ConfigDict, JsonValue


class Document(BaseModel):
    """A JSON document of the API. Its validators are built when they are first needed."""

    model_config = ConfigDict(extra="forbid", defer_build=True)


class ErrorEnvelope(Document):
    """Every refusal and failure, of FlowStack and of API Gateway alike."""

    error: str
    error_code: str
    details: dict[str, JsonValue]
    request_id: str
    current_usage: int | None = None
    limit: int | None = None


_ERRORS: dict[int, str] = {
    400: "The request is wrong; nothing was changed or counted.",
    401: "The API key is missing, unknown, expired or revoked.",
    403: "The tier does not include what was asked for, or only the operator may do it.",
    404: "There is no such thing, or not for this caller.",
    406: "There is no form of the document that the header `Accept` asks for.",
    409: "The idempotency key is in use, or the change does not fit the present state.",
    412: "The document is not as the request expects; nothing was changed.",
    413: "The body is too large, or so is what is asked for.",
    415: "The body is not JSON.",
    429: "The quota is used up, fair use was exceeded, or the provider throttles.",
    500: "A failure on FlowStack's side.",
    502: "The model's provider failed; the session was not billed.",
    503: "FlowStack could not decide in time; nothing was counted.",
    504: "The model did not answer in time; the session was not billed.",
}


_OF_MESSAGES = tuple(status for status in _ERRORS if status not in {404, 406})


def documented(
    document: type[Document] | UnionType,
    description: str,
    *statuses: int,
    error: type[Document] = ErrorEnvelope,
) -> dict[int, OpenAPIResponse]:
    """Return the responses of a route for OpenAPI: the document, and the errors it can give."""
    responses: dict[int, Any] = {
        200: {"description": description, "content": {"application/json": {"model": document}}}
    }
    for status in statuses:
        responses[status] = {
            "description": _ERRORS[status],
            "content": {"application/json": {"model": error}},
        }
    return responses


def documented_answer(
    document: type[Document],
    accepted: type[Document],
    *statuses: int,
    error: type[Document] = ErrorEnvelope,
) -> dict[int, OpenAPIResponse]:
    """Return the responses of a route that takes messages and answers at once or later."""
    responses: dict[int, Any] = documented(
        document, "The model's answer.", *_OF_MESSAGES, *statuses, error=error
    )
    responses[202] = {
        "description": "Accepted; the answer is fetched from `Location` later.",
        "content": {"application/json": {"model": accepted}},
    }
    return responses
