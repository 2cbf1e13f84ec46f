"""The stream that releases sessions nobody was answered in (S5)."""

from __future__ import annotations

import json
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


def test_messages_travel_over_tls_only(prod: Synthesized) -> None:
    guarded = set()
    for policy in prod.resources("AWS::SQS::QueuePolicy").values():
        (queue,) = policy["Queues"]
        for statement in policy["PolicyDocument"]["Statement"]:
            if statement["Effect"] == "Deny":
                assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
                guarded.add(queue["Ref"])
    assert guarded == set(prod.resources("AWS::SQS::Queue"))
