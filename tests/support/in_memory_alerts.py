"""Alerts kept in memory, and channels that remember what they were told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flowstack_core.domain.alerts import Alert, AlertSettings
from flowstack_core.domain.own_limits import BudgetAlert
from flowstack_core.domain.periods import Period
from flowstack_core.domain.statements import Statement
from flowstack_core.domain.webhooks import WebhookEvent
from flowstack_core.services.ports.accounts import AuditRecord
from tests.support.in_memory import Tables


class InMemoryAlertStore:
    """Settings of alerts, alerts, and who was told of them."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def settings(self, customer_id: str) -> AlertSettings:
        """Return a customer's settings; the defaults if it has none."""
        with self._tables.lock:
            return self._tables.alert_settings.get(customer_id, AlertSettings())

    def settings_of(self, customer_ids: Sequence[str]) -> Mapping[str, AlertSettings]:
        """Return the settings of many customers."""
        with self._tables.lock:
            return {customer_id: self.settings(customer_id) for customer_id in customer_ids}

    def replace_settings(
        self, customer_id: str, before: AlertSettings, after: AlertSettings, audit: AuditRecord
    ) -> bool:
        """Put ``after`` in the place of ``before``, if that is what stands there."""
        with self._tables.lock:
            if (audit.customer_id, audit.audit_id) in self._tables.audits:
                return True
            if self.settings(customer_id).version != before.version:
                return False
            self._tables.alert_settings[customer_id] = after
            self._tables.audits[audit.customer_id, audit.audit_id] = audit
            return True

    def keep(self, alert: Alert) -> Alert | None:
        """Keep an alert if there is none; return the one that is kept."""
        with self._tables.lock:
            kept = self._tables.alerts.get(alert.alert_id)
            if kept is None and alert.customer_id not in self._tables.erased:
                kept = self._tables.alerts[alert.alert_id] = alert
            return kept

    def alerts(self, customer_id: str, period: Period) -> Sequence[Alert]:
        """Return the alerts of a period, the lowest threshold first."""
        with self._tables.lock:
            found = [
                alert
                for alert in self._tables.alerts.values()
                if (alert.customer_id, alert.period) == (customer_id, period)
            ]
        return sorted(found, key=lambda alert: alert.threshold)

    def told(self, alert: Alert) -> frozenset[str] | None:
        """Return the channels that were told of an alert; ``None`` if it is kept no more."""
        with self._tables.lock:
            if alert.alert_id not in self._tables.alerts:
                return None
            return frozenset(self._tables.told.get(alert.alert_id, ()))

    def mark_told(self, alert: Alert, channel: str) -> None:
        """Note that a channel was told of an alert, if it is still kept."""
        with self._tables.lock:
            if alert.alert_id in self._tables.alerts:
                self._tables.told.setdefault(alert.alert_id, set()).add(channel)


class Channels:
    """The bus, the topic, the outbox and the mail in one; those in ``broken`` fail.

    ``heard`` has what each was told, in its order.
    """

    def __init__(self) -> None:
        self.broken: set[str] = set()
        self.heard: list[tuple[str, Any]] = []

    def heard_by(self, channel: str) -> list[Any]:
        """Return what a channel was told."""
        return [what for who, what in self.heard if who == channel]

    def period_closed(self, statement: Statement) -> None:
        """Hear of a statement, as the bus."""
        self._hear("bus", statement)

    def usage_alert(self, alert: Alert) -> None:
        """Hear of an alert, as the bus."""
        self._hear("bus", alert)

    def budget_reached(self, alert: BudgetAlert) -> None:
        """Hear of a ceiling, as the bus."""
        self._hear("bus", alert)

    def publish(self, alert: Alert) -> None:
        """Hear of an alert, as the topic."""
        self._hear("topic", alert)

    @property
    def outbox(self) -> Outbox:
        """The way to the webhooks."""
        return Outbox(self)

    @property
    def mail(self) -> Mail:
        """The way to the customers."""
        return Mail(self)

    def _hear(self, channel: str, what: Any) -> None:
        if channel in self.broken:
            raise RuntimeError(f"the {channel} is broken")
        self.heard.append((channel, what))


class Outbox:
    """The outbox of `Channels`."""

    def __init__(self, channels: Channels) -> None:
        self._channels = channels

    def send(self, event: WebhookEvent) -> None:
        """Hear of an event."""
        self._channels._hear("webhook", event)


class Mail:
    """The mail of `Channels`."""

    def __init__(self, channels: Channels) -> None:
        self._channels = channels

    def send(self, alert: Alert, address: str) -> None:
        """Hear of an alert."""
        self._channels._hear("email", (alert, address))

    def send_budget(self, alert: BudgetAlert, address: str) -> None:
        """Hear of a ceiling."""
        self._channels._hear("email", (alert, address))
