"""Metrics of the functions in the embedded metric format, written to the log.

CloudWatch reads them from there, so they cost a request nothing. No metric has a customer as a
dimension: that would be one metric a customer, and a bill that grows with them.
"""

from __future__ import annotations

from aws_lambda_powertools import Metrics
from aws_lambda_powertools.metrics import EphemeralMetrics, MetricUnit

NAMESPACE = "FlowStack"


class MetricLog:
    """The metrics of one service; all of an invocation are written in one line.

    Parameters
    ----------
    service
        The dimension that they have.
    """

    def __init__(self, service: str) -> None:
        self._metrics = Metrics(namespace=NAMESPACE, service=service)

    def count(self, name: str, value: int = 1) -> None:
        """Add to a metric of this invocation."""
        self._metrics.add_metric(name=name, unit=MetricUnit.Count, value=value)

    def flush(self) -> None:
        """Write the metrics of this invocation to the log."""
        self._metrics.flush_metrics()


class TierGauges:
    """States of one tier, written in a line of their own.

    Parameters
    ----------
    service, tier
        The dimensions that they have.
    """

    def __init__(self, service: str, tier: str) -> None:
        self._metrics = EphemeralMetrics(namespace=NAMESPACE, service=service)
        self._metrics.add_dimension("tier", tier)

    def gauge(self, name: str, value: float) -> None:
        """Say what a state is now."""
        self._metrics.add_metric(name=name, unit=MetricUnit.NoUnit, value=value)

    def flush(self) -> None:
        """Write the states to the log."""
        self._metrics.flush_metrics()
