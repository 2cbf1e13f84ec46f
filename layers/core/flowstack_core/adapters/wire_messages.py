"""What all providers' wire formats have in common, on the way from the domain's messages."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

from flowstack_core.domain.messages import ContentBlock, Message, TextBlock, ToolResult

_OUR_CALL_ID = re.compile(r"[a-zA-Z0-9_:.-]{1,64}")
"""The ids that a caller can send back, as part of the history."""


def alternating(messages: Iterable[Message]) -> list[Message]:
    """Return the messages so that roles alternate, as most providers demand.

    Blank text is left out, because some providers refuse it, and a message with nothing else too:
    a model sometimes answers with nothing at all.
    """
    merged: list[Message] = []
    for message in messages:
        blocks = tuple(block for block in message.content if not _is_blank(block))
        if not blocks:
            continue
        if merged and merged[-1].role == message.role:
            blocks = (*merged.pop().content, *blocks)
        merged.append(Message(message.role, blocks))
    return merged


def _is_blank(block: ContentBlock) -> bool:
    return isinstance(block, TextBlock) and not block.text.strip()


def result_text(result: ToolResult, *, marks_errors: bool) -> str:
    """Return what a tool gave, never blank; ``marks_errors`` if nothing else tells of a failure."""
    text = result.content if result.content.strip() else "(no output)"
    return f"Error: {text}" if result.is_error and marks_errors else text


def provider_call_id(call_id: str, form: re.Pattern[str], length: int) -> str:
    """Return a tool call's id in the form that a provider takes.

    A conversation may go on with another provider, whose ids have another form. The same id always
    becomes the same, so that calls and results still find each other.
    """
    if form.fullmatch(call_id):
        return call_id
    return hashlib.sha256(call_id.encode()).hexdigest()[:length]


def callers_call_id(call_id: object, position: int, taken: Iterable[str]) -> str:
    """Return the id of a provider's tool call in a form that the caller can send back.

    Some servers give none, an odd one, or the same to two calls of one answer.
    """
    given = call_id if isinstance(call_id, str) else ""
    if _OUR_CALL_ID.fullmatch(given) and given not in taken:
        return given
    return f"call_{position}_{hashlib.sha256(given.encode()).hexdigest()[:16]}"
