"""Keeps an alert for each threshold that a customer's count reaches (A1)."""

from __future__ import annotations

from flowstack_core import bootstrap
from flowstack_core.events.usage_stream import watched_counts

handler = watched_counts(bootstrap.threshold_watch)

bootstrap.prepare(bootstrap.threshold_watch)
