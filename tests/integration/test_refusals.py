"""Bad requests over HTTPS: the gateway and the functions refuse in one envelope."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.integration.conftest import Customer, Stack

GOOD = {
    "provider": "bedrock",
    "model": "claude-haiku-4-5",
    "messages": [{"role": "user", "content": "Hello"}],
}


def assert_envelope(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """Every failure has the same shape."""
    assert response.status_code == status, response.text
    body: dict[str, Any] = response.json()
    assert body["error_code"] == code
    assert body["error"]
    assert isinstance(body["details"], dict)
    assert body["request_id"]
    return body


@pytest.fixture
def customer(stack: Stack) -> Customer:
    """A starter."""
    return stack.customer()


@pytest.mark.parametrize("path", ["/usage", "/tier-info"])
def test_no_key_is_401(stack: Stack, path: str) -> None:
    assert_envelope(stack.anonymous().get(path), 401, "UNAUTHORIZED")
    assert_envelope(stack.anonymous().post("/invoke", json=GOOD), 401, "UNAUTHORIZED")


@pytest.mark.parametrize("key", ["fs_wrong", "sk-123", "fs_" + "0" * 39, "Bearer x", "'; --"])
def test_a_key_that_is_none_is_401(stack: Stack, key: str) -> None:
    client = stack.anonymous(**{"X-API-Key": key})
    assert_envelope(client.post("/invoke", json=GOOD), 401, "UNAUTHORIZED")


def test_a_mistyped_key_is_401(stack: Stack, customer: Customer) -> None:
    typo = customer.key[:-1] + ("a" if customer.key[-1] != "a" else "b")
    assert_envelope(stack.anonymous(**{"X-API-Key": typo}).get("/usage"), 401, "UNAUTHORIZED")


def test_a_revoked_key_is_401(stack: Stack, customer: Customer) -> None:
    issued = stack.admin.post(f"/admin/customers/{customer.customer_id}/keys", {"name": "second"})
    path = f"/admin/customers/{customer.customer_id}/keys/{issued['key']['key_id']}"
    stack.admin.delete(path)
    client = stack.anonymous(**{"X-API-Key": issued["key"]["text"]})
    assert_envelope(client.get("/usage"), 401, "UNAUTHORIZED")
    assert customer.http.get("/usage").status_code == 200


def test_an_unknown_path_is_404(stack: Stack, customer: Customer) -> None:
    assert_envelope(customer.http.get("/nowhere"), 404, "NOT_FOUND")
    assert_envelope(customer.http.delete("/usage"), 404, "NOT_FOUND")


def test_the_admin_api_is_closed_to_customers(stack: Stack, customer: Customer) -> None:
    for client in (stack.anonymous(), customer.http):
        response = client.post("/admin/customers", json={"name": "Eve", "tier": "enterprise"})
        assert response.status_code in {401, 403, 404}
        assert set(response.json()) >= {"error", "error_code", "details", "request_id"}


def test_bad_bodies_are_refused_and_count_nothing(stack: Stack, customer: Customer) -> None:
    json_type = {"Content-Type": "application/json"}
    post = customer.http.post
    assert_envelope(
        post("/invoke", content=json.dumps(GOOD), headers={"Content-Type": "text/plain"}),
        415,
        "UNSUPPORTED_MEDIA_TYPE",
    )
    assert_envelope(post("/invoke", content="{", headers=json_type), 400, "INVALID_REQUEST")
    deep = '{"messages":' + "[" * 500 + "]" * 500 + "}"
    assert_envelope(post("/invoke", content=deep, headers=json_type), 400, "INVALID_REQUEST")
    huge = {**GOOD, "messages": [{"role": "user", "content": "a" * 1_000_000}]}
    assert_envelope(post("/invoke", json=huge), 413, "PAYLOAD_TOO_LARGE")
    assert_envelope(customer.invoke(messages=[]), 400, "INVALID_REQUEST")
    assert_envelope(customer.invoke(provider="acme"), 400, "INVALID_PROVIDER")
    unknown = assert_envelope(customer.invoke(model="claude-9"), 400, "MODEL_NOT_AVAILABLE")
    assert unknown["details"]["nearest"]
    assert_envelope(customer.invoke(temperature=9), 400, "INVALID_REQUEST")
    assert_envelope(customer.invoke("new\nline"), 400, "INVALID_REQUEST")
    assert_envelope(customer.chat(""), 400, "INVALID_REQUEST")
    stack.assert_exact(customer, 0)


def test_emoji_survive_the_whole_way(stack: Stack, customer: Customer) -> None:
    text = "👩‍🚀 emoji-marker žluťoučký 猫"
    answer = customer.chat(text, "розмова 🐈")
    assert answer.status_code == 200
    assert text in answer.json()["content"]
    assert answer.json()["session"]["conversation_id"] == "розмова 🐈"


def test_the_public_paths_need_no_key(stack: Stack) -> None:
    client = stack.anonymous()
    assert client.get("/health").json()["status"] == "ok"
    plans = client.get("/pricing").json()["plans"]
    assert [plan["sessions_per_month"] for plan in plans] == [25, 1000, 10000, 100000]
    assert client.get("/openapi.json").json()["openapi"].startswith("3.")
