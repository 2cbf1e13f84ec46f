"""Messages, answers and the tools between them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from flowstack import (
    Agent,
    AsyncAgent,
    InvalidRequestError,
    ToolRoundsExceededError,
)
from tests.support.fake_api import FakeApi, answered, asks_for, refusal


def test_a_message_is_one_round_trip_and_asks_for_no_usage_before(
    agent: Agent, api: FakeApi
) -> None:
    assert agent.chat("What is a box plot?") == "Hello!"
    assert api.routes == ["POST /chat"]
    assert api.bodies == [
        {
            "agent": "analyst",
            "conversation_id": "default",
            "provider": "bedrock",
            "model": "claude-sonnet-4-6",
            "message": "What is a box plot?",
        }
    ]


def test_options_of_a_message_go_before_those_of_the_agent(
    agent_of: Callable[..., Agent], api: FakeApi
) -> None:
    agent = agent_of(system="Be brief.", temperature=0.5, max_tokens=10)
    agent.chat("Hello", temperature=0.1, conversation_id="other", idempotency_key="mine")
    (body,) = api.bodies
    assert body["system"] == "Be brief."
    assert (body["temperature"], body["max_tokens"]) == (0.1, 10)
    assert body["conversation_id"] == "other"
    assert api.requests[0].headers["Idempotency-Key"] == "mine"


def test_send_returns_all_of_the_answer(agent: Agent, api: FakeApi) -> None:
    api.says(answered("Hi", model_notice="claude-3-sonnet was retired", fresh="from the future"))
    answer = agent.send("Hello")
    assert (answer.content, str(answer), answer["content"]) == ("Hi", "Hi", "Hi")
    assert answer.session.new is True
    assert answer.usage.total_tokens == 7
    assert answer.model_notice == "claude-3-sonnet was retired"
    assert answer["fresh"] == answer.get("fresh") == "from the future"
    assert "nothing" not in answer


def test_a_new_conversation_has_an_id_of_its_own(agent: Agent, api: FakeApi) -> None:
    assert agent.new_conversation() == agent.conversation_id == "id-1"
    assert agent.new_conversation("order-4711") == "order-4711"
    agent.chat("Hello")
    assert api.bodies[0]["conversation_id"] == "order-4711"


# --- tools --------------------------------------------------------------------------------------


def test_tools_are_run_and_their_results_sent_back(agent: Agent, api: FakeApi) -> None:
    @agent.tool
    def add(a: int, b: int = 2) -> int:
        """Add numbers."""
        return a + b

    api.says(asks_for(("add", {"a": 1}), ("add", {"a": 5, "b": 5})), answered("3 and 10"))
    assert agent.chat("Add") == "3 and 10"
    assert api.routes == ["POST /chat", "POST /chat"]
    first, second = api.bodies
    assert second["message"] == [
        {"type": "tool_result", "tool_use_id": "tooluse_1", "content": "3"},
        {"type": "tool_result", "tool_use_id": "tooluse_2", "content": "10"},
    ]
    assert second["tools"] == first["tools"]
    assert add(1) == 3, "the function stays what it was"


def test_errors_go_back_to_the_model(agent: Agent, api: FakeApi) -> None:
    @agent.tool
    def divide(a: float, b: float) -> float:
        return a / b

    @agent.tool
    def usage_of(month: str) -> str:
        raise InvalidRequestError("No such month.")

    api.says(
        asks_for(
            ("divide", {"a": 1, "b": 0}),
            ("divide", {"a": "one", "c": 2}),
            ("nothing", {}),
            ("usage_of", {"month": "Nonetober"}),
        ),
        answered("I see"),
    )
    agent.chat("Divide")
    results = api.bodies[1]["message"]
    assert all(result["is_error"] for result in results)
    contents = [result["content"] for result in results]
    assert contents[0] == "ZeroDivisionError: float division by zero"
    assert "a: Input should be a valid number" in contents[1]
    assert "b: Field required" in contents[1]
    assert "c: Extra inputs are not permitted" in contents[1]
    assert contents[2] == "LookupError: There is no tool nothing."
    assert contents[3] == "No such month."


def test_only_exceptions_go_back_to_the_model(agent: Agent, api: FakeApi) -> None:
    @agent.tool
    def stop() -> None:
        raise KeyboardInterrupt

    api.says(asks_for(("stop", {})))
    with pytest.raises(KeyboardInterrupt):
        agent.chat("Stop")


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("text", "text"),
        ("a\0b\ud800", "a\ufffdb?"),
        ("  ", "(no output)"),
        (None, "null"),
        ({"on": date(2026, 12, 1), "cost": Decimal("29.10")}, '{"on":"2026-12-01","cost":29.1}'),
        ({1}, "[1]"),
    ],
)
def test_results_are_text_or_json(agent: Agent, api: FakeApi, given: Any, sent: str) -> None:
    agent.tool(name="give")(lambda: given)
    api.says(asks_for(("give", {})), answered())
    agent.chat("Give")
    assert api.bodies[1]["message"][0]["content"] == sent


def test_a_result_without_a_form_in_json_is_an_error_for_the_model(
    agent: Agent, api: FakeApi
) -> None:
    agent.tool(name="give")(object)
    api.says(asks_for(("give", {})), answered())
    agent.chat("Give")
    (result,) = api.bodies[1]["message"]
    assert result["is_error"] is True


def test_the_model_cannot_ask_for_tools_for_ever(
    agent_of: Callable[..., Agent], api: FakeApi
) -> None:
    agent = agent_of(max_tool_rounds=2)
    agent.tool(name="again")(lambda: "again")
    api.says(*(asks_for(("again", {})) for _ in range(5)))
    with pytest.raises(ToolRoundsExceededError) as stopped:
        agent.chat("Go on")
    assert len(api.requests) == 3
    assert stopped.value.details["tools"] == ["again"]
    api.scripted = [asks_for(("again", {})), asks_for(("again", {}))]
    with pytest.raises(ToolRoundsExceededError):
        agent.chat("Go on", max_tool_rounds=1)
    assert len(api.requests) == 5


def test_async_functions_are_tools_of_a_sync_agent(agent: Agent, api: FakeApi) -> None:
    @agent.tool
    async def later() -> str:
        await asyncio.sleep(0)
        return "later"

    def ask() -> str:
        api.says(asks_for(("later", {})), answered())
        agent.chat("Later")
        return str(api.bodies[-1]["message"][0]["content"])

    async def within_a_loop() -> str:
        return ask()

    assert ask() == "later"
    assert asyncio.run(within_a_loop()) == "later", "as in a notebook"


def test_a_chat_within_a_tool_is_asked_beside_the_waiting_conversation(
    agent: Agent, api: FakeApi
) -> None:
    @agent.tool
    def batch(requests: list[str]) -> str:
        """Process requests."""
        return agent.chat(f"Process {requests}")

    api.says(asks_for(("batch", {"requests": ["a"]})), answered("processed"), answered("done"))
    assert agent.chat("Run the batch") == "done"
    assert api.routes == ["POST /chat", "POST /invoke", "POST /chat"]
    beside = api.bodies[1]
    assert beside["messages"] == [{"role": "user", "content": "Process ['a']"}]
    assert (beside["agent"], beside["conversation_id"]) == ("analyst", "default")
    assert "tools" not in beside
    agent.chat("Next")
    assert api.routes[-1] == "POST /chat"


def test_another_conversation_within_a_tool_is_kept_by_the_server(
    agent: Agent, api: FakeApi
) -> None:
    agent.tool(name="ask")(lambda: agent.chat("Aside", conversation_id="aside"))
    api.says(asks_for(("ask", {})), answered(), answered())
    agent.chat("Ask")
    assert api.routes == ["POST /chat"] * 3


def test_a_conversation_that_waits_for_a_tool_is_told_that_it_was_not_run(
    agent: Agent, api: FakeApi
) -> None:
    awaited = refusal(400, "INVALID_REQUEST", expected=["tooluse_7"], found=[])
    api.says(awaited, answered("Good"))
    assert agent.chat("Go on") == "Good"
    result, text = api.bodies[1]["message"]
    assert (result["tool_use_id"], result["is_error"]) == ("tooluse_7", True)
    assert text == {"type": "text", "text": "Go on"}


def test_it_is_told_once(agent: Agent, api: FakeApi) -> None:
    awaited = [refusal(400, "INVALID_REQUEST", expected=["tooluse_7"], found=[]) for _ in range(2)]
    api.says(*awaited)
    with pytest.raises(InvalidRequestError):
        agent.chat("Go on")
    assert len(api.requests) == 2


def test_each_step_of_a_named_message_has_a_name_that_follows(agent: Agent, api: FakeApi) -> None:
    agent.tool(name="again")(lambda: "again")
    api.says(asks_for(("again", {})), answered())
    agent.chat("Go on", idempotency_key="order-1")
    keys = [each.headers["Idempotency-Key"] for each in api.requests]
    assert keys == ["order-1", "order-1:1"]


@pytest.mark.parametrize("key", ["", "x" * 250, "два", "a b", "a\n"])
def test_a_name_that_the_api_does_not_take_is_refused_before_it_is_sent(
    agent: Agent, api: FakeApi, key: str
) -> None:
    with pytest.raises(InvalidRequestError, match="idempotency key"):
        agent.chat("Hello", idempotency_key=key)
    assert api.requests == []


def test_an_option_that_there_is_not_is_refused(agent: Agent, api: FakeApi) -> None:
    misspelt: Any = {"temprature": 0.5}
    for ask in (agent.chat, agent.send, agent.invoke):
        with pytest.raises(TypeError, match="temprature"):
            ask("Hello", **misspelt)
    assert api.requests == []


def test_a_field_of_a_newer_server_may_be_called_like_a_method(agent: Agent, api: FakeApi) -> None:
    api.says(answered(items=[1], keys="k"))
    answer = agent.send("Hello")
    assert (answer["items"], answer["keys"]) == ([1], "k")


# --- invoke -------------------------------------------------------------------------------------


def test_invoke_sends_all_that_was_said(agent: Agent, api: FakeApi) -> None:
    agent.tool(name="add")(lambda a: a)
    api.says(asks_for(("add", {"a": 1}), content="Let me see"), answered("1"))
    history = [{"role": "user", "content": "Add"}]
    assert agent.invoke(history).content == "1"
    assert api.routes == ["POST /invoke", "POST /invoke"]
    assert api.bodies[1]["messages"] == [
        {"role": "user", "content": "Add"},
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "Let me see"},
                {"type": "tool_use", "id": "tooluse_1", "name": "add", "input": {"a": 1}},
            ],
        },
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": "tooluse_1", "content": "1"}],
        },
    ]
    assert history == [{"role": "user", "content": "Add"}], "the caller's list is the caller's"


def test_invoke_can_leave_the_tools_to_the_caller(agent: Agent, api: FakeApi) -> None:
    agent.tool(name="add")(lambda a: a)
    api.says(asks_for(("add", {"a": 1})))
    answer = agent.invoke("Add", run_tools=False)
    assert [(call.name, call.input) for call in answer.tool_calls] == [("add", {"a": 1})]
    assert len(api.requests) == 1


# --- async --------------------------------------------------------------------------------------


def test_an_async_agent_runs_tools_side_by_side(async_agent: AsyncAgent, api: FakeApi) -> None:
    both = asyncio.Event()

    @async_agent.tool
    async def first() -> str:
        await asyncio.wait_for(both.wait(), 5)
        return "first"

    @async_agent.tool
    async def second() -> str:
        both.set()
        return "second"

    @async_agent.tool
    def plain() -> str:
        return "plain"

    api.says(asks_for(("first", {}), ("second", {}), ("plain", {})), answered("all"))
    assert asyncio.run(async_agent.chat("All")) == "all"
    results = [result["content"] for result in api.bodies[1]["message"]]
    assert results == ["first", "second", "plain"]


def test_an_async_agent_chats_beside_within_a_tool(async_agent: AsyncAgent, api: FakeApi) -> None:
    @async_agent.tool
    async def batch() -> str:
        return await async_agent.chat("Beside")

    api.says(asks_for(("batch", {})), answered(), answered("done"))
    assert asyncio.run(async_agent.chat("Run")) == "done"
    assert api.routes == ["POST /chat", "POST /invoke", "POST /chat"]


def test_an_async_agent_recovers_and_invokes(async_agent: AsyncAgent, api: FakeApi) -> None:
    api.says(refusal(400, "INVALID_REQUEST", expected=["tooluse_7"], found=[]))
    assert asyncio.run(async_agent.chat("Go on")) == "Hello!"
    assert asyncio.run(async_agent.invoke("Hello")).content == "Hello!"
    assert api.routes == ["POST /chat", "POST /chat", "POST /invoke"]
