"""Time and chance, passed in: a test gives its own."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime


def _now() -> datetime:
    return datetime.now(UTC)


def _new_id() -> str:
    return uuid.uuid4().hex


@dataclass(frozen=True, slots=True)
class Runtime:
    """What the SDK needs of the world beside the network.

    Attributes
    ----------
    now
        The present instant, timezone-aware.
    sleep, async_sleep
        Wait for some seconds.
    random
        A number from 0 up to 1.
    new_id
        A fresh id: idempotency keys, conversations, documents.
    """

    now: Callable[[], datetime] = _now
    sleep: Callable[[float], None] = time.sleep
    async_sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    random: Callable[[], float] = random.random
    new_id: Callable[[], str] = _new_id
