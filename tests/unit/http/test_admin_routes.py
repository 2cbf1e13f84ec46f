"""The operators' API, over stores in memory."""

from __future__ import annotations

import json
import os
from datetime import timedelta
from typing import Any

import pytest

from flowstack_core.domain.api_keys import parse_key
from flowstack_core.domain.plans import Tier
from flowstack_core.services.accounts import AccountService
from flowstack_core.services.retrying import Retrier
from flowstack_core.services.subscriptions import SubscriptionService
from tests.support.fakes import FixedClock
from tests.support.faulty import Answerless
from tests.support.http_events import HttpResponse
from tests.unit.http.conftest import ADA, Admin


def assert_invalid(answer: HttpResponse, field: str) -> None:
    assert (answer.status, answer.body["error_code"]) == (400, "INVALID_REQUEST")
    assert answer.body["details"]["field"] == field


# --- customers -----------------------------------------------------------------------------


def test_a_new_customer_comes_with_a_key_that_is_shown_once(admin: Admin) -> None:
    answer = admin.send("POST", "", {"name": "Acme", "tier": "starter"})
    assert answer.status == 201
    assert answer.headers["Cache-Control"] == "no-store"
    text = answer.body["key"]["text"]
    assert parse_key(text) is not None
    customer_id = answer.body["customer"]["customer_id"]
    for path in ("", f"/{customer_id}", f"/{customer_id}/keys", f"/{customer_id}/audit-trail"):
        later = admin.send("GET", path)
        assert later.status == 200
        assert text not in json.dumps(later.body)


def test_a_customer_is_on_the_free_plan_unless_told_otherwise(admin: Admin) -> None:
    subscription = admin.create()["customer"]["subscription"]
    assert (subscription["tier"], subscription["session_limit"]) == ("free", 25)


@pytest.mark.parametrize("price", ["1200.10", 1200.10])
def test_a_contract_replaces_limit_and_price_to_the_cent(admin: Admin, price: object) -> None:
    created = admin.create(tier="enterprise", session_limit=0, price_usd=price)
    subscription = created["customer"]["subscription"]
    assert (subscription["session_limit"], subscription["price_cents"]) == (0, 120_010)
    assert subscription["price_usd"] == 1200.10


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "   "}, "name"),
        ({"name": "a\u0000b"}, "name"),
        ({"name": "\ud800"}, "name"),
        ({"name": "a" * 129}, "name"),
        ({"name": 5}, "name"),
        ({"tier": "gold"}, "tier"),
        ({"session_limit": -1}, "session_limit"),
        ({"session_limit": "5"}, "session_limit"),
        ({"session_limit": True}, "session_limit"),
        ({"session_limit": 10**10}, "session_limit"),
        ({"price_usd": -0.01}, "price_usd"),
        ({"price_usd": "1.005"}, "price_usd"),
        ({"price_usd": True}, "price_usd"),
        ({"price_usd": "NaN"}, "price_usd"),
        ({"price_usd": 1e300}, "price_usd"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_bad_field_is_named_and_creates_nobody(
    admin: Admin, fields: dict[str, Any], field: str
) -> None:
    assert_invalid(admin.send("POST", "", {"name": "Ada", **fields}), field)
    assert admin.world.tables.customers == {}


def test_customers_come_in_pages(admin: Admin) -> None:
    for number in range(5):
        admin.world.clock.advance(seconds=1)
        admin.create(name=f"Customer {number}")
    names, query = [], {"limit": "2"}
    while True:
        page = admin.send("GET", "", query=query)
        names += [customer["name"] for customer in page.body["customers"]]
        if page.body["next_cursor"] is None:
            break
        query = {"limit": "2", "cursor": page.body["next_cursor"]}
    assert names == [f"Customer {number}" for number in range(5)]


@pytest.mark.parametrize("limit", ["0", "101", "many"])
def test_a_page_has_a_sensible_size(admin: Admin, limit: str) -> None:
    assert_invalid(admin.send("GET", "", query={"limit": limit}), "limit")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "", None),
        ("GET", "/keys", None),
        ("POST", "/keys", {}),
        ("DELETE", "/keys/key_1", None),
        ("PUT", "/tier", {"tier": "starter"}),
        ("POST", "/credits", {"sessions": 1, "reason": "sorry"}),
        ("GET", "/audit-trail", None),
        ("GET", "/usage", None),
        ("GET", "/usage/audit", None),
        ("GET", "/usage-history", None),
        ("GET", "/forecast", None),
        ("GET", "/recommendations", None),
        ("GET", "/clock", None),
        ("PUT", "/clock", {"advance_minutes": 1}),
    ],
)
def test_nobody_is_not_found_whatever_is_asked(
    admin: Admin, method: str, path: str, body: Any
) -> None:
    answer = admin.send(method, f"/cus_nobody{path}", body)
    assert (answer.status, answer.body["error_code"]) == (404, "NOT_FOUND")
    assert admin.world.tables.audits == {}


