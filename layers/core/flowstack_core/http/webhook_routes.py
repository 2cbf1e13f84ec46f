"""``/alerts/webhook``: where a customer is told of events, and what became of telling it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler import APIGatewayRestResolver, Response
from aws_lambda_powertools.event_handler.openapi.params import Path, Query
from aws_lambda_powertools.event_handler.openapi.types import OpenAPIResponse

from flowstack_core.adapters.system import LambdaTimeBudget
from flowstack_core.http.documents import Document, documented
from flowstack_core.http.requests import WebhookBody
from flowstack_core.http.resolver import customer_of, json_response
from flowstack_core.http.webhook_documents import (
    AcceptedDeliveryDocument,
    DeletedWebhookDocument,
    DeliveriesDocument,
    DeliveryDocument,
    WebhookDocument,
    deliveries_document,
    delivery_document,
    webhook_document,
)
from flowstack_core.services.webhooks import WebhookService

logger = Logger()

EventId = Annotated[str, Path(max_length=128)]
PageSize = Annotated[int, Query(ge=1, le=100, description="How many deliveries.")]
Cursor = Annotated[
    str | None, Query(max_length=512, description="Where the page begins: `next_cursor`.")
]

_TAGS = ["webhooks"]
_READING = (400, 401, 404, 429, 500, 503)
_CHANGING = (400, 401, 404, 409, 413, 415, 429, 500, 503)


def add_webhook_routes(app: APIGatewayRestResolver, service: Callable[[], WebhookService]) -> None:
    """Add the routes. ``service`` is asked for on the first request."""
    _add_settings(app, service)
    _add_deliveries(app, service)


def _add_settings(app: APIGatewayRestResolver, service: Callable[[], WebhookService]) -> None:
    @app.get(
        "/alerts/webhook",
        summary="See where you are told of events",
        tags=_TAGS,
        responses=documented(WebhookDocument, "The webhook.", *_READING),
    )
    def show() -> Response[Any]:
        found = service().endpoint(_caller(app), _budget(app))
        return json_response(200, webhook_document(found))

    @app.put(
        "/alerts/webhook",
        summary="Be told of events at a URL; the secret is shown when it is made, this once",
        tags=_TAGS,
        responses=documented(WebhookDocument, "The webhook.", *_CHANGING),
    )
    def put(body: WebhookBody) -> Response[Any]:
        actor = customer_of(app)["key_id"]
        endpoint, secret = service().set_url(actor, _caller(app), body.url, _budget(app))
        logger.info("webhook set", extra={"made": secret is not None})
        return json_response(200, webhook_document(endpoint, secret))

    @app.delete(
        "/alerts/webhook",
        summary="Be told nothing more; the secrets are forgotten",
        tags=_TAGS,
        responses=documented(DeletedWebhookDocument, "It is deleted.", *_CHANGING),
    )
    def delete() -> Response[Any]:
        service().remove(customer_of(app)["key_id"], _caller(app), _budget(app))
        logger.info("webhook deleted")
        return json_response(200, {"deleted": True})

    @app.post(
        "/alerts/webhook/secret",
        summary="Make a new secret, shown this once; the old one goes on signing for a day",
        tags=_TAGS,
        responses=documented(WebhookDocument, "The webhook and its new secret.", *_CHANGING),
    )
    def rotate() -> Response[Any]:
        actor = customer_of(app)["key_id"]
        endpoint, secret = service().rotate(actor, _caller(app), _budget(app))
        logger.info("webhook secret rotated")
        return json_response(200, webhook_document(endpoint, secret))


def _add_deliveries(app: APIGatewayRestResolver, service: Callable[[], WebhookService]) -> None:
    @app.post(
        "/alerts/webhook/test",
        summary="Have a test delivered; asked for again within ten seconds, it is the same one",
        tags=_TAGS,
        responses=_accepted(AcceptedDeliveryDocument, "It will be delivered."),
    )
    def test() -> Response[Any]:
        event = service().test(_caller(app), _budget(app))
        return _pending(event.event_id)

    @app.get(
        "/alerts/webhook/deliveries",
        summary="List the deliveries of the last 30 days, the newest first",
        tags=_TAGS,
        responses=documented(DeliveriesDocument, "A page of deliveries.", *_READING),
    )
    def list_(limit: PageSize = 20, cursor: Cursor = None) -> Response[Any]:
        page = service().deliveries(_caller(app), limit, cursor, _budget(app))
        return json_response(200, deliveries_document(page))

    @app.get(
        "/alerts/webhook/deliveries/<event_id>",
        summary="See what was sent, and every attempt",
        tags=_TAGS,
        responses=documented(DeliveryDocument, "The delivery.", *_READING),
    )
    def show(event_id: EventId) -> Response[Any]:
        found = service().delivery(_caller(app), event_id, _budget(app))
        return json_response(200, delivery_document(found))

    @app.post(
        "/alerts/webhook/deliveries/<event_id>/redeliver",
        summary="Have an event delivered once more, under the same id",
        tags=_TAGS,
        responses=_accepted(AcceptedDeliveryDocument, "It will be delivered again."),
    )
    def redeliver(event_id: EventId) -> Response[Any]:
        step = service().redeliver(_caller(app), event_id, _budget(app))
        logger.info("redelivery", extra={"event_id": event_id, "series": step.series})
        return _pending(event_id)


def _accepted(document: type[Document], description: str) -> dict[int, OpenAPIResponse]:
    """Return the responses of a route that has something done later."""
    responses = documented(document, description, *_CHANGING)
    return {202: responses.pop(200), **responses}


def _pending(event_id: str) -> Response[Any]:
    return json_response(202, {"event_id": event_id, "status": "pending"})


def _caller(app: APIGatewayRestResolver) -> str:
    return customer_of(app)["customer_id"]


def _budget(app: APIGatewayRestResolver) -> LambdaTimeBudget:
    return LambdaTimeBudget(app.lambda_context)
