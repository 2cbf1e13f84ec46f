"""``/admin/…``: the deliveries of webhooks, as operators see them and try them again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler import APIGatewayRestResolver, Response
from aws_lambda_powertools.event_handler.openapi.params import Query

from flowstack_core.adapters.system import LambdaTimeBudget
from flowstack_core.http.admin_billing_routes import CustomerId
from flowstack_core.http.resolver import json_response, operator_of
from flowstack_core.http.webhook_documents import deliveries_document
from flowstack_core.http.webhook_routes import Cursor, PageSize
from flowstack_core.services.accounts import AccountService
from flowstack_core.services.webhooks import WebhookService

logger = Logger()


def add_admin_webhook_routes(
    app: APIGatewayRestResolver,
    accounts: Callable[[], AccountService],
    webhooks: Callable[[], WebhookService],
) -> None:
    """Add the routes. Neither addresses nor payloads are shown: they are the customers'."""

    @app.get("/admin/customers/<customer_id>/webhook-deliveries")
    def list_(
        customer_id: CustomerId, limit: PageSize = 20, cursor: Cursor = None
    ) -> Response[Any]:
        operator_of(app)
        accounts().customer(customer_id)
        budget = LambdaTimeBudget(app.lambda_context)
        page = webhooks().deliveries(customer_id, limit, cursor, budget)
        return json_response(200, {"customer_id": customer_id, **deliveries_document(page)})

    @app.post("/admin/webhooks/redrive")
    def redrive(limit: Annotated[int, Query(ge=1, le=1_000)] = 100) -> Response[Any]:
        actor = operator_of(app)
        redriven = webhooks().redrive(limit)
        logger.info("dead letters redriven", extra={"actor": actor, "redriven": redriven})
        return json_response(200, {"redriven": redriven})
