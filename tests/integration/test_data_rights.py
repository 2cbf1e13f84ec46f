"""A customer's right to its data on the deployed stack: exported whole, erased whole."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from flowstack_admin.failures import RefusedError
from tests.integration.conftest import Customer, Stack, wait_until
from tests.integration.test_refusals import assert_envelope
from tests.support.archives import files_of

SAID = "a sentence that only this customer has said"
SECRET = "sk-that-nobody-may-export-0123456789"
DAY = 24 * 3600


def path(customer: Customer, rest: str = "") -> str:
    return f"/admin/customers/{customer.customer_id}{rest}"


def living(stack: Stack) -> Customer:
    """Return a customer with everything that a customer can have."""
    customer = stack.customer("professional")
    assert customer.invoke("one").status_code == 200
    said = customer.chat(SAID, "two", headers={"Idempotency-Key": customer.customer_id})
    assert said.status_code == 200, said.text
    credentials = {"provider": "openai", "credentials": {"api_key": SECRET}}
    assert customer.http.post("/api/byok-credentials", json=credentials).status_code == 200
    document = {"collection": "notes", "key": "one", "data": {"said": SAID}}
    key = {"Idempotency-Key": f"vault-{customer.customer_id}"}
    assert customer.http.post("/datavault", json=document, headers=key).status_code == 200
    later = customer.chat(SAID, "two", headers={"Prefer": "respond-async"})
    assert later.status_code == 202, later.text
    wait_until(lambda: customer.http.get(later.headers["Location"]).json()["status"] == "succeeded")
    stack.admin.post(path(customer, "/keys"), {"name": "second"})
    stack.admin.post(path(customer, "/credits"), {"sessions": 5, "reason": "sorry"})
    stack.set_clock(customer, next_month())
    assert customer.chat(SAID, "three").status_code == 200
    wait_until(lambda: stack.audit(customer)["rollups"]["sessions"] == 1)
    return customer


def next_month() -> str:
    now = time.gmtime()
    year, month = now.tm_year + now.tm_mon // 12, now.tm_mon % 12 + 1
    return f"{year:04d}-{month:02d}-02T00:00:00+00:00"


def exported(stack: Stack, customer: Customer) -> dict[str, bytes]:
    """Export a customer; return the files of its archive."""
    export_id = stack.admin.post(path(customer, "/exports"), {})["export"]["export_id"]
    shown: dict[str, Any] = {}

    def ready() -> bool:
        shown.update(stack.admin.get(path(customer, f"/exports/{export_id}"))["export"])
        return bool(shown["status"] == "ready")

    wait_until(ready, 60)
    with urllib.request.urlopen(shown["url"], timeout=30) as answer:
        return files_of(answer.read())


def everything(stack: Stack) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every item of every table, which nothing but a test may do."""
    client = stack.client("dynamodb")
    for role, table in stack.connection.tables.items():
        for page in client.get_paginator("scan").paginate(TableName=table):
            for item in page["Items"]:
                yield role, item


def of_customer(stack: Stack, customer: Customer, sessions: set[str]) -> list[dict[str, Any]]:
    marks = {customer.customer_id, *sessions}
    return [item for _, item in everything(stack) if any(mark in str(item) for mark in marks)]


def lines_of(files: dict[str, bytes], kind: str) -> list[dict[str, Any]]:
    return [
        json.loads(line)
        for name, content in files.items()
        if name.startswith(f"{kind}/")
        for line in content.splitlines()
    ]


def sessions_of(files: dict[str, bytes]) -> set[str]:
    return {line["session_id"] for line in lines_of(files, "sessions")}


@pytest.fixture
def customer(stack: Stack) -> Customer:
    return living(stack)


def test_a_customer_gets_all_of_its_data_and_no_secret(stack: Stack, customer: Customer) -> None:
    other = living(stack)
    files = exported(stack, customer)
    kinds = {name.split("/")[0] for name in files}
    assert kinds >= {
        *("transcripts", "conversations", "sessions", "keys", "usage", "statements"),
        *("acts", "subscription", "customer", "manifest.json", "credentials", "vault", "requests"),
        *("days", "slices"),
    }
    assert len(sessions_of(files)) == 3
    turns = lines_of(files, "transcripts")
    assert len(turns) == 3
    for turn in turns:
        asked = turn["messages"][0]
        assert (asked["role"], SAID in str(asked)) == ("user", True)
    (document,) = lines_of(files, "vault")
    assert document["body"]["said"] == SAID
    assert {line["part"].split("#")[1] for line in lines_of(files, "requests")} == {"STATE", "BODY"}
    whole = b"".join(files.values())
    assert other.customer_id.encode() not in whole
    secrets = {
        item[name]["S"]
        for _, item in everything(stack)
        for name in ("digest", "fingerprint")
        if name in item and customer.customer_id in str(item)
    }
    assert secrets
    for secret in (customer.key, SECRET, *secrets):
        assert secret.encode() not in whole


def test_an_erased_customer_leaves_statements_and_the_record_of_it(
    stack: Stack, customer: Customer
) -> None:
    other = living(stack)
    sessions, others = (sessions_of(exported(stack, one)) for one in (customer, other))
    before = sorted(map(str, of_customer(stack, other, others)))
    confirmed = {"confirm": customer.customer_id}
    erasure = stack.admin.post(path(customer, "/erasure"), confirmed)["erasure"]
    assert erasure["status"] == "deleting"
    refused = customer.invoke("another")
    if refused.status_code != 401:  # the authorizer may remember the key for a minute
        assert_envelope(refused, 403, "ACCOUNT_CLOSED")

    def done() -> bool:
        found = stack.admin.get(path(customer, "/erasure"))["erasure"]
        return bool(found["status"] == "done")

    wait_until(done, 120)
    left = of_customer(stack, customer, sessions)
    claims = [item for item in left if item["pk"]["S"].startswith("IDEMPOTENCY#")]
    kept = {(item["pk"]["S"].split("#")[0], item["sk"]["S"].split("#")[0]) for item in left}
    assert kept - {("IDEMPOTENCY", "CLAIM")} == {("CUSTOMER", "STATEMENT"), ("ERASURE", "STATE")}
    assert all(int(claim["ttl"]["N"]) <= time.time() + DAY for claim in claims)
    assert SAID not in str([item for item in left if item not in claims])
    listed = stack.admin.get(path(customer, "/statements"))["statements"]
    assert len(listed) == 2
    with pytest.raises(RefusedError):
        stack.admin.get(path(customer))
    again = stack.admin.post(path(customer, "/erasure"), confirmed)["erasure"]
    assert again["status"] == "done"
    assert again["deleted"]["record of a session"] == 3
    assert again["deleted"]["object of an archive"] >= 1
    assert sorted(map(str, of_customer(stack, other, others))) == before
    assert other.chat("still here", "three").status_code == 200
