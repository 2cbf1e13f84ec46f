"""The alarms."""

from __future__ import annotations

from typing import Any

import pytest

from tests.infrastructure.synthesized import Synthesized

MONTH_END_DAILY = ("MonthEndOpen", "MonthEndFailed")
DAILY = (*MONTH_END_DAILY, "CustomersOverCostShare")
WATCHED = [
    ("AWS/ApiGateway", "5XXError", {"ApiName": "FlowStack-prod-api", "Stage": "prod"}),
    *(
        ("AWS/Lambda", metric, {"FunctionName": f"FlowStack-prod-{function}"})
        for metric in ("Errors", "Throttles")
        for function in ("authorizer", "conversation")
    ),
    *(
        ("AWS/Lambda", "Errors", {"FunctionName": f"FlowStack-prod-{function}"})
        for function in ("month-end", "close")
    ),
    *(
        ("AWS/Lambda", "IteratorAge", {"FunctionName": f"FlowStack-prod-{function}"})
        for function in ("expiry", "thresholds", "announcements")
    ),
    *(
        (
            "AWS/SQS",
            "ApproximateNumberOfMessagesVisible",
            {"QueueName": f"FlowStack-prod-{letters}-dead-letters"},
        )
        for letters in (
            *("expiry", "request", "month-end", "steps", "closes", "thresholds"),
            *("announcements", "rights", "webhooks", "margins"),
        )
    ),
    ("AWS/SQS", "ApproximateAgeOfOldestMessage", {"QueueName": "FlowStack-prod-steps"}),
    ("AWS/SQS", "ApproximateAgeOfOldestMessage", {"QueueName": "FlowStack-prod-webhooks"}),
    *(("FlowStack", gauge, {"service": "month-end"}) for gauge in MONTH_END_DAILY),
    ("FlowStack", "CustomersOverCostShare", {"service": "margins"}),
]


@pytest.fixture
def alarms(prod: Synthesized) -> list[dict[str, Any]]:
    return list(prod.resources("AWS::CloudWatch::Alarm").values())


def _dimensions(alarm: dict[str, Any]) -> dict[str, Any]:
    return {one["Name"]: one["Value"] for one in alarm["Dimensions"]}


@pytest.mark.parametrize(("namespace", "metric", "dimensions"), WATCHED)
def test_what_an_operator_must_act_on_has_an_alarm(
    namespace: str, metric: str, dimensions: dict[str, str], alarms: list[dict[str, Any]]
) -> None:
    found = [
        alarm
        for alarm in alarms
        if (alarm["Namespace"], alarm["MetricName"]) == (namespace, metric)
        and _dimensions(alarm) == dimensions
    ]
    assert len(found) == 1


@pytest.mark.parametrize("metric", ["ReadThrottleEvents", "WriteThrottleEvents"])
@pytest.mark.parametrize("table", ["Accounts", "Sessions", "Usage"])
def test_a_throttled_table_has_an_alarm(
    table: str, metric: str, alarms: list[dict[str, Any]]
) -> None:
    watched = [
        str(_dimensions(alarm)["TableName"]) for alarm in alarms if alarm["MetricName"] == metric
    ]
    assert any(f"{table}Table" in name for name in watched)


def test_failures_of_dynamodb_itself_have_an_alarm(alarms: list[dict[str, Any]]) -> None:
    watched = {
        _dimensions(alarm)["Operation"] for alarm in alarms if alarm["MetricName"] == "SystemErrors"
    }
    assert watched == {"GetItem", "UpdateItem", "TransactWriteItems"}


def test_names_that_alarms_use_are_those_of_the_resources(prod: Synthesized) -> None:
    functions = {each["FunctionName"] for each in prod.resources("AWS::Lambda::Function").values()}
    queues = {each["QueueName"] for each in prod.resources("AWS::SQS::Queue").values()}
    api = prod.named("AWS::ApiGateway::RestApi", "Api")
    for namespace, _, dimensions in WATCHED:
        if namespace == "AWS/Lambda":
            assert dimensions["FunctionName"] in functions
        if namespace == "AWS/SQS":
            assert dimensions["QueueName"] in queues
    assert api["Name"] == "FlowStack-prod-api"


def test_an_alarm_says_what_to_do_and_tells_somebody(alarms: list[dict[str, Any]]) -> None:
    assert alarms
    for alarm in alarms:
        assert len(alarm["AlarmDescription"]) > 60
        (topic,) = alarm["AlarmActions"]
        assert topic["Ref"].startswith("Alarms")
        # What is measured once a day stands until it is measured again; other quiet is good.
        missing = "ignore" if alarm["MetricName"] in DAILY else "notBreaching"
        assert alarm["TreatMissingData"] == missing


def test_every_dead_letter_rings(alarms: list[dict[str, Any]], prod: Synthesized) -> None:
    watched = {
        _dimensions(alarm)["QueueName"]
        for alarm in alarms
        if alarm["MetricName"] == "ApproximateNumberOfMessagesVisible"
    }
    queues = {each["QueueName"] for each in prod.resources("AWS::SQS::Queue").values()}
    assert watched == {name for name in queues if name.endswith("-dead-letters")}


def test_cloudwatch_can_use_the_key_of_the_encrypted_topic(prod: Synthesized) -> None:
    topic = prod.named("AWS::SNS::Topic", "Alarms")
    key = topic["KmsMasterKeyId"]["Fn::GetAtt"][0]
    properties = prod.template("monitoring")["Resources"][key]["Properties"]
    assert properties["EnableKeyRotation"] is True
    permitted = [
        statement["Action"]
        for statement in properties["KeyPolicy"]["Statement"]
        if statement["Principal"] == {"Service": "cloudwatch.amazonaws.com"}
    ]
    assert permitted == [["kms:Decrypt", "kms:GenerateDataKey"]]
    policy = prod.named("AWS::SNS::TopicPolicy", "AlarmsPolicy")
    publishers = [
        statement["Principal"]
        for statement in policy["PolicyDocument"]["Statement"]
        if statement["Effect"] == "Allow"
    ]
    assert publishers == [{"Service": "cloudwatch.amazonaws.com"}]
