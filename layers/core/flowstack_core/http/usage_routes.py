"""``GET /usage`` and ``GET /tier-info``: reachable at the limit too (Q2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aws_lambda_powertools.event_handler import APIGatewayRestResolver, Response

from flowstack_core.http.documents import TierDocument, UsageDocument, documented
from flowstack_core.http.resolver import create_app, customer_of, json_response
from flowstack_core.services.usage import UsageService

_STATUSES = (401, 429, 500, 503)


def usage_app(service: Callable[[], UsageService]) -> APIGatewayRestResolver:
    """Return the resolver. ``service`` is asked for on the first request."""
    app = create_app()

    @app.get(
        "/usage",
        summary="See how many sessions are used, held and left",
        tags=["usage"],
        responses=documented(UsageDocument, "The present period's usage.", *_STATUSES),
    )
    def usage() -> Response[Any]:
        return json_response(200, service().usage_document(customer_of(app)["customer_id"]))

    @app.get(
        "/tier-info",
        summary="See what the subscription includes",
        tags=["usage"],
        responses=documented(TierDocument, "The tier and its entitlements.", *_STATUSES),
    )
    def tier_info() -> Response[Any]:
        return json_response(200, service().tier_document(customer_of(app)["customer_id"]))

    return app
