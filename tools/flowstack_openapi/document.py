"""The OpenAPI document, merged from the routes that answer customers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NoReturn

from aws_lambda_powertools.event_handler.openapi.models import (
    APIKey,
    APIKeyIn,
    HTTPBearer,
    SecurityScheme,
)

from flowstack_core import __version__
from flowstack_core.http.alert_routes import alerts_app
from flowstack_core.http.billing_routes import billing_app
from flowstack_core.http.byok_routes import byok_app
from flowstack_core.http.conversation_routes import conversation_app
from flowstack_core.http.openai_routes import openai_app
from flowstack_core.http.public_routes import public_app
from flowstack_core.http.usage_routes import usage_app
from flowstack_core.http.vault_routes import vault_app

ROOT = Path(__file__).parents[2]
TARGET = ROOT / "layers/core/flowstack_core/http/openapi.json"

_DESCRIPTION = "AI agents by the session: one conversation counts once, however many messages."

_SCHEMES: dict[str, SecurityScheme] = {
    "ApiKey": APIKey(name="X-API-Key", in_=APIKeyIn.header),
    "BearerKey": HTTPBearer(),
}


def openapi_document() -> dict[str, Any]:
    """Build the document. The operators' routes are not part of it."""
    whole: dict[str, Any] = {}
    public = public_app(lambda: "")
    openai = openai_app(_not_called, _not_called)
    for app in (
        conversation_app(_not_called, _not_called),
        usage_app(_not_called, _not_called, _not_called, _not_called),
        byok_app(_not_called),
        billing_app(_not_called, _not_called),
        vault_app(_not_called, _not_called),
        alerts_app(_not_called, _not_called, _not_called),
        openai,
        public,
    ):
        scheme = "BearerKey" if app is openai else "ApiKey"
        schema = app.get_openapi_json_schema(
            title="FlowStack",
            version=__version__,
            description=_DESCRIPTION,
            security_schemes=_SCHEMES,
            security=[] if app is public else [{scheme: []}],
        )
        _merge(whole, json.loads(schema), [] if app is public else [{scheme: []}])
    return whole


def rendered() -> str:
    """Write the document the way the file holds it."""
    return json.dumps(openapi_document(), indent=1, sort_keys=True) + "\n"


def _merge(whole: dict[str, Any], part: dict[str, Any], security: list[Any]) -> None:
    part.pop("security", None)
    for operations in part["paths"].values():
        for operation in operations.values():
            operation["security"] = security
            # Powertools documents its own validation error; ours is the 400.
            operation["responses"].pop("422", None)
    paths, schemas = part.pop("paths"), part["components"].pop("schemas")
    whole.update({**part, "components": {**part["components"], **whole.get("components", {})}})
    whole.setdefault("paths", {}).update(paths)
    for unused in ("HTTPValidationError", "ResponseValidationError", "ValidationError"):
        schemas.pop(unused, None)
    whole["components"].setdefault("schemas", {}).update(schemas)


def _not_called() -> NoReturn:
    raise AssertionError("describing the routes answers no request")
