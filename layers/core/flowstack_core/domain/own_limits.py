"""Limits that customers set themselves: caps of one session, and a ceiling on a month's cost.

A cap ends what a session may still become: beyond it messages are refused until the session ends
and another one begins. The ceiling is held against what the customer spends in a period, the price
of its plan and an estimate of its own providers' bills; reaching it is told once, and may keep new
sessions from starting. Both are the customer's wish and never the operator's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import ROUND_HALF_UP, Decimal
from enum import Enum
from typing import Any, Literal

from flowstack_core.domain.errors import InvalidRequestError
from flowstack_core.domain.periods import Period
from flowstack_core.domain.rollups import DaySlice, Route, Talk
from flowstack_core.domain.sessions import Session

MAX_CEILING_CENTS = 1_000_000_000
MAX_TURN_CAP = 1_000_000
MAX_TOKEN_CAP = 1_000_000_000_000

Prices = Callable[[Route, Talk, date], Decimal | None]
"""What was said on a route on a day costs this much, in dollars; ``None`` where no price is known.

A price file implements it.
"""


# --- caps of one session -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CapReached:
    """Why a session takes no further message."""

    kind: Literal["turns", "tokens"]
    cap: int
    used: int


@dataclass(frozen=True, slots=True)
class SessionCaps:
    """How far one session may go; ``None`` is as far as it likes.

    Attributes
    ----------
    turns
        How many messages it takes. A message that failed is none.
    tokens
        No message is taken once as many tokens were used; the one that crosses the cap is answered.
    """

    turns: int | None = None
    tokens: int | None = None

    def reached_by(self, session: Session) -> CapReached | None:
        """Return the cap that keeps the session from taking another message, if one does."""
        if self.turns is not None and session.turns >= self.turns:
            return CapReached("turns", self.turns, session.turns)
        if self.tokens is not None and session.tokens >= self.tokens:
            return CapReached("tokens", self.tokens, session.tokens)
        return None


UNCAPPED = SessionCaps()


def cap_facts(caps: SessionCaps) -> dict[str, int | None]:
    """Return the caps under the names that programs know them by."""
    return {"session_turn_cap": caps.turns, "session_token_cap": caps.tokens}


def read_caps(facts: Mapping[str, Any]) -> SessionCaps:
    """Read what `cap_facts` said, as texts; what is not there is not capped."""
    turns, tokens = facts.get("session_turn_cap"), facts.get("session_token_cap")
    return SessionCaps(
        None if turns is None else int(turns), None if tokens is None else int(tokens)
    )


# --- the ceiling ---------------------------------------------------------------------------


class CeilingAction(Enum):
    """What reaching the ceiling does, besides being told."""

    WARN = "warn"
    BLOCK = "block"


@dataclass(frozen=True, slots=True)
class CeilingReached:
    """A ceiling that was reached in a period, as it stood then."""

    at: datetime
    ceiling_cents: int
    spent_cents: int
    action: CeilingAction

    @property
    def blocks(self) -> bool:
        """Whether it keeps new sessions from starting."""
        return self.action is CeilingAction.BLOCK


@dataclass(frozen=True, slots=True)
class BudgetAlert:
    """That a customer's ceiling was reached: told once for the customer and the period."""

    customer_id: str
    period: Period
    reached: CeilingReached

    @property
    def event_id(self) -> str:
        """The id under which it is told, the same each time."""
        return f"evt_budget_reached_{self.customer_id}_{self.period.name}"


@dataclass(frozen=True, slots=True)
class Spending:
    """What a customer spends in a period.

    Attributes
    ----------
    plan_cents
        The price of the highest plan in force during the period (P5).
    byok_usd
        What its own providers are estimated to charge, at list prices.
    unpriced
        Routes that the estimate leaves out, because nobody knows their price.
    """

    plan_cents: int
    byok_usd: Decimal = Decimal(0)
    unpriced: frozenset[Route] = frozenset()

    @property
    def byok_cents(self) -> int:
        """The estimate, rounded to cents."""
        return _rounded(self.byok_usd * 100)

    @property
    def total_cents(self) -> int:
        """All of it, rounded to cents."""
        return _rounded(self._exact_cents)

    def reaches(self, ceiling_cents: int) -> bool:
        """Whether a ceiling is reached; fractions of a cent count."""
        return self._exact_cents >= ceiling_cents

    @property
    def _exact_cents(self) -> Decimal:
        return self.plan_cents + self.byok_usd * 100


def spending(plan_cents: int, slices: Iterable[DaySlice], cost: Prices) -> Spending:
    """Add up what a period costs a customer, by its daily rollups."""
    byok_usd, unpriced = Decimal(0), set()
    for part in slices:
        if part.route.managed:  # included in the price
            continue
        estimate = cost(part.route, part.talk, part.day)
        if estimate is None:
            unpriced.add(part.route)
        else:
            byok_usd += estimate
    return Spending(plan_cents, byok_usd, frozenset(unpriced))


def _rounded(amount: Decimal) -> int:
    return int(amount.quantize(Decimal(1), rounding=ROUND_HALF_UP))


# --- all of them ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OwnLimits:
    """What one customer limits itself to.

    Attributes
    ----------
    version
        Raised by one with every change; 0 where none was ever set.
    monthly_ceiling_cents
        The most that the customer wants to spend in a period; ``None`` if that is no matter.
    """

    customer_id: str
    version: int = 0
    monthly_ceiling_cents: int | None = None
    action: CeilingAction = CeilingAction.WARN
    caps: SessionCaps = UNCAPPED

    def ceiling_reached(self, spent: Spending, at: datetime) -> CeilingReached | None:
        """Return what follows from having spent so much, ``None`` if nothing does."""
        ceiling = self.monthly_ceiling_cents
        if ceiling is None or not spent.reaches(ceiling):
            return None
        return CeilingReached(at, ceiling, spent.total_cents, self.action)

    def facts(self) -> dict[str, Any]:
        """Return the limits for a program."""
        ceiling = self.monthly_ceiling_cents
        return {
            "monthly_ceiling": None if ceiling is None else ceiling / 100,
            "action": self.action.value,
            **cap_facts(self.caps),
        }


def check_own_limits(limits: OwnLimits) -> None:
    """Refuse limits that nobody can mean.

    Raises
    ------
    InvalidRequestError
        One of them is not positive, or beyond what there can be. A limit is taken away with null.
    """
    for field, value, most in (
        ("monthly_ceiling", limits.monthly_ceiling_cents, MAX_CEILING_CENTS),
        ("session_turn_cap", limits.caps.turns, MAX_TURN_CAP),
        ("session_token_cap", limits.caps.tokens, MAX_TOKEN_CAP),
    ):
        if value is not None and not 1 <= value <= most:
            bounds = "$0.01 to $10,000,000" if field == "monthly_ceiling" else f"1 to {most:,}"
            raise InvalidRequestError(
                f"{field} must be {bounds}, or null for none.",
                details={"field": field, "hint": "To take a limit away, send null."},
            )
