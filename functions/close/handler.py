"""Closes the period of a page of customers."""

from __future__ import annotations

from flowstack_core import bootstrap
from flowstack_core.events.month_end import closes

handler = closes(bootstrap.close_worker)

bootstrap.prepare(bootstrap.close_worker)
