"""The wire format of Anthropic's Messages API."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
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
    ModelAnswer,
    ModelRequest,
    StopReason,
    TextBlock,
    TokenUsage,
    ToolCall,
    ToolResult,
    ToolSpec,
)

_CALL_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_CALL_ID_LENGTH = 40

_STOP_REASONS: Mapping[str, StopReason] = {
    "end_turn": "end_turn",
    "tool_use": "tool_use",
    "max_tokens": "max_tokens",
    "stop_sequence": "stop_sequence",
    "refusal": "content_filter",
}


def message_body(request: ModelRequest) -> dict[str, Any]:
    """Return the body of a message."""
    body: dict[str, Any] = {
        "model": request.model.provider_model_id,
        "max_tokens": request.max_tokens,
        "messages": [
            {"role": message.role, "content": [_block(block) for block in message.content]}
            for message in alternating(request.messages)
        ],
    }
    if request.system is not None and request.system.strip():
        body["system"] = request.system
    if request.temperature is not None:
        body["temperature"] = request.temperature
    if request.tools:
        body["tools"] = [_tool(spec) for spec in request.tools]
    return body


def _block(block: ContentBlock) -> dict[str, Any]:
    match block:
        case TextBlock(text):
            return {"type": "text", "text": text}
        case ToolCall(id_, name, arguments):
            return {"type": "tool_use", "id": _call_id(id_), "name": name, "input": arguments}
        case ToolResult(call_id, _, is_error):
            return {
                "type": "tool_result",
                "tool_use_id": _call_id(call_id),
                "content": result_text(block, marks_errors=False),
                "is_error": is_error,
            }


def _call_id(call_id: str) -> str:
    return provider_call_id(call_id, _CALL_ID, _CALL_ID_LENGTH)


def _tool(spec: ToolSpec) -> dict[str, Any]:
    described: dict[str, Any] = {"name": spec.name, "input_schema": spec.input_schema}
    if spec.description.strip():
        described["description"] = spec.description
    return described


def read_message(document: Any, failures: ModelFailures) -> ModelAnswer:
    """Read an answer. Reasoning is left out; nobody asked for it.

    Raises
    ------
    ModelError
        The answer is not in the form of the API.
    """
    try:
        content = tuple(_read_blocks(document["content"]))
        reason = document["stop_reason"]
        usage = TokenUsage(
            input_tokens=_count(document["usage"]["input_tokens"]),
            output_tokens=_count(document["usage"]["output_tokens"]),
        )
        # A reason that is not known yet means, as far as is known, that something cut it off.
        stop_reason = _STOP_REASONS.get(reason, "max_tokens")
    except (AttributeError, KeyError, TypeError) as error:
        raise failures.malformed() from error
    return ModelAnswer(content, stop_reason, usage)


def _read_blocks(blocks: Any) -> Iterator[ContentBlock]:
    taken: set[str] = set()
    for position, block in enumerate(blocks):
        if block["type"] == "text":
            if not isinstance(block["text"], str):
                raise TypeError("a text is not a text")
            if block["text"]:
                yield TextBlock(block["text"])
        elif block["type"] == "tool_use":
            arguments = block.get("input") or {}
            if not isinstance(arguments, dict) or not isinstance(block["name"], str):
                raise TypeError("a tool's input is not an object, or its name no text")
            call_id = callers_call_id(block.get("id"), position, taken)
            taken.add(call_id)
            yield ToolCall(call_id, block["name"], arguments)


def _count(tokens: Any) -> int:
    if not isinstance(tokens, int) or isinstance(tokens, bool) or tokens < 0:
        raise TypeError("a number of tokens is no count")
    return tokens
