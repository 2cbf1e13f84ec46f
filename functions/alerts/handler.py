"""``/alerts`` and ``/budget``: what customers are told of, where, and what they limit."""

from __future__ import annotations

from flowstack_core import bootstrap
from flowstack_core.http.budget_routes import add_budget_routes
from flowstack_core.http.resolver import create_app, entry_point
from flowstack_core.http.webhook_routes import add_webhook_routes

app = create_app()
add_webhook_routes(app, bootstrap.webhook_service)
add_budget_routes(app, bootstrap.budget_service)
handler = entry_point(app)

bootstrap.prepare(bootstrap.budget_service)
