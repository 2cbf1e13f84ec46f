"""Margins on the deployed stack: one customer's live, all customers' by the daily report."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from flowstack_admin.failures import RefusedError
from flowstack_core.adapters.dynamodb_codec import number
from flowstack_core.adapters.dynamodb_rollups import encode_slice, slice_key
from flowstack_core.adapters.dynamodb_usage import encode_usage
from flowstack_core.domain.periods import Period
from flowstack_core.domain.plans import Tier
from flowstack_core.domain.quota import PeriodUsage
from flowstack_core.domain.rollups import DaySlice, Route, Talk
from flowstack_core.domain.subscriptions import Subscription, Terms
from tests.integration.conftest import MODEL, Stack, wait_until

HAIKU = Route(managed=True, provider="bedrock", model=MODEL)
OWN = replace(HAIKU, managed=False)
NEW = replace(HAIKU, model="claude-of-next-year")
MILLION = Talk(7, 1_000_000, 1_000_000)
"""What comes to $6.60 on Haiku, called from the US."""


def talked(stack: Stack, *parts: tuple[Route, Talk]) -> str:
    """Add a starter who said this today, as its counter and rollups have it."""
    customer_id = stack.customer().customer_id
    now = datetime.now(UTC)
    counter = PeriodUsage.opened(
        Subscription(customer_id, Terms.of(Tier.STARTER), version=1), Period.containing(now)
    )
    dynamodb, table = stack.client("dynamodb"), stack.connection.tables["usage"]
    dynamodb.put_item(TableName=table, Item=encode_usage(replace(counter, sessions_used=1)))
    for route, talk in parts:
        part = DaySlice(now.date(), "agent#1", route, 1, talk)
        sums = {name: number(amount) for name, amount in encode_slice(part).items()}
        dynamodb.put_item(TableName=table, Item={**slice_key(customer_id, part), **sums})
    return customer_id


def report(stack: Stack) -> dict[str, Any] | None:
    """Return the last report, as operators see it."""
    try:
        return stack.admin.get("/admin/margins")
    except RefusedError:
        return None


def test_f2_a_customers_margin_is_what_it_pays_less_what_its_managed_models_cost(
    stack: Stack,
) -> None:
    customer_id = talked(stack, (HAIKU, MILLION), (OWN, MILLION), (NEW, Talk(2, 30, 12)))
    assert stack.admin.get(f"/admin/customers/{customer_id}/margin") == {
        "period": Period.containing(datetime.now(UTC)).name,
        "customer_id": customer_id,
        "tier": "starter",
        "revenue": 29.0,
        "revenue_cents": 2900,
        "managed_cost": 6.6,
        "margin": 22.4,
        "cost_share_percent": 22.8,
        "managed": {"messages": 9, "input_tokens": 1_000_030, "output_tokens": 1_000_012},
        "unpriced": {"messages": 2, "input_tokens": 30, "output_tokens": 12},
    }
    with pytest.raises(RefusedError):
        stack.admin.get("/admin/customers/cus_nobody/margin")


def test_f2_the_schedules_call_makes_a_report_of_everybody(stack: Stack) -> None:
    dear = [talked(stack, (HAIKU, MILLION + MILLION + MILLION)) for _ in range(3)]
    cheap = talked(stack, (HAIKU, MILLION))
    answer = stack.client("lambda").invoke(
        FunctionName=stack.connection.functions["margins"],
        Qualifier="live",
        Payload=json.dumps({"task": "ensure"}),
    )
    assert "FunctionError" not in answer, answer["Payload"].read()
    wait_until(lambda: report(stack) is not None, seconds=60)
    first = report(stack)
    assert first is not None
    places = [margin["customer_id"] for margin in first["worst"]]
    assert set(dear) <= set(places[: places.index(cheap)])
    assert first["customers_over_share"] >= len(dear)
    assert first["totals"]["customers"] >= len(dear) + 1
    assert sum(tier["managed_cost"] for tier in first["tiers"]) == pytest.approx(
        first["totals"]["managed_cost"], abs=0.02
    )
    sqs = stack.client("sqs")
    queue = sqs.get_queue_url(QueueName="FlowStack-local-margins")["QueueUrl"]
    again = {"period": first["period"], "day": first["as_of"][:10], "step": 0}
    sqs.send_message(QueueUrl=queue, MessageBody=json.dumps(again))
    wait_until(lambda: waiting(sqs, queue) == 0)
    assert report(stack) == first


def waiting(sqs: Any, queue: str) -> int:
    """Return how many messages are in a queue, those at work included."""
    found = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"]
    kinds = ("", "NotVisible", "Delayed")
    return sum(int(found[f"ApproximateNumberOfMessages{kind}"]) for kind in kinds)
