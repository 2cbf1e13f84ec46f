"""The console in a headless Chromium, on the deployed stack."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from flowstack_admin.console import FILES, ConsoleServer
from flowstack_core.http.console_files import ConsoleFiles
from tests.integration.conftest import Customer, Stack
from tests.support.browser import chromium
from tests.support.console_documents import (
    KEY,
    Document,
    contract_documents,
    envelope,
    forecast,
    history,
    operator_documents,
    usage,
)
from tests.support.console_page import DESKTOP, PHONE, ConsolePage, new_context

WEIGHT = 150_000
JUMP = 0.1
"""Layout shift from which on people notice (Core Web Vitals)."""

Opener = Callable[..., ConsolePage]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture
def canned() -> dict[str, Document]:
    """What is answered in the place of the API, so that there are days and alerts to show."""
    return contract_documents()


@pytest.fixture
def opened(stack: Stack, browser: Browser, canned: dict[str, Document]) -> Iterator[Opener]:
    """Opens pages; when the test is over, none of them had any trouble."""
    pages: list[ConsolePage] = []

    def open_(*, real: bool = False, **context: Any) -> ConsolePage:
        page = new_context(browser, **context).new_page()
        console = ConsolePage(page, f"{stack.connection.api_url}/console")
        for path, document in ({} if real else canned).items():
            console.answer(path, document)
        pages.append(console)
        return console

    yield open_
    for console in pages:
        console.assert_untroubled()
        console.close()


@pytest.fixture
def console(opened: Opener) -> ConsolePage:
    return opened()


@pytest.fixture
def customer(stack: Stack) -> Customer:
    return stack.customer("professional")


def closed_month(stack: Stack, customer: Customer) -> str:
    """Let a customer's present month end; return its name."""
    period = str(customer.usage()["current_period"]["name"])
    end = str(customer.usage()["current_period"]["end"])
    stack.set_clock(customer, end)
    stack.admin.post(f"/admin/customers/{customer.customer_id}/close", {})
    return period


# --- loading ---------------------------------------------------------------------------------


def test_the_page_is_light(console: ConsolePage, customer: Customer) -> None:
    console.sign_in(customer.key)
    files = [one for one in console.requests if "/console" in urlsplit(one.url).path]
    bodies = [one.response() for one in files]
    assert len(files) > 10
    assert sum(len(body.body()) for body in bodies if body is not None) < WEIGHT


def test_nothing_jumps_while_it_loads(console: ConsolePage, customer: Customer) -> None:
    console.page.add_init_script(
        """window.shifts = 0;
        new PerformanceObserver((list) => {
          for (const entry of list.getEntries()) if (!entry.hadRecentInput) shifts += entry.value;
        }).observe({ type: "layout-shift", buffered: true });"""
    )
    slow(console, "usage/forecast", "usage/history", "alerts")
    console.sign_in(customer.key)
    console.page.wait_for_timeout(700)  # input excuses half a second of shifts
    assert console.page.evaluate("shifts") < JUMP


def slow(console: ConsolePage, *paths: str, milliseconds: int = 800) -> None:
    """Delay answers that stand in for the API's."""
    for path in paths:

        def late(route: Route) -> None:
            console.page.wait_for_timeout(milliseconds)
            route.fallback()

        console.page.route(console.at(path), late)


def test_what_is_slow_is_seen_to_load(console: ConsolePage, customer: Customer) -> None:
    console.hold("usage/forecast")
    console.load()
    console.enter(customer.key)
    card = console.card("Forecast")
    expect(card).to_have_attribute("aria-busy", "true")
    expect(card.get_by_text("Loading…")).to_be_attached()
    expect(card.locator(".bone").first).to_be_visible()
    expect(console.card("Usage now").locator("#used")).to_have_text("0")
    console.held.pop().fulfill(json=forecast())
    expect(card.get_by_role("img")).to_be_visible()
    expect(card.locator(".bone")).to_have_count(0)


# --- what it shows ---------------------------------------------------------------------------


