"""The console in a browser: what a person does there, and what must never happen meanwhile."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Locator,
    Page,
    Request,
    Route,
    expect,
)

from tests.support.console_documents import Document, history
from tests.support.emulator import ROOT

AXE = ROOT / "node_modules/axe-core/axe.min.js"
DESKTOP, PHONE = (1280, 900), (360, 740)

_PATIENCE = 60_000
"""Milliseconds: functions start, and a browser, while another stack is tested beside them."""

expect.set_options(timeout=_PATIENCE)

# Chromium says this of every answer that is a refusal; the page has to expect them.
_REFUSAL = re.compile(r"Failed to load resource: (the server responded|net::ERR)")

_AXE_RUN = """async () => {
  const { violations } = await axe.run(document, {
    runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
  });
  return violations.map(({ id, impact, nodes }) => ({
    id, impact, where: nodes.map((node) => `${node.html} ${node.failureSummary}`),
  }));
}"""


@dataclass
class ConsolePage:
    """A page, and everything that went on in it.

    Attributes
    ----------
    troubles
        Errors that the browser reported: of scripts, and of the content security policy.
    requests
        What was asked of anybody.
    held
        What waits for an answer, until a test gives it or the page is closed.
    """

    page: Page
    url: str
    troubles: list[str] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    held: list[Route] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.troubles.append(str(error)))
        self.page.on("request", self._asked)

    # Playwright takes no methods of built-in types, such as `list.append`.
    def _asked(self, request: Request) -> None:
        self.requests.append(request)

    def _hold(self, route: Route) -> None:
        self.held.append(route)

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and not _REFUSAL.match(message.text):
            self.troubles.append(message.text)

    # --- what a person does ---------------------------------------------------------------------

    def load(self) -> None:
        """Open the page, as far as asking for the key."""
        self.page.goto(self.url)
        expect(self.page.get_by_label("API key")).to_be_focused()

    def enter(self, key: str) -> None:
        """Type a key in, and send it off."""
        self.page.get_by_label("API key").fill(key)
        self.page.keyboard.press("Enter")

    def sign_in(self, key: str) -> None:
        """Open the page with a key, and wait until everything has loaded or failed."""
        self.load()
        self.enter(key)
        self.settled()

    def settled(self) -> None:
        """Wait until nothing loads any more."""
        expect(self.page.locator("section.card").first).to_be_visible()
        expect(self.page.locator("section[aria-busy]")).to_have_count(0)

    def card(self, title: str) -> Locator:
        """Return a card by its heading."""
        return self.page.get_by_role("region", name=title, exact=True)

    def button(self, name: str) -> Locator:
        """Return a button by its name."""
        return self.page.get_by_role("button", name=name, exact=True)

    # --- what the API answers -------------------------------------------------------------------

    def answer(
        self,
        path: str,
        document: Document,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Answer a path, whatever its query, in the place of the API."""

        def fulfill(route: Route) -> None:
            found = document
            query = parse_qs(urlsplit(route.request.url).query)
            if path == "usage/history" and "by" in query and status == 200:
                found = history(query["by"][0])
            route.fulfill(status=status, json=found, headers={**(headers or {})})

        self.page.route(self.at(path), fulfill)

    def hold(self, path: str) -> None:
        """Let requests to a path wait."""
        self.page.route(self.at(path), self._hold)

    def close(self) -> None:
        """Close the page, with its profile."""
        for route in self.held:
            route.abort()
        self.page.unroute_all(behavior="wait")
        self.page.context.close()

    def at(self, path: str) -> Callable[[str], bool]:
        """Return what tells whether an address is that of a path of the API."""
        wanted = urlsplit(f"{self.url.removesuffix('/console')}/{path}").path
        return lambda url: urlsplit(url).path == wanted

    def sent(self, method: str, path: str) -> list[Any]:
        """Return the bodies that were sent to a path."""
        is_there = self.at(path)
        return [
            json.loads(request.post_data or "null")
            for request in self.requests
            if request.method == method and is_there(request.url)
        ]

    # --- what must hold -------------------------------------------------------------------------

    def assert_accessible(self) -> None:
        """Axe finds nothing."""
        # The end of a transition is looked at, not its middle.
        self.page.evaluate("document.getAnimations().forEach((one) => one.cancel())")
        if self.page.evaluate("typeof axe") == "undefined":
            self.page.evaluate(AXE.read_text(encoding="utf-8"))
        found = self.page.evaluate(_AXE_RUN)
        assert found == [], json.dumps(found, indent=1)

    def assert_no_sideways_scrolling(self) -> None:
        """The page is as wide as the screen."""
        wide, screen = self.page.evaluate(
            "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
        )
        assert wide <= screen, f"{wide} of {screen} pixels"

    def assert_untroubled(self) -> None:
        """No error, no breach of the policy, and nobody else was spoken to."""
        assert self.troubles == [], self.troubles
        own = urlsplit(self.url)
        for request in self.requests:
            there = urlsplit(request.url)
            if there.scheme not in {"data", "blob"}:
                assert (there.scheme, there.netloc) == (own.scheme, own.netloc), request.url

    def assert_nowhere(self, secret: str) -> None:
        """A secret is in no address, no storage and no part of the document."""
        assert all(secret not in request.url for request in self.requests)
        kept = self.page.evaluate(
            """async () => JSON.stringify([
              {...localStorage}, {...sessionStorage}, document.cookie, location.href,
              history.state, name, await indexedDB.databases(),
              document.documentElement.outerHTML,
              [...document.querySelectorAll("input")].map((input) => input.value),
            ])"""
        )
        assert secret not in kept
        assert self.page.context.cookies() == []


def new_context(
    browser: Browser,
    size: tuple[int, int] = DESKTOP,
    scheme: Any = "light",
    motion: Any = "no-preference",
) -> BrowserContext:
    """Return a fresh profile with a screen and a taste."""
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        color_scheme=scheme,
        reduced_motion=motion,
        locale="en-US",
    )
    context.set_default_timeout(_PATIENCE)
    return context
