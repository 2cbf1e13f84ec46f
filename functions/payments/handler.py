"""``POST /webhooks/stripe``."""

from __future__ import annotations

from flowstack_core import bootstrap
from flowstack_core.http.payment_routes import payments_app
from flowstack_core.http.resolver import entry_point

handler = entry_point(payments_app(bootstrap.payment_service))

bootstrap.prepare(bootstrap.payment_service)