def test_a_customer_sees_where_it_stands(
    console: ConsolePage, stack: Stack, customer: Customer
) -> None:
    for number in range(3):
        assert customer.invoke(f"console-{number}").status_code == 200
    console.sign_in(customer.key)
    card = console.card("Usage now")
    expect(card.locator("#used")).to_have_text("3")
    expect(card).to_contain_text("of 10,000 sessions")
    expect(card).to_contain_text("9,997 sessions left.")
    expect(card.get_by_role("img", name="3 of 10,000 sessions used")).to_be_visible()
    expect(console.page.get_by_role("banner")).to_contain_text("Professional")
    assert customer.invoke("console-3").status_code == 200
    console.button("Refresh").click()
    expect(card.locator("#used")).to_have_text("4")
    expect(console.page.locator("#announcer")).to_have_text("Everything was loaded again.")


def test_every_card_understands_what_the_api_says(opened: Opener, customer: Customer) -> None:
    for number in range(2):
        assert customer.invoke(f"real-{number}").status_code == 200
    console = opened(real=True)
    console.sign_in(customer.key)
    failed = {
        card.get_by_role("heading").first.inner_text()
        for card in console.page.locator("section.card").all()
        if card.locator(".problem").count()
    }
    assert failed == set()


def test_each_chart_says_in_words_and_in_a_table_what_it_shows(
    console: ConsolePage, customer: Customer
) -> None:
    console.sign_in(customer.key)
    days = console.card("Sessions by day")
    totals = history()["totals"]
    expect(days.get_by_role("img")).to_have_attribute(
        "aria-label", re.compile(f"{totals['managed_sessions']:,} managed")
    )
    expect(days.locator("canvas")).to_be_visible()
    days.get_by_text("Show as a table").click()
    expect(days.get_by_role("row")).to_have_count(25)
    expect(days.get_by_role("row").last).to_contain_text("24 Nov, so far")
    ahead = console.card("Forecast")
    expected = forecast()
    expect(ahead).to_contain_text(f"{expected['projected_sessions']:,} sessions")
    expect(ahead).to_contain_text(expected["explanation"])
    ahead.get_by_text("Show as a table").click()
    expect(ahead.get_by_role("row")).to_have_count(1 + len(expected["days"]))


def test_sessions_can_be_seen_by_agent_and_by_model(
    console: ConsolePage, customer: Customer
) -> None:
    console.sign_in(customer.key)
    card = console.card("Who and what uses sessions")
    expect(card.get_by_role("rowheader")).to_have_text(["analyst", "support", "triage"])
    card.get_by_label("By", exact=True).select_option("model")
    expect(card.get_by_role("table")).to_have_accessible_name("Sessions by model")
    assert any("by=model" in request.url for request in console.requests)


def test_a_limit_that_is_reached_is_said_in_words(console: ConsolePage, stack: Stack) -> None:
    small = stack.customer("starter", session_limit=1)
    assert small.invoke().status_code == 200
    console.sign_in(small.key)
    expect(console.card("Usage now")).to_contain_text(
        "The limit is reached: no new session can start until"
    )


def test_a_forecast_tells_when_the_limit_will_be_reached(
    console: ConsolePage, customer: Customer
) -> None:
    console.answer(
        "usage/forecast", {**forecast(6500), "limit_reached_at": "2026-11-26T10:00:00.000Z"}
    )
    console.sign_in(customer.key)
    expect(console.card("Forecast")).to_contain_text(
        "the limit is reached on 26 Nov 2026, 10:00 UTC"
    )


# --- the key ---------------------------------------------------------------------------------


def test_the_key_is_in_the_memory_of_the_page_and_nowhere_else(
    console: ConsolePage, customer: Customer
) -> None:
    console.sign_in(customer.key)
    console.assert_nowhere(customer.key)
    console.page.reload()
    expect(console.page.get_by_label("API key")).to_have_value("")
    assert all(customer.key not in request.url for request in console.requests)


def test_a_key_that_is_forgotten_is_asked_for_again(
    console: ConsolePage, customer: Customer
) -> None:
    console.sign_in(customer.key)
    console.button("Forget key").click()
    expect(console.page.get_by_label("API key")).to_be_focused()
    expect(console.page.locator("section.card")).to_have_count(0)
    expect(console.button("Forget key")).to_be_hidden()
    console.assert_nowhere(customer.key)


def test_a_wrong_key_is_refused_with_the_reason_and_what_to_quote(console: ConsolePage) -> None:
    console.load()
    console.enter(KEY)
    alert = console.page.get_by_role("alert")
    expect(alert).to_contain_text("Send a valid API key")
    expect(alert.locator("code")).not_to_be_empty()
    expect(console.page.get_by_label("API key")).to_be_focused()


