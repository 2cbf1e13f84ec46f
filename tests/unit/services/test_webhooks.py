"""Webhooks as their customers set them: secrets shown once, deliveries asked for again."""

from __future__ import annotations

from datetime import timedelta

import pytest

from flowstack_core.domain.errors import (
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    RateLimitedError,
    ServiceUnavailableError,
)
from flowstack_core.domain.webhooks import (
    LATE,
    MOST_SECRETS,
    OVERLAP,
    PACE,
    Reply,
    Status,
    WebhookEndpoint,
)
from tests.support.fakes import NOON, Budget, retrier
from tests.support.faulty import Answerless, Unreachable
from tests.support.in_memory_webhooks import InMemoryWebhookEndpoints, ScriptedReceivers
from tests.unit.services.test_webhook_deliveries import ATTEMPTS, EVENT, FAILED, URL, Post


def acts(post: Post) -> list[str]:
    return [audit.action for audit in post.tables.audits.values()]


class Overtaken(InMemoryWebhookEndpoints):
    """Lets somebody else set a webhook between reading and writing."""

    def __init__(self, post: Post) -> None:
        super().__init__(post.tables)
        self._post = post

    def endpoint(self, customer_id: str) -> WebhookEndpoint | None:
        found = super().endpoint(customer_id)
        if found is None:
            self._post.service._endpoints = self._post.endpoints
            self._post.service.set_url("key_2", customer_id, URL, Budget())
        return found


# --- endpoints ---------------------------------------------------------------------------------


def test_setting_a_webhook_twice_changes_nothing_and_shows_no_secret_again() -> None:
    post = Post()
    before = post.service.endpoint("cus_1", Budget())
    assert post.service.set_url("key_1", "cus_1", URL, Budget()) == (before, None)
    assert acts(post) == ["webhook.set"]


def test_another_address_keeps_the_secrets() -> None:
    post = Post()
    before = post.service.endpoint("cus_1", Budget())
    post.clock.advance(minutes=1)
    after, secret = post.service.set_url("key_1", "cus_1", f"{URL}/2", Budget())
    assert secret is None
    assert (after.url, after.secrets) == (f"{URL}/2", before.secrets)
    assert (after.created_at, after.updated_at) == (NOON, NOON + timedelta(minutes=1))


def test_an_address_that_is_refused_changes_nothing() -> None:
    post = Post()

    def refuse(url: str) -> None:
        raise InvalidRequestError("url: no.")

    post.service._check_url = refuse
    with pytest.raises(InvalidRequestError):
        post.service.set_url("key_1", "cus_1", "http://169.254.169.254/", Budget())
    assert post.service.endpoint("cus_1", Budget()).url == URL


def test_an_answer_that_was_lost_neither_doubles_a_webhook_nor_its_record() -> None:
    post = Post()
    post.service.remove("key_1", "cus_1", Budget())
    post.service._endpoints = Answerless("replace_endpoint", "delete_endpoint").wrap(post.endpoints)
    endpoint, secret = post.service.set_url("key_1", "cus_1", URL, Budget())
    assert secret is not None
    assert post.secrets.open("cus_1", endpoint.secrets[0].ciphertext) == secret
    post.service.remove("key_1", "cus_1", Budget())
    assert acts(post) == ["webhook.set", "webhook.delete"] * 2


def test_who_sets_a_webhook_while_another_does_changes_that_one() -> None:
    post = Post()
    post.service.remove("key_1", "cus_1", Budget())
    post.service._endpoints = Overtaken(post)
    endpoint, secret = post.service.set_url("key_1", "cus_1", f"{URL}/2", Budget())
    assert secret is None, "the one who made it was shown it"
    assert endpoint.version == 2


def test_no_more_secrets_sign_at_once_than_a_delivery_has_room_for() -> None:
    post = Post()
    for _ in range(MOST_SECRETS - 1):
        post.service.rotate("key_1", "cus_1", Budget())
    with pytest.raises(ConflictError) as refused:
        post.service.rotate("key_1", "cus_1", Budget())
    assert refused.value.details["until"] == "2026-11-16T12:00:00.000Z"
    post.clock.advance(seconds=OVERLAP.total_seconds())
    endpoint, _ = post.service.rotate("key_1", "cus_1", Budget())
    assert len(endpoint.secrets) == 2


def test_without_a_webhook_there_is_nothing_to_rotate_test_or_remove() -> None:
    post = Post()
    post.service.remove("key_1", "cus_1", Budget())
    for act in (
        lambda: post.service.endpoint("cus_1", Budget()),
        lambda: post.service.rotate("key_1", "cus_1", Budget()),
        lambda: post.service.test("cus_1", Budget()),
        lambda: post.service.remove("key_1", "cus_1", Budget()),
    ):
        with pytest.raises(NotFoundError):
            act()
    assert post.queue.messages == []


