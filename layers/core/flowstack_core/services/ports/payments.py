"""The payment provider's events."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from flowstack_core.domain.payments import Governing, PaymentEvent, Standing


@dataclass(frozen=True, slots=True)
class NotForUs:
    """A verified event that decides nothing, and why."""

    event_id: str
    reason: str


class PaymentEvents(Protocol):
    """Reads what the payment provider sends."""

    def read(self, body: str, signature: str | None, now: datetime) -> PaymentEvent | NotForUs:
        """Verify that the provider sent the body not long before ``now``, and read it.

        Raises
        ------
        SignatureRejectedError
            It was not sent by the provider, or long ago.
        MalformedPaymentEventError
            The provider sent it, and it is not what the provider documents.
        """
        ...


class MalformedPaymentEventError(Exception):
    """A verified event that cannot be read; the message names the field, never a value."""


class PaymentStore(Protocol):
    """What the payment provider has said, and which customers it is about."""

    def standing(self, subscription_id: str) -> Standing | None:
        """Return the standing of one of the provider's subscriptions, read consistently."""
        ...

    def replace_standing(self, before: Standing | None, after: Standing) -> bool:
        """Put ``after`` in the place of ``before``; ``False`` if that is not what stands there."""
        ...

    def customer_of(self, payer_id: str) -> str | None:
        """Return our customer for the provider's, read consistently."""
        ...

    def link_payer(self, payer_id: str, customer_id: str) -> None:
        """Remember whom a payer pays for; the last link stays."""
        ...

    def govern(self, customer_id: str, governing: Governing) -> bool:
        """Let a subscription decide the customer's plan, unless one begun later does.

        Returns whether it decides.
        """
        ...

    def governing(self, customer_id: str) -> Governing | None:
        """Return which subscription decides the customer's plan, read consistently."""