@pytest.mark.parametrize("text", ["sk-4711", "fs_", "fs_ü", "fs_a b"])
def test_what_is_no_key_is_not_sent(text: str, console: ConsolePage) -> None:
    console.load()
    asked = len(console.requests)
    console.enter(text)
    expect(console.page.get_by_role("alert")).to_contain_text("A key begins with fs_")
    assert len(console.requests) == asked


def test_a_key_that_is_revoked_meanwhile_ends_the_visit(
    console: ConsolePage, customer: Customer
) -> None:
    console.sign_in(customer.key)
    console.answer("subscription", envelope("UNAUTHORIZED", "Send a valid API key."), 401)
    console.button("Refresh").click()
    expect(console.page.get_by_role("alert")).to_contain_text("Send a valid API key.")
    expect(console.page.get_by_label("API key")).to_be_focused()


# --- failures --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "document", "said"),
    [
        (429, envelope("RATE_LIMITED", "Too many requests."), "Try again in 7 seconds."),
        (
            429,
            envelope("QUOTA_EXCEEDED", "No.", resets_at="2026-12-01T00:00:00.000Z"),
            "The quota resets on 1 Dec 2026, 00:00 UTC.",
        ),
        (500, envelope("INTERNAL_ERROR", "No.", hint="Report the request_id."), "Report the"),
        (503, envelope("SERVICE_UNAVAILABLE", "Not now."), "Not now."),
        (404, envelope("NOT_FOUND", "There is nothing here."), "There is nothing here."),
        (502, {}, "The API answered with status 502."),
    ],
    ids=lambda value: str(value) if isinstance(value, int) else "",
)
def test_a_card_that_fails_says_why_and_the_others_live_on(
    status: int, document: Document, said: str, console: ConsolePage, customer: Customer
) -> None:
    console.answer("usage/history", document, status, {"Retry-After": "7"})
    console.sign_in(customer.key)
    card = console.card("Sessions by day")
    expect(card).to_contain_text(said)
    if document:
        expect(card.locator("code")).to_have_text("req-4711")
    expect(console.card("Usage now").locator("#used")).to_be_visible()
    expect(console.card("Forecast").get_by_role("img")).to_be_visible()
    console.answer("usage/history", history())
    console.button("Try again: Sessions by day").click()
    expect(card.get_by_role("img")).to_be_visible()
    expect(card).to_be_focused()


def test_what_the_plan_does_not_include_is_told_calmly(
    console: ConsolePage, customer: Customer
) -> None:
    console.answer(
        "usage/history",
        envelope("TIER_LIMITATION", "Not on the starter tier.", hint="Move to professional."),
        403,
    )
    console.sign_in(customer.key)
    card = console.card("Who and what uses sessions")
    expect(card.locator(".problem.calm")).to_contain_text("Move to professional.")
    expect(card.get_by_role("button")).to_have_count(0)


def test_an_answer_that_is_no_json_is_a_failure_of_its_card(
    console: ConsolePage, customer: Customer
) -> None:
    console.page.route(console.at("alerts"), lambda route: route.fulfill(body="<html>"))
    console.sign_in(customer.key)
    expect(console.card("Alerts")).to_contain_text("The answer is not what the API says.")


def test_a_page_of_which_a_file_is_missing_says_what_to_do(console: ConsolePage) -> None:
    console.page.route(re.compile(r"/plan\.js$"), lambda route: route.abort())
    console.page.goto(console.url)
    expect(console.page.get_by_text("load the page again")).to_be_visible(timeout=10_000)


def test_being_offline_is_said_and_gets_over(console: ConsolePage, customer: Customer) -> None:
    console.sign_in(customer.key)
    console.page.context.set_offline(True)
    expect(console.page.locator("#offline")).to_contain_text("You are offline.")
    # What stands in for the API would answer offline as well.
    expect(console.card("Usage now").locator("#used")).to_be_visible()
    console.button("Refresh").click()
    expect(console.card("Usage now")).to_contain_text("You are offline.")
    console.page.context.set_offline(False)
    expect(console.page.locator("#offline")).to_be_empty()
    expect(console.card("Usage now").locator("#used")).to_be_visible()


