"""The plan file says what is sold."""

from __future__ import annotations

from itertools import pairwise

import pytest

from flowstack_core.domain.plans import Tier, all_plans, plan_for


@pytest.mark.parametrize(
    ("tier", "price_cents", "sessions", "managed", "byok"),
    [
        (Tier.FREE, 0, 25, False, "required"),
        (Tier.STARTER, 2_900, 1_000, True, "optional"),
        (Tier.PROFESSIONAL, 9_900, 10_000, True, "optional"),
        (Tier.ENTERPRISE, 49_900, 100_000, True, "optional"),
    ],
)
def test_the_plans_are_the_published_ones(
    tier: Tier, price_cents: int, sessions: int, managed: bool, byok: str
) -> None:
    plan = plan_for(tier)
    assert plan.price_cents == price_cents
    assert plan.sessions_per_month == sessions
    assert plan.managed_models is managed
    assert plan.byok == byok


def test_a_higher_tier_never_gives_less() -> None:
    plans = all_plans()
    assert [plan.tier for plan in plans] == list(Tier)
    for lower, higher in pairwise(plans):
        assert higher.price_cents > lower.price_cents
        assert higher.sessions_per_month > lower.sessions_per_month
        assert higher.managed_models >= lower.managed_models
        assert higher.fair_use.requests_per_minute > lower.fair_use.requests_per_minute
        assert higher.fair_use.managed_tokens_per_day > lower.fair_use.managed_tokens_per_day
