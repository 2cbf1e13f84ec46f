"""Tells of each statement and each alert that was written (A2)."""

from __future__ import annotations

from flowstack_core import bootstrap
from flowstack_core.events.usage_stream import announcements

handler = announcements(bootstrap.announcer)

bootstrap.prepare(bootstrap.announcer)
