"""``GET /usage…`` and ``GET /tier-info``."""

from __future__ import annotations

from flowstack_core import bootstrap
from flowstack_core.http.resolver import entry_point
from flowstack_core.http.usage_routes import usage_app

app = usage_app(
    bootstrap.usage_service,
    bootstrap.history_service,
    bootstrap.forecast_service,
    bootstrap.recommendation_service,
)
handler = entry_point(app)

bootstrap.prepare(bootstrap.recommendation_service)
