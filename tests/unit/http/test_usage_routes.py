"""``GET /usage/history``: what the query string may say."""

from __future__ import annotations

from typing import Any

import pytest

from flowstack_core.domain.plans import Tier
from flowstack_core.http.resolver import entry_point
from flowstack_core.http.usage_documents import UsageHistoryDocument
from tests.support.fakes import World
from tests.support.http_events import HttpResponse, LambdaContext, http_event, response_of
from tests.support.whole_api import usage_app_of
from tests.unit.http.conftest import Admin


def history(world: World, **query: str) -> HttpResponse:
    handler = entry_point(usage_app_of(world))
    authorizer = {"customer_id": world.customer_id, "tier": "enterprise"}
    event = http_event("GET", "/usage/history", query=query, authorizer=authorizer)
    return response_of(handler(event, LambdaContext()))


@pytest.fixture
def world() -> World:
    """A professional with one session of the middle of November."""
    found = World()
    found.subscribe(Tier.PROFESSIONAL)
    found.send("one")
    found.roll_up()
    return found


def test_the_history_has_what_was_said_and_keeps_to_its_schema(world: World) -> None:
    answer = history(
        world, granularity="weekly", by="agent", to="2026-11-15", **{"from": "2026-11-10"}
    )
    assert answer.status == 200
    UsageHistoryDocument.model_validate(answer.body)
    (week,) = answer.body["series"]
    assert (week["start"], week["end"], week["sessions"]) == ("2026-11-09", "2026-11-16", 1)
    assert week["breakdown"][0]["messages"] == 1


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"granularity": "hourly"}, "granularity"),
        ({"by": "customer"}, "by"),
        ({"from": "yesterday"}, "from"),
        ({"to": "1700000000"}, "to"),
        ({"from": "2026-02-30"}, "from"),
        ({"from": "2026-11-15", "to": "2026-11-14"}, "from"),
        ({"from": "2026-01-01"}, "from"),
        ({"to": "2026-12-01"}, "to"),
    ],
)
def test_a_query_that_makes_no_sense_is_refused_by_its_field(
    world: World, query: dict[str, str], field: str
) -> None:
    answer = history(world, **query)
    assert (answer.status, answer.body["error_code"]) == (400, "INVALID_REQUEST")
    assert answer.body["details"]["field"] == field


def test_p4_the_tier_in_force_decides_on_parts_and_not_the_keys(world: World) -> None:
    world.subscribe(Tier.STARTER)
    answer = history(world, by="model")
    assert (answer.status, answer.body["error_code"]) == (403, "TIER_LIMITATION")
    assert answer.body["details"]["tier"] == "starter"
    assert history(world).status == 200


def test_an_operator_sees_the_same_of_any_customer(admin: Admin) -> None:
    admin.create(tier="starter")
    admin.world.send("one")
    admin.world.roll_up()
    path = f"/{admin.world.customer_id}/usage-history"
    answer = admin.send("GET", path, query={"by": "provider"})
    assert answer.status == 200
    body: dict[str, Any] = answer.body
    assert body.pop("customer_id") == admin.world.customer_id
    UsageHistoryDocument.model_validate(body)
    assert body["series"][-1]["breakdown"][0]["name"] == "bedrock"
