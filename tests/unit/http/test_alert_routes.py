"""``/alerts`` for customers and for operators, over a store in memory."""

from __future__ import annotations

import json
from typing import Any

import pytest

from flowstack_core.domain.alerts import Alert
from flowstack_core.domain.plans import Tier
from flowstack_core.http.alert_documents import AlertsDocument
from flowstack_core.http.documents import ErrorEnvelope
from flowstack_core.http.resolver import entry_point
from tests.support.fakes import DECEMBER, NOON, NOVEMBER, World
from tests.support.http_events import HttpResponse, LambdaContext, http_event, response_of
from tests.support.whole_api import alerts_app_of
from tests.unit.http.conftest import Admin


class AlertsApi:
    """Sends requests to the function of alerts as a customer."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._handler = entry_point(alerts_app_of(world))

    def send(self, method: str, body: Any = None, customer_id: str | None = None) -> HttpResponse:
        text = body if body is None or isinstance(body, str) else json.dumps(body)
        customer_id = customer_id or self.world.customer_id
        authorizer = {"customer_id": customer_id, "tier": "free", "key_id": "key_7"}
        event = http_event(method, "/alerts", text, authorizer=authorizer)
        return response_of(self._handler(event, LambdaContext()))

    def put(self, **body: Any) -> HttpResponse:
        return self.send("PUT", body)


@pytest.fixture
def alerts() -> AlertsApi:
    world = World()
    world.subscribe(Tier.FREE)
    return AlertsApi(world)


def test_who_asked_for_nothing_has_the_default_thresholds(alerts: AlertsApi) -> None:
    answer = alerts.send("GET")
    assert answer.status == 200
    AlertsDocument.model_validate(answer.body)
    expected = {"period": "2026-11", "thresholds": [75, 90, 95], "email": None, "alerts": []}
    expected |= {"webhook": None}
    assert answer.body == expected
    assert answer.headers["Cache-Control"] == "no-store"


def test_the_webhook_is_shown_beside_the_thresholds_without_its_secret(alerts: AlertsApi) -> None:
    endpoint, secret = alerts.world.webhook_service.set_url(
        "key_7", alerts.world.customer_id, "https://hooks.example.com/a", alerts.world.budget
    )
    answer = alerts.send("GET")
    AlertsDocument.model_validate(answer.body)
    assert answer.body["webhook"]["url"] == endpoint.url
    assert str(secret) not in json.dumps(answer.body)
    assert alerts.send("GET", customer_id="cus_2").body["webhook"] is None


def test_the_alerts_of_the_present_period_are_shown_to_their_customer_only(
    alerts: AlertsApi,
) -> None:
    for period, threshold in ((NOVEMBER, 90), (NOVEMBER, 75), (DECEMBER, 75)):
        alerts.world.alerts.keep(Alert("cus_1", period, threshold, NOON, threshold, 100))
    answer = alerts.send("GET")
    AlertsDocument.model_validate(answer.body)
    assert answer.body["alerts"] == [
        {
            "id": f"alr_1_2026-11_0{threshold}",
            "threshold": threshold,
            "at": "2026-11-15T12:00:00.000Z",
            "sessions_used": threshold,
            "sessions_limit": 100,
        }
        for threshold in (75, 90)
    ]
    assert alerts.send("GET", customer_id="cus_10").body["alerts"] == []


def test_what_is_changed_is_answered_and_stays(alerts: AlertsApi) -> None:
    changed = alerts.put(thresholds=[100, 50], email="ada@example.com")
    assert changed.status == 200
    AlertsDocument.model_validate(changed.body)
    assert (changed.body["thresholds"], changed.body["email"]) == ([50, 100], "ada@example.com")
    assert alerts.send("GET").body == changed.body
    assert alerts.put(thresholds=[10]).body["email"] == "ada@example.com"
    assert alerts.put(email=None).body["email"] is None
    assert alerts.put().body["thresholds"] == [10]
    assert alerts.send("GET", customer_id="cus_2").body["thresholds"] == [75, 90, 95]


def test_the_key_that_acted_is_on_record(alerts: AlertsApi) -> None:
    alerts.put(email="ada@example.com")
    (audit,) = alerts.world.tables.audits.values()
    assert (audit.actor, audit.action) == ("key_7", "alerts.set")
    assert "ada@" not in json.dumps([audit.before, audit.after])


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"thresholds": []}, "thresholds"),
        ({"thresholds": list(range(1, 12))}, "thresholds"),
        ({"thresholds": [0]}, "thresholds"),
        ({"thresholds": [101]}, "thresholds"),
        ({"thresholds": [75, 75]}, "thresholds"),
        ({"thresholds": [75.5]}, "thresholds[0]"),
        ({"thresholds": ["75"]}, "thresholds[0]"),
        ({"thresholds": [True]}, "thresholds[0]"),
        ({"thresholds": None}, "thresholds"),
        ({"thresholds": 75}, "thresholds"),
        ({"email": "nobody"}, "email"),
        ({"email": 1}, "email"),
        ({"webhook": "https://example.com"}, "webhook"),
    ],
)
def test_what_cannot_be_asked_for_is_refused_by_its_field_and_changes_nothing(
    body: dict[str, Any], field: str, alerts: AlertsApi
) -> None:
    refused = alerts.send("PUT", body)
    assert (refused.status, refused.body["error_code"]) == (400, "INVALID_REQUEST")
    ErrorEnvelope.model_validate(refused.body)
    assert refused.body["details"]["field"] == field
    assert alerts.world.tables.alert_settings == {}
    assert alerts.world.tables.audits == {}


def test_one_good_field_is_not_taken_where_another_is_bad(alerts: AlertsApi) -> None:
    assert alerts.put(thresholds=[50], email="nobody").status == 400
    assert alerts.send("GET").body["thresholds"] == [75, 90, 95]


# --- operators -----------------------------------------------------------------------------------


def test_operators_see_a_customers_alerts(admin: Admin) -> None:
    admin.create()
    customer_id = admin.world.customer_id
    admin.world.alerts.keep(Alert(customer_id, NOVEMBER, 75, NOON, 75, 100))
    seen = admin.send("GET", f"/{customer_id}/alerts")
    assert seen.status == 200
    assert seen.body["customer_id"] == customer_id
    assert [alert["threshold"] for alert in seen.body["alerts"]] == [75]
    other = admin.send("GET", f"/{customer_id}/alerts", query={"period": "2026-10"})
    assert (other.body["period"], other.body["alerts"]) == ("2026-10", [])


def test_operators_are_told_what_they_got_wrong(admin: Admin) -> None:
    unknown = admin.send("GET", "/cus_nobody/alerts")
    assert (unknown.status, unknown.body["error_code"]) == (404, "NOT_FOUND")
    admin.create()
    path = f"/{admin.world.customer_id}/alerts"
    assert admin.send("GET", path, query={"period": "now"}).status == 400
    assert admin.send("GET", path, actor=None).status == 404
