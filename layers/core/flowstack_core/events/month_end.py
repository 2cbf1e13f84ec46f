"""What moves the month end: the schedules, the queue of steps, and the queue of pages."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.batch import EventType

from flowstack_core.adapters.sqs_month_end import decode_page, decode_step
from flowstack_core.domain.month_end import ClosePage, Progress
from flowstack_core.domain.periods import Period
from flowstack_core.events.batches import LambdaFunction, each_record
from flowstack_core.metrics import MetricLog
from flowstack_core.services.month_end import PageClosed

ENSURE = {"task": "ensure"}
"""What the schedules say."""

logger = Logger()
_metrics = MetricLog("month-end")


class UnknownEventError(ValueError):
    """The event is neither a schedule's nor the queue's."""


class MonthEnd(Protocol):
    """Runs the month end."""

    def ensure(self) -> list[Progress]:
        """Start and resume whatever should be running; tell how far it is."""
        ...

    def step(self, period: Period, number: int) -> None:
        """Do a step of the listing."""
        ...


class Worker(Protocol):
    """Closes pages."""

    def close(self, page: ClosePage, delivery: int) -> PageClosed:
        """Close a page on its ``delivery``-th delivery."""
        ...


def month_end(service: Callable[[], MonthEnd]) -> LambdaFunction:
    """Return the Lambda handler of the schedules and of the queue of steps."""

    def on_message(record: dict[str, Any]) -> None:
        period, number = decode_step(record["body"])
        service().step(period, number)
        logger.info("did a step", extra={"period": period.name, "step": number})

    steps = each_record(EventType.SQS, on_message)

    @logger.inject_lambda_context
    def handler(event: dict[str, Any], context: Any) -> Any:
        if "Records" in event:
            return steps(event, context)
        if event != ENSURE:
            raise UnknownEventError(f"neither {ENSURE} nor messages: keys {sorted(event)}")
        _report(service().ensure())
        return None

    return handler


def closes(worker: Callable[[], Worker]) -> LambdaFunction:
    """Return the Lambda handler of the queue of pages."""

    def on_message(record: dict[str, Any]) -> None:
        page = decode_page(record["body"])
        delivery = int(record["attributes"]["ApproximateReceiveCount"])
        outcome = worker().close(page, delivery)
        _metrics.count("PeriodsClosed", outcome.closed)
        _metrics.count("ClosesGivenUp", outcome.given_up)
        logger.info(
            "closed a page",
            extra={
                "period": page.period.name,
                "page": page.number,
                "delivery": delivery,
                "closed": outcome.closed,
                "given_up": outcome.given_up,
            },
        )

    pages = each_record(EventType.SQS, on_message)

    def handler(event: dict[str, Any], context: Any) -> Any:
        try:
            return pages(event, context)
        finally:
            _metrics.flush()

    return handler


def _report(unfinished: Iterable[Progress]) -> None:
    """Leave a line about each run that is not done, and the sums that the alarms watch."""
    still_open = failed = 0
    for reached in unfinished:
        still_open += reached.open
        failed += len(reached.failed)
        logger.info(
            "month end",
            extra={
                "period": reached.run.period.name,
                "listed": reached.run.listed_at is not None,
                "customers": reached.customers,
                "closed": reached.closed,
                "open": reached.open,
                "failed": len(reached.failed),
            },
        )
    _metrics.count("MonthEndOpen", still_open)
    _metrics.count("MonthEndFailed", failed)
    _metrics.flush()
