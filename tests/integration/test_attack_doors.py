"""Tricks with headers and paths, on the deployed stack.

A request is one customer's or nobody's: never somebody else's, whatever it says beside its key, and
whatever the gateway still knows of requests before it. Slow readers and writers, and requests that
never end, are API Gateway's: it hands a request on when it has all of it.
"""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.integration.conftest import Customer, Stack
from tests.integration.test_authorization_matrix import ADMIN, filled
from tests.support.emulator import ROOT

OWN = "/datavault/collections"
BEARER = "/v1/models"
LONG = "x" * 10_000


@pytest.fixture
def two(stack: Stack) -> tuple[Customer, Customer]:
    """Two customers, each with a collection that is named after it."""
    both = stack.customer("enterprise"), stack.customer("enterprise")
    for customer in both:
        document = {"collection": customer.customer_id, "key": "k", "data": {}}
        assert customer.http.post("/datavault", json=document).status_code == 200
    return both


def names(response: httpx.Response) -> list[str]:
    """Return whose collections were listed."""
    assert response.status_code == 200, response.text
    found: list[str] = response.json()["names"]
    return found


def test_of_two_kinds_of_keys_each_door_looks_at_its_own(
    stack: Stack, two: tuple[Customer, Customer]
) -> None:
    ada, eve = two
    http = stack.anonymous()
    for _ in range(2):  # the second time from what the gateway has kept
        for own, other in ((ada, eve), (eve, ada)):
            headers = {"X-API-Key": own.key, "Authorization": f"Bearer {other.key}"}
            assert names(http.get(OWN, headers=headers)) == [own.customer_id]
            said = http.post(
                "/v1/chat/completions",
                json={
                    "model": "claude-haiku-4-5",
                    "messages": [{"role": "user", "content": "Hi"}],
                    "user": "both",
                },
                headers=headers,
            )
            assert said.status_code == 200, said.text
    # One session each: the bearer's, whose requests carried the other one's key too.
    for customer in two:
        stack.assert_exact(customer, 1)


def test_a_key_that_comes_twice_is_nobody_s_and_spoils_nobody_s(
    stack: Stack, two: tuple[Customer, Customer]
) -> None:
    ada, eve = two
    http = stack.anonymous()
    for headers in (
        [("X-API-Key", ada.key), ("X-API-Key", eve.key)],
        [("X-API-Key", eve.key), ("x-api-key", ada.key)],
        [("X-API-Key", f"{ada.key}, {eve.key}")],
        [("X-API-Key", ada.key), ("X-API-Key", ada.key)],
    ):
        assert http.get(OWN, headers=headers).status_code == 401, headers
        for customer in two:
            assert names(customer.http.get(OWN)) == [customer.customer_id]


@pytest.mark.parametrize("header", ["x-api-key", "X-API-KEY", "x-Api-kEy"])
def test_a_header_s_case_changes_nothing(
    header: str, stack: Stack, two: tuple[Customer, Customer]
) -> None:
    for customer in two:
        found = stack.anonymous().get(OWN, headers={header: customer.key})
        assert names(found) == [customer.customer_id]


def disguised(key: str) -> Iterator[str]:
    """Yield what looks like a key."""
    yield from (key[:-1], key[1:], key * 2, key.upper(), f"{key}{LONG}", LONG, f"fs_{LONG}")
    yield from (f"{key},", f"{key}%00", f"{key}\t x", f'"{key}"', f"Bearer {key}", f"{key};a=b")
    yield from ("*", "undefined", "null", "[object Object]", "fs_", "0", "../", "${key}")


def test_what_looks_like_a_key_opens_nothing(stack: Stack) -> None:
    customer = stack.customer()
    http = stack.anonymous()
    for text in disguised(customer.key):
        refused = http.get("/usage", headers={"X-API-Key": text})
        assert refused.status_code == 401, (text[:60], refused.text)
        assert refused.json()["error_code"] == "UNAUTHORIZED"
        assert http.get(BEARER, headers={"Authorization": f"Bearer {text}"}).status_code == 401


def test_nothing_that_a_request_says_makes_it_somebody_else_s(
    stack: Stack, two: tuple[Customer, Customer]
) -> None:
    ada, eve = two
    claims = {
        "X-Customer-Id": eve.customer_id,
        "customer_id": eve.customer_id,
        "X-Tier": "free",
        "X-Amzn-RequestId": "4f2b8c1e-0000-4000-8000-000000000000",
        "Cookie": eve.key,
        "X-Amz-Invocation-Type": "Event",
        "X-Amz-Client-Context": "e30=",
        "Host-Override": "x",
        "X-Forwarded-For": "127.0.0.1",
        "X-Forwarded-Prefix": "/admin",
        "Forwarded": "for=x",
        "X-Original-URL": "/admin/customers",
        "X-Rewrite-URL": "/admin/customers",
        "X-HTTP-Method-Override": "DELETE",
        "X-HTTP-Method": "PUT",
        "_method": "DELETE",
    }
    query = {"customer_id": eve.customer_id, "principalId": eve.customer_id, "_method": "DELETE"}
    for name, value in claims.items():
        found = ada.http.get(OWN, headers={name: value}, params=query)
        assert names(found) == [ada.customer_id], name
    for name in ("customer_id", "tier", "requestContext", "authorizer"):
        refused = ada.http.post("/datavault/query", json={"collection": "c", name: eve.customer_id})
        assert refused.status_code == 400
    assert names(ada.http.get(OWN)) == [ada.customer_id]
    assert names(eve.http.get(OWN)) == [eve.customer_id]


