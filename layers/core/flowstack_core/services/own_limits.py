"""The limits that customers set themselves: seeing them, changing them, holding a ceiling.

What a customer has spent is estimated from its daily rollups, which follow the sessions by
seconds. So does the ceiling: it is held against the estimate whenever the rollups move on, and
when somebody looks at or changes it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import partial
from typing import Any, TypeVar

from flowstack_core.domain.errors import ConflictError, NotFoundError
from flowstack_core.domain.own_limits import (
    CeilingReached,
    OwnLimits,
    Prices,
    Spending,
    check_own_limits,
    spending,
)
from flowstack_core.domain.periods import Period, instant
from flowstack_core.domain.quota import PeriodUsage
from flowstack_core.domain.subscriptions import Subscription
from flowstack_core.services.auditing import Auditor
from flowstack_core.services.ports.own_limits import OwnLimitsStore
from flowstack_core.services.ports.rollups import RollupReader
from flowstack_core.services.ports.surroundings import Clock, CustomerClocks, TimeBudget
from flowstack_core.services.ports.usage import UsageStore
from flowstack_core.services.retrying import Retrier

Result = TypeVar("Result")

_MAX_CHANGE_ATTEMPTS = 5
_DELIVERY_RESERVE_SECONDS = 0.3


@dataclass(frozen=True, slots=True)
class BudgetStanding:
    """A customer's own limits, and where it stands with its ceiling in a period.

    Attributes
    ----------
    reached
        The ceiling, if it is reached.
    """

    limits: OwnLimits
    period: Period
    spent: Spending
    reached: CeilingReached | None


class BudgetService:
    """Shows and changes the limits that customers set themselves.

    An ``actor`` is who is acting: the key's id.

    Parameters
    ----------
    cost
        The prices at which messages with a customer's own keys are estimated.
    clock
        The system's: what audit records are dated by.
    """

    def __init__(
        self,
        limits: OwnLimitsStore,
        usage: UsageStore,
        rollups: RollupReader,
        cost: Prices,
        clocks: CustomerClocks,
        clock: Clock,
        random_bytes: Callable[[int], bytes],
        retrier: Retrier,
    ) -> None:
        self._limits = limits
        self._usage = usage
        self._rollups = rollups
        self._cost = cost
        self._clocks = clocks
        self._audit = Auditor(clock, random_bytes).record
        self._retrier = retrier

    def budget(self, customer_id: str, budget: TimeBudget) -> BudgetStanding:
        """Return the customer's limits and where it stands; what follows from that is noted."""
        return self._retry(lambda: self._looked_at(customer_id), budget)

    def evaluate(self, customer_id: str) -> None:
        """Hold the customer's ceiling, if it has one, against what it has spent by now.

        Called when the rollups have moved on. It costs one read where there is no ceiling, and
        is safe to repeat. A customer that is being erased has nothing to be held any more.
        """
        if self._limits.own_limits(customer_id).monthly_ceiling_cents is not None:
            with suppress(NotFoundError):
                self._looked_at(customer_id)

    def change(
        self,
        actor: str,
        customer_id: str,
        decide: Callable[[OwnLimits], OwnLimits],
        budget: TimeBudget,
    ) -> BudgetStanding:
        """Change the customer's limits; what follows for new sessions holds from the same write on.

        Raises
        ------
        InvalidRequestError
            The limits are none that anybody can mean.
        """
        for _ in range(_MAX_CHANGE_ATTEMPTS):
            # The limits first: whatever was noted of a former ceiling is then seen on the counter.
            subscription, before = self._retry(lambda: self._found(customer_id), budget)
            subscription.ensure_running()
            wanted = decide(before)
            check_own_limits(wanted)
            if wanted == before:
                return self.budget(customer_id, budget)
            after = replace(wanted, version=before.version + 1)
            changed = self._change(actor, subscription, before, after, budget)
            if changed is not None:
                return changed
        raise ConflictError("These limits are being changed by somebody else; try again.")

    def _change(
        self,
        actor: str,
        subscription: Subscription,
        before: OwnLimits,
        after: OwnLimits,
        budget: TimeBudget,
    ) -> BudgetStanding | None:
        """Write a change; ``None`` if it has to be decided anew."""
        customer_id = subscription.customer_id
        now = self._retry(lambda: self._clocks.for_customer(customer_id), budget).now()
        period = Period.containing(now)
        # As the next admission would: what a ceiling forbids stands on the counter.
        self._retry(lambda: self._usage.open_period(subscription, period), budget)
        usage = self._retry(lambda: self._usage.period_usage(customer_id, period), budget)
        if usage is None:
            return None
        spent = self._retry(lambda: self._spent(usage), budget)
        reached = after.ceiling_reached(spent, now)
        audit = self._audit(actor, customer_id, "limits.change", before.facts(), after.facts())
        write = partial(self._limits.replace_limits, before, after, period, reached, audit)
        return BudgetStanding(after, period, spent, reached) if self._retry(write, budget) else None

    def _looked_at(self, customer_id: str) -> BudgetStanding:
        subscription, limits = self._found(customer_id)
        now = self._clocks.for_customer(customer_id).now()
        period = Period.containing(now)
        counter = self._usage.period_usage(customer_id, period)
        usage = PeriodUsage.standing(counter, subscription, period)
        spent = self._spent(usage)
        reached = limits.ceiling_reached(spent, now)
        if counter is not None and not counter.budget_noted(reached):
            self._limits.note_ceiling(limits, period, reached)
        return BudgetStanding(limits, period, spent, reached)

    def _found(self, customer_id: str) -> tuple[Subscription, OwnLimits]:
        found = self._limits.subscription_and_limits(customer_id)
        if found is None:
            raise NotFoundError("There is no such customer.", details={"customer_id": customer_id})
        return found

    def _spent(self, usage: PeriodUsage) -> Spending:
        days = usage.period.start.date(), _last_day(usage.period)
        slices = self._rollups.slices(usage.customer_id, *days)
        return spending(usage.price_cents, slices, self._cost)

    def _retry(self, operation: Callable[[], Result], budget: TimeBudget) -> Result:
        return self._retrier.run(operation, budget, reserve_seconds=_DELIVERY_RESERVE_SECONDS)


def budget_document(standing: BudgetStanding) -> dict[str, Any]:
    """Render ``GET /budget``."""
    limits, spent = standing.limits, standing.spent
    return {
        **limits.facts(),
        "period": standing.period.name,
        "resets_at": instant(standing.period.end),
        "spent": {
            "plan": spent.plan_cents / 100,
            "byok_estimate": spent.byok_cents / 100,
            "total": spent.total_cents / 100,
            "unpriced_models": sorted(f"{one.provider}/{one.model}" for one in spent.unpriced),
        },
        "reached": standing.reached is not None,
        "notice": _notice(standing),
    }


def _notice(standing: BudgetStanding) -> str | None:
    """Tell of a ceiling that the plan alone reaches: maybe it is not what was meant."""
    reached = standing.reached
    if reached is None or standing.spent.plan_cents < reached.ceiling_cents:
        return None
    consequence = "no new session can start" if reached.blocks else "it is reached in every period"
    return f"Your plan alone costs as much as this ceiling allows: {consequence}."


def _last_day(period: Period) -> date:
    return (period.end - timedelta(days=1)).date()
