"""Rolls sessions up into days."""

from __future__ import annotations

from flowstack_core import bootstrap
from flowstack_core.events.rollup_stream import grown_sessions

handler = grown_sessions(bootstrap.rollup_service)

bootstrap.prepare(bootstrap.rollup_service)
