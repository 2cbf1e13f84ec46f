"""What a customer could do about its bill, and the numbers behind it.

Each rule looks at where the period is heading and at what was used lately; it advises nothing that
would forbid what is used, and nothing before there is enough to go on. What is said to be saved is
never more than is known to be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import ROUND_FLOOR, Decimal
from enum import StrEnum
from typing import Any

from flowstack_core.domain.forecast import Forecast
from flowstack_core.domain.periods import instant
from flowstack_core.domain.plans import Tier, all_plans, plan_for
from flowstack_core.domain.quota import PeriodUsage
from flowstack_core.domain.rollups import DaySlice, Route, Talk
from flowstack_core.domain.statements import dollars
from flowstack_core.domain.subscriptions import Subscription, Terms

HABIT_DAYS = 30
"""Over how many days it is looked at what was used, and by whom it was paid."""

UNDERUSED_PERCENT = 50

_PLAN_DAYS = 14
"""How many days have to be known before another plan is spoken of: two of each weekday."""

_LIMIT_DAYS = 3
"""How many before the limit is, where it is not near."""

_HABIT_FORMED, _BYOK_SESSIONS = 7, 10
"""What was done for fewer days, or in fewer sessions, is no habit."""

Cost = Callable[[Route, Talk, date], Decimal | None]
"""What was said on a day cost at the model's provider, in dollars; ``None`` where it is unknown."""


class Kind(StrEnum):
    """What a piece of advice is about."""

    LIMIT_SOON = "limit_soon"
    CHEAPEST_PLAN = "cheapest_plan"
    PLAN_OPTIMIZATION = "plan_optimization"
    COST_REDUCTION = "cost_reduction"


@dataclass(frozen=True, slots=True)
class Recommendation:
    """A piece of advice.

    Attributes
    ----------
    savings_cents
        What it saves a month, at least.
    suggested
        The terms to move to; ``None`` where the present ones will do.
    details
        The numbers behind it.
    """

    kind: Kind
    message: str
    savings_cents: int
    suggested: Terms | None
    details: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Habits:
    """What was used in the last days.

    Attributes
    ----------
    managed_sessions, byok_sessions
        Sessions that began with the operator's models, and with the customer's own.
    managed_tokens_a_day, tokens_a_day
        The tokens of the busiest day: those of managed models, and all.
    byok_cost
        What the customer's own models cost at their providers, as far as their prices are known.
    unpriced
        Those of which they are not, as ``provider/model``.
    """

    managed_sessions: int = 0
    byok_sessions: int = 0
    managed_tokens_a_day: int = 0
    tokens_a_day: int = 0
    byok_cost: Decimal = Decimal(0)
    unpriced: tuple[str, ...] = ()

    @classmethod
    def of(cls, slices: Iterable[DaySlice], cost: Cost) -> Habits:
        """Add up the slices of some days."""
        sessions, spent = {True: 0, False: 0}, Decimal(0)
        managed: dict[date, int] = {}
        every: dict[date, int] = {}
        unpriced = set()
        for part in slices:
            tokens = part.talk.input_tokens + part.talk.output_tokens
            every[part.day] = every.get(part.day, 0) + tokens
            sessions[part.route.managed] += part.sessions
            if part.route.managed:
                managed[part.day] = managed.get(part.day, 0) + tokens
            elif (price := cost(part.route, part.talk, part.day)) is not None:
                spent += price
            else:
                unpriced.add(f"{part.route.provider}/{part.route.model}")
        return cls(
            managed_sessions=sessions[True],
            byok_sessions=sessions[False],
            managed_tokens_a_day=max(managed.values(), default=0),
            tokens_a_day=max(every.values(), default=0),
            byok_cost=spent,
            unpriced=tuple(sorted(unpriced)),
        )


