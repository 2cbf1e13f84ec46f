"""Every secret that FlowStack is told or makes, and what was said: where afterwards, where not.

`test_canaries` follows credentials of providers down every path. Here are the others: API keys
(found by their hash only), secrets of webhooks (sealed only), the payment provider's signing secret
(in Secrets Manager only), and what customers say and store (never in a log, a queue or an event).
What was sent to AWS is read from the emulator's trail, so that nothing is missed that was consumed
at once.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field

import httpx
import pytest

from tests.integration.conftest import Customer, Stack, wait_until
from tests.integration.test_data_rights import exported, path
from tests.integration.test_payments import Stripe
from tests.integration.test_webhooks import PATH, set_webhook, wait_for
from tests.support.converse_server import Behaviour
from tests.support.stripe_messages import SECRET as SIGNING_SECRET
from tests.support.traces import Traces, spellings
from tests.support.webhook_server import WebhookServer

EVERYWHERE = frozenset({"stored", "streamed", "archived", "sent", "queued", "logged", "emulated"})
KEPT = frozenset({"stored", "streamed", "archived"})
"""Where conversations and documents belong."""


@dataclass
class Secret:
    """Something to look for, and where it may be found."""

    what: str
    text: str
    allowed: frozenset[str] = frozenset()


@dataclass
class Life:
    """A customer who uses everything, and everything secret about it."""

    customer: Customer
    secrets: list[Secret] = field(default_factory=list)
    answered: list[httpx.Response] = field(default_factory=list)

    def canary(self, what: str, allowed: frozenset[str] = frozenset()) -> str:
        text = f"canary-{secrets.token_hex(12)}"
        self.secrets.append(Secret(what, text, allowed))
        return text

    def ask(self, response: httpx.Response, *statuses: int) -> httpx.Response:
        assert response.status_code in (statuses or (200,)), response.text
        self.answered.append(response)
        return response


@pytest.fixture
def server() -> Iterator[WebhookServer]:
    with WebhookServer() as running:
        yield running


def lived(stack: Stack, server: WebhookServer) -> Life:
    """Use every route with something secret in it."""
    customer = stack.customer("enterprise")
    life = Life(customer)
    own = path(customer)
    second = stack.admin.post(f"{own}/keys", {"name": "second"})["key"]
    revoked = stack.admin.post(f"{own}/keys", {"name": "revoked"})["key"]
    stack.admin.delete(f"{own}/keys/{revoked['key_id']}")
    for what, key in (("a key", customer.key), ("another", second["text"])):
        # Its last six characters are shown, so that people can tell keys apart.
        life.secrets.append(Secret(what, key[3:-6]))
    life.secrets.append(Secret("a revoked key", revoked["text"][3:-6]))
    bearer = stack.anonymous(Authorization=f"Bearer {second['text']}")
    stranger = stack.anonymous(Authorization=f"Bearer {life.canary('a bearer token')}")
    life.ask(stranger.get("/v1/models"), 401)
    life.ask(stack.anonymous(**{"X-API-Key": revoked["text"]}).get("/usage"), 401)
    life.ask(stack.anonymous(**{"X-API-Key": life.canary("no key")}).get("/usage"), 401)
    _talk(life, stack, bearer)
    _tell(life, server)
    _pay(life, stack)
    files = exported(stack, customer)
    assert files
    for each in life.secrets:
        if "archived" not in each.allowed:
            assert not any(each.text.encode() in content for content in files.values()), each.what
    return life


def _talk(life: Life, stack: Stack, bearer: httpx.Client) -> None:
    customer = life.customer
    said, answer = life.canary("said", KEPT), life.canary("answered", KEPT)
    never = life.canary("said, and kept by its sender only")
    stack.bedrock.behave(Behaviour(marker=said, text=answer))
    life.ask(customer.chat(said))
    later = life.ask(customer.chat(said, "later", headers={"Prefer": "respond-async"}), 202)
    location = later.headers["Location"]
    wait_until(lambda: customer.http.get(location).json()["status"] == "succeeded", 60)
    # `/invoke` and `/v1` keep nothing of a conversation, unless a repeat may ask for the answer.
    life.ask(customer.invoke("kept", messages=[{"role": "user", "content": never}], system=never))
    spoken = {"model": "claude-haiku-4-5", "messages": [{"role": "user", "content": never}]}
    life.ask(bearer.post("/v1/chat/completions", json=spoken))
    life.ask(bearer.post("/v1/chat/completions", json={**spoken, "model": never}), 400, 404)
    stack.bedrock.behave(Behaviour(fail="ValidationException", message=f"bad: {never}"))
    life.ask(customer.invoke("bad", messages=[{"role": "user", "content": never}]), 400, 502)
    stack.bedrock.behave()
    key = {"Idempotency-Key": life.canary("an idempotency key")}
    life.ask(customer.invoke("repeated", headers=key))
    life.ask(customer.invoke("repeated", headers=key))
    document = {"collection": "notes", "key": "k", "data": {"t": life.canary("stored", KEPT)}}
    life.ask(customer.http.post("/datavault", json=document, headers=key))
    wanted = {"collection": "notes", "filter": {"t": life.canary("looked for")}}
    life.ask(customer.http.post("/datavault/query", json=wanted))
    life.ask(customer.http.post("/datavault", json={"data": life.canary("refused")}), 400)


def _tell(life: Life, server: WebhookServer) -> None:
    customer = life.customer
    for what in ("a webhook's secret", "its successor"):
        if what == "its successor":
            secret = life.ask(customer.http.post(f"{PATH}/secret", json={})).json()["secret"]
        else:
            secret = set_webhook(customer, server)
        life.secrets.append(Secret(what, secret.removeprefix("whsec_")))
    event_id = life.ask(customer.http.post(f"{PATH}/test", json={}), 202).json()["event_id"]
    wait_for(customer, event_id, "delivered")
    address = f"{server.url}/{life.canary('part of an address', KEPT)}"
    life.ask(customer.http.put(PATH, json={"url": address}))
    refused = f"https://user:{life.canary('a password in an address')}@example.com/"
    life.ask(customer.http.put(PATH, json={"url": refused}), 400)


def _pay(life: Life, stack: Stack) -> None:
    life.secrets.append(Secret("the signing secret", SIGNING_SECRET))
    stripe = Stripe(stack, life.customer)
    body = stripe.checkout()
    life.ask(stripe.post(body, life.canary("a signature")), 400)
    life.ask(stripe.post(body))


def test_secrets_and_what_was_said_are_where_they_belong_and_nowhere_else(
    stack: Stack, server: WebhookServer
) -> None:
    life = lived(stack, server)
    stack.trail.read()
    traces = Traces(stack.connection, stack.emulator_log)
    places = {
        "stored": traces.stored(),
        "streamed": traces.streamed(),
        "archived": traces.archived(),
        "sent": iter(stack.trail.sent),
        "queued": traces.queued(),
        "logged": traces.logged(),
        "emulated": traces.emulated(),
    }
    assert set(places) == EVERYWHERE
    wanted = [(each, spellings(each.text)) for each in life.secrets]
    found: set[tuple[str, str]] = set()
    for place, texts in places.items():
        looked_at = 0
        for text in texts:
            looked_at += 1
            for each, written in wanted:
                if any(spelling in text for spelling in written):
                    found.add((each.what, place))
        assert looked_at or place == "queued", place
    allowed = {(each.what, place) for each in life.secrets for place in each.allowed}
    assert found - allowed == set()
    # A search that finds nothing anywhere would prove nothing.
    assert ("said", "stored") in found
    assert ("said", "streamed") in found
    assert ("stored", "stored") in found


def test_an_answer_shows_no_secret_but_the_one_that_it_makes(
    stack: Stack, server: WebhookServer
) -> None:
    life = lived(stack, server)
    kinds = ("key", "signing secret", "bearer", "signature", "a password")
    for response in life.answered:
        head = str(response.headers)
        for each in life.secrets:
            assert each.text not in head, each.what
            if any(kind in each.what for kind in kinds) and "idempotency" not in each.what:
                assert each.text not in response.text, each.what
