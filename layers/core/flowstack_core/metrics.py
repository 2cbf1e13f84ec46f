"""Metrics of the functions in the embedded metric format, written to the log.

CloudWatch reads them from there, so they cost a request nothing. What they cost is a price for
each name and each combination of dimensions, so these are few: `METRICS` says which name is told
apart by what. No metric has a customer as a dimension: that would be one metric a customer, and a
bill that grows with them.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from aws_lambda_powertools.metrics import EphemeralMetrics, MetricUnit

NAMESPACE = "FlowStack"

MANAGED = "managed"
"""The provider of models on the operator's account; others are named as customers name them."""

Breakdown = Literal["tier", "provider"]

_TOTAL = ("service", "stage")


@dataclass(frozen=True, slots=True)
class Metric:
    """What one name stands for.

    Attributes
    ----------
    meaning
        What it counts or measures, for the documentation.
    by
        What it is told apart by.
    total
        Whether it is written without telling apart too.
    services
        Which parts write it.
    """

    meaning: str
    by: Breakdown | None = None
    total: bool = True
    unit: MetricUnit = MetricUnit.Count
    services: tuple[str, ...] = ("api",)

    @property
    def dimension_sets(self) -> tuple[tuple[str, ...], ...]:
        """The combinations of dimensions that it is written with."""
        apart = () if self.by is None else ((*_TOTAL, self.by),)
        return (_TOTAL, *apart) if self.total else apart


METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        "Requests": Metric("requests that reached a function"),
        "Overhead": Metric(
            "time that a message took beside its model's", unit=MetricUnit.Milliseconds
        ),
        "MessagesAnswered": Metric("messages that were answered, repeats left out", by="tier"),
        "SessionsStarted": Metric("sessions whose first message was answered", by="tier"),
        "SessionsReleased": Metric(
            "sessions given back, as nothing was processed in them; a repeat is counted again",
            services=("api", "expiry"),
        ),
        "QuotaRefusals": Metric("429 `QUOTA_EXCEEDED`", by="tier"),
        "TierRefusals": Metric("403 `TIER_LIMITATION`", by="tier"),
        "FairUseRefusals": Metric("429 `RATE_LIMITED`", by="tier"),
        "OwnLimitRefusals": Metric(
            "429 `BUDGET_EXCEEDED` and `SESSION_CAP_REACHED`: limits that customers set themselves",
            by="tier",
        ),
        "AdmissionsUnavailable": Metric("503: admission could not be decided in time"),
        "ModelLatency": Metric(
            "time that a model took, whatever came of it",
            by="provider",
            unit=MetricUnit.Milliseconds,
        ),
        "ModelFailures": Metric(
            "calls of a model, 1 for each that failed and 0 for others; a request that the"
            " provider found wrong is no failure",
            by="provider",
        ),
        "ModelThrottles": Metric("failures by the provider's limit of requests", by="provider"),
        "InputTokens": Metric("tokens that models read", by="provider"),
        "OutputTokens": Metric("tokens that models wrote", by="provider"),
        "DeferredRuns": Metric("runs of deferred requests by the worker, repetitions included"),
        "PaymentSignaturesRejected": Metric(
            "calls of the payment webhook that Stripe did not sign"
        ),
        "PaymentEventsIgnored": Metric("events of which nothing followed"),
        "PaymentEventsFailed": Metric("events that could not be carried out and will come again"),
        "WebhookMessages": Metric("messages of the queue of webhooks", services=("webhooks",)),
        "WebhookAttempts": Metric("attempts that came of them", services=("webhooks",)),
        "WebhooksDelivered": Metric("series of attempts that succeeded", services=("webhooks",)),
        "WebhooksFailed": Metric("series of attempts that were given up", services=("webhooks",)),
        "PeriodsClosed": Metric(
            "customers' periods that the month end closed; a repeated page is counted again",
            services=("month-end",),
        ),
        "ClosesGivenUp": Metric(
            "customers' periods that the month end gave up", services=("month-end",)
        ),
        "MonthEndOpen": Metric(
            "a state: customers of unfinished month ends that are to be closed yet",
            services=("month-end",),
        ),
        "MonthEndFailed": Metric(
            "a state: customers of unfinished month ends that were given up",
            services=("month-end",),
        ),
        "ManagedCost": Metric(
            "a state, in US dollars: what managed models cost in the present month so far",
            by="tier",
            total=False,
            unit=MetricUnit.NoUnit,
            services=("margins",),
        ),
        "Revenue": Metric(
            "a state, in US dollars: the prices of the present month",
            by="tier",
            total=False,
            unit=MetricUnit.NoUnit,
            services=("margins",),
        ),
        "CustomersOverCostShare": Metric(
            "a state: customers whose managed models cost more than the set share of what they pay",
            services=("margins",),
        ),
        "UnpricedTokens": Metric(
            "a state: managed tokens of the present month whose price is not known",
            services=("margins",),
        ),
    }
)
"""Every name that is written."""


class MetricLog:
    """The metrics of one service; all of an invocation are written in one line.

    Parameters
    ----------
    service
        The dimension that they have.
    """

    def __init__(self, service: str) -> None:
        self._service = service
        self._values: dict[str, list[float]] = {}
        self._labels: dict[str, str] = {}

    def count(self, name: str, value: int = 1) -> None:
        """Add to a metric of this invocation."""
        self._values[name] = [sum(self._values.get(name, ())) + value]

    def measure(self, name: str, milliseconds: float) -> None:
        """Add one measurement to a metric of this invocation."""
        self._values.setdefault(name, []).append(round(milliseconds, 1))

    def gauge(self, name: str, value: float) -> None:
        """Say what a state is now."""
        self._values[name] = [value]

    def label(self, *, tier: str, provider: str | None = None) -> None:
        """Say whose and which provider's the metrics of this invocation are."""
        self._labels = {"tier": tier} if provider is None else {"tier": tier, "provider": provider}

    def flush(self) -> None:
        """Write the metrics of this invocation to the log."""
        values, labels = self._values, self._labels
        self._values, self._labels = {}, {}
        if values:
            line = _line(self._service, values, labels)
            sys.stdout.write(f"{json.dumps(line, separators=(',', ':'))}\n")


def _line(
    service: str, values: Mapping[str, list[float]], labels: Mapping[str, str]
) -> dict[str, Any]:
    """Return one document with every metric under each of its combinations of dimensions."""
    known = {
        "service": service,
        "stage": os.environ.get("FLOWSTACK_STAGE", "undefined"),
        **labels,
    }
    alike: dict[tuple[tuple[str, ...], ...], list[str]] = {}
    for name in values:
        sets = tuple(each for each in METRICS[name].dimension_sets if known.keys() >= set(each))
        alike.setdefault(sets, []).append(name)
    line: dict[str, Any] = {}
    directives: list[Any] = []
    for sets, names in alike.items():
        part = _part([{each: known[each] for each in one} for one in sets], names, values)
        directives += part["_aws"]["CloudWatchMetrics"]
        line |= part
    line["_aws"]["CloudWatchMetrics"] = directives
    return line


def _part(
    sets: Sequence[Mapping[str, str]], names: Sequence[str], values: Mapping[str, list[float]]
) -> dict[str, Any]:
    """Return the document of metrics that have the same combinations of dimensions."""
    total, *more = sets
    metrics = EphemeralMetrics(namespace=NAMESPACE, dimension_set=dict(total))
    for dimensions in more:
        metrics.add_dimensions(**dimensions)
    for name in names:
        for value in values[name]:
            metrics.add_metric(name, METRICS[name].unit, value)
    return dict(metrics.serialize_metric_set())
