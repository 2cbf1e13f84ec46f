"""A message as a queue in memory keeps it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass
class Message:
    """A message, from when on it can be received, and how often it was."""

    message_id: str
    body: str
    visible_at: datetime
    received: int = 0
