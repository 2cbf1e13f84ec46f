"""What a customer has bought, and from when: rules P1, P2 and P3.

A subscription is the terms in force and at most one change waiting for the next period. Which
terms hold in a period is computed, never switched by a job: a late or missing schedule cannot
delay a downgrade or an upgrade.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from flowstack_core.domain.periods import Period
from flowstack_core.domain.plans import Tier, plan_for


@dataclass(frozen=True, slots=True)
class Terms:
    """A tier with its contract: what is paid and what is given.

    Attributes
    ----------
    tier
        The plan the terms are based on.
    session_limit
        Sessions a month; the plan's unless the contract says otherwise.
    price_cents
        US cents a month; the plan's unless the contract says otherwise.
    """

    tier: Tier
    session_limit: int
    price_cents: int

    @classmethod
    def of(
        cls, tier: Tier, session_limit: int | None = None, price_cents: int | None = None
    ) -> Terms:
        """Return the plan's terms with the contract's limit and price where they are given."""
        plan = plan_for(tier)
        return cls(
            tier=tier,
            session_limit=plan.sessions_per_month if session_limit is None else session_limit,
            price_cents=plan.price_cents if price_cents is None else price_cents,
        )

    @property
    def managed_models(self) -> bool:
        """Whether managed Bedrock is included (P4)."""
        return plan_for(self.tier).managed_models

    def raises(self, current: Terms) -> bool:
        """Whether moving from ``current`` to these terms is an upgrade, hence immediate (P1).

        A higher tier is an upgrade. Within a tier, a limit that is not lower is one too.
        """
        if self.tier is not current.tier:
            return self.tier.rank > current.tier.rank
        return self.session_limit >= current.session_limit


@dataclass(frozen=True, slots=True)
class PendingChange:
    """Terms that take over at the start of a period (P2, P3)."""

    terms: Terms
    effective_period: Period


@dataclass(frozen=True, slots=True)
class Subscription:
    """A customer's terms, with the version that every change raises by one.

    Counters remember the version they were opened with, so that a stale one is recognised.
    """

    customer_id: str
    terms: Terms
    version: int = 1
    pending: PendingChange | None = None

    def terms_in(self, period: Period) -> Terms:
        """Return the terms in force in ``period`` (the present one or a later one)."""
        if self.pending is not None and period >= self.pending.effective_period:
            return self.pending.terms
        return self.terms


def change_terms(subscription: Subscription, terms: Terms, now: datetime) -> Subscription:
    """Return the subscription after the customer moves to ``terms`` at ``now``.

    An upgrade holds at once and clears a waiting downgrade (P1, P2). Anything else waits for the
    next period, without proration (P2).
    """
    period = Period.containing(now)
    current = subscription.terms_in(period)
    pending = subscription.pending
    if pending is not None and period >= pending.effective_period:
        pending = None
    settled = replace(
        subscription, terms=current, pending=pending, version=subscription.version + 1
    )
    if terms.raises(current) and terms.session_limit < current.session_limit:
        # A contract of fewer sessions on a higher tier: what was paid for is kept to its end.
        kept = replace(terms, session_limit=current.session_limit)
        return replace(settled, terms=kept, pending=PendingChange(terms, period.next()))
    if terms.raises(current):
        return replace(settled, terms=terms, pending=None)
    return replace(settled, pending=PendingChange(terms, period.next()))
