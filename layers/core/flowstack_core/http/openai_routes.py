"""The door for OpenAI's clients: ``/v1``, with another base URL and an ``fs_`` key."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated, Any, Literal
from urllib.parse import unquote

from aws_lambda_powertools.event_handler import APIGatewayRestResolver, Response
from aws_lambda_powertools.event_handler.openapi.params import Header

from flowstack_core.adapters.system import LambdaTimeBudget
from flowstack_core.domain.catalogue import Model
from flowstack_core.domain.errors import InvalidRequestError, ModelNotAvailableError
from flowstack_core.domain.identifiers import checked_name
from flowstack_core.http import telemetry
from flowstack_core.http.conversation_routes import (
    IdempotencyKeyHeader,
    PreferHeader,
    RequestId,
    caller_of,
)
from flowstack_core.http.deferred_responses import (
    accepted_response,
    found_response,
    prefers_async,
)
from flowstack_core.http.documents import Document, documented, documented_answer
from flowstack_core.http.message_documents import AcceptedSession
from flowstack_core.http.openai_errors import (
    OpenAIError,
    OpenAIErrorDocument,
    openai_error,
    render_openai,
)
from flowstack_core.http.openai_messages import (
    ChatCompletionBody,
    ChatCompletionDocument,
    completion,
    event_stream,
)
from flowstack_core.http.resolver import (
    HttpFunction,
    create_app,
    entry_point,
    json_response,
    request_id,
)
from flowstack_core.services.conversations import Answer, ConversationService
from flowstack_core.services.deferred import DeferredRequests

DEFAULT_AGENT = "openai"
DEFAULT_CONVERSATION = "default"

AgentHeader = Annotated[str | None, Header(alias="X-Agent", description="The agent's name.")]
ConversationHeader = Annotated[
    str | None, Header(alias="X-Conversation-Id", description="Which of its conversations.")
]


class OpenAIRequestDocument(Document):
    """A chat completion that is answered later."""

    id: str
    object: Literal["chat.completion.request"]
    status: Literal["queued", "running", "succeeded", "failed"]
    accepted_at: datetime
    answered_by: datetime
    expires_at: datetime
    session: AcceptedSession
    response: ChatCompletionDocument | None = None
    error: OpenAIError | None = None


class ModelEntry(Document):
    """A managed model."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ModelList(Document):
    """The managed models that can be asked today."""

    object: Literal["list"]
    data: list[ModelEntry]


def openai_app(
    service: Callable[[], ConversationService], deferred: Callable[[], DeferredRequests]
) -> APIGatewayRestResolver:
    """Return the resolver. The services are asked for on the first request."""
    app = create_app(render_openai)

    def named() -> dict[str, str]:
        return {"x-request-id": request_id(app)}

    def budget() -> LambdaTimeBudget:
        return LambdaTimeBudget(app.lambda_context)

    @app.post(
        "/v1/chat/completions",
        summary="Send a conversation as OpenAI's clients do",
        tags=["openai"],
        responses=documented_answer(
            ChatCompletionDocument, OpenAIRequestDocument, 404, error=OpenAIErrorDocument
        ),
    )
    def chat_completions(
        body: ChatCompletionBody,
        idempotency_key: IdempotencyKeyHeader = None,
        agent: AgentHeader = None,
        conversation_id: ConversationHeader = None,
        prefer: PreferHeader = None,  # noqa: ARG001 - documents the header
    ) -> Response[Any]:
        invoked = body.invoke_body(*conversation_of(body, agent, conversation_id))
        command = invoked.command(idempotency_key)
        with _fields_of(body):
            # A stream is read as it comes: RFC 7240 lets a server pass over a preference.
            if prefers_async(app.current_event.headers) and not body.streamed:
                accepted = deferred().submit(caller_of(app), command, budget())
                document = request_document(accepted.document)
                return _with(accepted_response(accepted, "/v1/requests", document), named())
            found = service().answer(caller_of(app), command, budget())
        telemetry.count_answer("openai", found)
        return _with(_answered(body, found), {**named(), **_session_headers(found)})

    @app.get(
        "/v1/requests/<request_id>",
        summary="Fetch what became of a chat completion that is answered later",
        tags=["openai"],
        responses=documented(
            OpenAIRequestDocument,
            "The request as it stands.",
            *(400, 401, 404, 429, 500, 503),
            error=OpenAIErrorDocument,
        ),
    )
    def request(request_id: RequestId) -> Response[Any]:
        document = deferred().find(caller_of(app).customer_id, request_id, budget())
        return _with(found_response(request_document(document)), named())

    def models() -> tuple[Model, ...]:
        return service().models(caller_of(app).customer_id, budget())

    @app.get(
        "/v1/models",
        summary="List the managed models",
        tags=["openai"],
        responses=documented(
            ModelList, "The models.", 401, 429, 500, 503, error=OpenAIErrorDocument
        ),
    )
    def list_models() -> Response[Any]:
        document = {"object": "list", "data": [model_document(model) for model in models()]}
        return json_response(200, document, named())

    @app.get(
        "/v1/models/<model>",
        summary="See whether a managed model can be asked",
        tags=["openai"],
        responses=documented(
            ModelEntry, "The model.", 401, 404, 429, 500, 503, error=OpenAIErrorDocument
        ),
    )
    def one_model(model: str) -> Response[Any]:
        name = unquote(model)
        found = next((one for one in models() if name in one.names), None)
        if found is None:
            raise ModelNotAvailableError(
                "There is no such managed model.",
                details={"field": "model", "hint": "GET /v1/models lists those there are."},
            )
        return json_response(200, model_document(found), named())

    return app


