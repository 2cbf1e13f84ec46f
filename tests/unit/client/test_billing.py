"""Usage, statements, the subscription and stored keys, sync and async alike."""

from __future__ import annotations

import asyncio
import inspect
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import httpx
import pytest

from flowstack import (
    Agent,
    APIConnectionError,
    AsyncAgent,
    AsyncBillingManager,
    AsyncVault,
    AsyncWebhookManager,
    BillingManager,
    Forecast,
    Money,
    UsageStats,
    Vault,
    WebhookManager,
)
from tests.support.fake_api import KEY, URL, FakeApi, forecast_document, usage_document


def test_usage_says_where_the_customer_stands(agent: Agent) -> None:
    usage = agent.get_usage()
    assert (usage.sessions_used, usage.sessions_limit, usage.sessions_remaining) == (812, 1000, 188)
    assert (usage.sessions_held, usage.tier, usage.period) == (1, "starter", "2026-11")
    assert usage.usage_percentage == pytest.approx(81.2)
    assert usage.is_near_limit
    assert usage.can_make_requests
    assert usage.days_left == 6
    assert isinstance(usage.current_charges, Decimal)
    assert f"{usage.current_charges:.2f}" == "29.00"
    assert usage["usage_percentage"] == usage.usage_percentage
    assert str(usage) == "Usage: 812/1,000 sessions (81.2%)"


@pytest.mark.parametrize(
    ("used", "limit", "near", "can", "percentage"),
    [
        (0, 25, False, True, 0),
        (19, 25, False, True, 76),
        (20, 25, True, True, 80),
        (24, 25, True, True, 96),
        (25, 25, True, False, 100),
        (26, 25, True, False, 104),
        (0, 0, True, False, 100),
    ],
)
def test_the_bounds_of_near_and_full(
    used: int, limit: int, near: bool, can: bool, percentage: float
) -> None:
    usage = UsageStats.of(usage_document(used, limit))
    assert (usage.is_near_limit, usage.can_make_requests) == (near, can)
    assert usage.usage_percentage == percentage


def test_usage_of_version_1_is_made_of_a_flat_dictionary() -> None:
    usage = UsageStats(sessions_used=1, sessions_limit=2, current_charges=Money.of(9.9))
    assert (usage.usage_percentage, usage.days_left) == (50, None)
    assert usage.current_charges == Decimal("9.90")


def test_tier_info_reads_like_a_mapping(agent: Agent) -> None:
    tier = agent.get_tier_info()
    assert tier["current_tier"] == "starter"
    assert tier["can_use_managed"] is True
    assert tier["upgrade_available"] is True
    assert tier["fair_use"]["requests_per_minute"] == 300
    assert dict(tier.items())["price_per_month"] == Decimal(29)
    assert tier.get("nothing", 1) == 1
    with pytest.raises(KeyError):
        tier["nothing"]


def test_plans_are_listed(agent: Agent) -> None:
    (plan,) = agent.billing.plans()
    assert (plan.tier, plan.price_per_month) == ("starter", Decimal(29))


def test_history_reads_pages_as_they_are_needed(agent: Agent, api: FakeApi) -> None:
    statements = agent.billing.history()
    assert api.requests == []
    assert next(statements).period == "2026-10"
    assert len(api.requests) == 1
    rest = [statement.period for statement in statements]
    assert rest == ["2026-09", "2026-08", "2026-07", "2026-06"]
    assert [each.url.params.get("cursor") for each in api.requests] == [None, "2", "4"]


@pytest.mark.parametrize(("limit", "requests"), [(0, 0), (1, 1), (2, 1), (3, 2), (99, 3)])
def test_history_ends_at_its_limit(agent: Agent, api: FakeApi, limit: int, requests: int) -> None:
    assert len(list(agent.billing.history(limit))) == min(limit, 5)
    assert len(api.requests) == requests


def test_one_statement_is_read_by_its_period(agent: Agent, api: FakeApi) -> None:
    assert agent.billing.statement("2026-10").period == "2026-10"
    assert api.routes == ["GET /api/billing/history/2026-10"]


def test_history_comes_as_csv(agent: Agent, api: FakeApi) -> None:
    assert agent.billing.history_csv(3).startswith("period,total")
    assert api.requests[0].headers["Accept"] == "text/csv"
    assert api.requests[0].url.params["limit"] == "3"


def test_a_downgrade_waits_and_can_be_taken_back(agent: Agent, api: FakeApi) -> None:
    changed = agent.billing.downgrade("free")
    assert changed.pending_change is not None
    assert changed.pending_change.tier == "free"
    assert agent.billing.undo().pending_change is None
    agent.billing.cancel()
    assert agent.billing.subscription().pending_change is not None
    assert api.bodies == [
        {"action": "downgrade", "tier": "free"},
        {"action": "undo"},
        {"action": "cancel"},
        None,
    ]


def test_a_preview_changes_nothing(agent: Agent, api: FakeApi) -> None:
    preview = agent.billing.preview("downgrade", "free")
    assert preview["tier"] == "free"
    assert api.requests[0].url.params["preview"] == "true"
    assert agent.billing.subscription().pending_change is None


