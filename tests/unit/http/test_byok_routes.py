"""The routes of stored credentials, over a store in memory."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from flowstack_core.domain.errors import StoredCredentialsUnreadableError
from flowstack_core.domain.plans import Tier
from flowstack_core.domain.providers import Provider, ProviderCredentials
from flowstack_core.http.byok_documents import (
    CredentialsListDocument,
    DeletedCredentialsDocument,
    StoreCredentialsDocument,
)
from flowstack_core.http.byok_routes import byok_app
from flowstack_core.http.documents import ErrorEnvelope
from flowstack_core.http.resolver import entry_point
from tests.support.fakes import World
from tests.support.http_events import HttpResponse, LambdaContext, http_event, response_of
from tests.unit.http.conftest import ConversationApi

PATH = "/api/byok-credentials"
OPENAI = {"provider": "openai", "credentials": {"api_key": "sk-canary-0123456789abcdef"}}


class CredentialsApi:
    """Sends requests to the function of stored credentials as a customer."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._handler = entry_point(byok_app(lambda: world.credential_service))

    def send(self, method: str, path: str = PATH, body: Any = None) -> HttpResponse:
        text = body if body is None or isinstance(body, str) else json.dumps(body)
        authorizer = {"customer_id": self.world.customer_id, "tier": "free", "key_id": "key_7"}
        event = http_event(method, path, text, authorizer=authorizer)
        return response_of(self._handler(event, LambdaContext(seconds=10)))

    def store(self, body: Any) -> HttpResponse:
        return self.send("POST", body=body)

    @property
    def listed(self) -> list[dict[str, Any]]:
        response = self.send("GET")
        assert response.status == 200
        CredentialsListDocument.model_validate(response.body)
        found: list[dict[str, Any]] = response.body["credentials"]
        return found


@pytest.fixture
def world() -> World:
    world = World()
    world.subscribe(Tier.FREE)
    return world


@pytest.fixture
def credentials(world: World) -> CredentialsApi:
    return CredentialsApi(world)


def test_what_is_stored_comes_back_masked_only(credentials: CredentialsApi) -> None:
    stored = credentials.store(OPENAI)
    assert stored.status == 200
    StoreCredentialsDocument.model_validate(stored.body)
    assert stored.headers["Cache-Control"] == "no-store"
    expected = {
        "provider": "openai",
        "credentials": {"api_key": "…cdef"},
        "created_at": "2026-11-15T12:00:00.000Z",
        "updated_at": "2026-11-15T12:00:00.000Z",
        "last_used_at": None,
    }
    assert stored.body == {**expected, "replaced": False}
    assert credentials.listed == [expected]
    assert credentials.store(OPENAI).body["replaced"] is True


def test_the_key_that_acted_is_on_record(credentials: CredentialsApi) -> None:
    credentials.store(OPENAI)
    credentials.send("DELETE", f"{PATH}/openai")
    assert [audit.actor for audit in credentials.world.tables.audits.values()] == ["key_7"] * 2


def test_what_was_deleted_is_gone(credentials: CredentialsApi) -> None:
    credentials.store(OPENAI)
    deleted = credentials.send("DELETE", f"{PATH}/openai")
    assert (deleted.status, deleted.body) == (200, {"provider": "openai", "deleted": True})
    DeletedCredentialsDocument.model_validate(deleted.body)
    assert credentials.listed == []
    again = credentials.send("DELETE", f"{PATH}/openai")
    assert (again.status, again.body["error_code"]) == (404, "NOT_FOUND")
    unknown = credentials.send("DELETE", f"{PATH}/acme")
    assert (unknown.status, unknown.body["error_code"]) == (400, "INVALID_PROVIDER")


@pytest.mark.parametrize("customer_id", ["cus_2", "cus_1#openai", "cus"])
def test_nobody_elses_credentials_are_seen_or_deleted(
    customer_id: str, credentials: CredentialsApi
) -> None:
    credentials.store(OPENAI)
    credentials.world.customer_id = customer_id
    assert credentials.listed == []
    assert credentials.send("DELETE", f"{PATH}/openai").status == 404
    assert len(credentials.world.tables.credentials) == 1


