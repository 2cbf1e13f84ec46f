"""What starts, carries and tells of the month end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from aws_cdk import Environment

from flowstack_core.events.month_end import ENSURE
from flowstack_core.services.month_end import ATTEMPTS
from stacks.application import Application
from stacks.constructs.queue import DELIVERIES
from stacks.sources import Sources
from tests.infrastructure.conftest import ROOT, new_app
from tests.infrastructure.synthesized import Synthesized

SCHEDULES = {
    "FlowStack-prod-month-end": "cron(0 0 1 * ? *)",
    "FlowStack-prod-reconciliation": "cron(0 6 * * ? *)",
    "FlowStack-prod-margins": "cron(0 7 * * ? *)",
}
CALLED = {"FlowStack-prod-margins": "Margins"}
"""Which function a schedule calls, where that is not the month end's."""
LETTERS = {"MonthEnd": "month-end", "Margins": "margins"}
WORK = {
    "FlowStack-prod-steps": "MonthEnd",
    "FlowStack-prod-closes": "Close",
    "FlowStack-prod-margins": "Margins",
}


def _queues(synthesized: Synthesized) -> dict[str, dict[str, Any]]:
    found = synthesized.resources("AWS::SQS::Queue").values()
    return {queue["QueueName"]: queue for queue in found}


def _named_by(reference: dict[str, Any], synthesized: Synthesized) -> str:
    """Return the name of the queue that a template refers to by its ARN."""
    logical_id = reference["Fn::GetAtt"][0]
    name: str = synthesized.resources("AWS::SQS::Queue")[logical_id]["QueueName"]
    return name


# --- schedules -----------------------------------------------------------------------------


@pytest.fixture(params=SCHEDULES)
def schedule(request: pytest.FixtureRequest, prod: Synthesized) -> dict[str, Any]:
    found = prod.resources("AWS::Scheduler::Schedule").values()
    return next(each for each in found if each["Name"] == request.param)


def test_the_schedules_are_these(prod: Synthesized) -> None:
    found = prod.resources("AWS::Scheduler::Schedule").values()
    assert {each["Name"]: each["ScheduleExpression"] for each in found} == SCHEDULES


def test_a_schedule_fires_at_its_minute_in_utc(schedule: dict[str, Any]) -> None:
    assert schedule["ScheduleExpressionTimezone"] == "Etc/UTC"
    assert schedule["FlexibleTimeWindow"] == {"Mode": "OFF"}
    assert schedule["State"] == "ENABLED"


def test_a_schedule_says_what_the_function_understands(schedule: dict[str, Any]) -> None:
    assert json.loads(schedule["Target"]["Input"]) == ENSURE
    assert schedule["Target"]["Arn"]["Ref"].startswith(f"{_called(schedule)}Live")


def test_a_call_that_is_not_delivered_is_repeated_and_then_kept(
    schedule: dict[str, Any], prod: Synthesized
) -> None:
    retries = schedule["Target"]["RetryPolicy"]
    assert retries == {"MaximumEventAgeInSeconds": 3600, "MaximumRetryAttempts": 10}
    letters = schedule["Target"]["DeadLetterConfig"]["Arn"]
    name = LETTERS[_called(schedule)]
    assert _named_by(letters, prod) == f"FlowStack-prod-{name}-dead-letters"


def test_a_schedule_may_call_the_alias_and_nothing_else(
    schedule: dict[str, Any], prod: Synthesized
) -> None:
    role = schedule["Target"]["RoleArn"]["Fn::GetAtt"][0]
    permitted = {
        (action, str(resource))
        for holder, actions, resources in prod.allowed()
        if holder == role
        for action in actions
        for resource in resources
    }
    alias = str(schedule["Target"]["Arn"])
    letters = str(schedule["Target"]["DeadLetterConfig"]["Arn"])
    assert permitted == {("lambda:InvokeFunction", alias), ("sqs:SendMessage", letters)}
    (trust,) = prod.resources("AWS::IAM::Role")[role]["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Principal"] == {"Service": "scheduler.amazonaws.com"}
    assert trust["Condition"] == {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}}


@pytest.mark.parametrize("function", LETTERS)
def test_a_task_that_was_delivered_and_failed_is_kept_too(function: str, prod: Synthesized) -> None:
    config = prod.named("AWS::Lambda::EventInvokeConfig", f"{function}Live")
    assert f"{function}Live" in json.dumps(config["Qualifier"])
    assert config["MaximumRetryAttempts"] == 2
    letters = config["DestinationConfig"]["OnFailure"]["Destination"]
    assert _named_by(letters, prod) == f"FlowStack-prod-{LETTERS[function]}-dead-letters"


def _called(schedule: dict[str, Any]) -> str:
    return CALLED.get(schedule["Name"], "MonthEnd")


# --- queues --------------------------------------------------------------------------------


def test_every_queue_is_encrypted(prod: Synthesized) -> None:
    for name, queue in _queues(prod).items():
        assert queue["SqsManagedSseEnabled"] is True, name


@pytest.mark.parametrize("name", WORK)
def test_a_message_that_keeps_failing_becomes_a_dead_letter(name: str, prod: Synthesized) -> None:
    redrive = _queues(prod)[name]["RedrivePolicy"]
    assert redrive["maxReceiveCount"] == DELIVERIES == 5
    assert _named_by(redrive["deadLetterTargetArn"], prod) == f"{name}-dead-letters"


