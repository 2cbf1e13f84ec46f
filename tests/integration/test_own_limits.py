"""Limits that customers set themselves, over HTTPS on the deployed stack."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from tests.integration.conftest import Customer, Stack


def limit(customer: Customer, **limits: Any) -> dict[str, Any]:
    response = customer.http.put("/budget", json=limits)
    assert response.status_code == 200, response.text
    document: dict[str, Any] = response.json()
    return document


def limited(stack: Stack, **limits: Any) -> Customer:
    """Return a customer with limits, under a key for which nothing older is remembered."""
    customer = stack.customer()
    limit(customer, **limits)
    issued = stack.admin.post(f"/admin/customers/{customer.customer_id}/keys", {"name": "fresh"})
    text = issued["key"]["text"]
    return Customer(customer.customer_id, text, stack.anonymous(**{"X-API-Key": text}))


def refused(response: httpx.Response, code: str) -> dict[str, Any]:
    assert response.status_code == 429, response.text
    assert response.json()["error_code"] == code
    details: dict[str, Any] = response.json()["details"]
    return details


def test_a_session_stops_at_its_cap_on_turns_and_goes_on_when_it_is_raised(stack: Stack) -> None:
    customer = limited(stack, session_turn_cap=2)
    assert customer.chat().status_code == 200
    assert customer.invoke().status_code == 200
    for response in (
        customer.chat(),
        customer.invoke(),
        customer.chat(headers={"Prefer": "respond-async"}),
    ):
        details = refused(response, "SESSION_CAP_REACHED")
        assert (details["kind"], details["cap"], details["used"]) == ("turns", 2, 2)
    assert customer.chat(conversation_id="another").status_code == 200
    limit(customer, session_turn_cap=3)
    assert customer.chat().status_code == 200
    refused(customer.chat(), "SESSION_CAP_REACHED")
    stack.assert_exact(customer, 2)


def test_of_racing_messages_of_one_session_exactly_its_cap_is_answered(stack: Stack) -> None:
    customer = limited(stack, session_turn_cap=5)
    assert customer.chat().status_code == 200
    with ThreadPoolExecutor(16) as pool:
        responses = list(pool.map(lambda _: customer.chat(), range(16)))
    assert sum(response.status_code == 200 for response in responses) == 4
    for response in responses:
        if response.status_code != 200:
            refused(response, "SESSION_CAP_REACHED")
    stack.assert_exact(customer, 1)


def test_a_session_stops_when_its_tokens_are_used(stack: Stack) -> None:
    customer = limited(stack, session_token_cap=1)
    first = customer.chat()
    assert first.status_code == 200
    details = refused(customer.chat(), "SESSION_CAP_REACHED")
    assert details["kind"] == "tokens"
    assert details["used"] == first.json()["usage"]["total_tokens"]
    limit(customer, session_token_cap=None)
    assert customer.chat().status_code == 200


def test_a_ceiling_stops_new_sessions_and_lets_them_start_when_it_is_lifted(stack: Stack) -> None:
    customer = stack.customer()
    assert customer.chat().status_code == 200
    standing = limit(customer, monthly_ceiling=10, action="block")
    assert (standing["reached"], standing["spent"]["total"]) == (True, 29.0)
    details = refused(customer.chat(conversation_id="another"), "BUDGET_EXCEEDED")
    assert (details["ceiling"], details["spent"]) == (10.0, 29.0)
    assert customer.chat().status_code == 200  # it runs
    limit(customer, action="warn")
    assert customer.chat(conversation_id="another").status_code == 200
    limit(customer, action="block")
    refused(customer.chat(conversation_id="a third"), "BUDGET_EXCEEDED")
    limit(customer, monthly_ceiling=None)
    assert customer.chat(conversation_id="a third").status_code == 200
    stack.assert_exact(customer, 3)
    trail = stack.admin.get(f"/admin/customers/{customer.customer_id}/audit-trail")["audit_trail"]
    assert [one["action"] for one in trail].count("limits.change") == 4