def test_an_endless_id_is_refused_before_it_reaches_a_table(admin: Admin) -> None:
    assert_invalid(admin.send("GET", f"/{'x' * 3_000}/keys"), "customer_id")


# --- who acts ------------------------------------------------------------------------------


def test_the_actor_is_who_signed_and_no_header_names_another(admin: Admin) -> None:
    forged = {"X-Actor": "eve", "X-Amzn-Iam-User-Arn": "eve", "X-API-Key": "fs_eve"}
    created = admin.send("POST", "", {"name": "Ada"}, headers=forged)
    customer_id = created.body["customer"]["customer_id"]
    trail = admin.send("GET", f"/{customer_id}/audit-trail").body["audit_trail"]
    assert [record["actor"] for record in trail] == [ADA]


@pytest.mark.parametrize("actor", [None, ""])
def test_a_request_that_nobody_signed_finds_nothing_and_does_nothing(
    admin: Admin, actor: str | None
) -> None:
    admin.create()
    customer_id = admin.world.customer_id
    for method, path, body in (
        ("POST", "", {"name": "Eve"}),
        ("GET", "", None),
        ("GET", f"/{customer_id}", None),
        ("POST", f"/{customer_id}/keys", {}),
        ("GET", f"/{customer_id}/keys", None),
        ("GET", f"/{customer_id}/usage", None),
        ("GET", f"/{customer_id}/usage/audit", None),
        ("GET", f"/{customer_id}/usage-history", None),
        ("GET", f"/{customer_id}/forecast", None),
        ("GET", f"/{customer_id}/recommendations", None),
        ("GET", f"/{customer_id}/audit-trail", None),
        ("GET", f"/{customer_id}/clock", None),
        ("PUT", f"/{customer_id}/clock", {"advance_minutes": 1}),
        ("PUT", f"/{customer_id}/tier", {"tier": "enterprise"}),
        ("POST", f"/{customer_id}/credits", {"sessions": 5, "reason": "x"}),
    ):
        answer = admin.send(method, path, body, actor=actor)
        assert (answer.status, answer.body["error_code"]) == (404, "NOT_FOUND"), path
    assert len(admin.world.tables.audits) == 1


def test_every_act_is_in_the_trail_newest_first(admin: Admin) -> None:
    admin.create()
    customer_id = admin.world.customer_id
    for method, path, body in (
        ("POST", "/keys", {"name": "CI"}),
        ("PUT", "/tier", {"tier": "professional"}),
        ("POST", "/credits", {"sessions": 5, "reason": "sorry"}),
        ("PUT", "/clock", {"advance_minutes": 1}),
    ):
        admin.world.clock.advance(seconds=1)
        assert admin.send(method, f"/{customer_id}{path}", body).status in {200, 201}
    assert [record["action"] for record in admin.trail()] == [
        "clock.move",
        "sessions.credit",
        "subscription.change",
        "key.issue",
        "customer.create",
    ]
    change = admin.trail()[2]
    assert (change["before"]["tier"], change["after"]["tier"]) == ("free", "professional")


# --- keys ----------------------------------------------------------------------------------


