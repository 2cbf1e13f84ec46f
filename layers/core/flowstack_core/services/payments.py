"""What follows from a payment provider's events, once each, in whatever order they come.

An event is merged into the standing of the provider's subscription, and the standing is what the
customer's plan is changed by. The change reads the standing after the subscription, and is written
only if the subscription has not moved since: so of two events that are handled side by side, the
change that is written last is one that knows of both.

An event about a subscription whose customer is not known yet is kept in the standing. It takes
effect when the event arrives that names the customer.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from flowstack_core.domain.errors import ConflictError
from flowstack_core.domain.payments import Governing, PaymentEvent, Standing, after_payment
from flowstack_core.domain.subscriptions import Subscription
from flowstack_core.services.ports.accounts import AccountStore
from flowstack_core.services.ports.payments import NotForUs, PaymentEvents, PaymentStore
from flowstack_core.services.ports.surroundings import Clock
from flowstack_core.services.subscriptions import Command, SubscriptionService

ACTOR = "stripe"
"""Who the audit trail says changed the subscription."""

_MAX_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Receipt:
    """What came of an event.

    Attributes
    ----------
    ignored
        Why nothing followed from it; ``None`` if it was carried out, now or before.
    """

    event_id: str
    customer_id: str | None = None
    ignored: str | None = None


class _OutdatedError(Exception):
    """Another event came between: what it leads to is its own handler's to write."""


class PaymentService:
    """Takes the provider's events."""

    def __init__(
        self,
        events: PaymentEvents,
        payments: PaymentStore,
        accounts: AccountStore,
        subscriptions: SubscriptionService,
        system_clock: Clock,
    ) -> None:
        self._events = events
        self._payments = payments
        self._accounts = accounts
        self._subscriptions = subscriptions
        self._system_clock = system_clock

    def receive(self, body: str, signature: str | None) -> Receipt:
        """Verify an event and carry it out; again is harmless, after any failure and any time.

        Raises
        ------
        SignatureRejectedError
            The provider did not send it, or sent it long ago. Nothing was read or written.
        MalformedPaymentEventError
            It cannot be read.
        ConflictError
            Others change the same things all the time; the provider will send it again.
        """
        event = self._events.read(body, signature, self._system_clock.now())
        if isinstance(event, NotForUs):
            return Receipt(event.event_id, ignored=event.reason)
        return self._take(event)

    def _take(self, event: PaymentEvent) -> Receipt:
        known = self._payments.standing(event.subscription_id)
        customer_id = self._customer_of(event, known)
        if known is None and event.customer_id is None and not event.names_a_plan:
            return Receipt(event.event_id, ignored="not_flowstack")
        if customer_id is not None and (refusal := self._refusal(customer_id)) is not None:
            return Receipt(event.event_id, ignored=refusal)
        standing = self._merge(event, customer_id)
        if standing.customer_id is None:
            return Receipt(event.event_id, ignored="not_linked_yet")
        if event.payer_id is not None and event.customer_id == standing.customer_id:
            self._payments.link_payer(event.payer_id, standing.customer_id)
        ignored = self._carry_out(standing, standing.customer_id)
        if ignored is None and standing.told_by != event.event_id:
            ignored = "nothing_new"
        return Receipt(event.event_id, standing.customer_id, ignored)

    def _refusal(self, customer_id: str) -> str | None:
        """Return why nothing of a customer's payments is kept: it is none, or being erased."""
        subscription = self._accounts.subscription(customer_id)
        if subscription is None:
            return "unknown_customer"
        return None if subscription.ended_at is None else "account_closed"

    def _customer_of(self, event: PaymentEvent, known: Standing | None) -> str | None:
        if event.customer_id is not None:
            return event.customer_id
        if known is not None and known.customer_id is not None:
            return known.customer_id
        return None if event.payer_id is None else self._payments.customer_of(event.payer_id)

    def _merge(self, event: PaymentEvent, customer_id: str | None) -> Standing:
        """Merge the event into the standing; return the standing that holds it."""
        for _ in range(_MAX_ATTEMPTS):
            before = self._payments.standing(event.subscription_id)
            after = (before or Standing(event.subscription_id)).told(event, customer_id)
            if after is before or self._payments.replace_standing(before, after):
                return after
        raise ConflictError("Many events of this subscription are arriving at once; try again.")

    def _carry_out(self, standing: Standing, customer_id: str) -> str | None:
        """Change the plan by the standing; return why it decides nothing, if so.

        It is done once for each event that added something, be it by the delivery of another one
        after the first handler was lost.
        """
        if standing.paid_at is None or standing.began_at is None:
            return "never_paid"
        subscription_id = standing.subscription_id
        if not self._payments.govern(customer_id, Governing(subscription_id, standing.began_at)):
            return "replaced_by_another_subscription"

        def decide(found: Subscription, now: datetime) -> Subscription:
            governing = self._payments.governing(customer_id)
            if governing is None or governing.subscription_id != subscription_id:
                raise _OutdatedError
            if self._payments.standing(subscription_id) != standing:
                raise _OutdatedError
            return after_payment(found, standing, now)

        command = Command("subscription.payment", decide)
        audit_id = f"payment:{standing.told_by}"
        try:
            self._subscriptions.change(ACTOR, customer_id, command, audit_id)
        except _OutdatedError:
            return "overtaken"
        return None
