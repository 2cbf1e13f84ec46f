"""What responses look like: the schemas of the OpenAPI document.

Services render documents as plain dictionaries; a test holds each of them to its schema here.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from aws_lambda_powertools.event_handler.openapi.types import OpenAPIResponse
from pydantic import BaseModel, ConfigDict, JsonValue

from flowstack_core.domain.plans import FairUse, Tier


class Document(BaseModel):
    """A JSON document of the API. Its validators are built when they are first needed."""

    model_config = ConfigDict(extra="forbid", defer_build=True)


class ErrorEnvelope(Document):
    """Every refusal and failure, of FlowStack and of API Gateway alike."""

    error: str
    error_code: str
    details: dict[str, JsonValue]
    request_id: str
    current_usage: int | None = None
    limit: int | None = None


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


class PeriodDocument(Document):
    """The present billing period."""

    name: str
    start: datetime
    end: datetime
    now: datetime
    days_left: int
    sessions_used: int
    sessions_held: int
    sessions_limit: int
    sessions_remaining: int
    sessions_credited: int
    usage_percentage: float
    is_near_limit: bool


class QuotaDocument(Document):
    """The quota, explaining itself."""

    period: str
    current_usage: int
    held: int
    limit: int
    remaining: int
    resets_at: datetime
    reason: str


class UsageDocument(Document):
    """``GET /usage``. Charges are US dollars of the present period."""

    tier: Tier
    current_charges: float
    current_period: PeriodDocument
    quota: QuotaDocument


class TierDocument(Document):
    """``GET /tier-info``."""

    tier: Tier
    current_tier: Tier
    session_limit: int
    can_use_managed: bool
    byok: Literal["required", "optional"]
    price_per_month: float
    support: str
    extras: list[str]
    fair_use: FairUse


class PlanDocument(Document):
    """One plan on offer. Prices are US dollars a month."""

    tier: Tier
    price_per_month: float
    sessions_per_month: int
    managed_models: bool
    byok: Literal["required", "optional"]
    support: str
    extras: list[str]
    fair_use: FairUse


class PricingDocument(Document):
    """``GET /pricing``."""

    currency: Literal["USD"]
    plans: list[PlanDocument]


class StoredCredentialsDocument(Document):
    """Credentials stored at one provider; ``credentials`` holds their fields, masked."""

    provider: str
    credentials: dict[str, str]
    created_at: datetime
    updated_at: datetime
    last_used_at: datetime | None


class StoreCredentialsDocument(StoredCredentialsDocument):
    """``POST /api/byok-credentials``. ``replaced`` tells whether there were others before."""

    replaced: bool


class CredentialsListDocument(Document):
    """``GET /api/byok-credentials``."""

    credentials: list[StoredCredentialsDocument]


class DeletedCredentialsDocument(Document):
    """``DELETE /api/byok-credentials/{provider}``."""

    provider: str
    deleted: Literal[True]


class AlertDocument(Document):
    """A threshold that was reached. ``sessions_used`` of ``sessions_limit`` reached it."""

    id: str
    threshold: int
    at: datetime
    sessions_used: int
    sessions_limit: int


class AlertsDocument(Document):
    """``GET`` and ``PUT /alerts``. ``alerts`` are those of the present period."""

    period: str
    thresholds: list[int]
    email: str | None
    alerts: list[AlertDocument]


class HealthDocument(Document):
    """``GET /health``."""

    status: Literal["ok"]
    stage: str
    version: str


class DocumentFacts(Document):
    """What FlowStack knows about a document of the vault."""

    key: str
    version: str
    updated_at: datetime
    expires_at: datetime | None


class StoredDocument(DocumentFacts):
    """``POST /datavault``: the document was stored."""

    success: Literal[True]


class UpdatedDocument(Document):
    """``PUT /datavault``. Without ``success`` there is no such document."""

    success: bool
    key: str
    version: str | None
    updated_at: datetime | None
    expires_at: datetime | None


class RemovedDocument(Document):
    """``DELETE /datavault``. A collection that is not clear yet has a ``next_cursor``."""

    success: bool
    deleted: int
    remaining: bool
    next_cursor: str | None


class FoundDocument(Document):
    """Documents as they were stored, with what is known about each, in the same order."""

    data: list[dict[str, JsonValue]]
    meta: list[DocumentFacts]
    next_cursor: str | None


class CountDocument(Document):
    """How many documents there are, or how many so far where there is a ``next_cursor``."""

    count: int
    next_cursor: str | None


class CollectionsDocument(Document):
    """The collections that hold a document; ``collections`` has a prefix before each name."""

    names: list[str]
    collections: list[str]
    next_cursor: str | None


class VaultHealthDocument(Document):
    """``GET /datavault/health``."""

    status: Literal["ok"]


_ERRORS: dict[int, str] = {
    400: "The request is wrong; nothing was changed or counted.",
    401: "The API key is missing, unknown, expired or revoked.",
    403: "The tier does not include what was asked for, or only the operator may do it.",
    404: "There is no such thing, or not for this caller.",
    406: "There is no form of the document that the header `Accept` asks for.",
    409: "The idempotency key is in use, or the change does not fit the present state.",
    412: "The document is not as the request expects; nothing was changed.",
    413: "The body is too large, or so is what is asked for.",
    415: "The body is not JSON.",
    429: "The quota is used up, fair use was exceeded, or the provider throttles.",
    500: "A failure on FlowStack's side.",
    502: "The model's provider failed; the session was not billed.",
    503: "FlowStack could not decide in time; nothing was counted.",
    504: "The model did not answer in time; the session was not billed.",
}


_OF_MESSAGES = tuple(status for status in _ERRORS if status not in {404, 406})


def documented(
    document: type[Document],
    description: str,
    *statuses: int,
    error: type[Document] = ErrorEnvelope,
) -> dict[int, OpenAPIResponse]:
    """Return the responses of a route for OpenAPI: the document, and the errors it can give."""
    responses: dict[int, Any] = {
        200: {"description": description, "content": {"application/json": {"model": document}}}
    }
    for status in statuses:
        responses[status] = {
            "description": _ERRORS[status],
            "content": {"application/json": {"model": error}},
        }
    return responses


def documented_answer(
    document: type[Document],
    accepted: type[Document],
    *statuses: int,
    error: type[Document] = ErrorEnvelope,
) -> dict[int, OpenAPIResponse]:
    """Return the responses of a route that takes messages and answers at once or later."""
    responses: dict[int, Any] = documented(
        document, "The model's answer.", *_OF_MESSAGES, *statuses, error=error
    )
    responses[202] = {
        "description": "Accepted; the answer is fetched from `Location` later.",
        "content": {"application/json": {"model": accepted}},
    }
    return responses
