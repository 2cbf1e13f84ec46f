"""Events on the bus of the stage, for whoever subscribes a rule to them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from flowstack_core.domain.statements import Statement
from flowstack_core.services.documents import statement_document

if TYPE_CHECKING:
    from mypy_boto3_events import EventBridgeClient

SOURCE = "flowstack.billing"
PERIOD_CLOSED = "PeriodClosed"


class EventNotTakenError(Exception):
    """The bus did not take an event; it has to be sent again."""


class EventBridgePublisher:
    """`flowstack_core.services.ports.EventPublisher` on EventBridge."""

    def __init__(self, client: EventBridgeClient, bus_name: str) -> None:
        self._client = client
        self._bus_name = bus_name

    def period_closed(self, statement: Statement) -> None:
        """Tell that a period was closed.

        EventBridge delivers at least once, and so do we; ``event_id`` is the same each time.

        Raises
        ------
        EventNotTakenError
            If the bus did not take it.
        """
        detail = {
            "event_id": f"evt_period_closed_{statement.statement_id}",
            "customer_id": statement.customer_id,
            "period": statement.period.name,
            "statement": statement_document(statement),
        }
        answer = self._client.put_events(
            Entries=[
                {
                    "EventBusName": self._bus_name,
                    "Source": SOURCE,
                    "DetailType": PERIOD_CLOSED,
                    "Detail": json.dumps(detail),
                }
            ]
        )
        if answer["FailedEntryCount"]:
            raise EventNotTakenError(answer["Entries"][0].get("ErrorCode", "unknown"))
