"""What tells a production stage from the others."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from aws_cdk import App

from stacks.application import stage_of
from stacks.stage import Endpoints, Stage, UnknownStageError
from tests.infrastructure.conftest import ROOT
from tests.infrastructure.synthesized import Synthesized

FUNCTIONS = (
    *("Authorizer", "Conversation", "Worker", "Usage", "Byok", "Billing", "Vault", "Public"),
    *("Alerts", "Admin", "Expiry", "MonthEnd", "Close", "Announcements", "Rights"),
    *("Rollups", "Webhooks", "Thresholds", "Margins"),
)


def test_no_production_template_holds_a_test_clock(prod: Synthesized) -> None:
    for name, template in prod.templates.items():
        written = Path(prod.app.outdir, f"{name}.template.json").read_text(encoding="utf-8")
        assert "TEST_CLOCK" not in written.upper().replace("-", "_")
        for resource in template["Resources"].values():
            if resource["Type"] == "AWS::Lambda::Function":
                assert "TEST_CLOCKS" not in resource["Properties"]["Environment"]["Variables"]
    assert len(prod.resources("AWS::Lambda::Function")) == len(FUNCTIONS)


@pytest.mark.parametrize("stage", ["dev", "local"])
def test_other_stages_have_test_clocks(stage: str, request: pytest.FixtureRequest) -> None:
    synthesized = request.getfixturevalue(stage)
    for function in FUNCTIONS:
        assert synthesized.environment(function)["TEST_CLOCKS"] == "enabled"


def test_a_production_stage_cannot_be_given_test_clocks() -> None:
    stage = Stage.named("prod", interpreter="unused")
    assert stage.production
    assert not stage.test_clocks
    with pytest.raises(TypeError, match="test_clocks"):
        dataclasses.replace(stage, test_clocks=True)  # type: ignore[call-arg]


def test_an_emulator_is_not_asked_for_a_process_for_each_message(local: Synthesized) -> None:
    bounds = [
        mapping["ScalingConfig"]["MaximumConcurrency"]
        for mapping in local.resources("AWS::Lambda::EventSourceMapping").values()
        if "ScalingConfig" in mapping
    ]
    assert len(bounds) == 4
    assert max(bounds) <= 4


def test_the_stage_is_dev_unless_context_says_otherwise() -> None:
    assert stage_of(App()).name == "dev"
    assert stage_of(App(context={"stage": "prod"})).name == "prod"


def test_an_unknown_stage_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(UnknownStageError, match="'production': use one of local, dev, prod"):
        Stage.named("production", interpreter="unused")


@pytest.mark.parametrize("name", ["dev", "prod"])
def test_other_endpoints_are_refused_on_aws(name: str) -> None:
    with pytest.raises(ValueError, match="takes no other endpoints"):
        Stage.named(name, interpreter="unused", endpoints=Endpoints(dynamodb="http://127.0.0.1:1"))


def test_every_function_of_one_stage_runs_on_the_same_target_as_its_layer(
    prod: Synthesized, dev: Synthesized, local: Synthesized
) -> None:
    for synthesized in (prod, dev, local):
        target = synthesized.application.stage.python
        expected = (f"python{target.version}", target.architecture.name)
        for function in synthesized.resources("AWS::Lambda::Function").values():
            assert (function["Runtime"], *function["Architectures"]) == expected
        for layer in synthesized.resources("AWS::Lambda::LayerVersion").values():
            assert (*layer["CompatibleRuntimes"], *layer["CompatibleArchitectures"]) == expected


@pytest.mark.parametrize("stage", ["dev", "prod"])
def test_stages_on_aws_run_on_arm(stage: str, request: pytest.FixtureRequest) -> None:
    for function in request.getfixturevalue(stage).resources("AWS::Lambda::Function").values():
        assert function["Runtime"] == "python3.13"
        assert function["Architectures"] == ["arm64"]


@pytest.mark.parametrize(("stage", "policy"), [("prod", "Retain"), ("dev", "Delete")])
def test_data_outlives_a_production_stack_only(
    stage: str, policy: str, request: pytest.FixtureRequest
) -> None:
    template = request.getfixturevalue(stage).template("data")
    kept = [
        resource
        for resource in template["Resources"].values()
        if resource["Type"] in ("AWS::DynamoDB::Table", "AWS::KMS::Key")
    ]
    assert kept
    for resource in kept:
        assert (resource["DeletionPolicy"], resource["UpdateReplacePolicy"]) == (policy, policy)


def test_the_price_of_snapshots_is_for_as_many_functions_as_there_are(prod: Synthesized) -> None:
    sizes = [
        function["MemorySize"]
        for function in prod.resources("AWS::Lambda::Function").values()
        if "SnapStart" in function
    ]
    gigabytes = sum(sizes) / 1024
    # A month has 730 hours, as in AWS's own examples of prices.
    dollars = gigabytes * 730 * 3600 * 0.0000015046
    page = " ".join((ROOT / "docs/cost.md").read_text(encoding="utf-8").split())
    assert (
        f"snapshots of {len(sizes)} functions with {gigabytes:g} GB together, about ${dollars:.2f}"
        in page
    )
