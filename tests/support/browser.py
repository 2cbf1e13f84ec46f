"""The Chromium that drives the console: `make setup` unpacks it from an npm package.

It is for x86-64. On another machine, name one of its own: ``FLOWSTACK_CHROMIUM=/usr/bin/chromium``.
A test that cannot start it fails: there is no way to pass without a browser.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Error, sync_playwright

from tests.support.emulator import ROOT

UNPACKED = ROOT / ".local/chromium"
VARIABLE = "FLOWSTACK_CHROMIUM"

_FLAGS = [
    # As root, in a container without user namespaces, there is no sandbox; all it loads is ours.
    "--no-sandbox",
    "--no-zygote",
    "--disable-gpu",
    "--font-render-hinting=none",
]


class NoBrowserError(Exception):
    """Chromium is not there, or does not start; the message says what to do."""


def executable() -> Path:
    """Return the browser's program."""
    return Path(os.environ.get(VARIABLE) or UNPACKED / "chromium")


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run a headless Chromium.

    Raises
    ------
    NoBrowserError
        It is not installed, or cannot be started.
    """
    program = executable()
    if not program.is_file():
        raise NoBrowserError(f"{program} is not there: run `make setup`, or set {VARIABLE}.")
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(
                executable_path=program, args=_FLAGS, env=_environment()
            )
        except Error as error:
            raise NoBrowserError(
                f"{program} does not start. Set {VARIABLE} to one that does.\n{error.message}"
            ) from error
        try:
            yield browser
        finally:
            browser.close()


def _environment() -> dict[str, str | float | bool]:
    """Return what it runs with: the libraries and fonts that came along."""
    environment: dict[str, str | float | bool] = {**os.environ, "LANG": "en_US.UTF-8"}
    if VARIABLE not in os.environ:
        libraries = (str(UNPACKED / "al2023/lib"), os.environ.get("LD_LIBRARY_PATH", ""))
        environment["LD_LIBRARY_PATH"] = ":".join(filter(None, libraries))
        environment["FONTCONFIG_PATH"] = str(UNPACKED / "fonts")
    return environment
