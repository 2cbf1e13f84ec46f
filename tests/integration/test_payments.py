"""Stripe's events over HTTPS, against the deployed webhook with its secret in Secrets Manager."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.integration.conftest import Customer, Stack, at_once
from tests.integration.test_refusals import assert_envelope
from tests.support.stripe_messages import (
    checkout,
    failed_invoice,
    signature_of,
    subscription,
)

SECOND = timedelta(seconds=1)


class Stripe:
    """Calls the webhook as Stripe does, about one subscription of a customer."""

    def __init__(self, stack: Stack, customer: Customer) -> None:
        self._http = stack.anonymous()
        self._now = datetime.now(UTC).replace(microsecond=0)
        self._customer_id = customer.customer_id
        self._fields: dict[str, Any] = {
            "subscription_id": f"sub_{customer.customer_id}",
            "customer": f"stripe_{customer.customer_id}",
        }

    def post(self, body: str, signature: str | None = None) -> httpx.Response:
        signed = signature_of(body, datetime.now(UTC)) if signature is None else signature
        headers = {"Stripe-Signature": signed, "Content-Type": "application/json; charset=utf-8"}
        return self._http.post("/webhooks/stripe", content=body, headers=headers)

    def checkout(self, event_id: str = "") -> str:
        return checkout(
            self._now,
            customer_id=self._customer_id,
            event_id=event_id,
            **self._fields,
        )

    def subscription(self, tier: str, *, seconds: int = 0, kind: str = "updated") -> str:
        moment = self._now + seconds * SECOND
        return subscription(moment, tier=tier, kind=kind, began=self._now, **self._fields)

    def failed_invoice(self, *, seconds: int) -> str:
        moment = self._now + seconds * SECOND
        return failed_invoice(moment, **self._fields)


@pytest.fixture
def customer(stack: Stack) -> Customer:
    """Somebody on the free plan."""
    return stack.customer("free")


@pytest.fixture
def stripe(stack: Stack, customer: Customer) -> Stripe:
    return Stripe(stack, customer)


def pending(customer: Customer) -> dict[str, str] | None:
    found = customer.http.get("/subscription").json()["subscription"]
    waiting: dict[str, str] | None = found["pending_change"]
    return waiting


def test_a_payment_raises_the_plan_before_the_next_message(
    stack: Stack, customer: Customer, stripe: Stripe
) -> None:
    assert customer.invoke().status_code == 403
    early = stripe.post(stripe.subscription("starter"))
    assert (early.status_code, early.json()["ignored"]) == (200, "not_linked_yet")
    assert stripe.post(stripe.checkout()).json() == {"received": True, "ignored": None}
    assert customer.invoke().status_code == 200
    assert customer.usage()["tier"] == "starter"
    trail = stack.admin.get(f"/admin/customers/{customer.customer_id}/audit-trail")
    assert [act["actor"] for act in trail["audit_trail"]].count("stripe") == 1


def test_what_stripe_did_not_sign_changes_nothing(customer: Customer, stripe: Stripe) -> None:
    body = stripe.checkout()
    now = datetime.now(UTC)
    for signature in (
        "",
        signature_of(body, now, secret="whsec_of_somebody_else"),
        signature_of(body, now - timedelta(seconds=400)),
        signature_of(body + " ", now),
    ):
        assert_envelope(stripe.post(body, signature), 400, "SIGNATURE_REJECTED")
    assert customer.usage()["tier"] == "free"


def test_failing_ending_and_late_events_leave_the_newest_word(
    customer: Customer, stripe: Stripe
) -> None:
    stripe.post(stripe.checkout())
    stripe.post(stripe.subscription("professional"))
    stripe.post(stripe.failed_invoice(seconds=5))
    waiting = pending(customer)
    assert waiting is not None
    assert (waiting["tier"], waiting["origin"]) == ("free", "payment")
    assert_envelope(customer.http.post("/subscription", json={"action": "undo"}), 409, "CONFLICT")
    stripe.post(stripe.subscription("professional", seconds=9))
    late = stripe.post(stripe.subscription("professional", seconds=7, kind="deleted"))
    assert late.json()["ignored"] == "nothing_new"
    assert pending(customer) is None
    assert customer.usage()["tier"] == "professional"


def test_one_event_delivered_many_times_at_once_is_carried_out_once(
    stack: Stack, customer: Customer, stripe: Stripe
) -> None:
    stripe.post(stripe.subscription("professional"))
    body = stripe.checkout()
    answers = at_once(5, lambda number: stripe.post(body))
    # What met too much contention is sent again by Stripe, some time.
    assert {answer.status_code for answer in answers} <= {200, 409, 503}
    assert stripe.post(body).status_code == 200
    assert customer.usage()["tier"] == "professional"
    trail = stack.admin.get(f"/admin/customers/{customer.customer_id}/audit-trail")
    assert [act["actor"] for act in trail["audit_trail"]].count("stripe") == 1
