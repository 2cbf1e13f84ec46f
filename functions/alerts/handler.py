"""``/alerts`` and ``/budget``: what customers are told of, where, and what they limit."""

from __future__ import annotations

from flowstack_core import bootstrap
from flowstack_core.http.alert_routes import alerts_app
from flowstack_core.http.resolver import entry_point

app = alerts_app(bootstrap.alert_service, bootstrap.webhook_service, bootstrap.budget_service)
handler = entry_point(app)

bootstrap.prepare(bootstrap.budget_service)
