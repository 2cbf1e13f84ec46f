"""Documents."""

from __future__ import annotations

from datetime import UTC, datetime

import httpx
import pytest

from flowstack import Agent, ConflictError, InvalidRequestError, Money
from tests.support.fake_api import FakeApi


def test_a_document_is_stored_and_found_again(agent: Agent, api: FakeApi) -> None:
    key = agent.vault.store("orders", {"total": 12, "on": "2026-11-24"})
    assert agent.vault.retrieve("orders", key) == {"total": 12, "on": "2026-11-24"}
    assert agent.vault.store("orders", {"total": 13}, key="mine") == "mine"
    assert agent.vault.retrieve("orders", key="mine") == {"total": 13}
    assert agent.vault.retrieve("orders", key="none") is None


def test_what_is_stored_may_hold_dates_and_money(agent: Agent, api: FakeApi) -> None:
    moment = datetime(2026, 11, 24, tzinfo=UTC)
    agent.vault.store("orders", {"at": moment, "cost": Money("29.10")}, key="k")
    assert api.bodies[0]["data"] == {"at": "2026-11-24T00:00:00Z", "cost": 29.1}


@pytest.mark.parametrize("value", [float("nan"), object(), "\ud800"])
def test_what_json_cannot_hold_is_refused_before_it_is_sent(
    agent: Agent, api: FakeApi, value: object
) -> None:
    with pytest.raises(InvalidRequestError):
        agent.vault.store("orders", {"value": value})
    assert api.requests == []


def test_queries_filter_sort_and_read_all_pages(agent: Agent, api: FakeApi) -> None:
    for number in range(5):
        agent.vault.store("visits", {"number": number, "kind": "a" if number else "b"})
    api.requests.clear()
    found = agent.vault.query("visits", {"kind": "a"}, sort=[("number", -1)])
    assert [one["number"] for one in found] == [4, 3, 2, 1]
    assert len(api.requests) == 2
    first, second = api.bodies
    assert first == {
        "collection": "visits",
        "filter": {"kind": "a"},
        "sort": [["number", -1]],
        "limit": 1000,
    }
    assert second == {**first, "cursor": "2"}
    assert agent.vault.query("visits", sort={"number": 1})[0]["number"] == 0
    assert agent.vault.retrieve("visits", filter={"kind": "b"}) == [{"number": 0, "kind": "b"}]


@pytest.mark.parametrize(
    ("limit", "found", "requests"), [(0, 0, 0), (1, 1, 1), (3, 3, 2), (9, 5, 3)]
)
def test_queries_end_at_their_limit(
    agent: Agent, api: FakeApi, limit: int, found: int, requests: int
) -> None:
    for number in range(5):
        agent.vault.store("visits", {"number": number})
    api.requests.clear()
    assert len(agent.vault.query("visits", limit=limit)) == found
    assert len(api.requests) == requests


def test_documents_are_changed_counted_and_deleted(agent: Agent) -> None:
    vault = agent.vault
    vault.store("orders", {"total": 1, "open": True}, key="a")
    assert vault.update("orders", "a", {"total": 2}) is True
    assert vault.retrieve("orders", "a") == {"total": 2, "open": True}
    assert vault.update("orders", "b", {"total": 2}) is False
    assert (vault.count("orders"), vault.count("orders", {"total": 3})) == (1, 0)
    assert vault.list_collections() == ["orders"]
    assert (vault.delete("orders", "a"), vault.delete("orders", "a")) == (True, False)
    assert vault.clear("orders") is True


def test_a_server_that_says_404_says_that_there_is_none(agent: Agent, api: FakeApi) -> None:
    api.says(*[httpx.Response(404, json={"error_code": "NOT_FOUND", "error": "No."})] * 3)
    assert agent.vault.retrieve("orders", "a") is None
    assert agent.vault.update("orders", "a", {}) is False
    assert agent.vault.delete("orders", "a") is False


def test_counting_listing_and_clearing_go_on_to_the_end(agent: Agent, api: FakeApi) -> None:
    for name in ("a", "b", "c"):
        for number in range(5):
            agent.vault.store(name, {"number": number})
    api.requests.clear()
    assert agent.vault.count("a") == 5
    assert agent.vault.list_collections() == ["a", "b", "c"]
    assert agent.vault.clear("a") is True
    assert agent.vault.count("a") == 0
    assert len(api.requests) == 3 + 2 + 3 + 1


def test_a_document_may_have_a_lifetime_and_be_the_first(agent: Agent, api: FakeApi) -> None:
    agent.vault.store("locks", {"by": "me"}, "door", ttl_seconds=60, if_absent=True)
    assert (api.bodies[0]["ttl_seconds"], api.bodies[0]["if_absent"]) == (60, True)
    with pytest.raises(ConflictError) as refused:
        agent.vault.store("locks", {"by": "you"}, "door", if_absent=True)
    assert refused.value.error_code == "VERSION_MISMATCH"
    assert agent.vault.retrieve("locks", "door") == {"by": "me"}
