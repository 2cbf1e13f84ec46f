"""What things cost: projections, savings, managed models beside your own keys.

Amounts are exact. Time is passed in and is now where it is not. Prices are those of
``prices.json``, each with its date and source; pass a `PriceList` of your own for others.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any, TypeVar

from flowstack.documents import UsageStats
from flowstack.exceptions import ConfigurationError
from flowstack.money import Money

REFERENCE_MODEL = "gpt-4o"
"""What sessions with your own key are taken to use, where no model is named."""

Price = TypeVar("Price")

_MILLION = 1_000_000
_SHORTEST_PAST = timedelta(days=1)
"""A projection from less than a day would make a month of a moment."""


# --- prices -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ModelPrice:
    """What a model costs at its provider, by the million tokens."""

    model: str
    provider: str
    input: Money
    output: Money
    since: date
    source: str

    def of_tokens(self, input_tokens: int, output_tokens: int) -> Money:
        """Return what so many tokens cost."""
        return (self.input * input_tokens + self.output * output_tokens) / _MILLION


@dataclass(frozen=True, slots=True)
class PlanPrice:
    """What a plan costs and gives a month."""

    tier: str
    price_per_month: Money
    sessions_per_month: int
    managed: bool


@dataclass(frozen=True, slots=True)
class PriceList:
    """Prices of a day.

    Attributes
    ----------
    session_tokens
        Input and output tokens that a session is taken to use.
    plans
        The plans by tier, the cheapest first.
    """

    as_of: date
    session_tokens: tuple[int, int]
    plans: Mapping[str, PlanPrice]
    models: Mapping[str, ModelPrice]

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> PriceList:
        """Read a document of the form of ``prices.json``."""
        session = document["session"]
        return cls(
            as_of=date.fromisoformat(document["as_of"]),
            session_tokens=(session["input_tokens"], session["output_tokens"]),
            plans=MappingProxyType(
                {
                    plan["tier"]: PlanPrice(
                        plan["tier"],
                        Money(plan["price_per_month"]),
                        plan["sessions_per_month"],
                        plan["managed"],
                    )
                    for plan in document["plans"]
                }
            ),
            models=MappingProxyType(
                {
                    each["model"]: ModelPrice(
                        each["model"],
                        each["provider"],
                        Money(each["input"]),
                        Money(each["output"]),
                        date.fromisoformat(each["since"]),
                        each["source"],
                    )
                    for each in document["models"]
                }
            ),
        )

    def model(self, name: str) -> ModelPrice:
        """Return a model's price.

        Raises
        ------
        ConfigurationError
            It is not on the list.
        """
        return _listed(self.models, name, "model")

    def plan(self, tier: str) -> PlanPrice:
        """Return a plan's price.

        Raises
        ------
        ConfigurationError
            It is not on the list.
        """
        return _listed(self.plans, tier, "plan")

    def ai_cost(self, model: str, sessions: int) -> Money:
        """Return what sessions cost at the model's provider."""
        return self.model(model).of_tokens(*self.session_tokens) * sessions


def _listed(prices: Mapping[str, Price], name: str, kind: str) -> Price:
    if name not in prices:
        raise ConfigurationError(
            f"The price list has no {kind} {name!r}.", details={"known": list(prices)}
        )
    return prices[name]


@cache
def default_prices() -> PriceList:
    """Return the price list that comes with the package."""
    text = files("flowstack").joinpath("prices.json").read_text(encoding="utf-8")
    return PriceList.parse(json.loads(text))


# --- the billing period -------------------------------------------------------------------------


