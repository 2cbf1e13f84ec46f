"""``Prefer: respond-async`` over HTTP, and the worker's messages."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aws_lambda_powertools.utilities.batch.exceptions import BatchProcessingError

from flowstack_core.adapters.sqs_deferred import encode_message
from flowstack_core.domain.errors import ModelError
from flowstack_core.events.deferred_queue import deferred_requests
from flowstack_core.http.message_documents import RequestDocument
from tests.support.batch_events import queue_record
from tests.support.http_events import LambdaContext
from tests.support.metric_lines import dimensions_of, measured
from tests.unit.http.conftest import ConversationApi

LATER = {"Prefer": "respond-async"}


def deliver(api: ConversationApi, *request_ids: str) -> Any:
    """Deliver messages to the worker function."""
    records = [
        queue_record(f"m{number}", encode_message(api.world.customer_id, request_id))
        for number, request_id in enumerate(request_ids)
    ]
    return deferred_requests(lambda: api.world.runner)({"Records": records}, LambdaContext(660))


@pytest.mark.parametrize("operation", ["invoke", "chat"])
def test_a_message_is_accepted_and_its_answer_fetched(api: ConversationApi, operation: str) -> None:
    accepted = getattr(api, operation)(LATER)
    assert accepted.status == 202
    RequestDocument.model_validate(accepted.body)
    location = accepted.headers["Location"]
    assert location == f"/requests/{accepted.body['request_id']}"
    assert accepted.headers["Preference-Applied"] == "respond-async"
    assert api.get(location).body["status"] == "queued"
    assert deliver(api, accepted.body["request_id"]) == {"batchItemFailures": []}
    found = api.get(location)
    RequestDocument.model_validate(found.body)
    assert (found.status, found.body["answer"]["content"]) == (200, "Hello!")
    assert (api.world.used(), api.world.held()) == (1, 0)


@pytest.mark.parametrize(
    ("preference", "status"),
    [
        ("respond-async", 202),
        ("Respond-Async; x=1", 202),
        ("wait=5, respond-async", 202),
        ("wait=5", 200),
        ("respond-asynchronously", 200),
        ("", 200),
    ],
)
def test_the_preference_is_read_as_rfc_7240_says(
    api: ConversationApi, preference: str, status: int
) -> None:
    assert api.invoke({"Prefer": preference}).status == status


def test_nobody_else_can_read_a_request(api: ConversationApi) -> None:
    location = api.invoke(LATER).headers["Location"]
    other = api.get(location, customer_id="cus_other")
    assert (other.status, other.body["error_code"]) == (404, "NOT_FOUND")
    assert api.get("/requests/req_none").status == 404


def test_s3_a_repeat_with_the_same_key_names_the_same_request(api: ConversationApi) -> None:
    headers = {**LATER, "Idempotency-Key": "k1"}
    first, again = api.invoke(headers), api.invoke(headers)
    assert again.headers["Location"] == first.headers["Location"]
    assert again.headers["Idempotency-Replayed"] == "true"
    assert len(api.world.requests.sent) == 1


def test_credentials_cannot_be_sent_along(api: ConversationApi) -> None:
    own = {"aws_access_key": "AKIA", "aws_secret_key": "canary-secret"}
    refused = api.invoke(LATER, byok_credentials=own)
    assert (refused.status, refused.body["details"]["field"]) == (400, "byok_credentials")
    assert "canary" not in f"{refused.body} {api.world.tables}"
    assert api.untouched


def test_a_message_that_is_delivered_twice_is_charged_once(
    api: ConversationApi, capsys: pytest.CaptureFixture[str]
) -> None:
    request_id = api.invoke(LATER).body["request_id"]
    capsys.readouterr()
    assert deliver(api, request_id, request_id) == {"batchItemFailures": []}
    assert len(api.world.tables.settlements) == 1
    (metrics,) = [
        line
        for line in map(json.loads, capsys.readouterr().out.splitlines())
        if "MessagesAnswered" in line
    ]
    assert metrics["MessagesAnswered"] == [1.0]


def test_the_worker_counts_under_tier_and_provider(
    api: ConversationApi, capsys: pytest.CaptureFixture[str]
) -> None:
    request_id = api.invoke(LATER).body["request_id"]
    capsys.readouterr()
    deliver(api, request_id)
    counted = measured(capsys.readouterr().out.splitlines())
    service = {"service": "api", "stage": "undefined"}
    assert counted["SessionsStarted", dimensions_of(**service, tier="starter")] == [1.0]
    assert counted["OutputTokens", dimensions_of(**service, provider="managed")] == [5.0]
    assert ("Overhead", dimensions_of(**service)) not in counted, "nobody waits for a worker"


def test_one_bad_request_does_not_bring_the_others_back(api: ConversationApi) -> None:
    api.world.model.reactions.append(RuntimeError("a bug"))
    bad, good = (api.invoke(LATER, conversation_id=c).body["request_id"] for c in "ab")
    assert deliver(api, bad, good) == {"batchItemFailures": [{"itemIdentifier": "m0"}]}
    assert api.get(f"/requests/{good}").body["status"] == "succeeded"
    api.world.model.reactions.append(RuntimeError("a bug"))
    worse = api.invoke(LATER, conversation_id="c").body["request_id"]
    with pytest.raises(BatchProcessingError):
        deliver(api, worse)


def test_a_failure_for_good_does_not_bring_the_message_back(api: ConversationApi) -> None:
    api.world.model.reactions.append(ModelError("ill"))
    request_id = api.invoke(LATER).body["request_id"]
    assert deliver(api, request_id) == {"batchItemFailures": []}
    failure = api.get(f"/requests/{request_id}").body["failure"]
    assert failure == {"error": "ill", "error_code": "MODEL_ERROR", "details": {}}
