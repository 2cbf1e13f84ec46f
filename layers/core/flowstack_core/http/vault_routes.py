"""``/datavault``: reachable at the limit too, and counting nothing (Q2, S5)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from aws_lambda_powertools.event_handler import APIGatewayRestResolver, Response
from aws_lambda_powertools.event_handler.openapi.params import Header
from aws_lambda_powertools.event_handler.openapi.params import Query as Parameter

from flowstack_core.adapters.system import LambdaTimeBudget
from flowstack_core.domain.errors import InvalidRequestError
from flowstack_core.domain.vault import MAX_PAGE
from flowstack_core.domain.vault_cursors import MAX_CURSOR_LENGTH
from flowstack_core.http.documents import documented
from flowstack_core.http.resolver import create_app, customer_of, json_response
from flowstack_core.http.vault_documents import (
    CollectionsDocument,
    CountDocument,
    FoundDocument,
    RemovedDocument,
    StoredDocument,
    UpdatedDocument,
    VaultHealthDocument,
)
from flowstack_core.http.vault_requests import (
    CountBody,
    QueryBody,
    RemoveBody,
    StoreBody,
    UpdateBody,
    filter_in_address,
    sort_in_address,
)
from flowstack_core.services.vault import VaultService, WriteAnswer
from flowstack_core.services.vault_queries import Query, VaultQueries

_READING = (400, 401, 413, 429, 500, 503)
_WRITING = (400, 401, 409, 412, 413, 415, 429, 500, 503)

IdempotencyKeyHeader = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        description="A name for this request; a retry with it acts once and gets the first answer.",
    ),
]
Collection = Annotated[str, Parameter(min_length=1, max_length=512)]
Key = Annotated[str | None, Parameter(max_length=1024, description="Of one document.")]
Json = Annotated[str | None, Parameter(max_length=8_000, description="JSON.")]
Limit = Annotated[int | None, Parameter(ge=1, le=MAX_PAGE, description="For pages.")]
Cursor = Annotated[str | None, Parameter(max_length=MAX_CURSOR_LENGTH)]


def vault_app(
    service: Callable[[], VaultService], queries: Callable[[], VaultQueries]
) -> APIGatewayRestResolver:
    """Return the resolver. The services are asked for on the first request."""
    app = create_app()
    _add_writing(app, service)
    _add_finding(app, queries)
    _add_queries(app, queries)
    return app


def _customer(app: APIGatewayRestResolver) -> str:
    """Return whose vault it is: what the API key stands for, and nothing else."""
    return customer_of(app)["customer_id"]


def _budget(app: APIGatewayRestResolver) -> LambdaTimeBudget:
    return LambdaTimeBudget(app.lambda_context)


def _answer(answer: WriteAnswer) -> Response[Any]:
    headers = {"Idempotency-Replayed": "true"} if answer.replayed else {}
    return json_response(200, answer.document, headers)


def _add_writing(app: APIGatewayRestResolver, service: Callable[[], VaultService]) -> None:
    @app.post(
        "/datavault",
        summary="Store a document",
        tags=["vault"],
        responses=documented(StoredDocument, "What is known about the document.", *_WRITING),
    )
    def store(body: StoreBody, idempotency_key: IdempotencyKeyHeader = None) -> Response[Any]:
        command = body.command(idempotency_key)
        return _answer(service().store(_customer(app), command, _budget(app)))

    @app.put(
        "/datavault",
        summary="Change a document",
        tags=["vault"],
        responses=documented(UpdatedDocument, "What is known about the document.", *_WRITING),
    )
    def update(body: UpdateBody, idempotency_key: IdempotencyKeyHeader = None) -> Response[Any]:
        command = body.command(idempotency_key)
        return _answer(service().update(_customer(app), command, _budget(app)))

    @app.delete(
        "/datavault",
        summary="Delete a document, or clear a collection",
        tags=["vault"],
        responses=documented(RemovedDocument, "What was deleted.", *_WRITING),
    )
    def remove(body: RemoveBody, idempotency_key: IdempotencyKeyHeader = None) -> Response[Any]:
        if body.operation == "clear":
            cleared = service().clear(_customer(app), body.collection, body.cursor, _budget(app))
            return json_response(200, cleared)
        command = body.command(idempotency_key)
        return _answer(service().delete(_customer(app), command, _budget(app)))


def _add_finding(app: APIGatewayRestResolver, queries: Callable[[], VaultQueries]) -> None:
    @app.get(
        "/datavault",
        summary="Get documents by key or filter, or count them",
        tags=["vault"],
        responses=documented(
            FoundDocument | CountDocument, "The documents, or their count.", *_READING
        ),
    )
    def find(
        collection: Collection,
        operation: Literal["retrieve", "count"] = "retrieve",
        key: Key = None,
        filter: Json = None,  # noqa: A002 - that is its name in the address
        sort: Json = None,
        limit: Limit = None,
        cursor: Cursor = None,
        partial: Annotated[bool, Parameter(description="For counts.")] = False,  # noqa: FBT002
    ) -> Response[Any]:
        query = Query(collection, filter_in_address(filter), sort_in_address(sort), limit, cursor)
        if operation == "count":
            counted = queries().count(_customer(app), query, _budget(app), partial=partial)
            return json_response(200, counted)
        if key is None:
            return json_response(200, queries().find(_customer(app), query, _budget(app)))
        if query != Query(collection):
            raise InvalidRequestError(
                "key: one document has no filter, sort, limit or cursor.", details={"field": "key"}
            )
        return json_response(200, queries().retrieve(_customer(app), collection, key, _budget(app)))


def _add_queries(app: APIGatewayRestResolver, queries: Callable[[], VaultQueries]) -> None:
    @app.post(
        "/datavault/query",
        summary="Find documents by a filter, sorted, page by page",
        tags=["vault"],
        responses=documented(FoundDocument, "The documents.", *_READING, 415),
    )
    def query(body: QueryBody) -> Response[Any]:
        return json_response(200, queries().find(_customer(app), body.query(), _budget(app)))

    @app.post(
        "/datavault/count",
        summary="Count documents",
        tags=["vault"],
        responses=documented(CountDocument, "The count.", *_READING, 415),
    )
    def count(body: CountBody) -> Response[Any]:
        counted = queries().count(_customer(app), body.query(), _budget(app), partial=body.partial)
        return json_response(200, counted)

    @app.get(
        "/datavault/collections",
        summary="List the collections that hold documents",
        tags=["vault"],
        responses=documented(CollectionsDocument, "Their names.", *_READING),
    )
    def collections(limit: Limit = None, cursor: Cursor = None) -> Response[Any]:
        listed = queries().collections(_customer(app), limit, cursor, _budget(app))
        return json_response(200, listed)

    @app.get(
        "/datavault/health",
        summary="See whether the vault answers",
        tags=["vault"],
        responses=documented(VaultHealthDocument, "It does.", 401, 429, 500, 503),
    )
    def health() -> Response[Any]:
        return json_response(200, {"status": "ok"})
