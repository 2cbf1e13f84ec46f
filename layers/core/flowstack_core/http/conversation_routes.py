"""``POST /invoke`` and ``POST /chat``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler import APIGatewayRestResolver, Response
from aws_lambda_powertools.event_handler.openapi.params import Header

from flowstack_core.adapters.system import LambdaTimeBudget
from flowstack_core.domain.plans import Tier
from flowstack_core.http import telemetry
from flowstack_core.http.documents import AnswerDocument, documented
from flowstack_core.http.requests import ChatBody, InvokeBody
from flowstack_core.http.resolver import create_app, customer_of, json_response
from flowstack_core.services.conversations import Caller, ConversationService, MessageCommand

logger = Logger()

IdempotencyKeyHeader = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        description="A name for this request; a retry with it gets the first answer.",
    ),
]


def conversation_app(service: Callable[[], ConversationService]) -> APIGatewayRestResolver:
    """Return the resolver. ``service`` is asked for on the first request."""
    app = create_app()

    def answer(command: MessageCommand) -> Response[Any]:
        caller = customer_of(app)
        found = service().answer(
            Caller(caller["customer_id"], Tier(caller["tier"])),
            command,
            LambdaTimeBudget(app.lambda_context),
        )
        logger.info(
            "answered",
            extra={
                "operation": command.operation,
                "session_id": found.document["session"]["id"],
                "session_started": found.session_started,
                "replayed": found.replayed,
                "tokens": found.usage_tokens,
            },
        )
        if not found.replayed:
            telemetry.count("MessagesAnswered")
            telemetry.count("SessionsStarted", int(found.session_started))
            telemetry.count("Tokens", found.usage_tokens)
        headers = {"Idempotency-Replayed": "true"} if found.replayed else {}
        return json_response(200, found.document, headers)

    @app.post(
        "/invoke",
        summary="Send a conversation that the caller keeps",
        tags=["conversations"],
        responses=documented(AnswerDocument, "The model's answer."),
    )
    def invoke(body: InvokeBody, idempotency_key: IdempotencyKeyHeader = None) -> Response[Any]:
        return answer(body.command(idempotency_key))

    @app.post(
        "/chat",
        summary="Send one message of a conversation that the server keeps",
        tags=["conversations"],
        responses=documented(AnswerDocument, "The model's answer."),
    )
    def chat(body: ChatBody, idempotency_key: IdempotencyKeyHeader = None) -> Response[Any]:
        return answer(body.command(idempotency_key))

    return app
