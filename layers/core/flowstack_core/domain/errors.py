"""Every refusal and failure a caller can meet, each with the code clients program against.

A domain error knows its code, the sentence for a person and the details for a program. It knows
nothing of HTTP; `flowstack_core.http.errors` maps classes to statuses in one table.
"""

from __future__ import annotations

from typing import Any, ClassVar


class FlowStackError(Exception):
    """Base of all errors FlowStack raises on purpose.

    Parameters
    ----------
    message
        A sentence for a person; never holds a secret.
    details
        Facts for a program, JSON-serialisable. ``hint`` says what to do next.
    retry_after_seconds
        When the same request can succeed, if waiting helps.
    """

    code: ClassVar[str] = "INTERNAL_ERROR"

    def __init__(
        self,
        message: str,
        *,
        details: dict[str, Any] | None = None,
        retry_after_seconds: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.details: dict[str, Any] = details or {}
        self.retry_after_seconds = retry_after_seconds


class InvalidRequestError(FlowStackError):
    """The request is malformed; nothing was changed or counted."""

    code = "INVALID_REQUEST"


class SignatureRejectedError(InvalidRequestError):
    """A webhook's signature is missing, wrong or too old; nothing was read or changed."""

    code = "SIGNATURE_REJECTED"


class UnsupportedMediaTypeError(FlowStackError):
    """The body is not `application/json`."""

    code = "UNSUPPORTED_MEDIA_TYPE"


class NotAcceptableError(FlowStackError):
    """There is no such form of the document; details name the forms there are."""

    code = "NOT_ACCEPTABLE"


class PayloadTooLargeError(FlowStackError):
    """The body, or one of its parts, is larger than FlowStack accepts."""

    code = "PAYLOAD_TOO_LARGE"


class QueryTooLargeError(FlowStackError):
    """The whole answer does not fit one request; ask for pages."""

    code = "QUERY_TOO_LARGE"


class SortTooLargeError(FlowStackError):
    """The collection is too large to be sorted within one request."""

    code = "SORT_TOO_LARGE"


class VersionMismatchError(FlowStackError):
    """The document is not as `if_match` or `if_absent` says; nothing was changed."""

    code = "VERSION_MISMATCH"


class ContextLengthExceededError(FlowStackError):
    """The messages cannot fit the model's context window, whatever is dropped."""

    code = "CONTEXT_LENGTH_EXCEEDED"


class InvalidProviderError(FlowStackError):
    """No such provider."""

    code = "INVALID_PROVIDER"


class ModelNotAvailableError(FlowStackError):
    """No such model at this provider; details name the nearest ones."""

    code = "MODEL_NOT_AVAILABLE"


class CredentialsRequiredError(FlowStackError):
    """The provider needs the customer's own key and none was given (P4)."""

    code = "CREDENTIALS_REQUIRED"


class StoredCredentialsUnreadableError(FlowStackError):
    """The customer's stored credentials cannot be decrypted; managed models never stand in."""

    code = "STORED_CREDENTIALS_UNREADABLE"


class ProviderCredentialsRejectedError(FlowStackError):
    """The provider refused the customer's own credentials."""

    code = "PROVIDER_CREDENTIALS_REJECTED"


class TierLimitationError(FlowStackError):
    """The customer's tier does not include what was asked for (P4)."""

    code = "TIER_LIMITATION"


class UpgradeNotSelfServiceError(FlowStackError):
    """Only the operator or a verified payment raises a tier (P6)."""

    code = "UPGRADE_NOT_SELF_SERVICE"


class AccountClosedError(FlowStackError):
    """The customer's data is being erased: nothing starts or changes any more."""

    code = "ACCOUNT_CLOSED"


class QuotaExceededError(FlowStackError):
    """All sessions of the period are used (Q1); running ones go on (Q2)."""

    code = "QUOTA_EXCEEDED"


class BudgetExceededError(FlowStackError):
    """The customer's own monthly ceiling is reached; running sessions go on (Q2)."""

    code = "BUDGET_EXCEEDED"


class SessionCapReachedError(FlowStackError):
    """The session went as far as the customer lets one go; nothing was counted."""

    code = "SESSION_CAP_REACHED"


class RateLimitedError(FlowStackError):
    """Fair use was exceeded (F1); nothing was counted and no session ended."""

    code = "RATE_LIMITED"


class IdempotencyConflictError(FlowStackError):
    """The idempotency key was used before with another payload (S3)."""

    code = "IDEMPOTENCY_CONFLICT"


class RequestInProgressError(FlowStackError):
    """A request with the same idempotency key is still running (S3)."""

    code = "REQUEST_IN_PROGRESS"


class NotFoundError(FlowStackError):
    """The named thing does not exist, or not for this caller."""

    code = "NOT_FOUND"


class ConflictError(FlowStackError):
    """The change does not fit the present state."""

    code = "CONFLICT"


class ModelError(FlowStackError):
    """The model or its provider failed; the session was not billed (S5)."""

    code = "MODEL_ERROR"


class ProviderRateLimitedError(ModelError):
    """The provider throttled us; told apart from the customer's own quota."""

    code = "PROVIDER_RATE_LIMITED"


class ModelUnavailableError(ModelError):
    """The provider is overloaded or unreachable."""

    code = "MODEL_UNAVAILABLE"


class ModelTimeoutError(ModelError):
    """The model did not answer in the time a synchronous request has."""

    code = "MODEL_TIMEOUT"


class ModelRequestRejectedError(ModelError):
    """The provider found the request itself wrong (an unsupported parameter, a bad image, …)."""

    code = "MODEL_REQUEST_REJECTED"


class ServiceUnavailableError(FlowStackError):
    """Admission could not be decided in time, so it was refused; nothing was counted."""

    code = "SERVICE_UNAVAILABLE"
