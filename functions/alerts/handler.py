"""``/alerts``: of what customers want to be told, and of what they were."""

from __future__ import annotations

from flowstack_core import bootstrap
from flowstack_core.http.alert_routes import add_alert_routes
from flowstack_core.http.resolver import create_app, entry_point

app = create_app()
add_alert_routes(app, bootstrap.alert_service)
handler = entry_point(app)

bootstrap.prepare(bootstrap.alert_service)
