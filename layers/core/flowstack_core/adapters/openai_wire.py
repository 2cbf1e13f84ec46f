"""The wire format of OpenAI's chat completions, which most providers and servers speak too."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flowstack_core.adapters.model_failures import ModelFailures
from flowstack_core.adapters.wire_messages import (
    alternating,
    callers_call_id,
    provider_call_id,
    result_text,
)
from flowstack_core.domain.messages import (
    ContentBlock,
    Message,
    ModelAnswer,
    ModelRequest,
    StopReason,
    TextBlock,
    TokenUsage,
    ToolCall,
    ToolSpec,
)


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a provider's chat completions differ from those of others.

    Attributes
    ----------
    path
        Where they are, below the base URL.
    length_field
        What bounds the answer. OpenAI's newer models refuse the old name, others know it only.
    call_id, call_id_length
        The form of a tool call's id, and how long one is that is made up.
    """

    path: str = "/chat/completions"
    length_field: str = "max_tokens"
    call_id: re.Pattern[str] = re.compile(r".{1,40}")
    call_id_length: int = 40


COMPATIBLE = Dialect()
OPENAI = Dialect(length_field="max_completion_tokens")
MISTRAL = Dialect(call_id=re.compile(r"[a-zA-Z0-9]{9}"), call_id_length=9)
WRITER = Dialect(path="/chat")

_STOP_REASONS: Mapping[str, StopReason] = {
    "stop": "end_turn",
    "eos_token": "end_turn",
    "complete": "end_turn",
    "stop_sequence": "stop_sequence",
    "length": "max_tokens",
    "max_tokens": "max_tokens",
    "tool_calls": "tool_use",
    "tool_call": "tool_use",
    "function_call": "tool_use",
    "content_filter": "content_filter",
}

# --- the request ---------------------------------------------------------------------------


def completion_body(request: ModelRequest, dialect: Dialect) -> dict[str, Any]:
    """Return the body of a chat completion."""
    body: dict[str, Any] = {
        "model": request.model.provider_model_id,
        "messages": list(_messages(request, dialect)),
        dialect.length_field: request.max_tokens,
    }
    if request.temperature is not None:
        body["temperature"] = request.temperature
    if request.tools:
        body["tools"] = [_tool(spec) for spec in request.tools]
    return body


def _messages(request: ModelRequest, dialect: Dialect) -> Iterator[dict[str, Any]]:
    if request.system is not None and request.system.strip():
        yield {"role": "system", "content": request.system}
    for message in alternating(request.messages):
        if message.role == "assistant":
            yield _assistant(message, dialect)
        else:
            yield from _user(message, dialect)


def _assistant(message: Message, dialect: Dialect) -> dict[str, Any]:
    text = _text(message)
    written: dict[str, Any] = {"role": "assistant", "content": text or None}
    if message.tool_calls:
        written["tool_calls"] = [
            {
                "id": _call_id(call.id, dialect),
                "type": "function",
                "function": {"name": call.name, "arguments": json.dumps(call.input)},
            }
            for call in message.tool_calls
        ]
    return written


def _user(message: Message, dialect: Dialect) -> Iterator[dict[str, Any]]:
    """Write the tool results, which must follow their calls at once, and then what was said."""
    for result in message.tool_results:
        yield {
            "role": "tool",
            "tool_call_id": _call_id(result.tool_call_id, dialect),
            "content": result_text(result, marks_errors=True),
        }
    text = _text(message)
    if text:
        yield {"role": "user", "content": text}


def _text(message: Message) -> str:
    return "\n\n".join(block.text for block in message.content if isinstance(block, TextBlock))


def _call_id(call_id: str, dialect: Dialect) -> str:
    return provider_call_id(call_id, dialect.call_id, dialect.call_id_length)


def _tool(spec: ToolSpec) -> dict[str, Any]:
    # OpenAI refuses the schema of an object that does not list its properties.
    function: dict[str, Any] = {
        "name": spec.name,
        "parameters": {"properties": {}, **spec.input_schema},
    }
    if spec.description.strip():
        function["description"] = spec.description
    return {"type": "function", "function": function}


# --- the answer ----------------------------------------------------------------------------


def read_completion(document: Any, failures: ModelFailures) -> ModelAnswer:
    """Read a chat completion. Reasoning is left out; nobody asked for it.

    Servers that count no tokens are taken to have used none.

    Raises
    ------
    ModelError
        The answer is not in the form of the API, or the model wrote a malformed one.
    """
    try:
        choice = document["choices"][0]
        message = choice["message"]
        text, calls = _said(message.get("content")), _calls(message.get("tool_calls") or [])
        reason = choice.get("finish_reason") or "stop"
        usage = _usage(document.get("usage") or {})
        stop_reason = _stop_reason(reason, calls)
    except (
        *(AttributeError, IndexError, KeyError, TypeError, ValueError),
        RecursionError,  # arguments of a tool, which are JSON in a text
    ) as error:
        raise failures.malformed() from error
    refusal = message.get("refusal")
    if not text and not calls and isinstance(refusal, str) and refusal:
        return ModelAnswer((TextBlock(refusal),), "content_filter", usage)
    spoken: tuple[ContentBlock, ...] = (TextBlock(text),) if text else ()
    return ModelAnswer((*spoken, *calls), stop_reason, usage)


def _stop_reason(reason: str, calls: Sequence[ToolCall]) -> StopReason:
    """Return why the answer ended.

    Some servers say ``stop`` where they call tools. A reason that is not known yet means, as far
    as is known, that something cut the answer off.
    """
    lowered = reason.lower()
    if lowered == "error":
        raise ValueError("the model failed half-way")
    found = _STOP_REASONS.get(lowered, "max_tokens")
    return "tool_use" if calls and found == "end_turn" else found


def _said(content: Any) -> str:
    """Return the text of the content: a text, or a list of parts, reasoning among them."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise TypeError("the content is neither text nor parts")
    return "".join(_plain(part["text"]) for part in content if part.get("type") == "text")


def _plain(text: Any) -> str:
    if not isinstance(text, str):
        raise TypeError("a text is not a text")
    return text


def _calls(written: Sequence[Any]) -> list[ToolCall]:
    calls: list[ToolCall] = []
    for position, call in enumerate(written):
        function = call["function"]
        arguments = function.get("arguments") or {}
        if isinstance(arguments, str):
            arguments = json.loads(arguments)
        if not isinstance(arguments, dict):
            raise TypeError("a tool's input is not an object")
        taken = {other.id for other in calls}
        call_id = callers_call_id(call.get("id"), position, taken)
        calls.append(ToolCall(call_id, _plain(function["name"]), arguments))
    return calls


def _usage(usage: Mapping[str, Any]) -> TokenUsage:
    return TokenUsage(
        input_tokens=_count(usage.get("prompt_tokens") or 0),
        output_tokens=_count(usage.get("completion_tokens") or 0),
    )


def _count(tokens: Any) -> int:
    if not isinstance(tokens, int) or isinstance(tokens, bool) or tokens < 0:
        raise TypeError("a number of tokens is no count")
    return tokens
