"""Forecasts and advice on the deployed stack, from rollups and a counter."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from flowstack import Agent
from tests.integration.conftest import Customer, Stack
from tests.support.emulator import dynamodb_client

NOON = "2027-06-15T12:00:00Z"
"""Later than now; a test clock goes there."""


def remember(stack: Stack, customer: Customer, days: int = 60) -> None:
    """Put what the rollups of whole days before noon would be into the table."""
    dynamodb = dynamodb_client(stack.connection.endpoint_url)
    table = stack.connection.tables["usage"]
    today = datetime.fromisoformat(NOON).astimezone(UTC).date()
    key = {"pk": {"S": f"ROLLUPS#{customer.customer_id}"}}
    for n in range(1, days + 1):
        day = today - timedelta(days=n)
        total = {"sessions": {"N": "10"}, "managed_sessions": {"N": "10"}}
        dynamodb.put_item(TableName=table, Item={**key, "sk": {"S": f"DAY#{day}"}, **total})
        names = f"SLICE#{day}#agent%23one#managed#bedrock#claude-haiku-4-5"
        part = {"sessions": {"N": "10"}, "input_tokens": {"N": "900"}}
        dynamodb.put_item(TableName=table, Item={**key, "sk": {"S": names}, **part})
    dynamodb.close()


@pytest.fixture
def customer(stack: Stack) -> Customer:
    """A professional who uses little, in the middle of a month."""
    found = stack.customer("professional")
    stack.set_clock(found, NOON)
    remember(stack, found)
    return found


def test_the_customer_and_the_operator_see_the_same_forecast(
    stack: Stack, customer: Customer
) -> None:
    assert customer.invoke().status_code == 200
    answer = customer.http.get("/usage/forecast")
    assert answer.status_code == 200, answer.text
    forecast: dict[str, Any] = answer.json()
    assert (forecast["period"], forecast["method"]) == ("2027-06", "weekday_pattern")
    assert forecast["sessions_used"] == 1
    assert forecast["projected_sessions"] == pytest.approx(1 + 155, abs=2)
    assert len(forecast["days"]) == 16
    seen = stack.admin.get(f"/admin/customers/{customer.customer_id}/forecast")
    assert seen["projected_sessions"] == forecast["projected_sessions"]


def test_advice_comes_with_the_client(stack: Stack, customer: Customer) -> None:
    url = stack.connection.api_url
    billing = Agent("agent", customer.key, base_url=url, http_client=customer.http).billing
    (advice,) = billing.recommendations()
    assert (advice.type, advice.suggested_tier) == ("plan_optimization", "starter")
    assert advice.potential_savings == 70
    assert billing.forecast().interval.high < 400


def test_a_key_is_needed(stack: Stack) -> None:
    for path in ("/usage/forecast", "/usage/recommendations"):
        assert stack.anonymous().get(path).status_code == 401
