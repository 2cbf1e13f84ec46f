"""``GET /pricing``, ``GET /health`` and ``GET /openapi.json``."""

from __future__ import annotations

from flowstack_core.http.public_routes import public_app
from flowstack_core.http.resolver import entry_point
from flowstack_core.settings import settings

app = public_app(lambda: settings().stage)
handler = entry_point(app)
