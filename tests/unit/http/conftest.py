"""The conversation function and the operators' API, over stores in memory."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from flowstack_core.http.admin_routes import admin_app
from flowstack_core.http.authorizer import told_caps
from flowstack_core.http.conversation_routes import conversation_app
from flowstack_core.http.doors import doors
from flowstack_core.http.openai_routes import openai_door
from flowstack_core.http.resolver import entry_point, logger, signer_of
from flowstack_core.http.telemetry import MessageObserver
from tests.support.fakes import World
from tests.support.http_events import HttpResponse, LambdaContext, http_event, response_of

ADA = "arn:aws:iam::123456789012:user/ada"


@dataclass
class ConversationApi:
    """Sends requests to the conversation function as its customer."""

    world: World = field(default_factory=lambda: World(observer=MessageObserver()))

    def __post_init__(self) -> None:
        services = (lambda: self.world.service), (lambda: self.world.deferred)
        openai = openai_door(*services)
        self.handler = doors(entry_point(conversation_app(*services)), lambda: openai)

    def send(
        self,
        path: str,
        body: Any,
        headers: dict[str, str] | None = None,
        tier: str = "starter",
    ) -> HttpResponse:
        """POST ``body``: text as it is, everything else as JSON."""
        event = http_event(
            "POST",
            path,
            body if isinstance(body, str) else json.dumps(body),
            headers,
            authorizer={
                "customer_id": self.world.customer_id,
                "tier": tier,
                "key_id": "key_1",
                **told_caps(self.world.caps),
            },
        )
        return response_of(self.handler(event, LambdaContext()))

    def get(self, path: str, customer_id: str | None = None) -> HttpResponse:
        """GET ``path``."""
        authorizer = {"customer_id": customer_id or self.world.customer_id, "tier": "starter"}
        return response_of(
            self.handler(http_event("GET", path, authorizer=authorizer), LambdaContext())
        )

    def complete(self, headers: dict[str, str] | None = None, **fields: Any) -> HttpResponse:
        """POST a good /v1/chat/completions request with some fields replaced."""
        body = {
            "model": "claude-haiku-4-5",
            "messages": [{"role": "user", "content": "Hello"}],
            **fields,
        }
        return self.send("/v1/chat/completions", body, headers)

    def invoke(self, headers: dict[str, str] | None = None, **fields: Any) -> HttpResponse:
        """POST a good /invoke request with some fields replaced; ``None`` leaves one out."""
        body = {
            "provider": "bedrock",
            "model": "claude-haiku-4-5",
            "messages": [{"role": "user", "content": "Hello"}],
            **fields,
        }
        return self.send("/invoke", {k: v for k, v in body.items() if v is not None}, headers)

    def chat(self, headers: dict[str, str] | None = None, **fields: Any) -> HttpResponse:
        """POST a good /chat request with some fields replaced."""
        body = {"agent": "helper", "message": "Hello", "model": "claude-haiku-4-5", **fields}
        return self.send("/chat", {k: v for k, v in body.items() if v is not None}, headers)

    @property
    def untouched(self) -> bool:
        """Whether nothing was counted, started or asked."""
        return (
            self.world.used() == 0
            and not self.world.tables.heads
            and not self.world.tables.records
            and not self.world.model.requests
        )


@pytest.fixture
def api() -> ConversationApi:
    """A conversation function and a starter to call it."""
    conversation_api = ConversationApi()
    conversation_api.world.subscribe()
    return conversation_api


class Admin:
    """Sends requests as an operator."""

    def __init__(self, *, test_clocks: bool = True) -> None:
        self.world = World()
        app = admin_app(
            lambda: self.world.account_service,
            lambda: self.world.usage_service,
            history=lambda: self.world.history_service,
            alerts=lambda: self.world.alert_service,
            subscriptions=lambda: self.world.subscription_service,
            statements=lambda: self.world.statement_service,
            closings=lambda: self.world.closing_service,
            month_end=lambda: self.world.month_end,
            exports=lambda: self.world.export_service,
            erasures=lambda: self.world.erasure_service,
            forecasts=lambda: self.world.forecast_service,
            recommendations=lambda: self.world.recommendation_service,
            webhooks=lambda: self.world.webhook_service,
            margins=lambda: self.world.margin_service,
            test_clocks=test_clocks,
        )
        self.handler = entry_point(app, admit=signer_of)

    def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: dict[str, str] | None = None,
        actor: str | None = ADA,
        headers: dict[str, str] | None = None,
    ) -> HttpResponse:
        """Send a request about customers."""
        return self.ask(
            method, f"/admin/customers{path}", body, query=query, actor=actor, headers=headers
        )

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: dict[str, str] | None = None,
        actor: str | None = ADA,
        headers: dict[str, str] | None = None,
    ) -> HttpResponse:
        """Send a request."""
        event = http_event(
            method,
            path,
            None if body is None else json.dumps(body),
            headers,
            query=query,
            identity={"userArn": actor},
        )
        return response_of(self.handler(event, LambdaContext()))

    def create(self, **fields: Any) -> dict[str, Any]:
        """Create a customer, who is the world's from now on."""
        answer = self.send("POST", "", {"name": "Ada", **fields})
        assert answer.status == 201, answer
        self.world.customer_id = answer.body["customer"]["customer_id"]
        return answer.body

    def trail(self) -> list[dict[str, Any]]:
        """Return what was done to the customer, the newest first."""
        answer = self.send("GET", f"/{self.world.customer_id}/audit-trail")
        assert answer.status == 200
        trail: list[dict[str, Any]] = answer.body["audit_trail"]
        return trail


@pytest.fixture
def admin() -> Admin:
    """An operator before anybody is a customer."""
    return Admin()


@pytest.fixture
def printed(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> Callable[[], str]:
    """Return everything that was logged or printed so far, as the function writes it."""

    def read() -> str:
        formatter = logging.getLogger(logger.name).handlers[0].formatter
        assert formatter is not None
        lines = [formatter.format(record) for record in caplog.records]
        return "\n".join([*lines, *capsys.readouterr()])

    return read
