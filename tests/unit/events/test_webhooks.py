"""Messages of webhooks, as SQS delivers them; and what is written about them."""

from __future__ import annotations

import json

import pytest

from flowstack_core.adapters.sqs_webhooks import encode_event, encode_step
from flowstack_core.domain.webhooks import Reply, Status
from flowstack_core.events.webhooks import webhooks
from tests.support.batch_events import queue_record
from tests.support.http_events import LambdaContext
from tests.support.in_memory_webhooks import ScriptedReceivers
from tests.unit.services.test_webhook_deliveries import EVENT, FAILED, URL, Post


def delivered(post: Post, *bodies: str) -> list[str]:
    """Deliver messages; return the ids of those that failed."""
    handler = webhooks(lambda: post.worker)
    records = [queue_record(f"m{number}", body) for number, body in enumerate(bodies)]
    answer = handler({"Records": records}, LambdaContext())
    return [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]


def test_events_and_steps_are_what_messages_ask_for() -> None:
    post = Post(ScriptedReceivers(FAILED))
    assert delivered(post, encode_event(EVENT)) == []
    assert post.delivery.worker == "m0"
    post.clock.advance(seconds=5)
    assert delivered(post, encode_step(post.delivery.next_step)) == []
    assert post.delivery.status is Status.DELIVERED


def test_what_is_no_message_is_given_back_and_holds_up_nobody() -> None:
    post = Post()
    assert delivered(post, "nonsense", encode_event(EVENT)) == ["m0"]
    assert post.delivery.status is Status.DELIVERED
    with pytest.raises(Exception, match="All records failed"):
        delivered(post, "nonsense")


def test_an_attempt_is_counted_and_leaves_a_line_without_address_content_or_secret(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    post = Post(ScriptedReceivers(FAILED, Reply.answered(410)))
    delivered(post, encode_event(EVENT))
    post.clock.advance(seconds=5)
    delivered(post, encode_step(post.delivery.next_step))
    said = capsys.readouterr().out
    metrics = [json.loads(line) for line in said.splitlines() if "CloudWatchMetrics" in line]
    counted = [
        [one.get(name, [0.0])[0] for name in ("WebhookAttempts", "WebhooksFailed")]
        for one in metrics
    ]
    assert counted == [[1.0, 0.0], [1.0, 1.0]]
    (line,) = [record for record in caplog.records if getattr(record, "status", None) == 410]
    assert vars(line)["event_id"] == "evt_1"
    everything = said + "".join(str(vars(record)) for record in caplog.records)
    for secret in (URL, "hooks.example.com", str(post.secret), "threshold"):
        assert secret not in everything


def test_a_message_with_nothing_to_do_counts_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    post = Post()
    delivered(post, encode_event(EVENT))
    capsys.readouterr()
    assert delivered(post, encode_event(EVENT)) == []
    assert "WebhookAttempts" not in capsys.readouterr().out
