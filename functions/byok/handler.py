"""``/api/byok-credentials``."""

from __future__ import annotations

from flowstack_core import bootstrap
from flowstack_core.http.byok_routes import byok_app
from flowstack_core.http.resolver import entry_point

app = byok_app(bootstrap.credential_service)
handler = entry_point(app)

bootstrap.prepare(bootstrap.credential_service)
