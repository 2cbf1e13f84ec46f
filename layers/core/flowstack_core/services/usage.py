"""Where a customer stands: usage, entitlement, and whether the count is right."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from flowstack_core.domain.errors import NotFoundError
from flowstack_core.domain.periods import Period, instant
from flowstack_core.domain.plans import plan_for
from flowstack_core.domain.quota import PeriodUsage, QuotaStatement
from flowstack_core.domain.rollups import DaySlice, day_totals, merged
from flowstack_core.domain.subscriptions import Subscription
from flowstack_core.services.ports.accounts import SubscriptionReader
from flowstack_core.services.ports.rollups import RollupReader
from flowstack_core.services.ports.sessions import SessionStore
from flowstack_core.services.ports.surroundings import CustomerClocks
from flowstack_core.services.ports.usage import UsageStore

_AUDIT_REPEATS = 3


@dataclass(frozen=True, slots=True)
class UsageAudit:
    """A period's count beside what its session records say.

    Attributes
    ----------
    counted
        What the counter says.
    records
        How many sessions were started, by their records.
    released
        How many of them were taken back.
    rolled_up
        How many of them are in the rollups, by their records.
    drifting_days
        Days of which the rollups say something else than the records do.
    """

    period: Period
    counted: int
    records: int
    released: int
    held: int
    rolled_up: int
    drifting_days: tuple[date, ...]

    @property
    def expected(self) -> int:
        """What the counter should say."""
        return self.records - self.released

    @property
    def drift(self) -> int:
        """Counter minus records: zero, unless something is wrong."""
        return self.counted - self.expected

    @property
    def missing(self) -> int:
        """Sessions with an answer that are not in the rollups: those of the last seconds, or lost.

        Held ones are known by an index that may be behind, so it can say a little less for a while.
        """
        return max(0, self.expected - self.held - self.rolled_up)

    @property
    def in_order(self) -> bool:
        """Whether nothing calls for another look."""
        return self.drift == 0 and self.missing == 0 and not self.drifting_days


class UsageService:
    """Answers questions about usage. Reads only."""

    def __init__(
        self,
        sessions: SessionStore,
        usage: UsageStore,
        rollups: RollupReader,
        subscriptions: SubscriptionReader,
        clocks: CustomerClocks,
    ) -> None:
        self._sessions = sessions
        self._usage = usage
        self._rollups = rollups
        self._subscriptions = subscriptions
        self._clocks = clocks

    def statement(self, customer_id: str) -> tuple[QuotaStatement, datetime]:
        """Return the quota of the period the customer's clock is in, and what that clock says.

        A period in which nothing was started yet has no counter; its entitlement is computed.
        """
        now = self._clocks.for_customer(customer_id).now()
        period = Period.containing(now)
        subscription = self._subscription(customer_id)
        counter = self._usage.period_usage(customer_id, period)
        usage = PeriodUsage.standing(counter, subscription, period)
        return QuotaStatement(usage, len(self._sessions.held_sessions(customer_id, period))), now

    def usage_document(self, customer_id: str) -> dict[str, Any]:
        """Render ``GET /usage``."""
        statement, now = self.statement(customer_id)
        usage = statement.usage
        return {
            "tier": usage.tier.value,
            "current_charges": usage.price_cents / 100,
            "current_period": {
                "name": usage.period.name,
                "start": instant(usage.period.start),
                "end": instant(usage.period.end),
                "now": instant(now),
                "days_left": (usage.period.end - now).days,
                "sessions_used": usage.sessions_used,
                "sessions_held": statement.held,
                "sessions_limit": usage.session_limit,
                "sessions_remaining": usage.sessions_remaining,
                "sessions_credited": usage.credited_sessions,
                "usage_percentage": round(usage.usage_percentage, 2),
                "is_near_limit": usage.near_limit,
            },
            "quota": statement.facts(),
        }

    def tier_document(self, customer_id: str) -> dict[str, Any]:
        """Render ``GET /tier-info``."""
        statement, _ = self.statement(customer_id)
        usage = statement.usage
        plan = plan_for(usage.tier)
        return {
            "tier": usage.tier.value,
            "current_tier": usage.tier.value,
            "session_limit": usage.session_limit,
            "can_use_managed": usage.managed_models,
            "byok": plan.byok,
            "price_per_month": usage.price_cents / 100,
            "support": plan.support,
            "extras": list(plan.extras),
            "fair_use": plan.fair_use.model_dump(),
        }

    def audit(self, customer_id: str, period: Period | None) -> UsageAudit:
        """Rebuild a period's count and rollups from its session records, and compare.

        Sessions that start, are released or are rolled up between the reads look like drift; real
        drift is still there when everything is read again.
        """
        if period is None:
            period = Period.containing(self._clocks.for_customer(customer_id).now())
        self._subscription(customer_id)
        found = self._compare(customer_id, period)
        for _ in range(_AUDIT_REPEATS):
            if found.in_order:
                break
            found = self._compare(customer_id, period)
        return found

    def _compare(self, customer_id: str, period: Period) -> UsageAudit:
        usage = self._usage.period_usage(customer_id, period)
        records = released = rolled_up = 0
        parts: list[DaySlice] = []
        for record in self._sessions.records(customer_id, period):
            records += 1
            released += not record.counted
            rolled_up += bool(record.rolled_up)
            parts += record.slices()
        return UsageAudit(
            period=period,
            counted=0 if usage is None else usage.sessions_used,
            records=records,
            released=released,
            held=len(self._sessions.held_sessions(customer_id, period)),
            rolled_up=rolled_up,
            drifting_days=self._drifting_days(customer_id, period, parts),
        )

    def _drifting_days(
        self, customer_id: str, period: Period, parts: Iterable[DaySlice]
    ) -> tuple[date, ...]:
        """Return the days of which total or slices are not the sums of their records."""
        span = (period.start.date(), (period.end - timedelta(days=1)).date())
        expected = merged(parts)
        apart = {part.day for part in {*self._rollups.slices(customer_id, *span)} ^ {*expected}} | {
            total.day
            for total in {*self._rollups.days(customer_id, *span)} ^ {*day_totals(expected)}
        }
        return tuple(sorted(apart))

    def _subscription(self, customer_id: str) -> Subscription:
        subscription = self._subscriptions.subscription(customer_id)
        if subscription is None:
            raise NotFoundError("There is no such customer.", details={"customer_id": customer_id})
        return subscription
