"""Delivering events to customers' servers: at least once, under one id, by one worker at a time.

The queue may bring every message twice, late or out of order, and a worker may be killed between
any two calls. Four things keep a delivery on its way all the same:

- a step that does not fit what the log says was done already, and is dropped;
- an attempt is taken in the log first, for longer than its worker can live;
- its outcome is written down, and only then the next step is asked for;
- whoever is killed in between is found by the message that comes again: it has the same id as the
  one that the log names, and then asks for the next step itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from flowstack_core.domain.webhooks import (
    Delivery,
    Failure,
    Reply,
    Schedule,
    Step,
    WebhookEndpoint,
    WebhookEvent,
)
from flowstack_core.services.auditing import Auditor
from flowstack_core.services.ports.surroundings import Clock
from flowstack_core.services.ports.webhooks import (
    DeliveryLog,
    WebhookEndpoints,
    WebhookQueue,
    WebhookSecretOpener,
    WebhookSender,
)

LEASE = timedelta(seconds=45)
"""How long an attempt is taken for: longer than its function can run."""

SWITCH = "webhooks"
"""Who switches an endpoint off, in the audit trail."""


class AttemptGoingOnError(Exception):
    """Another worker may be making this attempt: it has to be looked at again later."""


@dataclass(frozen=True, slots=True)
class WebhookWorker:
    """Makes the attempts of deliveries.

    Attributes
    ----------
    clock
        The system's: a test clock that leaps must not hurry a delivery.
    """

    endpoints: WebhookEndpoints
    log: DeliveryLog
    queue: WebhookQueue
    secrets: WebhookSecretOpener
    sender: WebhookSender
    schedule: Schedule
    clock: Clock
    auditor: Auditor

    def deliver(self, event: WebhookEvent, message_id: str) -> Delivery | None:
        """Begin to deliver an event, or go on with it; return it if an attempt was made.

        Parameters
        ----------
        message_id
            The same when the same message comes again.

        Raises
        ------
        AttemptGoingOnError
            The message has to come again.
        """
        endpoint = self.endpoints.endpoint(event.customer_id)
        step = Step(event.customer_id, event.event_id)
        if endpoint is None or endpoint.switched_off_at is not None:
            # Nothing begins; but what this message has begun, before it was cut off, has to end.
            return self.go_on(step, message_id)
        delivery = self.log.add(Delivery.of(event, self.clock.now()))
        if delivery is None:
            return None
        return self._go_on(delivery, step, message_id)

    def go_on(self, step: Step, message_id: str) -> Delivery | None:
        """Take a step of a delivery; return it if an attempt was made.

        Raises
        ------
        AttemptGoingOnError
            The message has to come again.
        """
        delivery = self.log.delivery(step.customer_id, step.event_id)
        if delivery is None:
            return None
        if delivery.over and step == delivery.next_step:
            delivery = self._replace(delivery, delivery.again(self.clock.now()))
        return self._go_on(delivery, step, message_id)

    def _go_on(self, delivery: Delivery, step: Step, message_id: str) -> Delivery | None:
        if (step.series, step.number) == (delivery.series, delivery.made):
            if delivery.worker == message_id:
                # This message made that attempt, and was killed before it could say so.
                self._hand_on(delivery)
            return None
        if delivery.over or step != delivery.next_step:
            return None
        now = self.clock.now()
        if delivery.due_at is not None and now < delivery.due_at:
            self.queue.go_on(step, delivery.due_at - now)
            return None
        if delivery.busy_at(now):
            raise AttemptGoingOnError
        return self._attempt(delivery, message_id, now)

    def _attempt(self, delivery: Delivery, message_id: str, now: datetime) -> Delivery | None:
        endpoint = self.endpoints.endpoint(delivery.event.customer_id)
        if endpoint is None or endpoint.switched_off_at is not None:
            failure = Failure.REMOVED if endpoint is None else Failure.GONE
            self.log.replace(delivery, delivery.dropped(failure))
            return None
        taken = self._replace(delivery, delivery.taken(message_id, now + LEASE))
        reply = self._send(endpoint, taken.event, now)
        if reply.failure is Failure.GONE:
            self._switch_off(endpoint)
        done = self.clock.now()
        attempt = taken.attempted(reply, now, done)
        delay = self.schedule.delay_after(attempt.number, reply)
        after = taken.after(attempt, delay, done)
        if not self.log.replace(taken, after):
            # Whoever took the attempt over, or erased the customer, goes on from there.
            return None
        self._hand_on(after)
        return after

    def _send(self, endpoint: WebhookEndpoint, event: WebhookEvent, now: datetime) -> Reply:
        opened = [
            self.secrets.open(endpoint.customer_id, secret.ciphertext)
            for secret in endpoint.signing(now)
        ]
        secrets = [secret for secret in opened if secret is not None]
        if len(secrets) < len(opened):
            return Reply.none(Failure.SECRET)
        return self.sender.send(endpoint.url, event, secrets, now)

    def _switch_off(self, endpoint: WebhookEndpoint) -> None:
        """Send nothing more there, unless the customer has changed it meanwhile."""
        after = endpoint.switched_off(self.clock.now())
        audit = self.auditor.record(
            SWITCH, endpoint.customer_id, "webhook.gone", endpoint.facts(), after.facts()
        )
        self.endpoints.replace_endpoint(endpoint, after, audit)

    def _hand_on(self, delivery: Delivery) -> None:
        """See to it that what comes next will come."""
        if delivery.exhausted:
            self.queue.give_up(delivery.next_step, str(delivery.failure))
        elif delivery.due_at is not None:
            wait = delivery.due_at - self.clock.now()
            self.queue.go_on(delivery.next_step, max(wait, timedelta(0)))

    def _replace(self, before: Delivery, after: Delivery) -> Delivery:
        if not self.log.replace(before, after):
            raise AttemptGoingOnError
        return after
