"""Payments: absent unless configured, and then with one secret more and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from aws_cdk import Environment

from stacks.application import Application
from stacks.constructs.layer import LayerBundling, core_contents
from stacks.payments import payments_contents
from stacks.python_target import AWS_LAMBDA
from stacks.sources import Sources
from tests.infrastructure.conftest import ROOT, new_app
from tests.infrastructure.synthesized import Synthesized
from tests.infrastructure.test_api import _path
from tests.infrastructure.test_rules import _findings

ARN = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:stripe-AbCdEf"
PLACE = {"account": "111122223333", "region": "eu-west-1"}


@pytest.fixture(scope="module")
def taking(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Synthesized]:
    """Synthesize production with a signing secret; the same one only once."""

    @cache
    def synthesize(reference: str) -> Synthesized:
        folder = tmp_path_factory.mktemp("payments")
        app = new_app(folder, stage="prod", stripe_webhook_secret=reference)
        return Synthesized(app, Application(app, Sources(ROOT), Environment(**PLACE)))

    return synthesize


@pytest.fixture
def paid(taking: Callable[[str], Synthesized]) -> Synthesized:
    return taking(ARN)


def routes(synthesized: Synthesized) -> Iterator[tuple[str, dict[str, Any]]]:
    for method in synthesized.resources("AWS::ApiGateway::Method").values():
        yield f"{method['HttpMethod']} {_path(synthesized, method['ResourceId'])}", method


def alarms(synthesized: Synthesized) -> dict[str, dict[str, Any]]:
    found = synthesized.resources("AWS::CloudWatch::Alarm").values()
    return {alarm["AlarmName"].removeprefix("FlowStack-prod-"): alarm for alarm in found}


def test_a_stage_that_takes_no_payments_has_nothing_for_them(
    prod: Synthesized, taking: Callable[[str], Synthesized]
) -> None:
    for without in (prod, taking("")):
        assert "stripe" not in json.dumps(without.templates).lower()
        assert not [name for name in alarms(without) if name.startswith("Payment")]


def test_the_webhook_is_the_only_thing_more_and_calls_its_function(
    prod: Synthesized, paid: Synthesized
) -> None:
    more = dict(routes(paid))
    assert set(more) - {name for name, _ in routes(prod)} == {"POST webhooks/stripe"}
    webhook = more["POST webhooks/stripe"]
    assert webhook["AuthorizationType"] == "NONE"
    assert "AuthorizerId" not in webhook
    assert '"Ref": "PaymentsLive' in json.dumps(webhook["Integration"]["Uri"])


def test_only_the_payments_function_has_stripe_s_code(paid: Synthesized) -> None:
    with_layer = [
        found["Environment"]["Variables"]["POWERTOOLS_SERVICE_NAME"]
        for found in paid.resources("AWS::Lambda::Function").values()
        if any("Stripe" in json.dumps(layer) for layer in found["Layers"])
    ]
    assert with_layer == ["payments"]


def test_the_function_is_told_where_the_secret_is_and_not_the_secret(paid: Synthesized) -> None:
    assert paid.environment("Payments")["STRIPE_WEBHOOK_SECRET"] == ARN


@pytest.mark.parametrize(
    ("reference", "action", "resource"),
    [
        (ARN, "secretsmanager:GetSecretValue", ARN),
        (
            "flowstack/stripe",
            "secretsmanager:GetSecretValue",
            ":secretsmanager:eu-west-1:111122223333:secret:flowstack/stripe-??????",
        ),
        (
            "ssm:/flowstack/stripe",
            "ssm:GetParameter",
            ":ssm:eu-west-1:111122223333:parameter/flowstack/stripe",
        ),
    ],
)
def test_the_function_may_read_this_secret_and_no_other(
    reference: str, action: str, resource: str, taking: Callable[[str], Synthesized]
) -> None:
    found = [
        (role, actions, resources)
        for role, actions, resources in taking(reference).allowed()
        if any(one.startswith(("secretsmanager:", "ssm:")) for one in actions)
    ]
    ((role, actions, resources),) = found
    assert role.startswith("PaymentsRole")
    assert actions == [action]
    assert len(resources) == 1
    written = resources[0]
    if isinstance(written, dict):
        written = "".join(part for part in written["Fn::Join"][1] if isinstance(part, str))
    assert written.endswith(resource)


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ("AccountsTable", {"GetItem", "BatchGetItem", "PutItem"}),
        (
            "UsageTable",
            {"GetItem", "BatchGetItem", "PutItem", "UpdateItem", "Query", "ConditionCheckItem"},
        ),
        ("SessionsTable", set()),
        ("VaultTable", set()),
    ],
)
def test_the_function_may_do_on_a_table_what_a_change_of_plan_needs(
    table: str, expected: set[str], paid: Synthesized
) -> None:
    assert paid.actions_on("Payments", table) == {f"dynamodb:{action}" for action in expected}


def test_the_function_stops_before_the_gateway_does(paid: Synthesized) -> None:
    assert paid.named("AWS::Lambda::Function", "PaymentsFunction")["Timeout"] < 29


def test_the_rules_hold_with_payments_too(taking: Callable[[str], Synthesized]) -> None:
    for reference in (ARN, "flowstack/stripe", "ssm:/flowstack/stripe"):
        assert _findings(taking(reference).app) == []


def test_failures_of_the_webhook_are_told_and_the_guide_says_what_to_do(
    prod: Synthesized, paid: Synthesized
) -> None:
    webhook = {"PaymentEventsFailing", "PaymentEventsRefused"}
    more = set(alarms(paid)) - set(alarms(prod))
    assert more == {*webhook, "PaymentsErrors", "PaymentsThrottles"}
    guide = (ROOT / "docs/payments.md").read_text(encoding="utf-8")
    for name in webhook:
        assert f"`{name}`" in guide
        dimensions = {d["Name"]: d["Value"] for d in alarms(paid)[name]["Dimensions"]}
        assert (dimensions["Method"], dimensions["Resource"]) == ("POST", "/webhooks/stripe")


def test_the_layer_adds_to_the_core_layer_and_repeats_nothing_of_it(tmp_path: Path) -> None:
    packages = []
    for contents in (core_contents(Sources(ROOT)), payments_contents(Sources(ROOT))):
        folder = tmp_path / contents.lock.stem
        assert LayerBundling(contents, AWS_LAMBDA).try_bundle(str(folder))
        packages.append({path.name for path in (folder / "python").iterdir()})
    core, payments = packages
    assert "stripe" in payments
    assert not core & payments
    assert not {"boto3", "botocore", "flowstack_core"} & payments
