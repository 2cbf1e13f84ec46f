"""What needs no key: the plans, a sign of life, and the API's own description."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from aws_lambda_powertools.event_handler import APIGatewayRestResolver, Response

from flowstack_core import __version__
from flowstack_core.domain.plans import Plan, all_plans
from flowstack_core.http.documents import documented
from flowstack_core.http.public_documents import HealthDocument, PricingDocument
from flowstack_core.http.resolver import create_app, json_response

OPENAPI_FILE = Path(__file__).with_name("openapi.json")
"""Generated from the routes; a test fails where it is out of date."""

_MINUTE = {"Cache-Control": "public, max-age=60"}


def public_app(stage: Callable[[], str]) -> APIGatewayRestResolver:
    """Return the resolver."""
    app = create_app()

    @app.get(
        "/pricing",
        summary="See the plans on offer",
        tags=["public"],
        responses=documented(PricingDocument, "The plans.", 429, 500),
    )
    def pricing() -> Response[Any]:
        return json_response(200, pricing_document(), _MINUTE)

    @app.get(
        "/health",
        summary="See whether the API answers",
        tags=["public"],
        responses=documented(HealthDocument, "It does.", 429, 500),
    )
    def health() -> Response[Any]:
        return json_response(200, {"status": "ok", "stage": stage(), "version": __version__})

    @app.get("/openapi.json", summary="Get this description", tags=["public"])
    def openapi() -> Response[Any]:
        return Response(
            status_code=200,
            content_type="application/json",
            body=OPENAPI_FILE.read_text(encoding="utf-8"),
            headers=dict(_MINUTE),
        )

    return app


def pricing_document() -> dict[str, Any]:
    """Render ``GET /pricing``."""
    return {"currency": "USD", "plans": [_plan_document(plan) for plan in all_plans()]}


def _plan_document(plan: Plan) -> dict[str, Any]:
    return {
        "tier": plan.tier.value,
        "price_per_month": plan.price_cents / 100,
        "sessions_per_month": plan.sessions_per_month,
        "managed_models": plan.managed_models,
        "byok": plan.byok,
        "support": plan.support,
        "extras": list(plan.extras),
        "fair_use": plan.fair_use.model_dump(),
    }
