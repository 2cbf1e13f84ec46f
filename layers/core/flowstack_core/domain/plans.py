"""The plans on offer, read from one file the operator edits: ``plans.json``.

Prices are integer US cents a month; limits are sessions a month. An enterprise contract may
replace both (`flowstack_core.domain.subscriptions`).
"""

from __future__ import annotations

from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, NonNegativeInt

_FILE = Path(__file__).with_name("plans.json")


class Tier(StrEnum):
    """The tiers, from the least to the most."""

    FREE = "free"
    STARTER = "starter"
    PROFESSIONAL = "professional"
    ENTERPRISE = "enterprise"

    @property
    def rank(self) -> int:
        """Position in the order of tiers; a higher rank is an upgrade."""
        return list(Tier).index(self)


class FairUse(BaseModel):
    """What one customer of a tier may use beyond the session quota (F1)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    requests_per_minute: NonNegativeInt
    managed_tokens_per_day: NonNegativeInt


class Plan(BaseModel):
    """What a tier costs and gives."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tier: Tier
    price_cents: NonNegativeInt
    sessions_per_month: NonNegativeInt
    managed_models: bool
    byok: Literal["required", "optional"]
    support: str
    extras: tuple[str, ...]
    fair_use: FairUse


class _PlanFile(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    plans: tuple[Plan, ...]


@cache
def all_plans() -> tuple[Plan, ...]:
    """Return the plans in ascending order of tier."""
    plans = _PlanFile.model_validate_json(_FILE.read_bytes()).plans
    return tuple(sorted(plans, key=lambda plan: plan.tier.rank))


def plan_for(tier: Tier) -> Plan:
    """Return the plan of ``tier``."""
    return next(plan for plan in all_plans() if plan.tier is tier)
