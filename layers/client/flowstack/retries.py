"""When to try again, and after how long."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from flowstack.exceptions import APIConnectionError, FlowStackError

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 8.0
LONGEST_WAIT = 60.0
"""What the server asks for beyond this is left to the caller: ``error.retry_after``."""

DEFAULT_RETRIES = 2

_WORTH_ANOTHER_TRY = frozenset({"PROVIDER_RATE_LIMITED", "RATE_LIMITED", "REQUEST_IN_PROGRESS"})
"""Refusals that pass. Whatever else is refused with 409 or 429 stays refused."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Exponential backoff with jitter, or as long as the server asks for."""

    max_retries: int = DEFAULT_RETRIES

    def pause(
        self, error: FlowStackError, attempt: int, chance: Callable[[], float]
    ) -> float | None:
        """Return how long to wait before the next attempt; ``None`` to give up.

        Parameters
        ----------
        attempt
            How many attempts failed before this one.
        chance
            A number from 0 up to 1.
        """
        if attempt >= self.max_retries or not _may_pass(error):
            return None
        if error.retry_after is not None:
            return error.retry_after if error.retry_after <= LONGEST_WAIT else None
        longest: float = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0**attempt)
        return longest * (1 - chance() / 2)


def _may_pass(error: FlowStackError) -> bool:
    status = error.status_code or 0
    silent = isinstance(error, APIConnectionError) and error.status_code is None
    return silent or status == 408 or status >= 500 or error.error_code in _WORTH_ANOTHER_TRY
