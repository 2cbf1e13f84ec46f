"""Customers' webhooks: endpoints, secrets, deliveries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from flowstack_core.domain.webhooks import Delivery, Reply, Step, WebhookEndpoint, WebhookEvent
    from flowstack_core.services.ports.accounts import AuditRecord


class WebhookOutbox(Protocol):
    """The way of events to the customers' servers."""

    def send(self, event: WebhookEvent) -> None:
        """Have an event delivered, if its customer has a webhook.

        An event may be sent twice: under one id it is delivered in one series of attempts.

        Raises
        ------
        StoreContentionError
            Whether it will be delivered is not known.
        """
        ...


class WebhookQueue(WebhookOutbox, Protocol):
    """How deliveries go on. Everything may arrive twice, and in any order."""

    def go_on(self, step: Step, delay: timedelta) -> None:
        """Ask for a step, ``delay`` from now or as late as the queue can."""
        ...

    def give_up(self, step: Step, reason: str) -> None:
        """Put a step among the dead letters, with the reason."""
        ...

    def redrive(self, limit: int) -> int:
        """Ask again for dead letters, up to ``limit``; return how many."""
        ...


class WebhookSecrets(Protocol):
    """Seals signing secrets so that they can be read as this customer's only."""

    def seal(self, customer_id: str, secret: str) -> bytes:
        """Return the ciphertext."""
        ...


class WebhookSecretOpener(Protocol):
    """Opens what `WebhookSecrets` sealed."""

    def open(self, customer_id: str, ciphertext: bytes) -> str | None:
        """Return the secret; ``None`` if it was sealed otherwise, or its key is out of service."""
        ...


class WebhookSender(Protocol):
    """Sends events to the customers' servers, and nowhere else."""

    def send(self, url: str, event: WebhookEvent, secrets: Sequence[str], at: datetime) -> Reply:
        """Send a signed event once, and return what came of it."""
        ...


class WebhookEndpoints(Protocol):
    """Where customers want to be told.

    Every change writes its audit record in the same transaction; ``False`` means that somebody
    changed it since it was read.
    """

    def endpoint(self, customer_id: str) -> WebhookEndpoint | None:
        """Return the customer's endpoint, read consistently."""
        ...

    def replace_endpoint(
        self, before: WebhookEndpoint | None, after: WebhookEndpoint, audit: AuditRecord
    ) -> bool:
        """Put ``after`` in the place of ``before``, or where there was nothing."""
        ...

    def delete_endpoint(self, endpoint: WebhookEndpoint, audit: AuditRecord) -> bool:
        """Delete it for good, with its secrets."""
        ...


@dataclass(frozen=True, slots=True)
class DeliveryPage:
    """Some deliveries, the newest first, and where the older ones begin."""

    deliveries: tuple[Delivery, ...]
    next_cursor: str | None


class DeliveryLog(Protocol):
    """The deliveries of the last days."""

    def add(self, delivery: Delivery) -> Delivery | None:
        """Add a delivery if its event has none; return the one that there is then.

        ``None`` if there is none, as the customer has no endpoint any more.
        """
        ...

    def replace(self, before: Delivery, after: Delivery) -> bool:
        """Put ``after`` in the place of ``before``; ``False`` if that is no longer there."""
        ...

    def delivery(self, customer_id: str, event_id: str) -> Delivery | None:
        """Return the delivery of an event, read consistently."""
        ...

    def deliveries(self, customer_id: str, limit: int, cursor: str | None) -> DeliveryPage:
        """Return a page of the customer's deliveries, the newest first.

        Raises
        ------
        InvalidRequestError
            If ``cursor`` is not one that an earlier page gave.
        """
        ...
