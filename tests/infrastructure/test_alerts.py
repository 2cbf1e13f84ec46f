"""Who is told of an alert by which means: the operators' topic always, mail where configured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from aws_cdk import Environment

from stacks.application import Application
from stacks.sources import Sources
from tests.infrastructure.conftest import ROOT, new_app
from tests.infrastructure.synthesized import Synthesized
from tests.infrastructure.test_rules import _findings

PLACE = {"account": "111122223333", "region": "eu-west-1"}
SENDER = "alerts@example.com"


@pytest.fixture(scope="module")
def mailing(tmp_path_factory: pytest.TempPathFactory) -> Synthesized:
    app = new_app(tmp_path_factory.mktemp("mailing"), stage="prod", alert_sender=SENDER)
    return Synthesized(app, Application(app, Sources(ROOT), Environment(**PLACE)))


def callers(synthesized: Synthesized, action: str) -> dict[str, list[object]]:
    """Return the functions that may do something, with the resources."""
    return {
        role.split("Role")[0]: resources
        for role, actions, resources in synthesized.allowed()
        if action in actions
    }


def test_the_topic_of_alerts_is_its_own_encrypted_and_takes_nothing_in_the_clear(
    prod: Synthesized,
) -> None:
    topic = prod.named("AWS::SNS::Topic", "AlertsTopic")
    assert topic["TopicName"] == "FlowStack-prod-alerts"
    assert topic["KmsMasterKeyId"]["Fn::GetAtt"][0].startswith("AlertsKey")
    assert prod.named("AWS::KMS::Key", "AlertsKey")["EnableKeyRotation"] is True
    policy = prod.named("AWS::SNS::TopicPolicy", "AlertsTopicPolicy")["PolicyDocument"]
    (statement,) = policy["Statement"]
    assert statement["Effect"] == "Deny"
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_only_the_announcements_function_publishes_alerts_and_to_no_other_topic(
    prod: Synthesized,
) -> None:
    ((function, (topic,)),) = callers(prod, "sns:Publish").items()
    assert function == "Announcements"
    assert topic == {"Ref": prod.environment("Announcements")["ALERT_TOPIC"]["Ref"]}
    assert topic["Ref"].startswith("AlertsTopic")
    # SNS encrypts with what the publisher may use.
    assert prod.actions_on(function, "AlertsKey") == {"kms:Decrypt", "kms:GenerateDataKey"}


def test_a_stage_without_a_sender_sends_no_mail_and_may_not(
    prod: Synthesized, tmp_path: Path
) -> None:
    app = new_app(tmp_path, stage="prod", alert_sender="")
    empty = Synthesized(app, Application(app, Sources(ROOT), Environment()))
    for without in (prod, empty):
        assert "ses:" not in json.dumps(without.templates)
        assert "ALERT_SENDER" not in without.environment("Announcements")


def test_mail_is_sent_by_one_function_as_the_one_sender(mailing: Synthesized) -> None:
    ((function, (identity,)),) = callers(mailing, "ses:SendEmail").items()
    assert function == "Announcements"
    assert f":ses:eu-west-1:111122223333:identity/{SENDER}" in json.dumps(identity)
    assert mailing.environment("Announcements")["ALERT_SENDER"] == SENDER
    assert mailing.actions_on("Announcements", "AccountsTable") == {"dynamodb:GetItem"}


def test_a_stage_that_sends_mail_keeps_the_rules(mailing: Synthesized) -> None:
    assert _findings(mailing.app) == []
