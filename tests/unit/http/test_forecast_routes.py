"""Forecasts and advice over HTTP, for the customer and for operators."""

from __future__ import annotations

from datetime import timedelta

import pytest

from flowstack_core.domain.plans import Tier
from flowstack_core.domain.rollups import DaySlice, Route, Talk
from flowstack_core.http.resolver import entry_point
from flowstack_core.http.usage_documents import ForecastDocument, RecommendationsDocument
from tests.support.fakes import FixedClock, World, at
from tests.support.http_events import HttpResponse, LambdaContext, http_event, response_of
from tests.support.whole_api import usage_app_of
from tests.unit.http.conftest import Admin

MANAGED = Route(True, "bedrock", "claude-haiku-4-5")
OWN = Route(False, "openai", "gpt-4o")


class Usage:
    """A professional in the middle of November, after two months of 12 sessions a day."""

    def __init__(self) -> None:
        self.world = World(clock=FixedClock(at("2026-11-16T12:00:00")))
        self.world.subscribe(Tier.PROFESSIONAL)
        remember(self.world)
        self._handler = entry_point(usage_app_of(self.world))

    def get(self, path: str, customer_id: str = "cus_1") -> HttpResponse:
        caller = {"customer_id": customer_id, "tier": "professional", "key_id": "key_1"}
        return response_of(
            self._handler(http_event("GET", path, authorizer=caller), LambdaContext())
        )


def remember(world: World) -> None:
    today = world.clock.now().date()
    for n in range(1, 61):
        day = today - timedelta(days=n)
        world.rollups.given(
            world.customer_id,
            DaySlice(day, "support", MANAGED, 4, Talk(9, 4_000, 900)),
            DaySlice(day, "research", OWN, 8, Talk(20, 300, 100)),
        )


@pytest.fixture
def usage() -> Usage:
    return Usage()


def test_a_forecast_is_answered(usage: Usage) -> None:
    answer = usage.get("/usage/forecast")
    assert answer.status == 200
    assert answer.headers["Cache-Control"] == "no-store"
    document = ForecastDocument.model_validate(answer.body)
    assert (document.projected_sessions, document.method) == (174, "weekday_pattern")
    assert document.limit_reached_at is None
    assert len(document.days) == 15


def test_advice_is_answered_with_dollars(usage: Usage) -> None:
    answer = usage.get("/usage/recommendations")
    assert answer.status == 200
    document = RecommendationsDocument.model_validate(answer.body)
    assert [each.type for each in document.recommendations] == [
        "plan_optimization",
        "cost_reduction",
    ]
    smaller, managed = document.recommendations
    assert (smaller.suggested_tier, smaller.potential_savings) == (Tier.STARTER, 70.0)
    assert (managed.suggested_tier, managed.potential_savings) == (None, 29 * 4.0)


def test_at_the_limit_the_forecast_and_the_advice_are_there(usage: Usage) -> None:
    """Q2: what is used up is sessions, not the view of them."""
    usage.world.subscribe(Tier.STARTER, session_limit=0)
    assert usage.get("/usage/forecast").body["limit_reached_at"] == "2026-11-16T12:00:00.000Z"
    assert usage.get("/usage/recommendations").body["recommendations"][0]["type"] == "limit_soon"


@pytest.mark.parametrize("path", ["/usage/forecast", "/usage/recommendations"])
def test_nobody_is_not_found(usage: Usage, path: str) -> None:
    answer = usage.get(path, "cus_none")
    assert (answer.status, answer.body["error_code"]) == (404, "NOT_FOUND")


def test_operators_see_the_same_documents(admin: Admin) -> None:
    admin.create(tier="professional")
    world = admin.world
    remember(world)
    answer = admin.send("GET", f"/{world.customer_id}/forecast")
    assert answer.body == {
        "customer_id": world.customer_id,
        **world.forecast_service.forecast_document(world.customer_id),
    }
    answer = admin.send("GET", f"/{world.customer_id}/recommendations")
    assert answer.body == {
        "customer_id": world.customer_id,
        **world.recommendation_service.recommendations_document(world.customer_id),
    }
    assert answer.body["recommendations"]
