"""Stripe's webhooks: who sent one, and what it says in our own terms.

Only what is needed is read, so that fields Stripe adds or moves elsewhere do no harm. Two fields
stand in two places, depending on the API version that the webhook endpoint was made with.

Nothing of a body or a signature goes into an error: they are rejected because nobody knows what
they hold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any, TypeVar

from pydantic import BaseModel, Field, ValidationError
from stripe import SignatureVerificationError, WebhookSignature

from flowstack_core.domain.errors import SignatureRejectedError
from flowstack_core.domain.payments import PaymentEvent, PaymentState, Snapshot
from flowstack_core.domain.plans import Tier
from flowstack_core.domain.subscriptions import Terms
from flowstack_core.services.ports.payments import MalformedPaymentEventError, NotForUs

TOLERANCE = timedelta(seconds=300)
"""How far the time of a signature may be from ours: what was recorded is of no use later."""

CUSTOMER_FIELD = "flowstack_customer_id"
TIER_FIELD = "flowstack_tier"
LIMIT_FIELD = "flowstack_session_limit"
LOOKUP_KEY_PREFIX = "flowstack_"

_STATES: Mapping[str, PaymentState] = MappingProxyType(
    {
        "active": PaymentState.PAID,
        "trialing": PaymentState.PAID,
        "past_due": PaymentState.FAILING,
        "unpaid": PaymentState.ENDED,
        "paused": PaymentState.ENDED,
        "canceled": PaymentState.ENDED,
    }
)
"""Others (``incomplete``, ``incomplete_expired``) are of subscriptions that were never paid."""

_MONTHLY_DOLLARS = ("usd", "month", 1)


class _Recurring(BaseModel):
    interval: str
    interval_count: int


class _Price(BaseModel):
    lookup_key: str | None = None
    metadata: dict[str, str] | None = None
    currency: str = ""
    unit_amount: int | None = Field(default=None, ge=0)
    recurring: _Recurring | None = None

    @property
    def monthly_cents(self) -> int | None:
        """What a contract at this price costs a month; ``None`` if it is not said in US cents."""
        every = self.recurring
        if (
            every is None
            or (self.currency, every.interval, every.interval_count) != _MONTHLY_DOLLARS
        ):
            return None
        return self.unit_amount


class _Item(BaseModel):
    price: _Price
    quantity: int | None = Field(default=None, ge=0)
    current_period_end: int | None = None


class _Items(BaseModel):
    data: list[_Item]


class _Subscription(BaseModel):
    id: str
    customer: str
    status: str
    created: int
    items: _Items
    metadata: dict[str, str] | None = None
    cancel_at_period_end: bool = False
    cancel_at: int | None = None
    current_period_end: int | None = None

    @property
    def ends_at(self) -> datetime | None:
        """When it is going to end, if that is settled."""
        if self.cancel_at is not None:
            return _instant(self.cancel_at)
        # API versions up to 2025-02 have the period on the subscription, later ones on its items.
        ends = [self.current_period_end, *(item.current_period_end for item in self.items.data)]
        known = [end for end in ends if end is not None]
        return _instant(max(known)) if self.cancel_at_period_end and known else None


class _CheckoutSession(BaseModel):
    mode: str
    payment_status: str
    customer: str | None = None
    subscription: str | None = None
    client_reference_id: str | None = None
    metadata: dict[str, str] | None = None


class _SubscriptionDetails(BaseModel):
    subscription: str | None = None
    metadata: dict[str, str] | None = None


class _InvoiceParent(BaseModel):
    subscription_details: _SubscriptionDetails | None = None


class _Invoice(BaseModel):
    customer: str | None = None
    # API versions up to 2025-02 name the subscription here, later ones below `parent`.
    subscription: str | None = None
    parent: _InvoiceParent | None = None


class _Data(BaseModel):
    object: dict[str, Any]


class _Event(BaseModel):
    id: str = Field(min_length=1, max_length=255)
    type: str
    created: int
    data: _Data


Read = TypeVar("Read", bound=BaseModel)


class StripeEvents:
    """`flowstack_core.services.ports.payments.PaymentEvents` of Stripe.

    Parameters
    ----------
    signing_secrets
        Returns the endpoint's secrets: two while one is being replaced.
    """

    def __init__(self, signing_secrets: Callable[[], Sequence[str]]) -> None:
        self._signing_secrets = signing_secrets

    def read(self, body: str, signature: str | None, now: datetime) -> PaymentEvent | NotForUs:
        """Verify that Stripe sent the body not long before ``now``, and read it.

        Raises
        ------
        SignatureRejectedError
            It was not sent by Stripe, or long ago.
        MalformedPaymentEventError
            Stripe sent it, and it is not what Stripe documents.
        """
        self._verify(body, signature or "", now)
        event = _parsed(_Event, body)
        reader = _READERS.get(event.type)
        return NotForUs(event.id, "type") if reader is None else reader(event)

    def _verify(self, body: str, signature: str, now: datetime) -> None:
        secrets = self._signing_secrets()
        if not any(_is_signed(body, signature, secret) for secret in secrets):
            raise _rejected()
        if abs(now - _signed_at(signature)) > TOLERANCE:
            raise _rejected()


def _is_signed(body: str, signature: str, secret: str) -> bool:
    try:
        # Its own check of the time reads a clock that nobody can set: the time is checked here.
        WebhookSignature.verify_header(body, signature, secret, tolerance=None)
    except (SignatureVerificationError, TypeError, ValueError):
        # Its error holds body and signature, so it ends here. The other two come of characters
        # that the library does not expect.
        return False
    return True


def _signed_at(signature: str) -> datetime:
    """Return the time that the signature covers: the first one, as the library takes it."""
    parts = (part.split("=", 2) for part in signature.split(","))
    seconds = next(part[1] for part in parts if part[0] == "t")
    return _instant(int(seconds))


def _rejected() -> SignatureRejectedError:
    return SignatureRejectedError(
        "The signature is missing, wrong or too old.",
        details={"field": "Stripe-Signature"},
    )


# --- what each type of event says ------------------------------------------------------------


def _checkout(event: _Event) -> PaymentEvent | NotForUs:
    """Read a completed checkout: it says whose subscription it is, and perhaps which plan.

    A checkout whose payment is still on its way only links: the subscription tells when it is paid.
    """
    session = _parsed(_CheckoutSession, event.data.object)
    if session.mode != "subscription" or session.subscription is None:
        return NotForUs(event.id, "no_subscription")
    metadata = session.metadata or {}
    created = _instant(event.created)
    begun = Snapshot(event.id, created, PaymentState.BEGUN, _terms(metadata, None))
    return PaymentEvent(
        event_id=event.id,
        created=created,
        subscription_id=session.subscription,
        payer_id=session.customer,
        customer_id=session.client_reference_id or metadata.get(CUSTOMER_FIELD),
        began_at=created,
        snapshot=None if session.payment_status == "unpaid" else begun,
    )


def _subscription(event: _Event) -> PaymentEvent | NotForUs:
    """Read a subscription as it stood when the event was made."""
    found = _parsed(_Subscription, event.data.object)
    state = _STATES.get(found.status)
    if event.type == "customer.subscription.deleted":
        state = PaymentState.ENDED
    if state is None:
        return NotForUs(event.id, "never_paid")
    metadata = found.metadata or {}
    terms = _highest(found.items.data, metadata)
    if terms is None and state is PaymentState.PAID:
        return NotForUs(event.id, "no_tier")
    created = _instant(event.created)
    return PaymentEvent(
        event_id=event.id,
        created=created,
        subscription_id=found.id,
        payer_id=found.customer,
        customer_id=metadata.get(CUSTOMER_FIELD),
        began_at=_instant(found.created),
        snapshot=Snapshot(event.id, created, state, terms, found.ends_at),
    )


def _failed_invoice(event: _Event) -> PaymentEvent | NotForUs:
    """Read an invoice that could not be collected."""
    invoice = _parsed(_Invoice, event.data.object)
    details = (invoice.parent and invoice.parent.subscription_details) or _SubscriptionDetails()
    subscription_id = invoice.subscription or details.subscription
    if subscription_id is None:
        return NotForUs(event.id, "no_subscription")
    return PaymentEvent(
        event_id=event.id,
        created=_instant(event.created),
        subscription_id=subscription_id,
        payer_id=invoice.customer,
        customer_id=(details.metadata or {}).get(CUSTOMER_FIELD),
        failed=True,
    )


_READERS: Mapping[str, Callable[[_Event], PaymentEvent | NotForUs]] = MappingProxyType(
    {
        "checkout.session.completed": _checkout,
        "customer.subscription.created": _subscription,
        "customer.subscription.updated": _subscription,
        "customer.subscription.deleted": _subscription,
        "invoice.payment_failed": _failed_invoice,
    }
)
"""The types of events that the webhook endpoint should be sent; others are ignored."""


# --- plans -----------------------------------------------------------------------------------


def _highest(items: Sequence[_Item], metadata: Mapping[str, str]) -> Terms | None:
    """Return the terms of the highest plan among the items: there may be other things beside.

    Stripe keeps items of which none is bought any more, with a quantity of zero.
    """
    bought = [item for item in items if item.quantity != 0]
    named = [terms for item in bought if (terms := _terms(metadata, item)) is not None]
    return max(named, key=lambda terms: terms.tier.rank, default=None)


def _terms(metadata: Mapping[str, str], item: _Item | None) -> Terms | None:
    """Return what is bought.

    The price counts more than what was noted on the subscription, which stays when customers
    choose another price. A contract's limit and price are those of ``enterprise`` only.
    """
    price = _Price() if item is None else item.price
    of_price = price.metadata or {}
    name = (
        _tier_of_lookup_key(price.lookup_key)
        or of_price.get(TIER_FIELD)
        or metadata.get(TIER_FIELD)
    )
    if name is None:
        return None
    tier = _tier(name)
    if tier is not Tier.ENTERPRISE:
        return Terms.of(tier)
    limit = metadata.get(LIMIT_FIELD, of_price.get(LIMIT_FIELD))
    cents = price.monthly_cents
    quantity = 1 if item is None or item.quantity is None else item.quantity
    return Terms.of(
        tier,
        None if limit is None else _limit(limit),
        None if cents is None else cents * quantity,
    )


def _tier_of_lookup_key(lookup_key: str | None) -> str | None:
    """Return the tier that a lookup key names, if it is one of FlowStack's."""
    name = (lookup_key or "").removeprefix(LOOKUP_KEY_PREFIX)
    return name if name != lookup_key and name in set(Tier) else None


def _tier(name: str) -> Tier:
    try:
        return Tier(name)
    except ValueError:
        raise MalformedPaymentEventError(f"{TIER_FIELD} is not the name of a tier") from None


def _limit(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 12):
        raise MalformedPaymentEventError(f"{LIMIT_FIELD} is not a whole number")
    return int(text)


def _parsed(kind: type[Read], value: str | Mapping[str, Any]) -> Read:
    """Read what is needed of a document; an error names the field and nothing of its value."""
    try:
        if isinstance(value, str):
            return kind.model_validate_json(value)
        return kind.model_validate(value)
    except ValidationError as error:
        field = ".".join(str(part) for part in error.errors()[0]["loc"])
        name = kind.__name__.removeprefix("_")
        raise MalformedPaymentEventError(f"{name}: {field or 'not an object'}") from None


def _instant(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
