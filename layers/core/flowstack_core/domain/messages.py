"""What is said in a conversation: messages, tools and answers, in one shape for every provider.

A *turn* is what a user sent together with what the model answered. When a conversation outgrows
its model's context window, whole turns are left out, the oldest first, so that a tool call never
stands without its result.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, Literal, Protocol

from flowstack_core.domain.errors import ContextLengthExceededError, InvalidRequestError

Role = Literal["user", "assistant"]

StopReason = Literal["end_turn", "max_tokens", "stop_sequence", "tool_use", "content_filter"]

DEFAULT_MAX_TOKENS = 2_048
"""How long an answer may become where the caller does not say: what a model can write in the time
a synchronous request has."""

_BYTES_PER_TOKEN = 3
"""On the safe side of the four bytes a token has in English prose."""

_MESSAGE_OVERHEAD_TOKENS = 8


@dataclass(frozen=True, slots=True)
class TextBlock:
    """Something said."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolCall:
    """The model asks the caller to run a tool."""

    id: str
    name: str
    input: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What running a tool gave, sent back by the caller."""

    tool_call_id: str
    content: str
    is_error: bool = False


ContentBlock = TextBlock | ToolCall | ToolResult


@dataclass(frozen=True, slots=True)
class Message:
    """What one side says at once."""

    role: Role
    content: tuple[ContentBlock, ...]

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The tools it asks for."""
        return tuple(block for block in self.content if isinstance(block, ToolCall))

    @property
    def tool_results(self) -> tuple[ToolResult, ...]:
        """The results it brings."""
        return tuple(block for block in self.content if isinstance(block, ToolResult))


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool that the model may ask for. ``input_schema`` is a JSON schema of an object."""

    name: str
    description: str
    input_schema: dict[str, Any]


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """What one answer took, in tokens, as the provider counted them."""

    input_tokens: int
    output_tokens: int

    @property
    def total_tokens(self) -> int:
        """Both together."""
        return self.input_tokens + self.output_tokens


class AnsweringModel(Protocol):
    """What a request must know of the model that will answer it."""

    @property
    def model(self) -> str:
        """FlowStack's name of the model."""
        ...

    @property
    def provider_model_id(self) -> str:
        """What the provider calls it."""
        ...

    @property
    def context_window(self) -> int:
        """Tokens of input and output together."""
        ...

    @property
    def max_output_tokens(self) -> int:
        """Tokens of output at most."""
        ...

    @property
    def supports_temperature(self) -> bool:
        """Whether it takes a sampling temperature."""
        ...


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """What a model is asked. ``timeout_seconds`` bounds the whole call."""

    model: AnsweringModel
    messages: tuple[Message, ...]
    system: str | None
    tools: tuple[ToolSpec, ...]
    temperature: float | None
    max_tokens: int
    timeout_seconds: float


