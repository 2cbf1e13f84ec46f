"""What the answers about subscriptions and statements look like, for the OpenAPI document."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from aws_lambda_powertools.event_handler.openapi.types import OpenAPIResponse

from flowstack_core.domain.plans import Tier
from flowstack_core.http.documents import Document
from flowstack_core.http.negotiation import CSV, HTML


class TermsDocument(Document):
    """A tier with its contract. Prices are US dollars a month, and in cents too."""

    tier: Tier
    session_limit: int
    price_cents: int
    price_usd: float


class PendingChangeDocument(TermsDocument):
    """What takes over at ``effective_at``, who scheduled it, and what follows, if anything."""

    kind: Literal["cancellation", "change"]
    effective_period: str
    effective_at: datetime
    origin: Literal["customer", "operator", "payment"]
    followed_by: PendingChangeDocument | None = None


class SubscriptionDocument(TermsDocument):
    """The terms in force, and the change that waits for the end of the period."""

    version: int
    pending_change: PendingChangeDocument | None


class SubscriptionAnswer(Document):
    """``GET /subscription``."""

    subscription: SubscriptionDocument


class PresentPeriodDocument(Document):
    """The present period as it would stand right after a change."""

    name: str
    sessions_used: int
    sessions_limit: int
    sessions_remaining: int
    current_charges: float


class PreviewDocument(Document):
    """What a change would do; nothing was written."""

    action: Literal["downgrade", "cancel", "undo", "change"]
    effective_at: datetime
    effective_period: str
    immediate: bool
    before: TermsDocument
    after: TermsDocument
    current_period: PresentPeriodDocument
    lost: list[str]
    pending_change: PendingChangeDocument | None


class ChangeAnswer(Document):
    """The subscription after a change, or with ``?preview=true`` what the change would do."""

    subscription: SubscriptionDocument | None = None
    preview: PreviewDocument | None = None


class LineDocument(Document):
    """One line of a statement. Amounts are US dollars, and in cents too."""

    kind: Literal["plan", "session_credit", "late_release"]
    period: str
    description: str
    sessions: int
    amount_cents: int
    amount: float


class PlanChangeDocument(Document):
    """Terms that ended with the period, and those that took over."""

    before: TermsDocument
    after: TermsDocument


class StatementDocument(Document):
    """What a closed period cost; written once and never changed."""

    statement_id: str
    customer_id: str
    period: str
    period_start: datetime
    period_end: datetime
    closed_at: datetime
    tier: Tier
    tiers: list[Tier]
    sessions_used: int
    session_limit: int
    managed_sessions: int
    byok_sessions: int
    credited_sessions: int
    adjusted_sessions: int
    currency: Literal["USD"]
    lines: list[LineDocument]
    total_cents: int
    total: float
    plan_change: PlanChangeDocument | None


class StatementAnswer(Document):
    """``GET /api/billing/history/{period}``."""

    statement: StatementDocument


class StatementPageAnswer(Document):
    """``GET /api/billing/history``; ``next_cursor`` is where older ones begin."""

    statements: list[StatementDocument]
    next_cursor: str | None


_FORMS = {
    CSV: "A row for each line of a statement, amounts in dollars with two decimals.",
    HTML: "A page to read and to print.",
}


def with_forms(
    responses: dict[int, OpenAPIResponse], *media_types: str
) -> dict[int, OpenAPIResponse]:
    """Return a route's responses with the other forms that its document comes in."""
    content = responses[200].setdefault("content", {})
    for media_type in media_types:
        content[media_type] = {"schema": {"type": "string", "description": _FORMS[media_type]}}
    return responses
