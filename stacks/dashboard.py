"""What an operator looks at: one page a stage."""

from __future__ import annotations

from collections.abc import Sequence

from aws_cdk import aws_cloudwatch as cloudwatch
from constructs import Construct

from stacks.constructs.function import StageFunction
from stacks.constructs.queue import DeadLetters
from stacks.constructs.table import StageTable
from stacks.measures import (
    MANAGED,
    PERIOD,
    api_metric,
    charges,
    each_of,
    function_metric,
    own_metric,
    queue_metric,
)
from stacks.stage import Stage

FULL, HALF, THIRD = 24, 12, 8


class StageDashboard(Construct):
    """Rows from what customers see down to what the tables do.

    Tiers and providers are found by searching, so that a new one is there by itself.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        stage: Stage,
        api_name: str,
        functions: Sequence[StageFunction],
        dead_letters: Sequence[DeadLetters],
        tables: Sequence[StageTable],
        alarms: Sequence[cloudwatch.IAlarm],
    ) -> None:
        super().__init__(scope, construct_id)
        self._stage = stage
        cloudwatch.Dashboard(
            self,
            "Dashboard",
            dashboard_name=stage.name_of("overview"),
            widgets=[
                [
                    cloudwatch.AlarmStatusWidget(
                        title="Alarms", alarms=list(alarms), width=FULL, height=8
                    )
                ],
                self._traffic(),
                self._latency(api_name),
                self._failures(api_name, functions),
                self._sessions_and_costs(),
                self._margins_and_webhooks(),
                self._background(functions, dead_letters),
                self._tables(tables),
            ],
        )

    def _traffic(self) -> list[cloudwatch.IWidget]:
        return [
            _graph(
                "Messages answered, by tier", [self._each("MessagesAnswered", "tier")], stacked=True
            ),
            _graph(
                "Refusals, by reason",
                [
                    self._own("QuotaRefusals"),
                    self._own("TierRefusals"),
                    self._own("FairUseRefusals"),
                    self._own("OwnLimitRefusals"),
                    self._own("AdmissionsUnavailable"),
                ],
            ),
            _graph("Quota refusals, by tier", [self._each("QuotaRefusals", "tier")]),
        ]

    def _latency(self, api_name: str) -> list[cloudwatch.IWidget]:
        return [
            _graph(
                "Gateway: latency, ms",
                [
                    api_metric(api_name, self._stage, "Latency", statistic=statistic)
                    for statistic in ("p50", "p99")
                ],
            ),
            _graph(
                "Messages beside the model, ms",
                [self._own("Overhead", statistic=statistic) for statistic in ("p50", "p99")],
            ),
            _graph("Models: p99, ms, by provider", [self._each("ModelLatency", "provider", "p99")]),
        ]

    def _failures(
        self, api_name: str, functions: Sequence[StageFunction]
    ) -> list[cloudwatch.IWidget]:
        return [
            _graph(
                "Gateway: answers",
                [
                    api_metric(api_name, self._stage, name)
                    for name in ("Count", "4XXError", "5XXError")
                ],
            ),
            _graph(
                "Functions: errors and throttles",
                [
                    function_metric(function.function_name, name)
                    for name in ("Errors", "Throttles")
                    for function in functions
                ],
            ),
            _graph(
                "Models: share of failures, by provider",
                [self._each("ModelFailures", "provider", "Average")],
            ),
        ]

    def _sessions_and_costs(self) -> list[cloudwatch.IWidget]:
        return [
            _graph(
                "Sessions started and released",
                [
                    self._own("SessionsStarted"),
                    self._own("SessionsReleased"),
                    self._own("SessionsReleased", service="expiry"),
                ],
            ),
            _graph(
                "Tokens, by provider",
                [self._each("InputTokens", "provider"), self._each("OutputTokens", "provider")],
                stacked=True,
            ),
            _graph(
                "Managed models: tokens, and Bedrock's charges this month ($)",
                [
                    self._own("InputTokens", provider=MANAGED),
                    self._own("OutputTokens", provider=MANAGED),
                ],
                right=[charges("AmazonBedrock")],
            ),
        ]

    def _margins_and_webhooks(self) -> list[cloudwatch.IWidget]:
        return [
            _graph(
                "This month's cost of managed models, by tier ($)",
                [self._each("ManagedCost", "tier", "Maximum")],
            ),
            _graph("This month's prices, by tier ($)", [self._each("Revenue", "tier", "Maximum")]),
            _graph(
                "Webhooks: deliveries that succeeded, and that were given up",
                [
                    self._own(name, service="webhooks")
                    for name in ("WebhooksDelivered", "WebhooksFailed")
                ],
            ),
        ]

    def _background(
        self, functions: Sequence[StageFunction], dead_letters: Sequence[DeadLetters]
    ) -> list[cloudwatch.IWidget]:
        return [
            _graph(
                "Month end: open and failed customers",
                [
                    self._own(name, service="month-end", statistic="Maximum")
                    for name in ("MonthEndOpen", "MonthEndFailed")
                ],
            ),
            _graph(
                "Dead letters",
                [
                    queue_metric(letters.name, "ApproximateNumberOfMessagesVisible")
                    for letters in dead_letters
                ],
            ),
            _graph(
                "Streams: how far behind, ms",
                [
                    function_metric(function.function_name, "IteratorAge", "Maximum")
                    for function in functions
                    if function.listens_to is not None
                ],
            ),
        ]

    def _tables(self, tables: Sequence[StageTable]) -> list[cloudwatch.IWidget]:
        return [
            _graph(
                title,
                [
                    table.resource.metric(
                        metric, statistic="Sum", period=PERIOD, label=f"{table.name} {what}"
                    )
                    for table in tables
                    for metric, what in metrics
                ],
                width=HALF,
            )
            for title, metrics in (
                (
                    "Tables: units consumed",
                    (
                        ("ConsumedReadCapacityUnits", "read"),
                        ("ConsumedWriteCapacityUnits", "write"),
                    ),
                ),
                (
                    "Tables: throttled",
                    (("ReadThrottleEvents", "read"), ("WriteThrottleEvents", "write")),
                ),
            )
        ]

    def _own(self, name: str, **options: str) -> cloudwatch.Metric:
        return own_metric(self._stage, name, **options)  # type: ignore[arg-type]

    def _each(self, name: str, by: str, statistic: str = "Sum") -> cloudwatch.SearchExpression:
        return each_of(self._stage, name, by, statistic)


def _graph(
    title: str,
    left: Sequence[cloudwatch.IMetric],
    *,
    right: Sequence[cloudwatch.IMetric] = (),
    stacked: bool = False,
    width: int = THIRD,
) -> cloudwatch.GraphWidget:
    return cloudwatch.GraphWidget(
        title=title, left=list(left), right=list(right), stacked=stacked, width=width, height=6
    )