def test_the_worker_gives_up_before_the_queue_does() -> None:
    assert ATTEMPTS < DELIVERIES


@pytest.mark.parametrize("name", WORK)
def test_a_dead_letter_outlives_the_queue_that_it_comes_from(name: str, prod: Synthesized) -> None:
    queues = _queues(prod)
    kept = queues[f"{name}-dead-letters"]["MessageRetentionPeriod"]
    assert kept == 14 * 24 * 3600
    # The age of a dead letter is counted from when its message was sent first.
    assert kept >= queues[name]["MessageRetentionPeriod"] + 7 * 24 * 3600


@pytest.mark.parametrize("name", WORK)
def test_a_message_is_not_delivered_again_while_it_may_be_at_work(
    name: str, prod: Synthesized
) -> None:
    function = prod.named("AWS::Lambda::Function", f"{WORK[name]}Function")
    assert _queues(prod)[name]["VisibilityTimeout"] >= 6 * function["Timeout"]


@pytest.mark.parametrize("name", WORK)
def test_a_bad_message_fails_by_itself(name: str, prod: Synthesized) -> None:
    mapping = _mapping(WORK[name], prod)
    assert _named_by(mapping["EventSourceArn"], prod) == name
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert ":live" in json.dumps(mapping["FunctionName"])


def test_pages_are_closed_ten_at_a_time_by_ten_workers(prod: Synthesized) -> None:
    mapping = _mapping("Close", prod)
    assert mapping["BatchSize"] == 10
    assert mapping["ScalingConfig"] == {"MaximumConcurrency": 10}


@pytest.mark.parametrize("function", ["MonthEnd", "Margins"])
def test_steps_come_one_at_a_time(function: str, prod: Synthesized) -> None:
    assert _mapping(function, prod)["BatchSize"] == 1


# --- margins -------------------------------------------------------------------------------


def test_f2_the_share_that_is_of_interest_is_half_unless_context_says_otherwise(
    prod: Synthesized, tmp_path: Path
) -> None:
    assert prod.environment("Margins")["COST_SHARE_PERCENT"] == "50"
    app = new_app(tmp_path, stage="prod", cost_share_percent=80)
    told = Synthesized(app, Application(app, Sources(ROOT), Environment()))
    assert told.environment("Margins")["COST_SHARE_PERCENT"] == "80"


@pytest.mark.parametrize("share", ["half", "-1", "0.5", "0", 0])
def test_a_share_that_is_none_is_refused(share: str | int, tmp_path: Path) -> None:
    app = new_app(tmp_path, stage="prod", cost_share_percent=share)
    with pytest.raises(ValueError, match="whole number of percent"):
        Application(app, Sources(ROOT), Environment())


# --- the stream of usage -------------------------------------------------------------------


def test_only_what_is_to_be_told_wakes_the_announcements_function(prod: Synthesized) -> None:
    (found,) = _mapping("Announcements", prod)["FilterCriteria"]["Filters"]
    assert json.loads(found["Pattern"]) == {
        "eventName": ["INSERT"],
        "dynamodb": {
            "Keys": {
                "sk": {"S": [{"prefix": name} for name in ("STATEMENT#", "ALERT#", "BUDGET#")]}
            }
        },
    }


def test_only_a_counter_that_moved_wakes_the_thresholds_function(prod: Synthesized) -> None:
    (found,) = _mapping("Thresholds", prod)["FilterCriteria"]["Filters"]
    assert json.loads(found["Pattern"]) == {
        "eventName": ["MODIFY"],
        "dynamodb": {"Keys": {"sk": {"S": [{"prefix": "PERIOD#"}]}}},
    }


@pytest.mark.parametrize("listener", ["Thresholds", "Announcements"])
def test_one_bad_record_does_not_hold_up_or_lose_the_others(
    listener: str, prod: Synthesized
) -> None:
    mapping = _mapping(listener, prod)
    assert mapping["StartingPosition"] == "TRIM_HORIZON"
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert mapping["BisectBatchOnFunctionError"] is True
    assert 0 < mapping["MaximumRetryAttempts"] < 10_000
    letters = mapping["DestinationConfig"]["OnFailure"]["Destination"]
    assert _named_by(letters, prod) == f"FlowStack-prod-{listener.lower()}-dead-letters"


def test_no_table_s_stream_has_more_than_the_two_listeners_that_dynamodb_allows(
    prod: Synthesized,
) -> None:
    mappings = prod.resources("AWS::Lambda::EventSourceMapping").values()
    streams = [
        json.dumps(mapping["EventSourceArn"])
        for mapping in mappings
        if "StartingPosition" in mapping
    ]
    assert max(streams.count(stream) for stream in streams) == 2


def test_the_bus_has_the_stage_s_name(prod: Synthesized, dev: Synthesized) -> None:
    for synthesized in (prod, dev):
        bus = synthesized.named("AWS::Events::EventBus", "Bus")
        assert bus["Name"] == f"FlowStack-{synthesized.application.stage.name}"


def _mapping(function: str, synthesized: Synthesized) -> dict[str, Any]:
    return synthesized.named("AWS::Lambda::EventSourceMapping", f"{function}Live")
