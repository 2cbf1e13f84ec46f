"""Webhooks in memory: endpoints, deliveries, the queue between them, and receivers by script."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count

from flowstack_core.adapters.dynamodb_webhooks import decode_cursor, encode_cursor, place_of
from flowstack_core.adapters.sqs_webhooks import decode_message, encode_event, encode_step
from flowstack_core.domain.webhooks import (
    Delivery,
    Reply,
    Step,
    WebhookEndpoint,
    WebhookEvent,
)
from flowstack_core.services.ports.accounts import AuditRecord
from flowstack_core.services.ports.surroundings import Clock
from flowstack_core.services.ports.webhooks import DeliveryPage
from flowstack_core.services.webhook_deliveries import WebhookWorker
from tests.support.in_memory import Tables
from tests.support.queues import Message

VISIBLE_AGAIN = timedelta(seconds=240)
DELIVERIES = 5
LONGEST_DELAY = timedelta(seconds=900)


class InMemoryWebhookEndpoints:
    """Where customers want to be told."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def endpoint(self, customer_id: str) -> WebhookEndpoint | None:
        """Return the customer's endpoint."""
        with self._tables.lock:
            return self._tables.webhooks.get(customer_id)

    def replace_endpoint(
        self, before: WebhookEndpoint | None, after: WebhookEndpoint, audit: AuditRecord
    ) -> bool:
        """Put ``after`` in the place of ``before``, or where there was nothing."""
        return self._act(after.customer_id, before, after, audit)

    def delete_endpoint(self, endpoint: WebhookEndpoint, audit: AuditRecord) -> bool:
        """Delete it for good."""
        return self._act(endpoint.customer_id, endpoint, None, audit)

    def _act(
        self,
        customer_id: str,
        before: WebhookEndpoint | None,
        after: WebhookEndpoint | None,
        audit: AuditRecord,
    ) -> bool:
        with self._tables.lock:
            if (audit.customer_id, audit.audit_id) in self._tables.audits:
                return True
            if _standing(self._tables.webhooks.get(customer_id)) != _standing(before):
                return False
            if after is None:
                del self._tables.webhooks[customer_id]
            else:
                self._tables.webhooks[customer_id] = after
            self._tables.audits[audit.customer_id, audit.audit_id] = audit
            return True


def _standing(endpoint: WebhookEndpoint | None) -> object:
    return None if endpoint is None else (endpoint.version, endpoint.created_at)


class InMemoryDeliveryLog:
    """The deliveries."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def add(self, delivery: Delivery) -> Delivery | None:
        """Add a delivery if its event has none; return the one that there is then."""
        place = (delivery.event.customer_id, delivery.event.event_id)
        with self._tables.lock:
            if place not in self._tables.deliveries and place[0] in self._tables.webhooks:
                self._tables.deliveries[place] = delivery
            return self._tables.deliveries.get(place)

    def replace(self, before: Delivery, after: Delivery) -> bool:
        """Put ``after`` in the place of ``before``; ``False`` if that is no longer there."""
        place = (after.event.customer_id, after.event.event_id)
        with self._tables.lock:
            found = self._tables.deliveries.get(place)
            if found is None or found.version != before.version:
                return found == after
            self._tables.deliveries[place] = after
            return True

    def delivery(self, customer_id: str, event_id: str) -> Delivery | None:
        """Return the delivery of an event."""
        with self._tables.lock:
            return self._tables.deliveries.get((customer_id, event_id))

    def deliveries(self, customer_id: str, limit: int, cursor: str | None) -> DeliveryPage:
        """Return a page of the customer's deliveries, the newest first."""
        before = None if cursor is None else decode_cursor(cursor)
        with self._tables.lock:
            mine = [d for (owner, _), d in self._tables.deliveries.items() if owner == customer_id]
        newest = sorted(mine, key=place_of, reverse=True)
        behind = [one for one in newest if before is None or place_of(one) < before]
        page = tuple(behind[:limit])
        more = len(behind) > limit
        return DeliveryPage(page, encode_cursor(place_of(page[-1])) if more else None)


