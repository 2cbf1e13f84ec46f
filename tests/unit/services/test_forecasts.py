"""Forecasts and advice of a customer, from its counter and the days before."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from flowstack_core.domain.errors import NotFoundError
from flowstack_core.domain.plans import Tier
from flowstack_core.domain.rollups import DaySlice, Route, Talk
from tests.support.fakes import UNPRICED, FixedClock, World, at

OWN = Route(False, "openai", "gpt-4o")
MANAGED = Route(True, "bedrock", "claude-haiku-4-5")
NOW = at("2026-11-16T12:00:00")


def customer(tier: Tier = Tier.STARTER, session_limit: int | None = None) -> World:
    world = World(clock=FixedClock(NOW))
    world.subscribe(tier, session_limit)
    return world


def remember(world: World, sessions: int, *routes: Route, days: int = 60) -> None:
    """Put whole days before now into the rollups, alike and by each of the routes."""
    for n in range(1, days + 1):
        day = world.clock.now().date() - timedelta(days=n)
        for route in routes or (MANAGED,):
            talk = Talk(sessions, 10 * sessions, 5 * sessions)
            world.rollups.given(world.customer_id, DaySlice(day, "agent", route, sessions, talk))


def test_the_count_is_the_counters_and_the_pace_is_the_rollups() -> None:
    world = customer()
    remember(world, 10)
    for number in range(3):
        world.send(f"conversation {number}")
    document = world.forecast_service.forecast_document(world.customer_id)
    assert (document["sessions_used"], document["projected_sessions"]) == (3, 148)
    assert document["method"] == "weekday_pattern"


def test_the_document_of_a_forecast() -> None:
    world = customer(session_limit=100)
    remember(world, 10)
    document = world.forecast_service.forecast_document(world.customer_id)
    days = document.pop("days")
    assert document == {
        "period": "2026-11",
        "as_of": "2026-11-16T12:00:00.000Z",
        "sessions_used": 0,
        "sessions_limit": 100,
        "projected_sessions": 145,
        "interval": {
            "low": days[-1]["low"],
            "high": days[-1]["high"],
            "confidence": 0.8,
        },
        "method": "weekday_pattern",
        "explanation": (
            "0 sessions were counted in 2026-11; by the weekdays of the last 8 weeks 145 more are "
            "to be expected. That is what would be asked for: only 100 can start."
        ),
        "limit_reached_at": "2026-11-26T12:00:00.000Z",
    }
    assert [day["day"] for day in days] == [f"2026-11-{day}" for day in range(16, 31)]
    assert days[0] == {"day": "2026-11-16", "expected": 5, "low": 2, "high": 8}


def test_the_customers_own_clock_decides_which_period_it_is() -> None:
    world = customer()
    remember(world, 10)
    world.send()
    world.clock.move_to(at("2026-12-01T00:00:00"))
    document = world.forecast_service.forecast_document(world.customer_id)
    assert (document["period"], document["sessions_used"]) == ("2026-12", 0)
    assert len(document["days"]) == 31


def test_a_month_that_was_cut_off_by_its_limit_does_not_look_like_a_quiet_one() -> None:
    """Else who is stopped each month would be told that its plan is too large."""
    world = customer(Tier.STARTER, session_limit=2)
    world.clock.move_to(at("2026-11-03T12:00:00"))
    for number in range(2):
        world.send(f"conversation {number}")
    world.clock.move_to(at("2026-12-01T00:00:00"))
    for n in range(28, 61):
        day = world.clock.now().date() - timedelta(days=n)
        world.rollups.given(world.customer_id, DaySlice(day, "agent", MANAGED, 1))
    document = world.forecast_service.forecast_document(world.customer_id)
    assert document["projected_sessions"] == 31
    (advice, *_) = world.recommendation_service.recommendations_document(world.customer_id)[
        "recommendations"
    ]
    assert advice["type"] == "limit_soon"


def test_nothing_that_is_older_than_eight_weeks_is_read() -> None:
    asked: list[tuple[date, date]] = []
    world = customer()
    days = world.rollups.days

    def noted(customer_id: str, first: date, last: date) -> object:
        asked.append((first, last))
        return days(customer_id, first, last)

    world.rollups.days = noted  # type: ignore[assignment, method-assign]
    world.forecast_service.forecast_document(world.customer_id)
    assert asked == [(date(2026, 9, 21), date(2026, 11, 16))]


def test_nobodys_days_are_anybody_elses() -> None:
    world = customer()
    remember(world, 10)
    world.customer_id = "cus_2"
    world.subscribe()
    assert world.forecast_service.forecast_document("cus_2")["method"] == "so_far"


def test_the_document_of_advice() -> None:
    world = customer(Tier.PROFESSIONAL)
    remember(world, 1, OWN)
    remember(world, 1, Route(False, "custom", UNPRICED), days=5)
    document = world.recommendation_service.recommendations_document(world.customer_id)
    assert (document["as_of"], document["period"]) == ("2026-11-16T12:00:00.000Z", "2026-11")
    smaller, managed = document["recommendations"]
    assert (smaller["type"], smaller["suggested_tier"]) == ("plan_optimization", "starter")
    assert smaller["potential_savings"] == 70.0
    assert smaller["details"]["suggested_plan"] == {
        "tier": "starter",
        "session_limit": 1_000,
        "price_cents": 2_900,
        "price_usd": 29.0,
    }
    assert (managed["type"], managed["suggested_tier"]) == ("cost_reduction", None)
    assert managed["potential_savings"] == 29 * 15 / 100  # 29 whole days, and today without any
    assert managed["details"]["byok_sessions"] == 34
    assert managed["details"]["models_without_a_price"] == [f"custom/{UNPRICED}"]


def test_a_customer_about_whom_nothing_is_known_is_advised_nothing() -> None:
    world = customer()
    document = world.recommendation_service.recommendations_document(world.customer_id)
    assert document["recommendations"] == []


def test_nobody_is_not_found() -> None:
    world = World()
    for read in (
        world.forecast_service.forecast_document,
        world.recommendation_service.recommendations_document,
    ):
        with pytest.raises(NotFoundError):
            read("cus_none")