def test_keys_at_providers_are_stored_listed_and_deleted(agent: Agent, api: FakeApi) -> None:
    assert agent.store_byok_credentials("openai", {"api_key": "sk-1"}) is True
    assert api.bodies[0] == {"provider": "openai", "credentials": {"api_key": "sk-1"}}
    (stored,) = agent.list_byok_credentials()
    assert (stored.provider, stored.credentials) == ("openai", {"api_key": "…"})
    assert stored.last_used_at is None
    assert agent.delete_byok_credentials("openai") is True
    assert agent.delete_byok_credentials("openai") is False
    assert api.routes[-1] == "DELETE /api/byok-credentials/openai"


def test_a_name_in_a_path_leads_nowhere_else(agent: Agent, api: FakeApi) -> None:
    assert not agent.delete_byok_credentials("../../usage?x=1")
    raw = api.requests[0].url.raw_path.decode()
    assert raw == "/prod/api/byok-credentials/..%2F..%2Fusage%3Fx%3D1"


def test_alerts_and_the_budget_are_set(agent: Agent, api: FakeApi) -> None:
    assert agent.billing.set_alerts(thresholds=[75, 90])["thresholds"] == [75, 90]
    assert api.bodies[-1] == {"thresholds": [75, 90]}
    assert agent.billing.set_budget(monthly_ceiling=Money("49.90")).monthly_ceiling == Money(
        "49.90"
    )
    agent.billing.alerts()
    agent.billing.budget()
    assert api.routes == ["PUT /alerts", "PUT /budget", "GET /alerts", "GET /budget"]


def test_the_past_is_typed_and_reads_like_its_json(agent: Agent, api: FakeApi) -> None:
    history = agent.billing.usage_history(
        "weekly", first=date(2026, 11, 23), last=date(2026, 11, 24), by="agent"
    )
    assert dict(api.requests[0].url.params) == {
        "granularity": "weekly",
        "from": "2026-11-23",
        "to": "2026-11-24",
        "by": "agent",
    }
    assert (history.first, history.last, history["from"]) == (
        date(2026, 11, 24),
        date(2026, 11, 24),
        "2026-11-24",
    )
    (span,) = history
    assert (span.start, span.end, span.complete) == (
        date(2026, 11, 24),
        date(2026, 11, 25),
        False,
    )
    assert (span.sessions, span.byok_messages, span.breakdown[0].name) == (3, 2, "analyst")
    assert history.totals.input_tokens == history["totals"]["input_tokens"] == 700


def test_the_days_of_the_period_are_asked_for_without_more_words(
    agent: Agent, api: FakeApi
) -> None:
    assert agent.billing.daily_usage().totals.sessions == 3
    assert dict(api.requests[0].url.params) == {"granularity": "daily"}


def test_a_forecast_has_an_interval_and_days(agent: Agent) -> None:
    forecast = agent.billing.forecast()
    assert (forecast.projected_sessions, forecast["projected_sessions"]) == (1020, 1020)
    assert (forecast.interval.low, forecast.interval.high) == (1005, 1041)
    assert [(ahead.day, ahead.expected) for ahead in forecast.days][-1] == (
        date(2026, 11, 30),
        1020,
    )
    assert forecast.limit_in_sight
    assert forecast["limit_in_sight"] is True
    assert str(forecast) == "2026-11: about 1,020 sessions (1,005 to 1,041)"


def test_a_limit_that_lasts_is_not_in_sight() -> None:
    document = forecast_document()
    assert not Forecast.model_validate({**document, "limit_reached_at": None}).limit_in_sight


def test_advice_has_amounts_that_are_exact(agent: Agent, api: FakeApi) -> None:
    (advice,) = agent.billing.recommendations()
    assert (advice.type, advice.suggested_tier) == ("plan_optimization", "starter")
    assert isinstance(advice.potential_savings, Money)
    assert advice.potential_savings == Decimal(70)
    assert advice.details["projected_sessions"] == 300
    assert str(advice) == "Starter would do."
    api.advice["recommendations"] = []
    assert list(agent.billing.recommendations()) == []


def test_a_budget_is_typed_and_exact(agent: Agent, api: FakeApi) -> None:
    found = agent.billing.budget()
    assert found.spent is not None
    assert (found.spent.total, found.spent.byok_estimate) == (Money("41.30"), Money("12.30"))
    assert found.spent.unpriced_models == ["litellm/house-model"]
    assert (found.monthly_ceiling, found.action, found.reached) == (None, "warn", False)


def test_of_a_budget_only_what_is_named_is_sent(agent: Agent, api: FakeApi) -> None:
    agent.billing.set_budget(monthly_ceiling=Money("49.90"), action="block")
    agent.billing.set_budget(session_turn_cap=20, session_token_cap=None)
    assert api.bodies == [
        {"monthly_ceiling": 49.9, "action": "block"},
        {"session_turn_cap": 20, "session_token_cap": None},
    ]


