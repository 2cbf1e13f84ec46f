"""``GET /pricing``, ``GET /health``, ``GET /openapi.json`` and the console's files."""

from __future__ import annotations

from pathlib import Path

from flowstack_core.http.console_files import ConsoleFiles
from flowstack_core.http.console_routes import add_console
from flowstack_core.http.public_routes import public_app
from flowstack_core.http.resolver import entry_point
from flowstack_core.settings import settings

app = public_app(lambda: settings().stage)
add_console(app, ConsoleFiles.of(Path(__file__).with_name("console")))
handler = entry_point(app)
