"""What ``/alerts`` answers."""

from __future__ import annotations

from datetime import datetime

from flowstack_core.http.documents import Document
from flowstack_core.http.webhook_documents import WebhookDocument


class AlertDocument(Document):
    """A threshold that was reached. ``sessions_used`` of ``sessions_limit`` reached it."""

    id: str
    threshold: int
    at: datetime
    sessions_used: int
    sessions_limit: int


class AlertsDocument(Document):
    """``GET`` and ``PUT /alerts``. ``alerts`` are those of the present period."""

    period: str
    thresholds: list[int]
    email: str | None
    alerts: list[AlertDocument]
    webhook: WebhookDocument | None