def test_alerts_are_typed_and_what_is_not_named_is_not_sent(agent: Agent, api: FakeApi) -> None:
    found = agent.billing.set_alerts(email="ada@example.com")
    assert (found.thresholds, found.email, found.period) == (
        *([75, 90, 95], "ada@example.com"),
        "2026-11",
    )
    (alert,) = found.alerts
    assert (alert.threshold, alert.sessions_used, alert.sessions_limit) == (75, 750, 1000)
    assert alert.at == datetime(2026, 11, 20, 9, 30, tzinfo=UTC)
    assert agent.billing.set_alerts(email=None).email is None
    assert api.bodies == [{"email": "ada@example.com"}, {"email": None}]


def test_an_answer_that_makes_no_sense_is_said_to_make_none(agent: Agent, api: FakeApi) -> None:
    api.says(*[httpx.Response(200, json={"tier": "canary-value"})] * 2)
    with pytest.raises(APIConnectionError, match="does not understand") as failed:
        agent.get_usage()
    assert "canary" not in str(failed.value)
    assert failed.value.__cause__ is None
    with pytest.raises(APIConnectionError):
        agent.get_tier_info()


def test_what_version_1_called_still_works(
    agent: Agent, api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    billing = agent.billing
    assert billing.get_usage_stats()["sessions_used"] == 812
    assert billing.get_tier_info()["current_tier"] == "starter"
    assert [each.period for each in billing.get_billing_history(limit=2)] == ["2026-10", "2026-09"]
    assert billing.can_make_request() == (True, "188 of 1000 sessions can still start.")
    assert BillingManager(KEY, URL)._client.endpoint.url == URL


# --- async ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("plain", "waiting"),
    [
        (Agent, AsyncAgent),
        (BillingManager, AsyncBillingManager),
        (Vault, AsyncVault),
        (WebhookManager, AsyncWebhookManager),
    ],
)
def test_the_async_surface_is_the_sync_one(plain: type[Any], waiting: type[Any]) -> None:
    only_sync = {"get_usage_stats", "get_tier_info", "get_billing_history", "can_make_request"}
    names = {name for name in dir(plain) if not name.startswith("_")}
    if plain is BillingManager:
        names -= only_sync
    for name in names:
        ours, theirs = getattr(plain, name), getattr(waiting, name)
        if inspect.isfunction(ours):
            assert inspect.signature(ours).parameters == inspect.signature(theirs).parameters, name


def test_everything_can_be_awaited(async_agent: AsyncAgent, api: FakeApi) -> None:
    async def everything() -> None:
        billing, vault = async_agent.billing, async_agent.vault
        assert (await async_agent.get_usage()).sessions_used == 812
        assert (await async_agent.get_tier_info()).tier == "starter"
        assert len(await billing.plans()) == 1
        assert [each.period async for each in billing.history(3)] == [
            "2026-10",
            "2026-09",
            "2026-08",
        ]
        assert len([each async for each in billing.history()]) == 5
        assert (await billing.statement("2026-10")).period == "2026-10"
        assert (await billing.history_csv()).startswith("period")
        assert (await billing.downgrade("free")).pending_change is not None
        assert (await billing.undo()).pending_change is None
        assert (await billing.cancel()).pending_change is not None
        assert (await billing.subscription()).tier == "starter"
        assert (await billing.preview("cancel"))["tier"] == "free"
        assert (await billing.set_alerts(thresholds=[75]))["thresholds"] == [75]
        assert (await billing.set_budget(session_turn_cap=1)).session_turn_cap == 1
        await billing.alerts()
        await billing.budget()
        assert (await billing.forecast()).interval.high == 1041
        assert [each.type for each in await billing.recommendations()] == ["plan_optimization"]
        await billing.daily_usage()
        await billing.usage_history("monthly")
        assert await async_agent.store_byok_credentials("openai", {"api_key": "sk-1"})
        assert len(await async_agent.list_byok_credentials()) == 1
        assert await async_agent.delete_byok_credentials("openai") is True
        assert await async_agent.delete_byok_credentials("openai") is False
        key = await vault.store("orders", {"total": 1})
        assert await vault.retrieve("orders", key) == {"total": 1}
        assert await vault.retrieve("orders", "none") is None
        assert await vault.update("orders", key, {"total": 2}) is True
        assert await vault.query("orders", {"total": 2}) == [{"total": 2}]
        assert await vault.retrieve("orders", filter={"total": 1}) == []
        assert await vault.count("orders") == 1
        assert await vault.list_collections() == ["orders"]
        assert await vault.delete("orders", key) is True
        assert await vault.clear("orders") is True
        api.says(*[httpx.Response(404, json={"error_code": "NOT_FOUND", "error": "No."})] * 3)
        assert await vault.retrieve("orders", key) is None
        assert await vault.update("orders", key, {}) is False
        assert await vault.delete("orders", key) is False
        await async_agent.close()

    asyncio.run(everything())


def test_an_async_agent_closes_what_it_opened() -> None:
    async def opened() -> bool:
        async with AsyncAgent("analyst", KEY, base_url=URL) as agent:
            http = agent._client._http
        return http.is_closed

    assert asyncio.run(opened())