def test_keys_are_issued_listed_masked_and_revoked(admin: Admin) -> None:
    admin.create()
    keys = f"/{admin.world.customer_id}/keys"
    expires_at = (admin.world.clock.now() + timedelta(days=1)).isoformat()
    issued = admin.send("POST", keys, {"name": "CI", "expires_at": expires_at})
    assert issued.status == 201
    key_id, text = issued.body["key"]["key_id"], issued.body["key"]["text"]
    listed = admin.send("GET", keys).body["keys"]
    assert [(key["name"], key["status"]) for key in listed][-1] == ("CI", "active")
    assert listed[-1]["masked"] == f"fs_…{text[-6:]}"
    revoked = admin.send("DELETE", f"{keys}/{key_id}")
    assert (revoked.status, revoked.body["key"]["status"]) == (200, "revoked")
    admin.world.clock.advance(hours=1)
    again = admin.send("DELETE", f"{keys}/{key_id}")
    assert again.body["key"]["revoked_at"] == revoked.body["key"]["revoked_at"]


def test_a_key_is_shown_expired_by_the_customers_clock(admin: Admin) -> None:
    admin.create()
    keys = f"/{admin.world.customer_id}/keys"
    admin.send("POST", keys, {"expires_at": "2026-11-16T00:00:00Z"})
    admin.world.clock.advance(days=2)
    assert admin.send("GET", keys).body["keys"][-1]["status"] == "expired"


@pytest.mark.parametrize(
    "moment", ["yesterday", "2026-12-01", "2026-12-01T00:00:00", 1_800_000_000, "9999-12-31T00:00Z"]
)
def test_an_expiry_is_an_instant_with_its_zone(admin: Admin, moment: object) -> None:
    admin.create()
    path = f"/{admin.world.customer_id}/keys"
    assert_invalid(admin.send("POST", path, {"expires_at": moment}), "expires_at")


def test_an_expiry_lies_in_the_future(admin: Admin) -> None:
    admin.create()
    path = f"/{admin.world.customer_id}/keys"
    body = {"expires_at": admin.world.clock.now().isoformat()}
    assert_invalid(admin.send("POST", path, body), "expires_at")


def test_a_key_of_another_customer_is_not_revoked(admin: Admin) -> None:
    key_id = admin.create()["key"]["key_id"]
    other = admin.create(name="Other")["customer"]["customer_id"]
    answer = admin.send("DELETE", f"/{other}/keys/{key_id}")
    assert answer.status == 404
    assert all(key.revoked_at is None for key in admin.world.tables.keys.values())


# --- subscriptions and credits -------------------------------------------------------------


def test_p1_an_upgrade_holds_at_once_and_p2_a_downgrade_waits(admin: Admin) -> None:
    admin.create(tier="starter")
    path = f"/{admin.world.customer_id}"
    raised = admin.send("PUT", f"{path}/tier", {"tier": "professional", "session_limit": 20_000})
    assert raised.body["subscription"]["session_limit"] == 20_000
    usage = admin.send("GET", f"{path}/usage").body
    assert (usage["tier"], usage["current_period"]["sessions_limit"]) == ("professional", 20_000)
    lowered = admin.send("PUT", f"{path}/tier", {"tier": "free"}).body["subscription"]
    assert lowered["tier"] == "professional"
    assert lowered["pending_change"]["tier"] == "free"
    assert lowered["pending_change"]["effective_at"] == "2026-12-01T00:00:00.000Z"
    assert lowered["pending_change"]["price_usd"] == 0


def test_a_credit_under_one_request_id_is_given_once(admin: Admin) -> None:
    admin.create()
    path = f"/{admin.world.customer_id}"
    body = {"sessions": 5, "reason": "sorry", "request_id": "ticket-7"}
    for _ in range(3):
        assert admin.send("POST", f"{path}/credits", body).body["period"] == "2026-11"
    usage = admin.send("GET", f"{path}/usage").body["current_period"]
    assert (usage["sessions_limit"], usage["sessions_credited"]) == (30, 5)