def test_an_api_that_cannot_be_reached_is_told_at_the_door(
    console: ConsolePage, customer: Customer
) -> None:
    console.load()
    console.page.route(console.at("usage"), lambda route: route.abort("connectionrefused"))
    console.enter(customer.key)
    expect(console.page.get_by_role("alert")).to_contain_text("The API cannot be reached.")


def test_what_customers_write_is_shown_as_text(console: ConsolePage, customer: Customer) -> None:
    hostile = "<img src=x onerror=alert(1)><b>agent</b>"
    document = history("agent")
    for one in document["series"]:
        one["breakdown"][0]["name"] = hostile
    console.page.route(console.at("usage/history"), lambda route: route.fulfill(json=document))
    console.sign_in(customer.key)
    card = console.card("Who and what uses sessions")
    expect(card.get_by_role("rowheader").first).to_have_text(hostile)
    expect(card.locator("img, b")).to_have_count(0)


# --- the plan --------------------------------------------------------------------------------


def test_a_plan_is_changed_after_a_preview_and_the_change_taken_back(
    console: ConsolePage, customer: Customer
) -> None:
    console.sign_in(customer.key)
    card = console.card("Plan")
    card.get_by_role("button", name="Move down to Starter").click()
    dialog = console.page.get_by_role("dialog", name="Move down to Starter?")
    expect(dialog).to_contain_text("Professional: 10,000 sessions, $99.00 a month")
    expect(dialog).to_contain_text("Starter: 1,000 sessions, $29.00 a month")
    expect(dialog).to_contain_text("9000 sessions a month")
    dialog.get_by_role("button", name="Keep it as it is").click()
    expect(card.locator("#pending")).to_have_count(0)
    assert customer.http.get("/subscription").json()["subscription"]["pending_change"] is None
    card.get_by_role("button", name="Move down to Starter").click()
    dialog.get_by_role("button", name="Move down to Starter").click()
    expect(card.locator("#pending")).to_contain_text("Starter, 1,000 sessions for $29.00 a month")
    expect(card).to_be_focused()
    pending = customer.http.get("/subscription").json()["subscription"]["pending_change"]
    assert (pending["tier"], pending["origin"]) == ("starter", "customer")
    card.get_by_role("button", name="Take the change back").click()
    console.page.get_by_role("dialog").get_by_role("button", name="Take it back").click()
    expect(card.locator("#pending")).to_have_count(0)
    assert customer.http.get("/subscription").json()["subscription"]["pending_change"] is None


def test_a_plan_is_cancelled_at_the_end_of_the_period(
    console: ConsolePage, customer: Customer
) -> None:
    console.sign_in(customer.key)
    card = console.card("Plan")
    card.get_by_role("button", name="Cancel the plan").click()
    dialog = console.page.get_by_role("dialog", name="Cancel the plan?")
    expect(dialog).to_contain_text("managed models")
    dialog.get_by_role("button", name="Cancel the plan").click()
    expect(card.locator("#pending")).to_contain_text("Cancelled: the plan goes on until")


def test_a_change_that_the_api_refuses_is_told_beside_the_button(
    console: ConsolePage, customer: Customer
) -> None:
    console.sign_in(customer.key)
    console.answer("subscription", envelope("CONFLICT", "Somebody else was faster."), 409)
    console.card("Plan").get_by_role("button", name="Cancel the plan").click()
    expect(console.card("Plan").get_by_role("status")).to_contain_text("Somebody else was faster.")
    expect(console.page.get_by_role("dialog")).to_have_count(0)


# --- statements ------------------------------------------------------------------------------


