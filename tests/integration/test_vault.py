"""The vault over HTTPS on the deployed stack."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import Any

import pytest

from tests.integration.conftest import Customer, Stack
from tests.integration.test_refusals import assert_envelope
from tests.support.faulty_dynamodb import Faults


@pytest.fixture
def customer(stack: Stack) -> Customer:
    """A starter."""
    return stack.customer()


def store(customer: Customer, data: Any, key: str | None = None, **fields: Any) -> dict[str, Any]:
    headers = fields.pop("headers", {})
    body = {"collection": "c", "data": data, **fields}
    response = customer.http.post(
        "/datavault", json=body if key is None else {**body, "key": key}, headers=headers
    )
    assert response.status_code == 200, response.text
    document: dict[str, Any] = response.json()
    return document


def get(customer: Customer, key: str) -> list[Any]:
    response = customer.http.get("/datavault", params={"collection": "c", "key": key})
    assert response.status_code == 200, response.text
    data: list[Any] = response.json()["data"]
    return data


def query(customer: Customer, **fields: Any) -> dict[str, Any]:
    response = customer.http.post("/datavault/query", json={"collection": "c", **fields})
    assert response.status_code == 200, response.text
    document: dict[str, Any] = response.json()
    return document


def test_every_operation_over_https_counts_nothing(stack: Stack, customer: Customer) -> None:
    http = customer.http
    for path in ("/datavault", "/datavault/"):
        body = {"collection": "c", "key": "k", "data": {"n": 1, "text": "🐈"}, "operation": "store"}
        assert http.post(path, json=body).json()["key"] == "k"
        ask = {"collection": "c", "operation": "retrieve", "key": "k"}
        assert http.get(path, params=ask).json()["data"] == [{"n": 1, "text": "🐈"}]
        change = {"collection": "c", "key": "k", "updates": {"n": 2}, "operation": "update"}
        assert http.put(path, json=change).json()["success"] is True
        found = {"collection": "c", "filter": json.dumps({"n": {"$gte": 2}})}
        assert http.get(path, params=found).json()["data"] == [{"n": 2, "text": "🐈"}]
        counting = {"collection": "c", "operation": "count"}
        assert http.get(path, params=counting).json()["count"] == 1
        delete = {"collection": "c", "key": "k", "operation": "delete"}
        assert http.request("DELETE", path, json=delete).json()["success"] is True
        assert http.request("DELETE", path, json=delete).json()["success"] is False
    for number in range(5):
        store(customer, {"n": number}, f"k{number}")
    assert [d["n"] for d in query(customer, sort=[["n", -1]], limit=2)["data"]] == [4, 3]
    count = {"collection": "c", "filter": {"n": {"$in": [1, 2]}}}
    assert http.post("/datavault/count", json=count).json()["count"] == 2
    assert http.get("/datavault/collections").json()["names"] == ["c"]
    clear = {"collection": "c", "operation": "clear"}
    assert http.request("DELETE", "/datavault", json=clear).json()["deleted"] == 5
    assert http.get("/datavault/collections").json()["names"] == []
    assert http.get("/datavault/health").json() == {"status": "ok"}
    stack.assert_exact(customer, 0)


def test_q2_the_vault_is_open_at_the_limit(stack: Stack) -> None:
    customer = stack.customer("enterprise", session_limit=1)
    assert customer.invoke("first").status_code == 200
    assert_envelope(customer.invoke("second"), 429, "QUOTA_EXCEEDED")
    store(customer, {"n": 1}, "k")
    assert get(customer, "k") == [{"n": 1}]
    stack.assert_exact(customer, 1)


def test_no_key_no_vault(stack: Stack) -> None:
    anonymous = stack.anonymous()
    assert_envelope(anonymous.get("/datavault?collection=c"), 401, "UNAUTHORIZED")
    body = {"collection": "c", "data": {}}
    assert_envelope(anonymous.post("/datavault", json=body), 401, "UNAUTHORIZED")


def test_another_customer_s_documents_are_out_of_reach(stack: Stack, customer: Customer) -> None:
    store(customer, {"secret": 1}, "k")
    thief = stack.customer()
    for collection in (
        "c",
        f"{customer.customer_id}#c",
        "../c",
        f"DOCUMENTS#{customer.customer_id}",
    ):
        for key in ("k", "c#k", f"{customer.customer_id}#c#k"):
            asked = thief.http.get("/datavault", params={"collection": collection, "key": key})
            assert asked.json()["data"] == []
        assert thief.http.get("/datavault", params={"collection": collection}).json()["data"] == []
        clear = {"collection": collection, "operation": "clear"}
        assert thief.http.request("DELETE", "/datavault", json=clear).json()["deleted"] == 0
    assert thief.http.get("/datavault/collections").json()["names"] == []
    assert get(customer, "k") == [{"secret": 1}]


def test_numbers_and_texts_survive_the_whole_way(customer: Customer) -> None:
    text = '{"a":-0.0,"b":1e+308,"c":123456789012345678901234567890,"d":"\\u0000\\ud83d\\udc08"}'
    body = f'{{"collection":"c","key":"k","data":{text}}}'
    headers = {"Content-Type": "application/json"}
    assert customer.http.post("/datavault", content=body, headers=headers).status_code == 200
    assert json.dumps(get(customer, "k")[0], separators=(",", ":")) == text


def test_what_is_too_large_is_413(customer: Customer) -> None:
    body = {"collection": "c", "key": "k", "data": {"text": Random(1).randbytes(450_000).hex()}}
    refused = assert_envelope(customer.http.post("/datavault", json=body), 413, "PAYLOAD_TOO_LARGE")
    assert refused["details"]["maximum"] == 400_000
    body = {"collection": "c", "key": "k", "data": {"text": "x" * 1_000_000}}
    assert_envelope(customer.http.post("/datavault", json=body), 413, "PAYLOAD_TOO_LARGE")
    assert get(customer, "k") == []
    largest = {"text": Random(1).randbytes(345_000).hex()}
    store(customer, largest, "k")
    assert get(customer, "k") == [largest]


def test_an_answer_that_does_not_fit_is_413_or_pages(customer: Customer) -> None:
    for number in range(7):
        store(customer, {"n": number, "text": "x" * 900_000}, f"k{number}")
    whole = customer.http.get("/datavault", params={"collection": "c"})
    assert_envelope(whole, 413, "QUERY_TOO_LARGE")
    first = query(customer, limit=100)
    second = query(customer, limit=100, cursor=first["next_cursor"])
    assert [d["n"] for d in first["data"] + second["data"]] == list(range(7))
    assert second["next_cursor"] is None


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|a)*b", "(.*a){20}$"])
def test_a_hostile_pattern_cannot_hang_the_function(customer: Customer, pattern: str) -> None:
    store(customer, {"text": "a" * 100_000 + "!"}, "k")
    began = time.monotonic()
    assert query(customer, filter={"text": {"$regex": pattern}})["data"] == []
    assert time.monotonic() - began < 15


def test_an_expired_document_is_gone_by_the_test_clock(stack: Stack, customer: Customer) -> None:
    store(customer, {"n": 1}, "k", ttl_seconds=3600)
    store(customer, {"n": 2}, "stays")
    stack.advance(customer, 59)
    assert get(customer, "k") == [{"n": 1}]
    stack.advance(customer, 2)
    assert get(customer, "k") == []
    assert query(customer)["data"] == [{"n": 2}]
    counting = {"collection": "c", "operation": "count"}
    assert customer.http.get("/datavault", params=counting).json()["count"] == 1
    store(customer, {"n": 3}, "k", if_absent=True)


def test_writers_at_once_lose_no_change(customer: Customer) -> None:
    store(customer, {"n": 0}, "k")
    body = {"collection": "c", "key": "k", "updates": {"$inc": {"n": 1}}}

    def increment(_: int) -> int:
        return customer.http.put("/datavault", json=body).status_code

    with ThreadPoolExecutor(8) as threads:
        statuses = list(threads.map(increment, range(24)))
    assert set(statuses) <= {200, 503}
    assert get(customer, "k") == [{"n": statuses.count(200)}]


def test_repeats_with_a_key_act_once_while_a_third_of_all_requests_fails(
    stack: Stack, customer: Customer
) -> None:
    store(customer, {"n": 0}, "k")
    body = {"collection": "c", "key": "k", "updates": {"$inc": {"n": 1}}}

    def increment(number: int) -> None:
        headers = {"Idempotency-Key": f"inc-{number}"}
        while customer.http.put("/datavault", json=body, headers=headers).status_code != 200:
            time.sleep(0.05)

    stack.dynamodb.control(Faults(rate=1 / 3, seed=5))
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(increment, range(12)))
    stack.dynamodb.control(Faults())
    assert get(customer, "k") == [{"n": 12}]


def test_a_store_without_a_key_makes_one_document_for_one_idempotency_key(
    customer: Customer,
) -> None:
    headers = {"Idempotency-Key": "once"}
    stored = store(customer, {"n": 0}, headers=headers)
    assert store(customer, {"n": 0}, headers=headers) == stored
    counting = {"collection": "c", "operation": "count"}
    assert customer.http.get("/datavault", params=counting).json()["count"] == 1


def test_pages_of_many_documents(customer: Customer) -> None:
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda n: store(customer, {"n": n}, f"k{n:03d}"), range(120)))
    asked: dict[str, Any] = {"limit": 25, "filter": {"n": {"$mod": [2, 0]}}}
    page = query(customer, **asked)
    found = page["data"]
    while page["next_cursor"] is not None:
        page = query(customer, **asked, cursor=page["next_cursor"])
        found += page["data"]
    assert [document["n"] for document in found] == list(range(0, 120, 2))


def test_a_vault_that_cannot_be_reached_is_503(stack: Stack, customer: Customer) -> None:
    store(customer, {"n": 1}, "k")
    stack.dynamodb.control(Faults(down="503"))
    refused = customer.http.get("/datavault", params={"collection": "c", "key": "k"})
    stack.dynamodb.control(Faults())
    assert_envelope(refused, 503, "SERVICE_UNAVAILABLE")
    assert refused.headers["Retry-After"]
    assert get(customer, "k") == [{"n": 1}]
