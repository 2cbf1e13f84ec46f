"""What operators send: the bodies of ``/admin/…``, their form and their bounds."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Annotated

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictInt,
    StrictStr,
    model_validator,
)

from flowstack_core.domain.identifiers import MAX_NAME_LENGTH, checked_name
from flowstack_core.domain.plans import Tier
from flowstack_core.domain.subscriptions import Terms
from flowstack_core.http.requests import Text

_MAX_SESSIONS = 1_000_000_000
_MAX_PRICE_USD = 10_000_000
_MAX_REASON = 500
_MAX_MINUTES = 60 * 24 * 366 * 10
_YEARS = range(2000, 2200)


def _only_text(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError("must be a text such as 2026-12-01T00:00:00Z")  # noqa: TRY004 - for pydantic
    return value


def _near_enough(moment: datetime) -> datetime:
    if moment.year not in _YEARS:
        raise ValueError(f"must lie in the years {_YEARS.start} to {_YEARS.stop - 1}")
    return moment


def _said(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be empty")
    return text.strip()


def _no_truth_value(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("must be a number")  # noqa: TRY004 - for pydantic
    return value


Name = Annotated[
    StrictStr, Field(min_length=1, max_length=MAX_NAME_LENGTH), AfterValidator(checked_name)
]
Instant = Annotated[AwareDatetime, BeforeValidator(_only_text), AfterValidator(_near_enough)]
SessionLimit = Annotated[StrictInt, Field(ge=0, le=_MAX_SESSIONS)]
PriceUSD = Annotated[
    Decimal,
    Field(ge=0, le=_MAX_PRICE_USD, decimal_places=2),
    BeforeValidator(_no_truth_value),
]
Minutes = Annotated[float, Field(gt=0, le=_MAX_MINUTES), BeforeValidator(_no_truth_value)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _ContractBody(_Body):
    """What a contract may say otherwise than the plan. Prices are US dollars a month."""

    session_limit: SessionLimit | None = None
    price_usd: PriceUSD | None = None

    @property
    def price_cents(self) -> int | None:
        """The price in integer cents; exact, as it has two decimals at most."""
        return None if self.price_usd is None else int(self.price_usd * 100)


class CustomerBody(_ContractBody):
    """``POST /admin/customers``."""

    name: Name
    tier: Tier = Tier.FREE


class TierBody(_ContractBody):
    """``PUT /admin/customers/{id}/tier``."""

    tier: Tier

    @property
    def terms(self) -> Terms:
        """The plan's terms with what the contract says otherwise."""
        return Terms.of(self.tier, self.session_limit, self.price_cents)


class KeyBody(_Body):
    """``POST /admin/customers/{id}/keys``."""

    name: Name = "API key"
    expires_at: Instant | None = None


class CreditBody(_Body):
    """``POST /admin/customers/{id}/credits``; the same ``request_id`` credits once."""

    sessions: Annotated[StrictInt, Field(gt=0, le=_MAX_SESSIONS)]
    reason: Annotated[Text, Field(max_length=_MAX_REASON), AfterValidator(_said)]
    request_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:-]{1,128}$")] | None = None


class ErasureBody(_Body):
    """``POST /admin/customers/{id}/erasure``: ``confirm`` repeats the customer's id."""

    confirm: Annotated[str, Field(max_length=64)]


class ClockBody(_Body):
    """``PUT /admin/customers/{id}/clock``."""

    advance_minutes: Minutes | None = None
    set_to: Instant | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> ClockBody:
        if (self.advance_minutes is None) == (self.set_to is None):
            raise ValueError("give either advance_minutes or set_to")
        return self

    @property
    def advance(self) -> timedelta | None:
        """How far to go, where the body says so."""
        return None if self.advance_minutes is None else timedelta(minutes=self.advance_minutes)
