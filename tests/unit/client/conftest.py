"""An agent on a made-up API, with time and chance of the test's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import Any

import httpx
import pytest

from flowstack import Agent, AsyncAgent, Runtime
from tests.support.fake_api import KEY, URL, FakeApi


@dataclass
class Pauses:
    """How long was waited, instead of waiting."""

    seconds: list[float] = field(default_factory=list)
    chance: float = 0.0

    def runtime(self) -> Runtime:
        numbers = count(1)

        async def wait(seconds: float) -> None:
            self.seconds.append(seconds)

        return Runtime(
            now=lambda: datetime(2026, 11, 24, 12, tzinfo=UTC),
            sleep=self.seconds.append,
            async_sleep=wait,
            random=lambda: self.chance,
            new_id=lambda: f"id-{next(numbers)}",
        )


@pytest.fixture
def api() -> FakeApi:
    return FakeApi()


@pytest.fixture
def pauses() -> Pauses:
    return Pauses()


@pytest.fixture
def agent_of(api: FakeApi, pauses: Pauses) -> Callable[..., Agent]:
    def make(**settings: Any) -> Agent:
        http = httpx.Client(transport=api.transport)
        settings = {"base_url": URL, "runtime": pauses.runtime(), **settings}
        return Agent("analyst", KEY, http_client=http, **settings)

    return make


@pytest.fixture
def agent(agent_of: Callable[..., Agent]) -> Agent:
    return agent_of()


@pytest.fixture
def async_agent(api: FakeApi, pauses: Pauses) -> AsyncAgent:
    http = httpx.AsyncClient(transport=api.transport)
    return AsyncAgent("analyst", KEY, base_url=URL, http_client=http, runtime=pauses.runtime())
