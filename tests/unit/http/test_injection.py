"""Texts that mean something to a store, a log, a page or a header, in every place that takes one.

A text stays a text: it is refused, or kept as it is. No answer is a failure of ours, no line of
the log and no header can be forged, and no two texts are ever taken for the same thing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.support.whole_api import WholeApi

TEXTS = (
    # keys and paths
    *(
        "#",
        "a#b",
        "CUSTOMER#cus_2",
        "SESSION#x#HEAD",
        "a/b",
        "a|b",
        "../../etc/passwd",
        "%2e%2e%2f",
    ),
    # lines, headers, terminals, what cannot be seen
    *("\r\nX-Injected: 1", "a\nb", "\x00", "\x1b[31m", "\u202eevil", "\ufeff", "\u2028"),
    # queries, templates, formulas, pages
    *("' OR 1=1 --", "$ne", "$where", "{{7*7}}", "${jndi:ldap://x}", "=1+1", "@SUM(A1)", "|calc"),
    *("<script>alert(1)</script>", '"><img src=x onerror=1>'),
    # logs, metrics, JSON
    *('"} {"level":"ERROR"', '{"_aws":{}}', "null", "true", "NaN", "-0", "1e999", "[]", "{}"),
    *("a" * 5_000, "\u00e9", "e\u0301", "\U0001d518"),
)
NUMBERS = ("1e400", "-1", "0", "99999999999999999999", "NaN", "Infinity", "1.5", "true", '"1"')
DEEP = '{"a":' * 3_000 + "1" + "}" * 3_000


@pytest.fixture
def api() -> Iterator[httpx.Client]:
    """The whole API, in this process."""
    whole = WholeApi()
    transport = httpx.WSGITransport(app=whole)
    with httpx.Client(transport=transport, base_url="http://api") as client:
        yield client


def bodies(text: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield a request for each place in a body that takes a text."""
    asked = {"provider": "bedrock", "model": "claude-haiku-4-5"}
    said = [{"role": "user", "content": "Hello"}]
    for name in ("agent", "conversation_id", "model", "provider", "system"):
        yield "POST", "/invoke", {**asked, "messages": said, name: text}
    yield "POST", "/invoke", {**asked, "messages": [{"role": "user", "content": text}]}
    yield "POST", "/invoke", {**asked, "messages": said, "byok_credentials": {text: text}}
    for name in ("agent", "conversation_id", "message", "model"):
        yield "POST", "/chat", {"agent": "a", "message": "Hi", name: text}
    yield "POST", "/v1/chat/completions", {"model": text, "messages": said}
    yield (
        "POST",
        "/v1/chat/completions",
        {"model": "claude-haiku-4-5", "messages": said, "user": text},
    )
    yield "POST", "/api/byok-credentials", {"provider": text, "credentials": {"api_key": text}}
    yield "POST", "/datavault", {"collection": text, "data": {"a": 1}}
    yield "POST", "/datavault", {"collection": "c", "key": text, "data": {text: text}}
    yield "POST", "/datavault/query", {"collection": "c", "filters": {text: text}}
    yield "POST", "/datavault/query", {"collection": "c", "filters": {"a": {"$regex": text}}}
    yield "POST", "/datavault/query", {"collection": "c", "cursor": text}
    yield "PUT", "/alerts", {"email": text}
    yield "PUT", "/alerts/webhook", {"url": text}
    yield "PUT", "/alerts/webhook", {"url": f"https://{text}/"}
    yield "PUT", "/budget", {"action": text}
    yield "POST", "/subscription", {"action": text, "tier": text}


def queries(text: str) -> Iterator[tuple[str, str]]:
    """Yield an address for each place in it that takes a text."""
    each = quote(text, safe="")
    for name in ("granularity", "from", "to", "by"):
        yield "GET", f"/usage/history?{name}={each}"
    yield "GET", f"/datavault?collection={each}&key={each}"
    yield "GET", f"/api/billing/history?cursor={each}"
    yield "GET", f"/alerts/webhook/deliveries?cursor={each}"
    for path in (
        "/requests/",
        "/api/billing/history/",
        "/alerts/webhook/deliveries/",
        "/v1/models/",
    ):
        yield "GET", f"{path}{quote(text.replace('/', ''), safe='') or 'x'}"


