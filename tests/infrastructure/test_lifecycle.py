"""The stream that releases sessions nobody was answered in (S5), and rolls up the others."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from tests.infrastructure.synthesized import Synthesized


@pytest.fixture
def mapping(prod: Synthesized) -> dict[str, Any]:
    return prod.named("AWS::Lambda::EventSourceMapping", "Expiry")


def test_s5_only_the_deletion_of_a_live_session_wakes_the_expiry_function(
    mapping: dict[str, Any],
) -> None:
    (found,) = mapping["FilterCriteria"]["Filters"]
    assert json.loads(found["Pattern"]) == {
        "eventName": ["REMOVE"],
        "dynamodb": {"Keys": {"sk": {"S": ["SESSION"]}}},
    }


def test_s5_one_bad_record_does_not_hold_up_or_lose_the_others(mapping: dict[str, Any]) -> None:
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert mapping["BisectBatchOnFunctionError"] is True
    assert 0 < mapping["MaximumRetryAttempts"] < 10_000


def test_s5_nothing_is_missed_from_the_beginning_of_the_stream(mapping: dict[str, Any]) -> None:
    assert mapping["StartingPosition"] == "TRIM_HORIZON"


def test_s5_the_alias_is_what_the_stream_calls(mapping: dict[str, Any]) -> None:
    assert ":live" in json.dumps(mapping["FunctionName"])


def test_s5_what_was_given_up_on_is_kept_encrypted_for_two_weeks(
    mapping: dict[str, Any], prod: Synthesized
) -> None:
    queue = mapping["DestinationConfig"]["OnFailure"]["Destination"]["Fn::GetAtt"][0]
    letters = prod.resources("AWS::SQS::Queue")[queue]
    assert letters["SqsManagedSseEnabled"] is True
    assert letters["MessageRetentionPeriod"] == 14 * 24 * 3600


@pytest.fixture
def rollups(prod: Synthesized) -> dict[str, Any]:
    return prod.named("AWS::Lambda::EventSourceMapping", "Rollups")


def test_only_sessions_in_which_something_was_answered_wake_the_rollups_function(
    rollups: dict[str, Any],
) -> None:
    (found,) = rollups["FilterCriteria"]["Filters"]
    assert json.loads(found["Pattern"]) == {
        "dynamodb": {
            "Keys": {"sk": {"S": ["SESSION"]}},
            "NewImage": {"processed_at": {"S": [{"exists": True}]}},
        },
    }


def test_the_rollups_function_listens_as_the_expiry_function_does(
    rollups: dict[str, Any], mapping: dict[str, Any]
) -> None:
    different = {"FilterCriteria", "FunctionName", "DestinationConfig"}
    assert {n: v for n, v in rollups.items() if n not in different} == {
        n: v for n, v in mapping.items() if n not in different
    }
    assert rollups["DestinationConfig"] != mapping["DestinationConfig"]


def test_two_functions_at_most_read_a_stream(prod: Synthesized) -> None:
    # DynamoDB Developer Guide: more than two readers of a shard are throttled.
    readers = Counter(
        json.dumps(each["EventSourceArn"])
        for each in prod.resources("AWS::Lambda::EventSourceMapping").values()
        if "StreamArn" in json.dumps(each["EventSourceArn"])
    )
    assert readers
    assert max(readers.values()) <= 2


def test_the_rollups_function_touches_records_rollups_and_ceilings_and_nothing_else(
    prod: Synthesized,
) -> None:
    statements = [
        statement
        for policy in prod.resources("AWS::IAM::Policy").values()
        if policy["Roles"][0]["Ref"].startswith("RollupsRole")
        for statement in policy["PolicyDocument"]["Statement"]
    ]
    confined = {
        (action, *statement["Condition"]["ForAllValues:StringLike"]["dynamodb:LeadingKeys"])
        for statement in statements
        for action in _actions(statement)
        if action.endswith(("Item", "Query"))
    }
    assert confined == {
        ("dynamodb:BatchGetItem", "RECORDS#*"),
        ("dynamodb:UpdateItem", "RECORDS#*"),
        ("dynamodb:Query", "ROLLUPS#*"),
        ("dynamodb:UpdateItem", "ROLLUPS#*"),
        ("dynamodb:GetItem", "CUSTOMER#*"),
        ("dynamodb:Query", "CUSTOMER#*"),
        ("dynamodb:ConditionCheckItem", "CUSTOMER#*"),
        ("dynamodb:UpdateItem", "CUSTOMER#*"),
    }


def test_messages_travel_over_tls_only(prod: Synthesized) -> None:
    guarded = set()
    for policy in prod.resources("AWS::SQS::QueuePolicy").values():
        (queue,) = policy["Queues"]
        for statement in policy["PolicyDocument"]["Statement"]:
            if statement["Effect"] == "Deny":
                assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
                guarded.add(queue["Ref"])
    assert guarded == set(prod.resources("AWS::SQS::Queue"))


def _actions(statement: dict[str, Any]) -> list[str]:
    action = statement["Action"]
    return [action] if isinstance(action, str) else action
