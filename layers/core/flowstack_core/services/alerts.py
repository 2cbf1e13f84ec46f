"""Alerts: noticing that a threshold is reached (A1), and what customers want to be told of.

Who is told of an alert is decided in `flowstack_core.services.announcing`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flowstack_core.domain.alerts import (
    LOWEST_THRESHOLD,
    Alert,
    AlertSettings,
    SettingsChange,
    first_reached,
    reaches,
)
from flowstack_core.domain.errors import ConflictError
from flowstack_core.domain.periods import Period
from flowstack_core.domain.quota import PeriodUsage
from flowstack_core.services.auditing import Auditor
from flowstack_core.services.documents import alert_document
from flowstack_core.services.ports.alerts import AlertStore
from flowstack_core.services.ports.surroundings import Clock, CustomerClocks

_REMEMBERED = 20_000
_MAX_CHANGE_ATTEMPTS = 5


class ThresholdWatch:
    """Keeps an alert for each threshold that a counter reaches.

    Counts may come twice, in any order, many at once, and to two watches at a time: an alert is
    kept under a condition, and what a killed watch left undone is done when its counts come again.

    A batch of counts costs one read of the settings of those customers that have used a percent
    of their limit, and one write for each alert. What is kept is remembered, so that the counts
    that follow an alert do not try to write it again; it can be forgotten at any time.
    """

    def __init__(self, alerts: AlertStore, clocks: CustomerClocks) -> None:
        self._alerts = alerts
        self._clocks = clocks
        self._kept: set[tuple[str, Period, int]] = set()

    def settings_for(self, counts: Iterable[PeriodUsage]) -> Mapping[str, AlertSettings]:
        """Return the settings of customers whose counts could reach any threshold there can be."""
        concerned = {
            count.customer_id
            for count in counts
            if reaches(LOWEST_THRESHOLD, count.sessions_used, count.session_limit)
        }
        return self._alerts.settings_of(sorted(concerned)) if concerned else {}

    def watch(
        self, counts: Sequence[PeriodUsage], settings: Mapping[str, AlertSettings]
    ) -> Sequence[Alert]:
        """Keep the alerts that counts of one customer and period call for; return the new ones.

        Parameters
        ----------
        settings
            What `settings_for` these counts returned.
        """
        customer_id, period = counts[0].customer_id, counts[0].period
        if customer_id not in settings:
            return ()
        reached = {
            threshold: count
            for threshold, count in first_reached(settings[customer_id], counts).items()
            if (customer_id, period, threshold) not in self._kept
        }
        if not reached:
            return ()
        now = self._clocks.for_customer(customer_id).now()
        alerts = [
            Alert(customer_id, period, threshold, now, count.sessions_used, count.session_limit)
            for threshold, count in reached.items()
        ]
        return [alert for alert in alerts if self._keep(alert)]

    def _keep(self, alert: Alert) -> bool:
        """Keep an alert; return whether it is the one that is kept now."""
        kept = self._alerts.keep(alert)
        if len(self._kept) >= _REMEMBERED:
            self._kept.clear()
        self._kept.add((alert.customer_id, alert.period, alert.threshold))
        return kept == alert


@dataclass(frozen=True, slots=True)
class AlertOverview:
    """What a customer wants to be told of, and was told of in its present period."""

    period: Period
    settings: AlertSettings
    alerts: Sequence[Alert]


class AlertService:
    """Shows alerts, and changes what customers are told of. An ``actor`` is the key's id."""

    def __init__(
        self,
        alerts: AlertStore,
        clocks: CustomerClocks,
        clock: Clock,
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._alerts = alerts
        self._clocks = clocks
        self._audit = Auditor(clock, random_bytes).record

    def overview(self, customer_id: str, period: Period | None = None) -> AlertOverview:
        """Return the settings and a period's alerts, the present one's if none is named."""
        return self._overview(customer_id, self._alerts.settings(customer_id), period)

    def change(self, actor: str, customer_id: str, change: SettingsChange) -> AlertOverview:
        """Change the settings; return them as `overview` does.

        Raises
        ------
        ConflictError
            Others keep changing them at the same time.
        """
        for _ in range(_MAX_CHANGE_ATTEMPTS):
            before = self._alerts.settings(customer_id)
            after = change.applied_to(before)
            if after == before:
                return self._overview(customer_id, before)
            audit = self._audit(actor, customer_id, "alerts.set", before.facts(), after.facts())
            if self._alerts.replace_settings(customer_id, before, after, audit):
                return self._overview(customer_id, after)
        raise ConflictError("These settings are being changed by somebody else; try again.")

    def _overview(
        self, customer_id: str, settings: AlertSettings, period: Period | None = None
    ) -> AlertOverview:
        if period is None:
            period = Period.containing(self._clocks.for_customer(customer_id).now())
        return AlertOverview(period, settings, self._alerts.alerts(customer_id, period))


def alerts_document(overview: AlertOverview) -> dict[str, Any]:
    """Render the settings and alerts of a customer."""
    return {
        "period": overview.period.name,
        "thresholds": list(overview.settings.thresholds),
        "email": overview.settings.email,
        "alerts": [alert_document(alert) for alert in overview.alerts],
    }
