"""``/budget``: the limits that customers set themselves."""

from __future__ import annotations

from flowstack_core import bootstrap
from flowstack_core.http.budget_routes import add_budget_routes
from flowstack_core.http.resolver import create_app, entry_point

app = create_app()
add_budget_routes(app, bootstrap.budget_service)
handler = entry_point(app)

bootstrap.prepare(bootstrap.budget_service)
