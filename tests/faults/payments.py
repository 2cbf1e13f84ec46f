"""Payments: events of Stripe, delivered late, repeatedly and in any order."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from flowstack_core.adapters.dynamodb_payments import DynamoDBPaymentStore, decode_standing
from flowstack_core.adapters.stripe_events import LIMIT_FIELD, StripeEvents
from flowstack_core.domain.errors import ConflictError
from flowstack_core.domain.payments import PaymentEvent, Standing, after_payment
from flowstack_core.domain.periods import Period
from flowstack_core.domain.plans import Tier
from flowstack_core.services.payments import PaymentService
from tests.faults.plans import TIERS, Plans
from tests.faults.stage import NO_ANSWER, Stage
from tests.support.stripe_messages import (
    SECRET,
    checkout,
    failed_invoice,
    price,
    signature_of,
    subscription,
)

WORKFLOW = "payments"
_STATUSES = ("active", "active", "active", "past_due", "canceled")
_SECONDS = 20.0


class Payments:
    """Stripe, with one or two subscriptions of the customer's.

    Attributes
    ----------
    waiting, given
        The events that have yet to be delivered, and those that were.
    """

    def __init__(self, stage: Stage, plans: Plans) -> None:
        self._stage, self._plans = stage, plans
        self._events = StripeEvents(lambda: (SECRET,))
        self._service = PaymentService(
            self._events,
            DynamoDBPaymentStore(stage.dynamodb, stage.tables["accounts"]),
            plans.store,
            plans.subscriptions,
            stage.clock,
        )
        self.waiting: list[str] = []
        self.given: list[str] = []
        self._said: list[PaymentEvent] = []
        self._linked: set[str] = set()

    # --- what happens ------------------------------------------------------------------------

    def say(self) -> None:
        """Have something happen at Stripe."""
        stage, now = self._stage, self._stage.clock.now()
        number = stage.random.choice([1, 1, 2])
        name, event_id = f"sub_{number}", f"evt_{stage.number():06d}"
        if name not in self._linked:
            self._linked.add(name)
            body = checkout(
                now, customer_id=stage.customer_id, subscription_id=name, event_id=event_id
            )
        elif stage.random.random() < 0.2:
            body = failed_invoice(now, subscription_id=name, event_id=event_id)
        else:
            _, limit = stage.random.choice(TIERS)
            tier = stage.random.choice([Tier.ENTERPRISE, Tier.ENTERPRISE, Tier.STARTER])
            contract = price(f"flowstack_{tier.value}", 49_900 + limit)
            body = subscription(
                now,
                subscription_id=name,
                status=stage.random.choice(_STATUSES),
                began=now - timedelta(seconds=2),
                prices=[contract],
                metadata={LIMIT_FIELD: str(limit)},
                cancel_at_period_end=stage.random.random() < 0.1,
                event_id=event_id,
            )
        event = self._events.read(body, signature_of(body, now), now)
        assert isinstance(event, PaymentEvent)
        self._said.append(event)
        self.waiting.append(body)

    def deliver(self) -> None:
        """Have Stripe send one of its events, perhaps one that it sent before."""
        again = self.given if self._stage.random.random() < 0.3 else []
        if events := self.waiting + again:
            self._send(self._stage.random.choice(events))

    def deliver_all(self) -> None:
        """Have Stripe send all that waits, and all that was sent once more."""
        for body in [*self.waiting, *self._stage.random.sample(self.given, len(self.given))]:
            self._send(body)

    def _send(self, body: str) -> None:
        stage = self._stage

        def receive() -> None:
            self._service.receive(body, signature_of(body, stage.clock.now()))

        try:
            stage.request(WORKFLOW, receive, _SECONDS)
        except (*NO_ANSWER, ConflictError):
            return
        if body in self.waiting:
            self.waiting.remove(body)
            self.given.append(body)

    # --- what is left ------------------------------------------------------------------------

    def check(self) -> None:
        """The standings are what all events say, in their order; the plan is what they make it."""
        found: dict[str, Standing] = {}
        for change in self._stage.streams.changes("accounts", "STANDING"):
            assert change.after is not None
            standing = decode_standing(change.after)
            found[standing.subscription_id] = standing
        assert found.keys() == {event.subscription_id for event in self._said}
        for name, standing in found.items():
            assert standing == replace(self._told(name), told_by=standing.told_by), "an event lost"
        paid = [s for s in found.values() if s.paid_at is not None and s.began_at is not None]
        if not paid:
            return
        decides = max(paid, key=lambda standing: (standing.began_at, standing.subscription_id))
        now = self._stage.clock.now()
        plan = self._plans.store.subscription(self._stage.customer_id)
        assert plan is not None
        settled = plan.settled(Period.containing(now))
        again = after_payment(plan, decides, now)
        assert replace(again, version=settled.version) == settled, "the plan is not what is paid"

    def _told(self, name: str) -> Standing:
        standing = Standing(name)
        mine = [event for event in self._said if event.subscription_id == name]
        for event in sorted(mine, key=lambda event: event.created):
            standing = standing.told(event, self._stage.customer_id)
        return standing
