"""Customers, their keys and subscriptions, and who changed what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from flowstack_core.domain.api_keys import KeyRecord
    from flowstack_core.domain.own_limits import OwnLimits
    from flowstack_core.domain.periods import Period
    from flowstack_core.domain.subscriptions import Subscription


class SubscriptionReader(Protocol):
    """What the quota needs of the accounts."""

    def subscription(self, customer_id: str) -> Subscription | None:
        """Return the subscription, read consistently."""
        ...


class KeyReader(Protocol):
    """What the authorizer needs of the accounts."""

    def key(self, digest: str) -> KeyRecord | None:
        """Return the record of the key with this SHA-256."""
        ...


class OwnLimitsReader(Protocol):
    """What a refusal needs of the limits that customers set themselves."""

    def own_limits(self, customer_id: str) -> OwnLimits:
        """Return the customer's limits, read consistently."""
        ...


class CallerReader(Protocol):
    """What the authorizer needs to know about the customer behind a key."""

    def subscription_and_limits(self, customer_id: str) -> tuple[Subscription, OwnLimits] | None:
        """Return both, read consistently and together; ``None`` if there is no subscription."""
        ...


@dataclass(frozen=True, slots=True)
class Customer:
    """The account that subscribes and is billed."""

    customer_id: str
    name: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """One act of an operator or a customer: who did what, when, before and after."""

    customer_id: str
    audit_id: str
    at: datetime
    actor: str
    action: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Page:
    """Some customers, and where the next ones begin."""

    customers: tuple[tuple[Customer, Subscription], ...]
    next_cursor: str | None


class AccountStore(SubscriptionReader, KeyReader, Protocol):
    """Customers, keys, subscriptions and the audit trail.

    Every change writes its audit record in the same transaction; ``False`` or ``None`` means
    that the change did not apply because its precondition no longer held.
    """

    def create_customer(
        self, customer: Customer, subscription: Subscription, key: KeyRecord, audit: AuditRecord
    ) -> bool:
        """Add a customer with a subscription and a first key."""
        ...

    def customer(self, customer_id: str) -> Customer | None:
        """Return the customer."""
        ...

    def customers(self, limit: int, cursor: str | None) -> Page:
        """Return a page of customers, in the order they were created."""
        ...

    def add_key(self, key: KeyRecord, audit: AuditRecord) -> bool:
        """Add a key to an existing customer."""
        ...

    def keys(self, customer_id: str) -> Sequence[KeyRecord]:
        """Return the customer's keys, revoked ones included."""
        ...

    def revoke_key(self, key: KeyRecord, audit: AuditRecord) -> bool:
        """Mark the key revoked at ``audit.at``."""
        ...

    def change_subscription(
        self, before: Subscription, after: Subscription, period: Period, audit: AuditRecord
    ) -> bool:
        """Replace the subscription and bring the period's counter up to it, both or neither.

        ``period`` is the present one: ``False`` also if it is closed, or the next one has begun.
        """
        ...

    def credit(
        self, subscription: Subscription, period: Period, sessions: int, audit: AuditRecord
    ) -> bool:
        """Add sessions to the period's limit, once per ``audit.audit_id`` however often repeated.

        ``False`` if the subscription is no longer at the given version, or the period is closed.
        """
        ...

    def audit_record(self, customer_id: str, audit_id: str) -> AuditRecord | None:
        """Return the record of one act, read consistently; ``None`` if it did not take effect."""
        ...

    def audit_trail(self, customer_id: str, limit: int) -> Sequence[AuditRecord]:
        """Return the newest audit records first."""
        ...


class ClockOffsetStore(Protocol):
    """The offsets of customers' test clocks; exists on non-production stages only."""

    def offset_seconds(self, customer_id: str) -> float:
        """Return how far ahead of the system's clock the customer's is."""
        ...

    def set_offset(self, customer_id: str, before: float, after: float, audit: AuditRecord) -> bool:
        """Move the clock, if it still stands at ``before``."""
        ...
