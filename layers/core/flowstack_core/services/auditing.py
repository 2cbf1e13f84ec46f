"""Writing down who did what: one way for every service that records acts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flowstack_core.domain.identifiers import sortable_id
from flowstack_core.services.ports.accounts import AuditRecord
from flowstack_core.services.ports.surroundings import Clock


@dataclass(frozen=True, slots=True)
class Auditor:
    """Makes audit records by the system's clock; stores write them with the act itself.

    Attributes
    ----------
    random_bytes
        What the ids of the records are made of.
    """

    clock: Clock
    random_bytes: Callable[[int], bytes]

    def record(
        self,
        actor: str,
        customer_id: str,
        action: str,
        before: dict[str, Any] | None,
        after: dict[str, Any] | None,
        audit_id: str | None = None,
    ) -> AuditRecord:
        """Return the record of an act; ``audit_id`` makes the act safe to repeat under it."""
        now = self.clock.now()
        return AuditRecord(
            customer_id=customer_id,
            audit_id=audit_id or sortable_id("aud", now, self.random_bytes(10)),
            at=now,
            actor=actor,
            action=action,
            before=before,
            after=after,
        )
