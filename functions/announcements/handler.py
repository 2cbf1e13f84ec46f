"""Tells of each statement, alert (A2) and reached ceiling that was written."""

from __future__ import annotations

from flowstack_core import bootstrap
from flowstack_core.events.usage_stream import announcements

handler = announcements(bootstrap.announcer)

bootstrap.prepare(bootstrap.announcer)
