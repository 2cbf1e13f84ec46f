"""What Stripe sends, in the shape of its API, signed as Stripe's own library signs."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from itertools import count
from typing import Any

from stripe import WebhookSignature

from tests.support.fakes import NOON

SECRET = "whsec_test_first"
_numbers = count(1)


def seconds(moment: datetime) -> int:
    """Write an instant as Stripe does."""
    return int(moment.timestamp())


def event_of(kind: str, thing: dict[str, Any], at: datetime = NOON, event_id: str = "") -> str:
    """Return the body of an event."""
    return json.dumps(
        {
            "id": event_id or f"evt_{next(_numbers):06d}",
            "object": "event",
            "api_version": "2026-10-28.endive",
            "created": seconds(at),
            "type": kind,
            "livemode": False,
            "pending_webhooks": 1,
            "data": {"object": thing},
        },
        indent=2,
    )


def checkout(
    at: datetime = NOON,
    *,
    customer_id: str | None = "cus_1",
    subscription_id: str | None = "sub_1",
    event_id: str = "",
    **fields: Any,
) -> str:
    """Return a completed checkout."""
    session = {
        "id": "cs_test_1",
        "object": "checkout.session",
        "mode": "subscription",
        "payment_status": "paid",
        "customer": "cus_stripe_1",
        "subscription": subscription_id,
        "client_reference_id": customer_id,
        "metadata": {},
        **fields,
    }
    return event_of("checkout.session.completed", session, at, event_id)


def price(lookup_key: str | None, cents: int = 2900, **fields: Any) -> dict[str, Any]:
    """Return a monthly price in dollars."""
    return {
        "id": "price_1",
        "object": "price",
        "lookup_key": lookup_key,
        "metadata": {},
        "currency": "usd",
        "unit_amount": cents,
        "recurring": {"interval": "month", "interval_count": 1},
        **fields,
    }


def subscription(
    at: datetime = NOON,
    *,
    tier: str = "starter",
    status: str = "active",
    kind: str = "updated",
    subscription_id: str = "sub_1",
    event_id: str = "",
    began: datetime = NOON - timedelta(seconds=2),
    prices: list[dict[str, Any]] | None = None,
    **fields: Any,
) -> str:
    """Return a snapshot of a subscription."""
    period_end = seconds(NOON + timedelta(days=30))
    bought = prices if prices is not None else [price(f"flowstack_{tier}")]
    found = {
        "id": subscription_id,
        "object": "subscription",
        "customer": "cus_stripe_1",
        "status": status,
        "created": seconds(began),
        "cancel_at_period_end": False,
        "cancel_at": None,
        "metadata": {},
        "items": {
            "object": "list",
            "data": [
                {
                    "id": f"si_{number}",
                    "object": "subscription_item",
                    "price": one,
                    "quantity": 1,
                    "current_period_end": period_end,
                }
                for number, one in enumerate(bought)
            ],
        },
        **fields,
    }
    return event_of(f"customer.subscription.{kind}", found, at, event_id)


def failed_invoice(
    at: datetime = NOON,
    *,
    subscription_id: str | None = "sub_1",
    event_id: str = "",
    **fields: Any,
) -> str:
    """Return an invoice that could not be collected."""
    invoice = {
        "id": "in_1",
        "object": "invoice",
        "customer": "cus_stripe_1",
        "parent": {
            "type": "subscription_details",
            "subscription_details": {"subscription": subscription_id, "metadata": {}},
        },
        **fields,
    }
    return event_of("invoice.payment_failed", invoice, at, event_id)


def signature_of(body: str, at: datetime = NOON, secret: str = SECRET) -> str:
    """Sign a body as Stripe does."""
    header: str = WebhookSignature.generate_signature_header(body, secret, seconds(at))
    return header
