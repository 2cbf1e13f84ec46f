"""Exports and erasures in the operators' API, over stores in memory."""

from __future__ import annotations

import pytest

from tests.support.customers_items import every_kind
from tests.support.fakes import NOVEMBER
from tests.unit.http.conftest import ADA, Admin


def finish(admin: Admin) -> None:
    """Deliver what waits, each as late as it has to be."""
    queue = admin.world.rights_queue.messages
    while queue:
        customer_id, export_id, step = queue.pop(0)
        if export_id is None:
            admin.world.clock.advance(minutes=30)
            admin.world.erasure_service.step(customer_id, step)
        else:
            admin.world.export_service.step(customer_id, export_id, step)


def test_an_export_is_accepted_and_has_a_link_when_it_is_ready(admin: Admin) -> None:
    admin.create()
    path = f"/{admin.world.customer_id}/exports"
    for item in every_kind(admin.world.customer_id, [NOVEMBER], sessions=1):
        admin.world.customer_data.put(**item)
    accepted = admin.send("POST", path, {})
    assert accepted.status == 202
    export = accepted.body["export"]
    assert (export["status"], export["url"], export["records"]) == ("running", None, {})
    finish(admin)
    shown = admin.send("GET", f"{path}/{export['export_id']}")
    assert shown.status == 200
    assert shown.body["export"]["status"] == "ready"
    assert shown.body["export"]["records"]["sessions"] == 1
    assert shown.body["export"]["url"].startswith("https://archives.example/")
    assert shown.headers["Cache-Control"] == "no-store"
    admin.world.clock.advance(days=7)
    expired = admin.send("GET", f"{path}/{export['export_id']}").body["export"]
    assert (expired["status"], expired["url"]) == ("expired", None)


def test_an_erasure_stops_at_once_and_is_told_to_its_end(admin: Admin) -> None:
    admin.create(tier="starter")
    path = f"/{admin.world.customer_id}"
    accepted = admin.send("POST", f"{path}/erasure", {"confirm": admin.world.customer_id})
    assert accepted.status == 202
    erasure = accepted.body["erasure"]
    assert (erasure["status"], erasure["actor"]) == ("deleting", ADA)
    assert erasure["deletes_after"] == "2026-11-15T12:30:00.000Z"
    assert erasure["expires_by"] == "2026-11-16T12:30:00.000Z"
    refused = admin.send("POST", f"{path}/keys", {})
    assert (refused.status, refused.body["error_code"]) == (403, "ACCOUNT_CLOSED")
    finish(admin)
    done = admin.send("GET", f"{path}/erasure").body["erasure"]
    assert (done["status"], done["deletes_after"]) == ("done", None)
    again = admin.send("POST", f"{path}/erasure", {"confirm": admin.world.customer_id})
    assert again.body["erasure"] == done


def test_statements_of_who_was_erased_are_still_listed(admin: Admin) -> None:
    admin.create(tier="starter")
    customer_id = admin.world.customer_id
    admin.send("POST", f"/{customer_id}/erasure", {"confirm": customer_id})
    del admin.world.tables.customers[customer_id], admin.world.tables.subscriptions[customer_id]
    listed = admin.send("GET", f"/{customer_id}/statements")
    assert [one["period"] for one in listed.body["statements"]] == ["2026-11"]
    assert admin.send("GET", "/cus_nobody/statements").status == 404


@pytest.mark.parametrize("body", [{}, {"confirm": 5}, {"confirm": "cus_other"}, {"confirm": ""}])
def test_an_erasure_that_is_not_confirmed_is_refused(body: dict[str, object], admin: Admin) -> None:
    admin.create()
    refused = admin.send("POST", f"/{admin.world.customer_id}/erasure", body)
    assert (refused.status, refused.body["error_code"]) == (400, "INVALID_REQUEST")
    assert admin.send("GET", f"/{admin.world.customer_id}/erasure").status == 404


@pytest.mark.parametrize(("method", "rest"), [("POST", "exports"), ("GET", "exports/exp_9")])
def test_there_is_no_export_of_nobody(method: str, rest: str, admin: Admin) -> None:
    refused = admin.send(method, f"/cus_nobody/{rest}", {} if method == "POST" else None)
    assert (refused.status, refused.body["error_code"]) == (404, "NOT_FOUND")


def test_only_operators_may(admin: Admin) -> None:
    admin.create()
    path = f"/{admin.world.customer_id}"
    confirmed = {"confirm": admin.world.customer_id}
    for method, rest, body in (
        ("POST", "exports", {}),
        ("GET", "exports/exp_9", None),
        ("POST", "erasure", confirmed),
        ("GET", "erasure", None),
    ):
        assert admin.send(method, f"{path}/{rest}", body, actor=None).status >= 400
    assert not admin.world.customer_data.erasures
