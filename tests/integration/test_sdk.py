"""The Python client against the deployed stack."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from flowstack import (
    Agent,
    AsyncAgent,
    AuthenticationError,
    BillingError,
    CredentialsRequiredError,
    InvalidRequestError,
    ModelNotAvailableError,
    Money,
    NotFoundError,
    QuotaExceededError,
    RateLimitError,
    TierLimitationError,
    ToolRoundsExceededError,
)
from flowstack_core.domain.periods import Period
from tests.integration.conftest import Customer, Stack
from tests.support.converse_server import Behaviour
from tests.support.faulty_dynamodb import Faults

OpenAgent = Callable[..., Agent]


@pytest.fixture
def agent_of(stack: Stack) -> Iterator[OpenAgent]:
    opened: list[Agent] = []

    def open_agent(customer: Customer, **settings: Any) -> Agent:
        settings = {"base_url": stack.connection.api_url, "model": "claude-haiku-4-5", **settings}
        opened.append(Agent("sdk", customer.key, **settings))
        return opened[-1]

    yield open_agent
    for agent in opened:
        agent.close()


def test_six_messages_are_one_session_and_the_server_keeps_them(
    stack: Stack, agent_of: OpenAgent
) -> None:
    customer = stack.customer()
    agent = agent_of(customer)
    assert agent.chat("first-marker question") == "You said: first-marker question"
    agent.chat("second question")
    agent.chat("third question")
    assert stack.asked("first-marker") == 3
    usage = agent.get_usage()
    assert (usage.sessions_used, usage.sessions_limit, usage.tier) == (1, 1000, "starter")
    stack.assert_exact(customer, 1)


def test_tools_run_between_a_message_and_its_answer(stack: Stack, agent_of: OpenAgent) -> None:
    customer = stack.customer()
    agent = agent_of(customer)
    asked: list[str] = []

    @agent.tool
    def weather(town: str) -> dict[str, Any]:
        """Tell the weather of a town."""
        asked.append(town)
        return {"town": town, "degrees": 21}

    @agent.tool
    async def tides(port: str) -> str:
        """Tell the tides of a port."""
        raise ConnectionError(f"no line to {port}")

    answer = agent.send("Use weather and tides")
    assert asked == ["sample"]
    assert '"degrees":21' in answer.content
    assert "ConnectionError: no line to sample" in answer.content
    assert answer.session.new is False
    stack.assert_exact(customer, 1)


def test_a_conversation_that_was_left_waiting_for_a_tool_goes_on(
    stack: Stack, agent_of: OpenAgent
) -> None:
    customer = stack.customer()

    def weather(town: str) -> str:
        """Tell the weather of a town."""
        return "rain"

    agent, later = agent_of(customer, max_tool_rounds=0), agent_of(customer)
    agent.tool(weather)
    later.tool(weather)
    with pytest.raises(ToolRoundsExceededError):
        agent.chat("Use weather")
    assert "Never mind" in later.chat("Never mind")
    assert "Thanks" in later.chat("Thanks")
    stack.assert_exact(customer, 1)


def test_an_async_agent_does_the_same(stack: Stack) -> None:
    customer = stack.customer()

    async def talk() -> tuple[str, int]:
        url = stack.connection.api_url
        async with AsyncAgent("sdk", customer.key, base_url=url) as agent:

            @agent.tool
            async def weather(town: str) -> str:
                """Tell the weather of a town."""
                return f"rain in {town}"

            answer = await agent.chat("Use weather")
            return answer, (await agent.get_usage()).sessions_used

    assert asyncio.run(talk()) == ("The tools said: rain in sample", 1)


def test_invoke_carries_its_own_history(stack: Stack, agent_of: OpenAgent) -> None:
    agent = agent_of(stack.customer())

    @agent.tool
    def weather(town: str) -> str:
        """Tell the weather of a town."""
        return "sun"

    assert agent.invoke("Use weather").content == "The tools said: sun"
    left = agent.invoke("Use weather", run_tools=False)
    assert [call.name for call in left.tool_calls] == ["weather"]


def test_at_the_limit_new_conversations_are_refused_and_running_ones_go_on(
    stack: Stack, agent_of: OpenAgent
) -> None:
    customer = stack.customer(session_limit=1)
    agent = agent_of(customer)
    agent.chat("Hello")
    running = agent.conversation_id
    agent.new_conversation()
    with pytest.raises(QuotaExceededError) as refused:
        agent.chat("Hello")
    assert (refused.value.current_usage, refused.value.limit) == (1, 1)
    assert refused.value.details["current_usage"] == refused.value.details["limit"] == 1
    assert refused.value.request_id
    agent.new_conversation(running)
    agent.chat("More")
    assert agent.get_usage().can_make_requests is False


def test_every_refusal_has_a_class_of_its_own(stack: Stack, agent_of: OpenAgent) -> None:
    free, starter = stack.customer("free"), stack.customer()
    with pytest.raises(TierLimitationError, match="free tier"):
        agent_of(free).chat("Hello")
    with pytest.raises(CredentialsRequiredError):
        agent_of(free, provider="openai", model="gpt-4o").chat("Hello")
    with pytest.raises(ModelNotAvailableError) as unknown:
        agent_of(starter, model="claude-9").chat("Hello")
    assert unknown.value.details["nearest"]
    with pytest.raises(InvalidRequestError):
        agent_of(starter).chat("")
    starter.key = "fs_wrong"
    with pytest.raises(AuthenticationError):
        agent_of(starter).chat("Hello")


def test_tier_info_and_plans_read_like_mappings(stack: Stack, agent_of: OpenAgent) -> None:
    agent = agent_of(stack.customer("free"))
    tier = agent.get_tier_info()
    assert (tier["current_tier"], tier["can_use_managed"]) == ("free", False)
    assert [plan.sessions_per_month for plan in agent.billing.plans()] == [25, 1000, 10000, 100000]


def test_a_plan_is_tried_dry_changed_and_taken_back(stack: Stack, agent_of: OpenAgent) -> None:
    billing = agent_of(stack.customer("professional")).billing
    tried = billing.preview("downgrade", "starter")
    assert (tried["before"]["tier"], tried["after"]["tier"]) == ("professional", "starter")
    assert billing.subscription().pending_change is None
    changed = billing.downgrade("starter")
    assert changed.pending_change is not None
    assert (changed.tier, changed.pending_change.tier) == ("professional", "starter")
    assert changed.price_usd == Money(99)
    assert billing.undo().pending_change is None
    cancelled = billing.cancel()
    assert cancelled.pending_change is not None
    assert cancelled.pending_change.tier == "free"
    assert billing.subscription() == cancelled
    with pytest.raises(BillingError):
        billing.downgrade("enterprise")


def test_closed_months_have_statements(stack: Stack, agent_of: OpenAgent) -> None:
    customer = stack.customer()
    agent = agent_of(customer)
    agent.chat("Hello")
    first = Period.containing(datetime.now(UTC))
    second = first.next()
    for period in (second, second.next()):
        stack.set_clock(customer, period.start.isoformat())
    newest, oldest = agent.billing.history()
    assert (newest.period, newest.sessions_used, newest.total) == (second.name, 0, Money(29))
    assert (oldest.period, oldest.sessions_used, oldest.total) == (first.name, 1, Money(29))
    assert agent.billing.statement(first.name) == oldest
    assert [each.period for each in agent.billing.history(limit=1)] == [second.name]
    assert agent.billing.history_csv().count(first.name) >= 1
    with pytest.raises(NotFoundError):
        agent.billing.statement("2020-01")


def test_a_key_that_was_stored_once_answers_from_then_on(stack: Stack, agent_of: OpenAgent) -> None:
    customer = stack.customer("free")
    agent = agent_of(customer, provider="openai", model="gpt-4o")
    with pytest.raises(CredentialsRequiredError):
        agent.chat("Hello")
    agent.store_byok_credentials("openai", {"api_key": "sk-stored-by-the-client"})
    assert agent.chat("Hello") == "You said: Hello"
    (call,) = stack.vendors.calls()
    assert call.headers["authorization"] == "Bearer sk-stored-by-the-client"
    (stored,) = agent.list_byok_credentials()
    assert (stored.provider, stored.credentials) == ("openai", {"api_key": "…ient"})
    assert agent.delete_byok_credentials("openai")
    assert not agent.delete_byok_credentials("openai")
    stack.assert_exact(customer, 1)


def test_the_command_talks_to_the_stack(stack: Stack) -> None:
    customer = stack.customer(session_limit=1)
    environment = {
        "PATH": os.environ["PATH"],
        "FLOWSTACK_API_URL": stack.connection.api_url,
        "FLOWSTACK_API_KEY": customer.key,
    }

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "flowstack.cli", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    assert run("chat", "Hello").stdout == "You said: Hello\n"
    assert json.loads(run("--json", "usage").stdout)["sessions_used"] == 1
    refused = run("chat", "Hello", "--conversation", "other")
    assert (refused.returncode, refused.stdout) == (4, "")
    assert "QUOTA_EXCEEDED" in refused.stderr
    assert customer.key not in refused.stderr


def test_retries_through_faults_count_once(stack: Stack, agent_of: OpenAgent) -> None:
    customer = stack.customer()
    agent = agent_of(customer, max_retries=8)
    stack.dynamodb.control(Faults(rate=0.2, seed=5))
    for number in range(6):
        agent.new_conversation(f"faulty {number}")
        agent.chat(f"fault-marker {number}")
    stack.dynamodb.control(Faults())
    stack.assert_exact(customer, 6)


def test_an_answer_that_was_lost_on_the_way_is_given_again(stack: Stack) -> None:
    """The first answer never arrives; the retry has the same key, so nothing happens twice."""
    customer = stack.customer()

    class LosesTheFirst(httpx.BaseTransport):
        def __init__(self) -> None:
            self._inner = httpx.HTTPTransport()
            self.sent = 0

        def handle_request(self, request: httpx.Request) -> httpx.Response:
            response = self._inner.handle_request(request)
            self.sent += 1
            if self.sent == 1:
                response.read()
                raise httpx.ReadError("the line was cut", request=request)
            return response

        def close(self) -> None:
            self._inner.close()

    transport = LosesTheFirst()
    with httpx.Client(transport=transport) as http:
        agent = Agent("sdk", customer.key, base_url=stack.connection.api_url, http_client=http)
        assert agent.chat("lost-marker") == "You said: lost-marker"
    assert transport.sent == 2
    assert stack.asked("lost-marker") == 1
    stack.assert_exact(customer, 1)


def test_a_throttling_provider_is_tried_again_and_told_apart_from_the_quota(
    stack: Stack, agent_of: OpenAgent
) -> None:
    customer = stack.customer()
    stack.bedrock.behave(Behaviour(marker="throttled", fail="ThrottlingException", times=1))
    assert agent_of(customer).chat("throttled") == "You said: throttled"
    stack.bedrock.behave(Behaviour(marker="throttled", fail="ThrottlingException"))
    with pytest.raises(RateLimitError) as refused:
        agent_of(customer, max_retries=0, conversation_id="other").chat("throttled")
    assert refused.value.error_code == "PROVIDER_RATE_LIMITED"
    stack.assert_exact(customer, 1)
