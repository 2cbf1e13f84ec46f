"""Why a command did not do what it was asked to, and the exit code that says so."""

from __future__ import annotations

from typing import Any, ClassVar


class AdminError(Exception):
    """Base of what the admin client raises on purpose.

    Parameters
    ----------
    message
        A sentence for a person; never holds a secret.
    details
        Facts for a program; ``hint`` says what to do next.
    """

    exit_code: ClassVar[int] = 3
    error_code: str = "CANNOT_CONNECT"

    def __init__(self, message: str, details: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.details: dict[str, Any] = details or {}

    @property
    def hint(self) -> str | None:
        """What to do next, where somebody knows."""
        hint = self.details.get("hint")
        return None if hint is None else str(hint)

    def envelope(self) -> dict[str, Any]:
        """Return the error in the form in which the API gives its own."""
        return {
            "error": self.message,
            "error_code": self.error_code,
            "details": self.details,
            "request_id": "",
        }


class CannotConnectError(AdminError):
    """There is no connection, no answer, or no credentials to ask with."""


class UsageError(AdminError):
    """The command line asks for something that makes no sense."""

    exit_code = 2
    error_code = "USAGE"


class RefusedError(AdminError):
    """The API answered, and said no.

    Attributes
    ----------
    status
        The HTTP status.
    body
        The error envelope as it came.
    """

    exit_code = 1

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        super().__init__(str(body.get("error", f"HTTP {status}")), body.get("details"))
        self.status = status
        self.body = body
        self.error_code = str(body.get("error_code", f"HTTP_{status}"))

    def envelope(self) -> dict[str, Any]:
        """Return the envelope as it came."""
        return self.body
