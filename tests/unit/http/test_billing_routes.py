"""``/subscription`` and ``/api/billing/history``, over stores in memory."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import re
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qsl, urljoin

import pytest

from flowstack_core.domain.errors import NotAcceptableError
from flowstack_core.domain.plans import Tier
from flowstack_core.domain.statements import Line, LineKind
from flowstack_core.domain.subscriptions import Origin, Terms, schedule_for
from flowstack_core.http.billing_documents import (
    ChangeAnswer,
    StatementAnswer,
    StatementPageAnswer,
    SubscriptionAnswer,
)
from flowstack_core.http.billing_routes import billing_app
from flowstack_core.http.negotiation import CSV, HTML, JSON, negotiated
from flowstack_core.http.resolver import entry_point
from flowstack_core.http.statement_page import statement_page
from flowstack_core.services.statements import CSV_COLUMNS
from tests.support.fakes import DECEMBER, NOON, NOVEMBER, World, at
from tests.support.http_events import HttpResponse, LambdaContext, http_event, response_of

HISTORY = "/api/billing/history"
DOWNGRADE = {"action": "downgrade", "tier": "starter"}
CANCEL = {"action": "cancel"}
UNDO = {"action": "undo"}


@dataclass
class Billing:
    """Sends requests as a customer."""

    world: World = field(default_factory=World)

    def __post_init__(self) -> None:
        self.world.subscribe(Tier.PROFESSIONAL)
        self._handler = entry_point(
            billing_app(
                lambda: self.world.subscription_service, lambda: self.world.statement_service
            )
        )

    def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        customer_id: str = "cus_1",
        **event: Any,
    ) -> HttpResponse:
        content = None if body is None else json.dumps(body)
        caller = {"customer_id": customer_id, "tier": "professional", "key_id": "key_7"}
        sent = http_event(method, path, content, authorizer=caller, **event)
        return response_of(self._handler(sent, LambdaContext()))

    def ask(self, body: Any, preview: str | None = None) -> HttpResponse:
        query = None if preview is None else {"preview": preview}
        return self.send("POST", "/subscription", body, query=query)

    def get(self, path: str, accept: str | None = None, **query: str) -> HttpResponse:
        headers = None if accept is None else {"Accept": accept}
        return self.send("GET", path, headers=headers, query=query or None)

    def shown(self) -> dict[str, Any]:
        answer = self.send("GET", "/subscription")
        assert answer.status == 200
        SubscriptionAnswer.model_validate(answer.body)
        subscription: dict[str, Any] = answer.body["subscription"]
        return subscription

    def written(self) -> Any:
        """Return all that a change could write."""
        tables = self.world.tables
        return deepcopy((tables.subscriptions, tables.counters, tables.audits, tables.statements))

    def months_pass(self, count: int) -> None:
        for _ in range(count):
            self.world.clock.move_to(self.world_period_end())
            self.world.closing_service.close_due("cus_1")

    def world_period_end(self) -> Any:
        return NOVEMBER.containing(self.world.clock.now()).end


@pytest.fixture
def billing() -> Billing:
    return Billing()


def assert_refused(answer: HttpResponse, status: int, code: str) -> None:
    assert (answer.status, answer.body["error_code"]) == (status, code), answer


# --- the subscription ----------------------------------------------------------------------


def test_the_subscription_is_shown(billing: Billing) -> None:
    assert billing.shown() == {
        "tier": "professional",
        "session_limit": 10_000,
        "price_cents": 9_900,
        "price_usd": 99.0,
        "version": 1,
        "pending_change": None,
    }


def test_p2_a_downgrade_waits_and_is_undone(billing: Billing) -> None:
    before = billing.shown()
    answer = billing.ask(DOWNGRADE)
    ChangeAnswer.model_validate(answer.body)
    lowered = answer.body["subscription"]
    assert lowered["tier"] == "professional"
    assert lowered["pending_change"] == {
        "kind": "change",
        "tier": "starter",
        "session_limit": 1_000,
        "price_cents": 2_900,
        "price_usd": 29.0,
        "effective_period": "2026-12",
        "effective_at": "2026-12-01T00:00:00.000Z",
        "origin": "customer",
    }
    assert billing.shown() == lowered
    undone = billing.ask(UNDO).body["subscription"]
    assert {**undone, "version": 1} == before


def test_p2_what_follows_a_change_that_waits_is_shown_with_it(billing: Billing) -> None:
    january = DECEMBER.next()
    ending = schedule_for(
        billing.world.tables.subscriptions["cus_1"],
        Terms.of(Tier.FREE),
        january,
        NOON,
        Origin.PAYMENT,
    )
    billing.world.tables.subscriptions["cus_1"] = ending
    answer = billing.ask(DOWNGRADE)
    ChangeAnswer.model_validate(answer.body)
    pending = answer.body["subscription"]["pending_change"]
    assert (pending["tier"], pending["effective_period"]) == ("starter", "2026-12")
    assert pending["followed_by"] == {
        "kind": "cancellation",
        "tier": "free",
        "session_limit": 25,
        "price_cents": 0,
        "price_usd": 0.0,
        "effective_period": "2027-01",
        "effective_at": "2027-01-01T00:00:00.000Z",
        "origin": "payment",
    }
    billing.world.clock.move_to(DECEMBER.start)
    assert billing.shown()["pending_change"] == pending["followed_by"]


@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_p3_a_cancellation_waits_for_the_end_of_the_period(billing: Billing, method: str) -> None:
    body = CANCEL if method == "POST" else None
    pending = billing.send(method, "/subscription", body).body["subscription"]["pending_change"]
    assert (pending["kind"], pending["tier"]) == ("cancellation", "free")
    assert billing.shown()["tier"] == "professional"
    billing.world.clock.move_to(DECEMBER.start)
    assert (billing.shown()["tier"], billing.shown()["pending_change"]) == ("free", None)


def test_p6_nobody_raises_the_own_tier(billing: Billing) -> None:
    before = billing.written()
    for preview in (None, "true"):
        answer = billing.ask({"action": "downgrade", "tier": "enterprise"}, preview)
        assert_refused(answer, 403, "UPGRADE_NOT_SELF_SERVICE")
        assert answer.body["details"]["requested_tier"] == "enterprise"
    assert billing.written() == before


def test_p6_what_the_operator_scheduled_is_not_the_customers_to_take_back(
    billing: Billing,
) -> None:
    billing.world.set_terms(Tier.STARTER)
    assert_refused(billing.ask(UNDO), 409, "CONFLICT")
    assert billing.send("DELETE", "/subscription").status == 200
    undone = billing.ask(UNDO).body["subscription"]
    assert (undone["pending_change"]["tier"], undone["pending_change"]["origin"]) == (
        "starter",
        "operator",
    )


@pytest.mark.parametrize(
    ("body", "said"),
    [(UNDO, "no scheduled change"), ({**DOWNGRADE, "tier": "professional"}, "already on")],
)
def test_a_change_that_does_not_fit_is_refused_in_words(
    billing: Billing, body: dict[str, str], said: str
) -> None:
    answer = billing.ask(body)
    assert_refused(answer, 409, "CONFLICT")
    assert said in answer.body["error"]


def test_asking_again_changes_nothing_more(billing: Billing) -> None:
    first = billing.ask(DOWNGRADE).body
    written = billing.written()
    assert billing.ask(DOWNGRADE).body == first
    assert billing.written() == written


def test_the_trail_names_the_key_and_no_header_names_another(billing: Billing) -> None:
    forged = {"X-Actor": "eve", "X-Key-Id": "key_8"}
    billing.send("POST", "/subscription", DOWNGRADE, headers=forged)
    billing.ask(UNDO)
    billing.send("DELETE", "/subscription")
    trail = billing.world.accounts.audit_trail("cus_1", 10)
    assert {record.actor for record in trail} == {"customer:key_7"}
    assert sorted(record.action for record in trail) == [
        "subscription.cancel",
        "subscription.downgrade",
        "subscription.undo",
    ]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"action": "upgrade", "tier": "enterprise"},
        {"action": "change", "tier": "free"},
        {"action": "downgrade"},
        {"action": "downgrade", "tier": "gold"},
        {"action": "downgrade", "tier": None},
        {"action": "downgrade", "tier": "starter", "session_limit": 5},
        {"action": "downgrade", "tier": "starter", "preview": True},
        {"action": "cancel", "tier": "free"},
        {"action": "undo", "reason": "x"},
        {"action": ["cancel"]},
        ["cancel"],
        "cancel",
    ],
)
def test_a_body_that_is_none_of_the_three_changes_nothing(billing: Billing, body: Any) -> None:
    before = billing.written()
    assert_refused(billing.ask(body), 400, "INVALID_REQUEST")
    assert billing.written() == before


def test_an_unknown_action_is_not_repeated_and_the_known_ones_are_named(billing: Billing) -> None:
    answer = billing.ask({"action": "sk-secret"})
    assert "'action' must be one of 'downgrade', 'cancel', 'undo'" in answer.body["error"]
    assert "sk-secret" not in answer.text


# --- trying a change dry -------------------------------------------------------------------


def test_a_preview_tells_everything_and_writes_nothing(billing: Billing) -> None:
    billing.world.send("one")
    before = billing.written()
    answer = billing.ask(DOWNGRADE, "true")
    ChangeAnswer.model_validate(answer.body)
    assert answer.body["preview"] == {
        "action": "downgrade",
        "effective_at": "2026-12-01T00:00:00.000Z",
        "effective_period": "2026-12",
        "immediate": False,
        "before": {
            "tier": "professional",
            "session_limit": 10_000,
            "price_cents": 9_900,
            "price_usd": 99.0,
        },
        "after": {
            "tier": "starter",
            "session_limit": 1_000,
            "price_cents": 2_900,
            "price_usd": 29.0,
        },
        "current_period": {
            "name": "2026-11",
            "sessions_used": 1,
            "sessions_limit": 10_000,
            "sessions_remaining": 9_999,
            "current_charges": 99.0,
        },
        "lost": [
            "9000 sessions a month",
            "advanced analytics",
            "priority support (email instead)",
        ],
        "pending_change": {
            "kind": "change",
            "tier": "starter",
            "session_limit": 1_000,
            "price_cents": 2_900,
            "price_usd": 29.0,
            "effective_period": "2026-12",
            "effective_at": "2026-12-01T00:00:00.000Z",
            "origin": "customer",
        },
    }
    assert billing.written() == before


@pytest.mark.parametrize(
    ("first", "tried"), [(None, DOWNGRADE), (None, CANCEL), (DOWNGRADE, UNDO), (DOWNGRADE, CANCEL)]
)
def test_what_a_preview_promises_is_what_the_change_does(
    billing: Billing, first: dict[str, str] | None, tried: dict[str, str]
) -> None:
    if first is not None:
        billing.ask(first)
    before = billing.written()
    promised = billing.ask(tried, "true").body["preview"]
    assert billing.written() == before
    done = billing.ask(tried, "false").body["subscription"]
    assert done["pending_change"] == promised["pending_change"]
    billing.world.clock.move_to(at(promised["effective_at"].removesuffix("Z")))
    after = billing.shown()
    assert {name: after[name] for name in promised["after"]} == promised["after"]


def test_deleting_can_be_tried_too(billing: Billing) -> None:
    before = billing.written()
    answer = billing.send("DELETE", "/subscription", query={"preview": "true"})
    assert answer.body["preview"]["action"] == "cancel"
    assert "managed models" in answer.body["preview"]["lost"]
    assert billing.written() == before


@pytest.mark.parametrize("preview", ["1", "True", "TRUE", "yes", "tru", " true", ""])
def test_a_misspelt_wish_to_try_changes_nothing(billing: Billing, preview: str) -> None:
    before = billing.written()
    assert_refused(billing.ask(DOWNGRADE, preview), 400, "INVALID_REQUEST")
    answer = billing.send("DELETE", "/subscription", query={"preview": preview})
    assert_refused(answer, 400, "INVALID_REQUEST")
    assert answer.body["details"]["field"] == "preview"
    assert billing.written() == before


# --- statements ----------------------------------------------------------------------------


def test_there_is_no_statement_before_a_period_has_ended(billing: Billing) -> None:
    assert billing.get(HISTORY).body == {"statements": [], "next_cursor": None}
    assert_refused(billing.get(f"{HISTORY}/2026-11"), 404, "NOT_FOUND")


def test_statements_come_newest_first_page_by_page(billing: Billing) -> None:
    billing.months_pass(5)
    periods, query = [], {"limit": "2"}
    while True:
        answer = billing.get(HISTORY, **query)
        StatementPageAnswer.model_validate(answer.body)
        periods += [statement["period"] for statement in answer.body["statements"]]
        if answer.body["next_cursor"] is None:
            assert "Link" not in answer.headers
            break
        query = {"limit": "2", "cursor": answer.body["next_cursor"]}
        link = re.fullmatch(r'<(.+)>; rel="next"', answer.headers["Link"])
        assert link is not None
        address = urljoin(f"https://api.example.com/prod{HISTORY}?limit=9", link[1])
        path, _, rest = address.partition("?")
        assert path == f"https://api.example.com/prod{HISTORY}"
        assert dict(parse_qsl(rest)) == query
    assert periods == ["2027-03", "2027-02", "2027-01", "2026-12", "2026-11"]


def test_the_published_client_finds_its_history(billing: Billing) -> None:
    """``flowstack`` 1.0.0 sends ``limit`` and takes whatever JSON object comes."""
    billing.months_pass(1)
    answer = billing.get(HISTORY, "*/*", limit="10")
    assert answer.headers["Content-Type"] == "application/json"
    (statement,) = answer.body["statements"]
    assert (statement["total"], statement["total_cents"]) == (99.0, 9_900)


def test_a_year_of_statements_is_a_page(billing: Billing) -> None:
    billing.months_pass(13)
    assert len(billing.get(HISTORY).body["statements"]) == 12


@pytest.mark.parametrize(
    ("query", "field_name"),
    [
        ({"limit": "0"}, "limit"),
        ({"limit": "101"}, "limit"),
        ({"limit": "ten"}, "limit"),
        ({"cursor": "yesterday"}, "cursor"),
        ({"cursor": ""}, "cursor"),
        ({"cursor": "2" * 600}, "cursor"),
    ],
)
def test_a_page_that_makes_no_sense_is_refused(
    billing: Billing, query: dict[str, str], field_name: str
) -> None:
    answer = billing.get(HISTORY, **query)
    assert_refused(answer, 400, "INVALID_REQUEST")
    assert answer.body["details"]["field"] == field_name


@pytest.mark.parametrize("period", ["2026-13", "latest", "2026-1", "0000-01", "2026-11-01"])
def test_a_statement_is_named_by_its_month(billing: Billing, period: str) -> None:
    assert_refused(billing.get(f"{HISTORY}/{period}"), 400, "INVALID_REQUEST")


def test_nobody_sees_the_statements_of_others(billing: Billing) -> None:
    billing.months_pass(1)
    others = billing.send("GET", HISTORY, customer_id="cus_2")
    assert others.body == {"statements": [], "next_cursor": None}
    other = billing.send("GET", f"{HISTORY}/2026-11", customer_id="cus_2")
    assert_refused(other, 404, "NOT_FOUND")
    assert billing.get(f"{HISTORY}/2026-11").status == 200


def test_a_statement_is_the_same_wherever_it_is_read(billing: Billing) -> None:
    billing.world.credit(50)
    billing.world.send("one")
    billing.ask(DOWNGRADE)
    billing.months_pass(1)
    alone = billing.get(f"{HISTORY}/2026-11")
    StatementAnswer.model_validate(alone.body)
    assert alone.body["statement"] == billing.get(HISTORY).body["statements"][0]
    assert alone.body["statement"]["plan_change"]["after"]["tier"] == "starter"
    assert [line["kind"] for line in alone.body["statement"]["lines"]] == [
        "plan",
        "session_credit",
    ]


@pytest.mark.parametrize("path", [HISTORY, f"{HISTORY}/2026-11"])
def test_statements_come_as_csv(billing: Billing, path: str) -> None:
    billing.world.credit(50)
    billing.months_pass(1)
    answer = billing.get(path, CSV)
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Content-Disposition"].startswith("attachment; filename=")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert tuple(rows[0]) == CSV_COLUMNS
    assert [(row["kind"], row["sessions"], row["amount"], row["total"]) for row in rows] == [
        ("plan", "10000", "99.00", "99.00"),
        ("session_credit", "50", "0.00", "99.00"),
    ]


def test_csv_has_pages_too(billing: Billing) -> None:
    billing.months_pass(3)
    first = billing.get(HISTORY, CSV, limit="2")
    assert first.headers["Link"] == '<?limit=2&cursor=2026-12>; rel="next"'
    last = billing.get(HISTORY, CSV, limit="2", cursor="2026-12")
    assert "Link" not in last.headers
    periods = [
        row["period"]
        for answer in (first, last)
        for row in csv.DictReader(io.StringIO(answer.text))
    ]
    assert periods == ["2027-01", "2026-12", "2026-11"]


# --- the page to print ---------------------------------------------------------------------


def test_a_page_says_what_the_statement_says(billing: Billing) -> None:
    billing.world.credit(50)
    billing.world.send("one")
    billing.ask(DOWNGRADE)
    billing.months_pass(1)
    answer = billing.get(f"{HISTORY}/2026-11", HTML)
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert answer.headers["Content-Disposition"] == 'inline; filename="statement-2026-11.html"'
    for said in (
        "stm_1_2026-11",
        "2026-11-01 00:00 UTC",
        "2026-12-01 00:00 UTC",
        "1 of 10,050",
        "Professional plan",
        "Sessions credited",
        ">99.00<",
        "From 2026-12-01 on: starter, 1,000 sessions and 29.00 USD a month",
    ):
        assert said in answer.text, said


def test_a_page_loads_and_runs_nothing(billing: Billing) -> None:
    billing.months_pass(1)
    answer = billing.get(f"{HISTORY}/2026-11", HTML)
    policy = dict(
        directive.strip().split(" ", 1)
        for directive in answer.headers["Content-Security-Policy"].split(";")
    )
    (style,) = re.findall(r"<style>(.*?)</style>", answer.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy == {
        "default-src": "'none'",
        "style-src": f"'sha256-{digest}'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "@media print" in style
    for loading in ("<script", "<link", "<img", "src=", "href=", "url(", "@import", " style="):
        assert loading not in answer.text


def test_nothing_in_a_statement_becomes_markup(billing: Billing) -> None:
    billing.months_pass(1)
    statement = billing.world.statement_service.statement("cus_1", NOVEMBER)
    evil = '<script>alert("x")</script>&$period'
    line = Line(LineKind.LATE_RELEASE, NOVEMBER, evil, -1, -12_345_678)
    page = statement_page(replace(statement, customer_id=evil, lines=(line,)))
    assert "<script" not in page
    assert page.count("&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt;&amp;$period") == 3
    assert "-123,456.78" in page


# --- which form ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", JSON),
        ("  ", JSON),
        ("*/*", JSON),
        ("application/json", JSON),
        ("text/csv", CSV),
        ("TEXT/CSV", CSV),
        ("text/csv; charset=utf-8; header=present", CSV),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", HTML),
        ("text/*", CSV),
        ("text/*, text/html", CSV),
        ("text/*;q=0.5, text/html", HTML),
        ("text/csv;q=0.5, text/html;q=0.6", HTML),
        ("text/csv;q=0.5, application/json;q=0.4", CSV),
        ("text/csv;q=0, text/*", HTML),
        ("*/*, application/json;q=0, text/csv;q=0.1", HTML),
        ("image/png, text/csv;q=0.001", CSV),
        ("text/csv ; Q=0.3 , application/json;q=0.2", CSV),
        ("nonsense, text/csv", CSV),
        ("text/html;q=2, text/csv", CSV),
        ("text/html;q=high, text/csv;q=0.1", CSV),
        (",, text/csv,", CSV),
    ],
)
def test_the_form_is_the_one_that_is_wanted_most(accept: str, form: str) -> None:
    assert negotiated(accept, (JSON, CSV, HTML)) == form


@pytest.mark.parametrize(
    "accept",
    ["image/png", "application/*;q=0, text/*;q=0", "*/*;q=0", "text", "text/csv;q=", "/", "*"],
)
def test_a_form_that_there_is_not_is_refused_with_those_that_there_are(accept: str) -> None:
    with pytest.raises(NotAcceptableError) as refused:
        negotiated(accept, (JSON, CSV, HTML))
    assert refused.value.details["offered"] == [JSON, CSV, HTML]


def test_the_refusal_is_json_and_says_what_there_is(billing: Billing) -> None:
    billing.months_pass(1)
    for path, offered in ((HISTORY, [JSON, CSV]), (f"{HISTORY}/2026-11", [JSON, CSV, HTML])):
        answer = billing.get(path, "application/pdf")
        assert_refused(answer, 406, "NOT_ACCEPTABLE")
        assert answer.body["details"]["offered"] == offered
    assert_refused(billing.get(HISTORY, HTML), 406, "NOT_ACCEPTABLE")


def test_accept_may_be_spread_over_several_headers(billing: Billing) -> None:
    billing.months_pass(1)
    event = http_event(
        "GET", HISTORY, headers={"Accept": "text/html"}, authorizer={"customer_id": "cus_1"}
    )
    event["multiValueHeaders"]["Accept"] = ["text/csv", "text/html"]
    answer = response_of(billing._handler(event, LambdaContext()))
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    del event["multiValueHeaders"]["Accept"]
    assert response_of(billing._handler(event, LambdaContext())).status == 406
