"""From errors to HTTP: one table of statuses, one envelope."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

from flowstack_core.domain import errors
from flowstack_core.domain.errors import FlowStackError, QuotaExceededError

STATUS: Mapping[type[FlowStackError], HTTPStatus] = MappingProxyType(
    {
        errors.InvalidRequestError: HTTPStatus.BAD_REQUEST,
        errors.SignatureRejectedError: HTTPStatus.BAD_REQUEST,
        errors.UnsupportedMediaTypeError: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        errors.NotAcceptableError: HTTPStatus.NOT_ACCEPTABLE,
        errors.PayloadTooLargeError: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        errors.QueryTooLargeError: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        errors.SortTooLargeError: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        errors.VersionMismatchError: HTTPStatus.PRECONDITION_FAILED,
        errors.ContextLengthExceededError: HTTPStatus.BAD_REQUEST,
        errors.InvalidProviderError: HTTPStatus.BAD_REQUEST,
        errors.ModelNotAvailableError: HTTPStatus.BAD_REQUEST,
        errors.CredentialsRequiredError: HTTPStatus.BAD_REQUEST,
        errors.StoredCredentialsUnreadableError: HTTPStatus.INTERNAL_SERVER_ERROR,
        errors.ProviderCredentialsRejectedError: HTTPStatus.BAD_REQUEST,
        errors.TierLimitationError: HTTPStatus.FORBIDDEN,
        errors.UpgradeNotSelfServiceError: HTTPStatus.FORBIDDEN,
        errors.AccountClosedError: HTTPStatus.FORBIDDEN,
        errors.QuotaExceededError: HTTPStatus.TOO_MANY_REQUESTS,
        errors.BudgetExceededError: HTTPStatus.TOO_MANY_REQUESTS,
        errors.SessionCapReachedError: HTTPStatus.TOO_MANY_REQUESTS,
        errors.RateLimitedError: HTTPStatus.TOO_MANY_REQUESTS,
        errors.IdempotencyConflictError: HTTPStatus.CONFLICT,
        errors.RequestInProgressError: HTTPStatus.CONFLICT,
        errors.NotFoundError: HTTPStatus.NOT_FOUND,
        errors.ConflictError: HTTPStatus.CONFLICT,
        errors.ModelRequestRejectedError: HTTPStatus.BAD_REQUEST,
        errors.ProviderRateLimitedError: HTTPStatus.TOO_MANY_REQUESTS,
        errors.ModelUnavailableError: HTTPStatus.BAD_GATEWAY,
        errors.ModelTimeoutError: HTTPStatus.GATEWAY_TIMEOUT,
        errors.ModelError: HTTPStatus.BAD_GATEWAY,
        errors.ServiceUnavailableError: HTTPStatus.SERVICE_UNAVAILABLE,
        errors.FlowStackError: HTTPStatus.INTERNAL_SERVER_ERROR,
    }
)
"""The status of each error; a class that is not listed has that of its nearest base."""


def status_of(error: FlowStackError) -> HTTPStatus:
    """Return the HTTP status of an error."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def envelope(error: FlowStackError, request_id: str) -> dict[str, Any]:
    """Return the body of an error's response.

    A refusal by the quota carries ``current_usage`` and ``limit`` at the top level too.
    """
    body: dict[str, Any] = {
        "error": error.message,
        "error_code": error.code,
        "details": error.details,
        "request_id": request_id,
    }
    if isinstance(error, QuotaExceededError):
        body["current_usage"] = error.details["current_usage"]
        body["limit"] = error.details["limit"]
    return body


def error_headers(error: FlowStackError) -> dict[str, str]:
    """Return the headers of an error's response."""
    if error.retry_after_seconds is None:
        return {}
    return {"Retry-After": str(error.retry_after_seconds)}
