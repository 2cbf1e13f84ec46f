"""Roles allow what the functions were seen to do in the integration tests, and no more.

What the integration tests see of the roles is put down by their conftest, on as many stacks as they
ran. This comes after them, and says something only where all of them ran.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.least_privilege import Observed
from tests.support.permissions import Grant

SKIPPED_WITHOUT_ITS_GUIDE = {"test_billing_guide.py"}
INTEGRATION = Path(__file__).parents[1] / "integration"

OF_AWS_ITSELF = (
    *("xray:", "logs:"),
    *("dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator"),
    "dynamodb:ListStreams",
    *("sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility"),
    *("sqs:GetQueueUrl", "sqs:GetQueueAttributes"),
)
"""What Lambda and X-Ray do in the name of a role; the emulator does it without."""

_STOPPING = "stops a customer where the request that began the erasure was killed"
_LOST = "finds out whether a change whose answer was lost was made"
_SENT_ELSEWHERE = "sent to the tests' own Bedrock, which keeps no trail"
_BY_LINK = "done by whoever is given a signed link"
_CEILING = "notes that a ceiling is reached, if nobody looked at it before"
_LARGE = "for archives of more than one step"
UNUSED_WITH_REASON = {
    Grant("admin", "s3:GetObject"): _BY_LINK,
    Grant("alerts", "dynamodb:GetItem", "accounts[AUDIT#*]"): _LOST,
    Grant("byok", "dynamodb:GetItem", "accounts[AUDIT#*]"): _LOST,
    Grant("close", "dynamodb:PutItem", "accounts"): "a change that waited takes effect",
    Grant("close", "dynamodb:Query", "usage"): "closes earlier periods, where a month was missed",
    Grant("conversation", "bedrock:InvokeModel"): _SENT_ELSEWHERE,
    Grant("rights", "dynamodb:BatchGetItem", "accounts"): _STOPPING,
    Grant("rights", "dynamodb:ConditionCheckItem", "accounts"): _STOPPING,
    Grant("rights", "dynamodb:BatchGetItem", "usage"): _STOPPING,
    Grant("rights", "dynamodb:ConditionCheckItem", "usage"): _STOPPING,
    Grant("rights", "dynamodb:GetItem", "usage"): _STOPPING,
    Grant("rights", "dynamodb:PutItem", "usage"): _STOPPING,
    Grant("rights", "dynamodb:UpdateItem", "usage"): _STOPPING,
    Grant("rights", "s3:AbortMultipartUpload"): _LARGE,
    Grant("rights", "s3:GetObject"): _LARGE,
    Grant("rollups", "dynamodb:ConditionCheckItem", "accounts[CUSTOMER#*]"): _CEILING,
    Grant("rollups", "dynamodb:UpdateItem", "usage[CUSTOMER#*]"): _CEILING,
    Grant("webhooks", "dynamodb:GetItem", "accounts[AUDIT#*]"): _LOST,
    Grant("worker", "bedrock:InvokeModel"): _SENT_ELSEWHERE,
    Grant("worker", "dynamodb:UpdateItem", "accounts[CREDENTIALS#*]"): "notes their last use",
    Grant("worker", "sts:AssumeRole"): "a role of a customer's, as in the conversation's function",
}
"""What no test needs to make use of, as it depends on time, chance or AWS; unit tests do."""

OF_STREAMS = {"announcements", "expiry", "rollups", "thresholds"}
"""Lambda reads their streams, and keeps their dead letters, with the stage's key."""

DEAD_LETTERS = re.compile(r"FlowStack-local-[a-z-]+-dead-letters")
"""Lambda puts there what failed for good."""


@pytest.fixture(scope="module")
def observed() -> Observed:
    seen = Observed.read_all()
    files = {path.name for path in INTEGRATION.glob("test_*.py")} - SKIPPED_WITHOUT_ITS_GUIDE
    if not files <= seen.files:
        pytest.skip("only after all of the tests against deployed stacks")
    return seen


def test_no_function_was_refused_anything(observed: Observed) -> None:
    assert observed.refused == frozenset()


def test_no_role_allows_what_no_test_made_use_of(observed: Observed) -> None:
    allowed = {
        one
        for one in observed.granted
        if not one.action.startswith(OF_AWS_ITSELF)
        and not (one.function in OF_STREAMS and one.action.startswith("kms:"))
        and not DEAD_LETTERS.fullmatch(one.resource)
    }
    unused = allowed - observed.used - UNUSED_WITH_REASON.keys()
    assert unused == set(), "\n".join(map(str, sorted(unused)))
