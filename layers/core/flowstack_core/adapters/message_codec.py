"""Messages as plain documents, for transcripts."""

from __future__ import annotations

from typing import Any

from flowstack_core.domain.messages import ContentBlock, Message, TextBlock, ToolCall, ToolResult


def encode_message(message: Message) -> dict[str, Any]:
    """Write a message as JSON can hold it."""
    return {"role": message.role, "content": [_encode_block(block) for block in message.content]}


def decode_message(document: dict[str, Any]) -> Message:
    """Read what `encode_message` wrote."""
    return Message(
        role=document["role"], content=tuple(_decode_block(block) for block in document["content"])
    )


def _encode_block(block: ContentBlock) -> dict[str, Any]:
    match block:
        case TextBlock(text):
            return {"text": text}
        case ToolCall(id_, name, arguments):
            return {"tool_call": id_, "name": name, "input": arguments}
        case ToolResult(call_id, content, is_error):
            return {"tool_result": call_id, "content": content, "is_error": is_error}


def _decode_block(block: dict[str, Any]) -> ContentBlock:
    if "text" in block:
        return TextBlock(block["text"])
    if "tool_call" in block:
        return ToolCall(block["tool_call"], block["name"], block["input"])
    return ToolResult(block["tool_result"], block["content"], block["is_error"])