def test_statements_are_read_printed_and_saved(
    console: ConsolePage, stack: Stack, customer: Customer
) -> None:
    assert customer.invoke().status_code == 200
    period = closed_month(stack, customer)
    console.sign_in(customer.key)
    card = console.card("Statements")
    expect(card.get_by_role("row")).to_have_count(2)
    expect(card.get_by_role("row").last).to_contain_text("$99.00")
    with console.page.expect_download() as saving:
        card.get_by_role("button", name=re.compile("as CSV$")).first.click()
    saved = saving.value
    assert saved.suggested_filename == f"statement-{period}.csv"
    path = f"/api/billing/history/{period}"
    csv = customer.http.get(path, headers={"Accept": "text/csv"})
    assert saved.path().read_bytes() == csv.content
    console.page.evaluate("window.print = () => { window.printed = true; }")
    card.get_by_role("button", name=re.compile("^Read the statement")).click()
    dialog = console.page.get_by_role("dialog", name=f"FlowStack statement {period}")
    expect(dialog).to_contain_text("Sessions used")
    expect(dialog).to_contain_text("99.00")
    dialog.get_by_role("button", name="Print").click()
    assert console.page.evaluate("window.printed")
    console.page.emulate_media(media="print")
    expect(dialog.get_by_role("heading", name="FlowStack statement")).to_be_visible()
    ground = "(one) => getComputedStyle(one, '::backdrop').display"
    assert dialog.evaluate(ground) == "none", "no ink for what is behind it"
    expect(console.page.get_by_role("banner")).to_be_hidden()
    expect(console.page.get_by_role("main")).to_be_hidden()
    expect(dialog.get_by_role("button", name="Print")).to_be_hidden()
    console.page.emulate_media(media="screen")
    console.page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)


def test_without_a_statement_it_is_said_when_the_first_one_comes(
    console: ConsolePage, customer: Customer
) -> None:
    console.sign_in(customer.key)
    expect(console.card("Statements")).to_contain_text("No period is closed yet.")


# --- what customers set ----------------------------------------------------------------------


def test_credentials_are_stored_and_deleted_and_never_seen_again(
    console: ConsolePage, customer: Customer
) -> None:
    secret = "sk-canary-4711-abcdefghijklmnop"
    console.sign_in(customer.key)
    card = console.card("Own keys")
    card.get_by_text("Store credentials").click()
    card.get_by_label("api key").fill(secret)
    card.get_by_role("button", name="Store", exact=True).click()
    expect(card.get_by_role("rowheader")).to_have_text(["OpenAI"])
    console.assert_nowhere(secret)
    card.get_by_role("button", name="Delete the credentials at OpenAI").click()
    dialog = console.page.get_by_role("dialog")
    dialog.get_by_role("button", name="Keep").click()
    expect(card.get_by_role("rowheader")).to_have_count(1)
    card.get_by_role("button", name="Delete the credentials at OpenAI").click()
    console.page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(card).to_contain_text("No credentials are stored.")
    assert customer.http.get("/api/byok-credentials").json() == {"credentials": []}


def test_each_provider_and_way_in_has_its_fields(console: ConsolePage, customer: Customer) -> None:
    console.sign_in(customer.key)
    card = console.card("Own keys")
    card.get_by_text("Store credentials").click()
    card.get_by_label("Provider").select_option("bedrock")
    card.get_by_label("Way in").select_option("1")
    expect(card.get_by_label("role arn")).to_have_attribute("type", "text")
    card.get_by_label("Way in").select_option("0")
    expect(card.get_by_label("aws secret key")).to_have_attribute("type", "password")
    card.get_by_label("Provider").select_option("mistral")
    expect(card.get_by_label("Way in")).to_be_hidden()


def test_thresholds_and_the_address_for_alerts_are_changed(
    console: ConsolePage, customer: Customer
) -> None:
    console.sign_in(customer.key)
    card = console.card("Alerts")
    expect(card.get_by_role("table")).to_contain_text("5,000 of 10,000")
    card.get_by_label("Thresholds in %").fill("60, 85")
    card.get_by_label("E-mail").fill("")
    card.get_by_role("button", name="Save alerts").click()
    expect(card).to_be_focused()
    assert console.sent("PUT", "alerts") == [{"thresholds": [60, 85], "email": None}]


def test_thresholds_that_are_no_numbers_are_not_sent(
    console: ConsolePage, customer: Customer
) -> None:
    console.sign_in(customer.key)
    card = console.card("Alerts")
    card.get_by_label("Thresholds in %").fill("soon")
    card.get_by_role("button", name="Save alerts").click()
    expect(card.get_by_label("Thresholds in %")).to_be_focused()
    assert console.sent("PUT", "alerts") == []


