"""Stripe's webhooks: what is verified, and what is read of each kind of event."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from flowstack_core.adapters.stripe_events import TOLERANCE, StripeEvents
from flowstack_core.domain.errors import SignatureRejectedError
from flowstack_core.domain.payments import PaymentEvent, PaymentState, Snapshot
from flowstack_core.domain.plans import Tier
from flowstack_core.domain.subscriptions import Terms
from flowstack_core.services.ports.payments import MalformedPaymentEventError, NotForUs
from tests.support.fakes import NOON, at
from tests.support.stripe_messages import (
    SECRET,
    checkout,
    event_of,
    failed_invoice,
    price,
    seconds,
    signature_of,
    subscription,
)

SECOND = timedelta(seconds=1)
ROLLED = "whsec_test_second"


def read(body: str, signature: str | None = None, *secrets: str) -> PaymentEvent | NotForUs:
    events = StripeEvents(lambda: secrets or (SECRET,))
    return events.read(body, signature_of(body) if signature is None else signature, NOON)


def understood(body: str) -> PaymentEvent:
    event = read(body)
    assert isinstance(event, PaymentEvent)
    return event


def terms_of(body: str) -> Terms | None:
    snapshot = understood(body).snapshot
    assert snapshot is not None
    return snapshot.terms


# --- who sent it ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "signature",
    [
        "",
        "nonsense",
        "t=,v1=",
        "t=abc,v1=00",
        "v1=00",
        f"t={seconds(NOON)}",
        f"t={seconds(NOON)},v1=" + "0" * 64,
        f"t={seconds(NOON)},v1=é",
        f"t={seconds(NOON)},v0=" + "0" * 64,
    ],
)
def test_a_signature_that_is_none_is_refused(signature: str) -> None:
    with pytest.raises(SignatureRejectedError):
        read(checkout(), signature)


def test_a_missing_signature_is_refused() -> None:
    with pytest.raises(SignatureRejectedError):
        StripeEvents(lambda: (SECRET,)).read(checkout(), None, NOON)


def test_another_secret_than_ours_is_refused() -> None:
    body = checkout()
    with pytest.raises(SignatureRejectedError):
        read(body, signature_of(body, secret="whsec_of_somebody_else"))


def test_a_body_that_was_changed_on_the_way_is_refused() -> None:
    body = checkout()
    signature = signature_of(body)
    for changed in (body.replace("cus_1", "cus_2"), body + " ", json.dumps(json.loads(body))):
        with pytest.raises(SignatureRejectedError):
            read(changed, signature)


def test_a_body_that_cannot_be_written_in_utf_8_is_refused() -> None:
    with pytest.raises(SignatureRejectedError):
        read('{"id": "\ud800"}', signature_of("{}"))


@pytest.mark.parametrize("away", [TOLERANCE, -TOLERANCE])
def test_a_signature_is_good_for_five_minutes_either_way(away: timedelta) -> None:
    body = checkout()
    assert isinstance(read(body, signature_of(body, NOON + away)), PaymentEvent)
    further = away + (SECOND if away > timedelta() else -SECOND)
    with pytest.raises(SignatureRejectedError):
        read(body, signature_of(body, NOON + further))


def test_the_time_that_is_looked_at_is_the_one_that_was_signed() -> None:
    body = checkout()
    old = signature_of(body, NOON - timedelta(days=1))
    for header in (f"{old},t={seconds(NOON)}", f"t={seconds(NOON)},{old}"):
        with pytest.raises(SignatureRejectedError):
            read(body, header)


def test_while_a_secret_is_replaced_both_are_good() -> None:
    body = checkout()
    for secret in (SECRET, ROLLED):
        assert isinstance(
            read(body, signature_of(body, secret=secret), SECRET, ROLLED), PaymentEvent
        )
    with pytest.raises(SignatureRejectedError):
        read(body, signature_of(body, secret=SECRET), ROLLED)


def test_of_two_signatures_one_is_enough_as_stripe_sends_while_it_rolls() -> None:
    body = checkout()
    _, _, rolled = signature_of(body, secret=ROLLED).partition(",")
    assert isinstance(read(body, f"{signature_of(body)},{rolled}", ROLLED), PaymentEvent)


def test_a_refusal_tells_nothing_of_body_signature_or_secret() -> None:
    body = checkout(customer_id="cus_canary")
    signature = signature_of(body, secret="whsec_canary")
    with pytest.raises(SignatureRejectedError) as caught:
        read(body, signature)
    error: BaseException | None = caught.value
    while error is not None:
        assert "canary" not in repr(error)
        assert signature not in repr(error)
        error = error.__cause__ or error.__context__


# --- what it says --------------------------------------------------------------------------


def test_a_checkout_says_whose_subscription_it_is_and_which_plan() -> None:
    body = checkout(event_id="evt_9", metadata={"flowstack_tier": "professional"})
    begun = Snapshot("evt_9", NOON, PaymentState.BEGUN, Terms.of(Tier.PROFESSIONAL))
    assert understood(body) == PaymentEvent(
        "evt_9", NOON, "sub_1", "cus_stripe_1", "cus_1", began_at=NOON, snapshot=begun
    )


def test_a_checkout_may_name_the_customer_in_its_metadata() -> None:
    body = checkout(customer_id=None, metadata={"flowstack_customer_id": "cus_2"})
    assert understood(body).customer_id == "cus_2"


def test_a_checkout_that_is_not_paid_yet_only_links() -> None:
    event = understood(checkout(payment_status="unpaid", metadata={"flowstack_tier": "starter"}))
    assert event.customer_id == "cus_1"
    assert event.snapshot is None


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("active", PaymentState.PAID),
        ("trialing", PaymentState.PAID),
        ("past_due", PaymentState.FAILING),
        ("unpaid", PaymentState.ENDED),
        ("paused", PaymentState.ENDED),
        ("canceled", PaymentState.ENDED),
    ],
)
def test_a_status_is_one_of_three(status: str, state: PaymentState) -> None:
    event = understood(subscription(status=status, event_id="evt_9"))
    assert event.snapshot == Snapshot("evt_9", NOON, state, Terms.of(Tier.STARTER))
    assert event.began_at == NOON - 2 * SECOND


def test_a_deleted_subscription_has_ended_whatever_its_status() -> None:
    snapshot = understood(subscription(kind="deleted", status="active")).snapshot
    assert snapshot is not None
    assert snapshot.state is PaymentState.ENDED


@pytest.mark.parametrize(
    ("fields", "ends_at"),
    [
        ({"cancel_at_period_end": True}, NOON + timedelta(days=30)),
        ({"cancel_at": seconds(NOON + SECOND)}, NOON + SECOND),
        ({"cancel_at_period_end": True, "cancel_at": seconds(NOON + SECOND)}, NOON + SECOND),
        ({"cancel_at_period_end": True, "items": {"data": []}}, None),
        ({}, None),
    ],
)
def test_a_cancelled_subscription_says_when_it_ends(
    fields: dict[str, Any], ends_at: object
) -> None:
    metadata = {"flowstack_tier": "starter"}
    bought = {"prices": [price(None, metadata=metadata)], **fields}
    snapshot = understood(subscription(status="past_due", **bought)).snapshot
    assert snapshot is not None
    assert snapshot.ends_at == ends_at


def test_older_api_versions_have_the_period_on_the_subscription() -> None:
    body = subscription(cancel_at_period_end=True)
    event = json.loads(body)
    found = event["data"]["object"]
    del found["items"]["data"][0]["current_period_end"]
    found["current_period_end"] = seconds(NOON + SECOND)
    snapshot = understood(json.dumps(event)).snapshot
    assert snapshot is not None
    assert snapshot.ends_at == NOON + SECOND


def test_a_failed_invoice_names_its_subscription_in_either_place() -> None:
    expected = PaymentEvent("evt_9", NOON, "sub_1", "cus_stripe_1", failed=True)
    assert understood(failed_invoice(event_id="evt_9")) == expected
    old = failed_invoice(event_id="evt_9", parent=None, subscription="sub_1")
    assert understood(old) == expected


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (event_of("customer.created", {"id": "cus_stripe_1"}), "type"),
        (checkout(mode="payment"), "no_subscription"),
        (checkout(subscription_id=None), "no_subscription"),
        (failed_invoice(subscription_id=None), "no_subscription"),
        (failed_invoice(parent=None), "no_subscription"),
        (subscription(status="incomplete"), "never_paid"),
        (subscription(status="incomplete_expired"), "never_paid"),
        (subscription(prices=[]), "no_tier"),
        (subscription(prices=[price("something_else")]), "no_tier"),
        (subscription(prices=[price("starter")]), "no_tier"),
        (subscription(prices=[price("flowstack_stickers")]), "no_tier"),
    ],
)
def test_what_is_not_about_a_plan_says_why(body: str, reason: str) -> None:
    event = read(body)
    assert isinstance(event, NotForUs)
    assert event.reason == reason


# --- which plan ----------------------------------------------------------------------------


@pytest.mark.parametrize("tier", list(Tier))
def test_a_price_names_its_tier(tier: Tier) -> None:
    cents = Terms.of(tier).price_cents
    assert terms_of(subscription(prices=[price(f"flowstack_{tier}", cents)])) == Terms.of(tier)
    noted = price("anything", cents, metadata={"flowstack_tier": tier.value})
    assert terms_of(subscription(prices=[noted])) == Terms.of(tier)


def test_the_price_counts_more_than_what_was_noted_on_the_subscription() -> None:
    noted = {"flowstack_tier": "professional"}
    assert terms_of(subscription(tier="starter", metadata=noted)) == Terms.of(Tier.STARTER)
    other = [price("something_else")]
    assert terms_of(subscription(prices=other, metadata=noted)) == Terms.of(Tier.PROFESSIONAL)


def test_of_several_plans_the_highest_counts() -> None:
    prices = [price("support"), price("flowstack_professional"), price("flowstack_starter")]
    assert terms_of(subscription(prices=prices)) == Terms.of(Tier.PROFESSIONAL)


def test_a_contract_s_limit_and_price_are_taken_as_agreed() -> None:
    prices = [price("flowstack_enterprise", 123_456)]
    body = subscription(prices=prices, metadata={"flowstack_session_limit": "250000"})
    assert terms_of(body) == Terms(Tier.ENTERPRISE, 250_000, 123_456)
    prices[0]["metadata"] = {"flowstack_session_limit": "300000"}
    assert terms_of(subscription(prices=prices)) == Terms(Tier.ENTERPRISE, 300_000, 123_456)


def test_a_contract_is_of_enterprise_only() -> None:
    prices = [price("flowstack_starter", 1)]
    body = subscription(prices=prices, metadata={"flowstack_session_limit": "250000"})
    assert terms_of(body) == Terms.of(Tier.STARTER)


def test_every_unit_of_a_contract_is_paid_for() -> None:
    event = json.loads(subscription(prices=[price("flowstack_enterprise", 50_000)]))
    event["data"]["object"]["items"]["data"][0]["quantity"] = 3
    terms = terms_of(json.dumps(event))
    assert terms is not None
    assert terms.price_cents == 150_000


def test_what_none_is_bought_of_is_not_bought() -> None:
    prices = [price("flowstack_starter"), price("support"), price("flowstack_enterprise")]
    event = json.loads(subscription(prices=prices))
    items = event["data"]["object"]["items"]["data"]
    items[1]["quantity"] = items[2]["quantity"] = 0
    assert terms_of(json.dumps(event)) == Terms.of(Tier.STARTER)
    items[0]["quantity"] = 0
    assert read(json.dumps(event)) == NotForUs(event["id"], "no_tier")


@pytest.mark.parametrize(
    "fields",
    [
        {"currency": "eur"},
        {"recurring": {"interval": "year", "interval_count": 1}},
        {"recurring": {"interval": "month", "interval_count": 3}},
        {"recurring": None},
        {"unit_amount": None},
    ],
)
def test_a_price_that_is_not_dollars_a_month_leaves_the_plan_s(fields: dict[str, Any]) -> None:
    prices = [price("flowstack_enterprise", 77_700, **fields)]
    assert terms_of(subscription(prices=prices)) == Terms.of(Tier.ENTERPRISE)


# --- what cannot be read -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ('["canary"]', "Event: not an object"),
        ('{"id": "canary"}', "Event: type"),
        (event_of("customer.subscription.updated", {"id": "canary"}), "Subscription: customer"),
        (subscription(created="canary"), "Subscription: created"),
        (checkout(client_reference_id=["canary"]), "CheckoutSession: client_reference_id"),
        (subscription(metadata={"flowstack_tier": "canary"}, prices=[price(None)]), "tier"),
        (
            subscription(tier="enterprise", metadata={"flowstack_session_limit": "canary"}),
            "flowstack_session_limit",
        ),
        (subscription(tier="enterprise", metadata={"flowstack_session_limit": "-1"}), "limit"),
    ],
)
def test_what_cannot_be_read_names_the_field_and_no_value(body: str, field: str) -> None:
    with pytest.raises(MalformedPaymentEventError, match=field) as caught:
        read(body)
    assert "canary" not in repr(caught.value)
    assert caught.value.__context__ is None or caught.value.__suppress_context__


def test_times_are_instants_in_utc() -> None:
    moment = at("2026-11-30T23:59:59")
    body = subscription(moment)
    event = StripeEvents(lambda: (SECRET,)).read(body, signature_of(body), NOON)
    assert isinstance(event, PaymentEvent)
    assert event.created == moment