def test_a_request_id_credits_no_other_number(admin: Admin) -> None:
    admin.create()
    path = f"/{admin.world.customer_id}/credits"
    body = {"sessions": 5, "reason": "sorry", "request_id": "ticket-7"}
    assert admin.send("POST", path, body).status == 200
    again = admin.send("POST", path, {**body, "sessions": 6})
    assert (again.status, again.body["error_code"]) == (409, "IDEMPOTENCY_CONFLICT")
    assert (again.body["details"]["sessions"], again.body["details"]["period"]) == (5, "2026-11")
    counter = admin.world.counter()
    assert counter is not None
    assert counter.credited_sessions == 5


def test_a_request_id_that_names_another_record_does_not_swallow_a_credit(admin: Admin) -> None:
    admin.create()
    body = {"sessions": 5, "reason": "sorry", "request_id": admin.trail()[0]["audit_id"]}
    assert admin.send("POST", f"/{admin.world.customer_id}/credits", body).status == 200
    counter = admin.world.counter()
    assert counter is not None
    assert counter.credited_sessions == 5


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"sessions": 0}, "sessions"),
        ({"sessions": -5}, "sessions"),
        ({"sessions": 1.5}, "sessions"),
        ({"sessions": 10**12}, "sessions"),
        ({"reason": ""}, "reason"),
        ({"reason": "  "}, "reason"),
        ({"reason": "a" * 501}, "reason"),
        ({"reason": None}, "reason"),
        ({"reason": "\udfff"}, "reason"),
        ({"request_id": "a b"}, "request_id"),
        ({"request_id": "a" * 129}, "request_id"),
        ({"period": "2026-12"}, "period"),
    ],
)
def test_a_bad_credit_gives_nothing(admin: Admin, fields: dict[str, Any], field: str) -> None:
    admin.create()
    body = {"sessions": 5, "reason": "sorry", **fields}
    assert_invalid(admin.send("POST", f"/{admin.world.customer_id}/credits", body), field)
    assert admin.world.counter() is None


# --- usage ---------------------------------------------------------------------------------


def test_an_audit_sets_the_count_beside_the_records(admin: Admin) -> None:
    admin.create(tier="starter")
    admin.world.send("one")
    admin.world.send("two")
    path = f"/{admin.world.customer_id}/usage/audit"
    audit = admin.send("GET", path).body
    assert (audit["period"], audit["counted"], audit["expected"], audit["drift"]) == (
        "2026-11",
        2,
        2,
        0,
    )
    before = admin.send("GET", path, query={"period": "2026-10"}).body
    assert (before["period"], before["counted"]) == ("2026-10", 0)


@pytest.mark.parametrize("period", ["2026-13", "2026", "now", "2026-11-01", "0000-01", ""])
def test_a_period_is_a_month(admin: Admin, period: str) -> None:
    admin.create()
    path = f"/{admin.world.customer_id}/usage/audit"
    assert_invalid(admin.send("GET", path, query={"period": period}), "period")


# --- test clocks ---------------------------------------------------------------------------


def test_a_clock_moves_by_minutes_or_to_an_instant_and_never_back(admin: Admin) -> None:
    admin.create()
    path = f"/{admin.world.customer_id}/clock"
    assert admin.send("GET", path).body["offset_seconds"] == 0
    moved = admin.send("PUT", path, {"advance_minutes": 30.5}).body
    assert (moved["now"], moved["offset_seconds"]) == ("2026-11-15T12:30:30.000Z", 1_830)
    moved = admin.send("PUT", path, {"set_to": "2026-12-01T01:00:00+01:00"}).body
    assert moved["now"] == "2026-12-01T00:00:00.000Z"
    assert admin.send("GET", path).body == moved
    back = admin.send("PUT", path, {"set_to": "2026-11-30T00:00:00Z"})
    assert (back.status, back.body["error_code"]) == (409, "CONFLICT")
    assert admin.send("GET", path).body == moved


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "body"),
        ({"advance_minutes": 1, "set_to": "2026-12-01T00:00:00Z"}, "body"),
        ({"advance_minutes": 0}, "advance_minutes"),
        ({"advance_minutes": -1}, "advance_minutes"),
        ({"advance_minutes": 1e300}, "advance_minutes"),
        ({"advance_minutes": True}, "advance_minutes"),
        ({"set_to": "0001-01-01T00:00:00+23:00"}, "set_to"),
        ({"set_to": "9999-12-31T23:59:59-23:00"}, "set_to"),
        ({"set_to": 1_800_000_000}, "set_to"),
        ({"set_to": "2026-12-01T00:00:00"}, "set_to"),
    ],
)
def test_a_clock_is_not_moved_by_nonsense(admin: Admin, body: dict[str, Any], field: str) -> None:
    admin.create()
    assert_invalid(admin.send("PUT", f"/{admin.world.customer_id}/clock", body), field)
    assert admin.world.tables.offsets == {}


