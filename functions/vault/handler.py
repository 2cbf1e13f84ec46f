"""``/datavault``: the customers' documents."""

from __future__ import annotations

from flowstack_core import bootstrap
from flowstack_core.http.resolver import entry_point
from flowstack_core.http.vault_routes import vault_app

app = vault_app(bootstrap.vault_service, bootstrap.vault_queries)
handler = entry_point(app)

bootstrap.prepare(bootstrap.vault_service)
bootstrap.prepare(bootstrap.vault_queries)
