"""Margins: what customers pay beside what their managed models cost the operator (F2).

A period's revenue is its price (P5), in full from its first day on; the cost is that of the
sessions which started in it so far. Own keys cost the operator nothing, so they are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from decimal import Decimal

from flowstack_core.domain.month_end import Listing
from flowstack_core.domain.periods import Period
from flowstack_core.domain.plans import Tier
from flowstack_core.domain.prices import PriceList
from flowstack_core.domain.quota import PeriodUsage
from flowstack_core.domain.rollups import DaySlice, Talk

CUSTOMERS_PER_STEP = 250
"""Some requests for all of them, and one for each that started anything."""

WORST_SHOWN = 50

SETTLING = timedelta(days=2)
"""For so long after its end a period is still reported: its last sessions go on."""


@dataclass(frozen=True, slots=True)
class ManagedUse:
    """What was said on managed models, and what that cost.

    Attributes
    ----------
    cost
        US dollars, of all that has a price.
    talk
        All that was said.
    unpriced
        The part of it whose price is not known: it did cost something.
    """

    cost: Decimal = Decimal(0)
    talk: Talk = field(default_factory=Talk)
    unpriced: Talk = field(default_factory=Talk)

    def __add__(self, other: ManagedUse) -> ManagedUse:
        return ManagedUse(
            self.cost + other.cost, self.talk + other.talk, self.unpriced + other.unpriced
        )


def managed_use(slices: Iterable[DaySlice], prices: PriceList, region: str) -> ManagedUse:
    """Add up what managed models were used for, each day at its prices."""
    total = ManagedUse()
    for part in slices:
        if part.route.managed:
            cost = prices.cost(part.route, part.talk, part.day, region)
            total += (
                ManagedUse(Decimal(0), part.talk, part.talk)
                if cost is None
                else ManagedUse(cost, part.talk)
            )
    return total


@dataclass(frozen=True, slots=True)
class Margin:
    """One customer's margin in one period.

    Attributes
    ----------
    tier
        The highest tier in force during the period: the one that the price is of (P5).
    """

    customer_id: str
    tier: Tier
    revenue_cents: int
    use: ManagedUse = ManagedUse()

    @classmethod
    def of(cls, usage: PeriodUsage, use: ManagedUse) -> Margin:
        """Return the margin of a customer by its counter."""
        tier = max({usage.tier, *usage.tiers}, key=lambda each: each.rank)
        return cls(usage.customer_id, tier, usage.price_cents, use)

    def exceeds(self, percent: int) -> bool:
        """Whether the cost is more than so much of the price; without a price, any cost is."""
        return self.use.cost * 100 * 100 > self.revenue_cents * percent

    @property
    def share(self) -> Decimal | None:
        """The cost as a share of the price; ``None`` where there is no price."""
        return _share(self.use.cost, self.revenue_cents)


def _share(cost: Decimal, revenue_cents: int) -> Decimal | None:
    return cost * 100 / revenue_cents if revenue_cents else None


def _severity(margin: Margin) -> tuple[bool, Decimal, Decimal, str]:
    """Rank a customer: who pays nothing before all others; the same order in every run."""
    share = margin.share
    return (share is None, share or Decimal(0), margin.use.cost, margin.customer_id)


@dataclass(frozen=True, slots=True)
class TierTotal:
    """All customers of one tier."""

    customers: int = 0
    revenue_cents: int = 0
    use: ManagedUse = ManagedUse()

    def __add__(self, other: TierTotal) -> TierTotal:
        return TierTotal(
            self.customers + other.customers,
            self.revenue_cents + other.revenue_cents,
            self.use + other.use,
        )

    @property
    def share(self) -> Decimal | None:
        """The cost as a share of the prices; ``None`` where nobody pays."""
        return _share(self.use.cost, self.revenue_cents)


@dataclass(frozen=True, slots=True)
class MarginTotals:
    """The margins of many customers.

    Attributes
    ----------
    tiers
        The sums of each tier that anybody is on.
    exceeding
        How many customers' cost exceeds the share that is of interest.
    worst
        Those who cost the greatest share of what they pay, at most `WORST_SHOWN`.
    """

    tiers: Mapping[Tier, TierTotal] = field(default_factory=dict)
    exceeding: int = 0
    worst: tuple[Margin, ...] = ()

    @property
    def everybody(self) -> TierTotal:
        """The sums of all tiers."""
        return sum(self.tiers.values(), start=TierTotal())

    def plus(self, margins: Iterable[Margin], percent: int) -> MarginTotals:
        """Return the totals with some customers more, ``percent`` being the share of interest."""
        tiers = dict(self.tiers)
        exceeding = self.exceeding
        costly = list(self.worst)
        for margin in margins:
            one = TierTotal(1, margin.revenue_cents, margin.use)
            tiers[margin.tier] = tiers.get(margin.tier, TierTotal()) + one
            exceeding += margin.exceeds(percent)
            if margin.use != ManagedUse():
                costly.append(margin)
        costly.sort(key=_severity, reverse=True)
        return MarginTotals(tiers, exceeding, tuple(costly[:WORST_SHOWN]))


@dataclass(frozen=True, slots=True)
class MarginRun:
    """The margins of all customers in one period, added up step by step on one day.

    Attributes
    ----------
    day
        The day of the run; a later one takes its place, finished or not.
    share_percent
        The share of the price from which on a customer's cost is of interest.
    step
        How many steps are done; the next one goes on at ``cursor``.
    finished_at
        When everybody was added; ``None`` while somebody is missing.
    """

    period: Period
    day: date
    share_percent: int
    started_at: datetime
    step: int = 0
    cursor: str | None = None
    totals: MarginTotals = MarginTotals()
    finished_at: datetime | None = None

    @property
    def of_present(self) -> bool:
        """Whether the period was still running."""
        return Period.containing(self.started_at) == self.period

    def after(self, found: Listing, margins: Iterable[Margin], now: datetime) -> MarginRun:
        """Return the run after a step."""
        return replace(
            self,
            step=self.step + 1,
            cursor=found.cursor,
            totals=self.totals.plus(margins, self.share_percent),
            finished_at=None if found.more else now,
        )


def reported_periods(now: datetime) -> tuple[Period, ...]:
    """Return the periods that are reported on a day: the present one, and one that just ended."""
    return tuple(sorted({Period.containing(now - SETTLING), Period.containing(now)}))
