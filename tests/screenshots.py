"""Photographs the console for the documentation: ``make screenshots``.

What it shows are the documents of ``tests/support/console_documents.py``, so that the pictures
change with the page only. No stack is needed: the browser is told every answer.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import Browser, Route

from flowstack_admin.console import FILES
from flowstack_core.http.console_files import ConsoleFile, ConsoleFiles
from tests.support.browser import chromium
from tests.support.console_documents import KEY, NOW, every_document, history
from tests.support.console_page import DESKTOP, PHONE, ConsolePage, new_context
from tests.support.emulator import ROOT

TARGET = ROOT / "docs/images"
URL = "https://api.example.com/prod/console"
SCREENS = (("desktop", (DESKTOP[0], 1180)), ("phone", (PHONE[0], 780)))

_FILES = ConsoleFiles.of(FILES)
_DOCUMENTS = every_document()


def answer(route: Route) -> None:
    """Answer as the API at `URL` would."""
    parts = urlsplit(route.request.url)
    path = parts.path.removeprefix("/prod/")
    match path.split("/"):
        case ["console"]:
            _send(route, _FILES.page)
        case ["console", version, name] if (file := _FILES.find(version, name)) is not None:
            _send(route, file)
        case _:
            by = parse_qs(parts.query).get("by")
            route.fulfill(json=_DOCUMENTS[path] if by is None else history(by[0]))


def _send(route: Route, file: ConsoleFile) -> None:
    route.fulfill(body=file.text, content_type=file.media_type, headers=dict(file.headers))


def photograph(browser: Browser, scheme: Any, name: str, size: tuple[int, int]) -> Path:
    """Take one picture; return where it is."""
    context = new_context(browser, size, scheme, motion="reduce")
    context.route("**/*", answer)
    console = ConsolePage(context.new_page(), URL)
    console.page.clock.set_fixed_time(NOW)
    console.sign_in(KEY)
    console.page.evaluate("document.activeElement.blur()")
    path = TARGET / f"console-{name}-{scheme}.png"
    console.page.screenshot(path=path)
    console.assert_untroubled()
    console.close()
    return path


def main() -> None:
    """Take all pictures."""
    TARGET.mkdir(exist_ok=True)
    with chromium() as browser:
        for name, size in SCREENS:
            for scheme in ("light", "dark"):
                print(photograph(browser, scheme, name, size).relative_to(ROOT))


if __name__ == "__main__":
    main()
