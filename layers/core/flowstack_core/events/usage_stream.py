"""The stream of the usage table: counts that rose, and what was written to be told."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.batch import EventType

from flowstack_core.adapters.dynamodb_alerts import ALERT_PREFIX, decode_alert
from flowstack_core.adapters.dynamodb_closing import STATEMENT_PREFIX, decode_statement
from flowstack_core.adapters.dynamodb_own_limits import (
    BUDGET_ALERT_PREFIX,
    decode_budget_alert,
)
from flowstack_core.adapters.dynamodb_usage import COUNTER_PREFIX, decode_usage
from flowstack_core.domain.alerts import AlertSettings
from flowstack_core.domain.periods import Period
from flowstack_core.domain.quota import PeriodUsage
from flowstack_core.events.batches import LambdaFunction, each_record
from flowstack_core.services.alerts import ThresholdWatch
from flowstack_core.services.announcing import Announcer

logger = Logger()


# --- counts --------------------------------------------------------------------------------


def watched_counts(watch: Callable[[], ThresholdWatch]) -> LambdaFunction:
    """Return the Lambda handler that keeps an alert for each threshold that is reached (A1).

    All counts of one customer and period in a batch are looked at together. If that fails, all
    their records are reported, and no others.
    """

    def handler(event: dict[str, Any], context: Any) -> Any:
        counts = _by_place(event["Records"])

        @cache
        def settings() -> Mapping[str, AlertSettings]:
            return watch().settings_for(each for group in counts.values() for each in group)

        @cache
        def look_at(customer_id: str, period: Period) -> None:
            for alert in watch().watch(counts[customer_id, period], settings()):
                logger.info("kept an alert", extra={"alert_id": alert.alert_id})

        def on_record(record: dict[str, Any]) -> None:
            count = counted(record)
            if count is not None:
                look_at(count.customer_id, count.period)

        return each_record(EventType.DynamoDBStreams, on_record)(event, context)

    return handler


def counted(record: dict[str, Any]) -> PeriodUsage | None:
    """Return the counter that a stream record reports as written, ``None`` for other changes.

    A closed period counts no start: what is written there since, takes something back.
    """
    change = record["dynamodb"]
    if record["eventName"] == "REMOVE" or not _sort_key(change).startswith(COUNTER_PREFIX):
        return None
    count = decode_usage(change["NewImage"])
    return count if count.closed_at is None else None


def _by_place(records: Iterable[dict[str, Any]]) -> Mapping[tuple[str, Period], list[PeriodUsage]]:
    """Return the counts of each customer and period; what cannot be read fails in its turn."""
    found: dict[tuple[str, Period], list[PeriodUsage]] = defaultdict(list)
    for record in records:
        try:
            count = counted(record)
        except (KeyError, ValueError):
            continue
        if count is not None:
            found[count.customer_id, count.period].append(count)
    return found


# --- statements and alerts -----------------------------------------------------------------


def announcements(announcer: Callable[[], Announcer]) -> LambdaFunction:
    """Return the Lambda handler that tells of statements, alerts and ceilings."""

    def on_record(record: dict[str, Any]) -> None:
        change = record["dynamodb"]
        if record["eventName"] != "INSERT":
            return
        if _sort_key(change).startswith(STATEMENT_PREFIX):
            statement = decode_statement(change["NewImage"])
            announcer().statement_written(statement)
            logger.info("told of a statement", extra={"statement_id": statement.statement_id})
        elif _sort_key(change).startswith(ALERT_PREFIX):
            alert = decode_alert(change["NewImage"])
            announcer().alert_kept(alert)
            logger.info("told of an alert", extra={"alert_id": alert.alert_id})
        elif _sort_key(change).startswith(BUDGET_ALERT_PREFIX):
            reached = decode_budget_alert(change["NewImage"])
            announcer().ceiling_reached(reached)
            logger.info("told of a ceiling", extra={"event_id": reached.event_id})

    return each_record(EventType.DynamoDBStreams, on_record)


def _sort_key(change: Mapping[str, Any]) -> str:
    key: str = change["Keys"]["sk"]["S"]
    return key
