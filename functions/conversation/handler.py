"""``POST /invoke`` and ``POST /chat``."""

from __future__ import annotations

from flowstack_core import bootstrap
from flowstack_core.http.conversation_routes import conversation_app
from flowstack_core.http.resolver import entry_point

app = conversation_app(bootstrap.conversation_service)
handler = entry_point(app)

bootstrap.prepare(bootstrap.conversation_service)
