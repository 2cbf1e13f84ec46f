"""What is told of the limits that customers set themselves."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from flowstack_core.http.documents import Document


class SpendingFacts(Document):
    """What a period has cost so far, in dollars.

    ``byok_estimate`` is for your own providers at list prices, without ``unpriced_models``.
    """

    plan: float
    byok_estimate: float
    total: float
    unpriced_models: list[str]


class BudgetDocument(Document):
    """``GET /budget``: the limits that you set yourself, and where you stand."""

    monthly_ceiling: float | None
    action: Literal["warn", "block"]
    session_turn_cap: int | None
    session_token_cap: int | None
    period: str
    resets_at: datetime
    spent: SpendingFacts
    reached: bool
    notice: str | None
