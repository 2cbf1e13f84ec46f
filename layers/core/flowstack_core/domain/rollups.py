"""Rollups: what a customer's sessions came to, day by day.

A session and everything said in it belong to the UTC day on which the session started, as it
belongs to the period in which it started (S4). It is in the rollups from its first answered
message on: what is held, or was released, is not (S5).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date


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


@dataclass(frozen=True, slots=True)
class DayTotal:
    """All of one customer's sessions that started on one day.

    Attributes
    ----------
    sessions, managed_sessions
        Sessions with an answered message; those of them that began with a managed model.
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
        """Sessions that began with the customer's own model."""
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