class OpenSecrets:
    """Seals by turning around, and opens what it sealed for the same customer."""

    def __init__(self) -> None:
        self.unreadable = False

    def seal(self, customer_id: str, secret: str) -> bytes:
        """Return the secret in a form that does not show it."""
        return f"{customer_id} {secret}"[::-1].encode()

    def open(self, customer_id: str, ciphertext: bytes) -> str | None:
        """Return the secret, if it is the customer's."""
        owner, _, secret = ciphertext.decode()[::-1].partition(" ")
        return secret if owner == customer_id and not self.unreadable else None


@dataclass(frozen=True)
class Sent:
    """One attempt, as the receiver got it."""

    url: str
    event: WebhookEvent
    secrets: tuple[str, ...]
    at: datetime


class ScriptedReceivers:
    """Answer as scripted, one reply an attempt, and 200 ever after."""

    def __init__(self, *replies: Reply | BaseException) -> None:
        self.replies = list(replies)
        self.sent: list[Sent] = []
        self.meanwhile: Callable[[], None] = lambda: None

    def send(self, url: str, event: WebhookEvent, secrets: Sequence[str], at: datetime) -> Reply:
        """Take an attempt."""
        self.sent.append(Sent(url, event, tuple(secrets), at))
        self.meanwhile()
        reply = self.replies.pop(0) if self.replies else Reply.answered(200)
        if isinstance(reply, BaseException):
            raise reply
        return reply


@dataclass
class InMemoryWebhookQueue:
    """A queue that delays as SQS does: for fifteen minutes at most, and by its clock."""

    clock: Clock
    messages: list[Message] = field(default_factory=list)
    letters: list[tuple[str, str]] = field(default_factory=list)
    delays: list[timedelta] = field(default_factory=list)
    _numbers: count[int] = field(default_factory=lambda: count(1))

    def send(self, event: WebhookEvent) -> None:
        """Have an event delivered."""
        self._put(encode_event(event), timedelta(0))

    def go_on(self, step: Step, delay: timedelta) -> None:
        """Ask for a step."""
        self.delays.append(delay)
        self._put(encode_step(step), min(delay, LONGEST_DELAY))

    def give_up(self, step: Step, reason: str) -> None:
        """Put a step among the dead letters."""
        self.letters.append((encode_step(step), reason))

    def redrive(self, limit: int) -> int:
        """Ask again for dead letters."""
        moved, self.letters = self.letters[:limit], self.letters[limit:]
        for body, _ in moved:
            self._put(body, timedelta(0))
        return len(moved)

    def _put(self, body: str, delay: timedelta) -> None:
        visible_at = self.clock.now() + delay
        self.messages.append(Message(f"msg-{next(self._numbers)}", body, visible_at))

    @property
    def next_at(self) -> datetime | None:
        """When the next message can be received."""
        return min((message.visible_at for message in self.messages), default=None)

    def receive(self) -> Message | None:
        """Return a message that can be received now; it is gone once it is deleted."""
        now = self.clock.now()
        visible = [message for message in self.messages if message.visible_at <= now]
        if not visible:
            return None
        message = min(visible, key=lambda one: one.visible_at)
        message.received += 1
        message.visible_at = now + VISIBLE_AGAIN
        if message.received > DELIVERIES:
            self.messages.remove(message)
            self.letters.append((message.body, "received too often"))
            return self.receive()
        return message

    def delete(self, message: Message) -> None:
        """Forget a message that was handled."""
        self.messages.remove(message)


def handle(worker: WebhookWorker, message: Message) -> Delivery | None:
    """Give a message to the worker, as its function does."""
    asked = decode_message(message.body)
    if isinstance(asked, Step):
        return worker.go_on(asked, message.message_id)
    return worker.deliver(asked, message.message_id)
