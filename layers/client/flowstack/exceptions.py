"""What can go wrong: one class for each family of error codes.

Every error of the SDK is a `FlowStackError`. Errors that the API answered with carry its
``error_code``, ``details`` and ``request_id``; docs/api.md lists the codes.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any


class FlowStackError(Exception):
    """Base of everything the SDK raises on purpose.

    Parameters
    ----------
    message
        A sentence for a person; never holds a key.
    error_code
        What programs go by, such as ``QUOTA_EXCEEDED``.
    details
        Facts for a program; ``hint`` says what to do next.
    request_id
        What to quote when you ask the operator.
    status_code
        The HTTP status, where the API answered.
    retry_after
        Seconds after which the same request can succeed, where waiting helps.
    """

    default_code = "FLOWSTACK_ERROR"

    def __init__(
        self,
        message: str,
        error_code: str | None = None,
        details: Mapping[str, Any] | None = None,
        *,
        request_id: str | None = None,
        status_code: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.error_code = error_code or self.default_code
        self.details: dict[str, Any] = dict(details or {})
        self.request_id = request_id
        self.status_code = status_code
        self.retry_after = retry_after

    @property
    def hint(self) -> str | None:
        """What to do next, where somebody knows."""
        hint = self.details.get("hint")
        return None if hint is None else str(hint)


# --- before anything is sent --------------------------------------------------------------------


class ConfigurationError(FlowStackError):
    """The client cannot be set up like this: no address, or one that would expose the key."""

    default_code = "CONFIGURATION"


class ToolDefinitionError(FlowStackError, TypeError):
    """A function cannot be a tool: its parameters cannot be described to a model."""

    default_code = "TOOL_DEFINITION"


# --- no answer ----------------------------------------------------------------------------------


class APIConnectionError(FlowStackError):
    """There was no answer, or none that FlowStack gave.

    Attributes
    ----------
    sent
        Whether the request may have reached the server.
    """

    default_code = "CONNECTION"

    def __init__(self, message: str, *, sent: bool = True, status_code: int | None = None) -> None:
        super().__init__(message, status_code=status_code)
        self.sent = sent


class APITimeoutError(APIConnectionError):
    """The answer did not come in time."""

    default_code = "TIMEOUT"


# --- the API said no ----------------------------------------------------------------------------


class AuthenticationError(FlowStackError):
    """The API key is missing, unknown, expired or revoked."""

    default_code = "UNAUTHORIZED"


class QuotaExceededError(FlowStackError):
    """All sessions of the period are used. Running conversations can go on."""

    default_code = "QUOTA_EXCEEDED"

    @property
    def current_usage(self) -> int | None:
        """Sessions used in the period."""
        return self.details.get("current_usage")

    @property
    def limit(self) -> int | None:
        """Sessions of the period."""
        return self.details.get("limit")


class RateLimitError(FlowStackError):
    """Too many requests for now: fair use, the gateway, or the model's provider. Not the quota."""

    default_code = "RATE_LIMITED"


class TierLimitationError(FlowStackError):
    """The customer's tier does not include what was asked for."""

    default_code = "TIER_LIMITATION"


class InvalidProviderError(FlowStackError):
    """There is no such provider."""

    default_code = "INVALID_PROVIDER"


class CredentialsRequiredError(FlowStackError):
    """The provider needs your own credentials, and they are missing or incomplete."""

    default_code = "CREDENTIALS_REQUIRED"

    @property
    def provider(self) -> str | None:
        """The provider that needs them."""
        return self.details.get("provider")


class CredentialsRejectedError(FlowStackError):
    """The provider refused your own credentials."""

    default_code = "PROVIDER_CREDENTIALS_REJECTED"


class ModelNotAvailableError(FlowStackError):
    """There is no such model at this provider; ``details["nearest"]`` names similar ones."""

    default_code = "MODEL_NOT_AVAILABLE"


class InvalidRequestError(FlowStackError):
    """The request is wrong; nothing was changed or counted. ``details["field"]`` says where."""

    default_code = "INVALID_REQUEST"


class NotFoundError(FlowStackError):
    """The named thing does not exist."""

    default_code = "NOT_FOUND"