@dataclass(frozen=True, slots=True)
class ModelAnswer:
    """What a model answered."""

    content_blocks: tuple[ContentBlock, ...]
    stop_reason: StopReason
    usage: TokenUsage

    @property
    def content(self) -> str:
        """The text of the answer."""
        return "".join(block.text for block in self.content_blocks if isinstance(block, TextBlock))

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The tools the model asks for."""
        return tuple(block for block in self.content_blocks if isinstance(block, ToolCall))


Turn = tuple[Message, ...]


def check_conversation(messages: Sequence[Message]) -> None:
    """Refuse a history that no provider accepts.

    A conversation begins with the user, ends with the user, and answers each tool call in the
    message that follows it, exactly once. What the user sends holds something; the assistant's
    messages may be blank, because models do answer with nothing now and then, and such an answer
    comes back as history.

    Raises
    ------
    InvalidRequestError
        Details name the ``field``.
    """
    if not messages:
        raise _invalid("messages", "messages must not be empty.")
    if messages[0].role != "user":
        raise _invalid("messages[0].role", "The first message must be the user's.")
    if messages[-1].role != "user":
        raise _invalid(
            f"messages[{len(messages) - 1}].role", "The last message must be the user's."
        )
    awaited: set[str] = set()
    for index, message in enumerate(messages):
        check_message(index, message)
        results = [result.tool_call_id for result in message.tool_results]
        if set(results) != awaited or len(results) != len(awaited):
            raise _invalid(
                f"messages[{index}].content",
                "Each tool call must be answered by exactly one tool result in the message that "
                "follows it, and there can be no other tool result.",
                {"expected": sorted(awaited), "found": sorted(results)},
            )
        calls = [call.id for call in message.tool_calls]
        awaited = set(calls)
        if len(awaited) != len(calls):
            raise _invalid(f"messages[{index}].content", "Two tool calls have the same id.")


def check_message(index: int, message: Message) -> None:
    """Refuse a message that says nothing, or that its side cannot say.

    Raises
    ------
    InvalidRequestError
        Details name the ``field``.
    """
    field = f"messages[{index}].content"
    if message.role == "user" and not message.content:
        raise _invalid(field, "A message must not be empty.")
    if message.role == "user" and message.tool_calls:
        raise _invalid(field, "Only the assistant calls tools.")
    if message.role == "assistant" and message.tool_results:
        raise _invalid(field, "Only the user sends tool results.")
    if message.role == "user" and all(_is_blank(block) for block in message.content):
        raise _invalid(field, "A message must hold more than white space.")


def _is_blank(block: ContentBlock) -> bool:
    return isinstance(block, TextBlock) and not block.text.strip()


def context_budget(
    model: AnsweringModel, system: str | None, tools: Sequence[ToolSpec], max_tokens: int | None
) -> int:
    """Return how many tokens of messages fit beside the system prompt, tools and answer."""
    answer = min(max_tokens or DEFAULT_MAX_TOKENS, model.max_output_tokens)
    described = sum(
        _tokens(tool.name + tool.description + json.dumps(tool.input_schema)) for tool in tools
    )
    return model.context_window - answer - _tokens(system or "") - described


def fit_to_context(turns: Sequence[Turn], budget_tokens: int) -> tuple[list[Turn], int]:
    """Return the newest turns that fit, and how many older ones had to be left out.

    The first turn that is kept begins with something other than tool results: their calls would
    be missing. Tool results in the last turn therefore bring the turn of their calls along. A turn
    that comes alone is taken as it is.

    Raises
    ------
    ContextLengthExceededError
        If not even the last turn fits, with the calls of its tool results.
    """
    kept: list[Turn] = []
    left = budget_tokens
    for turn in reversed(turns):
        left -= turn_tokens(turn)
        if left < 0:
            break
        kept.append(turn)
    while len(turns) > 1 and kept and kept[-1][0].tool_results:
        kept.pop()
    if not kept:
        raise ContextLengthExceededError(
            "The messages do not fit the model's context window.",
            details={
                "available_tokens": max(0, budget_tokens),
                "estimated_tokens": _indispensable_tokens(turns),
                "hint": "Send less, ask for a shorter answer, or choose a model with more context.",
            },
        )
    return kept[::-1], len(turns) - len(kept)


def _indispensable_tokens(turns: Sequence[Turn]) -> int:
    """Estimate what cannot be left out: the last turn, with the calls of its tool results."""
    tokens = 0
    for turn in reversed(turns):
        tokens += turn_tokens(turn)
        if not turn[0].tool_results:
            break
    return tokens


def turn_tokens(turn: Turn) -> int:
    """Estimate the tokens of a turn, rather too many than too few."""
    return sum(
        _MESSAGE_OVERHEAD_TOKENS + sum(_tokens(_text_of(block)) for block in message.content)
        for message in turn
    )


def _text_of(block: ContentBlock) -> str:
    match block:
        case TextBlock(text):
            return text
        case ToolCall(call_id, name, arguments):
            return call_id + name + json.dumps(arguments)
        case ToolResult(call_id, content, _):
            return call_id + content


def _tokens(text: str) -> int:
    return ceil(len(text.encode("utf-8", "surrogatepass")) / _BYTES_PER_TOKEN)


def _invalid(field: str, message: str, more: dict[str, Any] | None = None) -> InvalidRequestError:
    return InvalidRequestError(message, details={"field": field, **(more or {})})
