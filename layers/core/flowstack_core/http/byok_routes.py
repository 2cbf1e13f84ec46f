"""``/api/byok-credentials``: credentials that customers store, never to be seen again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler import APIGatewayRestResolver, Response

from flowstack_core.adapters.system import LambdaTimeBudget
from flowstack_core.http.byok_documents import (
    CredentialsListDocument,
    DeletedCredentialsDocument,
    StoreCredentialsDocument,
)
from flowstack_core.http.documents import documented
from flowstack_core.http.requests import StoreCredentialsBody
from flowstack_core.http.resolver import create_app, customer_of, json_response
from flowstack_core.services.byok import CredentialService, credential_facts

logger = Logger()


def byok_app(service: Callable[[], CredentialService]) -> APIGatewayRestResolver:
    """Return the resolver. ``service`` is asked for on the first request."""
    app = create_app()

    @app.post(
        "/api/byok-credentials",
        summary="Store your own credentials at a provider, in the place of earlier ones",
        tags=["own keys"],
        responses=documented(
            StoreCredentialsDocument,
            "What was stored, masked.",
            *(400, 401, 409, 413, 415, 429, 500, 503),
        ),
    )
    def store(body: StoreCredentialsBody) -> Response[Any]:
        caller = customer_of(app)
        stored, replaced = service().store(
            caller["key_id"],
            caller["customer_id"],
            body.provider,
            body.values(),
            LambdaTimeBudget(app.lambda_context),
        )
        logger.info("stored", extra={"provider": stored.provider.value, "replaced": replaced})
        return json_response(200, {**credential_facts(stored), "replaced": replaced})

    @app.get(
        "/api/byok-credentials",
        summary="List the stored credentials, masked",
        tags=["own keys"],
        responses=documented(
            CredentialsListDocument, "What is stored, by provider.", *(401, 429, 500, 503)
        ),
    )
    def listed() -> Response[Any]:
        stored = service().stored(
            customer_of(app)["customer_id"], LambdaTimeBudget(app.lambda_context)
        )
        return json_response(200, {"credentials": [credential_facts(one) for one in stored]})

    @app.delete(
        "/api/byok-credentials/<provider>",
        summary="Delete the credentials stored at a provider, for good",
        tags=["own keys"],
        responses=documented(
            DeletedCredentialsDocument,
            "They are deleted.",
            *(400, 401, 404, 409, 429, 500, 503),
        ),
    )
    def delete(provider: str) -> Response[Any]:
        caller = customer_of(app)
        deleted = service().delete(
            caller["key_id"],
            caller["customer_id"],
            provider,
            LambdaTimeBudget(app.lambda_context),
        )
        logger.info("deleted", extra={"provider": deleted.value})
        return json_response(200, {"provider": deleted.value, "deleted": True})

    return app
