"""Tells the bus of each statement that was written."""

from __future__ import annotations

from flowstack_core import bootstrap
from flowstack_core.domain.statements import Statement
from flowstack_core.events.usage_stream import written_statements


def _written(statement: Statement) -> None:
    bootstrap.event_publisher().period_closed(statement)


handler = written_statements(_written)

bootstrap.prepare(bootstrap.event_publisher)
