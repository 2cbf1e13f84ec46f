"""``/alerts``: what customers are told of, and where."""

from __future__ import annotations

from collections.abc import Callable

from aws_lambda_powertools.event_handler import APIGatewayRestResolver

from flowstack_core.http.resolver import create_app
from flowstack_core.http.webhook_routes import add_webhook_routes
from flowstack_core.services.webhooks import WebhookService


def alerts_app(webhooks: Callable[[], WebhookService]) -> APIGatewayRestResolver:
    """Return the resolver. The services are asked for on the first request."""
    app = create_app()
    add_webhook_routes(app, webhooks)
    return app
