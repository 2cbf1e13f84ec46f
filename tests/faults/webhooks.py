"""Webhooks: a customer's server that is told, believes what is signed, and is often not there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta

from flowstack import InvalidRequestError
from flowstack.webhooks import verify
from flowstack_core.adapters.dynamodb_webhooks import (
    DynamoDBDeliveryLog,
    DynamoDBWebhookEndpoints,
    decode_delivery,
)
from flowstack_core.adapters.kms import KmsWebhookSecrets
from flowstack_core.adapters.sqs_webhooks import SqsWebhookQueue
from flowstack_core.adapters.webhook_sender import signed_headers
from flowstack_core.domain.errors import FlowStackError
from flowstack_core.domain.webhooks import (
    OVERLAP,
    Delivery,
    Failure,
    Reply,
    Schedule,
    Status,
    WebhookEvent,
)
from flowstack_core.events.webhooks import webhooks
from flowstack_core.services.auditing import Auditor
from flowstack_core.services.webhook_deliveries import WebhookWorker
from flowstack_core.services.webhooks import WebhookService
from tests.faults.consumers import Consumer
from tests.faults.credentials import KEY
from tests.faults.stage import NO_ANSWER, Stage

WORKFLOW = "webhooks"
URLS = ("https://hooks.example.com/a", "https://hooks.example.com/b")
DELAYS = (timedelta(seconds=5), timedelta(minutes=5), timedelta(minutes=30))

_QUEUE, _DEAD = "https://sqs/webhooks", "https://sqs/webhooks-dead"
_WORKER_SECONDS = 40.0


class Server:
    """The customer's server: it answers as it likes, and looks at what it is sent.

    Attributes
    ----------
    secret
        The secret that the customer was told last.
    sure_until
        Until when everything is signed with it: somebody may have had it replaced.
    gone
        Whether it ever says that it is gone for good.
    accepted
        How often each event was answered with success.
    """

    def __init__(self, stage: Stage, *, gone: bool) -> None:
        self._stage = stage
        self._random = stage.chance("server")
        self._patience = self._random.choice([0.0, 0.1, 0.5, 1.0])
        self.gone = gone
        self.secret: str | None = None
        self.sure_until: datetime | None = None
        self.accepted = Counter[str]()
        self.bodies: dict[str, str] = {}
        self._in_hand: set[str] = set()

    def send(self, url: str, event: WebhookEvent, secrets: Sequence[str], at: datetime) -> Reply:
        """Take an event, as `HttpWebhookSender` would send it."""
        stage, body = self._stage, event.body()
        stage.faults.survive()
        stage.insist(event.event_id not in self._in_hand, "two send one event at a time")
        stage.insist(
            self.bodies.setdefault(event.event_id, body) == body, "one event id with two bodies"
        )
        self._verify(signed_headers(event.event_id, body, secrets, at), body)
        self._in_hand.add(event.event_id)
        try:
            stage.faults.let_others_in()
            return self._reply(event)
        finally:
            self._in_hand.discard(event.event_id)

    def _verify(self, headers: dict[str, str], body: str) -> None:
        sure = self.sure_until is None or self._stage.clock.now() < self.sure_until
        if self.secret is None or not sure:
            return
        try:
            verify(body, headers, self.secret, self._stage.clock.now().timestamp())
        except InvalidRequestError as error:
            self._stage.insist(False, f"a webhook is not believed: {error}")

    def _reply(self, event: WebhookEvent) -> Reply:
        faults, random = self._stage.faults, self._random
        if random.random() < faults.rate:
            match random.choice(["killed before", "killed after", "slow"]):
                case "killed before":
                    raise faults.killed()
                case "killed after":
                    self.accepted[event.event_id] += 1
                    raise faults.killed()
                case _:
                    self._stage.wait(random.choice([1, 11, 50]))
                    faults.survive()
        if random.random() < self._patience:
            return self._failure()
        self.accepted[event.event_id] += 1
        return Reply.answered(200)

    def _failure(self) -> Reply:
        if self.gone and self._random.random() < 0.1:
            return Reply.answered(410)
        return self._random.choice(
            [
                Reply.answered(500),
                Reply.answered(429, timedelta(seconds=90)),
                Reply.answered(302),
                Reply.none(Failure.TIMEOUT),
                Reply.none(Failure.UNREACHABLE),
            ]
        )


class Webhooks:
    """The customer's webhook, and what delivers to it.

    Attributes
    ----------
    secrets
        All that the customer was told.
    steady
        Whether there is a webhook that is switched on all the time: then every event has a
        delivery.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage, tables, client = stage, stage.tables, stage.dynamodb
        self.secrets: list[str] = []
        self.steady = stage.random.random() < 0.6
        self.server = Server(stage, gone=not self.steady)
        endpoints = DynamoDBWebhookEndpoints(client, tables["accounts"])
        log = DynamoDBDeliveryLog(client, tables["usage"], tables["accounts"])
        self.queue = SqsWebhookQueue(stage.client("sqs"), _QUEUE, _DEAD)
        kms = stage.client("kms")
        secrets = KmsWebhookSecrets(lambda: kms, KEY)
        random_bytes = stage.chance("webhooks").randbytes
        self._service = WebhookService(
            endpoints,
            log,
            self.queue,
            secrets,
            lambda url: None,
            stage.clock,
            random_bytes,
            stage.retrier,
        )
        worker = WebhookWorker(
            endpoints,
            log,
            self.queue,
            secrets,
            self.server,
            Schedule(DELAYS, stage.chance("schedule").random),
            stage.clock,
            Auditor(stage.clock, random_bytes),
        )
        self.consumer = Consumer(
            stage, WORKFLOW, _QUEUE, lambda: webhooks(lambda: worker), _WORKER_SECONDS
        )

    def begin(self) -> None:
        """Have the customer told."""
        stage = self._stage
        found = self._service.set_url(stage.key_id, stage.customer_id, URLS[0], stage.budget())
        self._told(found[1])

    # --- what happens ------------------------------------------------------------------------

    def work(self) -> None:
        """Deliver some messages."""
        for _ in range(self._stage.random.choice([1, 3, 8])):
            self.consumer.deliver(self._stage.random)

    def change(self) -> None:
        """Have the customer do something about its webhook."""
        acts = [self._move, self._rotate, self._try]
        act = self._stage.random.choice(acts if self.steady else [*acts, self._remove])
        try:
            act()
        except (*NO_ANSWER, FlowStackError):
            return

    def _move(self) -> None:
        stage, url = self._stage, self._stage.random.choice(URLS)
        _, secret = stage.request(
            WORKFLOW,
            lambda: self._service.set_url(stage.key_id, stage.customer_id, url, stage.budget()),
        )
        if secret is not None:
            self._told(secret)

    def _told(self, secret: str | None) -> None:
        assert secret is not None
        self.secrets.append(secret)
        self.server.secret, self.server.sure_until = secret, None

    def _rotate(self) -> None:
        stage = self._stage
        end = stage.clock.now() + OVERLAP
        self.server.sure_until = min(self.server.sure_until or end, end)
        _, secret = stage.request(
            WORKFLOW,
            lambda: self._service.rotate(stage.key_id, stage.customer_id, stage.budget()),
        )
        self._told(secret)

    def _remove(self) -> None:
        stage = self._stage
        # Whatever comes of it: another webhook has another secret.
        self.server.secret = None
        stage.request(
            WORKFLOW,
            lambda: self._service.remove(stage.key_id, stage.customer_id, stage.budget()),
        )

    def _try(self) -> None:
        stage = self._stage
        stage.request(WORKFLOW, lambda: self._service.test(stage.customer_id, stage.budget()))

    def deliver_again(self) -> None:
        """Have the customer ask for a delivery once more."""
        stage = self._stage
        known = sorted(self._deliveries())
        if not known:
            return
        event_id = stage.random.choice(known)
        try:
            stage.request(
                WORKFLOW,
                lambda: self._service.redeliver(stage.customer_id, event_id, stage.budget()),
            )
        except (*NO_ANSWER, FlowStackError):
            return

    # --- what is left ------------------------------------------------------------------------

    def check(self, news: set[str]) -> None:
        """Each event was delivered at least once, or its delivery says why it was not."""
        deliveries = self._deliveries()
        if self.steady:
            assert news <= deliveries.keys(), "an event has no delivery"
        given_up = [message.body for message in self._stage.aws.queue(_DEAD)]
        for event_id, delivery in deliveries.items():
            assert delivery.over, "a delivery was left half way"
            if delivery.status is Status.DELIVERED:
                assert self.server.accepted[event_id], "nobody took what is said to be delivered"
            elif delivery.exhausted:
                assert any(event_id in body for body in given_up), "nobody knows it was given up"
            assert not (self.steady and delivery.failure in {Failure.REMOVED, Failure.GONE})

    def _deliveries(self) -> dict[str, Delivery]:
        partition = f"WEBHOOK#{self._stage.customer_id}"
        found: dict[str, Delivery] = {}
        for change in self._stage.streams.changes("usage", "", partition):
            if change.after is not None:
                found[change.sort_key] = decode_delivery(change.after)
        return found
