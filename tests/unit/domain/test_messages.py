"""Conversations: what is refused, and what is left out when one grows too long."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstack_core.domain.errors import ContextLengthExceededError, InvalidRequestError
from flowstack_core.domain.messages import (
    DEFAULT_MAX_TOKENS,
    ContentBlock,
    Message,
    ModelAnswer,
    TextBlock,
    TokenUsage,
    ToolCall,
    ToolResult,
    ToolSpec,
    check_conversation,
    context_budget,
    fit_to_context,
    turn_tokens,
)

Turn = tuple[Message, ...]


def user(*blocks: ContentBlock | str) -> Message:
    return said("user", *blocks)


def assistant(*blocks: ContentBlock | str) -> Message:
    return said("assistant", *blocks)


def said(role: Literal["user", "assistant"], *blocks: ContentBlock | str) -> Message:
    return Message(
        role, tuple(TextBlock(block) if isinstance(block, str) else block for block in blocks)
    )


def call(id_: str = "c1") -> ToolCall:
    return ToolCall(id_, "get_weather", {"city": "Oslo"})


def result(id_: str = "c1") -> ToolResult:
    return ToolResult(id_, "Rain")


# --- what no provider accepts --------------------------------------------------------------


@pytest.mark.parametrize(
    "messages",
    [
        [user("Hi")],
        [user("Hi"), assistant("Hello"), user("How are you?")],
        [user("Hi"), user("Anyone?")],
        [user("W?"), assistant("Let me see", call()), user(result())],
        [user("W?"), assistant(call("a"), call("b")), user(result("b"), result("a"), "and?")],
        [user("W?"), assistant(call()), user(result()), assistant(call()), user(result())],
        [user("Hi"), assistant(), user("Nothing?")],
        [user("Hi"), assistant(" \n"), user("Nothing?")],
    ],
)
def test_a_sound_conversation_is_let_through(messages: list[Message]) -> None:
    check_conversation(messages)


ONCE = "answered by exactly one tool result"


@pytest.mark.parametrize(
    ("messages", "field", "complaint"),
    [
        ([], "messages", "must not be empty"),
        ([assistant("Hi"), user("Hi")], "messages[0].role", "first message must be the user"),
        ([user("Hi"), assistant("Hi")], "messages[1].role", "last message must be the user"),
        ([user()], "messages[0].content", "must not be empty"),
        ([user(" \n\t\u00a0")], "messages[0].content", "more than white space"),
        ([user("", "")], "messages[0].content", "more than white space"),
        ([user("Hi"), assistant("Hi"), user()], "messages[2].content", "must not be empty"),
        ([user(call())], "messages[0].content", "Only the assistant calls tools"),
        (
            [user("Hi"), assistant(result()), user("Hi")],
            "messages[1].content",
            "Only the user sends tool results",
        ),
        ([user(result())], "messages[0].content", ONCE),
        ([user("W?"), assistant(call()), user("Never mind")], "messages[2].content", ONCE),
        ([user("W?"), assistant(call()), user(result("c2"))], "messages[2].content", ONCE),
        ([user("W?"), assistant(call()), user(result(), result())], "messages[2].content", ONCE),
        (
            [user("W?"), assistant(call("a"), call("b")), user(result("a"))],
            "messages[2].content",
            ONCE,
        ),
        (
            [user("W?"), assistant(call()), assistant("Wait"), user(result())],
            "messages[2].content",
            ONCE,
        ),
        (
            [user("W?"), assistant(call("a"), call("a")), user(result("a"))],
            "messages[1].content",
            "same id",
        ),
    ],
)
def test_a_conversation_that_no_provider_accepts_is_refused(
    messages: list[Message], field: str, complaint: str
) -> None:
    with pytest.raises(InvalidRequestError, match=complaint) as refused:
        check_conversation(messages)
    assert refused.value.details["field"] == field


def test_a_missing_tool_result_is_named() -> None:
    with pytest.raises(InvalidRequestError) as refused:
        check_conversation([user("W?"), assistant(call("b"), call("a")), user(result("x"))])
    assert refused.value.details["expected"] == ["a", "b"]
    assert refused.value.details["found"] == ["x"]


# --- answers and sizes ---------------------------------------------------------------------


def test_an_answer_is_read_as_text_and_as_tool_calls() -> None:
    answer = ModelAnswer(
        (TextBlock("One "), call(), TextBlock("two")), "tool_use", TokenUsage(3, 4)
    )
    assert answer.content == "One two"
    assert answer.tool_calls == (call(),)
    assert answer.usage.total_tokens == 7


@dataclass(frozen=True)
class Small:
    model: str = "small"
    provider_model_id: str = "x.small"
    context_window: int = 10_000
    max_output_tokens: int = 500
    supports_temperature: bool = True


def test_the_budget_leaves_room_for_the_system_prompt_the_tools_and_the_answer() -> None:
    tool = ToolSpec("abc", "def", {})
    assert context_budget(Small(), None, (), 100) == 9_900
    assert context_budget(Small(), None, (), None) == 10_000 - 500
    assert context_budget(Small(max_output_tokens=9_000), None, (), None) == (
        10_000 - DEFAULT_MAX_TOKENS
    )
    assert context_budget(Small(), "x" * 30, (), 100) == 9_890
    assert context_budget(Small(), None, (tool,), 100) == 9_897


@pytest.mark.parametrize(
    ("turn", "tokens"),
    [
        ((user("x" * 30),), 18),
        ((user("\u4f60" * 10),), 18),
        ((user("👋" * 3),), 12),
        ((user("\ud800"),), 9),
        ((user("x" * 30), assistant("y" * 3)), 27),
    ],
)
def test_tokens_are_estimated_from_bytes(turn: Turn, tokens: int) -> None:
    assert turn_tokens(turn) == tokens


@pytest.mark.parametrize(
    "block", [ToolResult("c1", "x" * 300), ToolCall("c1", "n", {"a": "x" * 300})]
)
def test_tool_calls_and_results_have_a_size_too(block: ContentBlock) -> None:
    assert turn_tokens((user(block),)) > 100


# --- what is left out ----------------------------------------------------------------------


def turn(number: int, size: int = 30) -> Turn:
    text = f"{number:<{size}}"
    return (user(text), assistant(text))


EACH = turn_tokens(turn(1))


def test_a_conversation_that_fits_is_kept_whole() -> None:
    turns = [turn(1), turn(2), turn(3)]
    assert fit_to_context(turns, 3 * EACH) == (turns, 0)


@pytest.mark.parametrize(("budget", "first"), [(3 * EACH - 1, 2), (2 * EACH, 2), (2 * EACH - 1, 3)])
def test_whole_turns_are_left_out_the_oldest_first(budget: int, first: int) -> None:
    turns = [turn(1), turn(2), turn(3)]
    assert fit_to_context(turns, budget) == (turns[first - 1 :], first - 1)


def test_an_old_short_turn_does_not_outlive_a_newer_long_one() -> None:
    turns = [turn(1, 2), turn(2, 3000), turn(3)]
    assert fit_to_context(turns, EACH + turn_tokens(turns[0])) == ([turns[2]], 2)


def test_a_last_turn_that_does_not_fit_is_refused_with_both_sizes() -> None:
    with pytest.raises(ContextLengthExceededError) as refused:
        fit_to_context([turn(1), turn(2)], EACH - 1)
    assert refused.value.details["available_tokens"] == EACH - 1
    assert refused.value.details["estimated_tokens"] == EACH


def test_no_room_at_all_is_told_as_zero() -> None:
    with pytest.raises(ContextLengthExceededError) as refused:
        fit_to_context([turn(1)], -50)
    assert refused.value.details["available_tokens"] == 0


ASK: Turn = (user("Weather?"), assistant(call()))
TELL: Turn = (user(result()), assistant("Rain."))
PENDING: Turn = (user(result()),)


def test_a_tool_result_goes_when_its_call_goes() -> None:
    turns = [ASK, TELL, turn(3)]
    budget = turn_tokens(TELL) + EACH
    assert fit_to_context(turns, budget) == ([turn(3)], 2)


def test_a_pending_call_is_kept_with_the_result_that_was_just_sent() -> None:
    turns = [turn(1), ASK, PENDING]
    budget = turn_tokens(ASK) + turn_tokens(PENDING)
    assert fit_to_context(turns, budget) == ([ASK, PENDING], 1)


def test_a_result_that_does_not_fit_with_its_call_is_refused_with_the_size_of_both() -> None:
    needed = turn_tokens(ASK) + turn_tokens(PENDING)
    with pytest.raises(ContextLengthExceededError) as refused:
        fit_to_context([turn(1), ASK, PENDING], needed - 1)
    assert refused.value.details["estimated_tokens"] == needed


def test_a_chain_of_calls_and_results_is_kept_or_refused_as_one() -> None:
    again: Turn = (user(result("c1")), assistant(call("c2")))
    last: Turn = (user(result("c2")),)
    needed = sum(map(turn_tokens, (ASK, again, last)))
    assert fit_to_context([turn(1), ASK, again, last], needed) == ([ASK, again, last], 1)
    with pytest.raises(ContextLengthExceededError) as refused:
        fit_to_context([turn(1), ASK, again, last], needed - 1)
    assert refused.value.details["estimated_tokens"] == needed


def test_a_result_whose_call_was_not_even_read_is_left_out() -> None:
    assert fit_to_context([TELL, turn(2)], 10_000) == ([turn(2)], 1)


def test_a_message_alone_is_measured_as_it_is() -> None:
    assert fit_to_context([PENDING], 10_000) == ([PENDING], 0)


@st.composite
def conversations(draw: st.DrawFn) -> list[Turn]:
    """Turns as a session has them: the last one awaits its answer."""
    turns: list[Turn] = []
    pending: str | None = None
    count = draw(st.integers(1, 12))
    for number in range(count):
        text = draw(st.text(min_size=1, max_size=60).filter(lambda text: bool(text.strip())))
        asks = result(pending) if pending is not None else text
        pending = f"c{number}" if draw(st.booleans()) else None
        answer = assistant(call(pending)) if pending is not None else assistant(text)
        turns.append((user(asks),) if number == count - 1 else (user(asks), answer))
    return turns


@given(conversations(), st.integers(0, 600))
def test_what_is_kept_is_the_newest_sound_part_that_fits(turns: list[Turn], budget: int) -> None:
    sound = [
        turns[start:] for start in range(len(turns)) if not (start and turns[start][0].tool_results)
    ]
    fitting = [part for part in sound if sum(map(turn_tokens, part)) <= budget]
    try:
        kept, dropped = fit_to_context(turns, budget)
    except ContextLengthExceededError as refused:
        details: dict[str, Any] = refused.details
        assert not fitting
        assert details["estimated_tokens"] == sum(map(turn_tokens, sound[-1])) > budget
        return
    assert kept == fitting[0]
    assert dropped == len(turns) - len(kept)
    check_conversation([message for turn in kept for message in turn])
