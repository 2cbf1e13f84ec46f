"""``/alerts``."""

from __future__ import annotations

from flowstack_core import bootstrap
from flowstack_core.http.alert_routes import alerts_app
from flowstack_core.http.resolver import entry_point

handler = entry_point(alerts_app(bootstrap.webhook_service))

bootstrap.prepare(bootstrap.webhook_service)
