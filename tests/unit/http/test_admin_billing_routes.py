"""Subscriptions, statements and the month end in the operators' API, over stores in memory."""

from __future__ import annotations

import csv
import io
from copy import deepcopy
from datetime import timedelta
from typing import Any

import pytest

from flowstack_core.domain.month_end import ClosePage
from flowstack_core.domain.periods import Period
from flowstack_core.domain.plans import Tier
from flowstack_core.http.billing_documents import (
    PreviewDocument,
    StatementPageAnswer,
    SubscriptionDocument,
)
from flowstack_core.services.subscriptions import downgrade_to
from tests.support.fakes import DECEMBER, NOVEMBER, at
from tests.support.http_events import HttpResponse
from tests.unit.http.conftest import Admin

MONTH_ENDS = "/admin/month-ends"
RUN = f"{MONTH_ENDS}/2026-11"


def assert_refused(answer: HttpResponse, status: int, code: str) -> None:
    assert (answer.status, answer.body["error_code"]) == (status, code), answer


# --- subscriptions -------------------------------------------------------------------------


def test_a_subscription_is_shown_as_it_is_on_the_customers_clock(admin: Admin) -> None:
    admin.create(tier="starter")
    path = f"/{admin.world.customer_id}"
    admin.send("PUT", f"{path}/tier", {"tier": "free"})
    shown = admin.send("GET", f"{path}/subscription").body
    SubscriptionDocument.model_validate(shown["subscription"])
    assert (shown["customer_id"], shown["subscription"]["tier"]) == (path[1:], "starter")
    assert shown["subscription"]["pending_change"]["kind"] == "cancellation"
    admin.world.clock.move_to(DECEMBER.start)
    later = admin.send("GET", f"{path}/subscription").body["subscription"]
    assert (later["tier"], later["pending_change"]) == ("free", None)


@pytest.mark.parametrize(
    ("body", "immediate", "effective_at", "limit_now", "charges", "lost"),
    [
        ({"tier": "professional"}, True, "2026-11-15T12:00:00.000Z", 10_000, 99.0, []),
        (
            {"tier": "free"},
            False,
            "2026-12-01T00:00:00.000Z",
            1_000,
            29.0,
            ["975 sessions a month", "managed models", "email support (community instead)"],
        ),
        (
            {"tier": "starter", "session_limit": 900},
            False,
            "2026-12-01T00:00:00.000Z",
            1_000,
            29.0,
            ["100 sessions a month"],
        ),
    ],
)
def test_p1_p2_a_change_is_tried_dry(
    admin: Admin,
    body: dict[str, Any],
    immediate: bool,
    effective_at: str,
    limit_now: int,
    charges: float,
    lost: list[str],
) -> None:
    admin.create(tier="starter")
    path = f"/{admin.world.customer_id}/tier"
    tables = admin.world.tables
    before = deepcopy((tables.subscriptions, tables.counters, tables.audits))
    answer = admin.send("PUT", path, body, query={"preview": "true"})
    assert (tables.subscriptions, tables.counters, tables.audits) == before
    preview = answer.body["preview"]
    PreviewDocument.model_validate(preview)
    assert answer.body["customer_id"] == admin.world.customer_id
    assert (preview["action"], preview["immediate"]) == ("change", immediate)
    assert (preview["effective_at"], preview["lost"]) == (effective_at, lost)
    assert preview["current_period"]["sessions_limit"] == limit_now
    assert preview["current_period"]["current_charges"] == charges
    changed = admin.send("PUT", path, body, query={"preview": "false"}).body["subscription"]
    assert changed["pending_change"] == preview["pending_change"]
    counter = admin.world.usage_service.usage_document(admin.world.customer_id)["current_period"]
    assert counter["sessions_limit"] == limit_now


@pytest.mark.parametrize("preview", ["1", "True", "yes", ""])
def test_a_misspelt_wish_to_try_changes_nothing(admin: Admin, preview: str) -> None:
    admin.create(tier="starter")
    path = f"/{admin.world.customer_id}/tier"
    answer = admin.send("PUT", path, {"tier": "free"}, query={"preview": preview})
    assert_refused(answer, 400, "INVALID_REQUEST")
    assert len(admin.trail()) == 1


def test_p2_the_operator_takes_a_change_back_by_setting_the_present_tier(admin: Admin) -> None:
    admin.create(tier="starter")
    path = f"/{admin.world.customer_id}/tier"
    assert admin.send("PUT", path, {"tier": "free"}).body["subscription"]["pending_change"]
    undone = admin.send("PUT", path, {"tier": "starter"}).body["subscription"]
    assert (undone["tier"], undone["pending_change"]) == ("starter", None)


def test_p6_the_operators_word_replaces_what_the_customer_scheduled(admin: Admin) -> None:
    admin.create(tier="professional")
    admin.world.command(downgrade_to(Tier.FREE))
    path = f"/{admin.world.customer_id}/tier"
    pending = admin.send("PUT", path, {"tier": "starter"}).body["subscription"]["pending_change"]
    assert (pending["tier"], pending["origin"]) == ("starter", "operator")


