"""Closing one customer's period: everything that it writes, decided before anything is written.

The counter is the basis. It is fenced in the same transaction that writes the statement: once a
period is closed nothing can start in it, and a session taken back later becomes an adjustment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from flowstack_core.domain.periods import Period
from flowstack_core.domain.quota import PeriodUsage
from flowstack_core.domain.statements import Statement, draft_statement, plan_change_after
from flowstack_core.domain.subscriptions import Subscription


@dataclass(frozen=True, slots=True)
class Closing:
    """What closing one customer's period writes, all or nothing.

    Attributes
    ----------
    basis
        The counter the statement was written from; ``None`` if there was none. It must still
        stand so.
    usage
        The counter, closed.
    subscription
        The subscription of which a change that waited takes effect, and what it becomes. ``None``
        where none does: nothing waits, or only for a later period.
    """

    statement: Statement
    basis: PeriodUsage | None
    usage: PeriodUsage
    subscription: tuple[Subscription, Subscription] | None

    @property
    def customer_id(self) -> str:
        """Whose period it is."""
        return self.statement.customer_id

    @property
    def period(self) -> Period:
        """The period that is closed."""
        return self.statement.period


def close_period(
    subscription: Subscription,
    period: Period,
    usage: PeriodUsage | None,
    adjustments: Mapping[Period, int],
    now: datetime,
) -> Closing:
    """Close ``period``, all earlier ones of the customer being closed.

    Parameters
    ----------
    usage
        The period's counter; ``None`` if nothing ever happened in it.
    adjustments
        What became known of closed periods and is on no statement yet.
    """
    counter = PeriodUsage.opened(subscription, period) if usage is None else usage
    change = plan_change_after(subscription, period)
    settled = subscription.settled(period.next())
    return Closing(
        statement=draft_statement(counter, adjustments, change, now),
        basis=usage,
        usage=replace(counter, closed_at=now),
        subscription=None if settled is subscription else (subscription, settled),
    )