def assert_sound(response: httpx.Response) -> None:
    """It is an answer or a refusal in its envelope, and carries no header of the sender's."""
    assert response.status_code < 500, response.text
    assert "x-injected" not in response.headers
    assert all("\n" not in value and "\r" not in value for value in response.headers.values())
    if response.status_code >= 400:
        assert "error" in response.json()


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: repr(text[:24]))
def test_a_text_in_any_field_is_refused_or_kept_and_breaks_nothing(
    api: httpx.Client, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for method, path, body in bodies(text):
        assert_sound(api.request(method, path, json=body))
    lines = [line for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert lines, "the log was not seen"
    for line in lines:
        record = json.loads(line)
        assert record.get("level") in {None, "DEBUG", "INFO", "WARNING"}, line


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: repr(text[:24]))
def test_a_text_in_any_address_is_refused_or_finds_nothing(api: httpx.Client, text: str) -> None:
    for method, path in queries(text):
        assert_sound(api.request(method, path))


def test_no_two_names_of_a_conversation_are_one(api: httpx.Client) -> None:
    sessions: dict[str, tuple[str, str]] = {}
    kept = 0
    for agent in ("a", "a#b", "a/b", "a|b", "A", "a%23b"):
        for conversation_id in ("b", "b#c", "#b", "b|c", "B"):
            body = {"agent": agent, "conversation_id": conversation_id, "message": "Hi"}
            answer = api.post("/chat", json=body)
            assert_sound(answer)
            if answer.status_code == 200:
                kept += 1
                place = (agent, conversation_id)
                assert sessions.setdefault(answer.json()["session"]["id"], place) == place
    assert kept == len(sessions) >= 20


def test_no_two_keys_of_the_vault_are_one(api: httpx.Client) -> None:
    places = [(c, k) for c in ("c", "c#d", "C", "c.d") for k in ("k", "k#1", "#k", "K", "k/1")]
    kept = {}
    for number, (collection, key) in enumerate(places):
        stored = api.post(
            "/datavault", json={"collection": collection, "key": key, "data": {"n": number}}
        )
        assert_sound(stored)
        if stored.status_code < 300:
            kept[collection, key] = number
    assert len(kept) >= 8
    for (collection, key), number in kept.items():
        found = api.get("/datavault", params={"collection": collection, "key": key})
        assert found.json()["data"] == [{"n": number}]


@pytest.mark.parametrize("number", NUMBERS)
def test_a_number_that_is_none_is_refused(api: httpx.Client, number: str) -> None:
    for method, path, name in (
        ("POST", "/chat", "max_tokens"),
        ("POST", "/chat", "temperature"),
        ("PUT", "/budget", "monthly_ceiling"),
        ("PUT", "/budget", "session_turn_cap"),
        ("POST", "/datavault/query", "limit"),
    ):
        body = f'{{"agent": "a", "message": "Hi", "collection": "c", "{name}": {number}}}'
        headers = {"Content-Type": "application/json"}
        assert_sound(api.request(method, path, content=body, headers=headers))


@pytest.mark.parametrize(
    "content",
    [DEEP, "[" * 100_000, "", "{", "\ud800x"],
    ids=["deep object", "deep list", "nothing", "half", "half a character"],
)
def test_a_body_that_is_no_sound_json_is_refused(api: httpx.Client, content: str) -> None:
    for method, path in (
        ("POST", "/chat"),
        ("POST", "/invoke"),
        ("POST", "/v1/chat/completions"),
        ("POST", "/datavault"),
        ("POST", "/datavault/query"),
        ("PUT", "/alerts"),
        ("PUT", "/budget"),
        ("POST", "/subscription"),
    ):
        response = api.request(
            method,
            path,
            content=content.encode("utf-8", "surrogatepass"),
            headers={"Content-Type": "application/json"},
        )
        assert_sound(response)
        assert 400 <= response.status_code < 500


@pytest.mark.parametrize("value", ["a\tb", "x" * 10_000, "'; DROP TABLE", "key\u0000"])
def test_an_idempotency_key_of_any_kind_breaks_nothing(api: httpx.Client, value: str) -> None:
    for path, body in (
        ("/chat", {"agent": "a", "message": "Hi"}),
        ("/datavault", {"collection": "c", "data": {"a": 1}}),
    ):
        headers = {b"Idempotency-Key": value.encode()}
        assert_sound(api.post(path, json=body, headers=headers))
