"""Errors in the form that OpenAI's clients raise their exceptions from."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

from aws_lambda_powertools.event_handler import Response
from pydantic import JsonValue

from flowstack_core.domain.errors import (
    BudgetExceededError,
    FlowStackError,
    IdempotencyConflictError,
    ModelNotAvailableError,
    QuotaExceededError,
    SessionCapReachedError,
)
from flowstack_core.http.documents import Document
from flowstack_core.http.errors import error_headers, status_of
from flowstack_core.http.resolver import json_response

_INVALID, _SERVER = "invalid_request_error", "server_error"

_KINDS: Mapping[str, tuple[str, str | None]] = MappingProxyType(
    {
        "CONTEXT_LENGTH_EXCEEDED": (_INVALID, "context_length_exceeded"),
        "MODEL_NOT_AVAILABLE": (_INVALID, "model_not_found"),
        "QUOTA_EXCEEDED": ("insufficient_quota", "insufficient_quota"),
        "BUDGET_EXCEEDED": ("insufficient_quota", "insufficient_quota"),
        "SESSION_CAP_REACHED": ("insufficient_quota", None),
        "RATE_LIMITED": ("rate_limit_error", "rate_limit_exceeded"),
        "PROVIDER_RATE_LIMITED": ("rate_limit_error", None),
        "TIER_LIMITATION": ("permission_error", None),
        "INTERNAL_ERROR": (_SERVER, None),
        "MODEL_ERROR": (_SERVER, None),
        "MODEL_UNAVAILABLE": (_SERVER, None),
        "MODEL_TIMEOUT": (_SERVER, None),
        "SERVICE_UNAVAILABLE": (_SERVER, None),
    }
)
"""OpenAI's type of an error, and its code where it has one of its own; else ours in lower case."""

_FUTILE = (
    QuotaExceededError,
    BudgetExceededError,
    SessionCapReachedError,
    IdempotencyConflictError,
)
"""OpenAI's clients repeat every 409 and 429, also where the same request cannot succeed."""


class OpenAIError(Document):
    """What OpenAI's clients read."""

    message: str
    type: str
    code: str
    param: str | None


class OpenAIErrorFacts(Document):
    """The error in FlowStack's own words."""

    error_code: str
    details: dict[str, JsonValue]
    request_id: str


class OpenAIErrorDocument(Document):
    """Every refusal and failure of the routes below ``/v1``."""

    error: OpenAIError
    flowstack: OpenAIErrorFacts


def openai_error(message: str, error_code: str, details: Mapping[str, Any]) -> dict[str, Any]:
    """Return the object that OpenAI's clients read."""
    kind, code = _KINDS.get(error_code, (_INVALID, None))
    return {
        "message": message,
        "type": kind,
        "code": code or error_code.lower(),
        "param": details.get("field"),
    }


def render_openai(error: FlowStackError, request_id: str) -> Response[str]:
    """Render an error for OpenAI's clients."""
    status = status_of(error)
    if isinstance(error, ModelNotAvailableError):
        status = HTTPStatus.NOT_FOUND
    headers = {**error_headers(error), "x-request-id": request_id}
    if isinstance(error, _FUTILE):
        headers["x-should-retry"] = "false"
    document = {
        "error": openai_error(error.message, error.code, error.details),
        "flowstack": {
            "error_code": error.code,
            "details": error.details,
            "request_id": request_id,
        },
    }
    return json_response(int(status), document, headers)
