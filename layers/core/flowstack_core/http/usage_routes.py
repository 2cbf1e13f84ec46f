"""``GET /usage…`` and ``GET /tier-info``: reachable at the limit too (Q2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aws_lambda_powertools.event_handler import APIGatewayRestResolver, Response

from flowstack_core.domain.history import Granularity
from flowstack_core.http.documents import documented
from flowstack_core.http.resolver import create_app, customer_of, json_response
from flowstack_core.http.usage_documents import (
    ForecastDocument,
    RecommendationsDocument,
    TierDocument,
    UsageDocument,
    UsageHistoryDocument,
)
from flowstack_core.http.usage_history import (
    BrokenDown,
    FirstDay,
    LastDay,
    Spans,
    history_query,
)
from flowstack_core.services.forecasts import ForecastService, RecommendationService
from flowstack_core.services.history import HistoryService
from flowstack_core.services.usage import UsageService

_STATUSES = (401, 429, 500, 503)


def usage_app(
    service: Callable[[], UsageService],
    history: Callable[[], HistoryService],
    forecasts: Callable[[], ForecastService],
    recommendations: Callable[[], RecommendationService],
) -> APIGatewayRestResolver:
    """Return the resolver. The services are asked for on the first request."""
    app = create_app()
    _add_standing(app, service)
    _add_history(app, history)
    _add_outlook(app, forecasts, recommendations)
    return app


def _add_standing(app: APIGatewayRestResolver, service: Callable[[], UsageService]) -> None:
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


def _add_history(app: APIGatewayRestResolver, history: Callable[[], HistoryService]) -> None:
    @app.get(
        "/usage/history",
        summary="See what was used by day, week or month, also by agent, provider or model",
        tags=["usage"],
        responses=documented(
            UsageHistoryDocument, "The spans, oldest first.", 400, 403, 413, *_STATUSES
        ),
    )
    def usage_history(
        granularity: Spans = Granularity.DAILY,
        first: FirstDay = None,
        last: LastDay = None,
        by: BrokenDown = None,
    ) -> Response[Any]:
        query = history_query(granularity, first, last, by)
        document = history().own_document(customer_of(app)["customer_id"], query)
        return json_response(200, document)


def _add_outlook(
    app: APIGatewayRestResolver,
    forecasts: Callable[[], ForecastService],
    recommendations: Callable[[], RecommendationService],
) -> None:
    @app.get(
        "/usage/forecast",
        summary="See how many sessions the period is heading for",
        tags=["usage"],
        responses=documented(ForecastDocument, "The forecast, day by day.", *_STATUSES),
    )
    def forecast() -> Response[Any]:
        return json_response(200, forecasts().forecast_document(customer_of(app)["customer_id"]))

    @app.get(
        "/usage/recommendations",
        summary="See how to pay less, and when the limit is reached",
        tags=["usage"],
        responses=documented(RecommendationsDocument, "The advice.", *_STATUSES),
    )
    def advice() -> Response[Any]:
        customer_id = customer_of(app)["customer_id"]
        return json_response(200, recommendations().recommendations_document(customer_id))