@dataclass(frozen=True, slots=True)
class Situation:
    """All that the rules look at.

    Attributes
    ----------
    usage
        The counter of the present period, with the limit in force.
    coming
        The terms of the next period, if nothing is done: what advice has to be better than.
    """

    forecast: Forecast
    usage: PeriodUsage
    coming: Terms
    habits: Habits

    @property
    def uses_managed(self) -> bool:
        """Whether managed models are used."""
        return self.habits.managed_sessions > 0 or self.usage.managed_sessions > 0

    @property
    def needed(self) -> int:
        """How many sessions a plan must have room for: this month's at most, or the last days'."""
        lately = self.habits.managed_sessions + self.habits.byok_sessions
        return max(self.forecast.outcome.high, lately)

    def fits(self, terms: Terms) -> bool:
        """Whether the terms have room for such a month and forbid nothing that is used."""
        allowed = plan_for(terms.tier).fair_use.managed_tokens_per_day
        return (
            self.needed <= terms.session_limit
            and (terms.managed_models or not self.uses_managed)
            and self.habits.managed_tokens_a_day <= allowed
        )

    def smaller(self) -> Terms | None:
        """Return the cheapest terms that fit and cost less, as a customer can choose them (P6)."""
        below = [
            Terms.of(plan.tier, min(plan.sessions_per_month, self.coming.session_limit))
            for plan in all_plans()
            if plan.tier.rank < self.coming.tier.rank and plan.price_cents < self.coming.price_cents
        ]
        return min(filter(self.fits, below), key=_price, default=None)

    def larger(self) -> Terms | None:
        """Return the cheapest plan above the coming terms that fits, or else the largest of them.

        Beyond the highest tier there are contracts only, which are the operator's to make.
        """
        above = [
            Terms.of(plan.tier)
            for plan in all_plans()
            if plan.tier.rank > self.coming.tier.rank
            and plan.sessions_per_month > self.coming.session_limit
        ]
        largest = max(above, key=lambda terms: terms.session_limit, default=None)
        return min(filter(self.fits, above), key=_price, default=largest)


def _price(terms: Terms) -> int:
    return terms.price_cents


def recommendations(
    forecast: Forecast, usage: PeriodUsage, subscription: Subscription, habits: Habits
) -> tuple[Recommendation, ...]:
    """Return what is to be advised, the most pressing first; nothing to whom was stopped."""
    if subscription.ended_at is not None:
        return ()
    coming = subscription.terms_in(usage.period.next())
    situation = Situation(forecast, usage, coming, habits)
    rules = (_limit_soon, _larger_plan, _smaller_plan, _managed_instead)
    return tuple(advice for rule in rules for advice in rule(situation))


def _limit_soon(situation: Situation) -> Iterator[Recommendation]:
    """Say when the limit will be reached, if it will be in this period."""
    usage, forecast = situation.usage, situation.forecast
    reached_at = forecast.reached_at(usage.session_limit)
    known = forecast.known_days >= _LIMIT_DAYS or usage.near_limit
    if reached_at is None or not known:
        return
    over = max(0, forecast.outcome.expected - usage.session_limit)
    yield Recommendation(
        Kind.LIMIT_SOON,
        _limit_message(situation, reached_at),
        savings_cents=0,
        suggested=situation.larger(),
        details={
            "limit_reached_at": instant(reached_at),
            "sessions_used": usage.sessions_used,
            "sessions_limit": usage.session_limit,
            "projected_sessions": forecast.outcome.expected,
            "sessions_beyond_limit": over,
            "resets_at": instant(usage.period.end),
        },
    )


def _limit_message(situation: Situation, reached_at: datetime) -> str:
    usage = situation.usage
    if usage.exhausted:
        return (
            f"All {usage.session_limit} sessions of {usage.period} are used: no other starts "
            f"before {usage.period.end:%Y-%m-%d}, unless the limit is raised."
        )
    return (
        f"At this pace all {usage.session_limit} sessions of {usage.period} are used on "
        f"{reached_at:%Y-%m-%d}; then no other starts before {usage.period.end:%Y-%m-%d}."
    )


def _larger_plan(situation: Situation) -> Iterator[Recommendation]:
    """Name the plan for a month that the coming terms are too small for."""
    expected, coming = situation.forecast.outcome.expected, situation.coming
    if situation.forecast.known_days < _PLAN_DAYS or expected <= coming.session_limit:
        return
    larger = situation.larger()
    if larger is None:
        return
    extra = larger.price_cents - coming.price_cents
    price = f"${dollars(extra)} a month more" if extra > 0 else "no more than now"
    waits = larger.tier.rank <= situation.usage.tier.rank
    how = "take back the change that waits" if waits else "the operator can give it at once"
    yield Recommendation(
        Kind.CHEAPEST_PLAN,
        f"A month like this one needs about {expected} sessions, and {coming.tier.value} has "
        f"{coming.session_limit}. The cheapest plan for it is {larger.tier.value}, for {price}: "
        f"{how}.",
        savings_cents=max(0, -extra),
        suggested=larger,
        details={**_outlook(situation), "extra_cost_cents": extra},
    )


