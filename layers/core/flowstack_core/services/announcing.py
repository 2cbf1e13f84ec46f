"""Telling everybody of what was written: statements, alerts (A2), and ceilings that were reached.

What is told was written before and stays written; telling only follows it, and may be begun again
by whatever delivers the news. Each channel gets its turn whatever became of the others, and the
failures are raised together at the end, so that all of it is tried again.

Then a channel may hear the same again. Every event carries an id that is the same each time, by
which the bus's and the topic's subscribers can tell, and by which the worker behind the webhooks
does tell. Mail carries none that a mail program would look at. So who was told of an alert is
noted on the alert, channel by channel, right after it was told: one that failed for an hour has
the others told once, and only a process that is killed between telling and noting repeats itself,
at that one channel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from flowstack_core.domain.alerts import Alert
from flowstack_core.domain.own_limits import BudgetAlert
from flowstack_core.domain.statements import Statement
from flowstack_core.domain.webhooks import EventType, WebhookEvent
from flowstack_core.services.documents import (
    budget_reached_event,
    period_closed_event,
    usage_alert_event,
)
from flowstack_core.services.ports.alerts import AlertMail, AlertStore, AlertTopic
from flowstack_core.services.ports.closing import EventPublisher
from flowstack_core.services.ports.webhooks import WebhookOutbox


class Announcer:
    """Tells the bus, the operators' topic, the customer's webhook, and the customer by mail.

    Parameters
    ----------
    mail
        ``None`` where it is not configured; then none is sent.
    """

    def __init__(
        self,
        alerts: AlertStore,
        bus: EventPublisher,
        topic: AlertTopic,
        outbox: WebhookOutbox,
        mail: AlertMail | None,
    ) -> None:
        self._alerts = alerts
        self._bus = bus
        self._outbox = outbox
        self._mail = mail
        self._channels: dict[str, Callable[[Alert], None]] = {
            "bus": bus.usage_alert,
            "topic": topic.publish,
            "webhook": lambda alert: outbox.send(_usage_alert(alert)),
        }
        if mail is not None:
            self._channels["email"] = partial(self._send_mail, mail)

    def statement_written(self, statement: Statement) -> None:
        """Tell of a statement.

        Raises
        ------
        ExceptionGroup
            Somebody could not be told.
        """
        _each(
            [
                partial(self._bus.period_closed, statement),
                partial(self._outbox.send, _statement_created(statement)),
            ]
        )

    def alert_kept(self, alert: Alert) -> None:
        """Tell of an alert whoever was not told yet; nobody, if it was erased meanwhile.

        Raises
        ------
        ExceptionGroup
            Somebody could not be told.
        """
        told = self._alerts.told(alert)
        if told is None:
            return
        _each([partial(self._tell, alert, each) for each in self._channels if each not in told])

    def ceiling_reached(self, alert: BudgetAlert) -> None:
        """Tell that a customer's own ceiling was reached; by mail when all others were told.

        Raises
        ------
        ExceptionGroup
            Somebody could not be told.
        """
        _each(
            [
                partial(self._bus.budget_reached, alert),
                partial(self._outbox.send, _budget_reached(alert)),
            ]
        )
        if self._mail is None:
            return
        address = self._alerts.settings(alert.customer_id).email
        if address is not None:
            self._mail.send_budget(alert, address)

    def _tell(self, alert: Alert, channel: str) -> None:
        self._channels[channel](alert)
        self._alerts.mark_told(alert, channel)

    def _send_mail(self, mail: AlertMail, alert: Alert) -> None:
        address = self._alerts.settings(alert.customer_id).email
        if address is not None:
            mail.send(alert, address)


def _each(steps: Sequence[Callable[[], None]]) -> None:
    """Take every step, and raise what failed afterwards."""
    failures = []
    for step in steps:
        try:
            step()
        except Exception as failure:  # noqa: BLE001 - raised when all had their turn
            failures.append(failure)
    if failures:
        raise ExceptionGroup("not everybody could be told", failures)


def _usage_alert(alert: Alert) -> WebhookEvent:
    return _for_webhook(EventType.USAGE_ALERT, alert.at, usage_alert_event(alert))


def _budget_reached(alert: BudgetAlert) -> WebhookEvent:
    return _for_webhook(EventType.BUDGET_REACHED, alert.reached.at, budget_reached_event(alert))


def _statement_created(statement: Statement) -> WebhookEvent:
    event = period_closed_event(statement)
    return _for_webhook(EventType.STATEMENT_CREATED, statement.closed_at, event)


def _for_webhook(kind: EventType, at: datetime, event: Mapping[str, Any]) -> WebhookEvent:
    """Return what the bus is told, as the customer's own server is."""
    ids = {"event_id", "customer_id"}
    return WebhookEvent(
        event_id=event["event_id"],
        customer_id=event["customer_id"],
        type=kind.value,
        at=at,
        data={name: value for name, value in event.items() if name not in ids},
    )
