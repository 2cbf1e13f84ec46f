"""Webhooks: what carries their deliveries, and what the worker may touch."""

from __future__ import annotations

import json
from datetime import timedelta

from flowstack_core.adapters.sqs_webhooks import _LONGEST_DELAY_SECONDS
from flowstack_core.adapters.webhook_sender import TIMEOUT_SECONDS
from flowstack_core.services.webhook_deliveries import LEASE
from tests.infrastructure.synthesized import Synthesized
from tests.infrastructure.test_own_credentials import actions, statements
from tests.support import in_memory_webhooks


def test_an_attempt_ends_before_its_function_and_its_function_before_the_lease(
    prod: Synthesized,
) -> None:
    timeout = prod.named("AWS::Lambda::Function", "WebhooksFunction")["Timeout"]
    assert TIMEOUT_SECONDS * 2 < timeout < LEASE.total_seconds()
    queue = prod.named("AWS::SQS::Queue", "WebhooksQueue")
    assert queue["VisibilityTimeout"] >= max(6 * timeout, LEASE.total_seconds())


def test_the_tests_know_the_queue_as_it_is(prod: Synthesized) -> None:
    queue = prod.named("AWS::SQS::Queue", "WebhooksQueue")
    assert timedelta(seconds=queue["VisibilityTimeout"]) == in_memory_webhooks.VISIBLE_AGAIN
    assert queue["RedrivePolicy"]["maxReceiveCount"] == in_memory_webhooks.DELIVERIES
    assert timedelta(seconds=_LONGEST_DELAY_SECONDS) == in_memory_webhooks.LONGEST_DELAY


def test_a_message_that_keeps_failing_becomes_a_dead_letter(prod: Synthesized) -> None:
    queue = prod.named("AWS::SQS::Queue", "WebhooksQueue")
    target = queue["RedrivePolicy"]["deadLetterTargetArn"]["Fn::GetAtt"][0]
    assert target.startswith("WebhooksDeadLetters")
    assert queue["SqsManagedSseEnabled"] is True


def test_one_message_is_one_invocation_and_slow_servers_leave_room_for_others(
    prod: Synthesized,
) -> None:
    mapping = prod.named("AWS::Lambda::EventSourceMapping", "Webhooks")
    assert mapping["BatchSize"] == 1
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert mapping["ScalingConfig"]["MaximumConcurrency"] <= 100
    assert ":live" in json.dumps(mapping["FunctionName"])


def test_the_worker_writes_deliveries_and_nothing_else_of_the_usage(prod: Synthesized) -> None:
    confined = {
        action: statement["Condition"]["ForAllValues:StringLike"]["dynamodb:LeadingKeys"]
        for role, statement in statements(prod, "UsageTable")
        if role == "Webhooks"
        for action in actions(statement)
    }
    assert confined == {"dynamodb:GetItem": ["WEBHOOK*"], "dynamodb:PutItem": ["WEBHOOK*"]}


def test_only_a_local_stage_is_in_a_hurry_to_try_again(
    prod: Synthesized, dev: Synthesized, local: Synthesized
) -> None:
    for stage in (prod, dev):
        assert "WEBHOOK_RETRY_SECONDS" not in stage.environment("Webhooks")
    assert local.environment("Webhooks")["WEBHOOK_RETRY_SECONDS"] == "1 1 1"
