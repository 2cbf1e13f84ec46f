"""Hostile names on the deployed stack: what they are kept under never meets, and nothing breaks."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.attack.hostile import TEXTS
from tests.attack.test_cursors import forged
from tests.integration.conftest import Stack, wait_until
from tests.support.traces import Traces

NAMES = [name for name, text in TEXTS.items() if len(text) < 300]


def test_hostile_names_are_kept_apart_or_refused(stack: Stack) -> None:
    customer = stack.customer("enterprise")
    conversations: set[str] = set()
    documents: dict[tuple[str, str], int] = {}

    def post(path: str, **body: Any) -> httpx.Response:
        # As ASCII: half a pair of UTF-16 can be escaped in JSON, and not be encoded by itself.
        headers = {"Content-Type": "application/json"}
        return customer.http.post(path, content=json.dumps(body), headers=headers)

    def try_(number: int) -> None:
        text = TEXTS[NAMES[number]]
        said = post("/chat", agent=text, conversation_id=text, message="Hi")
        assert said.status_code in {200, 400}, (NAMES[number], said.text)
        if said.status_code == 200:
            conversations.add(text)
        for collection, key in ((text, "k"), ("c", text)):
            stored = post("/datavault", collection=collection, key=key, data={"n": number})
            assert stored.status_code in {200, 400}, (NAMES[number], stored.text)
            if stored.status_code == 200:
                documents[collection, key] = number

    spread(try_)
    assert len(conversations) > 30
    assert len(documents) > 60
    stack.assert_exact(customer, len(conversations))
    for (collection, key), number in documents.items():
        found = customer.http.post(
            "/datavault/query", json={"collection": collection, "filter": {"n": number}}
        )
        assert {"n": number} in found.json()["data"], (collection, key)
    listed = customer.http.get("/datavault/collections").json()["names"]
    assert set(listed) >= {"c"}
    wait_until(lambda: stack.audit(customer)["rollups"]["sessions"] == len(conversations), 60)
    lines = list(Traces(stack.connection, stack.emulator_log).logged())
    assert lines
    for line in lines:
        assert b"cus_forged" not in line
        if line.startswith(b"{"):
            json.loads(line)


def spread(call: Callable[[int], None]) -> None:
    """Call it with the number of every name, eight at a time."""
    with ThreadPoolExecutor(8) as threads:
        for _ in threads.map(call, range(len(NAMES))):
            continue


def test_hostile_addresses_find_nothing_and_break_nothing(stack: Stack) -> None:
    customer = stack.customer("enterprise")

    def try_(number: int) -> None:
        text = TEXTS[NAMES[number]]
        if not text.strip() or any("\ud800" <= one <= "\udfff" for one in text):
            return
        for path, query in (
            ("/datavault", {"collection": text}),
            ("/datavault", {"collection": "c", "key": text}),
            ("/datavault", {"collection": "c", "cursor": text}),
            ("/datavault/collections", {"cursor": text}),
            ("/alerts/webhook/deliveries", {"cursor": text}),
            ("/api/billing/history", {"cursor": text}),
            ("/usage/history", {"from": text}),
        ):
            found = customer.http.get(path, params=query)
            assert found.status_code in {200, 400, 404}, (path, NAMES[number], found.text)

    spread(try_)


@pytest.mark.parametrize("key", ["", "\ud800", "x" * 2_000, "\0"])
def test_a_made_cursor_is_refused_before_it_is_looked_for(key: str, stack: Stack) -> None:
    customer = stack.customer()
    for body, request in (
        ({"collection": "c"}, ["find", "c", {}, None]),
        ({"collection": "c", "operation": "clear"}, ["clear", "c"]),
    ):
        position = (key,) if request[0] == "find" else ("2026-11-24T00:00:00+00:00", key)
        sent = {**body, "cursor": forged(request, *position)}
        method, path = ("POST", "/datavault/query") if len(body) == 1 else ("DELETE", "/datavault")
        refused = customer.http.request(method, path, json=sent)
        assert refused.status_code == 400, refused.text
        assert refused.json()["details"]["field"] == "cursor"
