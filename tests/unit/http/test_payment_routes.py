"""The webhook of payments: what the provider is answered, and what is left in log and metrics."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Callable
from typing import Any

import pytest

from flowstack_core.adapters.stripe_events import StripeEvents
from flowstack_core.domain.plans import Tier
from flowstack_core.domain.subscriptions import Terms
from flowstack_core.http.payment_routes import payments_app
from flowstack_core.http.resolver import entry_point, logger
from flowstack_core.services.payments import PaymentService
from tests.support.fakes import World
from tests.support.faulty import Unreachable
from tests.support.http_events import HttpResponse, LambdaContext, http_event, response_of
from tests.support.in_memory_payments import InMemoryPaymentStore
from tests.support.metric_lines import totals
from tests.support.stripe_messages import SECRET, checkout, event_of, signature_of, subscription

BODY = checkout(metadata={"flowstack_tier": "starter"})


class Webhook:
    """The function behind the webhook, over stores in memory."""

    def __init__(self) -> None:
        self.world = World()
        self.world.subscribe(Tier.FREE)
        self.store = InMemoryPaymentStore()
        self.faults = Unreachable("link_payer")
        self.faults.active = False
        self.secrets: Callable[[], tuple[str, ...]] = lambda: (SECRET,)
        service = PaymentService(
            StripeEvents(self._secrets),
            self.faults.wrap(self.store),
            self.world.accounts,
            self.world.subscription_service,
            self.world.clock,
        )
        self._handler = entry_point(payments_app(lambda: service))

    def _secrets(self) -> tuple[str, ...]:
        return self.secrets()

    def post(self, body: str, headers: dict[str, str] | None = None, **event: Any) -> HttpResponse:
        """Send a body, signed unless other headers are given."""
        sent = {"Stripe-Signature": signature_of(body)} if headers is None else headers
        request = {**http_event("POST", "/webhooks/stripe", body, sent), **event}
        return response_of(self._handler(request, LambdaContext()))

    @property
    def tier(self) -> Tier:
        return self.world.tables.subscriptions["cus_1"].terms.tier


@pytest.fixture
def webhook() -> Webhook:
    return Webhook()


def metrics(capsys: pytest.CaptureFixture[str]) -> set[str]:
    return totals(capsys.readouterr().out.splitlines()).keys() - {"Requests"}


def test_an_event_is_carried_out_and_acknowledged(
    webhook: Webhook, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = webhook.post(BODY)
    assert (answer.status, answer.body) == (200, {"received": True, "ignored": None})
    assert answer.headers["Cache-Control"] == "no-store"
    assert webhook.tier is Tier.STARTER
    assert metrics(capsys) == set()


def test_the_signature_is_found_however_its_header_is_written(webhook: Webhook) -> None:
    assert webhook.post(BODY, {"stripe-signature": signature_of(BODY)}).status == 200


def test_a_body_that_the_gateway_encoded_is_verified_as_it_was_sent(webhook: Webhook) -> None:
    encoded = base64.b64encode(BODY.encode()).decode()
    headers = {"Stripe-Signature": signature_of(BODY)}
    assert webhook.post(encoded, headers, isBase64Encoded=True).status == 200
    assert webhook.tier is Tier.STARTER


def test_a_body_beyond_ascii_is_verified_as_it_was_sent(webhook: Webhook) -> None:
    body = json.dumps(json.loads(BODY) | {"note": "Søn ✓"}, ensure_ascii=False)
    assert webhook.post(body).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Stripe-Signature": "t=1,v1=00"},
        {"Stripe-Signature": signature_of(BODY, secret="whsec_wrong")},
        {"X-API-Key": "fs_anything"},
    ],
)
def test_what_is_not_signed_is_refused_and_changes_nothing(
    webhook: Webhook, headers: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    answer = webhook.post(BODY, headers)
    assert answer.status == 400
    assert answer.body == {
        "error": "The signature is missing, wrong or too old.",
        "error_code": "SIGNATURE_REJECTED",
        "details": {"field": "Stripe-Signature"},
        "request_id": "req-1",
    }
    assert webhook.store.standings == {}
    assert webhook.tier is Tier.FREE
    assert metrics(capsys) == {"PaymentSignaturesRejected"}


@pytest.mark.parametrize(
    ("body", "event", "status", "code"),
    [
        ("x" * 1_000_001, {}, 413, "PAYLOAD_TOO_LARGE"),
        ("", {}, 400, "INVALID_REQUEST"),
        ("not JSON", {}, 400, "INVALID_REQUEST"),
        ("%%%", {"isBase64Encoded": True}, 400, "INVALID_REQUEST"),
        (base64.b64encode(b"\xff\xfe").decode(), {"isBase64Encoded": True}, 400, "INVALID_REQUEST"),
    ],
)
def test_a_bad_body_is_refused_before_anything_is_made_of_it(
    webhook: Webhook, body: str, event: dict[str, Any], status: int, code: str
) -> None:
    answer = webhook.post(body, **event)
    assert (answer.status, answer.body["error_code"]) == (status, code)


def test_what_will_never_be_carried_out_is_acknowledged_and_counted(
    webhook: Webhook, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = webhook.post(event_of("customer.created", {}))
    assert (answer.status, answer.body["ignored"]) == (200, "type")
    assert metrics(capsys) == {"PaymentEventsIgnored"}


def test_what_cannot_be_carried_out_now_is_asked_for_again(
    webhook: Webhook, capsys: pytest.CaptureFixture[str]
) -> None:
    webhook.faults.active = True
    answer = webhook.post(BODY)
    assert (answer.status, answer.body["error_code"]) == (503, "SERVICE_UNAVAILABLE")
    assert "PaymentEventsFailed" in metrics(capsys)
    webhook.faults.active = False
    assert webhook.post(BODY).status == 200
    assert webhook.world.tables.subscriptions["cus_1"].terms == Terms.of(Tier.STARTER)


def test_an_event_that_cannot_be_read_is_a_failure_and_not_swallowed(
    webhook: Webhook, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = webhook.post(subscription(items="moved elsewhere"))
    assert answer.status == 500
    assert metrics(capsys) == {"PaymentEventsFailed"}


def test_without_its_secret_the_webhook_takes_nothing_and_asks_for_it_again(
    webhook: Webhook,
) -> None:
    def unreadable() -> tuple[str, ...]:
        raise PermissionError

    webhook.secrets = unreadable
    assert webhook.post(BODY).status == 500
    assert webhook.store.standings == {}


def test_the_log_names_the_event_and_nothing_that_was_sent(
    webhook: Webhook, caplog: pytest.LogCaptureFixture
) -> None:
    signed = signature_of(BODY, secret="whsec_canary")
    webhook.post(BODY, {"Stripe-Signature": signed})
    secret = checkout(event_id="evt_seen", customer_email="canary@example.com")
    webhook.post(secret)
    webhook.post(subscription(created="canary"))
    formatter = logging.getLogger(logger.name).handlers[0].formatter
    assert formatter is not None
    printed = "".join(formatter.format(record) for record in caplog.records)
    assert "evt_seen" in printed
    assert "unexpected failure" in printed
    for sent in ("canary", SECRET, signed, signature_of(secret)):
        assert sent not in printed