class ConflictError(FlowStackError):
    """The change does not fit the present state, or an idempotency key is in use."""

    default_code = "CONFLICT"


class BillingError(FlowStackError):
    """A payment, a budget or a subscription stands in the way."""

    default_code = "BILLING_ERROR"


class BudgetExceededError(BillingError):
    """Your own monthly ceiling is reached. Running conversations can go on."""

    default_code = "BUDGET_EXCEEDED"

    @property
    def ceiling(self) -> float | None:
        """The ceiling, in dollars."""
        return self.details.get("ceiling")

    @property
    def spent(self) -> float | None:
        """What was spent when it was reached, in dollars."""
        return self.details.get("spent")


class SessionCapReachedError(FlowStackError):
    """The session went as far as you let one go. Another conversation begins anew."""

    default_code = "SESSION_CAP_REACHED"

    @property
    def kind(self) -> str | None:
        """What is capped: ``turns`` or ``tokens``."""
        return self.details.get("kind")

    @property
    def cap(self) -> int | None:
        """How many of them a session may take."""
        return self.details.get("cap")

    @property
    def used(self) -> int | None:
        """How many this session took."""
        return self.details.get("used")


class ModelError(FlowStackError):
    """The model or its provider failed; a session without any answer is not billed."""

    default_code = "MODEL_ERROR"


class ServerError(FlowStackError):
    """FlowStack failed, or could not decide in time; nothing was counted."""

    default_code = "INTERNAL_ERROR"


# --- the model goes round in circles ------------------------------------------------------------


class ToolRoundsExceededError(FlowStackError):
    """The model kept asking for tools; the bound is ``max_tool_rounds``."""

    default_code = "TOOL_ROUNDS_EXCEEDED"


_BY_CODE: Mapping[str, type[FlowStackError]] = MappingProxyType(
    {
        "BUDGET_EXCEEDED": BudgetExceededError,
        "CONTEXT_LENGTH_EXCEEDED": InvalidRequestError,
        "CREDENTIALS_REQUIRED": CredentialsRequiredError,
        "INVALID_PROVIDER": InvalidProviderError,
        "MODEL_ERROR": ModelError,
        "MODEL_NOT_AVAILABLE": ModelNotAvailableError,
        "MODEL_REQUEST_REJECTED": ModelError,
        "MODEL_TIMEOUT": ModelError,
        "MODEL_UNAVAILABLE": ModelError,
        "PAYMENT_REQUIRED": BillingError,
        "PROVIDER_CREDENTIALS_REJECTED": CredentialsRejectedError,
        "QUOTA_EXCEEDED": QuotaExceededError,
        "SESSION_CAP_REACHED": SessionCapReachedError,
        "TIER_LIMITATION": TierLimitationError,
        "UPGRADE_NOT_SELF_SERVICE": BillingError,
    }
)
"""Codes that the status alone does not place."""

_BY_STATUS: Mapping[int, type[FlowStackError]] = MappingProxyType(
    {
        401: AuthenticationError,
        402: BillingError,
        403: TierLimitationError,
        404: NotFoundError,
        409: ConflictError,
        412: ConflictError,
        429: RateLimitError,
    }
)


def error_of(
    status: int, body: Mapping[str, Any], *, retry_after: float | None = None
) -> FlowStackError:
    """Return the error that an envelope of the API stands for.

    A code of a newer server than this SDK becomes the error of its status.
    """
    code = str(body.get("error_code") or f"HTTP_{status}")
    kind = _BY_CODE.get(code) or _BY_STATUS.get(status)
    if kind is None:
        kind = InvalidRequestError if status < 500 else ServerError
    found = body.get("details")
    details = dict(found) if isinstance(found, Mapping) else {}
    for name in ("current_usage", "limit"):  # a refusal by the quota has them twice
        if name in body:
            details.setdefault(name, body[name])
    return kind(
        str(body.get("error") or f"HTTP {status}"),
        code,
        details,
        request_id=str(body["request_id"]) if body.get("request_id") else None,
        status_code=status,
        retry_after=retry_after,
    )
