"""Fair use: how fast and how much a customer may use beyond counting sessions (F1).

One meter lives in the memory of each execution environment, so that fair use costs no request
to any store. It can therefore let through more than the limit when many environments serve one
customer at once, and never less; `docs/decisions` tells why that is the right side to err on.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from math import ceil

from flowstack_core.domain.plans import FairUse

_MINUTE = timedelta(minutes=1)
_MAX_CUSTOMERS = 10_000


class FairUseLimit(StrEnum):
    """Which limit was met."""

    REQUESTS_PER_MINUTE = "requests_per_minute"
    MANAGED_TOKENS_PER_DAY = "managed_tokens_per_day"


@dataclass(frozen=True, slots=True)
class FairUseRefusal:
    """A limit that was met, and when it is over."""

    limit: FairUseLimit
    allowed: int
    retry_after_seconds: int


@dataclass(slots=True)
class _Window:
    started_at: datetime
    used: int = 0


class FairUseMeter:
    """Counts requests a minute and managed tokens a day, by customer, in fixed windows."""

    def __init__(self) -> None:
        self._requests: OrderedDict[str, _Window] = OrderedDict()
        self._tokens: OrderedDict[str, _Window] = OrderedDict()

    def admit(
        self, customer_id: str, limits: FairUse, now: datetime, *, managed: bool
    ) -> FairUseRefusal | None:
        """Count one request, unless a limit is met: then say which, and count nothing."""
        minute_start = now.replace(second=0, microsecond=0)
        requests = self._window(self._requests, customer_id, minute_start)
        if requests.used >= limits.requests_per_minute:
            return FairUseRefusal(
                FairUseLimit.REQUESTS_PER_MINUTE,
                limits.requests_per_minute,
                _seconds_until(minute_start + _MINUTE, now),
            )
        if managed:
            day_start = now.replace(hour=0, minute=0, second=0, microsecond=0)
            tokens = self._window(self._tokens, customer_id, day_start)
            if tokens.used >= limits.managed_tokens_per_day:
                return FairUseRefusal(
                    FairUseLimit.MANAGED_TOKENS_PER_DAY,
                    limits.managed_tokens_per_day,
                    _seconds_until(day_start + timedelta(days=1), now),
                )
        requests.used += 1
        return None

    def record_managed_tokens(self, customer_id: str, tokens: int, now: datetime) -> None:
        """Add the tokens of one managed answer to the customer's day."""
        day_start = now.replace(hour=0, minute=0, second=0, microsecond=0)
        self._window(self._tokens, customer_id, day_start).used += tokens

    @staticmethod
    def _window(
        windows: OrderedDict[str, _Window], customer_id: str, started_at: datetime
    ) -> _Window:
        window = windows.pop(customer_id, None)
        if window is None or window.started_at != started_at:
            window = _Window(started_at)
        windows[customer_id] = window
        if len(windows) > _MAX_CUSTOMERS:
            windows.popitem(last=False)
        return window


def _seconds_until(end: datetime, now: datetime) -> int:
    return max(1, ceil((end - now).total_seconds()))
