"""``/datavault`` as clients speak it, those of the published package among them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from pydantic import TypeAdapter

from flowstack_core.domain.vault import MAX_STORED_BYTES
from flowstack_core.http import vault_documents
from flowstack_core.http.documents import Document
from flowstack_core.http.resolver import HttpFunction, entry_point
from flowstack_core.http.vault_routes import vault_app
from tests.support.http_events import HttpResponse, LambdaContext, http_event, response_of
from tests.support.vaults import Vault


@dataclass
class VaultApi:
    """Sends requests to the vault function as a customer."""

    vault: Vault = field(default_factory=Vault)
    customer_id: str = "cus_vault"

    def __post_init__(self) -> None:
        self._handler: HttpFunction = entry_point(
            vault_app(lambda: self.vault.service, lambda: self.vault.queries)
        )

    def send(
        self,
        method: str,
        path: str = "/datavault",
        body: Any = None,
        query: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
    ) -> HttpResponse:
        event = http_event(
            method,
            path,
            body if body is None or isinstance(body, str) else json.dumps(body),
            headers,
            authorizer={"customer_id": self.customer_id, "tier": "free", "key_id": "key_1"},
            query=query,
        )
        return response_of(self._handler(event, LambdaContext()))

    def store(self, data: dict[str, Any], key: str = "k", **fields: Any) -> HttpResponse:
        return self.send("POST", body={"collection": "c", "key": key, "data": data, **fields})

    def get(self, key: str = "k") -> list[dict[str, Any]]:
        found = self.send("GET", query={"collection": "c", "key": key})
        data: list[dict[str, Any]] = found.body["data"]
        return data


@pytest.fixture
def api() -> VaultApi:
    return VaultApi()


def is_a(document: type[Document], response: HttpResponse) -> bool:
    assert response.status == 200, response.body
    TypeAdapter(document).validate_json(json.dumps(response.body))
    return True


# --- the published package -----------------------------------------------------------------


@pytest.mark.parametrize("path", ["/datavault", "/datavault/"])
def test_the_published_client_s_requests_are_answered(api: VaultApi, path: str) -> None:
    """Each request is one that its ``DataVault`` makes, and what it reads of the answer."""
    stored = api.send(
        "POST",
        path,
        {"collection": "users", "key": "k1", "data": {"age": 30}, "operation": "store"},
    )
    assert stored.body["key"] == "k1"
    api.send("POST", path, {"collection": "users", "key": "k2", "data": {"age": 9}})
    ask = {"collection": "users", "operation": "retrieve"}
    assert api.send("GET", path, query={**ask, "key": "k1"}).body["data"] == [{"age": 30}]
    assert api.send("GET", path, query={**ask, "key": "no"}).body["data"] == []
    adults = {**ask, "filter": '{"age": {"$gte": 18}}'}
    assert api.send("GET", path, query=adults).body["data"] == [{"age": 30}]
    assert api.send("GET", path, query=ask).body["data"] == [{"age": 30}, {"age": 9}]
    change = {"collection": "users", "key": "k1", "updates": {"age": 31}, "operation": "update"}
    assert api.send("PUT", path, change).body["success"] is True
    assert api.send("PUT", path, {**change, "key": "no"}).body["success"] is False
    counting = {"collection": "users", "operation": "count"}
    assert api.send("GET", path, query=counting).body["count"] == 2
    assert api.send("GET", path, query={**counting, "filter": '{"age": 31}'}).body["count"] == 1
    delete = {"collection": "users", "key": "k2", "operation": "delete"}
    assert api.send("DELETE", path, delete).body["success"] is True
    assert api.send("DELETE", path, delete).body["success"] is False
    listed = api.send("GET", "/datavault/collections").body["collections"]
    assert ["_".join(name.split("_")[1:]) for name in listed] == ["users"]
    clear = {"collection": "users", "operation": "clear"}
    assert api.send("DELETE", path, clear).body["success"] is True
    assert api.send("GET", path, query=ask).body["data"] == []
    assert api.send("GET", "/datavault/health").status == 200


# --- answers -------------------------------------------------------------------------------


def test_answers_are_the_documents_of_the_contract(api: VaultApi) -> None:
    assert is_a(vault_documents.StoredDocument, api.store({"n": 1}, ttl_seconds=60))
    update = {"collection": "c", "key": "k", "updates": {"n": 2}}
    assert is_a(vault_documents.UpdatedDocument, api.send("PUT", body=update))
    assert is_a(vault_documents.UpdatedDocument, api.send("PUT", body={**update, "key": "no"}))
    assert is_a(vault_documents.FoundDocument, api.send("GET", query={"collection": "c"}))
    query = api.send("POST", "/datavault/query", {"collection": "c", "limit": 1})
    assert is_a(vault_documents.FoundDocument, query)
    count = api.send("POST", "/datavault/count", {"collection": "c", "partial": True})
    assert is_a(vault_documents.CountDocument, count)
    assert is_a(vault_documents.CollectionsDocument, api.send("GET", "/datavault/collections"))
    assert is_a(vault_documents.VaultHealthDocument, api.send("GET", "/datavault/health"))
    remove = api.send("DELETE", body={"collection": "c", "key": "k"})
    assert is_a(vault_documents.RemovedDocument, remove)


@pytest.mark.parametrize(
    "text",
    [
        '{"n":-0.0}',
        '{"n":1e+308}',
        '{"n":123456789012345678901234567890}',
        '{"n":1.0}',
        '{"b":1,"a":2}',
        '{"text":"\\ud83d\\udc08 \\u017elu\\u0165 \\u0000"}',
        '{"a":[[],{},null,true,[{"":{"$x.y":1}}]]}',
    ],
)
def test_a_document_passes_the_whole_function_unchanged(api: VaultApi, text: str) -> None:
    body = f'{{"collection":"c","key":"k","data":{text}}}'
    assert api.send("POST", body=body).status == 200
    assert json.dumps(api.get()[0], separators=(",", ":")) == text


def test_pages_can_be_asked_for_in_the_address(api: VaultApi) -> None:
    for number in range(5):
        api.store({"n": number}, f"k{number}")
    query = {"collection": "c", "limit": "2", "sort": '[["n",-1]]'}
    first = api.send("GET", query=query).body
    second = api.send("GET", query={**query, "cursor": first["next_cursor"]}).body
    assert [data["n"] for data in first["data"] + second["data"]] == [4, 3, 2, 1]
    listed = api.send("GET", "/datavault/collections", query={"limit": "1"}).body
    assert listed["names"] == ["c"]


def test_a_repeat_says_that_it_is_one(api: VaultApi) -> None:
    headers = {"Idempotency-Key": "once"}
    body = {"collection": "c", "data": {"n": 1}}
    first = api.send("POST", body=body, headers=headers)
    again = api.send("POST", body=body, headers=headers)
    assert again.body == first.body
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    other = api.send("POST", body={**body, "data": {"n": 2}}, headers=headers)
    assert (other.status, other.body["error_code"]) == (409, "IDEMPOTENCY_CONFLICT")
    for method, one in (
        ("PUT", {"collection": "c", "key": first.body["key"], "updates": {"$inc": {"n": 1}}}),
        ("DELETE", {"collection": "c", "key": first.body["key"]}),
    ):
        named = {"Idempotency-Key": f"once {method}".replace(" ", "-")}
        assert api.send(method, body=one, headers=named).body["success"] is True
        assert api.send(method, body=one, headers=named).headers["Idempotency-Replayed"] == "true"


def test_a_lifetime_is_kept_replaced_or_ended(api: VaultApi) -> None:
    first = api.store({"n": 1}, ttl_seconds=60).body["expires_at"]
    change = {"collection": "c", "key": "k", "updates": {"n": 2}}
    assert api.send("PUT", body=change).body["expires_at"] == first
    assert api.send("PUT", body={**change, "ttl_seconds": 120}).body["expires_at"] > first
    assert api.send("PUT", body={**change, "ttl_seconds": None}).body["expires_at"] is None


def test_a_version_decides_who_writes(api: VaultApi) -> None:
    version = api.store({"n": 1}).body["version"]
    replace = {"collection": "c", "key": "k", "updates": {"n": 2}, "mode": "replace"}
    assert api.send("PUT", body={**replace, "if_match": version}).status == 200
    for refused in (
        api.send("PUT", body={**replace, "if_match": version}),
        api.store({"n": 3}, if_match=version),
        api.store({"n": 3}, if_absent=True),
        api.send("DELETE", body={"collection": "c", "key": "k", "if_match": version}),
    ):
        assert (refused.status, refused.body["error_code"]) == (412, "VERSION_MISMATCH")
    assert api.get() == [{"n": 2}]


# --- refusals ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/datavault", {"collection": "c"}),
        ("POST", "/datavault", {"collection": "c", "data": [1]}),
        ("POST", "/datavault", {"collection": "", "data": {}}),
        ("POST", "/datavault", {"collection": "a\nb", "data": {}}),
        ("POST", "/datavault", {"collection": "c", "data": {}, "key": ""}),
        ("POST", "/datavault", {"collection": "c", "data": {}, "key": "a\u0000"}),
        ("POST", "/datavault", {"collection": "c", "data": {}, "ttl_seconds": 0}),
        ("POST", "/datavault", {"collection": "c", "data": {}, "ttl_seconds": True}),
        ("POST", "/datavault", {"collection": "c", "data": {}, "ttl_seconds": 10**10}),
        ("POST", "/datavault", {"collection": "c", "data": {}, "ttl": 60}),
        ("POST", "/datavault", {"collection": "c", "data": {}, "operation": "clear"}),
        ("POST", "/datavault", {"collection": "c", "data": {"a": "\ud800"}}),
        (
            "POST",
            "/datavault",
            {"collection": "c", "data": {}, "if_match": "v", "if_absent": True},
        ),
        ("POST", "/datavault", '{"collection":"c","data":{"n":1e400}}'),
        ("POST", "/datavault", '{"collection":"c","data":{"n":NaN}}'),
        ("POST", "/datavault", f'{{"collection":"c","data":{{"n":{"9" * 5000}}}}}'),
        ("PUT", "/datavault", {"collection": "c", "updates": {}}),
        ("PUT", "/datavault", {"collection": "c", "key": "k", "updates": {"$foo": {}}}),
        ("PUT", "/datavault", {"collection": "c", "key": "k", "updates": {}, "mode": "x"}),
        ("DELETE", "/datavault", {"collection": "c"}),
        ("DELETE", "/datavault", {"collection": "c", "key": "k", "cursor": "x"}),
        ("DELETE", "/datavault", {"collection": "c", "key": "k", "operation": "clear"}),
        ("DELETE", "/datavault", {"collection": "c", "operation": "clear", "cursor": "x"}),
        ("DELETE", "/datavault", "{"),
        ("DELETE", "/datavault", None),
        ("POST", "/datavault/query", {"collection": "c", "filter": {"$where": "1"}}),
        ("POST", "/datavault/query", {"collection": "c", "filter": []}),
        ("POST", "/datavault/query", {"collection": "c", "sort": "n"}),
        ("POST", "/datavault/query", {"collection": "c", "limit": 0}),
        ("POST", "/datavault/query", {"collection": "c", "limit": 1001}),
        ("POST", "/datavault/query", {"collection": "c", "cursor": "x"}),
        ("POST", "/datavault/count", {"collection": "c", "cursor": "x"}),
    ],
)
def test_what_is_wrong_is_refused(api: VaultApi, method: str, path: str, body: Any) -> None:
    api.store({"n": 1})
    refused = api.send(method, path, body)
    assert (refused.status, refused.body["error_code"]) == (400, "INVALID_REQUEST"), refused.body
    assert api.get() == [{"n": 1}]
    assert api.vault.count("c")["count"] == 1


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"collection": ""},
        {"collection": "c", "operation": "store"},
        {"collection": "c", "key": ""},
        {"collection": "c", "filter": "{"},
        {"collection": "c", "filter": "[]"},
        {"collection": "c", "filter": '{"a":NaN}'},
        {"collection": "c", "filter": "[" * 200 + "]" * 200},
        {"collection": "c", "sort": "x"},
        {"collection": "c", "limit": "0"},
        {"collection": "c", "cursor": "x"},
        {"collection": "c", "key": "k", "filter": '{"n":1}'},
    ],
)
def test_a_wrong_address_is_refused(api: VaultApi, query: dict[str, str]) -> None:
    refused = api.send("GET", query=query)
    assert (refused.status, refused.body["error_code"]) == (400, "INVALID_REQUEST"), refused.body


def test_what_is_too_large_says_so(api: VaultApi) -> None:
    from random import Random

    refused = api.store({"text": Random(1).randbytes(450_000).hex()})
    assert (refused.status, refused.body["error_code"]) == (413, "PAYLOAD_TOO_LARGE")
    assert refused.body["details"]["maximum"] == MAX_STORED_BYTES
    assert api.get() == []


def test_the_customer_is_who_the_key_says_whatever_the_request_says(api: VaultApi) -> None:
    api.store({"n": 1})
    thief = VaultApi(api.vault, "cus_thief")
    assert thief.get() == []
    named = {"collection": "c", "key": "k", "customer_id": "cus_vault", "data": {}}
    assert thief.send("POST", body=named).status == 400
    headers = {"customer_id": "cus_vault"}
    assert thief.send("GET", query={"collection": "c"}, headers=headers).body["data"] == []
