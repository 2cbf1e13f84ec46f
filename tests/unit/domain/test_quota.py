"""A quota that explains itself (Q1, A1)."""

from __future__ import annotations

import pytest

from flowstack_core.domain.plans import Tier
from flowstack_core.domain.quota import PeriodUsage, QuotaStatement
from tests.support.fakes import NOVEMBER


def usage(used: int, limit: int) -> PeriodUsage:
    return PeriodUsage(
        customer_id="cus_1",
        period=NOVEMBER,
        sessions_used=used,
        session_limit=limit,
        credited_sessions=0,
        managed_models=True,
        tier=Tier.STARTER,
        price_cents=2_900,
        subscription_version=1,
    )


@pytest.mark.parametrize(
    ("used", "limit", "exhausted", "remaining"),
    [(0, 0, True, 0), (0, 1, False, 1), (1, 1, True, 0), (24, 25, False, 1), (25, 25, True, 0)],
)
def test_q1_the_quota_is_exhausted_exactly_at_its_limit(
    used: int, limit: int, exhausted: bool, remaining: int
) -> None:
    assert usage(used, limit).exhausted is exhausted
    assert usage(used, limit).sessions_remaining == remaining


def test_remaining_is_never_negative() -> None:
    assert usage(30, 25).sessions_remaining == 0


@pytest.mark.parametrize(
    ("used", "limit", "near"),
    [(79, 100, False), (80, 100, True), (799, 1_000, False), (800, 1_000, True), (0, 0, True)],
)
def test_a1_near_the_limit_means_at_least_80_percent(used: int, limit: int, near: bool) -> None:
    assert usage(used, limit).near_limit is near


@pytest.mark.parametrize(("used", "limit", "share"), [(0, 25, 0.0), (1, 4, 25.0), (0, 0, 100.0)])
def test_the_share_of_the_limit_is_a_percentage(used: int, limit: int, share: float) -> None:
    assert usage(used, limit).usage_percentage == share


def test_a_refusal_says_what_is_used_held_and_when_it_resets() -> None:
    assert QuotaStatement(usage(25, 25), held=2).facts() == {
        "period": "2026-11",
        "current_usage": 25,
        "held": 2,
        "limit": 25,
        "remaining": 0,
        "resets_at": "2026-12-01T00:00:00.000Z",
        "reason": "25 of 25 sessions of 2026-11 are used, 2 of them held by requests "
        "still running.",
    }


def test_a_quota_with_room_says_how_much() -> None:
    assert QuotaStatement(usage(3, 25), held=0).reason == "22 of 25 sessions can still start."
