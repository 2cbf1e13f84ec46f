"""Margins in the operators' API, over stores in memory."""

from __future__ import annotations

from typing import Any

import pytest

from flowstack_core.domain.plans import Tier
from flowstack_core.domain.rollups import DaySlice, Route, Talk
from tests.unit.http.conftest import Admin
from tests.unit.services.test_margins import DOLLAR_10, TODAY, add, deliver_all

NOTHING = {"messages": 0, "input_tokens": 0, "output_tokens": 0}
NEW = Route(managed=True, provider="bedrock", model="claude-of-next-year")
CHEAP = {
    "customer_id": "cus_cheap",
    "tier": "starter",
    "revenue": 29.0,
    "revenue_cents": 2900,
    "managed_cost": 10.0,
    "margin": 19.0,
    "cost_share_percent": 34.5,
    "managed": {"messages": 1, "input_tokens": 1_000_000, "output_tokens": 1_618_182},
    "unpriced": NOTHING,
}


@pytest.fixture
def operator(admin: Admin) -> Admin:
    """An operator with a few customers."""
    add(admin.world, "cus_cheap", talk=DOLLAR_10)
    add(admin.world, "cus_dear", Tier.PROFESSIONAL, talk=Talk(9, 10_000_000, 10_000_000))
    add(admin.world, "cus_free", Tier.FREE)
    return admin


def test_f2_a_customers_margin_is_shown_live(operator: Admin) -> None:
    answer = operator.send("GET", "/cus_cheap/margin")
    assert (answer.status, answer.body) == (200, {"period": "2026-11", **CHEAP})


def test_f2_tokens_without_a_price_are_shown_beside_the_cost(operator: Admin) -> None:
    new = Talk(2, 30, 12)
    operator.world.rollups.given("cus_cheap", DaySlice(TODAY, "agent", NEW, 1, new))
    body = operator.send("GET", "/cus_cheap/margin").body
    assert body["managed_cost"] == 10.0
    assert body["managed"]["messages"] == 3
    assert body["unpriced"] == {"messages": 2, "input_tokens": 30, "output_tokens": 12}


def test_who_pays_nothing_has_no_share(operator: Admin) -> None:
    body = operator.send("GET", "/cus_free/margin").body
    assert (body["revenue"], body["margin"], body["cost_share_percent"]) == (0.0, 0.0, None)


def test_a_margin_of_another_period_is_asked_for_by_name(operator: Admin) -> None:
    body = operator.send("GET", "/cus_cheap/margin", query={"period": "2026-12"}).body
    assert (body["period"], body["managed_cost"]) == ("2026-12", 0.0)


def test_f2_the_report_has_every_tier_and_the_worst_customers(operator: Admin) -> None:
    world = operator.world
    world.margin_reporter.ensure()
    deliver_all(world)
    answer = operator.ask("GET", "/admin/margins")
    assert answer.status == 200
    report = answer.body
    assert (report["period"], report["share_percent"]) == ("2026-11", 50)
    assert report["customers_over_share"] == 1
    assert [each["tier"] for each in report["tiers"]] == [tier.value for tier in Tier]
    assert report["worst"][1] == CHEAP
    assert [each["customer_id"] for each in report["worst"]] == ["cus_dear", "cus_cheap"]
    sums = ("customers", "revenue_cents", "managed_cost", "margin")
    assert {name: report["totals"][name] for name in sums} == {
        "customers": 3,
        "revenue_cents": 12_800,
        "managed_cost": 76.0,
        "margin": 52.0,
    }
    assert operator.ask("GET", "/admin/margins", query={"period": "2026-11"}).body == report


@pytest.mark.parametrize(
    ("path", "query", "status", "code"),
    [
        ("/admin/margins", None, 404, "NOT_FOUND"),
        ("/admin/margins", {"period": "2026-10"}, 404, "NOT_FOUND"),
        ("/admin/margins", {"period": "November"}, 400, "INVALID_REQUEST"),
        ("/admin/customers/cus_nobody/margin", None, 404, "NOT_FOUND"),
        ("/admin/customers/cus_cheap/margin", {"period": "2026-10"}, 404, "NOT_FOUND"),
        ("/admin/customers/cus_cheap/margin", {"period": "26-1"}, 400, "INVALID_REQUEST"),
    ],
)
def test_what_is_not_there_is_said_to_be_so(
    operator: Admin, path: str, query: Any, status: int, code: str
) -> None:
    answer = operator.ask("GET", path, query=query)
    assert (answer.status, answer.body["error_code"]) == (status, code)


@pytest.mark.parametrize("path", ["/admin/margins", "/admin/customers/cus_cheap/margin"])
def test_only_operators_see_margins(operator: Admin, path: str) -> None:
    assert operator.ask("GET", path, actor=None).status == 404