# --- statements ----------------------------------------------------------------------------


def closed_months(admin: Admin, months: int) -> str:
    """Let months pass and close them; return the customer's path."""
    admin.create(tier="starter")
    path = f"/{admin.world.customer_id}"
    for _ in range(months):
        admin.world.clock.move_to(Period.containing(admin.world.clock.now()).end)
    assert admin.send("POST", f"{path}/close", {}).body == {
        "customer_id": path[1:],
        "closed": months,
    }
    return path


def test_ended_periods_are_closed_on_demand_and_once(admin: Admin) -> None:
    path = closed_months(admin, 3)
    assert admin.send("POST", f"{path}/close", {}).body["closed"] == 0
    assert len(admin.world.tables.statements) == 3


def test_a_request_closes_as_many_periods_as_fit_its_time(admin: Admin) -> None:
    admin.create()
    path = f"/{admin.world.customer_id}/close"
    admin.world.clock.advance(days=365 * 4)
    assert [admin.send("POST", path, {}).body["closed"] for _ in range(3)] == [36, 12, 0]


def test_statements_are_listed_and_shown_in_every_form(admin: Admin) -> None:
    path = closed_months(admin, 3)
    page = admin.send("GET", f"{path}/statements", query={"limit": "2"})
    StatementPageAnswer.model_validate(page.body)
    rest = admin.send("GET", f"{path}/statements", query={"cursor": page.body["next_cursor"]})
    statements = [*page.body["statements"], *rest.body["statements"]]
    assert [one["period"] for one in statements] == ["2027-01", "2026-12", "2026-11"]
    shown = admin.send("GET", f"{path}/statements/2026-11")
    assert shown.body["statement"] == statements[-1]
    table = admin.send("GET", f"{path}/statements/2026-11", headers={"Accept": "text/csv"})
    (row,) = csv.DictReader(io.StringIO(table.text))
    assert (row["period"], row["total"]) == ("2026-11", "29.00")
    printed = admin.send("GET", f"{path}/statements/2026-11", headers={"Accept": "text/html"})
    assert "FlowStack statement 2026-11" in printed.text
    assert_refused(admin.send("GET", f"{path}/statements/2027-02"), 404, "NOT_FOUND")
    assert_refused(admin.send("GET", f"{path}/statements/now"), 400, "INVALID_REQUEST")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/subscription"),
        ("GET", "/statements"),
        ("GET", "/statements/2026-11"),
        ("POST", "/close"),
    ],
)
def test_nobody_is_not_found(admin: Admin, method: str, path: str) -> None:
    body: Any = {} if method == "POST" else None
    assert_refused(admin.send(method, f"/cus_nobody{path}", body), 404, "NOT_FOUND")


# --- the month end -------------------------------------------------------------------------


def month_passed(admin: Admin, customers: int) -> list[str]:
    """Create customers, and let their first month pass."""
    ids = []
    for number in range(customers):
        admin.create(name=f"Customer {number}", tier="starter")
        admin.world.clock.advance(seconds=1)
        ids.append(admin.world.customer_id)
    admin.world.clock.move_to(DECEMBER.start + timedelta(minutes=10))
    return ids


def deliver(admin: Admin) -> None:
    """Deliver everything that waits in the queues."""
    world = admin.world
    while world.queue.steps or world.queue.pages:
        if world.queue.steps:
            world.month_end.step(*world.queue.steps.popleft())
        if world.queue.pages:
            world.close_worker.close(world.queue.pages.popleft(), 1)


def test_a_month_end_is_started_once_and_watched_to_its_end(admin: Admin) -> None:
    month_passed(admin, 3)
    assert_refused(admin.ask("GET", RUN), 404, "NOT_FOUND")
    started = admin.ask("POST", RUN, {})
    assert started.status == 201
    assert started.body["month_end"] == {
        "period": "2026-11",
        "customers": 0,
        "closed": 0,
        "open": 0,
        "failed": 0,
        "failures": [],
        "listed": False,
        "done": False,
        "started_at": "2026-12-01T00:10:00.000Z",
        "listed_at": None,
        "finished_at": None,
    }
    assert admin.ask("POST", RUN, {}).status == 200
    assert len(admin.world.queue.steps) == 1

    admin.world.month_end.step(*admin.world.queue.steps.popleft())
    under_way = admin.ask("GET", RUN).body["month_end"]
    assert (under_way["listed"], under_way["customers"]) == (True, 3)
    assert (under_way["closed"], under_way["open"], under_way["done"]) == (0, 3, False)

    deliver(admin)
    admin.ask("POST", RUN, {})
    finished = admin.ask("GET", RUN).body["month_end"]
    assert (finished["closed"], finished["open"], finished["done"]) == (3, 0, True)
    assert finished["finished_at"] == "2026-12-01T00:10:00.000Z"
    listed = admin.ask("GET", MONTH_ENDS).body["month_ends"]
    assert [(run["period"], run["customers"], run["finished_at"]) for run in listed] == [
        ("2026-11", 3, "2026-12-01T00:10:00.000Z")
    ]