def test_a_clock_stops_before_dates_end(admin: Admin) -> None:
    admin.create()
    path = f"/{admin.world.customer_id}/clock"
    answers = [
        admin.send("PUT", path, {"advance_minutes": 60 * 24 * 365 * 10}) for _ in range(1_000 // 40)
    ]
    assert {answer.status for answer in answers} == {200, 400}
    assert answers[-1].body["error_code"] == "INVALID_REQUEST"


def test_without_test_clocks_there_is_no_such_route() -> None:
    admin = Admin(test_clocks=False)
    admin.create()
    path = f"/{admin.world.customer_id}/clock"
    for method, body in (("GET", None), ("PUT", {"advance_minutes": 1})):
        answer = admin.send(method, path, body)
        assert (answer.status, answer.body["error_code"]) == (404, "NOT_FOUND")
    assert admin.world.tables.offsets == {}


# --- contention ----------------------------------------------------------------------------


def contended(admin: Admin, *operations: str) -> None:
    """Let the store lose the answers of some operations."""
    world, clock = admin.world, FixedClock()
    accounts = Answerless(*operations).wrap(world.accounts)
    patient = Retrier(sleep=lambda seconds: clock.advance(seconds=seconds), chance=lambda: 0.5)
    world.account_service = AccountService(
        accounts, world.clock, clock, os.urandom, patient, world.closing_service
    )
    world.subscription_service = SubscriptionService(
        accounts, world.usage, world.clock, clock, os.urandom, patient, world.closing_service
    )


def test_an_act_whose_answer_was_lost_is_repeated_and_done_once(admin: Admin) -> None:
    contended(admin, "create_customer", "credit", "change_subscription", "add_key", "revoke_key")
    key_id = admin.create()["key"]["key_id"]
    path = f"/{admin.world.customer_id}"
    assert admin.send("POST", f"{path}/credits", {"sessions": 5, "reason": "x"}).status == 200
    assert admin.send("PUT", f"{path}/tier", {"tier": "starter"}).status == 200
    assert admin.send("POST", f"{path}/keys", {}).status == 201
    assert admin.send("DELETE", f"{path}/keys/{key_id}").status == 200
    counter = admin.world.counter()
    assert counter is not None
    assert (counter.session_limit, counter.tier) == (1_005, Tier.STARTER)
    assert len(admin.world.tables.audits) == 5
    assert len(admin.world.tables.keys) == 2


def test_contention_without_end_is_answered_with_503(admin: Admin) -> None:
    contended(admin, *["create_customer"] * 1_000)
    answer = admin.send("POST", "", {"name": "Ada"})
    assert (answer.status, answer.body["error_code"]) == (503, "SERVICE_UNAVAILABLE")
    assert int(answer.headers["Retry-After"]) > 0


def test_whoever_did_not_sign_finds_no_operator_s_route(admin: Admin) -> None:
    for method, path in (("GET", ""), ("GET", "/cus_1"), ("POST", ""), ("PUT", "/cus_1/tier")):
        answer = admin.send(method, path, {"nonsense": 1}, actor=None)
        assert (answer.status, answer.body["error_code"]) == (404, "NOT_FOUND")
