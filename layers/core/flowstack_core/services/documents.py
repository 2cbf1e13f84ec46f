"""Statements, subscriptions and alerts as plain documents: for the API, the audit trail, events."""

from __future__ import annotations

from typing import Any

from flowstack_core.domain.alerts import Alert
from flowstack_core.domain.own_limits import BudgetAlert
from flowstack_core.domain.periods import instant
from flowstack_core.domain.statements import CURRENCY, Line, Statement
from flowstack_core.domain.subscriptions import PendingChange, Subscription, Terms


def terms_facts(terms: Terms) -> dict[str, Any]:
    """Write terms down. Prices are integer US cents a month."""
    return {
        "tier": terms.tier.value,
        "session_limit": terms.session_limit,
        "price_cents": terms.price_cents,
    }


def subscription_facts(subscription: Subscription) -> dict[str, Any]:
    """Write a subscription down, for the audit trail."""
    pending = subscription.pending
    return {
        **terms_facts(subscription.terms),
        "version": subscription.version,
        "pending_change": None if pending is None else pending_facts(pending),
    }


def pending_facts(pending: PendingChange) -> dict[str, Any]:
    """Write down a change that waits; it takes over at its ``effective_at`` (P2, P3)."""
    facts = {
        "kind": "cancellation" if pending.cancellation else "change",
        **terms_facts(pending.terms),
        "effective_period": pending.effective_period.name,
        "effective_at": instant(pending.effective_period.start),
        "origin": pending.origin.value,
    }
    if pending.followed_by is not None:
        facts["followed_by"] = pending_facts(pending.followed_by)
    return facts


def terms_document(terms: Terms) -> dict[str, Any]:
    """Render terms. Money becomes a JSON number of dollars here and nowhere before (P5)."""
    return {
        "tier": terms.tier.value,
        "session_limit": terms.session_limit,
        "price_cents": terms.price_cents,
        "price_usd": terms.price_cents / 100,
    }


def subscription_document(subscription: Subscription) -> dict[str, Any]:
    """Render a subscription with the changes that wait, if there are any."""
    pending = subscription.pending
    return {
        **terms_document(subscription.terms),
        "version": subscription.version,
        "pending_change": None if pending is None else pending_document(pending),
    }


def pending_document(pending: PendingChange) -> dict[str, Any]:
    """Render a change that waits, with the one that takes over after it, if there is one."""
    document = {**pending_facts(pending), **terms_document(pending.terms)}
    if pending.followed_by is not None:
        document["followed_by"] = pending_document(pending.followed_by)
    return document


def statement_document(statement: Statement) -> dict[str, Any]:
    """Render a statement."""
    change = statement.plan_change
    return {
        "statement_id": statement.statement_id,
        "customer_id": statement.customer_id,
        "period": statement.period.name,
        "period_start": instant(statement.period.start),
        "period_end": instant(statement.period.end),
        "closed_at": instant(statement.closed_at),
        "tier": statement.tiers[-1].value,
        "tiers": [tier.value for tier in statement.tiers],
        "sessions_used": statement.sessions_used,
        "session_limit": statement.session_limit,
        "managed_sessions": statement.managed_sessions,
        "byok_sessions": statement.byok_sessions,
        "credited_sessions": statement.credited_sessions,
        "adjusted_sessions": sum(statement.adjustments.values()),
        "currency": CURRENCY,
        "lines": [_line_document(line) for line in statement.lines],
        "total_cents": statement.total_cents,
        "total": statement.total_cents / 100,
        "plan_change": None
        if change is None
        else {"before": terms_document(change.before), "after": terms_document(change.after)},
    }


def _line_document(line: Line) -> dict[str, Any]:
    return {
        "kind": line.kind.value,
        "period": line.period.name,
        "description": line.description,
        "sessions": line.sessions,
        "amount_cents": line.amount_cents,
        "amount": line.amount_cents / 100,
    }


def alert_document(alert: Alert) -> dict[str, Any]:
    """Render an alert."""
    return {
        "id": alert.alert_id,
        "threshold": alert.threshold,
        "at": instant(alert.at),
        "sessions_used": alert.sessions_used,
        "sessions_limit": alert.session_limit,
    }


# --- events: what happened, under an id that is the same however often it is told ----------------


def period_closed_event(statement: Statement) -> dict[str, Any]:
    """Render the closing of a period."""
    return {
        "event_id": f"evt_period_closed_{statement.statement_id}",
        "customer_id": statement.customer_id,
        "period": statement.period.name,
        "statement": statement_document(statement),
    }


def budget_reached_event(alert: BudgetAlert) -> dict[str, Any]:
    """Render that a customer's own ceiling was reached."""
    reached = alert.reached
    return {
        "event_id": alert.event_id,
        "customer_id": alert.customer_id,
        "period": alert.period.name,
        "budget": {
            "at": instant(reached.at),
            "monthly_ceiling": reached.ceiling_cents / 100,
            "spent": reached.spent_cents / 100,
            "action": reached.action.value,
        },
    }


def usage_alert_event(alert: Alert) -> dict[str, Any]:
    """Render that a threshold was reached."""
    return {
        "event_id": f"evt_usage_alert_{alert.alert_id}",
        "customer_id": alert.customer_id,
        "period": alert.period.name,
        "alert": alert_document(alert),
    }
