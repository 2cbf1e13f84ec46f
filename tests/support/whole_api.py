"""The customers' API in this process: every door's real routes, over stores in memory.

What API Gateway does in front of the functions, the authorizer above all, is not here: every
request is one customer's.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qs

from aws_lambda_powertools.event_handler import APIGatewayRestResolver

from flowstack_core.domain.plans import Tier
from flowstack_core.http.alert_routes import alerts_app
from flowstack_core.http.billing_routes import billing_app
from flowstack_core.http.byok_routes import byok_app
from flowstack_core.http.console_files import ConsoleFiles
from flowstack_core.http.console_routes import add_console
from flowstack_core.http.conversation_routes import conversation_app
from flowstack_core.http.doors import doors
from flowstack_core.http.openai_routes import openai_door
from flowstack_core.http.public_routes import public_app
from flowstack_core.http.resolver import HttpFunction, entry_point
from flowstack_core.http.usage_routes import usage_app
from flowstack_core.http.vault_routes import vault_app
from tests.support.emulator import ROOT
from tests.support.fakes import World
from tests.support.http_events import LambdaContext
from tests.support.vaults import Vault

StartResponse = Callable[[str, list[tuple[str, str]]], Any]


def usage_app_of(world: World) -> APIGatewayRestResolver:
    """Return the usage function's routes over a world."""
    return usage_app(
        lambda: world.usage_service,
        lambda: world.history_service,
        lambda: world.forecast_service,
        lambda: world.recommendation_service,
    )


def alerts_app_of(world: World) -> APIGatewayRestResolver:
    """Return the alerts function's routes over a world."""
    return alerts_app(
        lambda: world.alert_service, lambda: world.webhook_service, lambda: world.budget_service
    )


class WholeApi:
    """A WSGI application (PEP 3333) that hands each request to the function that has its path.

    Parameters
    ----------
    tier
        The subscription of the customer who sends all requests.
    """

    def __init__(self, tier: Tier = Tier.PROFESSIONAL) -> None:
        self.world = World()
        self.world.subscribe(tier)
        self.vault = Vault()
        self._tier = tier
        world = self.world
        conversations = (lambda: world.service), (lambda: world.deferred)
        billing = billing_app(lambda: world.subscription_service, lambda: world.statement_service)
        openai = openai_door(*conversations)
        messages = doors(entry_point(conversation_app(*conversations)), lambda: openai)
        usage = entry_point(usage_app_of(world))
        alerts = entry_point(alerts_app_of(world))
        public_routes = public_app(lambda: "test")
        add_console(public_routes, ConsoleFiles.of(ROOT / "functions/public/console"))
        public = entry_point(public_routes)
        self._functions: dict[str, HttpFunction] = {
            "/invoke": messages,
            "/chat": messages,
            "/requests": messages,
            "/v1": messages,
            "/usage": usage,
            "/tier-info": usage,
            "/alerts": alerts,
            "/budget": alerts,
            "/subscription": entry_point(billing),
            "/api/billing": entry_point(billing),
            "/api/byok-credentials": entry_point(byok_app(lambda: world.credential_service)),
            "/datavault": entry_point(
                vault_app(lambda: self.vault.service, lambda: self.vault.queries)
            ),
            "/health": public,
            "/pricing": public,
            "/openapi.json": public,
            "/console": public,
        }

    @property
    def caller(self) -> dict[str, Any]:
        """What the authorizer says of the customer."""
        return {
            "customer_id": self.world.customer_id,
            "tier": self._tier.value,
            "key_id": "key_1",
        }

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        answer = self.function(environ["PATH_INFO"])(self._event(environ), LambdaContext())
        headers = [
            (name, value)
            for name, values in answer["multiValueHeaders"].items()
            for value in values
        ]
        start_response(f"{answer['statusCode']} -", headers)
        body = answer["body"] or ""
        return [base64.b64decode(body) if answer["isBase64Encoded"] else body.encode()]

    def function(self, path: str) -> HttpFunction:
        """Return the function whose a path is."""
        for prefix, function in self._functions.items():
            if path == prefix or path.startswith(f"{prefix}/"):
                return function
        raise AssertionError(f"no function has {path}")

    def _event(self, environ: dict[str, Any]) -> dict[str, Any]:
        """Build the event as a REST API does: one value of a name, and all of them."""
        path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
        query = parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True)
        headers = {
            name.removeprefix("HTTP_").replace("_", "-").title(): value
            for name, value in environ.items()
            if name.startswith("HTTP_") or name in {"CONTENT_TYPE", "CONTENT_LENGTH"}
        }
        content = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        try:
            body, encoded = content.decode(), False
        except UnicodeDecodeError:
            body, encoded = base64.b64encode(content).decode(), True
        return {
            "resource": path,
            "path": path,
            "httpMethod": method,
            "headers": headers,
            "multiValueHeaders": {name: [value] for name, value in headers.items()},
            "queryStringParameters": {name: values[-1] for name, values in query.items()} or None,
            "multiValueQueryStringParameters": query or None,
            "pathParameters": None,
            "stageVariables": None,
            "requestContext": {
                "requestId": "req-1",
                "stage": "test",
                "path": f"/test{path}",
                "httpMethod": method,
                "resourcePath": path,
                "authorizer": self.caller,
                "identity": {},
            },
            "body": body or None,
            "isBase64Encoded": encoded,
        }
