"""Secrets that are recognised wherever they turn up, sent down every path there is.

Afterwards nothing that the stack stored, streamed, printed or answered may hold one of them.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from flowstack_core.domain.providers import WAYS, Provider
from tests.integration.conftest import Customer, Stack, wait_until
from tests.support.converse_server import Behaviour
from tests.support.traces import Traces, spellings

PATH = "/api/byok-credentials"
NAMES = {"region": "eu-west-1", "endpoint_name": "endpoint-1"}


@dataclass
class Plot:
    """Plants canaries, and remembers them and everything that was answered."""

    customer: Customer
    canaries: dict[str, str] = field(default_factory=dict)
    answered: list[bytes] = field(default_factory=list)

    def canary(self, where: str, length: int = 40) -> str:
        """Return a new secret; ``where`` says later how it got out."""
        core = secrets.token_hex(length // 2)
        # A part is enough to be found by, should somebody shorten it before it gets out.
        self.canaries[core[:16]] = where
        # A password's alphabet: quotes, slashes and plus signs are written in many ways.
        return f'"{core}/+<&'

    def credentials(self, where: str, provider: Provider = Provider.BEDROCK) -> dict[str, str]:
        """Return credentials of which every value is a canary that has not the form of a name."""
        return {
            name: NAMES.get(name) or self.canary(f"{where}: {name}")
            for name in WAYS[provider][0].required
        }

    def send(self, response: httpx.Response, *statuses: int) -> httpx.Response:
        """Keep an answer, which must be one of those expected."""
        assert response.status_code in (statuses or (200,)), response.text
        head = json.dumps(dict(response.headers)).encode()
        self.answered += [response.content, head, json.dumps(_values(response)).encode()]
        return response

    def store(self, body: Any, *statuses: int) -> httpx.Response:
        """Try to store credentials."""
        return self.send(self.customer.http.post(PATH, json=body), *statuses)


def _values(response: httpx.Response) -> Any:
    """Return a body as it is once its escapes are undone."""
    return [str(response.json())]


@pytest.fixture
def plot(stack: Stack) -> Iterator[Plot]:
    plot = Plot(stack.customer("free"))
    yield plot
    traces = Traces(stack.connection, stack.emulator_log)
    found = {
        (where, what)
        for what, texts in (
            ("answered", plot.answered),
            ("stored", traces.stored()),
            ("streamed", traces.streamed()),
            ("logged", traces.logged()),
            ("logged by the emulator", traces.emulated()),
        )
        for text in texts
        for part, where in plot.canaries.items()
        if any(spelling in text for spelling in spellings(part))
    }
    assert plot.canaries
    assert found == set()


def test_the_search_finds_what_is_no_secret(stack: Stack) -> None:
    """A search that finds nothing anywhere would prove nothing."""
    customer = stack.customer()
    said = f"said-{secrets.token_hex(8)}"
    stack.bedrock.behave(Behaviour(marker=said, text=f"heard {said}"))
    assert customer.chat(said, f"conversation-{said}").status_code == 200
    traces = Traces(stack.connection, stack.emulator_log)

    def holds(texts: Iterator[bytes], text: str) -> bool:
        return any(spelling in one for one in texts for spelling in spellings(text))

    assert holds(traces.stored(), f"heard {said}"), "in a compressed transcript"
    assert holds(traces.streamed(), f"conversation-{said}")
    assert holds(traces.logged(), customer.customer_id)
    assert not holds(traces.logged(), said), "what was said is in no log"
    assert holds(traces.emulated(), "[ministack]")


@pytest.mark.parametrize("provider", Provider)
def test_byok_what_is_stored_rotated_and_deleted(plot: Plot, provider: Provider) -> None:
    for turn in ("stored", "rotated"):
        body = {"provider": provider.value, "credentials": plot.credentials(turn, provider)}
        plot.store(body)
    plot.send(plot.customer.http.get(PATH))
    plot.send(plot.customer.http.delete(f"{PATH}/{provider.value}"))
    plot.send(plot.customer.http.get(PATH))


def test_byok_what_is_stored_and_used(plot: Plot, stack: Stack) -> None:
    plot.store({"provider": "bedrock", "credentials": plot.credentials("stored and used")})
    for key in ({}, {"Idempotency-Key": "order-1"}, {"Idempotency-Key": "order-1"}):
        plot.send(plot.customer.invoke(headers=key))
        plot.send(plot.customer.chat(headers={**key, "X-Other": "1"}), 200, 409)
        plot.send(plot.customer.chat("More", byok=True))
    plot.send(plot.customer.http.get(PATH))
    plot.send(plot.customer.http.get("/usage"))
    trail = stack.admin.get(f"/admin/customers/{plot.customer.customer_id}/audit-trail")
    plot.answered.append(json.dumps(trail).encode())


def test_byok_what_is_sent_with_a_message(plot: Plot) -> None:
    own = plot.credentials("sent")
    for key in ({}, {"Idempotency-Key": "order-1"}, {"Idempotency-Key": "order-1"}):
        plot.send(plot.customer.invoke(byok_credentials=own, headers=key))
        plot.send(plot.customer.chat(byok_credentials=own))
    retried = {"Idempotency-Key": "order-1"}
    plot.send(plot.customer.invoke(byok_credentials=own, system="other", headers=retried), 409)


@pytest.mark.parametrize("exception", ["UnrecognizedClientException", "ValidationException"])
@pytest.mark.parametrize("stored", [True, False], ids=["stored", "sent"])
def test_byok_what_the_provider_echoes_in_its_error(
    exception: str, stored: bool, plot: Plot, stack: Stack
) -> None:
    own = plot.credentials("echoed")
    echo = f"Invalid credentials: {json.dumps(own)} {' '.join(own.values())}"
    stack.bedrock.behave(Behaviour(fail=exception, message=echo))
    if stored:
        plot.store({"provider": "bedrock", "credentials": own})
    fields: dict[str, Any] = {} if stored else {"byok_credentials": own}
    retried = {"Idempotency-Key": "order-1"}
    for _ in range(2):
        plot.send(plot.customer.invoke(headers=retried, **fields), 400)
        plot.send(plot.customer.chat(**fields), 400)


@pytest.mark.parametrize("exception", [None, "ValidationException"])
def test_byok_what_is_used_for_an_answer_that_comes_later(
    exception: str | None, plot: Plot, stack: Stack
) -> None:
    own = plot.credentials("used later")
    plot.store({"provider": "bedrock", "credentials": own})
    if exception is not None:
        echo = f"Invalid: {json.dumps(own)} {' '.join(own.values())}"
        stack.bedrock.behave(Behaviour(fail=exception, message=echo))
    later = {"Prefer": "respond-async"}
    plot.send(plot.customer.invoke(byok_credentials=own, headers=later), 400)
    accepted = plot.send(plot.customer.invoke(headers=later), 202)
    location = accepted.headers["Location"]
    over = ("succeeded", "failed")
    wait_until(lambda: plot.customer.http.get(location).json()["status"] in over, 60)
    found = plot.send(plot.customer.http.get(location)).json()
    assert found["status"] == over[exception is not None], found


def test_byok_what_is_refused_before_it_is_looked_at(plot: Plot) -> None:
    secret = plot.canary("refused")
    own = plot.credentials("refused")
    long = plot.canary("too long", length=5_000)
    for provider, credentials in (
        ("bedrock", {"api_key": secret}),
        ("openai", own),
        ("acme", own),
        ("openai", {"api_key": secret, "note": secret}),
        ("openai", {"api_key": f"{secret}\n"}),
        ("openai", {"api_key": f"{secret}é"}),
        ("openai", {"api_key": long}),
        ("litellm", {"api_key": long[:3_000], "host": long[:3_000]}),
        ("sagemaker", {"endpoint_name": secret, "region": secret}),
        ("openai", [secret]),
        ("openai", secret),
        ("openai", {"api_key": {"value": secret}}),
    ):
        plot.store({"provider": provider, "credentials": credentials}, 400)
        fields: dict[str, Any] = {"provider": provider, "byok_credentials": credentials}
        if "litellm" not in provider:
            plot.send(plot.customer.invoke(**fields), 400)
            plot.send(plot.customer.chat(**fields), 400)
    plot.store({"provider": "openai", "credentials": {"api_key": secret}, "note": secret}, 400)
    plot.send(plot.customer.invoke(byok_credentials=own, note=secret), 400)
    plot.send(plot.customer.invoke(byok_credentials=own, model="no model\n"), 400)
    plot.send(plot.customer.invoke(byok=secret), 400)


def test_byok_what_is_in_a_body_that_is_no_json(plot: Plot) -> None:
    for path in (PATH, "/invoke", "/chat"):
        secret = plot.canary(f"malformed {path}")
        for content, media_type in (
            (f'{{"credentials": {{"api_key": {json.dumps(secret)}', "application/json"),
            (f'{{"credentials": {json.dumps(secret)}, "x": NaN}}', "application/json"),
            (f"api_key={secret}", "application/x-www-form-urlencoded"),
            ("[" * 70 + json.dumps(secret) + "]" * 70, "application/json"),
            (json.dumps({"credentials": secret * 30_000}), "application/json"),
        ):
            headers = {"Content-Type": media_type}
            response = plot.customer.http.post(path, content=content.encode(), headers=headers)
            plot.send(response, 400, 413, 415)


def test_byok_what_belongs_to_somebody_else_is_out_of_reach(plot: Plot, stack: Stack) -> None:
    plot.store({"provider": "bedrock", "credentials": plot.credentials("another's")})
    eve = stack.customer("free")
    plot.send(eve.http.get(PATH))
    plot.send(eve.http.delete(f"{PATH}/bedrock"), 404)
    plot.send(eve.invoke(), 403)
    plot.send(eve.invoke(byok=True), 400)
    assert plot.send(plot.customer.invoke()).status_code == 200
