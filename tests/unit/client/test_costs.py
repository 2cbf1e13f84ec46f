"""Sums of money and projections."""

from __future__ import annotations

import json
import pickle
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from flowstack import ConfigurationError, Money, UsageStats, costs
from flowstack.costs import (
    calculate_days_remaining,
    calculate_downgrade_savings,
    calculate_managed_savings,
    default_prices,
    estimate_monthly_cost,
    get_next_billing_cycle_date,
    project_monthly_usage,
)
from flowstack_core.domain.periods import Period
from flowstack_core.domain.plans import all_plans
from tests.support.fake_api import usage_document

NOW = datetime(2026, 11, 16, tzinfo=UTC)  # the middle of the month


# --- money --------------------------------------------------------------------------------------


def test_money_meets_floats_at_what_they_are_written_as() -> None:
    assert Money("29.00") - 9.9 == Decimal("19.10")
    assert 30.5 - Money("29.00") == Decimal("1.50")
    assert Money("0.1") + 0.2 == 0.2 + Money("0.1") == Decimal("0.3")
    assert Money(3) * 1.1 == 1.1 * Money(3) == Decimal("3.3")
    assert Money(3) / 1.5 == Decimal(2)
    assert Money(29) > 28.5
    assert sum([Money(1), Money(2)], Money(0)) == 3
    assert isinstance(Money(1) + 1, Money)


def test_money_does_not_mix_with_text() -> None:
    with pytest.raises(TypeError):
        Money(1) + "1"  # type: ignore[operator]


@given(st.decimals(-(10**9), 10**9, places=2))
def test_money_goes_through_json_unchanged(amount: Decimal) -> None:
    money = Money(amount)
    adapter = TypeAdapter(Money)
    assert adapter.validate_json(adapter.dump_json(money)) == money
    assert adapter.validate_python(json.loads(json.dumps(float(money)))) == money
    assert pickle.loads(pickle.dumps(money)) == money


@pytest.mark.parametrize("value", ["much", None, True, "NaN", "Infinity", [1]])
def test_what_is_no_amount_is_refused(value: Any) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Money).validate_python(value)


# --- the billing period -------------------------------------------------------------------------


@given(st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
def test_the_period_is_the_servers(now: datetime) -> None:
    period = Period.containing(now)
    assert costs.period_of(now) == (period.start, period.end)
    assert calculate_days_remaining(now) == (period.end - now).days
    assert get_next_billing_cycle_date(now) == period.end.date()


def test_the_period_ends_at_midnight_utc_wherever_the_customer_is() -> None:
    west = timezone(timedelta(hours=-8))
    assert get_next_billing_cycle_date(datetime(2026, 11, 30, 20, tzinfo=west)) == date(2027, 1, 1)
    assert calculate_days_remaining(datetime(2026, 11, 30, 23, 59, 59, tzinfo=UTC)) == 0


def test_now_is_the_default() -> None:
    before = datetime.now(UTC)
    assert get_next_billing_cycle_date() >= before.date()
    assert 0 <= calculate_days_remaining() <= 31


# --- projections ----------------------------------------------------------------------------------


def snapshot(at: datetime, used: int, limit: int | None = None) -> dict[str, Any]:
    more = {} if limit is None else {"sessions_limit": limit}
    return {"timestamp": at.isoformat(), "sessions_used": used, **more}


def test_half_a_month_is_half_of_what_it_will_be() -> None:
    assert project_monthly_usage([snapshot(NOW, 100)], NOW) == 200


def test_the_newest_snapshot_counts_in_whatever_order_they_come() -> None:
    old, new = snapshot(NOW - timedelta(days=1), 90), snapshot(NOW, 100)
    assert project_monthly_usage([new, old], NOW) == project_monthly_usage([old, new], NOW) == 200


def test_trap_11_a_projection_leaves_out_what_was_before_the_reset() -> None:
    last_month = snapshot(datetime(2026, 10, 31, 23, tzinfo=UTC), 900)
    assert project_monthly_usage([last_month], NOW) == 0
    assert project_monthly_usage([last_month, snapshot(NOW, 1)], NOW) == 2


def test_nothing_is_projected_of_nothing() -> None:
    assert project_monthly_usage([], NOW) == 0


def test_a_projection_stays_below_the_limit_and_above_what_is_used() -> None:
    assert project_monthly_usage([snapshot(NOW, 100, limit=150)], NOW) == 150
    assert project_monthly_usage([snapshot(NOW, 100, limit=80)], NOW) == 100


def test_the_first_minutes_of_a_month_make_no_month() -> None:
    early = datetime(2026, 11, 1, 0, 5, tzinfo=UTC)
    assert project_monthly_usage([snapshot(early, 1)], early) == 30


def test_a_time_without_an_offset_is_local() -> None:
    local = datetime.now().isoformat()  # noqa: DTZ005
    assert project_monthly_usage([{"timestamp": local, "sessions_used": 3}]) >= 3


def test_the_months_cost_is_the_plans_price_however_many_sessions() -> None:
    assert estimate_monthly_cost(UsageStats.of(usage_document(1))) == Decimal("29.00")
    assert estimate_monthly_cost(UsageStats.of(usage_document(999))) == Decimal("29.00")
    assert str(estimate_monthly_cost(UsageStats.of(usage_document(1)))) == "29.00"


def test_the_months_cost_with_an_own_key_has_the_providers_part() -> None:
    usage = UsageStats.of(usage_document(100))
    # 200 sessions at 6,000 tokens of $2.50 a million and 3,000 of $10.00
    assert estimate_monthly_cost(usage, byok_model="gpt-4o", now=NOW) == Decimal("38.00")
    full = UsageStats.of(usage_document(900))
    assert estimate_monthly_cost(full, byok_model="gpt-4o", now=NOW) == Decimal("74.00")


# --- savings --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tier", "saved"), [("free", 0), ("starter", 29), ("professional", 70), ("enterprise", 400)]
)
def test_a_downgrade_saves_the_difference_to_the_next_plan(tier: str, saved: int) -> None:
    assert calculate_downgrade_savings(tier) == saved


