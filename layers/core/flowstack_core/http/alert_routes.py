"""``/alerts`` and ``/budget``: what customers are told of, where, and what they limit (A1, A2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler import APIGatewayRestResolver, Response
from pydantic import BaseModel, ConfigDict, Field

from flowstack_core.adapters.system import LambdaTimeBudget
from flowstack_core.domain.alerts import (
    HIGHEST_THRESHOLD,
    LOWEST_THRESHOLD,
    MAX_THRESHOLDS,
    SettingsChange,
)
from flowstack_core.http.alert_documents import AlertsDocument
from flowstack_core.http.budget_routes import add_budget_routes
from flowstack_core.http.documents import documented
from flowstack_core.http.resolver import create_app, customer_of, json_response
from flowstack_core.http.webhook_documents import webhook_document
from flowstack_core.http.webhook_routes import add_webhook_routes
from flowstack_core.services.alerts import AlertOverview, AlertService, alerts_document
from flowstack_core.services.own_limits import BudgetService
from flowstack_core.services.webhooks import WebhookService

logger = Logger()


class AlertSettingsBody(BaseModel):
    """``PUT /alerts``. What is left out stays as it is; ``email: null`` ends the mail."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    # Bounds are for readers of the contract; the domain refuses with a hint.
    thresholds: list[
        Annotated[
            int,
            Field(json_schema_extra={"minimum": LOWEST_THRESHOLD, "maximum": HIGHEST_THRESHOLD}),
        ]
    ] = Field(
        default_factory=list,
        description="Percents of the session limit.",
        json_schema_extra={"minItems": 1, "maxItems": MAX_THRESHOLDS, "uniqueItems": True},
    )
    email: str | None = None

    def change(self) -> SettingsChange:
        """Return what is asked for, in the domain's terms."""
        return SettingsChange.of(
            self.thresholds if "thresholds" in self.model_fields_set else None,
            self.email,
            names_email="email" in self.model_fields_set,
        )


def alerts_app(
    alerts: Callable[[], AlertService],
    webhooks: Callable[[], WebhookService],
    budgets: Callable[[], BudgetService],
) -> APIGatewayRestResolver:
    """Return the resolver. The services are asked for on the first request."""
    app = create_app()
    _add_alert_routes(app, alerts, webhooks)
    add_webhook_routes(app, webhooks)
    add_budget_routes(app, budgets)
    return app


def _add_alert_routes(
    app: APIGatewayRestResolver,
    service: Callable[[], AlertService],
    webhooks: Callable[[], WebhookService],
) -> None:
    def answer(overview: AlertOverview) -> Response[Any]:
        customer_id = customer_of(app)["customer_id"]
        webhook = webhooks().find(customer_id, LambdaTimeBudget(app.lambda_context))
        shown = None if webhook is None else webhook_document(webhook)
        return json_response(200, {**alerts_document(overview), "webhook": shown})

    @app.get(
        "/alerts",
        summary="See the thresholds of alerts, and the alerts of the present period",
        tags=["alerts"],
        responses=documented(AlertsDocument, "Settings and alerts.", *(401, 429, 500, 503)),
    )
    def show() -> Response[Any]:
        return answer(service().overview(customer_of(app)["customer_id"]))

    @app.put(
        "/alerts",
        summary="Change the thresholds of alerts, and where mail about them goes",
        tags=["alerts"],
        responses=documented(
            AlertsDocument,
            "Settings and alerts, as they are now.",
            *(400, 401, 409, 413, 415, 429, 500, 503),
        ),
    )
    def change(body: AlertSettingsBody) -> Response[Any]:
        caller = customer_of(app)
        overview = service().change(caller["key_id"], caller["customer_id"], body.change())
        logger.info("alerts set", extra={"version": overview.settings.version})
        return answer(overview)
