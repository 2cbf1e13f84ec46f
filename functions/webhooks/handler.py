"""Delivers events to the customers' servers."""

from __future__ import annotations

from flowstack_core import bootstrap
from flowstack_core.events.webhooks import webhooks

handler = webhooks(bootstrap.webhook_worker)

bootstrap.prepare(bootstrap.webhook_worker)
