"""The usage history: days put together into days, ISO weeks, or billing periods."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from enum import StrEnum
from itertools import islice
from types import MappingProxyType

from flowstack_core.domain.errors import InvalidRequestError
from flowstack_core.domain.periods import Period
from flowstack_core.domain.rollups import DaySlice, DayTotal, Talk

MOST_NAMES = 50
"""How many parts of a span are named; the others are one."""

_A_DAY = timedelta(days=1)


class Granularity(StrEnum):
    """How long the spans of a history are: a day, an ISO week, a billing period."""

    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"

    def first_day(self, day: date) -> date:
        """Return the first day of the span that a day is in."""
        match self:
            case Granularity.DAILY:
                return day
            case Granularity.WEEKLY:
                return day - timedelta(days=day.weekday())
            case Granularity.MONTHLY:
                return day.replace(day=1)

    def following(self, first_day: date) -> date:
        """Return the first day of the next span."""
        match self:
            case Granularity.DAILY:
                return first_day + _A_DAY
            case Granularity.WEEKLY:
                return first_day + 7 * _A_DAY
            case Granularity.MONTHLY:
                return Period(first_day.year, first_day.month).end.date()


MOST_SPANS: Mapping[Granularity, int] = MappingProxyType(
    {Granularity.DAILY: 92, Granularity.WEEKLY: 53, Granularity.MONTHLY: 24}
)


class Dimension(StrEnum):
    """What a history can be broken down by."""

    AGENT = "agent"
    PROVIDER = "provider"
    MODEL = "model"

    def name_of(self, part: DaySlice) -> str:
        """Return the name under which a slice counts."""
        match self:
            case Dimension.AGENT:
                return part.agent
            case Dimension.PROVIDER:
                return part.route.provider
            case Dimension.MODEL:
                return part.route.model


@dataclass(frozen=True, slots=True)
class Span:
    """Some days: from ``start`` to before ``end``."""

    start: date
    end: date


def spans(granularity: Granularity, first: date, last: date, *, latest: date) -> Sequence[Span]:
    """Return the spans that hold the days from ``first`` to ``last``, each of them whole.

    Parameters
    ----------
    latest
        The last day that can be asked for.

    Raises
    ------
    InvalidRequestError
        If there are no such days, or more than a history has.
    """
    if first > last:
        raise InvalidRequestError(
            f"The history would begin on {first}, after it ends on {last}.",
            details={"field": "from", "from": str(first), "to": str(last)},
        )
    if last > latest:
        raise InvalidRequestError(
            f"There is nothing to see after {latest}, where the present period ends.",
            details={"field": "to", "latest": str(latest)},
        )
    most = MOST_SPANS[granularity]
    found = list(islice(_spans(granularity, first, last), most + 1))
    if len(found) > most:
        raise InvalidRequestError(
            f"A {granularity} history shows at most {most} spans at a time.",
            details={
                "field": "from",
                "maximum": most,
                "hint": "Ask for fewer days, or for longer spans.",
            },
        )
    return found


def _spans(granularity: Granularity, first: date, last: date) -> Iterator[Span]:
    start = granularity.first_day(first)
    while start <= last:
        end = granularity.following(start)
        yield Span(start, end)
        start = end


def summed(day: date, totals: Iterable[DayTotal]) -> DayTotal:
    """Return several days as one."""
    found = DayTotal(day)
    for total in totals:
        found = DayTotal(
            day,
            found.sessions + total.sessions,
            found.managed_sessions + total.managed_sessions,
            found.managed + total.managed,
            found.byok + total.byok,
        )
    return found


@dataclass(frozen=True, slots=True)
class NamedPart:
    """The part of a span that counts under one name.

    Attributes
    ----------
    name
        ``None`` for all that have no place of their own.
    """

    name: str | None
    managed_sessions: int = 0
    byok_sessions: int = 0
    talk: Talk = field(default_factory=Talk)

    @property
    def sessions(self) -> int:
        """Sessions, whoever paid for the model of the first answer."""
        return self.managed_sessions + self.byok_sessions

    def with_(self, other: NamedPart) -> NamedPart:
        """Return both as one, under this name."""
        return replace(
            self,
            managed_sessions=self.managed_sessions + other.managed_sessions,
            byok_sessions=self.byok_sessions + other.byok_sessions,
            talk=self.talk + other.talk,
        )


def broken_down(dimension: Dimension, slices: Iterable[DaySlice]) -> list[NamedPart]:
    """Return the slices by name, the largest first; the smallest of many are one without a name."""
    parts: dict[str, NamedPart] = {}
    for each in slices:
        name, managed = dimension.name_of(each), each.route.managed
        sessions = (each.sessions, 0) if managed else (0, each.sessions)
        part = NamedPart(name, *sessions, each.talk)
        parts[name] = parts[name].with_(part) if name in parts else part
    ranked = sorted(
        parts.values(), key=lambda part: (-part.sessions, -part.talk.messages, part.name)
    )
    named, others = ranked[:MOST_NAMES], ranked[MOST_NAMES:]
    if others:
        rest = NamedPart(None)
        for part in others:
            rest = rest.with_(part)
        named.append(rest)
    return named
