"""The AwsSolutions rules of cdk-nag, on every stack of every stage."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from aws_cdk import Environment
from cdk_nag import AwsSolutionsChecks
from constructs import IConstruct

from stacks.application import Application
from stacks.sources import Sources
from tests.infrastructure.conftest import ROOT, new_app
from tests.infrastructure.synthesized import Synthesized


def _findings(scope: IConstruct) -> list[str]:
    report = AwsSolutionsChecks(scope).validate_scope(scope)
    return [f"{found.rule_name}: {found.description}" for found in report.violations]


@pytest.mark.parametrize("stage", ["local", "dev", "prod"])
def test_every_stack_follows_the_rules_or_says_why_not(
    stage: str, synthesize: Callable[[str], Synthesized]
) -> None:
    assert _findings(synthesize(stage).app) == []


def test_the_rules_hold_where_account_and_region_are_known(tmp_path: Path) -> None:
    app = new_app(tmp_path, stage="prod")
    Application(app, Sources(ROOT), Environment(account="111122223333", region="eu-west-1"))
    assert _findings(app) == []


def test_the_rules_find_what_nobody_gave_a_reason_for(tmp_path: Path) -> None:
    from aws_cdk import Stack
    from aws_cdk import aws_sqs as sqs

    app = new_app(tmp_path)
    sqs.Queue(Stack(app, "Careless"), "Queue")
    assert any(finding.startswith("AwsSolutions-SQS") for finding in _findings(app))
