"""How large messages and answers may be, so that they can be kept and passed on.

A turn of a conversation is one item of a table, compressed: what a user sent and what the model
answered may each take nearly half of what an item can hold. A customer's own provider can answer
with anything at all; what could not be kept, counted or delivered is refused before that is tried.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from typing import Any

from flowstack_core.domain.errors import PayloadTooLargeError
from flowstack_core.domain.messages import (
    ContentBlock,
    Message,
    ModelAnswer,
    TextBlock,
    TokenUsage,
    ToolCall,
)
from flowstack_core.domain.nesting import deeper_than

MAX_KEPT_BYTES = 190_000
"""Compressed, of each side of a turn. An item holds 400 KB, and there are names beside them."""

MAX_ANSWER_BYTES = 2_000_000
"""As JSON. A function answers 6 MB at most, and a text within a text is escaped twice."""

MAX_TOOL_INPUT_DEPTH = 60
"""What is deeper could not be sent back: a body is not nested more than 64 levels deep."""

MOST_TOKENS = 100_000_000
"""Of one call. Sums of more would not fit a number of the tables, and no model takes as many."""


def check_keepable(message: Message) -> None:
    """Refuse a message that the transcript cannot hold, before a model is asked for an answer.

    Raises
    ------
    PayloadTooLargeError
        Compressed, it is too large.
    """
    size = _compressed(_as_json(message.content), MAX_KEPT_BYTES)
    if size > MAX_KEPT_BYTES:
        raise PayloadTooLargeError(
            f"The message has {size:,} bytes compressed; at most {MAX_KEPT_BYTES:,} can be kept.",
            details={
                "field": "message",
                "size": size,
                "maximum": MAX_KEPT_BYTES,
                "hint": "Send less at once, or use /invoke, which keeps nothing.",
            },
        )


def acceptable(answer: ModelAnswer) -> bool:
    """Whether an answer can be counted, kept and passed on."""
    if not _countable(answer.usage):
        return False
    if any(deeper_than(MAX_TOOL_INPUT_DEPTH, call.input) for call in answer.tool_calls):
        return False
    text = _as_json(answer.content_blocks)
    return len(text) <= MAX_ANSWER_BYTES and _compressed(text, MAX_KEPT_BYTES) <= MAX_KEPT_BYTES


def _countable(usage: TokenUsage) -> bool:
    return usage.input_tokens <= MOST_TOKENS and usage.output_tokens <= MOST_TOKENS


def _compressed(text: str, enough: int) -> int:
    """Return the compressed size; that of a short text is not looked for."""
    return len(text) if len(text) <= enough else len(zlib.compress(text.encode()))


def _as_json(content: Sequence[ContentBlock]) -> str:
    return json.dumps([_plain(block) for block in content], separators=(",", ":"))


def _plain(block: ContentBlock) -> list[Any]:
    match block:
        case TextBlock(text):
            return [text]
        case ToolCall(call_id, name, arguments):
            return [call_id, name, arguments]
    return [block.tool_call_id, block.content]