def _smaller_plan(situation: Situation) -> Iterator[Recommendation]:
    """Name the plan for a month that needs less than is paid for."""
    if situation.forecast.known_days < _PLAN_DAYS:
        return
    smaller, coming = situation.smaller(), situation.coming
    if smaller is None:
        return
    saved = coming.price_cents - smaller.price_cents
    underused = situation.needed * 100 < coming.session_limit * UNDERUSED_PERCENT
    reason = (
        f"this month is heading for less than {UNDERUSED_PERCENT} % of the sessions of "
        f"{coming.tier.value}"
        if underused
        else f"{coming.tier.value} costs more than this month needs"
    )
    yield Recommendation(
        Kind.PLAN_OPTIMIZATION if underused else Kind.CHEAPEST_PLAN,
        f"{smaller.tier.value.capitalize()} would do: {reason}. Moving down saves "
        f"${dollars(saved)} a month, from {situation.usage.period.next()} on.",
        savings_cents=saved,
        suggested=smaller,
        details={**_outlook(situation), "lost": list(smaller.lost_against(coming))},
    )


def _managed_instead(situation: Situation) -> Iterator[Recommendation]:
    """Say what managed models would save who mostly pays providers, though they are included."""
    habits, coming = situation.habits, situation.coming
    if coming.tier not in (Tier.STARTER, Tier.PROFESSIONAL):
        return
    known_days = situation.forecast.known_days
    if known_days < _HABIT_FORMED or habits.byok_sessions < _BYOK_SESSIONS:
        return
    if habits.byok_sessions <= habits.managed_sessions:
        return
    suggested = _with_room_for(habits.tokens_a_day, coming)
    if suggested is None:
        return
    spent = int((habits.byok_cost * 100).to_integral_value(ROUND_FLOOR))
    extra = suggested.price_cents - coming.price_cents
    priced = spent > 0
    if spent <= extra and (priced or extra or not habits.unpriced):
        return
    yield Recommendation(
        Kind.COST_REDUCTION,
        _managed_message(habits, suggested, spent - extra, known=priced),
        savings_cents=spent - extra,
        suggested=None if suggested == coming else suggested,
        details={
            "days": HABIT_DAYS,
            "byok_sessions": habits.byok_sessions,
            "managed_sessions": habits.managed_sessions,
            "estimated_byok_cost_cents": spent if priced else None,
            "models_without_a_price": list(habits.unpriced),
            "extra_cost_cents": extra,
        },
    )


def _with_room_for(tokens: int, coming: Terms) -> Terms | None:
    """Return the cheapest terms, from the coming ones up, with so many managed tokens a day."""
    above = [Terms.of(plan.tier) for plan in all_plans() if plan.tier.rank > coming.tier.rank]
    for terms in (coming, *above):
        if tokens <= plan_for(terms.tier).fair_use.managed_tokens_per_day:
            return terms
    return None


def _managed_message(habits: Habits, terms: Terms, saved: int, *, known: bool) -> str:
    said = (
        f"{habits.byok_sessions} of {habits.byok_sessions + habits.managed_sessions} sessions of "
        f"the last {HABIT_DAYS} days ran on your own keys, while managed models are included in "
        f"the price of {terms.tier.value}."
    )
    if not known:
        return f"{said} What your models cost is not known here."
    at_least = "at least" if habits.unpriced else "about"
    return f"{said} Where one of them serves as well, that saves {at_least} ${dollars(saved)}."


def _outlook(situation: Situation) -> dict[str, Any]:
    outcome, limit = situation.forecast.outcome, situation.coming.session_limit
    return {
        "current_tier": situation.coming.tier.value,
        "current_price_cents": situation.coming.price_cents,
        "sessions_limit": limit,
        "sessions_used": situation.usage.sessions_used,
        "projected_sessions": outcome.expected,
        "projected_at_most": outcome.high,
        "sessions_needed": situation.needed,
    }
