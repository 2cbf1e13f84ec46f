"""``/console``: the page on which customers see and change what the API tells them.

It is loaded without a key and holds no data: what it shows, it asks the API for, with the key that
its reader types in.
"""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools.event_handler import APIGatewayRestResolver, Response

from flowstack_core.domain.errors import NotFoundError
from flowstack_core.http.console_files import ConsoleFile, ConsoleFiles


def add_console(app: APIGatewayRestResolver, files: ConsoleFiles) -> None:
    """Add the page and its files. They are no part of the OpenAPI document."""

    @app.get("/console", include_in_schema=False)
    def page() -> Response[Any]:
        if app.current_event.path.endswith("/"):
            # The page's links are relative, because the API does not know its stage's address.
            return Response(status_code=308, headers={"Location": "../console"})
        if files.page.unchanged_since(app.current_event.headers.get("if-none-match")):
            return Response(status_code=304, headers=dict(files.page.headers))
        return _sent(files.page)

    @app.get("/console/<version>/<name>", include_in_schema=False)
    def file(version: str, name: str) -> Response[Any]:
        found = files.find(version, name)
        if found is None:
            raise NotFoundError(
                "The console has no such file.", details={"hint": "Load the console again."}
            )
        return _sent(found)


def _sent(file: ConsoleFile) -> Response[Any]:
    return Response(
        status_code=200,
        content_type=file.media_type,
        body=file.text,
        headers=dict(file.headers),
    )
