"""``POST /invoke`` and ``POST /chat``, and where answers that come later are fetched."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

from aws_lambda_powertools.event_handler import APIGatewayRestResolver, Response
from aws_lambda_powertools.event_handler.openapi.params import Header, Path

from flowstack_core.adapters.system import LambdaTimeBudget
from flowstack_core.domain.own_limits import read_caps
from flowstack_core.domain.plans import Tier
from flowstack_core.http import telemetry
from flowstack_core.http.deferred_responses import (
    accepted_response,
    found_response,
    prefers_async,
)
from flowstack_core.http.documents import documented, documented_answer
from flowstack_core.http.message_documents import AnswerDocument, RequestDocument
from flowstack_core.http.requests import ChatBody, InvokeBody
from flowstack_core.http.resolver import create_app, customer_of, json_response
from flowstack_core.services.conversations import Caller, ConversationService, MessageCommand

if TYPE_CHECKING:
    from flowstack_core.services.deferred import DeferredRequests

IdempotencyKeyHeader = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        description="A name for this request; a retry with it gets the first answer.",
    ),
]
PreferHeader = Annotated[
    str | None,
    Header(alias="Prefer", description="`respond-async` to fetch the answer later."),
]
RequestId = Annotated[str, Path(max_length=64)]


def caller_of(app: APIGatewayRestResolver) -> Caller:
    """Return who asks, as the authorizer found it."""
    found = customer_of(app)
    return Caller(found["customer_id"], Tier(found["tier"]), read_caps(found))


def conversation_app(
    service: Callable[[], ConversationService], deferred: Callable[[], DeferredRequests]
) -> APIGatewayRestResolver:
    """Return the resolver. The services are asked for on the first request."""
    app = create_app()

    def answer(command: MessageCommand) -> Response[Any]:
        caller, budget = caller_of(app), LambdaTimeBudget(app.lambda_context)
        if prefers_async(app.current_event.headers):
            accepted = deferred().submit(caller, command, budget)
            return accepted_response(accepted, "/requests", accepted.document)
        found = service().answer(caller, command, budget)
        telemetry.count_answer(command.operation, found)
        headers = {"Idempotency-Replayed": "true"} if found.replayed else {}
        return json_response(200, found.document, headers)

    @app.post(
        "/invoke",
        summary="Send a conversation that the caller keeps",
        tags=["conversations"],
        responses=documented_answer(AnswerDocument, RequestDocument),
    )
    def invoke(
        body: InvokeBody,
        idempotency_key: IdempotencyKeyHeader = None,
        prefer: PreferHeader = None,  # noqa: ARG001 - documents the header
    ) -> Response[Any]:
        return answer(body.command(idempotency_key))

    @app.post(
        "/chat",
        summary="Send one message of a conversation that the server keeps",
        tags=["conversations"],
        responses=documented_answer(AnswerDocument, RequestDocument),
    )
    def chat(
        body: ChatBody,
        idempotency_key: IdempotencyKeyHeader = None,
        prefer: PreferHeader = None,  # noqa: ARG001 - documents the header
    ) -> Response[Any]:
        return answer(body.command(idempotency_key))

    @app.get(
        "/requests/<request_id>",
        summary="Fetch what became of a message that is answered later",
        tags=["conversations"],
        responses=documented(
            RequestDocument, "The request as it stands.", 400, 401, 404, 429, 500, 503
        ),
    )
    def request(request_id: RequestId) -> Response[Any]:
        customer_id = customer_of(app)["customer_id"]
        budget = LambdaTimeBudget(app.lambda_context)
        return found_response(deferred().find(customer_id, request_id, budget))

    return app