def period_of(now: datetime | None = None) -> tuple[datetime, datetime]:
    """Return the billing period of an instant: its start, and the start of the next."""
    moment = _utc(now)
    start = datetime(moment.year, moment.month, 1, tzinfo=UTC)
    return start, datetime(moment.year + moment.month // 12, moment.month % 12 + 1, 1, tzinfo=UTC)


def calculate_days_remaining(now: datetime | None = None) -> int:
    """Return how many whole days are left until the quota resets."""
    return (period_of(now)[1] - _utc(now)).days


def get_next_billing_cycle_date(now: datetime | None = None) -> date:
    """Return the day on which the quota resets, at midnight UTC."""
    return period_of(now)[1].date()


# --- projections --------------------------------------------------------------------------------


def project_monthly_usage(history: Iterable[Mapping[str, Any]], now: datetime | None = None) -> int:
    """Return how many sessions the period will have had at its end, if it goes on like this.

    Parameters
    ----------
    history
        Snapshots with ``timestamp`` (ISO 8601; local time where it has no offset),
        ``sessions_used`` and, if you like, ``sessions_limit``, in any order. Those of earlier
        periods are left out: the count began anew since.
    """
    start, end = period_of(now)
    snapshots = [
        (moment, int(snapshot["sessions_used"]), snapshot.get("sessions_limit"))
        for snapshot in history
        if start <= (moment := _moment(snapshot["timestamp"])) < end
    ]
    if not snapshots:
        return 0
    moment, used, limit = max(snapshots, key=lambda snapshot: snapshot[0])
    projected = _projected(used, moment, start, end)
    return projected if limit is None else max(used, min(projected, int(limit)))


def _projected(used: int, moment: datetime, start: datetime, end: datetime) -> int:
    past = max(moment - start, _SHORTEST_PAST)
    return max(used, round(Decimal(used) * _seconds(end - start) / _seconds(past)))


def estimate_monthly_cost(
    usage: UsageStats,
    *,
    byok_model: str | None = None,
    now: datetime | None = None,
    prices: PriceList | None = None,
) -> Money:
    """Return what the present month will have cost at its end.

    FlowStack's part is the price of the plan, however many sessions there are.

    Parameters
    ----------
    byok_model
        Adds what this model costs at its provider for the sessions that the month is heading for.
    """
    cost = usage.current_charges
    if byok_model is not None:
        moment = _utc(now or usage.now)
        projected = _projected(usage.sessions_used, moment, *period_of(moment))
        sessions = max(usage.sessions_used, min(projected, usage.sessions_limit))
        cost += (prices or default_prices()).ai_cost(byok_model, sessions)
    return cost.cents()


# --- savings ------------------------------------------------------------------------------------


def calculate_managed_savings(
    byok_sessions: int, model: str = REFERENCE_MODEL, *, prices: PriceList | None = None
) -> Money:
    """Return what sessions with your own key would not have cost with managed models."""
    return (prices or default_prices()).ai_cost(model, byok_sessions).cents()


def calculate_downgrade_savings(tier: str, *, prices: PriceList | None = None) -> Money:
    """Return what the next smaller plan costs less a month; nothing below the smallest."""
    listed = prices or default_prices()
    price = listed.plan(tier).price_per_month
    smaller = [
        plan.price_per_month for plan in listed.plans.values() if plan.price_per_month < price
    ]
    return (price - max(smaller)).cents() if smaller else Money(0)


# --- managed models beside your own keys --------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Range:
    """From the least to the most that something may cost a month."""

    least: Money
    most: Money

    def __add__(self, other: Range) -> Range:
        return Range(self.least + other.least, self.most + other.most)

    def __str__(self) -> str:
        least, most = f"{self.least:,.0f}", f"{self.most:,.0f}"
        return f"${least}" if least == most else f"${least}-{most}"


@dataclass(frozen=True, slots=True)
class CostOption:
    """One way to have a month's sessions answered."""

    name: str
    flowstack: Range
    ai: Range

    @property
    def total(self) -> Range:
        """What both together cost."""
        return self.flowstack + self.ai


def managed_option(sessions: int, *, prices: PriceList | None = None) -> CostOption:
    """Return what sessions cost with managed models: the smallest plan that has room for them."""
    plan = _plan_for(sessions, prices or default_prices())
    nothing = Range(Money(0), Money(0))
    return CostOption(
        f"managed, {plan.tier}", Range(plan.price_per_month, plan.price_per_month), nothing
    )


def byok_option(
    sessions: int,
    models: Sequence[str],
    *,
    free_while_possible: bool = False,
    round_outward_to: int = 1,
    prices: PriceList | None = None,
) -> CostOption:
    """Return what sessions cost with your own key at providers.

    Parameters
    ----------
    models
        Which models are thought of; the range goes from the cheapest to the dearest of them.
    free_while_possible
        Let FlowStack's part begin at nothing: the free tier has room for a few sessions, and
        needs your own key anyway.
    round_outward_to
        Widen the estimate to multiples of so many dollars.
    """
    listed = prices or default_prices()
    plan = _plan_for(sessions, listed)
    costs = [listed.ai_cost(model, sessions) for model in models]
    step = Decimal(round_outward_to)
    least = (min(costs) / step).quantize(Decimal(1), ROUND_FLOOR) * step
    most = (max(costs) / step).quantize(Decimal(1), ROUND_CEILING) * step
    floor = Money(0) if free_while_possible else plan.price_per_month
    return CostOption(
        f"own key, {plan.tier}, {' or '.join(models)}",
        Range(floor, plan.price_per_month),
        Range(Money(least), Money(most)),
    )


def _plan_for(sessions: int, prices: PriceList) -> PlanPrice:
    """Return the smallest plan with managed models that has room; the largest where none has."""
    paid = [plan for plan in prices.plans.values() if plan.managed]
    return next((plan for plan in paid if sessions <= plan.sessions_per_month), paid[-1])


# --- time ---------------------------------------------------------------------------------------


def _utc(now: datetime | None) -> datetime:
    return datetime.now(UTC) if now is None else now.astimezone(UTC)


def _moment(written: str | datetime) -> datetime:
    moment = written if isinstance(written, datetime) else datetime.fromisoformat(written)
    return moment.astimezone(UTC)


def _seconds(length: timedelta) -> Decimal:
    return Decimal(length // timedelta(microseconds=1)) / _MILLION
