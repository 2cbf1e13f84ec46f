"""What operators count of requests."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from aws_lambda_powertools import Logger

from flowstack_core.domain import errors
from flowstack_core.domain.errors import FlowStackError
from flowstack_core.metrics import MetricLog
from flowstack_core.services.conversations import Answer

logger = Logger()

_REFUSALS: Mapping[type[FlowStackError], str] = MappingProxyType(
    {
        errors.QuotaExceededError: "QuotaRefusals",
        errors.TierLimitationError: "TierRefusals",
        errors.RateLimitedError: "FairUseRefusals",
        errors.BudgetExceededError: "OwnLimitRefusals",
        errors.SessionCapReachedError: "OwnLimitRefusals",
        errors.ModelError: "ModelFailures",
        errors.ServiceUnavailableError: "AdmissionsUnavailable",
    }
)

_metrics = MetricLog("api")


def count(name: str, value: int = 1) -> None:
    """Add to a metric of this request."""
    _metrics.count(name, value)


def count_answer(operation: str, answer: Answer) -> None:
    """Count an answer, and leave a line about it in the log; a repeat counts nothing."""
    logger.info(
        "answered",
        extra={
            "operation": operation,
            "session_id": answer.document["session"]["id"],
            "session_started": answer.session_started,
            "replayed": answer.replayed,
            "tokens": answer.usage_tokens,
        },
    )
    if not answer.replayed:
        count("MessagesAnswered")
        count("SessionsStarted", int(answer.session_started))
        count("Tokens", answer.usage_tokens)


def count_run() -> None:
    """Count a run of a deferred request, whatever comes of it."""
    count("DeferredRuns")


def count_error(error: FlowStackError) -> None:
    """Count a refusal or failure under what it is called."""
    name = next((_REFUSALS[kind] for kind in type(error).__mro__ if kind in _REFUSALS), None)
    if name is not None:
        count(name)


def flush() -> None:
    """Write the metrics of this request to the log."""
    _metrics.flush()
