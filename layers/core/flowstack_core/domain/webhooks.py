"""What a customer's webhook is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class WebhookEvent:
    """Something that happened to a customer, under an id that stays the same when it is repeated.

    Attributes
    ----------
    type
        ``usage.alert``, ``budget.reached``, ``statement.created`` or ``webhook.test``.
    """

    event_id: str
    customer_id: str
    type: str
    at: datetime
    data: Mapping[str, Any]
