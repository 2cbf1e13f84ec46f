"""Who is behind an API key."""

from __future__ import annotations

from flowstack_core.domain.api_keys import KeyRecord, parse_key
from flowstack_core.domain.periods import Period
from flowstack_core.domain.plans import Tier
from flowstack_core.services.ports import CustomerClocks, KeyReader, SubscriptionReader


class AuthorizationService:
    """Finds the customer of a key, or nobody."""

    def __init__(
        self, keys: KeyReader, subscriptions: SubscriptionReader, clocks: CustomerClocks
    ) -> None:
        self._keys = keys
        self._subscriptions = subscriptions
        self._clocks = clocks

    def authorize(self, text: str) -> tuple[KeyRecord, Tier] | None:
        """Return the key's record and the customer's tier; ``None`` if it lets nobody in.

        A mistyped key is refused by its checksum, without a read.
        """
        key = parse_key(text)
        if key is None:
            return None
        record = self._keys.key(key.digest)
        if record is None:
            return None
        now = self._clocks.for_customer(record.customer_id).now()
        if not record.usable(now):
            return None
        subscription = self._subscriptions.subscription(record.customer_id)
        if subscription is None or subscription.ended_at is not None:
            return None
        return record, subscription.terms_in(Period.containing(now)).tier
