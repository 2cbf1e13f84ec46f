"""``/alerts``: at which shares of its limit a customer is told, and where (A1, A2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler import APIGatewayRestResolver, Response
from pydantic import BaseModel, ConfigDict, Field

from flowstack_core.domain.alerts import (
    HIGHEST_THRESHOLD,
    LOWEST_THRESHOLD,
    MAX_THRESHOLDS,
    SettingsChange,
)
from flowstack_core.http.documents import AlertsDocument, documented
from flowstack_core.http.resolver import customer_of, json_response
from flowstack_core.services.alerts import AlertService, alerts_document

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


def add_alert_routes(app: APIGatewayRestResolver, service: Callable[[], AlertService]) -> None:
    """Add the routes. ``service`` is asked for on the first request."""

    @app.get(
        "/alerts",
        summary="See the thresholds of alerts, and the alerts of the present period",
        tags=["alerts"],
        responses=documented(AlertsDocument, "Settings and alerts.", *(401, 429, 500, 503)),
    )
    def show() -> Response[Any]:
        overview = service().overview(customer_of(app)["customer_id"])
        return json_response(200, alerts_document(overview))

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
        return json_response(200, alerts_document(overview))
