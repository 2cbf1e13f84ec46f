"""What operators count of requests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from time import perf_counter
from types import MappingProxyType

from aws_lambda_powertools import Logger

from flowstack_core.domain import errors
from flowstack_core.domain.errors import FlowStackError
from flowstack_core.domain.messages import TokenUsage
from flowstack_core.domain.plans import Tier
from flowstack_core.domain.providers import Provider
from flowstack_core.metrics import MANAGED, MetricLog
from flowstack_core.services.conversations import Answer

logger = Logger()

_REFUSALS: Mapping[type[FlowStackError], str] = MappingProxyType(
    {
        errors.QuotaExceededError: "QuotaRefusals",
        errors.TierLimitationError: "TierRefusals",
        errors.RateLimitedError: "FairUseRefusals",
        errors.BudgetExceededError: "OwnLimitRefusals",
        errors.SessionCapReachedError: "OwnLimitRefusals",
        errors.ServiceUnavailableError: "AdmissionsUnavailable",
    }
)

_metrics = MetricLog("api")


@dataclass
class _Request:
    """What is known so far of the request that this invocation is about."""

    began: float | None = None
    about_a_message: bool = False
    model_seconds: float = 0.0


_request = _Request()


def begin() -> None:
    """Count a request that has arrived, and take the time."""
    _request.began = perf_counter()
    count("Requests")


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


def count_run() -> None:
    """Count a run of a deferred request, whatever comes of it."""
    count("DeferredRuns")


def count_error(error: FlowStackError) -> None:
    """Count a refusal under what it is called."""
    name = next((_REFUSALS[kind] for kind in type(error).__mro__ if kind in _REFUSALS), None)
    if name is not None:
        count(name)


def flush() -> None:
    """Write the metrics of this request to the log."""
    if _request.about_a_message and _request.began is not None:
        seconds = perf_counter() - _request.began - _request.model_seconds
        _metrics.measure("Overhead", max(seconds, 0.0) * 1000)
    _request.began, _request.about_a_message, _request.model_seconds = None, False, 0.0
    _metrics.flush()


class MessageObserver:
    """Counts what services tell of the message that this invocation is about."""

    def message_received(self, tier: Tier, provider: Provider, *, managed: bool) -> None:
        """Take note of whose message it is, and of who will answer it."""
        _request.about_a_message = True
        _metrics.label(tier=tier.value, provider=MANAGED if managed else provider.value)

    def model_answered(self, seconds: float, usage: TokenUsage) -> None:
        """Count an answer of the model."""
        _count_call(seconds, failed=False)
        count("InputTokens", usage.input_tokens)
        count("OutputTokens", usage.output_tokens)

    def model_failed(self, seconds: float, error: FlowStackError) -> None:
        """Count a call without an answer; that a request was wrong is no failure of the model."""
        rejected = isinstance(error, errors.ModelRequestRejectedError)
        _count_call(seconds, failed=isinstance(error, errors.ModelError) and not rejected)
        if isinstance(error, errors.ProviderRateLimitedError):
            count("ModelThrottles")

    def session_released(self) -> None:
        """Count a session that was given back."""
        count("SessionsReleased")


def _count_call(seconds: float, *, failed: bool) -> None:
    _request.model_seconds += seconds
    _metrics.measure("ModelLatency", seconds * 1000)
    count("ModelFailures", int(failed))
