"""The operator's command, against the admin API over stores in memory."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import unquote, urlsplit

import httpx
import pytest
from aws_lambda_powertools.event_handler import APIGatewayRestResolver
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from typer.testing import CliRunner, Result

from flowstack_admin.client import AdminClient, find_connection_file
from flowstack_admin.failures import CannotConnectError, RefusedError, UsageError
from flowstack_admin.main import app
from flowstack_core.domain.alerts import Alert
from flowstack_core.domain.api_keys import parse_key
from flowstack_core.domain.plans import Tier
from flowstack_core.domain.rollups import DaySlice, Route
from flowstack_core.domain.subscriptions import Origin, Terms, schedule_downgrade, schedule_for
from flowstack_core.domain.webhooks import Delivery, Reply, Step, WebhookEvent
from flowstack_core.http.admin_routes import admin_app
from flowstack_core.services.subscriptions import cancellation
from tests.support.fakes import DECEMBER, NOON, NOVEMBER, Budget, World, at
from tests.support.http_events import LambdaContext, http_event, response_of
from tests.support.in_memory_webhooks import InMemoryDeliveryLog
from tests.support.local_http import LocalHandler, LocalServer
from tests.unit.services.test_margins import DOLLAR_10, add, deliver_all

STAGE = "/test"


class Gateway(LocalHandler):
    """API Gateway, as far as the command notices: routes below a stage, for who signs."""

    app: ClassVar[APIGatewayRestResolver]
    lose_next_answer: ClassVar[bool] = False

    def answer(self) -> None:
        body = self.read_body()
        if not signed_by_test(self.command, self.path, dict(self.headers.items()), body):
            self.reply_json(403, {"message": "The signature does not match."})
            return
        path, query = self.route()
        event = http_event(
            self.command,
            unquote(path.removeprefix(STAGE)),
            body.decode() or None,
            dict(self.headers.items()),
            query=query or None,
            identity={"userArn": "arn:aws:iam::000000000000:user/ada"},
        )
        context: Any = LambdaContext()
        found = response_of(type(self).app.resolve(event, context))
        if Gateway.lose_next_answer:
            Gateway.lose_next_answer = False
            self.drop_connection()
            return
        self.reply_json(found.status, found.body, {"Cache-Control": "no-store"})

    do_GET = do_POST = do_PUT = do_DELETE = answer  # noqa: N815 - the base class names them


def signed_by_test(method: str, target: str, headers: dict[str, str], body: bytes) -> bool:
    """Check Signature Version 4 as AWS does: by signing what arrived."""
    scheme, _, rest = headers["Authorization"].partition(" ")
    parts = dict(part.split("=", 1) for part in rest.split(", "))
    access_key, date, region, service, _ = parts["Credential"].split("/")
    signed = {name: headers[name.title()] for name in parts["SignedHeaders"].split(";")}
    request = AWSRequest(method, f"http://{headers['Host']}{target}", signed, body)
    request.context["timestamp"] = headers["X-Amz-Date"]
    auth = SigV4Auth(Credentials("test", "test"), service, region)
    text = auth.string_to_sign(request, auth.canonical_request(request))
    assert (scheme, access_key, region, service) == (
        "AWS4-HMAC-SHA256",
        "test",
        "us-east-1",
        "execute-api",
    )
    assert headers["X-Amz-Date"].startswith(date)
    return bool(auth.signature(text, request) == parts["Signature"])


@dataclass
class Operator:
    """Somebody at a shell, in a folder below one with a local stack."""

    url: str
    folder: Path
    world: World = field(default_factory=World)

    def run(self, *arguments: str, env: dict[str, str] | None = None) -> Result:
        environment = {"FLOWSTACK_ADMIN_API_URL": None, **(env or {})}
        return CliRunner().invoke(app, list(arguments), env=environment)

    def json(self, *arguments: str) -> dict[str, Any]:
        result = self.run(*arguments, "--json")
        assert result.exit_code == 0, result.output
        assert result.stderr == ""
        document: dict[str, Any] = json.loads(result.stdout)
        return document

    def text(self, *arguments: str) -> str:
        result = self.run(*arguments)
        assert result.exit_code == 0, result.output
        return result.stdout

    def customer(self, *arguments: str) -> str:
        customer_id = self.json("customer", "create", "--name", "Acme", *arguments)["customer_id"]
        self.world.customer_id = customer_id
        return str(customer_id)


@pytest.fixture
def operator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Operator]:
    folder = tmp_path / "project" / "deep" / "down"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    world = World()
    api = admin_app(
        lambda: world.account_service,
        lambda: world.usage_service,
        history=lambda: world.history_service,
        alerts=lambda: world.alert_service,
        subscriptions=lambda: world.subscription_service,
        statements=lambda: world.statement_service,
        closings=lambda: world.closing_service,
        month_end=lambda: world.month_end,
        exports=lambda: world.export_service,
        erasures=lambda: world.erasure_service,
        forecasts=lambda: world.forecast_service,
        recommendations=lambda: world.recommendation_service,
        webhooks=lambda: world.webhook_service,
        margins=lambda: world.margin_service,
        test_clocks=True,
    )
    handler = type("Handler", (Gateway,), {"app": api})
    with LocalServer(handler) as server:
        url = f"{server.url}{STAGE}"
        write_connection(tmp_path / "project", url)
        yield Operator(url, folder, world)


def write_connection(project: Path, url: str) -> None:
    (project / ".local").mkdir(exist_ok=True)
    facts = {"api_url": url, "region": "us-east-1", "stage": "local", "ca_file": None}
    (project / ".local" / "stack.json").write_text(json.dumps(facts))


# --- data rights ---------------------------------------------------------------------------


def test_an_export_is_started_and_its_link_shown_when_it_is_ready(operator: Operator) -> None:
    customer_id = operator.customer()
    export = operator.json("data", "export", customer_id)["export"]
    assert (export["status"], export["url"]) == ("running", None)
    export_id = export["export_id"]
    for step in range(2):
        operator.world.export_service.step(customer_id, export_id, step)
    shown = operator.text("data", "export-status", customer_id, export_id)
    assert "ready" in shown
    assert f"https://archives.example/{export_id}" in shown.replace("\n", "")


def test_an_erasure_wants_the_id_twice_and_tells_how_far_it_is(operator: Operator) -> None:
    customer_id = operator.customer()
    refused = operator.run("data", "erase", customer_id, "--confirm", "cus_other")
    assert refused.exit_code != 0
    assert "confirm must repeat" in refused.stderr
    assert operator.run("data", "erase-status", customer_id).exit_code != 0
    erasure = operator.json("data", "erase", customer_id, "--confirm", customer_id)["erasure"]
    assert erasure["status"] == "deleting"
    assert "deleting" in operator.text("data", "erase-status", customer_id)


# --- customers and keys --------------------------------------------------------------------


def test_creating_a_customer_prints_its_id_and_its_first_key_once(operator: Operator) -> None:
    arguments = ["--name", "Acme", "--tier", "enterprise", "--session-limit", "5"]
    created = operator.json("customer", "create", *arguments, "--price", "1200.10")
    key = parse_key(created["api_key"])
    assert key is not None
    assert key.digest in operator.world.tables.keys
    assert json.dumps(created).count(created["api_key"]) == 1
    assert created["customer_id"] in operator.world.tables.customers
    subscription = created["subscription"]
    assert (subscription["tier"], subscription["session_limit"]) == ("enterprise", 5)
    assert subscription["price_cents"] == 120_010


def test_a_person_reads_id_and_key_whole(operator: Operator) -> None:
    text = operator.text("customer", "create", "--name", "Acme [red]✓", "--tier", "starter")
    (customer,) = operator.world.tables.customers.values()
    assert customer.customer_id in text
    assert "Acme [red]✓" in text
    keys = [word for word in text.split() if parse_key(word) is not None]
    assert len(keys) == 1
    assert "only time" in text


def test_a_customer_is_shown_with_where_it_stands(operator: Operator) -> None:
    customer_id = operator.customer("--tier", "starter")
    operator.world.send("one")
    shown = operator.json("customer", "show", customer_id)
    assert shown["customer_id"] == customer_id
    assert shown["usage"]["current_period"]["sessions_used"] == 1
    text = operator.text("customer", "show", customer_id)
    assert "starter" in text
    assert "$29.00" in text
    assert "999 of 1000 sessions can still start." in text


def test_customers_are_listed_page_by_page_or_all_at_once(operator: Operator) -> None:
    ids = []
    for _ in range(3):
        operator.world.clock.advance(seconds=1)
        ids.append(operator.customer())
    page = operator.json("customer", "list", "--limit", "2")
    assert [customer["customer_id"] for customer in page["customers"]] == ids[:2]
    rest = operator.json("customer", "list", "--cursor", page["next_cursor"])
    assert [customer["customer_id"] for customer in rest["customers"]] == ids[2:]
    everyone = operator.text("customer", "list", "--limit", "1", "--all")
    assert all(customer_id in everyone for customer_id in ids)
    assert "--cursor" in operator.text("customer", "list", "--limit", "2")


def test_nobody_yet_is_said_in_words(operator: Operator) -> None:
    assert "no customers yet" in operator.text("customer", "list")


def test_keys_are_issued_listed_and_revoked(operator: Operator) -> None:
    customer_id = operator.customer()
    expiry = (operator.world.clock.now() + timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%S")
    issued = operator.json("key", "issue", customer_id, "--name", "CI", "--expires-at", expiry)
    assert parse_key(issued["api_key"]) is not None
    assert issued["expires_at"].startswith(expiry)
    listed = operator.json("key", "list", customer_id)
    assert [key["name"] for key in listed["keys"]] == ["first key", "CI"]
    assert issued["api_key"] not in json.dumps(listed)
    text = operator.text("key", "list", customer_id)
    assert issued["key_id"] in text
    assert issued["api_key"] not in text
    assert "is revoked" in operator.text("key", "revoke", customer_id, issued["key_id"])
    listed = operator.json("key", "list", customer_id)
    assert [key["status"] for key in listed["keys"]] == ["active", "revoked"]


# --- subscriptions, credits, audit trail -----------------------------------------------------


def test_a_tier_is_raised_at_once_and_lowered_later(operator: Operator) -> None:
    customer_id = operator.customer("--tier", "starter")
    assert "at once" in operator.text("subscription", "change", customer_id, "professional")
    raised = operator.json(
        "subscription", "change", customer_id, "enterprise", "--session-limit", "200000"
    )
    assert raised["subscription"]["session_limit"] == 200_000
    text = operator.text("subscription", "change", customer_id, "free")
    assert "waits for the next period" in text
    assert "from 2026-12-01T00:00:00.000Z" in text


def test_a_subscription_is_shown_with_what_waits_and_who_scheduled_it(operator: Operator) -> None:
    customer_id = operator.customer("--tier", "starter")
    operator.world.command(cancellation())
    shown = operator.json("subscription", "show", customer_id)["subscription"]
    assert shown["pending_change"]["kind"] == "cancellation"
    text = operator.text("subscription", "show", customer_id)
    assert "from 2026-12-01T00:00:00.000Z" in text
    assert "free, 25 sessions, $0.00 a month (by the customer)" in text


def test_a_subscription_is_shown_with_all_that_waits(operator: Operator) -> None:
    customer_id = operator.customer("--tier", "professional")
    subscriptions = operator.world.tables.subscriptions
    january = DECEMBER.next()
    ending = schedule_for(
        subscriptions[customer_id], Terms.of(Tier.FREE), january, NOON, Origin.PAYMENT
    )
    subscriptions[customer_id] = schedule_downgrade(ending, Tier.STARTER, NOON)
    text = operator.text("subscription", "show", customer_id)
    for said in ("from 2026-12-01T00:00:00.000Z", "from 2027-01-01T00:00:00.000Z", "the payment"):
        assert said in text


def test_a_change_is_tried_dry(operator: Operator) -> None:
    customer_id = operator.customer("--tier", "professional")
    change = ["subscription", "change", customer_id, "starter", "--preview"]
    text = operator.text(*change)
    for said in ("2026-12-01T00:00:00.000Z", "advanced analytics", "10,000", "$99.00", "Nothing"):
        assert said in text
    assert operator.json(*change)["preview"]["after"]["tier"] == "starter"
    upgrade = operator.text("subscription", "change", customer_id, "enterprise", "--preview")
    assert "at once" in upgrade
    subscription = operator.world.tables.subscriptions[customer_id]
    assert (subscription.version, subscription.pending) == (1, None)


def test_a_credit_is_given_with_its_reason(operator: Operator) -> None:
    customer_id = operator.customer()
    credited = operator.json("credit", customer_id, "5", "--reason", "outage of 12 November")
    assert (credited["sessions"], credited["period"]) == (5, "2026-11")
    text = operator.text("audit", customer_id)
    assert "reason: outage of 12 November" in text
    assert "arn:aws:iam::000000000000:user/ada" in text


def test_a_customers_alerts_are_shown(operator: Operator) -> None:
    customer_id = operator.customer()
    assert "There are no alerts here" in operator.text("usage", "alerts", customer_id)
    operator.world.alerts.keep(Alert(customer_id, NOVEMBER, 75, NOON, 750, 1_000))
    said = operator.text("usage", "alerts", customer_id)
    for part in ("75 %, 90 %, 95 %", "2026-11-15T12:00:00.000Z", "750", "1,000"):
        assert part in said
    document = operator.json("usage", "alerts", customer_id, "--period", "2026-10")
    assert (document["period"], document["alerts"]) == ("2026-10", [])


def test_a_credit_whose_answer_was_lost_can_be_repeated_and_counts_once(
    operator: Operator,
) -> None:
    customer_id = operator.customer()
    Gateway.lose_next_answer = True
    lost = operator.run("credit", customer_id, "5", "--reason", "outage", "--json")
    assert lost.exit_code == 3
    request_id = json.loads(lost.stderr)["details"]["hint"].split()[-1].rstrip(".")
    again = ["credit", customer_id, "5", "--reason", "outage", "--request-id", request_id]
    assert operator.json(*again)["request_id"] == request_id
    counter = operator.world.counter()
    assert counter is not None
    assert counter.credited_sessions == 5


def test_the_trail_tells_what_changed(operator: Operator) -> None:
    customer_id = operator.customer("--tier", "starter")
    operator.world.clock.advance(seconds=1)
    operator.json("subscription", "change", customer_id, "professional")
    text = operator.text("audit", customer_id)
    assert "tier: starter → professional" in text
    operator.json("subscription", "change", customer_id, "free")
    assert "pending_change: - → free from 2026-12" in operator.text("audit", customer_id)
    operator.world.clock.advance(seconds=1)
    operator.json("subscription", "change", customer_id, "professional")
    trail = operator.json("audit", customer_id, "--limit", "1")["audit_trail"]
    assert [record["action"] for record in trail] == ["subscription.change"]


# --- statements and the month end --------------------------------------------------------------


def test_statements_are_written_listed_and_shown(operator: Operator) -> None:
    customer_id = operator.customer("--tier", "starter")
    assert "no statements" in operator.text("statement", "list", customer_id)
    operator.world.clock.advance(days=75)
    assert operator.text("statement", "close", customer_id).split() == ["periods", "closed", "2"]
    assert operator.json("statement", "close", customer_id)["closed"] == 0
    page = operator.json("statement", "list", customer_id, "--limit", "1")
    assert [one["period"] for one in page["statements"]] == ["2026-12"]
    rest = operator.json("statement", "list", customer_id, "--cursor", page["next_cursor"])
    assert [one["period"] for one in rest["statements"]] == ["2026-11"]
    text = operator.text("statement", "list", customer_id, "--limit", "1")
    assert "$29.00" in text
    assert f"--cursor {page['next_cursor']}" in text
    shown = operator.text("statement", "show", customer_id, "2026-11")
    assert "Starter plan" in shown
    assert (
        operator.json("statement", "show", customer_id, "2026-11")["statement"]
        == (rest["statements"][0])
    )


def test_statements_are_written_as_csv(operator: Operator) -> None:
    customer_id = operator.customer("--tier", "starter")
    operator.world.clock.advance(days=75)
    operator.json("statement", "close", customer_id)
    listed = operator.run("statement", "list", customer_id, "--csv").stdout_bytes.decode()
    rows = list(csv.DictReader(io.StringIO(listed, newline="")))
    assert [(row["period"], row["amount"]) for row in rows] == [
        ("2026-12", "29.00"),
        ("2026-11", "29.00"),
    ]
    shown = operator.run("statement", "show", customer_id, "2026-11", "--csv").stdout_bytes.decode()
    assert shown.splitlines() == [listed.splitlines()[0], listed.splitlines()[2]]


def test_a_month_end_is_started_watched_and_redriven(operator: Operator) -> None:
    world = operator.world
    customer_id = operator.customer("--tier", "starter")
    world.clock.move_to(at("2026-12-01T00:10:00"))
    assert operator.run("month-end", "show", "2026-11").exit_code == 1
    assert "under way" in operator.text("month-end", "start", "2026-11")
    assert operator.json("month-end", "start", "2026-11")["month_end"]["customers"] == 0
    world.month_end.step(*world.queue.steps.popleft())
    page = world.queue.pages.popleft()
    world.queue.give_up(page, "TimeoutError: slow")
    world.runs.record(page, (), {customer_id: "TimeoutError: slow"}, world.clock.now())
    text = operator.text("month-end", "show", "2026-11")
    assert customer_id in text
    assert "TimeoutError: slow" in text
    assert "month-end redrive" in text
    assert operator.text("month-end", "redrive").split() == ["tried", "again", "1"]
    world.close_worker.close(world.queue.pages.popleft(), 1)
    assert "Everybody is closed" in operator.text("month-end", "show", "2026-11")
    listed = operator.json("month-end", "list")["month_ends"]
    assert [(run["period"], run["listed"]) for run in listed] == [("2026-11", True)]
    assert "2026-11" in operator.text("month-end", "list", "--limit", "1")


# --- webhooks ----------------------------------------------------------------------------------


def test_deliveries_are_listed_and_what_was_given_up_is_tried_again(operator: Operator) -> None:
    world = operator.world
    customer_id = operator.customer()
    assert "no deliveries" in operator.text("webhook", "deliveries", customer_id)
    world.webhook_service.set_url("key_1", customer_id, "https://canary.example.com/", Budget())
    log = InMemoryDeliveryLog(world.tables)
    for number in range(3):
        event = WebhookEvent(f"evt_{number}", customer_id, "usage.alert", world.clock.now(), {})
        delivery = log.add(Delivery.of(event, world.clock.now()))
        assert delivery is not None
        attempt = delivery.attempted(Reply.answered(503), world.clock.now(), world.clock.now())
        log.replace(delivery, delivery.after(attempt, None, world.clock.now()))
        world.clock.advance(minutes=1)
    text = operator.text("webhook", "deliveries", customer_id, "--limit", "2")
    assert "evt_2" in text
    assert "503" in text
    assert "failed" in text
    assert "evt_0" not in text
    assert "canary" not in text
    cursor = operator.json("webhook", "deliveries", customer_id, "--limit", "2")["next_cursor"]
    rest = operator.json("webhook", "deliveries", customer_id, "--cursor", cursor)
    assert [one["event_id"] for one in rest["deliveries"]] == ["evt_0"]
    world.webhook_queue.give_up(Step(customer_id, "evt_0", 2), "status")
    assert operator.text("webhook", "redrive").split() == ["tried", "again", "1"]
    assert len(world.webhook_queue.messages) == 1
    assert operator.run("webhook", "deliveries", "cus_nobody").exit_code == 1


# --- usage and clocks --------------------------------------------------------------------------


def test_a_forecast_and_advice_are_shown(operator: Operator) -> None:
    customer_id = operator.customer("--tier", "professional")
    assert "nothing to advise" in operator.text("usage", "advice", customer_id)
    today, route = operator.world.clock.now().date(), Route(True, "bedrock", "claude-haiku-4-5")
    for n in range(1, 57):
        part = DaySlice(today - timedelta(days=n), "agent", route, sessions=10)
        operator.world.rollups.given(customer_id, part)
    forecast = operator.json("usage", "forecast", customer_id)
    assert (forecast["projected_sessions"], forecast["method"]) == (155, "weekday_pattern")
    said = operator.text("usage", "forecast", customer_id)
    assert "in 80% of cases between" in said
    assert "by the weekdays of the last 8 weeks" in said
    (advice,) = operator.json("usage", "advice", customer_id)["recommendations"]
    assert advice["suggested_tier"] == "starter"
    assert "$70.00" in operator.text("usage", "advice", customer_id)


def test_usage_is_shown_and_audited(operator: Operator) -> None:
    customer_id = operator.customer("--tier", "starter")
    operator.world.send("one")
    usage = operator.json("usage", "show", customer_id)
    assert usage["current_period"]["sessions_used"] == 1
    assert "sessions left" in operator.text("usage", "show", customer_id)
    audit = operator.json("usage", "audit", customer_id)
    assert (audit["counted"], audit["records"], audit["drift"]) == (1, 1, 0)
    assert audit["rollups"] == {"sessions": 0, "missing": 1, "drifting_days": []}
    assert "rollups do not agree" in operator.text("usage", "audit", customer_id)
    operator.world.roll_up()
    text = operator.text("usage", "audit", customer_id)
    assert "counter agrees with the records" in text
    assert "rollups agree with the records" in text
    before = operator.json("usage", "audit", customer_id, "--period", "2026-10")
    assert before["period"] == "2026-10"


def test_the_history_is_shown_with_its_parts(operator: Operator) -> None:
    customer_id = operator.customer("--tier", "starter")
    operator.world.send("one")
    operator.world.roll_up()
    history = operator.json("usage", "history", customer_id, "--by", "model")
    assert history["totals"]["sessions"] == 1
    assert history["series"][-1]["breakdown"][0]["name"] == "claude-haiku-4-5"
    span = ("--granularity", "weekly", "--from", "2026-11-10", "--to", "2026-11-15")
    text = operator.text("usage", "history", customer_id, *span, "--by", "agent")
    assert "2026-11-09" in text
    assert "in all" in text


def test_drift_is_reported_in_so_many_words(operator: Operator) -> None:
    customer_id = operator.customer("--tier", "starter")
    operator.world.send("one")
    operator.world.tables.records.clear()
    assert operator.json("usage", "audit", customer_id)["drift"] == 1
    assert "DRIFT +1" in operator.text("usage", "audit", customer_id)


def test_margins_are_shown_of_one_customer_now_and_of_all_daily(operator: Operator) -> None:
    add(operator.world, "cus_1", talk=DOLLAR_10)
    one = operator.text("margin", "cus_1")
    for words in ("2026-11", "starter", "$29.00", "$10.00", "34.5 %", "$19.00"):
        assert words in one
    assert operator.json("margin", "cus_1", "--period", "2026-12")["managed_cost"] == 0
    none = operator.run("margin")
    assert (none.exit_code, "once a day" in none.stderr) == (1, True)
    operator.world.margin_reporter.ensure()
    deliver_all(operator.world)
    report = operator.text("margin")
    assert "cost more than 50 % of their price" in report
    tiers = [line.split()[:2] for line in report.splitlines() if line.startswith("starter")]
    assert tiers == [["starter", "1"]]
    assert any(line.startswith("cus_1") and "$10.00" in line for line in report.splitlines())
    assert operator.json("margin", "--period", "2026-11")["totals"]["customers"] == 1


def test_a_clock_is_shown_advanced_and_set(operator: Operator) -> None:
    customer_id = operator.customer()
    assert operator.json("clock", "show", customer_id)["offset_seconds"] == 0
    moved = operator.json("clock", "advance", customer_id, "--minutes", "30.5")
    assert moved["offset_seconds"] == 1_830
    moved = operator.json("clock", "set", customer_id, "2026-12-01T00:00:00")
    assert moved["now"] == "2026-12-01T00:00:00.000Z"
    assert "2026-12-01T00:00:00.000Z" in operator.text("clock", "show", customer_id)


# --- refusals ------------------------------------------------------------------------------


def test_a_refusal_is_exit_code_1_with_its_reason_code_and_hint(operator: Operator) -> None:
    result = operator.run("customer", "show", "cus_nobody")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "There is no such customer. [NOT_FOUND]" in result.stderr


def test_a_refusal_is_json_for_a_script_too(operator: Operator) -> None:
    customer_id = operator.customer()
    operator.json("clock", "advance", customer_id, "--minutes", "60")
    past = operator.world.clock.now().isoformat()
    for arguments in (
        ["clock", "set", customer_id, past, "--json"],
        ["--json", "clock", "set", customer_id, past],
    ):
        result = operator.run(*arguments)
        assert (result.exit_code, result.stdout) == (1, "")
        envelope = json.loads(result.stderr)
        assert envelope["error_code"] == "CONFLICT"
        assert envelope["request_id"] == "req-1"


def test_every_problem_of_a_bad_request_is_shown(operator: Operator) -> None:
    result = operator.run("customer", "create", "--name", " ", "--session-limit", "9999999999")
    assert result.exit_code == 1
    assert "name" in result.stderr
    assert "session_limit" in result.stderr


def test_json_may_stand_before_or_after_the_command(operator: Operator) -> None:
    before = operator.run("--json", "customer", "list")
    after = operator.run("customer", "list", "--json")
    assert json.loads(before.stdout) == json.loads(after.stdout)


@pytest.mark.parametrize(
    "arguments",
    [
        ["customer", "create"],
        ["customer", "create", "--name", "A", "--tier", "gold"],
        ["customer", "create", "--name", "A", "--session-limit", "-1"],
        ["customer", "create", "--name", "A", "--price", "cheap"],
        ["customer", "create", "--name", "A", "--price", "1.005"],
        ["customer", "create", "--name", "A", "--price", "NaN"],
        ["customer", "show", ""],
        ["customer", "show", ".."],
        ["subscription", "change", "cus_1", "gold"],
        ["credit", "cus_1", "0", "--reason", "x"],
        ["credit", "cus_1", "5"],
        ["statement", "list", "cus_1", "--limit", "0"],
        ["statement", "show", "cus_1", ".."],
        ["month-end", "show"],
        ["month-end", "redrive", "--limit", "0"],
        ["webhook", "redrive", "--limit", "0"],
        ["clock", "set", "cus_1", "tomorrow"],
        ["clock", "advance", "cus_1"],
        ["nonsense"],
        ["--api-url", "no url", "customer", "list"],
        ["--api-url", "http://api.example.com/prod", "customer", "list"],
    ],
)
def test_wrong_usage_is_exit_code_2_and_asks_nobody(
    operator: Operator, arguments: list[str]
) -> None:
    result = operator.run(*arguments)
    assert result.exit_code == 2, result.output
    assert operator.world.tables.audits == {}


def test_an_id_leads_nowhere_else(operator: Operator) -> None:
    """An id is one segment of the path, whatever it holds."""
    for strange in ("a/b", "../..", "a?b=c", "a#b", "ü b"):
        result = operator.run("customer", "show", strange, "--json")
        assert result.exit_code == 1, strange
        assert json.loads(result.stderr)["error_code"] == "NOT_FOUND"


# --- finding the API ---------------------------------------------------------------------------


def test_the_nearest_local_stack_above_is_found(operator: Operator) -> None:
    found = find_connection_file(operator.folder)
    assert found == operator.folder.parents[1] / ".local" / "stack.json"


def test_without_a_local_stack_it_is_said_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["customer", "list"], env={"FLOWSTACK_ADMIN_API_URL": None})
    assert result.exit_code == 3
    assert "make run" in result.stderr
    assert "--api-url" in result.stderr


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"api_url": 5', '{"api_url": "http://x"}'])
def test_a_broken_connection_file_is_exit_code_3(operator: Operator, content: str) -> None:
    (operator.folder.parents[1] / ".local" / "stack.json").write_text(content)
    result = operator.run("customer", "list")
    assert result.exit_code == 3
    assert "does not describe a local stack" in result.stderr


def test_nobody_at_the_other_end_is_exit_code_3(operator: Operator) -> None:
    write_connection(operator.folder.parents[1], "http://127.0.0.1:9/test")
    result = operator.run("customer", "list", "--json")
    assert (result.exit_code, result.stdout) == (3, "")
    assert json.loads(result.stderr)["error_code"] == "CANNOT_CONNECT"


CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_SESSION_TOKEN": None,
    "AWS_PROFILE": None,
    "AWS_CONFIG_FILE": "/nonexistent",
    "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_DEFAULT_REGION": "us-east-1",
}


def test_an_api_that_is_named_is_asked_with_the_callers_credentials(operator: Operator) -> None:
    customer_id = operator.customer()
    (operator.folder.parents[1] / ".local" / "stack.json").unlink()
    named: list[tuple[list[str], dict[str, str | None]]] = [
        (["--api-url", operator.url], {}),
        ([], {"FLOWSTACK_ADMIN_API_URL": f"{operator.url}/"}),
    ]
    for arguments, environment in named:
        result = CliRunner().invoke(
            app,
            [*arguments, "customer", "show", customer_id, "--json"],
            env={**CREDENTIALS, **environment},
        )
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout)["customer_id"] == customer_id


@pytest.mark.parametrize(
    ("arguments", "environment", "code"),
    [
        ([], {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}, 3),
        (["--profile", "nobody"], {}, 3),
        ([], {"AWS_DEFAULT_REGION": None}, 2),
    ],
    ids=["no credentials", "no such profile", "no region"],
)
def test_what_is_missing_for_a_signature_is_said(
    operator: Operator, arguments: list[str], environment: dict[str, str | None], code: int
) -> None:
    result = CliRunner().invoke(
        app,
        ["--api-url", operator.url, *arguments, "customer", "list"],
        env={**CREDENTIALS, **environment},
    )
    assert result.exit_code == code, result.output
    assert result.stderr.startswith("Error: ")


def test_the_region_is_read_from_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in CREDENTIALS.items():
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    url = "https://abc123.execute-api.eu-central-1.amazonaws.com/prod"
    client = AdminClient.of_aws(url, None, None)
    signed = client._signed_headers("GET", f"{url}/admin/customers", None, "*/*")
    assert "/eu-central-1/execute-api/aws4_request" in signed["Authorization"]
    assert urlsplit(client.api_url).path == "/prod"
    with pytest.raises(UsageError):
        AdminClient.of_aws(url.replace("https", "ftp"), None, None)


# --- the client ------------------------------------------------------------------------------


def client_of(response: httpx.Response) -> AdminClient:
    transport = httpx.MockTransport(lambda request: response)
    http = httpx.Client(transport=transport)
    return AdminClient("https://api.example.com", "us-east-1", Credentials("test", "test"), http)


@pytest.mark.parametrize(
    "response",
    [
        httpx.Response(200, html="<p>Welcome</p>"),
        httpx.Response(502, text="Bad gateway"),
        httpx.Response(200, json=["a"]),
    ],
    ids=["page", "gateway", "list"],
)
def test_what_is_not_flowstack_is_told_apart_from_a_refusal(response: httpx.Response) -> None:
    with pytest.raises(CannotConnectError, match="is not FlowStack"):
        client_of(response).get("/admin/customers")


def test_a_refusal_without_an_envelope_is_a_refusal_still() -> None:
    with pytest.raises(RefusedError) as refusal:
        client_of(httpx.Response(403, json={"message": "Forbidden"})).get("/admin/customers")
    assert (refusal.value.status, refusal.value.error_code) == (403, "HTTP_403")
    assert refusal.value.message
