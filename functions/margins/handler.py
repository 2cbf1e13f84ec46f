"""Adds up what customers' managed models cost beside what they pay, once a day."""

from __future__ import annotations

from flowstack_core import bootstrap
from flowstack_core.events.margins import margins

handler = margins(bootstrap.margin_reporter)

bootstrap.prepare(bootstrap.margin_reporter)