def test_a_webhook_shows_its_deliveries_and_sends_them_again(
    console: ConsolePage, customer: Customer
) -> None:
    console.sign_in(customer.key)
    card = console.card("Webhook")
    expect(card).to_contain_text("https://hooks.example.com/flowstack")
    expect(card.get_by_role("row")).to_have_count(3)
    console.answer("alerts/webhook/deliveries/evt_1/redeliver", {"event_id": "evt_1"}, 202)
    console.answer("alerts/webhook/test", {"event_id": "evt_3"}, 202)
    card.get_by_role("button", name="Send again: statement.created").click()
    expect(card).to_be_focused()
    assert console.sent("POST", "alerts/webhook/deliveries/evt_1/redeliver") == [{}]
    card.get_by_role("button", name="Send a test").click()
    expect(console.page.locator("#announcer")).to_have_text("It will be delivered in a moment.")
    assert console.sent("POST", "alerts/webhook/test") == [{}]


def test_without_a_webhook_it_is_said_how_to_set_one(
    console: ConsolePage, customer: Customer
) -> None:
    console.answer("alerts/webhook", envelope("NOT_FOUND", "There is no webhook."), 404)
    console.sign_in(customer.key)
    expect(console.card("Webhook")).to_contain_text("PUT /alerts/webhook")


def test_a_budget_is_changed_and_a_refusal_told(console: ConsolePage, customer: Customer) -> None:
    console.sign_in(customer.key)
    card = console.card("Budget")
    expect(card).to_contain_text("$170.40 of $250.00")
    card.get_by_label("Ceiling a month, US dollars").fill("120.50")
    card.get_by_label("When it is reached").select_option("block")
    card.get_by_label("Turns a session, at most").fill("")
    card.get_by_role("button", name="Save budget").click()
    expect(card).to_be_focused()
    assert console.sent("PUT", "budget") == [
        {
            "monthly_ceiling": 120.5,
            "action": "block",
            "session_turn_cap": None,
            "session_token_cap": None,
        }
    ]
    console.answer("budget", envelope("INVALID_REQUEST", "Too low.", hint="Raise it."), 400)
    card.get_by_role("button", name="Save budget").click()
    expect(card.get_by_role("status")).to_contain_text("Raise it.")


# --- for everybody ---------------------------------------------------------------------------


def test_everything_is_reached_and_done_by_the_keyboard(
    console: ConsolePage, customer: Customer
) -> None:
    page = console.page
    console.load()
    page.keyboard.type(customer.key)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_be_focused()
    console.settled()
    page.get_by_role("link", name="Skip to the content").focus()
    reached = walk(page)
    wanted = page.evaluate(
        """[...document.querySelectorAll("a, button, input, select, summary, [tabindex='0']")]
        .filter((one) => one.checkVisibility()).map((one) => one.outerHTML)"""
    )
    missed = [one for one in wanted if one not in reached and "skip" not in one]
    assert missed == []
    card = console.card("Plan")
    card.get_by_role("button", name="Move down to Starter").focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("button", name="Keep it as it is")).to_be_focused()
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(card.get_by_role("button", name="Move down to Starter")).to_be_focused()


def walk(page: Page) -> list[str]:
    """Press Tab until the page is through; return what had the focus, all of it visibly."""
    reached: list[str] = []
    for _ in range(120):
        page.keyboard.press("Tab")
        found = page.evaluate(
            """() => {
              const one = document.activeElement;
              if (one === null || one === document.body) return null;
              const style = getComputedStyle(one);
              return [one.outerHTML, style.outlineStyle !== "none" && style.outlineWidth !== "0px"];
            }"""
        )
        if found is None:
            break
        markup, visible = found
        assert visible, f"the focus is not seen on {markup}"
        reached.append(markup)
    return reached


def test_the_first_stop_leads_past_the_navigation(console: ConsolePage) -> None:
    console.load()
    page = console.page
    page.keyboard.press("Shift+Tab")
    skip = page.get_by_role("link", name="Skip to the content")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page.get_by_role("main")).to_be_focused()


def at_the_door(console: ConsolePage, _: Customer) -> None:
    console.load()


def turned_away(console: ConsolePage, _: Customer) -> None:
    console.load()
    console.enter(KEY)
    expect(console.page.get_by_role("alert")).not_to_be_empty()


def inside(console: ConsolePage, customer: Customer) -> None:
    console.sign_in(customer.key)
    for details in console.page.locator("summary").all():
        details.click()


