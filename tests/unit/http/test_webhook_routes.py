"""The routes of webhooks, over stores in memory."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

import pytest

from flowstack_core.domain.webhooks import Delivery, Reply, WebhookEvent
from flowstack_core.http.documents import ErrorEnvelope
from flowstack_core.http.resolver import entry_point
from flowstack_core.http.webhook_documents import (
    AcceptedDeliveryDocument,
    DeletedWebhookDocument,
    DeliveriesDocument,
    DeliveryDocument,
    WebhookDocument,
)
from tests.support.fakes import NOON, World
from tests.support.http_events import HttpResponse, LambdaContext, http_event, response_of
from tests.support.in_memory_webhooks import InMemoryDeliveryLog
from tests.support.whole_api import alerts_app_of
from tests.unit.http.conftest import Admin

PATH = "/alerts/webhook"
URL = "https://hooks.example.com/canary-path?token=canary-token"


class WebhookApi:
    """Sends requests to the function as a customer."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._handler = entry_point(alerts_app_of(world))

    def send(
        self,
        method: str,
        path: str = "",
        body: Any = None,
        query: dict[str, str] | None = None,
    ) -> HttpResponse:
        authorizer = {"customer_id": self.world.customer_id, "tier": "free", "key_id": "key_7"}
        # What is posted is JSON, also where there is nothing to say.
        said = {} if method == "POST" and body is None else body
        text = None if said is None else json.dumps(said)
        event = http_event(method, f"{PATH}{path}", text, authorizer=authorizer, query=query)
        return response_of(self._handler(event, LambdaContext(seconds=10)))

    def put(self, url: str = URL) -> HttpResponse:
        return self.send("PUT", body={"url": url})

    def delivered(self, event_id: str, *statuses: int) -> Delivery:
        """Write down a delivery with its attempts."""
        log, now = InMemoryDeliveryLog(self.world.tables), self.world.clock.now()
        event = WebhookEvent(event_id, self.world.customer_id, "usage.alert", now, {"n": 75})
        delivery = log.add(Delivery.of(event, now))
        assert delivery is not None
        for status in statuses:
            after = delivery.after(delivery.attempted(Reply.answered(status), now, now), None, now)
            assert log.replace(delivery, after)
            delivery = after
        return delivery


@pytest.fixture
def webhooks() -> WebhookApi:
    return WebhookApi(World())


def test_a_secret_is_shown_when_it_is_made_and_never_again(webhooks: WebhookApi) -> None:
    made = webhooks.put()
    assert made.status == 200
    WebhookDocument.model_validate(made.body)
    assert made.body["secret"].startswith("whsec_")
    assert made.headers["Cache-Control"] == "no-store"
    for again in (webhooks.put(), webhooks.put(f"{URL}2"), webhooks.send("GET")):
        assert again.status == 200
        WebhookDocument.model_validate(again.body)
        assert "secret" not in again.body
    rotated = webhooks.send("POST", "/secret")
    assert rotated.body["secret"] != made.body["secret"]
    assert rotated.body["old_secrets_until"] == "2026-11-16T12:00:00.000Z"
    assert rotated.body["url"] == f"{URL}2"


def test_a_webhook_is_deleted_with_its_secrets(webhooks: WebhookApi) -> None:
    first = webhooks.put().body["secret"]
    deleted = webhooks.send("DELETE")
    assert (deleted.status, deleted.body) == (200, {"deleted": True})
    DeletedWebhookDocument.model_validate(deleted.body)
    assert webhooks.send("GET").status == 404
    assert webhooks.put().body["secret"] != first


@pytest.mark.parametrize(
    "url",
    [
        *("http://hooks.example.com/", "https://127.0.0.1/", "https://localhost/"),
        *("https://169.254.169.254/", "https://[::1]/", "https://10.0.0.1/", "ftp://a.example/"),
        *("https://u:p@hooks.example.com/", "https://hooks.example.com/#f", "nonsense"),
    ],
)
def test_where_events_cannot_be_sent_is_refused_and_not_repeated(
    url: str, webhooks: WebhookApi
) -> None:
    refused = webhooks.put(url)
    assert (refused.status, refused.body["error_code"]) == (400, "INVALID_REQUEST")
    ErrorEnvelope.model_validate(refused.body)
    assert refused.body["details"] == {"field": "url"}
    assert url not in json.dumps(refused.body)
    assert webhooks.send("GET").status == 404


@pytest.mark.parametrize(
    "body", [{}, {"url": ""}, {"url": 1}, {"url": URL, "secret": "whsec_x"}, {"url": "x" * 2_049}]
)
def test_a_body_of_another_form_is_refused(body: Any, webhooks: WebhookApi) -> None:
    assert webhooks.send("PUT", body=body).status == 400


