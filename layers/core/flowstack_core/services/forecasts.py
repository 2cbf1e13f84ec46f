"""Where a customer's period is heading, and what it could do about its bill. Reads only."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import Any

from flowstack_core.domain.errors import NotFoundError
from flowstack_core.domain.forecast import (
    CONFIDENCE,
    HISTORY_WEEKS,
    DayAhead,
    Forecast,
    days_at_the_limit,
    forecast,
)
from flowstack_core.domain.periods import instant, optional_instant
from flowstack_core.domain.quota import PeriodUsage
from flowstack_core.domain.recommendations import (
    HABIT_DAYS,
    Cost,
    Habits,
    Recommendation,
    recommendations,
)
from flowstack_core.services.documents import terms_document
from flowstack_core.services.ports.accounts import SubscriptionReader
from flowstack_core.services.ports.rollups import RollupReader
from flowstack_core.services.ports.usage import UsageStore
from flowstack_core.services.usage import UsageService


class ForecastService:
    """Forecasts a period from its counter and the days before.

    The counter is the truth about the present period. Rollups follow by seconds and know only
    sessions in which a message was answered, so they are asked for the pace and for nothing else.
    """

    def __init__(self, usage: UsageService, rollups: RollupReader, counters: UsageStore) -> None:
        self._usage = usage
        self._rollups = rollups
        self._counters = counters

    def forecast(self, customer_id: str) -> tuple[Forecast, PeriodUsage]:
        """Return where the period the customer's clock is in is heading, and its counter.

        Raises
        ------
        NotFoundError
            There is no such customer.
        """
        statement, now = self._usage.statement(customer_id)
        usage, first = statement.usage, now.date() - timedelta(weeks=HISTORY_WEEKS)
        days = self._rollups.days(customer_id, first, now.date())
        history = {total.day: total.sessions for total in days}
        refused = {
            day
            for counter in (usage, *self._before(usage, first))
            for day in days_at_the_limit(history, counter)
        }
        return forecast(history, usage.sessions_used, now, refused), usage

    def _before(self, usage: PeriodUsage, first: date) -> Iterator[PeriodUsage]:
        """Yield the counters of the earlier periods that reach into the history."""
        period = usage.period.previous()
        while period.end.date() > first:
            if (counter := self._counters.period_usage(usage.customer_id, period)) is not None:
                yield counter
            period = period.previous()

    def forecast_document(self, customer_id: str) -> dict[str, Any]:
        """Render ``GET /usage/forecast``."""
        found, usage = self.forecast(customer_id)
        outcome = found.outcome
        return {
            "period": found.period.name,
            "as_of": instant(found.now),
            "sessions_used": found.used,
            "sessions_limit": usage.session_limit,
            "projected_sessions": outcome.expected,
            "interval": {"low": outcome.low, "high": outcome.high, "confidence": CONFIDENCE},
            "method": found.method.value,
            "explanation": found.explanation(usage.session_limit),
            "limit_reached_at": optional_instant(found.reached_at(usage.session_limit)),
            "days": [_day_document(ahead) for ahead in found.days],
        }


class RecommendationService:
    """Advises on plans and models.

    Parameters
    ----------
    cost
        What the customer's own models cost at their providers.
    """

    def __init__(
        self,
        forecasts: ForecastService,
        rollups: RollupReader,
        subscriptions: SubscriptionReader,
        cost: Cost,
    ) -> None:
        self._forecasts = forecasts
        self._rollups = rollups
        self._subscriptions = subscriptions
        self._cost = cost

    def recommendations_document(self, customer_id: str) -> dict[str, Any]:
        """Render ``GET /usage/recommendations``."""
        found, usage = self._forecasts.forecast(customer_id)
        subscription = self._subscriptions.subscription(customer_id)
        if subscription is None:
            raise NotFoundError("There is no such customer.", details={"customer_id": customer_id})
        advice = recommendations(found, usage, subscription, self._habits(customer_id, found.now))
        return {
            "as_of": instant(found.now),
            "period": found.period.name,
            "recommendations": [_recommendation_document(each) for each in advice],
        }

    def _habits(self, customer_id: str, now: datetime) -> Habits:
        today = now.date()
        first = today - timedelta(days=HABIT_DAYS - 1)
        return Habits.of(self._rollups.slices(customer_id, first, today), self._cost)


def _day_document(ahead: DayAhead) -> dict[str, Any]:
    return {
        "day": ahead.day.isoformat(),
        "expected": ahead.expected,
        "low": ahead.low,
        "high": ahead.high,
    }


def _recommendation_document(advice: Recommendation) -> dict[str, Any]:
    """Render a piece of advice. Money becomes dollars here and nowhere before (P5)."""
    suggested = advice.suggested
    return {
        "type": advice.kind.value,
        "message": advice.message,
        "potential_savings": advice.savings_cents / 100,
        "suggested_tier": None if suggested is None else suggested.tier.value,
        "details": {
            **advice.details,
            "suggested_plan": None if suggested is None else terms_document(suggested),
        },
    }
