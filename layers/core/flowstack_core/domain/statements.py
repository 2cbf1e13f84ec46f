"""Statements: what a closed period cost, written once and never edited.

A statement says how a period stood at the instant it was closed. What becomes known later (a
session that turns out never to have been processed) is an adjustment on the customer's next
statement, so that all statements together always count the sessions that all records do. What an
adjusted session began with, a managed model or an own key, stays as it was stated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from flowstack_core.domain.periods import Period
from flowstack_core.domain.plans import Tier
from flowstack_core.domain.quota import PeriodUsage
from flowstack_core.domain.subscriptions import Subscription, Terms

CURRENCY = "USD"


def dollars(cents: int, thousands: str = "") -> str:
    """Write integer cents as dollars with two decimals, without a float between them (P5)."""
    sign = "-" if cents < 0 else ""
    whole = f"{abs(cents) // 100:,}".replace(",", thousands)
    return f"{sign}{whole}.{abs(cents) % 100:02d}"


class LineKind(StrEnum):
    """What a line of a statement is about."""

    PLAN = "plan"
    SESSION_CREDIT = "session_credit"
    LATE_RELEASE = "late_release"


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a statement.

    Attributes
    ----------
    period
        The period it is about; an earlier one than the statement's where it is an adjustment.
    sessions
        The sessions it speaks of: included ones, credited ones, or those taken back (negative).
    amount_cents
        US cents to pay for it.
    """

    kind: LineKind
    period: Period
    description: str
    sessions: int
    amount_cents: int


@dataclass(frozen=True, slots=True)
class PlanChange:
    """Terms that ended with the period, and those that took over."""

    before: Terms
    after: Terms


@dataclass(frozen=True, slots=True)
class Statement:
    """One customer's period as it stood when it was closed.

    Attributes
    ----------
    tiers
        All tiers in force during the period, from the least to the most.
    sessions_used
        Sessions counted in the period when it was closed.
    managed_sessions
        How many of them began with a managed model; the others began with the customer's own key.
    credited_sessions
        Sessions that the operator granted on top; part of ``session_limit``.
    adjustments
        Corrections of earlier periods: how many sessions each of them lost after it was closed.
    plan_change
        The change that took effect at the end of the period.
    """

    customer_id: str
    period: Period
    closed_at: datetime
    tiers: tuple[Tier, ...]
    sessions_used: int
    session_limit: int
    managed_sessions: int
    credited_sessions: int
    lines: tuple[Line, ...]
    adjustments: Mapping[Period, int]
    plan_change: PlanChange | None = None

    @property
    def statement_id(self) -> str:
        """The one name that a customer's statement of a period can have."""
        return f"stm_{self.customer_id.removeprefix('cus_')}_{self.period.name}"

    @property
    def byok_sessions(self) -> int:
        """Sessions that began with the customer's own key."""
        return self.sessions_used - self.managed_sessions

    @property
    def total_cents(self) -> int:
        """US cents to pay: the sum of the lines."""
        return sum(line.amount_cents for line in self.lines)


def draft_statement(
    usage: PeriodUsage,
    adjustments: Mapping[Period, int],
    plan_change: PlanChange | None,
    closed_at: datetime,
) -> Statement:
    """Write the statement of a period whose counter stands at ``usage``.

    The price is that of the highest tier in force during the period, without proration (P5, P2).
    """
    tiers = tuple(sorted(usage.tiers | {usage.tier}, key=lambda tier: tier.rank))
    return Statement(
        customer_id=usage.customer_id,
        period=usage.period,
        closed_at=closed_at,
        tiers=tiers,
        sessions_used=usage.sessions_used,
        session_limit=usage.session_limit,
        managed_sessions=usage.managed_sessions,
        credited_sessions=usage.credited_sessions,
        lines=(*_lines_of(usage, tiers), *_adjustment_lines(adjustments)),
        adjustments=dict(adjustments),
        plan_change=plan_change,
    )


def plan_change_after(subscription: Subscription, period: Period) -> PlanChange | None:
    """Return what changes for the customer as ``period`` ends, if anything was waiting."""
    before, after = subscription.terms_in(period), subscription.terms_in(period.next())
    return None if before == after else PlanChange(before, after)


def _lines_of(usage: PeriodUsage, tiers: Sequence[Tier]) -> list[Line]:
    included = usage.session_limit - usage.credited_sessions
    highest = tiers[-1].value.capitalize()
    lines = [
        Line(LineKind.PLAN, usage.period, f"{highest} plan", included, usage.price_cents),
    ]
    if usage.credited_sessions:
        lines.append(
            Line(
                LineKind.SESSION_CREDIT,
                usage.period,
                "Sessions credited",
                usage.credited_sessions,
                0,
            )
        )
    return lines


def _adjustment_lines(adjustments: Mapping[Period, int]) -> list[Line]:
    return [
        Line(
            LineKind.LATE_RELEASE,
            period,
            f"Sessions of {period} in which nothing was processed, taken back after its close",
            sessions,
            0,
        )
        for period, sessions in sorted(adjustments.items())
    ]
