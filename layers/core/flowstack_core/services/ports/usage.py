"""Counters of periods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from flowstack_core.domain.periods import Period
    from flowstack_core.domain.quota import PeriodUsage
    from flowstack_core.domain.subscriptions import Subscription


class UsageStore(Protocol):
    """The counters."""

    def period_usage(self, customer_id: str, period: Period) -> PeriodUsage | None:
        """Return the counter, read consistently; ``None`` if the period is not open."""
        ...

    def open_period(self, subscription: Subscription, period: Period) -> bool:
        """Open the period, or bring its entitlement up to the subscription.

        ``False`` if the counter is already at the subscription's version or closed, or the
        subscription was changed meanwhile.
        """
        ...


class CounterReader(Protocol):
    """The counters of many customers at once."""

    def counters(self, customer_ids: Sequence[str], period: Period) -> Mapping[str, PeriodUsage]:
        """Return each customer's counter under its subscription, whether it was opened or not.

        Who has no subscription is left out. A subscription is read no earlier than the counter.
        """
        ...
