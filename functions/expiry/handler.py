"""Releases sessions that expired with nothing processed (S5)."""

from __future__ import annotations

from flowstack_core import bootstrap
from flowstack_core.domain.sessions import Session
from flowstack_core.events.sessions_stream import deleted_sessions


def _deleted(session: Session) -> bool:
    return bootstrap.expiry_service().session_deleted(session)


handler = deleted_sessions(_deleted)

bootstrap.prepare(bootstrap.expiry_service)
