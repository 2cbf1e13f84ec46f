"""``/subscription`` and ``/api/billing/history``."""

from __future__ import annotations

from flowstack_core import bootstrap
from flowstack_core.http.billing_routes import billing_app
from flowstack_core.http.resolver import entry_point

app = billing_app(bootstrap.subscription_service, bootstrap.statement_service)
handler = entry_point(app)

bootstrap.prepare(bootstrap.subscription_service)
bootstrap.prepare(bootstrap.statement_service)
