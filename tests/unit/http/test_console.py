"""The console's files: what is sent, under which headers, and that all of it is there."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest

from flowstack_core.domain.providers import PUBLIC_FIELDS, WAYS
from flowstack_core.http.console_files import CONTENT_SECURITY_POLICY, ConsoleFiles
from flowstack_core.http.console_routes import add_console
from flowstack_core.http.public_routes import public_app
from flowstack_core.http.resolver import HttpFunction, entry_point
from tests.support.emulator import ROOT
from tests.support.http_events import HttpResponse, LambdaContext, http_event

FOLDER = ROOT / "functions/public/console"
UPLOT = ROOT / "node_modules/uplot"
LICENCE = "uPlot.LICENSE.txt"
WEIGHT, COMPRESSED_WEIGHT = 150_000, 60_000
"""How many bytes the page may take to load: as they are, and as API Gateway compresses them."""


@pytest.fixture(scope="module")
def files() -> ConsoleFiles:
    return ConsoleFiles.of(FOLDER)


@pytest.fixture(scope="module")
def function(files: ConsoleFiles) -> HttpFunction:
    app = public_app(lambda: "test")
    add_console(app, files)
    return entry_point(app)


def get(function: HttpFunction, path: str, headers: dict[str, str] | None = None) -> HttpResponse:
    answer = function(http_event("GET", path, headers=headers), LambdaContext())
    sent = {name: values[0] for name, values in answer["multiValueHeaders"].items()}
    return HttpResponse(answer["statusCode"], {}, sent, answer["body"] or "")


def linked(page: str) -> list[str]:
    """Return the paths of all that a page loads, relative to it."""
    return re.findall(r'(?:href|src)="(?!#)([^"]+)"', page)


# --- the page ------------------------------------------------------------------------------------


def test_the_page_needs_no_key_and_is_asked_for_anew_each_time(function: HttpFunction) -> None:
    answer = get(function, "/console")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert answer.headers["Cache-Control"] == "no-cache"
    assert answer.text.startswith("<!doctype html>")


def test_a_page_that_did_not_change_is_not_sent_again(function: HttpFunction) -> None:
    tag = get(function, "/console").headers["ETag"]
    again = get(function, "/console", {"if-none-match": f'W/"other", {tag}'})
    assert (again.status, again.text) == (304, "")
    assert again.headers["ETag"] == tag
    assert "Content-Security-Policy" in again.headers
    assert get(function, "/console", {"if-none-match": 'W/"other"'}).status == 200


def test_with_a_slash_at_its_end_it_leads_to_where_its_links_are_right(
    function: HttpFunction,
) -> None:
    answer = get(function, "/console/")
    assert (answer.status, answer.headers["Location"]) == (308, "../console")


def test_everything_it_loads_is_there_and_nothing_else_is_asked_for(
    function: HttpFunction, files: ConsoleFiles
) -> None:
    page = get(function, "/console").text
    paths = linked(page)
    assert paths
    for path in paths:
        assert path.startswith(f"console/{files.version}/"), "relative, whatever the stage is"
        assert get(function, f"/{path}").status == 200
    names = {path.rsplit("/", 1)[1] for path in paths}
    assert names == set(files.files) - {LICENCE}, "every module is loaded ahead"


def test_it_is_light(files: ConsoleFiles) -> None:
    loaded = [file for name, file in files.files.items() if name != LICENCE]
    texts = [file.text.encode() for file in (files.page, *loaded)]
    assert sum(len(text) for text in texts) < WEIGHT
    assert sum(len(gzip.compress(text, 6)) for text in texts) < COMPRESSED_WEIGHT


# --- its files -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("main.js", "text/javascript; charset=utf-8"),
        ("console.css", "text/css; charset=utf-8"),
        ("icon.svg", "image/svg+xml"),
        (LICENCE, "text/plain; charset=utf-8"),
    ],
)
def test_files_are_kept_for_ever_because_their_name_changes_with_them(
    name: str, media_type: str, function: HttpFunction, files: ConsoleFiles
) -> None:
    answer = get(function, f"/console/{files.version}/{name}")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == media_type
    assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"


def test_another_change_of_any_file_is_another_version(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text('<script src="console/%version%/main.js"></script>')
    (tmp_path / "main.js").write_text("1")
    before = ConsoleFiles.of(tmp_path)
    (tmp_path / "main.js").write_text("2")
    after = ConsoleFiles.of(tmp_path)
    assert before.version != after.version
    assert f'"console/{after.version}/main.js"' in after.page.text
    assert before.page.headers["ETag"] != after.page.headers["ETag"]


def test_the_answer_for_the_page_is_never_a_file_of_another_version(
    function: HttpFunction,
) -> None:
    answer = get(function, "/console/0123456789abcdef/main.js")
    assert answer.status == 404
    assert answer.headers["Cache-Control"] == "no-store"
    assert json.loads(answer.text)["error_code"] == "NOT_FOUND"


@pytest.mark.parametrize("name", ["handler.py", "..", "%2e%2e", "index.html"])
def test_nothing_else_is_served(name: str, function: HttpFunction, files: ConsoleFiles) -> None:
    assert get(function, f"/console/{files.version}/{name}").status == 404


def test_every_file_has_the_headers_that_keep_strangers_out(
    function: HttpFunction, files: ConsoleFiles
) -> None:
    for path in ("/console", *(f"/console/{files.version}/{name}" for name in files.files)):
        headers = get(function, path).headers
        assert headers["Content-Security-Policy"] == CONTENT_SECURITY_POLICY
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"


def test_the_policy_lets_nothing_in_from_elsewhere_and_nothing_inline() -> None:
    policy = dict(part.split(" ", 1) for part in CONTENT_SECURITY_POLICY.split("; "))
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "connect-src": "'self'",
        "img-src": "'self' data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }


# --- how they are written ------------------------------------------------------------------------


def ours() -> list[Path]:
    return [path for path in sorted(FOLDER.iterdir()) if not path.name.startswith("uPlot")]


@pytest.mark.parametrize("path", ours(), ids=lambda path: str(path.name))
def test_no_file_makes_markup_of_text_keeps_anything_or_speaks_to_others(path: Path) -> None:
    text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
    for forbidden in (
        *("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function("),
        *("localStorage", "sessionStorage", "indexedDB", "document.cookie", "serviceWorker"),
        *("http://", "https://", "console.log", "style=", " onclick="),
    ):
        assert forbidden not in text


@pytest.mark.parametrize("path", [path for path in ours() if path.suffix == ".js"], ids=str)
def test_every_module_is_checked_by_the_compiler(path: Path) -> None:
    assert path.read_text(encoding="utf-8").startswith("// @ts-check\n")


def test_the_chart_library_is_the_pinned_one_with_its_licence() -> None:
    for name, source in (
        ("uPlot.iife.min.js", "dist/uPlot.iife.min.js"),
        ("uPlot.min.css", "dist/uPlot.min.css"),
        (LICENCE, "LICENSE"),
    ):
        assert (FOLDER / name).read_bytes() == (UPLOT / source).read_bytes()


def test_the_fields_of_credentials_are_those_that_the_api_takes() -> None:
    text = (FOLDER / "providers.js").read_text(encoding="utf-8")
    assert written(text, "WAYS") == {
        provider.value: [
            {"required": list(way.required), "optional": list(way.optional)} for way in ways
        ]
        for provider, ways in WAYS.items()
    }
    assert set(written(text, "PUBLIC_FIELDS")) == PUBLIC_FIELDS


def written(module: str, name: str) -> Any:
    """Return a constant of a module that is written as JSON."""
    found = re.search(rf"export const {name} = (.*?);\n", module, re.DOTALL)
    assert found is not None
    return json.loads(found[1])