def test_a_month_end_that_stands_still_is_resumed(admin: Admin) -> None:
    month_passed(admin, 1)
    admin.ask("POST", RUN, {})
    admin.world.queue.steps.clear()
    admin.world.clock.advance(hours=1)
    assert admin.ask("POST", RUN, {}).status == 200
    deliver(admin)
    assert admin.ask("POST", RUN, {}).body["month_end"]["done"]


def test_a_failure_is_seen_with_its_reason_and_redriven(admin: Admin) -> None:
    ids = month_passed(admin, 2)
    admin.ask("POST", RUN, {})
    admin.world.month_end.step(*admin.world.queue.steps.popleft())
    admin.world.queue.pages.clear()
    page = ClosePage(NOVEMBER, 0, (ids[0],))
    admin.world.queue.give_up(page, "TimeoutError: slow")
    admin.world.runs.record(page, (), {ids[0]: "TimeoutError: slow"}, admin.world.clock.now())
    admin.world.runs.record(ClosePage(NOVEMBER, 0, (ids[1],)), (ids[1],), {}, at("2026-12-01"))
    seen = admin.ask("GET", RUN).body["month_end"]
    assert (seen["closed"], seen["open"], seen["failed"]) == (1, 0, 1)
    assert seen["failures"] == [{"customer_id": ids[0], "reason": "TimeoutError: slow"}]
    assert not seen["done"]
    redrive = f"{MONTH_ENDS}/redrive"
    assert admin.ask("POST", redrive, {}, query={"limit": "1"}).body == {"redriven": 1}
    assert admin.ask("POST", redrive, {}).body == {"redriven": 0}
    deliver(admin)
    mended = admin.ask("GET", RUN).body["month_end"]
    assert (mended["closed"], mended["failed"], mended["done"]) == (2, 0, True)


def test_of_many_failures_the_first_hundred_are_shown(admin: Admin) -> None:
    ids = sorted(month_passed(admin, 101))
    admin.ask("POST", RUN, {})
    admin.world.month_end.step(*admin.world.queue.steps.popleft())
    for page in admin.world.queue.pages:
        failed = dict.fromkeys(page.customer_ids, "broken")
        admin.world.runs.record(page, (), failed, admin.world.clock.now())
    seen = admin.ask("GET", RUN).body["month_end"]
    assert (seen["failed"], seen["open"]) == (101, 0)
    assert [failure["customer_id"] for failure in seen["failures"]] == ids[:100]


def test_a_period_that_runs_is_not_closed(admin: Admin) -> None:
    answer = admin.ask("POST", RUN, {})
    assert_refused(answer, 400, "INVALID_REQUEST")
    assert answer.body["details"]["ends_at"] == "2026-12-01T00:00:00.000Z"
    assert admin.ask("GET", MONTH_ENDS).body == {"month_ends": []}


@pytest.mark.parametrize(
    ("method", "path", "query"),
    [
        ("GET", f"{MONTH_ENDS}/2026-13", None),
        ("GET", f"{MONTH_ENDS}/redrive", None),
        ("POST", f"{MONTH_ENDS}/now", None),
        ("GET", MONTH_ENDS, {"limit": "0"}),
        ("GET", MONTH_ENDS, {"limit": "101"}),
        ("POST", f"{MONTH_ENDS}/redrive", {"limit": "0"}),
        ("POST", f"{MONTH_ENDS}/redrive", {"limit": "1001"}),
    ],
)
def test_nonsense_is_refused(
    admin: Admin, method: str, path: str, query: dict[str, str] | None
) -> None:
    body: Any = {} if method == "POST" else None
    assert_refused(admin.ask(method, path, body, query=query), 400, "INVALID_REQUEST")


@pytest.mark.parametrize("actor", [None, ""])
def test_a_request_that_nobody_signed_finds_nothing_and_does_nothing(
    admin: Admin, actor: str | None
) -> None:
    (customer_id,) = month_passed(admin, 1)
    customer = f"/admin/customers/{customer_id}"
    admin.world.queue.give_up(ClosePage(NOVEMBER, 0, (customer_id,)), "broken")
    for method, path, body in (
        ("GET", f"{customer}/subscription", None),
        ("PUT", f"{customer}/tier", {"tier": "enterprise"}),
        ("GET", f"{customer}/statements", None),
        ("GET", f"{customer}/statements/2026-11", None),
        ("POST", f"{customer}/close", {}),
        ("GET", MONTH_ENDS, None),
        ("GET", RUN, None),
        ("POST", RUN, {}),
        ("POST", f"{MONTH_ENDS}/redrive", {}),
    ):
        answer = admin.ask(method, path, body, actor=actor)
        assert_refused(answer, 404, "NOT_FOUND")
        assert answer.body["error"] == "There is nothing at this path and method."
    assert admin.world.tables.statements == {}
    assert admin.world.runs.run(NOVEMBER) is None
    assert len(admin.world.queue.dead) == 1