CANARY = "canary-7c1e"
LONG = CANARY * 500
BAD_BODIES: dict[str, Any] = {
    "no credentials": {"provider": "openai", "api_key": CANARY},
    "empty": {"provider": "openai", "credentials": {}},
    "text": {"provider": "openai", "credentials": CANARY},
    "list": {"provider": "openai", "credentials": [CANARY]},
    "number": {"provider": "openai", "credentials": {"api_key": 5}},
    "nested": {"provider": "openai", "credentials": {"api_key": {"value": CANARY}}},
    "wrong provider": {"provider": "bedrock", "credentials": {"api_key": CANARY}},
    "unknown provider": {"provider": "acme", "credentials": {"api_key": CANARY}},
    "unknown field": {"provider": "openai", "credentials": {"api_key": CANARY, "host": CANARY}},
    "unknown field beside": {**OPENAI, "note": CANARY},
    "control character": {"provider": "openai", "credentials": {"api_key": f"{CANARY}\n"}},
    "not ASCII": {"provider": "openai", "credentials": {"api_key": f"{CANARY}é"}},
    "too long": {"provider": "openai", "credentials": {"api_key": LONG}},
    "too long together": {
        "provider": "litellm",
        "credentials": {"api_key": LONG[:3000], "host": LONG[:3000]},
    },
    "no region": {
        "provider": "sagemaker",
        "credentials": {"endpoint_name": CANARY, "region": CANARY},
    },
    "too many": {"provider": "openai", "credentials": {f"field{n}": CANARY for n in range(9)}},
    "not JSON": f'{{"provider": "openai", "credentials": {{"api_key": "{CANARY}"',
    "not a number": f'{{"provider": "openai", "credentials": {{"api_key": "{CANARY}", "x": NaN}}}}',
    "too deep": f'{{"provider": "openai", "credentials": {"[" * 70}"{CANARY}"{"]" * 70}}}',
    "too large": {"provider": "openai", "credentials": {"api_key": CANARY * 100_000}},
}


@pytest.mark.parametrize("body", BAD_BODIES.values(), ids=BAD_BODIES)
def test_byok_what_is_refused_is_neither_kept_nor_printed_nor_repeated(
    body: Any, credentials: CredentialsApi, printed: Callable[[], str]
) -> None:
    refused = credentials.store(body)
    assert refused.status in {400, 413}
    ErrorEnvelope.model_validate(refused.body)
    assert not credentials.world.tables.credentials
    log = printed()
    assert "refused" in log
    assert CANARY not in f"{refused.body} {log} {credentials.world.tables!r}"


CLIENT_ERROR = ClientError(
    {"Error": {"Code": "AccessDeniedException", "Message": "not authorized"}}, "Encrypt"
)


@pytest.mark.parametrize(
    ("failure", "status", "code"),
    [
        (CLIENT_ERROR, 500, "INTERNAL_ERROR"),
        (RuntimeError("bug"), 500, "INTERNAL_ERROR"),
        (StoredCredentialsUnreadableError("no"), 500, "STORED_CREDENTIALS_UNREADABLE"),
    ],
    ids=["not permitted", "bug", "unreadable"],
)
def test_byok_with_a_cipher_that_fails_no_secret_is_kept_printed_or_told(
    failure: Exception,
    status: int,
    code: str,
    world: World,
    credentials: CredentialsApi,
    printed: Callable[[], str],
) -> None:
    body = {
        "provider": "bedrock",
        "credentials": {"aws_access_key": f"AKIA{CANARY}", "aws_secret_key": CANARY},
    }
    assert credentials.store(body).status == 200
    world.cipher.failure = failure
    messages = ConversationApi(world)
    answers = [
        credentials.store(body),
        messages.invoke(headers={"Idempotency-Key": "order-1"}),
        messages.invoke(headers={"Idempotency-Key": "order-1"}),
        messages.invoke(byok=True),
        messages.chat(),
    ]
    assert {(answer.status, answer.body["error_code"]) for answer in answers} == {(status, code)}
    assert world.model.requests == []
    assert (world.used(), world.held(), world.drift()) == (0, 0, 0)
    told = " ".join(str(answer.body) for answer in answers)
    assert CANARY not in f"{told} {printed()} {world.tables!r}"


def test_byok_a_message_may_ask_for_stored_credentials(world: World) -> None:
    world.subscribe(Tier.STARTER)
    world.store()
    api = ConversationApi(world)
    assert api.invoke(byok=True).status == 200
    assert api.chat(byok=True, byok_credentials={}).status == 200
    assert api.invoke().status == 200
    paid_by = [used is not None for used in world.models.used]
    assert paid_by == [True, True, False]
    assert isinstance(world.models.used[0], ProviderCredentials)
    for wrong in ("yes", 1, {"aws_access_key": CANARY}):
        assert api.invoke(byok=wrong).body["details"]["field"] == "byok"


def test_p4_a_provider_without_credentials_says_how_to_bring_them(world: World) -> None:
    world.models.served.add(Provider.OPENAI)
    refused = ConversationApi(world).invoke(provider="openai", model="gpt-4o")
    assert (refused.status, refused.body["error_code"]) == (400, "CREDENTIALS_REQUIRED")
    assert PATH in refused.body["details"]["hint"]
