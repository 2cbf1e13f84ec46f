"""Rollups: what a customer's sessions came to, day by day.

A session and everything said in it belong to the UTC day on which the session started, as it
belongs to the period in which it started (S4). It is in the rollups from its first answered
message on: what is held, or was released, is not (S5).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date

MOST_ROUTES = 32
"""How many routes of one session are told apart. A session that goes on and on, with a model of
another name each time, would outgrow its item."""

OTHER = "other"
"""Provider and model of whatever went further ways than those."""


@dataclass(frozen=True, slots=True)
class Talk:
    """Messages that were answered, and the tokens that they took."""

    messages: int = 0
    input_tokens: int = 0
    output_tokens: int = 0

    def __add__(self, other: Talk) -> Talk:
        return Talk(
            self.messages + other.messages,
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
        )

    def __sub__(self, other: Talk) -> Talk:
        return Talk(
            self.messages - other.messages,
            self.input_tokens - other.input_tokens,
            self.output_tokens - other.output_tokens,
        )


@dataclass(frozen=True, order=True, slots=True)
class Route:
    """Which way messages went: who pays for the model, at which provider, which one.

    Attributes
    ----------
    managed
        Whether it is the operator's model on Bedrock, included in the price; else the customer's
        own (BYOK).
    model
        FlowStack's name of the model, the one that answers carry.
    """

    managed: bool
    provider: str
    model: str

    def within(self, known: Mapping[Route, Talk]) -> Route:
        """Return the route under which a session counts that knows some routes already."""
        if self in known or len(known) < MOST_ROUTES:
            return self
        return Route(self.managed, OTHER, OTHER)


@dataclass(frozen=True, slots=True)
class DayTotal:
    """All of one customer's sessions that started on one day.

    Attributes
    ----------
    sessions, managed_sessions
        Sessions with an answered message; those of them whose first one a managed model answered.
    managed, byok
        What was said in them, on the operator's models and on the customer's own.
    """

    day: date
    sessions: int = 0
    managed_sessions: int = 0
    managed: Talk = Talk()
    byok: Talk = Talk()

    @property
    def byok_sessions(self) -> int:
        """Sessions whose first answer came from the customer's own model."""
        return self.sessions - self.managed_sessions

    @property
    def talk(self) -> Talk:
        """What was said, whoever paid for the model."""
        return self.managed + self.byok


@dataclass(frozen=True, slots=True)
class DaySlice:
    """The part of a day's total of one agent and one route.

    Attributes
    ----------
    sessions
        Sessions whose first answered message went this way; so that slices add up to the total.
    """

    day: date
    agent: str
    route: Route
    sessions: int = 0
    talk: Talk = Talk()

    @property
    def place(self) -> tuple[date, str, Route]:
        """What tells it from other slices of its customer."""
        return (self.day, self.agent, self.route)


def total_of(said: Mapping[Route, Talk]) -> Talk:
    """Return what was said on all routes together."""
    return sum(said.values(), Talk())


def merged(slices: Iterable[DaySlice]) -> list[DaySlice]:
    """Return one slice a day, agent and route, in that order."""
    found: dict[tuple[date, str, Route], DaySlice] = {}
    for part in slices:
        so_far = found.get(part.place)
        found[part.place] = (
            part
            if so_far is None
            else replace(
                so_far, sessions=so_far.sessions + part.sessions, talk=so_far.talk + part.talk
            )
        )
    return [found[place] for place in sorted(found)]


def day_totals(slices: Iterable[DaySlice]) -> list[DayTotal]:
    """Return the total of each day, the oldest first: its slices, added up."""
    totals: dict[date, DayTotal] = {}
    for part in slices:
        total, managed = totals.get(part.day, DayTotal(part.day)), part.route.managed
        totals[part.day] = replace(
            total,
            sessions=total.sessions + part.sessions,
            managed_sessions=total.managed_sessions + (part.sessions if managed else 0),
            managed=total.managed + part.talk if managed else total.managed,
            byok=total.byok if managed else total.byok + part.talk,
        )
    return [totals[day] for day in sorted(totals)]
