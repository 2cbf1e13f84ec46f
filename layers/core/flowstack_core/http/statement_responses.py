"""Statements as answers: JSON for programs, CSV for spreadsheets, a page for people."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import urlencode

from aws_lambda_powertools.event_handler import APIGatewayRestResolver, Response
from aws_lambda_powertools.event_handler.openapi.params import Path, Query

from flowstack_core.domain.statements import Statement
from flowstack_core.http.negotiation import CSV, HTML, JSON, accepted, negotiated
from flowstack_core.http.resolver import json_response
from flowstack_core.http.statement_page import CONTENT_SECURITY_POLICY, statement_page
from flowstack_core.services.documents import statement_document
from flowstack_core.services.statements import StatementService, statements_csv

PERIOD_PATTERN = r"^2[01]\d\d-(0[1-9]|1[0-2])$"

PeriodName = Annotated[str, Path(pattern=PERIOD_PATTERN, description="A period, as `2026-11`.")]
PageSize = Annotated[int, Query(ge=1, le=100, description="How many statements.")]
Cursor = Annotated[
    str | None, Query(max_length=512, description="Where the page begins: `next_cursor`.")
]


def history_response(
    app: APIGatewayRestResolver,
    service: StatementService,
    customer_id: str,
    limit: int,
    cursor: str | None,
) -> Response[Any]:
    """Answer with a page of a customer's statements, as JSON or CSV."""
    form = negotiated(accepted(app), (JSON, CSV))
    page = service.history(customer_id, limit, cursor)
    documents = [statement_document(statement) for statement in page.statements]
    headers = {}
    if page.next_cursor is not None:
        # Relative to the request's own address, whatever stage or domain that has.
        query = urlencode({"limit": limit, "cursor": page.next_cursor})
        headers["Link"] = f'<?{query}>; rel="next"'
    if form == CSV:
        return _file(CSV, "statements.csv", statements_csv(documents), headers)
    return json_response(200, {"statements": documents, "next_cursor": page.next_cursor}, headers)


def statement_response(app: APIGatewayRestResolver, statement: Statement) -> Response[Any]:
    """Answer with one statement, as JSON, CSV or a page to print."""
    form = negotiated(accepted(app), (JSON, CSV, HTML))
    document = statement_document(statement)
    name = f"statement-{statement.period}"
    if form == CSV:
        return _file(CSV, f"{name}.csv", statements_csv([document]), {})
    if form == HTML:
        policy = {"Content-Security-Policy": CONTENT_SECURITY_POLICY}
        return _file(HTML, f"{name}.html", statement_page(statement), policy, shown=True)
    return json_response(200, {"statement": document})


def _file(
    media_type: str, name: str, text: str, headers: dict[str, str], *, shown: bool = False
) -> Response[Any]:
    """Return a text that is shown, or saved, under a name."""
    disposition = "inline" if shown else "attachment"
    return Response(
        status_code=200,
        content_type=f"{media_type}; charset=utf-8",
        body=text,
        headers={
            "Cache-Control": "no-store",
            "Content-Disposition": f'{disposition}; filename="{name}"',
            "X-Content-Type-Options": "nosniff",
            **headers,
        },
    )
