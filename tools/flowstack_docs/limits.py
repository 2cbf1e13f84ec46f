"""The tables of ``docs/limits.md``: every bound that a caller or an operator meets.

Bounds of requests and of the vault, plans and fair use have tables of their own.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from flowstack_core.adapters.dynamodb_alerts import KEPT_FOR
from flowstack_core.adapters.dynamodb_deferred import MAX_BODY_BYTES
from flowstack_core.adapters.dynamodb_rollups import ROLLUP_RETENTION
from flowstack_core.adapters.dynamodb_sessions import RECORD_RETENTION, TRANSCRIPT_MEMORY
from flowstack_core.adapters.egress_transport import MAX_RESPONSE_BYTES
from flowstack_core.adapters.webhook_sender import TIMEOUT_SECONDS
from flowstack_core.domain import alerts, deferred, idempotency, own_limits, payments, webhooks
from flowstack_core.domain.data_rights import ARCHIVE_LIFETIME
from flowstack_core.domain.history import MOST_NAMES, MOST_SPANS
from flowstack_core.domain.quota import NEAR_LIMIT_PERCENT
from flowstack_core.domain.sessions import INACTIVITY_LIMIT
from flowstack_core.domain.stored_credentials import MAX_PLAINTEXT_BYTES
from flowstack_core.domain.vault import RECEIPT_RETENTION
from flowstack_core.services.conversations import LONGEST_MODEL_SECONDS
from flowstack_core.services.exports import LINK_LIFETIME
from flowstack_core.services.history import MOST_SLICES
from flowstack_docs.markdown import table
from stacks import api_stack, billing_stack, deferred_requests, rights_stack, webhook_stack
from stacks.constructs.queue import DEAD_LETTERS_KEPT, DELIVERIES
from stacks.constructs.stream import RETRIES

_UNITS = (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1))


def time_limits() -> str:
    """Return how long things may take, and how soon a change holds."""
    synchronous = _seconds(api_stack.CONVERSATION_TIMEOUT.to_seconds())
    return _limits(
        ("a session ends after a pause of", _span(INACTIVITY_LIMIT)),
        ("a request, its model's answer included", synchronous),
        ("the model's answer to a deferred request", _seconds(LONGEST_MODEL_SECONDS)),
        ("a deferred request is over after", _span(deferred.LIFETIME)),
        ("a webhook's answer", _seconds(TIMEOUT_SECONDS)),
        (
            "a revoked key, a lowered cap and replaced credentials are still good for at most",
            _seconds(api_stack.AUTHORIZER_CACHE.to_seconds()),
        ),
        ("after a payment failed, the plan stays for at least", _span(payments.GRACE)),
    )


def retention() -> str:
    """Return how long what is kept can be read."""
    return _limits(
        ("the outcome of a deferred request", _span(deferred.RETENTION)),
        ("an `Idempotency-Key` and its answer", _span(idempotency.RETENTION)),
        ("an `Idempotency-Key` of the vault", _span(RECEIPT_RETENTION)),
        (
            "what `/chat` remembers of a session, back from its latest activity",
            _span(TRANSCRIPT_MEMORY),
        ),
        ("deliveries of webhooks", _span(webhooks.RETENTION)),
        ("alerts, after the end of their period", _span(KEPT_FOR)),
        ("records of sessions, after the end of their period", _span(RECORD_RETENTION)),
        ("the usage history", _span(ROLLUP_RETENTION)),
        ("statements, and counts of periods", "for good"),
        ("documents of the vault", "for good, or their `ttl_seconds`"),
        ("an archive of an export", _span(ARCHIVE_LIFETIME)),
        ("a link to it", _span(LINK_LIFETIME)),
        ("dead letters", _days(DEAD_LETTERS_KEPT.to_days())),
    )


def customer_limits() -> str:
    """Return the bounds of what customers set and ask for, beside messages and the vault."""
    spans = "; ".join(f"{granularity} {most}" for granularity, most in MOST_SPANS.items())
    return _limits(
        ("`is_near_limit` is true from", f"{NEAR_LIMIT_PERCENT} % of the sessions on"),
        (
            "thresholds of alerts",
            f"{alerts.MAX_THRESHOLDS}; {_listed(map(str, alerts.DEFAULT_THRESHOLDS))} % by default",
        ),
        (
            "a threshold",
            f"from {alerts.LOWEST_THRESHOLD} to {alerts.HIGHEST_THRESHOLD} %, whole",
        ),
        ("`monthly_ceiling`", f"${own_limits.MAX_CEILING_CENTS // 100:,}"),
        ("`session_turn_cap`", f"{own_limits.MAX_TURN_CAP:,} messages"),
        ("`session_token_cap`", f"{own_limits.MAX_TOKEN_CAP:,} tokens"),
        ("spans of the usage history at a time", spans),
        ("parts of a span by agent, provider or model", f"{MOST_NAMES}, and the others as one"),
        ("parts of all spans together", f"{MOST_SLICES:,}"),
        ("credentials stored for a provider, together", f"{MAX_PLAINTEXT_BYTES:,} bytes"),
        ("a provider's answer", f"{MAX_RESPONSE_BYTES:,} bytes"),
        ("the body of a deferred request, compressed", f"{MAX_BODY_BYTES:,} bytes"),
        ("`Idempotency-Key`", f"{idempotency.LONGEST} visible ASCII characters"),
    )


def webhook_limits() -> str:
    """Return the schedule and the bounds of deliveries."""
    return _limits(
        ("attempts of a series", str(len(webhooks.RETRY_DELAYS) + 1)),
        ("the pauses between them", _listed(map(_span, webhooks.RETRY_DELAYS))),
        ("the longest pause that `Retry-After` asks for", _span(webhooks.LONGEST_DELAY)),
        ("the least pause after 429, 502 and 504", _span(webhooks.BUSY_DELAY)),
        ("attempts shown of a delivery", f"the last {webhooks.ATTEMPTS_KEPT}"),
        ("between two tests, or two deliveries of one event by hand", _span(webhooks.PACE)),
        ("an old secret goes on signing for", _span(webhooks.OVERLAP)),
        ("secrets that sign at once", str(webhooks.MOST_SECRETS)),
    )


def operator_limits() -> str:
    """Return the bounds that the stacks set."""
    return _limits(
        ("requests a second, of the whole stage", f"{api_stack.REQUESTS_PER_SECOND:,}"),
        ("requests in a burst, of the whole stage", f"{api_stack.BURST:,}"),
        ("deferred requests that run at once", f"{deferred_requests.CONCURRENT_RUNS}"),
        ("runs of a deferred request", f"{deferred_requests.DELIVERIES}"),
        ("deliveries of webhooks at once", f"{webhook_stack.DELIVERIES_AT_ONCE}"),
        ("pages of customers that are closed at once", f"{billing_stack.CLOSES_AT_ONCE}"),
        ("steps of exports and erasures at once", f"{rights_stack.STEPS_AT_ONCE}"),
        ("deliveries of a queue's message before it is a dead letter", f"{DELIVERIES}"),
        ("tries of a stream's record before it is a dead letter", f"{RETRIES}"),
    )


def _limits(*rows: tuple[str, str]) -> str:
    return table(("what", "limit"), rows)


def _span(span: timedelta) -> str:
    return _seconds(span.total_seconds())


def _days(days: float) -> str:
    return _span(timedelta(days=days))


def _seconds(seconds: float) -> str:
    """Say a span of time in the largest unit that leaves no rest; a day is 24 hours."""
    if seconds == timedelta(days=1).total_seconds():
        return "24 hours"
    name, size = next((name, size) for name, size in _UNITS if seconds % size == 0)
    many = int(seconds // size)
    return f"{many} {name}{'' if many == 1 else 's'}"


def _listed(items: Iterable[str]) -> str:
    *first, last = items
    return f"{', '.join(first)} and {last}"
