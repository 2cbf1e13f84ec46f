"""Every deployed route, asked by everybody who must not have it.

The customers' routes are read from the gateway itself and the operators' from the documentation,
which another test holds to the code: no new route can be forgotten here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest
from botocore.credentials import Credentials

from flowstack_admin.client import AdminClient
from flowstack_admin.failures import RefusedError
from tests.integration.conftest import Customer, Stack
from tests.support.emulator import REGION, ROOT

PUBLIC = {"/health", "/pricing", "/openapi.json", "/console", "/console/{version}/{name}"}
SIGNED_BY_STRIPE = "/webhooks/stripe"
OPENAI = (("POST", "/v1/chat/completions"), ("GET", "/v1/models"), ("GET", "/v1/requests/req_1"))
ADMIN = re.compile(r"^\| `([A-Z]+) (/admin/[^`]+)` \|", re.MULTILINE)
NAMES = {"period": "2026-11", "provider": "openai", "collection": "notes"}


@dataclass(frozen=True)
class Caller:
    """Somebody with the wrong proof, as headers and query."""

    name: str
    headers: dict[str, str]
    query: str = ""


def filled(path: str, **names: str) -> str:
    """Return a path with a value for each of its names."""
    given = {**NAMES, **names}
    return re.sub(r"{(\w+)}", lambda name: given.get(name[1], f"{name[1]}_1"), path)


@pytest.fixture(scope="module")
def keyed_routes(deployed: Stack) -> list[tuple[str, str]]:
    """Method and path of every route for customers that the gateway has."""
    client = deployed.client("apigateway")
    found = list(OPENAI)
    (api,) = client.get_rest_apis()["items"]
    for resource in client.get_resources(restApiId=api["id"], limit=500, embed=["methods"])[
        "items"
    ]:
        path = resource["path"]
        if path in PUBLIC or path == SIGNED_BY_STRIPE or "{proxy+}" in path:
            continue
        methods = resource.get("resourceMethods", {})
        found += [(method, filled(path)) for method in methods if method != "OPTIONS"]
    assert ("POST", "/invoke") in found
    return found


def admin_routes(customer: Customer) -> Iterator[tuple[str, str]]:
    """Yield method and path of every route for operators, about a customer that there is."""
    page = (ROOT / "docs/api.md").read_text(encoding="utf-8")
    for method, path in ADMIN.findall(page):
        yield method, filled(path, customer_id=customer.customer_id)


def strangers(stack: Stack, customer: Customer) -> Iterator[Caller]:
    """Yield everybody whose proof is none."""
    keys = f"/admin/customers/{customer.customer_id}/keys"
    revoked = stack.admin.post(keys, {"name": "revoked"})["key"]
    stack.admin.delete(f"{keys}/{revoked['key_id']}")
    wrong = {
        "a mistyped": customer.key[:-1] + ("a" if customer.key[-1] != "a" else "b"),
        "an invented": "fs_" + "A" * 43,
        "a revoked": revoked["text"],
        "a cut": customer.key[:12],
    }
    yield Caller("nobody", {})
    for name, key in wrong.items():
        yield Caller(f"{name} key", {"X-API-Key": key})
        yield Caller(f"{name} bearer key", {"Authorization": f"Bearer {key}"})
    yield Caller("a key in the address", {}, f"?api_key={customer.key}&X-API-Key={customer.key}")
    yield Caller("a key under another name", {"Api-Key": customer.key, "Cookie": customer.key})
    yield Caller("a key as a password", {"Authorization": f"Basic {customer.key}"})
    yield Caller("only a claim", {"customer_id": customer.customer_id, "X-Customer-Id": "cus_1"})


def test_no_stranger_has_any_customer_s_route(
    stack: Stack, keyed_routes: list[tuple[str, str]]
) -> None:
    customer = stack.customer()
    for caller in strangers(stack, customer):
        client = stack.anonymous(**caller.headers)
        for method, path in keyed_routes:
            response = client.request(method, path + caller.query, json={})
            assert response.status_code == 401, (caller.name, method, path, response.text)
    stack.assert_exact(customer, 0)


def test_a_key_opens_only_the_door_that_reads_its_header(
    stack: Stack, keyed_routes: list[tuple[str, str]]
) -> None:
    customer = stack.customer()
    own = stack.anonymous(**{"X-API-Key": customer.key})
    bearer = stack.anonymous(Authorization=f"Bearer {customer.key}")
    for method, path in keyed_routes:
        right, wrong = (bearer, own) if path.startswith("/v1/") else (own, bearer)
        refused = wrong.request(method, path, json={})
        assert refused.status_code == 401, (method, path, refused.text)
        allowed = right.request(method, path, json={})
        assert allowed.status_code in {200, 400, 404, 409}, (method, path, allowed.text)
    stack.assert_exact(customer, 0)


def test_no_customer_has_any_operator_s_route(stack: Stack) -> None:
    """Whatever the gateway makes of it, nothing is done: on AWS it asks IAM before us."""
    customer = stack.customer()
    before = stack.admin.get(f"/admin/customers/{customer.customer_id}/audit-trail")
    callers = (stack.anonymous(), customer.http, stack.anonymous(Authorization=customer.key))
    for method, path in admin_routes(customer):
        for client in callers:
            response = client.request(method, path, json={"name": "Eve", "tier": "enterprise"})
            assert response.status_code in {401, 403, 404}, (method, path, response.text)
            assert "error_code" in response.json()
    assert stack.admin.get(f"/admin/customers/{customer.customer_id}/audit-trail") == before


def test_an_operator_is_no_customer(stack: Stack, keyed_routes: list[tuple[str, str]]) -> None:
    with httpx.Client(verify=stack.tls, trust_env=False, timeout=30) as http:
        operator = AdminClient(
            stack.connection.preferred_url, REGION, Credentials("test", "test"), http
        )
        for method, path in keyed_routes:
            if method in {"GET", "DELETE"}:
                ask = operator.get if method == "GET" else operator.delete
                with pytest.raises(RefusedError) as refused:
                    ask(path)
                assert refused.value.error_code == "UNAUTHORIZED", (method, path)


@pytest.mark.parametrize(
    "path",
    [
        "/%2e%2e/admin/customers",
        "/usage/../admin/customers",
        "/usage/%2e%2e/admin/customers",
        "//admin/customers",
        "/admin%2fcustomers",
        "/ADMIN/customers",
        "/usage;/admin/customers",
        "/v1/../admin/customers",
        "/v1/%2e%2e/usage",
        "/usage%00",
        "/usage/",
    ],
)
def test_a_crooked_path_leads_nowhere_new(stack: Stack, path: str) -> None:
    customer = stack.customer()
    # A client that makes paths straight would ask for something else.
    raw = httpx.URL(stack.connection.preferred_url)
    url = raw.copy_with(raw_path=raw.raw_path.rstrip(b"/") + path.encode())
    for headers in ({}, {"X-API-Key": customer.key}, {"Authorization": f"Bearer {customer.key}"}):
        response = stack.anonymous().get(url, headers=headers)
        if path.rstrip("/") == "/usage" and "X-API-Key" in headers:
            assert response.status_code in {200, 403, 404}
        else:
            assert response.status_code in {400, 401, 403, 404}, (path, response.text)
        assert "customers" not in response.json()


def test_what_one_customer_has_the_other_does_not_find(stack: Stack) -> None:
    owner, other = stack.customer("professional"), stack.customer("professional")
    canary = "canary-of-the-owner"
    owner.http.post("/datavault", json={"collection": "notes", "key": "k", "data": {"t": canary}})
    owner.chat(canary)
    accepted = owner.chat(canary, "later", headers={"Prefer": "respond-async"})
    owner.http.post(
        "/api/byok-credentials",
        json={"provider": "openai", "credentials": {"api_key": f"sk-{canary}-0123456789"}},
    )
    request = accepted.json()["request_id"]
    asked = [
        other.http.get("/datavault", params={"collection": "notes", "key": "k"}),
        other.http.post("/datavault/query", json={"collection": "notes"}),
        other.http.get("/datavault/collections"),
        other.http.get(f"/requests/{request}"),
        stack.anonymous(Authorization=f"Bearer {other.key}").get(f"/v1/requests/{request}"),
        other.http.get("/api/byok-credentials"),
        other.http.get("/usage"),
        other.http.get("/subscription"),
        other.http.get("/api/billing/history"),
        other.http.delete("/datavault", params={"collection": "notes", "key": "k"}),
        other.http.delete("/api/byok-credentials/openai"),
        other.chat("What did I say?"),
    ]
    for response in asked:
        assert canary not in response.text
        assert owner.customer_id not in response.text
    assert owner.http.get("/datavault", params={"collection": "notes", "key": "k"}).json()["data"]
    assert owner.http.get("/api/byok-credentials").json()["credentials"]
    assert all(canary not in str(call) for call in stack.bedrock.calls("What did I say?"))
