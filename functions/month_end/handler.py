"""Starts, lists and resumes the month end: for its schedules and its queue of steps."""

from __future__ import annotations

from flowstack_core import bootstrap
from flowstack_core.events.month_end import month_end

handler = month_end(bootstrap.month_end_service)

bootstrap.prepare(bootstrap.month_end_service)
