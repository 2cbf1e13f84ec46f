"""Limits that customers set themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from flowstack_core.services.ports.accounts import CallerReader, OwnLimitsReader

if TYPE_CHECKING:
    from flowstack_core.domain.own_limits import CeilingReached, OwnLimits
    from flowstack_core.domain.periods import Period
    from flowstack_core.services.ports.accounts import AuditRecord


class OwnLimitsStore(OwnLimitsReader, CallerReader, Protocol):
    """The limits that customers set themselves, and what follows from their ceilings."""

    def replace_limits(
        self,
        before: OwnLimits,
        after: OwnLimits,
        period: Period,
        reached: CeilingReached | None,
        audit: AuditRecord,
    ) -> bool:
        """Put ``after`` in the place of ``before``, and what follows in ``period`` with it.

        ``False`` if somebody changed them since they were read. The period has to be open.
        """
        ...

    def note_ceiling(
        self, limits: OwnLimits, period: Period, reached: CeilingReached | None
    ) -> bool:
        """Note on the counter what follows from a ceiling, and have it told once a period.

        ``False`` if it is no longer the customer's ceiling, or the period is closed.
        """
        ...
