"""What everybody may see."""

from __future__ import annotations

from typing import Literal

from flowstack_core.domain.plans import FairUse, Tier
from flowstack_core.http.documents import Document


class PlanDocument(Document):
    """One plan on offer. Prices are US dollars a month."""

    tier: Tier
    price_per_month: float
    sessions_per_month: int
    managed_models: bool
    byok: Literal["required", "optional"]
    support: str
    extras: list[str]
    fair_use: FairUse


class PricingDocument(Document):
    """``GET /pricing``."""

    currency: Literal["USD"]
    plans: list[PlanDocument]


class HealthDocument(Document):
    """``GET /health``."""

    status: Literal["ok"]
    stage: str
    version: str
