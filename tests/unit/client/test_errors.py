"""From error codes to classes."""

from __future__ import annotations

import pytest

from flowstack import exceptions
from flowstack.exceptions import FlowStackError, error_of
from flowstack_core.domain.errors import FlowStackError as CoreError
from flowstack_core.domain.errors import QuotaExceededError as CoreQuotaExceededError
from flowstack_core.http.errors import STATUS, envelope
from stacks.gateway_responses import ANSWERS

CLASSES = {
    "CONTEXT_LENGTH_EXCEEDED": exceptions.InvalidRequestError,
    "CREDENTIALS_REQUIRED": exceptions.CredentialsRequiredError,
    "INVALID_PROVIDER": exceptions.InvalidProviderError,
    "INVALID_REQUEST": exceptions.InvalidRequestError,
    "MODEL_NOT_AVAILABLE": exceptions.ModelNotAvailableError,
    "MODEL_REQUEST_REJECTED": exceptions.ModelError,
    "PROVIDER_CREDENTIALS_REJECTED": exceptions.CredentialsRejectedError,
    "TIER_LIMITATION": exceptions.TierLimitationError,
    "NOT_FOUND": exceptions.NotFoundError,
    "CONFLICT": exceptions.ConflictError,
    "IDEMPOTENCY_CONFLICT": exceptions.ConflictError,
    "REQUEST_IN_PROGRESS": exceptions.ConflictError,
    "PAYLOAD_TOO_LARGE": exceptions.InvalidRequestError,
    "UNSUPPORTED_MEDIA_TYPE": exceptions.InvalidRequestError,
    "PROVIDER_RATE_LIMITED": exceptions.RateLimitError,
    "QUOTA_EXCEEDED": exceptions.QuotaExceededError,
    "RATE_LIMITED": exceptions.RateLimitError,
    "BUDGET_EXCEEDED": exceptions.BudgetExceededError,
    "SESSION_CAP_REACHED": exceptions.SessionCapReachedError,
    "INTERNAL_ERROR": exceptions.ServerError,
    "MODEL_ERROR": exceptions.ModelError,
    "MODEL_UNAVAILABLE": exceptions.ModelError,
    "SERVICE_UNAVAILABLE": exceptions.ServerError,
    "MODEL_TIMEOUT": exceptions.ModelError,
}


@pytest.mark.parametrize(
    ("kind", "status"), [(kind, int(status)) for kind, status in STATUS.items()]
)
def test_every_code_of_the_server_has_a_class(kind: type[CoreError], status: int) -> None:
    details = {"current_usage": 5, "limit": 5} if kind is CoreQuotaExceededError else {"a": 1}
    body = envelope(kind("No.", details=details), "req-1")
    error = error_of(status, body, retry_after=2)
    assert type(error) is not FlowStackError
    assert type(error) is CLASSES.get(kind.code, type(error))
    assert (error.error_code, error.message, str(error)) == (kind.code, "No.", "No.")
    assert (error.details, error.request_id) == (details, "req-1")
    assert (error.status_code, error.retry_after) == (status, 2)


def test_refusals_by_own_limits_say_which_and_how_far() -> None:
    details = {"kind": "turns", "cap": 20, "used": 20}
    capped = error_of(429, {"error_code": "SESSION_CAP_REACHED", "details": details})
    assert isinstance(capped, exceptions.SessionCapReachedError)
    assert (capped.kind, capped.cap, capped.used) == ("turns", 20, 20)
    details = {"ceiling": 50.0, "spent": 50.3}
    blocked = error_of(429, {"error_code": "BUDGET_EXCEEDED", "details": details})
    assert isinstance(blocked, exceptions.BudgetExceededError)
    assert isinstance(blocked, exceptions.BillingError)
    assert (blocked.ceiling, blocked.spent) == (50.0, 50.3)


def test_every_answer_of_the_gateway_has_a_class() -> None:
    for answer in ANSWERS:
        error = error_of(answer.status or 400, {"error": "No.", "error_code": answer.code})
        assert type(error) is not FlowStackError
        if answer.status == 401:
            assert isinstance(error, exceptions.AuthenticationError)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, exceptions.InvalidRequestError),
        (402, exceptions.BillingError),
        (418, exceptions.InvalidRequestError),
        (429, exceptions.RateLimitError),
        (507, exceptions.ServerError),
    ],
)
def test_a_code_of_a_newer_server_is_known_by_its_status(
    status: int, kind: type[FlowStackError]
) -> None:
    error = error_of(status, {"error": "No.", "error_code": "FROM_THE_FUTURE"})
    assert type(error) is kind
    assert error.error_code == "FROM_THE_FUTURE"


def test_a_body_without_an_envelope_is_still_an_error() -> None:
    error = error_of(500, {"message": "Internal server error", "details": "none"})
    assert (error.message, error.error_code) == ("HTTP 500", "HTTP_500")
    assert (error.details, error.request_id, error.hint) == ({}, None, None)


def test_the_quotas_numbers_may_stand_at_the_top_only() -> None:
    body = {"error": "No.", "error_code": "QUOTA_EXCEEDED", "current_usage": 2, "limit": 1}
    error = error_of(429, body)
    assert error.details == {"current_usage": 2, "limit": 1}


def test_the_quota_tells_both_numbers() -> None:
    error = error_of(
        429,
        {
            "error": "Used up.",
            "error_code": "QUOTA_EXCEEDED",
            "details": {"current_usage": 25, "limit": 25, "hint": "Upgrade."},
        },
    )
    assert isinstance(error, exceptions.QuotaExceededError)
    assert (error.current_usage, error.limit, error.hint) == (25, 25, "Upgrade.")