def test_neither_address_nor_secret_is_in_the_audit_trail() -> None:
    post = Post()
    _, second = post.service.rotate("key_1", "cus_1", Budget())
    post.service.set_url("key_1", "cus_1", f"{URL}/2", Budget())
    post.service.remove("key_1", "cus_1", Budget())
    said = repr(post.tables.audits)
    for secret in (post.secret, second, "hooks.example.com"):
        assert str(secret) not in said
    assert acts(post) == ["webhook.set", "webhook.rotate", "webhook.change", "webhook.delete"]


# --- deliveries --------------------------------------------------------------------------------


def test_a_test_is_delivered_as_every_event_is() -> None:
    post = Post()
    event = post.service.test("cus_1", Budget())
    assert post.service.test("cus_1", Budget()).event_id == event.event_id
    post.run()
    (sent,) = post.receivers.sent
    assert sent.event.type == "webhook.test"
    assert post.service.delivery("cus_1", event.event_id, Budget()).status is Status.DELIVERED


def test_a_queue_that_takes_nothing_is_no_success() -> None:
    post = Post()
    post.service._queue = Unreachable("send").wrap(post.queue)
    budget = Budget(1)
    post.service._retrier = retrier(budget)
    with pytest.raises(ServiceUnavailableError):
        post.service.test("cus_1", budget)


def test_what_is_switched_off_takes_no_test_and_no_redelivery() -> None:
    post = Post(ScriptedReceivers(Reply.answered(410)))
    post.queue.send(EVENT)
    post.run()
    post.clock.advance(hours=1)
    with pytest.raises(ConflictError, match="410"):
        post.service.test("cus_1", Budget())
    with pytest.raises(ConflictError, match="410"):
        post.service.redeliver("cus_1", "evt_1", Budget())


def test_an_event_is_delivered_again_with_its_id_when_the_customer_asks() -> None:
    post = Post()
    post.queue.send(EVENT)
    post.run()
    post.clock.advance(minutes=1)
    post.service.redeliver("cus_1", "evt_1", Budget())
    post.service.redeliver("cus_1", "evt_1", Budget())
    post.run()
    assert [sent.event for sent in post.receivers.sent] == [EVENT, EVENT]
    assert [(one.series, one.number) for one in post.delivery.attempts] == [(1, 1), (2, 1)]


def test_one_redelivery_of_an_event_goes_on_at_a_time() -> None:
    post = Post(ScriptedReceivers(FAILED))
    post.queue.send(EVENT)
    post.handle_one()
    with pytest.raises(ConflictError) as refused:
        post.service.redeliver("cus_1", "evt_1", Budget())
    assert refused.value.details["next_attempt_at"] == "2026-11-15T12:00:05.000Z"


def test_an_event_is_not_delivered_again_sooner_than_its_receiver_can_bear() -> None:
    post = Post()
    post.queue.send(EVENT)
    post.run()
    post.clock.advance(seconds=PACE.total_seconds() - 1)
    with pytest.raises(RateLimitedError) as refused:
        post.service.redeliver("cus_1", "evt_1", Budget())
    assert refused.value.retry_after_seconds == 10
    post.clock.advance(seconds=1)
    post.service.redeliver("cus_1", "evt_1", Budget())


def test_a_delivery_whose_step_was_lost_can_be_set_going_again() -> None:
    post = Post(ScriptedReceivers(FAILED))
    post.queue.send(EVENT)
    post.handle_one()
    post.queue.messages.clear()
    post.clock.move_to((post.delivery.due_at or NOON) + LATE)
    post.service.redeliver("cus_1", "evt_1", Budget())
    post.run()
    assert post.delivery.status is Status.DELIVERED
    assert post.delivery.series == 1


def test_a_delivery_is_its_customers_only_and_for_as_long_as_it_is_kept() -> None:
    post = Post()
    post.queue.send(EVENT)
    post.run()
    for customer_id, event_id in (("cus_2", "evt_1"), ("cus_1", "evt_2")):
        with pytest.raises(NotFoundError):
            post.service.delivery(customer_id, event_id, Budget())
    assert post.service.deliveries("cus_2", 10, None, Budget()).deliveries == ()
    post.clock.move_to(post.delivery.expires_at)
    with pytest.raises(NotFoundError):
        post.service.redeliver("cus_1", "evt_1", Budget())


def test_redriving_what_was_delivered_by_now_sends_nothing() -> None:
    post = Post(ScriptedReceivers(*[FAILED] * ATTEMPTS))
    post.queue.send(EVENT)
    post.run()
    post.clock.advance(minutes=1)
    post.service.redeliver("cus_1", "evt_1", Budget())
    post.run()
    sent = len(post.receivers.sent)
    assert post.service.redrive(10) == 1
    post.run()
    assert len(post.receivers.sent) == sent
    assert post.delivery.status is Status.DELIVERED
