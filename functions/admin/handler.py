"""``/admin/…``: the operators' API."""

from __future__ import annotations

from functools import cache
from typing import Any

from flowstack_core import bootstrap
from flowstack_core.http.admin_routes import admin_app
from flowstack_core.http.resolver import HttpFunction, entry_point, signer_of
from flowstack_core.settings import settings


@cache
def _entry() -> HttpFunction:
    """Return the entry point. Which routes there are depends on the stage: known on first use."""
    app = admin_app(
        bootstrap.account_service,
        bootstrap.usage_service,
        history=bootstrap.history_service,
        alerts=bootstrap.alert_service,
        subscriptions=bootstrap.subscription_service,
        statements=bootstrap.statement_service,
        closings=bootstrap.closing_service,
        month_end=bootstrap.month_end_service,
        exports=bootstrap.export_service,
        erasures=bootstrap.erasure_service,
        forecasts=bootstrap.forecast_service,
        recommendations=bootstrap.recommendation_service,
        webhooks=bootstrap.webhook_service,
        margins=bootstrap.margin_service,
        test_clocks=settings().test_clocks,
    )
    return entry_point(app, admit=signer_of)


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answer one request."""
    return _entry()(event, context)
