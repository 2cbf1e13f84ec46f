"""Exports and erasures: where archives wait, and what carries the steps."""

from __future__ import annotations

import json
from typing import Any

import pytest

from flowstack_core.domain.data_rights import ARCHIVE_LIFETIME
from flowstack_core.services.erasures import STEP_SECONDS as ERASING
from flowstack_core.services.exports import LEASE
from flowstack_core.services.exports import STEP_SECONDS as EXPORTING
from tests.infrastructure.synthesized import Synthesized

OBJECTS = {"GetObject", "PutObject", "DeleteObject", "AbortMultipartUpload"}
LISTS = {"ListBucket", "ListBucketMultipartUploads"}


@pytest.fixture
def bucket(prod: Synthesized) -> dict[str, Any]:
    return prod.named("AWS::S3::Bucket", "ArchivesBucket")


def test_archives_are_encrypted_with_the_stages_own_key(bucket: dict[str, Any]) -> None:
    (rule,) = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert rule["ServerSideEncryptionByDefault"]["SSEAlgorithm"] == "aws:kms"
    assert rule["ServerSideEncryptionByDefault"]["KMSMasterKeyID"]["Fn::GetAtt"][0].startswith(
        "Key"
    )


def test_the_public_cannot_see_archives(bucket: dict[str, Any]) -> None:
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    (rule,) = bucket["OwnershipControls"]["Rules"]
    assert rule["ObjectOwnership"] == "BucketOwnerEnforced"


def test_archives_travel_over_tls_only(prod: Synthesized) -> None:
    policy = prod.named("AWS::S3::BucketPolicy", "ArchivesBucketPolicy")
    statements = policy["PolicyDocument"]["Statement"]
    assert any(
        one["Effect"] == "Deny" and one["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
        for one in statements
    )


def test_archives_are_forgotten_when_their_links_end_and_leave_no_version(
    bucket: dict[str, Any],
) -> None:
    (rule,) = bucket["LifecycleConfiguration"]["Rules"]
    assert rule["Status"] == "Enabled"
    assert rule["ExpirationInDays"] == ARCHIVE_LIFETIME.days
    assert rule["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 1}
    assert "VersioningConfiguration" not in bucket


@pytest.mark.parametrize(
    ("function", "objects", "lists"),
    [("Rights", OBJECTS, LISTS), ("Admin", {"GetObject"}, set()), ("Conversation", set(), set())],
)
def test_only_who_writes_or_links_archives_may_touch_them(
    function: str, objects: set[str], lists: set[str], prod: Synthesized
) -> None:
    permitted = {
        action for action in prod.actions_on(function, "Archives") if action.startswith("s3:")
    }
    assert permitted == {f"s3:{action}" for action in objects | lists}


def test_a_step_ends_before_its_function_and_its_function_before_the_lease(
    prod: Synthesized,
) -> None:
    timeout = prod.named("AWS::Lambda::Function", "RightsFunction")["Timeout"]
    assert max(EXPORTING, ERASING) * 2 < timeout < LEASE.total_seconds()
    steps = prod.named("AWS::SQS::Queue", "RightsSteps")
    assert steps["VisibilityTimeout"] >= max(6 * timeout, LEASE.total_seconds())


def test_a_step_that_keeps_failing_becomes_a_dead_letter(prod: Synthesized) -> None:
    steps = prod.named("AWS::SQS::Queue", "RightsSteps")
    target = steps["RedrivePolicy"]["deadLetterTargetArn"]["Fn::GetAtt"][0]
    assert target.startswith("RightsDeadLetters")
    assert steps["SqsManagedSseEnabled"] is True


def test_one_message_is_one_invocation_of_the_alias(prod: Synthesized) -> None:
    mapping = prod.named("AWS::Lambda::EventSourceMapping", "Rights")
    assert mapping["BatchSize"] == 1
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert ":live" in json.dumps(mapping["FunctionName"])


def test_only_a_local_stage_is_in_a_hurry_to_delete(
    prod: Synthesized, dev: Synthesized, local: Synthesized
) -> None:
    for stage in (prod, dev):
        for function in ("Admin", "Rights"):
            assert stage.environment(function)["QUIET_SECONDS"] == str(30 * 60)
    assert local.environment("Rights")["QUIET_SECONDS"] == "2"