def test_a_test_is_accepted_and_asked_for_again_at_once_it_is_the_same(
    webhooks: WebhookApi,
) -> None:
    assert webhooks.send("POST", "/test").status == 404
    webhooks.put()
    first, second = webhooks.send("POST", "/test"), webhooks.send("POST", "/test")
    assert first.status == 202
    AcceptedDeliveryDocument.model_validate(first.body)
    assert first.body == second.body


def test_deliveries_are_listed_paged_and_shown_with_every_attempt(webhooks: WebhookApi) -> None:
    webhooks.put()
    for number in range(3):
        webhooks.delivered(f"evt_{number}", 200)
        webhooks.world.clock.advance(minutes=1)
    page = webhooks.send("GET", "/deliveries", query={"limit": "2"})
    DeliveriesDocument.model_validate(page.body)
    assert [one["event_id"] for one in page.body["deliveries"]] == ["evt_2", "evt_1"]
    cursor = {"limit": "2", "cursor": page.body["next_cursor"]}
    rest = webhooks.send("GET", "/deliveries", query=cursor)
    assert [one["event_id"] for one in rest.body["deliveries"]] == ["evt_0"]
    assert rest.body["next_cursor"] is None
    shown = webhooks.send("GET", "/deliveries/evt_1")
    DeliveryDocument.model_validate(shown.body)
    assert shown.body["payload"]["data"] == {"n": 75}
    assert [one["status"] for one in shown.body["attempt_log"]] == [200]
    assert "canary" not in json.dumps([shown.body, page.body])
    for query in ({"cursor": "x"}, {"limit": "0"}, {"limit": "101"}):
        assert webhooks.send("GET", "/deliveries", query=query).status == 400
    assert webhooks.send("GET", "/deliveries/evt_9").status == 404


def test_a_redelivery_is_accepted_once_the_last_is_over_and_not_too_soon(
    webhooks: WebhookApi,
) -> None:
    webhooks.put()
    webhooks.delivered("evt_pending")
    webhooks.delivered("evt_failed", 500)
    pending = webhooks.send("POST", "/deliveries/evt_pending/redeliver")
    assert (pending.status, pending.body["error_code"]) == (409, "CONFLICT")
    soon = webhooks.send("POST", "/deliveries/evt_failed/redeliver")
    assert (soon.status, soon.body["error_code"]) == (429, "RATE_LIMITED")
    assert soon.headers["Retry-After"] == "10"
    webhooks.world.clock.advance(seconds=10)
    accepted = webhooks.send("POST", "/deliveries/evt_failed/redeliver")
    assert (accepted.status, accepted.body["event_id"]) == (202, "evt_failed")
    AcceptedDeliveryDocument.model_validate(accepted.body)
    assert webhooks.send("POST", "/deliveries/evt_9/redeliver").status == 404


def test_neither_address_nor_secret_is_in_a_log_or_the_audit_trail(
    webhooks: WebhookApi, printed: Callable[[], str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        secrets = [webhooks.put().body["secret"], webhooks.send("POST", "/secret").body["secret"]]
        webhooks.put("https://127.0.0.1/canary-path")
        webhooks.send("POST", "/test")
        webhooks.send("DELETE")
    said = printed() + repr(webhooks.world.tables.audits)
    assert "webhook secret rotated" in said
    for secret in (*secrets, "canary-path", "canary-token"):
        assert secret not in said
    actors = {audit.actor for audit in webhooks.world.tables.audits.values()}
    assert actors == {"key_7"}


# --- operators ---------------------------------------------------------------------------------


def test_an_operator_sees_deliveries_without_addresses_and_payloads(admin: Admin) -> None:
    customer_id = admin.create()["customer"]["customer_id"]
    customer = WebhookApi(admin.world)
    customer.put()
    customer.delivered("evt_1", 500)
    found = admin.send("GET", f"/{customer_id}/webhook-deliveries")
    assert found.status == 200
    (delivery,) = found.body["deliveries"]
    assert (delivery["status"], delivery["reason"]) == ("failed", "status")
    assert "canary" not in found.text
    assert "75" not in found.text.replace(NOON.isoformat(), "")
    assert admin.send("GET", "/cus_nobody/webhook-deliveries").status == 404


def test_an_operator_tries_again_what_was_given_up(admin: Admin) -> None:
    customer_id = admin.create()["customer"]["customer_id"]
    customer = WebhookApi(admin.world)
    customer.put()
    admin.world.webhook_queue.give_up(customer.delivered("evt_1", 500).next_step, "status")
    assert admin.ask("POST", "/admin/webhooks/redrive", {}, query={"limit": "5"}).body == {
        "redriven": 1
    }
    (message,) = admin.world.webhook_queue.messages
    assert customer_id in message.body
    assert admin.ask("POST", "/admin/webhooks/redrive", {}, query={"limit": "0"}).status == 400


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/admin/customers/cus_1/webhook-deliveries"), ("POST", "/admin/webhooks/redrive")],
)
def test_the_operators_routes_of_webhooks_are_the_operators(
    method: str, path: str, admin: Admin
) -> None:
    assert admin.ask(method, path, {}, actor=None).status == 404
