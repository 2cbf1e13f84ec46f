"""The quota of one customer in one period: how many sessions may start (Q1 to Q3)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from flowstack_core.domain.own_limits import CeilingReached
from flowstack_core.domain.periods import Period, instant
from flowstack_core.domain.plans import Tier
from flowstack_core.domain.subscriptions import Subscription

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
    managed_sessions
        How many of the sessions used began with a managed model.
    tiers
        All tiers in force during the period so far; ``tier`` is the latest.
    closed_at
        When the period was closed for this customer: since then nothing can start in it.
    budget_told_at
        When the customer's own ceiling was reached first in the period, which is told once.
    budget_block
        The ceiling that keeps new sessions from starting, if one does.
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
    managed_sessions: int = 0
    tiers: frozenset[Tier] = frozenset()
    closed_at: datetime | None = None
    budget_told_at: datetime | None = None
    budget_block: CeilingReached | None = None

    @classmethod
    def opened(cls, subscription: Subscription, period: Period) -> PeriodUsage:
        """Return the counter of a period in which nothing was started yet."""
        terms = subscription.terms_in(period)
        return cls(
            customer_id=subscription.customer_id,
            period=period,
            sessions_used=0,
            session_limit=terms.session_limit,
            credited_sessions=0,
            managed_models=terms.managed_models,
            tier=terms.tier,
            price_cents=terms.price_cents,
            subscription_version=subscription.version,
            tiers=frozenset({terms.tier}),
        )

    @classmethod
    def standing(
        cls, counter: PeriodUsage | None, subscription: Subscription, period: Period
    ) -> PeriodUsage:
        """Return a period's counter as the next admission would see it.

        A closed period stays as it was closed, whatever was bought since.
        """
        if counter is None:
            return cls.opened(subscription, period)
        behind = counter.subscription_version < subscription.version
        return counter.under(subscription) if behind and counter.closed_at is None else counter

    def under(self, subscription: Subscription) -> PeriodUsage:
        """Return the counter with the entitlement brought up to the subscription (P1, P5)."""
        terms = subscription.terms_in(self.period)
        return replace(
            self,
            session_limit=terms.session_limit + self.credited_sessions,
            managed_models=terms.managed_models,
            tier=terms.tier,
            price_cents=max(terms.price_cents, self.price_cents),
            subscription_version=subscription.version,
            tiers=self.tiers | {terms.tier},
        )

    @property
    def sessions_remaining(self) -> int:
        """How many more sessions can start."""
        return max(0, self.session_limit - self.sessions_used)

    @property
    def exhausted(self) -> bool:
        """Whether the next new session is refused (Q1)."""
        return self.sessions_used >= self.session_limit

    def budget_noted(self, reached: CeilingReached | None) -> bool:
        """Whether the counter says already what follows from the customer's own ceiling."""
        told = reached is None or self.budget_told_at is not None
        blocks = reached is not None and reached.blocks
        return told and blocks == (self.budget_block is not None)

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