def in_trouble(console: ConsolePage, customer: Customer) -> None:
    console.answer("usage/history", envelope("TIER_LIMITATION", "No.", hint="Move up."), 403)
    console.answer("usage/forecast", envelope("INTERNAL_ERROR", "No.", hint="Later."), 500)
    console.answer("usage", usage(9950, 10_000))
    console.sign_in(customer.key)
    console.page.context.set_offline(True)
    expect(console.page.locator("#offline")).not_to_be_empty()


def at_the_limit(console: ConsolePage, customer: Customer) -> None:
    console.answer("usage", usage(10_000, 10_000, held=900))
    console.sign_in(customer.key)


def loading(console: ConsolePage, customer: Customer) -> None:
    console.hold("usage/forecast")
    console.load()
    console.enter(customer.key)
    expect(console.card("Forecast").locator(".bone").first).to_be_visible()


def asked(console: ConsolePage, customer: Customer) -> None:
    console.sign_in(customer.key)
    console.button("Cancel the plan").click()
    expect(console.page.get_by_role("dialog")).to_be_visible()


STATES = (at_the_door, turned_away, inside, in_trouble, at_the_limit, loading, asked)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
def test_every_state_is_accessible_and_fits_the_screen(
    state: Callable[[ConsolePage, Customer], None],
    size: tuple[int, int],
    scheme: str,
    opened: Opener,
    customer: Customer,
) -> None:
    console = opened(size=size, scheme=scheme)
    state(console, customer)
    console.assert_accessible()
    console.assert_no_sideways_scrolling()


def test_who_wants_less_motion_gets_none(opened: Opener, customer: Customer) -> None:
    console = opened(motion="reduce")
    loading(console, customer)
    bone = console.card("Forecast").locator(".bone").first
    assert bone.evaluate("(one) => getComputedStyle(one).animationName") == "none"


# --- operators -------------------------------------------------------------------------------


def test_an_operator_sees_any_customer_and_the_month_end(
    stack: Stack, browser: Browser, customer: Customer
) -> None:
    assert customer.invoke().status_code == 200
    period = closed_month(stack, customer)
    with ConsoleServer(stack.admin, ConsoleFiles.of(FILES)).running() as server:
        page = new_context(browser).new_page()
        console = ConsolePage(page, f"http://{server.authority}/console")
        for path, document in operator_documents(customer.customer_id).items():
            console.answer(path, document)
        console.page.goto(server.address())
        console.settled()
        assert server.token not in console.page.url
        expect(console.card("Month end")).to_be_visible()
        expect(console.card("Margins")).to_contain_text("$1,980.00")
        console.page.get_by_label("Customer id").fill(customer.customer_id)
        console.page.keyboard.press("Enter")
        console.settled()
        expect(console.card("Usage now")).to_contain_text("of 10,000 sessions")
        expect(console.card("Sessions by day").get_by_role("img")).to_be_visible()
        expect(console.card("Margin")).to_contain_text("$57.70 left of $99.00")
        expect(console.card("Alerts")).to_contain_text("50 %, 75 %, 90 %")
        expect(console.card("Alerts").get_by_role("textbox")).to_have_count(0)
        expect(console.card("API keys")).to_contain_text("active")
        expect(console.card("What operators did")).to_contain_text("clock")
        expect(console.card("Plan").get_by_role("button")).to_have_count(0)
        read = console.card("Statements").get_by_role("button", name=re.compile("^Read"))
        read.click()
        expect(console.page.get_by_role("dialog")).to_contain_text(f"FlowStack statement {period}")
        console.assert_accessible()
        console.page.keyboard.press("Escape")
        console.assert_accessible()
        console.button("← All customers").click()
        console.settled()
        expect(console.card("Customers").get_by_role("row").first).to_be_visible()
        console.assert_accessible()
        console.assert_untroubled()
        console.close()


def test_an_operator_starts_with_the_customer_that_was_named(
    stack: Stack, browser: Browser, customer: Customer
) -> None:
    with ConsoleServer(stack.admin, ConsoleFiles.of(FILES)).running() as server:
        page = new_context(browser).new_page()
        console = ConsolePage(page, f"http://{server.authority}/console")
        console.page.goto(server.address(customer.customer_id))
        console.settled()
        expect(console.page.get_by_role("heading", level=1)).to_contain_text(customer.customer_id)
        console.assert_untroubled()
        console.close()