def openai_door(
    service: Callable[[], ConversationService], deferred: Callable[[], DeferredRequests]
) -> HttpFunction:
    """Return the Lambda handler of everything below ``/v1``."""
    return entry_point(openai_app(service, deferred), render_openai)


def conversation_of(
    body: ChatCompletionBody, agent: str | None, conversation_id: str | None
) -> tuple[str, str]:
    """Return agent and conversation: from the headers, else the metadata, else ``user``.

    Raises
    ------
    InvalidRequestError
        A name cannot be one.
    """
    metadata = body.metadata or {}
    return (
        _name("agent", agent, metadata.get("agent"), DEFAULT_AGENT),
        _name(
            "conversation_id",
            conversation_id,
            metadata.get("conversation_id"),
            body.user,
            DEFAULT_CONVERSATION,
        ),
    )


def _name(field: str, *candidates: str | None) -> str:
    name = next(candidate for candidate in candidates if candidate)
    try:
        return checked_name(name)
    except ValueError as error:
        raise InvalidRequestError(f"{field} {error}.", details={"field": field}) from error


def request_document(request: Mapping[str, Any]) -> dict[str, Any]:
    """Render a deferred request for OpenAI's clients."""
    document = {name: request[name] for name in ("accepted_at", "answered_by", "expires_at")}
    document |= {
        "id": request["request_id"],
        "object": "chat.completion.request",
        "status": request["status"],
        "session": request["session"],
    }
    if "answer" in request:
        document["response"] = completion(request["answer"])
    if "failure" in request:
        failure = request["failure"]
        document["error"] = openai_error(
            failure["error"], failure["error_code"], failure["details"]
        )
    return document


def model_document(model: Model) -> dict[str, Any]:
    """Render a model. When it was made is not known here, but the field has to be there."""
    return {
        "id": model.id,
        "object": "model",
        "created": 0,
        "owned_by": model.bedrock_model_id.split(".")[0],
    }


@contextmanager
def _fields_of(body: ChatCompletionBody) -> Iterator[None]:
    """Have a refusal name the field as the body does that the caller sent."""
    try:
        yield
    except InvalidRequestError as error:
        if "field" in error.details:
            error.details["field"] = body.field_of(error.details["field"])
        raise


def _answered(body: ChatCompletionBody, found: Answer) -> Response[str]:
    if not body.streamed:
        return json_response(200, completion(found.document))
    return Response(
        status_code=200,
        content_type="text/event-stream",
        body=event_stream(found.document, include_usage=body.includes_usage),
        headers={"Cache-Control": "no-store"},
    )


def _session_headers(found: Answer) -> dict[str, str]:
    session = found.document["session"]
    headers = {
        "X-FlowStack-Session": session["id"],
        "X-FlowStack-Session-New": "true" if session["new"] else "false",
        "X-FlowStack-Session-Ends-At": session["ends_at"],
    }
    return {**headers, "Idempotency-Replayed": "true"} if found.replayed else headers


def _with(response: Response[str], headers: Mapping[str, str]) -> Response[str]:
    response.headers.update(headers)
    return response
