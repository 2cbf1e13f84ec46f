"""Alerts, and whom they are sent to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from flowstack_core.domain.alerts import Alert, AlertSettings
    from flowstack_core.domain.own_limits import BudgetAlert
    from flowstack_core.domain.periods import Period
    from flowstack_core.services.ports.accounts import AuditRecord


class AlertStore(Protocol):
    """What customers want to be told of, the alerts there were, and who was told of them."""

    def settings(self, customer_id: str) -> AlertSettings:
        """Return a customer's settings, read consistently; the defaults if it has none."""
        ...

    def settings_of(self, customer_ids: Sequence[str]) -> Mapping[str, AlertSettings]:
        """Return the settings of many customers, each with those that `settings` returns."""
        ...

    def replace_settings(
        self, customer_id: str, before: AlertSettings, after: AlertSettings, audit: AuditRecord
    ) -> bool:
        """Put ``after`` in the place of ``before``; ``False`` if that is not what stands there.

        The audit record is written in the same transaction.
        """
        ...

    def keep(self, alert: Alert) -> Alert | None:
        """Keep an alert if there is none of its customer, period and threshold (A1).

        Returns the one that is kept now, this one or an earlier one; ``None`` if there is none,
        because the customer's data is being erased.
        """
        ...

    def alerts(self, customer_id: str, period: Period) -> Sequence[Alert]:
        """Return the alerts of a period, the lowest threshold first, read consistently."""
        ...

    def told(self, alert: Alert) -> frozenset[str] | None:
        """Return the channels that were told of an alert; ``None`` if it is kept no more."""
        ...

    def mark_told(self, alert: Alert, channel: str) -> None:
        """Note that a channel was told of an alert, if it is still kept."""
        ...


class AlertTopic(Protocol):
    """The topic of the operators, for alerts of all customers."""

    def publish(self, alert: Alert) -> None:
        """Tell that a threshold was reached; again, it is told again, under the same id."""
        ...


class AlertMail(Protocol):
    """Mail to customers."""

    def send(self, alert: Alert, address: str) -> None:
        """Send a customer its alert; again, it is sent again."""
        ...

    def send_budget(self, alert: BudgetAlert, address: str) -> None:
        """Tell a customer that its own ceiling was reached; again, it is told again."""
        ...
