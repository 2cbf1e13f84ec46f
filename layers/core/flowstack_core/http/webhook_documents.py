"""Webhooks and their deliveries, as customers and operators see them."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import JsonValue

from flowstack_core.domain.periods import instant, optional_instant
from flowstack_core.domain.webhooks import Delivery, DeliveryAttempt, WebhookEndpoint
from flowstack_core.http.documents import Document
from flowstack_core.services.ports.webhooks import DeliveryPage

_Status = Literal["pending", "delivered", "failed"]


class WebhookDocument(Document):
    """Where a customer is told of events; ``secret`` is there only when it was made just now.

    Until ``old_secrets_until`` an old secret signs too. With ``switched_off_at`` nothing is sent.
    """

    url: str
    created_at: datetime
    updated_at: datetime
    switched_off_at: datetime | None
    old_secrets_until: datetime | None
    secret: str | None = None


class DeletedWebhookDocument(Document):
    """``DELETE /alerts/webhook``."""

    deleted: Literal[True]


class AcceptedDeliveryDocument(Document):
    """A delivery that was asked for; ``status`` is what it will be until it has an outcome."""

    event_id: str
    status: Literal["pending"]


class AttemptDocument(Document):
    """One attempt: the ``status`` of the answer, if there was one, and why it is no success."""

    series: int
    attempt: int
    at: datetime
    status: int | None
    reason: str | None
    milliseconds: int


class DeliveryFacts(Document):
    """Where the delivery of an event stands; ``attempts`` counts those of the last series."""

    event_id: str
    type: str
    status: _Status
    reason: str | None
    created_at: datetime
    attempts: int
    next_attempt_at: datetime | None
    last_attempt: AttemptDocument | None


class PayloadDocument(Document):
    """What is sent."""

    type: str
    timestamp: datetime
    data: dict[str, JsonValue]


class DeliveryDocument(DeliveryFacts):
    """``GET /alerts/webhook/deliveries/{event_id}``."""

    payload: PayloadDocument
    attempt_log: list[AttemptDocument]


class DeliveriesDocument(Document):
    """``GET /alerts/webhook/deliveries``, the newest first."""

    deliveries: list[DeliveryFacts]
    next_cursor: str | None


def webhook_document(endpoint: WebhookEndpoint, secret: str | None = None) -> dict[str, Any]:
    """Render a webhook for its customer."""
    document: dict[str, Any] = {
        "url": endpoint.url,
        "created_at": instant(endpoint.created_at),
        "updated_at": instant(endpoint.updated_at),
        "switched_off_at": optional_instant(endpoint.switched_off_at),
        "old_secrets_until": optional_instant(endpoint.old_secrets_until),
    }
    return document if secret is None else {**document, "secret": secret}


def deliveries_document(page: DeliveryPage) -> dict[str, Any]:
    """Render a page of deliveries."""
    return {
        "deliveries": [_facts(delivery) for delivery in page.deliveries],
        "next_cursor": page.next_cursor,
    }


def delivery_document(delivery: Delivery) -> dict[str, Any]:
    """Render a delivery with its payload and all its attempts."""
    return {
        **_facts(delivery),
        "payload": delivery.event.payload(),
        "attempt_log": [_attempt(attempt) for attempt in delivery.attempts],
    }


def _facts(delivery: Delivery) -> dict[str, Any]:
    last = delivery.attempts[-1] if delivery.attempts else None
    return {
        "event_id": delivery.event.event_id,
        "type": delivery.event.type,
        "status": delivery.status.value,
        "reason": None if delivery.failure is None else delivery.failure.value,
        "created_at": instant(delivery.created_at),
        "attempts": delivery.made,
        "next_attempt_at": optional_instant(delivery.due_at),
        "last_attempt": None if last is None else _attempt(last),
    }


def _attempt(attempt: DeliveryAttempt) -> dict[str, Any]:
    return {
        "series": attempt.series,
        "attempt": attempt.number,
        "at": instant(attempt.at),
        "status": attempt.status,
        "reason": None if attempt.failure is None else attempt.failure.value,
        "milliseconds": attempt.milliseconds,
    }
