"""What operators count of requests."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from flowstack_core.domain import errors
from flowstack_core.domain.errors import FlowStackError
from flowstack_core.metrics import MetricLog

_REFUSALS: Mapping[type[FlowStackError], str] = MappingProxyType(
    {
        errors.QuotaExceededError: "QuotaRefusals",
        errors.TierLimitationError: "TierRefusals",
        errors.RateLimitedError: "FairUseRefusals",
        errors.ModelError: "ModelFailures",
        errors.ServiceUnavailableError: "AdmissionsUnavailable",
    }
)

_metrics = MetricLog("api")


def count(name: str, value: int = 1) -> None:
    """Add to a metric of this request."""
    _metrics.count(name, value)


def count_error(error: FlowStackError) -> None:
    """Count a refusal or failure under what it is called."""
    name = next((_REFUSALS[kind] for kind in type(error).__mro__ if kind in _REFUSALS), None)
    if name is not None:
        count(name)


def flush() -> None:
    """Write the metrics of this request to the log."""
    _metrics.flush()
