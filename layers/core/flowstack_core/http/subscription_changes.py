"""Changes of subscriptions as the API shows them, made or tried dry.

Customers and operators ask differently and get the same answer.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from aws_lambda_powertools.event_handler.openapi.params import Query

from flowstack_core.domain.periods import instant
from flowstack_core.domain.quota import PeriodUsage
from flowstack_core.services.documents import subscription_document, terms_document
from flowstack_core.services.subscriptions import Command, Preview, SubscriptionService

PreviewFlag = Annotated[
    Literal["true", "false"],
    Query(description="`true` tells what the change would do; nothing is written."),
]
"""Only these two words: a misspelt wish to try must not carry the change out."""


def changed_or_previewed(
    service: SubscriptionService, actor: str, customer_id: str, command: Command, preview: str
) -> dict[str, Any]:
    """Carry out a command, or try it dry; return the document of what came of it."""
    if preview == "true":
        return {"preview": preview_document(command, service.preview(customer_id, command))}
    return {"subscription": subscription_document(service.change(actor, customer_id, command))}


def preview_document(command: Command, preview: Preview) -> dict[str, Any]:
    """Render what a change would do."""
    return {
        "action": command.action.removeprefix("subscription."),
        "effective_at": instant(preview.effective_at),
        "effective_period": preview.effective_period.name,
        "immediate": preview.immediate,
        "before": terms_document(preview.terms_before),
        "after": terms_document(preview.terms_after),
        "current_period": _usage_document(preview.usage_after),
        "lost": list(preview.lost),
        "pending_change": subscription_document(preview.after)["pending_change"],
    }


def _usage_document(usage: PeriodUsage) -> dict[str, Any]:
    return {
        "name": usage.period.name,
        "sessions_used": usage.sessions_used,
        "sessions_limit": usage.session_limit,
        "sessions_remaining": usage.sessions_remaining,
        "current_charges": usage.price_cents / 100,
    }
