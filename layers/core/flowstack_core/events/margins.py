"""What moves the daily report of margins: the schedule, and the queue of steps."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any, Protocol

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.batch import EventType

from flowstack_core.adapters.sqs_margins import decode_step
from flowstack_core.domain.margin import Margin, MarginRun
from flowstack_core.domain.periods import Period
from flowstack_core.domain.plans import Tier
from flowstack_core.events.batches import LambdaFunction, each_record
from flowstack_core.events.month_end import ENSURE, UnknownEventError
from flowstack_core.metrics import MetricLog

_SERVICE = "margins"

logger = Logger()
_metrics = MetricLog(_SERVICE)


class Reporter(Protocol):
    """Adds up the margins of all customers."""

    def ensure(self) -> None:
        """Begin or resume whatever should be running."""
        ...

    def step(
        self, period: Period, day: date, number: int, tell: Callable[[MarginRun, Margin], None]
    ) -> MarginRun | None:
        """Do a step; return the run if it is finished."""
        ...


def margins(service: Callable[[], Reporter]) -> LambdaFunction:
    """Return the Lambda handler of the schedule and of the queue of steps."""

    def on_message(record: dict[str, Any]) -> None:
        period, day, number = decode_step(record["body"])
        report = service().step(period, day, number, _tell)
        logger.info("did a step", extra={"period": period.name, "step": number})
        if report is not None and report.of_present:
            _measure(report)

    steps = each_record(EventType.SQS, on_message)

    @logger.inject_lambda_context
    def handler(event: dict[str, Any], context: Any) -> Any:
        if "Records" in event:
            return steps(event, context)
        if event != ENSURE:
            raise UnknownEventError(f"neither {ENSURE} nor messages: keys {sorted(event)}")
        service().ensure()
        return None

    return handler


def _tell(run: MarginRun, margin: Margin) -> None:
    """Leave a line about a customer whose cost is of interest: metrics name nobody."""
    logger.warning(
        "a customer costs more than the set share of its price",
        extra={
            "costly_customer_id": margin.customer_id,
            "period": run.period.name,
            "tier": margin.tier.value,
            "revenue_cents": margin.revenue_cents,
            "managed_cost": f"{margin.use.cost:.4f}",
            "share_percent": run.share_percent,
        },
    )


def _measure(report: MarginRun) -> None:
    """Write the sums that dashboards show, and the number that the alarm watches."""
    for tier in Tier:
        total = report.totals.tiers.get(tier)
        if total is not None:
            _metrics.label(tier=tier.value)
            # Dollars: exact sums are in the report, CloudWatch has floats only.
            _metrics.gauge("ManagedCost", float(total.use.cost))
            _metrics.gauge("Revenue", total.revenue_cents / 100)
            _metrics.flush()
    _metrics.gauge("CustomersOverCostShare", report.totals.exceeding)
    _metrics.gauge(
        "UnpricedTokens",
        sum(
            total.use.unpriced.input_tokens + total.use.unpriced.output_tokens
            for total in report.totals.tiers.values()
        ),
    )
    _metrics.flush()