def crooked(path: str) -> Iterator[str]:
    """Yield ways of writing a path that some servers take for it."""
    _, first, *rest = path.split("/")
    behind = "/".join(["", *rest])
    yield from (f"//{first}{behind}", f"/./{first}{behind}", f"/x/../{first}{behind}")
    yield from (f"/%2f{first}{behind}", f"/%2e/{first}{behind}", f"/x/%2e%2e/{first}{behind}")
    yield from (
        f"/usage/../{first}{behind}",
        f"/usage/..%2f{first}{behind}",
        f"{path}/",
        f"{path}//",
    )
    yield from (
        f"/{first.upper()}{behind}",
        f"{path};a=b",
        f"{path}%00",
        f"{path}%20",
        f"{path}.json",
    )
    yield from (f"/v1/../{first}{behind}", f"/v1/..%2f{first}{behind}", f"/console/..%2f{first}")
    yield from (
        f"/health/../{first}{behind}",
        f"/health%2f..%2f{first}{behind}",
        f"{path}%3f/health",
    )
    yield from (f"/%{ord(first[0]):02x}{first[1:]}{behind}", f"/\\{first}{behind}", f"{path}%23")


def test_no_way_of_writing_a_path_gets_past_its_door(stack: Stack) -> None:
    """Without a key nothing is answered that a key is for; with one, nothing that IAM is for."""
    customer = stack.customer("enterprise")
    raw = httpx.URL(stack.connection.preferred_url)
    page = (ROOT / "docs/api.md").read_text(encoding="utf-8")
    operators = {filled(path, customer_id=customer.customer_id) for _, path in ADMIN.findall(page)}
    keyed = ("/usage", "/subscription", "/alerts", "/api/byok-credentials", OWN, BEARER)
    http = stack.anonymous()
    for path, headers in (
        *((path, {}) for path in keyed),
        *((path, {"X-API-Key": customer.key}) for path in sorted(operators)[:6]),
        *((path, {"Authorization": f"Bearer {customer.key}"}) for path in sorted(operators)[:2]),
    ):
        for written in crooked(path):
            url = raw.copy_with(raw_path=raw.raw_path.rstrip(b"/") + written.encode())
            answer = http.get(url, headers=headers)
            assert answer.status_code in {400, 401, 403, 404}, (written, answer.text)
            assert customer.customer_id not in answer.text


def test_what_is_long_is_refused_and_breaks_nothing(stack: Stack) -> None:
    customer = stack.customer("enterprise")
    for response in (
        customer.http.get(f"/requests/{LONG[:5_000]}"),
        customer.http.get("/usage/history", params={"from": LONG[:5_000]}),
        customer.http.get("/datavault", params={"collection": LONG[:2_000], "key": LONG[:2_000]}),
        customer.http.post("/chat", json={"agent": LONG, "message": "Hi"}),
        customer.http.post("/chat", content=b"[" * 100_000, headers=JSON),
        customer.http.post("/chat", content=b'{"a":' * 100_000, headers=JSON),
        customer.http.post(
            "/datavault", content=b'{"data": {"t": "' + b"x" * 1_000_001, headers=JSON
        ),
        customer.http.post("/invoke", headers={"Idempotency-Key": LONG[:2_000]}, json={}),
    ):
        assert response.status_code in {400, 404, 413}, response.text[:300]
        assert response.json()["error_code"] in {
            "INVALID_REQUEST",
            "NOT_FOUND",
            "PAYLOAD_TOO_LARGE",
        }
    many = {f"X-Header-{number}": "v" for number in range(80)}
    assert customer.http.get("/usage", headers=many).status_code == 200
    stack.assert_exact(customer, 0)


JSON = {"Content-Type": "application/json"}


def test_a_body_is_accepted_up_to_its_limit_and_not_a_byte_further(stack: Stack) -> None:
    customer = stack.customer("enterprise")
    around = len('{"collection":"c","key":"k","data":{"t":""}}')

    def store(size: int) -> httpx.Response:
        body = f'{{"collection":"c","key":"k","data":{{"t":"{"x" * (size - around)}"}}}}'
        assert len(body) == size
        return customer.http.post("/datavault", content=body, headers=JSON)

    assert store(300_000).status_code == 200
    at, over = store(1_000_000), store(1_000_001)
    assert (over.status_code, over.json()["error_code"]) == (413, "PAYLOAD_TOO_LARGE")
    assert over.json()["details"]["maximum"] == 1_000_000
    # The body itself is fine; what is stored of it has a limit of its own.
    assert at.status_code in {200, 413}
    if at.status_code == 413:
        assert at.json()["details"]["maximum"] < 1_000_000
