"""The queue of requests that are answered later, and its worker."""

from __future__ import annotations

import json
from typing import Any

import pytest

from flowstack_core.domain.deferred import LIFETIME, OVERRUN
from flowstack_core.services.conversations import LONGEST_MODEL_SECONDS
from tests.infrastructure.synthesized import Synthesized


@pytest.fixture
def mapping(prod: Synthesized) -> dict[str, Any]:
    return prod.named("AWS::Lambda::EventSourceMapping", "Worker")


@pytest.fixture
def queue(prod: Synthesized) -> dict[str, Any]:
    return prod.named("AWS::SQS::Queue", "Requests")


def test_s5_a_message_comes_again_when_its_killed_run_is_over_and_in_time_for_another(
    prod: Synthesized, queue: dict[str, Any]
) -> None:
    timeout = prod.named("AWS::Lambda::Function", "WorkerFunction")["Timeout"]
    assert timeout > LONGEST_MODEL_SECONDS
    assert queue["VisibilityTimeout"] > timeout + OVERRUN.total_seconds()
    assert queue["VisibilityTimeout"] + LONGEST_MODEL_SECONDS < LIFETIME.total_seconds()


def test_s5_the_last_delivery_comes_when_the_request_is_over_and_gives_its_session_back(
    queue: dict[str, Any],
) -> None:
    deliveries = queue["RedrivePolicy"]["maxReceiveCount"]
    assert (deliveries - 1) * queue["VisibilityTimeout"] > LIFETIME.total_seconds()


def test_s5_one_bad_message_does_not_bring_the_others_back(mapping: dict[str, Any]) -> None:
    assert mapping["BatchSize"] == 1
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]


def test_long_runs_cannot_use_up_the_concurrency_of_the_account(mapping: dict[str, Any]) -> None:
    assert mapping["ScalingConfig"] == {"MaximumConcurrency": 100}


def test_the_alias_is_what_the_queue_calls(mapping: dict[str, Any]) -> None:
    assert ":live" in json.dumps(mapping["FunctionName"])


def test_queues_are_encrypted_and_what_was_given_up_on_is_kept_for_two_weeks(
    prod: Synthesized, queue: dict[str, Any]
) -> None:
    letters_id = queue["RedrivePolicy"]["deadLetterTargetArn"]["Fn::GetAtt"][0]
    letters = prod.resources("AWS::SQS::Queue")[letters_id]
    assert letters["MessageRetentionPeriod"] == 14 * 24 * 3600
    assert queue["SqsManagedSseEnabled"] is True
    assert letters["SqsManagedSseEnabled"] is True


def test_only_who_accepts_requests_is_told_the_queue(prod: Synthesized) -> None:
    told = {
        logical_id
        for logical_id, function in prod.resources("AWS::Lambda::Function").items()
        if "DEFERRED_QUEUE_URL" in function.get("Environment", {}).get("Variables", {})
    }
    assert [name[:12] for name in told] == ["Conversation"]