def test_managed_models_save_what_the_provider_asks() -> None:
    assert calculate_managed_savings(0) == 0
    assert calculate_managed_savings(100) == Decimal("4.50")
    assert calculate_managed_savings(1000, "gpt-4o-2024-05-13") == Decimal("75.00")


@pytest.mark.parametrize(
    "call",
    [lambda: calculate_managed_savings(1, "gpt-99"), lambda: calculate_downgrade_savings("gold")],
)
def test_what_is_not_on_the_list_has_no_price(call: Any) -> None:
    with pytest.raises(ConfigurationError) as refused:
        call()
    assert refused.value.details["known"]


# --- prices ---------------------------------------------------------------------------------------


def test_the_plans_are_the_servers() -> None:
    listed = default_prices().plans
    assert [
        (plan.tier.value, Money(plan.price_cents), plan.sessions_per_month, plan.managed_models)
        for plan in all_plans()
    ] == [
        (plan.tier, plan.price_per_month * 100, plan.sessions_per_month, plan.managed)
        for plan in listed.values()
    ]


def test_every_price_has_a_date_and_a_source() -> None:
    prices = default_prices()
    for price in prices.models.values():
        assert price.source.startswith("https://")
        assert price.since <= prices.as_of
        assert 0 < price.input <= price.output


@pytest.mark.parametrize(
    ("option", "flowstack", "ai", "total"),
    [
        (costs.managed_option(1_000), "$29", "$0", "$29"),
        (
            costs.byok_option(1_000, ["gpt-4o-2024-05-13"], free_while_possible=True),
            "$0-29",
            "$75",
            "$75-104",
        ),
        (costs.byok_option(1_000, ["gpt-3.5-turbo-0613"]), "$29", "$15", "$44"),
        (costs.managed_option(10_000), "$99", "$0", "$99"),
        (
            costs.byok_option(10_000, ["mistral-large", "gpt-4o-2024-05-13"], round_outward_to=100),
            "$99",
            "$300-800",
            "$399-899",
        ),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_the_guides_cost_tables_come_out(
    option: costs.CostOption, flowstack: str, ai: str, total: str
) -> None:
    assert (str(option.flowstack), str(option.ai), str(option.total)) == (flowstack, ai, total)


def test_the_smallest_plan_with_room_is_taken() -> None:
    assert costs.managed_option(1_001).name == "managed, professional"
    assert costs.managed_option(10**9).name == "managed, enterprise"
