"""Metrics that alarms and the dashboard look at, by the names that their writers give them."""

from __future__ import annotations

from collections.abc import Mapping

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch

from stacks.stage import Stage

PERIOD = Duration.minutes(5)
MINUTE = Duration.minutes(1)

METRICS = "FlowStack"
"""Namespace of the metrics that functions write themselves."""

MANAGED = "managed"
"""The provider of models on the operator's account."""

BILLING_REGION = "us-east-1"
"""The one region in which AWS keeps its metric of charges."""


def own_metric(
    stage: Stage,
    name: str,
    *,
    service: str = "api",
    statistic: str = "Sum",
    period: Duration = PERIOD,
    **by: str,
) -> cloudwatch.Metric:
    """Return a metric that functions write; ``by`` is the tier or the provider."""
    return cloudwatch.Metric(
        namespace=METRICS,
        metric_name=name,
        dimensions_map={"service": service, "stage": stage.name, **by},
        statistic=statistic,
        period=period,
    )


def each_of(
    stage: Stage, name: str, by: str, statistic: str = "Sum"
) -> cloudwatch.SearchExpression:
    """Return a metric once for each tier or provider there is; on dashboards only."""
    searched = f'{{{METRICS},service,stage,{by}}} MetricName="{name}" stage="{stage.name}"'
    return cloudwatch.SearchExpression(
        expression=f"SEARCH('{searched}', '{statistic}', {PERIOD.to_seconds():.0f})",
        label=f"${{PROP('Dim.{by}')}}",
        period=PERIOD,
    )


def api_metric(
    api_name: str,
    stage: Stage,
    name: str,
    *,
    statistic: str = "Sum",
    period: Duration = PERIOD,
    of: Mapping[str, str] | None = None,
) -> cloudwatch.Metric:
    """Return a metric of API Gateway, of all routes or ``of`` one."""
    return cloudwatch.Metric(
        namespace="AWS/ApiGateway",
        metric_name=name,
        dimensions_map={"ApiName": api_name, "Stage": stage.name, **(of or {})},
        statistic=statistic,
        period=period,
    )


def function_metric(name: str, metric: str, statistic: str = "Sum") -> cloudwatch.Metric:
    """Return a metric of a Lambda function."""
    return cloudwatch.Metric(
        namespace="AWS/Lambda",
        metric_name=metric,
        dimensions_map={"FunctionName": name},
        statistic=statistic,
        period=PERIOD,
    )


def queue_metric(name: str, metric: str) -> cloudwatch.Metric:
    """Return a metric of a queue."""
    return cloudwatch.Metric(
        namespace="AWS/SQS",
        metric_name=metric,
        dimensions_map={"QueueName": name},
        statistic="Maximum",
        period=PERIOD,
    )


def charges(service: str) -> cloudwatch.Metric:
    """Return what AWS estimates for a service this month, in the whole account."""
    return cloudwatch.Metric(
        namespace="AWS/Billing",
        metric_name="EstimatedCharges",
        dimensions_map={"ServiceName": service, "Currency": "USD"},
        statistic="Maximum",
        period=Duration.hours(6),
        region=BILLING_REGION,
    )
