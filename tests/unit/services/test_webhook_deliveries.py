"""Deliveries: at least once, in one series an event, whatever is repeated, lost or killed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import pairwise
from random import Random
from typing import cast

import pytest

from flowstack_core.domain.webhooks import (
    OVERLAP,
    RETRY_DELAYS,
    Delivery,
    Failure,
    Reply,
    Schedule,
    Status,
    WebhookEvent,
)
from flowstack_core.services.auditing import Auditor
from flowstack_core.services.ports.failures import StoreContentionError
from flowstack_core.services.ports.webhooks import (
    DeliveryLog,
    WebhookEndpoints,
    WebhookQueue,
    WebhookSecretOpener,
    WebhookSender,
)
from flowstack_core.services.webhook_deliveries import (
    LEASE,
    AttemptGoingOnError,
    WebhookWorker,
)
from flowstack_core.services.webhooks import WebhookService
from tests.support.fakes import NOON, Budget, FixedClock, retrier
from tests.support.faulty import Fault, Faults, FunctionKilled, Killed
from tests.support.in_memory import Tables
from tests.support.in_memory_webhooks import (
    InMemoryDeliveryLog,
    InMemoryWebhookEndpoints,
    InMemoryWebhookQueue,
    OpenSecrets,
    ScriptedReceivers,
    handle,
)
from tests.support.queues import Message

URL = "https://hooks.example.com/flowstack"
EVENT = WebhookEvent("evt_1", "cus_1", "usage.alert", NOON, {"threshold": 75})
FAILED = Reply.answered(500)
ATTEMPTS = len(RETRY_DELAYS) + 1


@dataclass
class Post:
    """A customer with a webhook, and everything on the way to it."""

    receivers: ScriptedReceivers = field(default_factory=ScriptedReceivers)
    clock: FixedClock = field(default_factory=FixedClock)
    tables: Tables = field(default_factory=Tables)
    faults: Fault | None = None

    def __post_init__(self) -> None:
        self.queue = InMemoryWebhookQueue(self.clock)
        self.secrets = OpenSecrets()
        self.endpoints = InMemoryWebhookEndpoints(self.tables)
        self.log = InMemoryDeliveryLog(self.tables)
        self.service = WebhookService(
            self.endpoints,
            self.log,
            self.queue,
            self.secrets,
            lambda url: None,
            self.clock,
            Random(1).randbytes,
            retrier(),
        )
        _, self.secret = self.service.set_url("key_1", "cus_1", URL, Budget())
        self.worker = self.new_worker(self.faults)

    def new_worker(self, faults: Fault | None = None) -> WebhookWorker:
        """Return a worker, with faults between it and everything it calls."""
        wrap: Callable[[object], object] = faults.wrap if faults is not None else lambda one: one
        return WebhookWorker(
            cast("WebhookEndpoints", wrap(self.endpoints)),
            cast("DeliveryLog", wrap(self.log)),
            cast("WebhookQueue", wrap(self.queue)),
            cast("WebhookSecretOpener", self.secrets),
            cast("WebhookSender", wrap(self.receivers)),
            Schedule(RETRY_DELAYS, lambda: 0.0),
            self.clock,
            Auditor(self.clock, Random(2).randbytes),
        )

    def handle_one(self) -> None:
        """Give the worker one message, if there is one; what fails is not deleted."""
        message = self.queue.receive()
        if message is None:
            return
        try:
            handle(self.worker, message)
        except (AttemptGoingOnError, StoreContentionError):
            return
        except FunctionKilled:
            self.worker = self.new_worker()
            return
        self.queue.delete(message)

    def run(self, at_most: int = 10_000) -> None:
        """Let time pass until nothing is left to deliver."""
        for _ in range(at_most):
            due = self.queue.next_at
            if due is None:
                return
            self.clock.move_to(max(due, self.clock.now()))
            self.handle_one()
        raise AssertionError("it never ends")

    @property
    def delivery(self) -> Delivery:
        """Where the event stands."""
        found = self.log.delivery("cus_1", "evt_1")
        assert found is not None
        return found

    @property
    def gaps(self) -> list[timedelta]:
        """The time between the attempts."""
        at = [sent.at for sent in self.receivers.sent]
        return [after - before for before, after in pairwise(at)]


def test_an_event_is_delivered_at_once_and_once() -> None:
    post = Post()
    post.queue.send(EVENT)
    post.run()
    (sent,) = post.receivers.sent
    assert (sent.url, sent.event, sent.secrets) == (URL, EVENT, (post.secret,))
    assert post.delivery.status is Status.DELIVERED
    assert [one.status for one in post.delivery.attempts] == [200]
    assert post.queue.messages == []
    assert post.queue.letters == []


def test_without_a_webhook_an_event_is_dropped_and_leaves_nothing() -> None:
    post = Post()
    post.service.remove("key_1", "cus_1", Budget())
    post.queue.send(EVENT)
    post.run()
    assert post.receivers.sent == []
    assert post.tables.deliveries == {}


def test_failed_attempts_are_made_again_on_the_schedule_by_hops_of_the_queue() -> None:
    post = Post(ScriptedReceivers(*[FAILED] * 7))
    post.queue.send(EVENT)
    post.run()
    assert post.gaps == list(RETRY_DELAYS)
    assert len({sent.event.event_id for sent in post.receivers.sent}) == 1
    assert post.delivery.status is Status.DELIVERED
    assert [one.status for one in post.delivery.attempts] == [500] * 7 + [200]
    assert [one.number for one in post.delivery.attempts] == list(range(1, 9))


def test_after_the_last_attempt_it_has_failed_and_is_among_the_dead_letters() -> None:
    post = Post(ScriptedReceivers(*[FAILED] * ATTEMPTS))
    post.queue.send(EVENT)
    post.run()
    assert len(post.receivers.sent) == ATTEMPTS
    assert (post.delivery.status, post.delivery.failure) == (Status.FAILED, Failure.STATUS)
    ((_, reason),) = post.queue.letters
    assert reason == "status"


def test_a_dead_letter_that_is_redriven_begins_another_series_of_the_same_event() -> None:
    post = Post(ScriptedReceivers(*[FAILED] * ATTEMPTS))
    post.queue.send(EVENT)
    post.run()
    assert post.service.redrive(10) == 1
    post.run()
    assert post.delivery.status is Status.DELIVERED
    assert (post.delivery.series, post.delivery.attempts[-1].number) == (2, 1)
    assert all(sent.event == EVENT for sent in post.receivers.sent)


@pytest.mark.parametrize(
    "failure",
    [Failure.TIMEOUT, Failure.UNREACHABLE, Failure.REFUSED, Failure.MALFORMED],
)
def test_without_an_answer_it_is_tried_again(failure: Failure) -> None:
    post = Post(ScriptedReceivers(Reply.none(failure)))
    post.queue.send(EVENT)
    post.run()
    assert [one.failure for one in post.delivery.attempts] == [failure, None]
    assert post.gaps == [timedelta(seconds=5)]


def test_a_receiver_that_is_gone_switches_its_webhook_off() -> None:
    post = Post(ScriptedReceivers(Reply.answered(410)))
    post.queue.send(EVENT)
    post.queue.send(WebhookEvent("evt_2", "cus_1", "usage.alert", NOON, {}))
    post.run()
    assert len(post.receivers.sent) == 1
    assert (post.delivery.status, post.delivery.failure) == (Status.FAILED, Failure.GONE)
    assert post.queue.letters == [], "there is nothing that the operator could do"
    endpoint = post.service.endpoint("cus_1", Budget())
    assert endpoint.switched_off_at == NOON
    actions = [audit.action for audit in post.tables.audits.values()]
    assert actions == ["webhook.set", "webhook.gone"]
    post.service.set_url("key_1", "cus_1", URL, Budget())
    post.queue.send(WebhookEvent("evt_3", "cus_1", "usage.alert", NOON, {}))
    post.run()
    assert post.receivers.sent[-1].event.event_id == "evt_3"


def test_a_webhook_that_was_changed_meanwhile_is_not_switched_off() -> None:
    post = Post(ScriptedReceivers(Reply.answered(410)))

    def change() -> None:
        post.service.set_url("key_1", "cus_1", f"{URL}/2", Budget())

    post.receivers.meanwhile = change
    post.queue.send(EVENT)
    post.run()
    assert post.service.endpoint("cus_1", Budget()).switched_off_at is None


def test_what_waits_is_dropped_when_its_webhook_is_removed() -> None:
    post = Post(ScriptedReceivers(FAILED))
    post.queue.send(EVENT)
    post.handle_one()
    post.service.remove("key_1", "cus_1", Budget())
    post.run()
    assert len(post.receivers.sent) == 1
    assert (post.delivery.status, post.delivery.failure) == (Status.FAILED, Failure.REMOVED)
    assert post.queue.letters == []


@pytest.mark.parametrize("survived", range(1, 4))
def test_a_first_attempt_that_was_cut_off_ends_with_its_webhook(survived: int) -> None:
    post = Post(faults=Killed(survived, applied=True))
    post.queue.send(EVENT)
    post.handle_one()
    assert post.delivery.status is Status.PENDING
    post.service.remove("key_1", "cus_1", Budget())
    post.run()
    assert (post.delivery.status, post.delivery.failure) == (Status.FAILED, Failure.REMOVED)


def test_a_retry_goes_where_the_webhook_is_then_with_the_secrets_of_then() -> None:
    post = Post(ScriptedReceivers(FAILED, FAILED, FAILED, FAILED, FAILED, FAILED, FAILED))
    post.queue.send(EVENT)
    post.handle_one()
    post.service.set_url("key_1", "cus_1", f"{URL}/2", Budget())
    _, new = post.service.rotate("key_1", "cus_1", Budget())
    post.run()
    second, last = post.receivers.sent[1], post.receivers.sent[-1]
    assert second.url == last.url == f"{URL}/2"
    assert second.secrets == (new, post.secret)
    assert last.at > NOON + OVERLAP
    assert last.secrets == (new,)


def test_secrets_that_cannot_be_opened_send_nothing_and_are_tried_again() -> None:
    post = Post()
    post.secrets.unreadable = True
    post.queue.send(EVENT)
    post.handle_one()
    assert post.receivers.sent == []
    assert post.delivery.attempts[0].failure is Failure.SECRET
    post.secrets.unreadable = False
    post.run()
    assert post.delivery.status is Status.DELIVERED


# --- duplicates and kills ----------------------------------------------------------------------


def test_an_event_that_is_sent_twice_is_delivered_in_one_series() -> None:
    post = Post(ScriptedReceivers(FAILED, FAILED))
    post.queue.send(EVENT)
    post.queue.send(EVENT)
    post.run()
    assert len(post.receivers.sent) == 3
    post.queue.send(EVENT)
    post.run()
    assert len(post.receivers.sent) == 3


def test_messages_that_come_again_and_late_make_no_attempt_twice() -> None:
    post = Post(ScriptedReceivers(*[FAILED] * 3))
    post.queue.send(EVENT)
    seen: list[str] = []
    while (due := post.queue.next_at) is not None:
        post.clock.move_to(max(due, post.clock.now()))
        message = post.queue.receive()
        assert message is not None
        handle(post.worker, message)
        post.queue.delete(message)
        seen.append(message.body)
        for number, body in enumerate(seen):
            copy = Message(f"copy-{len(seen)}-{number}", body, post.clock.now())
            handle(post.worker, copy)
    assert len(post.receivers.sent) == 4
    assert post.delivery.status is Status.DELIVERED


def test_two_workers_never_make_the_same_attempt_at_once() -> None:
    post = Post()
    post.queue.send(EVENT)
    message = post.queue.receive()
    assert message is not None
    met: list[type] = []

    def second_worker() -> None:
        for other in (message.message_id, "another"):
            with pytest.raises(AttemptGoingOnError) as raised:
                post.new_worker().deliver(EVENT, other)
            met.append(raised.type)

    post.receivers.meanwhile = second_worker
    handle(post.worker, message)
    assert met == [AttemptGoingOnError] * 2
    assert len(post.receivers.sent) == 1


def test_an_attempt_whose_worker_died_is_made_again_after_its_lease() -> None:
    post = Post(ScriptedReceivers(FunctionKilled()))
    post.queue.send(EVENT)
    post.handle_one()
    post.clock.advance(seconds=LEASE.total_seconds() - 1)
    with pytest.raises(AttemptGoingOnError):
        post.worker.deliver(EVENT, "msg-1")
    post.run()
    assert len(post.receivers.sent) == 2
    assert post.delivery.status is Status.DELIVERED
    assert len(post.delivery.attempts) == 1


def test_a_worker_that_comes_back_too_late_changes_nothing() -> None:
    post = Post(ScriptedReceivers(FAILED))

    def another_takes_over() -> None:
        post.receivers.meanwhile = lambda: None
        post.clock.advance(seconds=LEASE.total_seconds())
        post.receivers.replies.insert(0, Reply.answered(200))
        post.new_worker().deliver(EVENT, "msg-2")

    post.receivers.meanwhile = another_takes_over
    post.queue.send(EVENT)
    post.run()
    assert post.delivery.status is Status.DELIVERED
    assert [one.status for one in post.delivery.attempts] == [200]


KILLS = [(survived, applied) for survived in range(16) for applied in (True, False)]


@pytest.mark.parametrize(("survived", "applied"), KILLS)
def test_a_kill_between_any_two_calls_neither_loses_nor_doubles_a_delivery(
    survived: int, applied: bool
) -> None:
    post = Post(ScriptedReceivers(FAILED), faults=Killed(survived, applied=applied))
    post.queue.send(EVENT)
    post.run()
    assert post.delivery.status is Status.DELIVERED
    assert 2 <= len(post.receivers.sent) <= 3, "one attempt can be made twice, under one id"
    numbers = [(one.series, one.number) for one in post.delivery.attempts]
    assert numbers in ([(1, 1), (1, 2)], [(1, 1)]), "the failure may have been the killed one"
    assert post.queue.letters == []


@pytest.mark.parametrize(("survived", "applied"), KILLS)
def test_a_kill_around_the_last_attempt_loses_no_dead_letter(survived: int, applied: bool) -> None:
    post = Post(ScriptedReceivers(*[FAILED] * (ATTEMPTS + 1)))
    post.queue.send(EVENT)
    while len(post.receivers.sent) < ATTEMPTS - 1:
        post.clock.move_to(max(post.queue.next_at or NOON, post.clock.now()))
        post.handle_one()
    due = post.delivery.due_at
    assert due is not None
    while post.clock.now() < due:
        post.clock.move_to(max(post.queue.next_at or NOON, post.clock.now()))
        if post.clock.now() < due:
            post.handle_one()
    post.worker = post.new_worker(Killed(survived, applied=applied))
    post.run()
    assert (post.delivery.status, post.delivery.failure) == (Status.FAILED, Failure.STATUS)
    assert 1 <= len(post.queue.letters) <= 2
    assert len(set(post.queue.letters)) == 1


@pytest.mark.parametrize("seed", range(30))
def test_stores_and_queues_that_fail_by_chance_delay_a_delivery_and_no_more(seed: int) -> None:
    post = Post(ScriptedReceivers(FAILED, FAILED), faults=Faults(seed=seed, rate=0.1))
    post.queue.send(EVENT)
    post.run()
    if post.queue.letters:
        # Five failures in a row made a dead letter of the message: that is what it is for.
        post.worker = post.new_worker()
        post.service.redrive(10)
        post.run()
    assert post.delivery.status is Status.DELIVERED
