"""What ``/usage`` and ``/tier-info`` tell."""

from __future__ import annotations

from datetime import date, datetime
from typing import Literal

from pydantic import Field, JsonValue

from flowstack_core.domain.plans import FairUse, Tier
from flowstack_core.http.documents import Document


class PeriodDocument(Document):
    """The present billing period."""

    name: str
    start: datetime
    end: datetime
    now: datetime
    days_left: int
    sessions_used: int
    sessions_held: int
    sessions_limit: int
    sessions_remaining: int
    sessions_credited: int
    usage_percentage: float
    is_near_limit: bool


class QuotaDocument(Document):
    """The quota, explaining itself."""

    period: str
    current_usage: int
    held: int
    limit: int
    remaining: int
    resets_at: datetime
    reason: str


class UsageDocument(Document):
    """``GET /usage``. Charges are US dollars of the present period."""

    tier: Tier
    current_charges: float
    current_period: PeriodDocument
    quota: QuotaDocument


class TierDocument(Document):
    """``GET /tier-info``."""

    tier: Tier
    current_tier: Tier
    session_limit: int
    can_use_managed: bool
    byok: Literal["required", "optional"]
    price_per_month: float
    support: str
    extras: list[str]
    fair_use: FairUse


class UsageSums(Document):
    """What sessions came to. A session is managed or BYOK by the model of its first answer."""

    sessions: int
    managed_sessions: int
    byok_sessions: int
    messages: int
    managed_messages: int
    byok_messages: int
    input_tokens: int
    output_tokens: int


class UsagePart(Document):
    """The part of a span that counts under one name; all beyond the first 50 have none."""

    name: str | None
    managed_sessions: int
    byok_sessions: int
    sessions: int
    messages: int
    input_tokens: int
    output_tokens: int


class UsagePoint(UsageSums):
    """One span of a history, up to before ``end``; nothing starts in a complete one any more."""

    start: date
    end: date
    complete: bool
    breakdown: list[UsagePart] | None = None


class UsageHistoryDocument(Document):
    """``GET /usage/history``: the spans from the first to the last day, both included."""

    granularity: Literal["daily", "weekly", "monthly"]
    first: date = Field(alias="from")
    last: date = Field(alias="to")
    as_of: datetime
    series: list[UsagePoint]
    totals: UsageSums


class IntervalDocument(Document):
    """Between what the outcome lies, as often as ``confidence`` says."""

    low: int
    high: int
    confidence: float


class DayAheadDocument(Document):
    """The sessions of the period that are expected by the end of a day."""

    day: date
    expected: int
    low: int
    high: int


class ForecastDocument(Document):
    """``GET /usage/forecast``. Not bounded by the limit: only that many can start."""

    period: str
    as_of: datetime
    sessions_used: int
    sessions_limit: int
    projected_sessions: int
    interval: IntervalDocument
    method: Literal["weekday_pattern", "straight_line", "so_far"]
    explanation: str
    limit_reached_at: datetime | None
    days: list[DayAheadDocument]


class RecommendationDocument(Document):
    """A piece of advice. ``potential_savings`` are US dollars a month, at least."""

    type: Literal["limit_soon", "cheapest_plan", "plan_optimization", "cost_reduction"]
    message: str
    potential_savings: float
    suggested_tier: Tier | None
    details: dict[str, JsonValue]


class RecommendationsDocument(Document):
    """``GET /usage/recommendations``, the most pressing first."""

    as_of: datetime
    period: str
    recommendations: list[RecommendationDocument]
