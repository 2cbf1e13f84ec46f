"""What answers to messages look like."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import JsonValue

from flowstack_core.http.documents import Document


class TokenCount(Document):
    """Tokens of one answer, as the provider counted them."""

    input_tokens: int
    output_tokens: int
    total_tokens: int


class SessionFacts(Document):
    """The session that the message belongs to. ``new`` tells whether it started it."""

    id: str
    new: bool
    agent: str
    conversation_id: str
    period: str
    started_at: datetime
    ends_at: datetime


class ToolCallDocument(Document):
    """A tool that the model asks the caller to run."""

    id: str
    name: str
    input: dict[str, JsonValue]


class HistoryFacts(Document):
    """How many of the oldest turns no longer fit the model's context window."""

    turns_dropped: int


class AnswerDocument(Document):
    """The answer to a message."""

    content: str
    stop_reason: Literal["end_turn", "max_tokens", "stop_sequence", "tool_use", "content_filter"]
    model: str
    provider: str
    usage: TokenCount
    session: SessionFacts
    tool_calls: list[ToolCallDocument] | None = None
    model_notice: str | None = None
    history: HistoryFacts | None = None


class AcceptedSession(Document):
    """The session that a message was admitted to. ``new`` tells whether it started it."""

    id: str
    new: bool
    agent: str
    conversation_id: str
    period: str


class FailureDocument(Document):
    """Why a message that was to be answered later has no answer."""

    error: str
    error_code: str
    details: dict[str, JsonValue]


class RequestDocument(Document):
    """A message that is answered later. It has its outcome at ``answered_by`` at the latest."""

    request_id: str
    status: Literal["queued", "running", "succeeded", "failed"]
    accepted_at: datetime
    answered_by: datetime
    expires_at: datetime
    session: AcceptedSession
    answer: AnswerDocument | None = None
    failure: FailureDocument | None = None
