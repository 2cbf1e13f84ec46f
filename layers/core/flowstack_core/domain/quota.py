"""The quota of one customer in one period: how many sessions may start (Q1 to Q3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flowstack_core.domain.periods import Period, instant
from flowstack_core.domain.plans import Tier

NEAR_LIMIT_PERCENT = 80
"""From this share of the limit on a customer is told that it is near the limit (A1)."""


@dataclass(frozen=True, slots=True)
class PeriodUsage:
    """The counter of one customer and period, and the entitlement it enforces.

    Attributes
    ----------
    sessions_used
        Sessions started and not released; held ones included.
    session_limit
        How many may start: the plan's or contract's limit plus credits.
    credited_sessions
        Sessions the operator granted on top, for this period only.
    managed_models
        Whether managed models are included (P4).
    price_cents
        The price of the highest tier in force during the period (P5).
    subscription_version
        The version of the subscription this entitlement was taken from.
    """

    customer_id: str
    period: Period
    sessions_used: int
    session_limit: int
    credited_sessions: int
    managed_models: bool
    tier: Tier
    price_cents: int
    subscription_version: int

    @property
    def sessions_remaining(self) -> int:
        """How many more sessions can start."""
        return max(0, self.session_limit - self.sessions_used)

    @property
    def exhausted(self) -> bool:
        """Whether the next new session is refused (Q1)."""
        return self.sessions_used >= self.session_limit

    @property
    def near_limit(self) -> bool:
        """Whether at least 80 % of the limit is used (A1)."""
        return self.sessions_used * 100 >= self.session_limit * NEAR_LIMIT_PERCENT

    @property
    def usage_percentage(self) -> float:
        """Share of the limit that is used, in percent; 100 where the limit is zero."""
        if self.session_limit == 0:
            return 100.0
        return self.sessions_used * 100 / self.session_limit


@dataclass(frozen=True, slots=True)
class QuotaStatement:
    """A quota that explains itself: the same facts in ``/usage`` and in every refusal."""

    usage: PeriodUsage
    held: int

    @property
    def reason(self) -> str:
        """Why the next session can, or cannot, start."""
        used, limit = self.usage.sessions_used, self.usage.session_limit
        if not self.usage.exhausted:
            return f"{self.usage.sessions_remaining} of {limit} sessions can still start."
        held = f", {self.held} of them held by requests still running" if self.held else ""
        return f"{used} of {limit} sessions of {self.usage.period} are used{held}."

    def facts(self) -> dict[str, Any]:
        """Return the statement for a program."""
        return {
            "period": self.usage.period.name,
            "current_usage": self.usage.sessions_used,
            "held": self.held,
            "limit": self.usage.session_limit,
            "remaining": self.usage.sessions_remaining,
            "resets_at": instant(self.usage.period.end),
            "reason": self.reason,
        }
