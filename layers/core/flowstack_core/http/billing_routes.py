"""``/subscription`` and ``/api/billing/history``: what customers bought, and what it cost.

Customers move down, cancel and undo by themselves (P6); each change can be tried dry first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler import APIGatewayRestResolver, Response
from aws_lambda_powertools.event_handler.openapi.params import Body
from pydantic import BaseModel, ConfigDict

from flowstack_core.domain.periods import Period
from flowstack_core.domain.plans import Tier
from flowstack_core.http.billing_documents import (
    ChangeAnswer,
    StatementAnswer,
    StatementPageAnswer,
    SubscriptionAnswer,
    with_forms,
)
from flowstack_core.http.documents import documented
from flowstack_core.http.negotiation import CSV, HTML
from flowstack_core.http.resolver import create_app, customer_of, json_response
from flowstack_core.http.statement_responses import (
    Cursor,
    PageSize,
    PeriodName,
    history_response,
    statement_response,
)
from flowstack_core.http.subscription_changes import PreviewFlag, changed_or_previewed
from flowstack_core.services.documents import subscription_document
from flowstack_core.services.statements import StatementService
from flowstack_core.services.subscriptions import (
    Command,
    SubscriptionService,
    cancellation,
    downgrade_to,
    take_back,
)

logger = Logger()

DEFAULT_PAGE = 12
"""A year of statements."""

_READING = (401, 429, 500, 503)
_CHANGING = (400, 401, 403, 409, 429, 500, 503)


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DowngradeBody(_Body):
    """Move to a lower tier's plan at the end of the period."""

    action: Literal["downgrade"]
    tier: Tier

    def command(self) -> Command:
        """Return what is asked for, in the domain's terms."""
        return downgrade_to(self.tier)


class CancelBody(_Body):
    """Move to ``free`` at the end of the period."""

    action: Literal["cancel"]

    def command(self) -> Command:
        """Return what is asked for, in the domain's terms."""
        return cancellation()


class UndoBody(_Body):
    """Take back the change that was scheduled."""

    action: Literal["undo"]

    def command(self) -> Command:
        """Return what is asked for, in the domain's terms."""
        return take_back()


ChangeBody = Annotated[DowngradeBody | CancelBody | UndoBody, Body(discriminator="action")]


def billing_app(
    subscriptions: Callable[[], SubscriptionService], statements: Callable[[], StatementService]
) -> APIGatewayRestResolver:
    """Return the resolver. The services are asked for on the first request."""
    app = create_app()
    _add_subscription(app, subscriptions)
    _add_history(app, statements)
    return app


def _add_subscription(
    app: APIGatewayRestResolver, service: Callable[[], SubscriptionService]
) -> None:
    def answer(command: Command, preview: str) -> Response[Any]:
        caller = customer_of(app)
        found = changed_or_previewed(
            service(), f"customer:{caller['key_id']}", caller["customer_id"], command, preview
        )
        logger.info("subscription", extra={"action": command.action, "preview": preview})
        return json_response(200, found)

    @app.get(
        "/subscription",
        summary="See the plan in force, and the change that waits",
        tags=["billing"],
        responses=documented(SubscriptionAnswer, "The subscription.", *_READING),
    )
    def show() -> Response[Any]:
        found = service().subscription(customer_of(app)["customer_id"])
        return json_response(200, {"subscription": subscription_document(found)})

    @app.post(
        "/subscription",
        summary="Schedule a downgrade, cancel, or undo either; or try it dry",
        tags=["billing"],
        responses=documented(ChangeAnswer, "The change, made or tried.", 415, *_CHANGING),
    )
    def change(body: ChangeBody, preview: PreviewFlag = "false") -> Response[Any]:
        return answer(body.command(), preview)

    @app.delete(
        "/subscription",
        summary="Cancel at the end of the period; or try it dry",
        tags=["billing"],
        responses=documented(ChangeAnswer, "The change, made or tried.", *_CHANGING),
    )
    def cancel(preview: PreviewFlag = "false") -> Response[Any]:
        return answer(cancellation(), preview)


def _add_history(app: APIGatewayRestResolver, service: Callable[[], StatementService]) -> None:
    @app.get(
        "/api/billing/history",
        summary="List statements of closed periods, the newest first",
        tags=["billing"],
        responses=with_forms(
            documented(StatementPageAnswer, "A page of statements.", 400, 406, *_READING), CSV
        ),
    )
    def history(limit: PageSize = DEFAULT_PAGE, cursor: Cursor = None) -> Response[Any]:
        customer_id = customer_of(app)["customer_id"]
        return history_response(app, service(), customer_id, limit, cursor)

    @app.get(
        "/api/billing/history/<period>",
        summary="Get the statement of a period, also to print",
        tags=["billing"],
        responses=with_forms(
            documented(StatementAnswer, "The statement.", 400, 404, 406, *_READING), CSV, HTML
        ),
    )
    def statement(period: PeriodName) -> Response[Any]:
        customer_id = customer_of(app)["customer_id"]
        return statement_response(app, service().statement(customer_id, Period.parse(period)))
