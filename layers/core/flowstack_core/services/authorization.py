"""Who is behind an API key."""

from __future__ import annotations

from dataclasses import dataclass

from flowstack_core.domain.api_keys import KeyRecord, parse_key
from flowstack_core.domain.own_limits import SessionCaps
from flowstack_core.domain.periods import Period
from flowstack_core.domain.plans import Tier
from flowstack_core.services.ports.accounts import CallerReader, KeyReader
from flowstack_core.services.ports.surroundings import CustomerClocks


@dataclass(frozen=True, slots=True)
class KeyHolder:
    """The customer behind a key, as it is found at the door."""

    record: KeyRecord
    tier: Tier
    caps: SessionCaps


class AuthorizationService:
    """Finds the customer of a key, or nobody."""

    def __init__(self, keys: KeyReader, callers: CallerReader, clocks: CustomerClocks) -> None:
        self._keys = keys
        self._callers = callers
        self._clocks = clocks

    def authorize(self, text: str) -> KeyHolder | None:
        """Return who holds the key; ``None`` if it lets nobody in.

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
        found = self._callers.subscription_and_limits(record.customer_id)
        if found is None:
            return None
        subscription, limits = found
        if subscription.ended_at is not None:
            return None
        return KeyHolder(record, subscription.terms_in(Period.containing(now)).tier, limits.caps)
