"""Events on the bus of the stage, for whoever subscribes a rule to them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from flowstack_core.domain.alerts import Alert
from flowstack_core.domain.own_limits import BudgetAlert
from flowstack_core.domain.statements import Statement
from flowstack_core.services.documents import (
    budget_reached_event,
    period_closed_event,
    usage_alert_event,
)

if TYPE_CHECKING:
    from mypy_boto3_events import EventBridgeClient

SOURCE = "flowstack.billing"
PERIOD_CLOSED = "PeriodClosed"
USAGE_ALERT = "UsageAlert"
BUDGET_REACHED = "BudgetReached"


class EventNotTakenError(Exception):
    """The bus did not take an event; it has to be sent again."""


class EventBridgePublisher:
    """`flowstack_core.services.ports.closing.EventPublisher` on EventBridge.

    EventBridge delivers at least once, and so do we; ``event_id`` is the same each time. What the
    bus does not take is an `EventNotTakenError`.
    """

    def __init__(self, client: EventBridgeClient, bus_name: str) -> None:
        self._client = client
        self._bus_name = bus_name

    def period_closed(self, statement: Statement) -> None:
        """Tell that a period was closed."""
        self._put(PERIOD_CLOSED, period_closed_event(statement))

    def usage_alert(self, alert: Alert) -> None:
        """Tell that a threshold was reached."""
        self._put(USAGE_ALERT, usage_alert_event(alert))

    def budget_reached(self, alert: BudgetAlert) -> None:
        """Tell that a customer's own ceiling was reached."""
        self._put(BUDGET_REACHED, budget_reached_event(alert))

    def _put(self, detail_type: str, detail: Mapping[str, Any]) -> None:
        answer = self._client.put_events(
            Entries=[
                {
                    "EventBusName": self._bus_name,
                    "Source": SOURCE,
                    "DetailType": detail_type,
                    "Detail": json.dumps(detail),
                }
            ]
        )
        if answer["FailedEntryCount"]:
            raise EventNotTakenError(answer["Entries"][0].get("ErrorCode", "unknown"))
