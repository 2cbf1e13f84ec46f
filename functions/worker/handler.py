"""Answers deferred requests."""

from __future__ import annotations

from flowstack_core import bootstrap
from flowstack_core.events.deferred_queue import deferred_requests

handler = deferred_requests(bootstrap.deferred_runner)

bootstrap.prepare(bootstrap.deferred_runner)
