"""What is tried again, after how long, and under which name."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from flowstack import (
    Agent,
    APIConnectionError,
    APITimeoutError,
    AsyncAgent,
    ConflictError,
    FlowStackError,
    QuotaExceededError,
    RateLimitError,
    ServerError,
)
from tests.support.fake_api import FakeApi, answered, refusal
from tests.unit.client.conftest import Pauses

LOST = httpx.ReadError("cut off")
SLOW = httpx.ReadTimeout("too slow")
UNREACHED = httpx.ConnectError("nobody there")


@pytest.mark.parametrize(
    "failure",
    [
        LOST,
        SLOW,
        UNREACHED,
        refusal(408, "TIMEOUT"),
        refusal(409, "REQUEST_IN_PROGRESS"),
        refusal(429, "RATE_LIMITED"),
        refusal(429, "PROVIDER_RATE_LIMITED"),
        refusal(500, "INTERNAL_ERROR"),
        refusal(502, "MODEL_UNAVAILABLE"),
        refusal(503, "SERVICE_UNAVAILABLE"),
        refusal(504, "MODEL_TIMEOUT"),
        httpx.Response(502, text="<html>a proxy's page</html>"),
    ],
    ids=repr,
)
def test_what_passes_is_tried_again(
    agent: Agent, api: FakeApi, pauses: Pauses, failure: Any
) -> None:
    api.says(failure, answered("there"))
    assert agent.chat("Hello") == "there"
    assert pauses.seconds == [0.5]


@pytest.mark.parametrize(
    "refused",
    [
        refusal(429, "QUOTA_EXCEEDED", {"Retry-After": "1"}, current_usage=1, limit=1),
        refusal(409, "IDEMPOTENCY_CONFLICT"),
        refusal(409, "CONFLICT"),
        refusal(400, "INVALID_REQUEST"),
        refusal(401, "UNAUTHORIZED"),
        refusal(403, "TIER_LIMITATION"),
        refusal(404, "NOT_FOUND"),
    ],
    ids=repr,
)
def test_what_stays_refused_is_not(
    agent: Agent, api: FakeApi, pauses: Pauses, refused: httpx.Response
) -> None:
    api.says(refused)
    with pytest.raises(FlowStackError):
        agent.chat("Hello")
    assert len(api.requests) == 1
    assert pauses.seconds == []


def test_trap_8_one_name_goes_through_all_attempts_of_a_message(agent: Agent, api: FakeApi) -> None:
    api.says(LOST, refusal(503, "SERVICE_UNAVAILABLE"), answered())
    agent.chat("Hello")
    agent.chat("Hello")
    keys = [each.headers["Idempotency-Key"] for each in api.requests]
    assert keys == ["id-1", "id-1", "id-1", "id-2"]
    assert api.bodies[0] == api.bodies[1] == api.bodies[2]


@pytest.mark.parametrize(
    ("chance", "expected"), [(0.0, [0.5, 1, 2, 4, 8, 8]), (1.0, [0.25, 0.5, 1, 2, 4, 4])]
)
def test_pauses_double_up_to_eight_seconds_with_jitter(
    agent_of: Callable[..., Agent],
    api: FakeApi,
    pauses: Pauses,
    chance: float,
    expected: list[float],
) -> None:
    pauses.chance = chance
    api.says(*[LOST] * 7)
    with pytest.raises(APIConnectionError):
        agent_of(max_retries=6).chat("Hello")
    assert pauses.seconds == expected
    assert len(api.requests) == 7


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("3", 3.0), ("Tue, 24 Nov 2026 12:00:07 GMT", 7.0), ("Tue, 24 Nov 2026 11:00:00 GMT", 0.0)],
)
def test_the_server_says_how_long_to_wait(
    agent: Agent, api: FakeApi, pauses: Pauses, header: str, seconds: float
) -> None:
    api.says(refusal(429, "RATE_LIMITED", {"Retry-After": header}), answered())
    agent.chat("Hello")
    assert pauses.seconds == [seconds]


def test_a_retry_after_that_is_none_is_left_out(agent: Agent, api: FakeApi, pauses: Pauses) -> None:
    api.says(refusal(429, "RATE_LIMITED", {"Retry-After": "soon"}), answered())
    agent.chat("Hello")
    assert pauses.seconds == [0.5]


def test_a_long_wait_is_left_to_the_caller(agent: Agent, api: FakeApi, pauses: Pauses) -> None:
    api.says(refusal(429, "RATE_LIMITED", {"Retry-After": "3600"}))
    with pytest.raises(RateLimitError) as refused:
        agent.chat("Hello")
    assert refused.value.retry_after == 3600
    assert pauses.seconds == []


def test_retries_can_be_switched_off(agent_of: Callable[..., Agent], api: FakeApi) -> None:
    api.says(refusal(500, "INTERNAL_ERROR"))
    with pytest.raises(ServerError):
        agent_of(max_retries=0).chat("Hello")
    assert len(api.requests) == 1


def test_whatever_changes_something_has_one_name_through_all_attempts(
    agent: Agent, api: FakeApi
) -> None:
    api.vault.store("pages", {"visits": 0}, "home")
    changes: list[Callable[[], object]] = [
        lambda: agent.vault.update("pages", "home", {"visits": 1}),
        lambda: agent.vault.store("pages", {"visits": 1}),
        lambda: agent.vault.delete("pages", "home"),
        lambda: agent.billing.downgrade("free"),
        lambda: agent.billing.set_alerts(thresholds=[75]),
    ]
    for number, change in enumerate(changes, 1):
        api.requests.clear()
        api.says(LOST)
        change()
        keys = [each.headers["Idempotency-Key"] for each in api.requests]
        assert keys == [f"id-{number}"] * 2
    api.requests.clear()
    agent.get_usage()
    assert "Idempotency-Key" not in api.requests[0].headers


def test_silence_and_absence_are_told_apart(agent_of: Callable[..., Agent], api: FakeApi) -> None:
    agent = agent_of(max_retries=0)
    api.says(SLOW, UNREACHED, LOST)
    with pytest.raises(APITimeoutError) as slow:
        agent.chat("Hello")
    with pytest.raises(APIConnectionError) as unreached:
        agent.chat("Hello")
    with pytest.raises(APIConnectionError) as lost:
        agent.chat("Hello")
    assert (slow.value.sent, unreached.value.sent, lost.value.sent) == (True, False, True)
    assert not isinstance(unreached.value, APITimeoutError)


def test_a_redirection_is_not_followed(agent: Agent, api: FakeApi) -> None:
    """It could lead the key to somebody else."""
    api.says(httpx.Response(307, headers={"Location": "https://evil.example.com/"}))
    with pytest.raises(FlowStackError):
        agent.chat("Hello")
    assert len(api.requests) == 1


def test_an_async_agent_waits_and_tries_again(
    async_agent: AsyncAgent, api: FakeApi, pauses: Pauses
) -> None:
    api.says(LOST, refusal(503, "SERVICE_UNAVAILABLE", {"Retry-After": "2"}), answered("there"))
    assert asyncio.run(async_agent.chat("Hello")) == "there"
    assert pauses.seconds == [0.5, 2.0]
    keys = {each.headers["Idempotency-Key"] for each in api.requests}
    assert keys == {"id-1"}
    api.says(refusal(429, "QUOTA_EXCEEDED", current_usage=3, limit=3))
    with pytest.raises(QuotaExceededError):
        asyncio.run(async_agent.chat("Hello"))
    api.says(refusal(409, "CONFLICT"))
    with pytest.raises(ConflictError):
        asyncio.run(async_agent.billing.undo())
