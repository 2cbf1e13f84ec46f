"""What a payment provider has said, kept in memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Lock

from flowstack_core.domain.payments import Governing, Standing


@dataclass
class InMemoryPaymentStore:
    """Standings, payers, and which subscription decides a customer's plan."""

    standings: dict[str, Standing] = field(default_factory=dict)
    payers: dict[str, str] = field(default_factory=dict)
    decisive: dict[str, Governing] = field(default_factory=dict)
    lock: Lock = field(default_factory=Lock)

    def standing(self, subscription_id: str) -> Standing | None:
        """Return the standing of one of the provider's subscriptions."""
        return self.standings.get(subscription_id)

    def replace_standing(self, before: Standing | None, after: Standing) -> bool:
        """Put ``after`` in the place of ``before``."""
        with self.lock:
            found = self.standings.get(after.subscription_id)
            if found == after:
                return True
            if _version(found) != _version(before):
                return False
            self.standings[after.subscription_id] = after
            return True

    def customer_of(self, payer_id: str) -> str | None:
        """Return our customer for the provider's."""
        return self.payers.get(payer_id)

    def link_payer(self, payer_id: str, customer_id: str) -> None:
        """Remember whom a payer pays for."""
        self.payers[payer_id] = customer_id

    def govern(self, customer_id: str, governing: Governing) -> bool:
        """Let a subscription decide the customer's plan, unless one begun later does."""
        with self.lock:
            found = self.decisive.get(customer_id)
            if found is not None and found.subscription_id != governing.subscription_id:
                one, other = ((each.began_at, each.subscription_id) for each in (found, governing))
                if one > other:
                    return False
            self.decisive[customer_id] = governing
            return True

    def governing(self, customer_id: str) -> Governing | None:
        """Return which subscription decides the customer's plan."""
        return self.decisive.get(customer_id)


def _version(standing: Standing | None) -> tuple[str, bool] | None:
    return None if standing is None else (standing.told_by, standing.customer_id is None)
