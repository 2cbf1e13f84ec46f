"""What the documentation says is checked wherever a program can check it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from flowstack_core.http import (
    admin_routes,
    requests,
)
from flowstack_docs.pages import ROOT, documented_pages, places, refreshed
from flowstack_docs.tables import TABLES

PAGES = documented_pages()
PAGES_WITH_EXAMPLES = (ROOT / "README.md", ROOT / "docs/api.md")

_FENCE = re.compile(r"^ *```(?P<info>[^\n]*)\n(?P<code>.*?)^ *```$", re.DOTALL | re.MULTILINE)
_SPAN = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_POSTED = re.compile(r'curl -sS "\$API/(\w+)".*?-d \'(.*?)\'', re.DOTALL)
_REPOSITORY_FOLDERS = ("docs", "functions", "layers", "requirements", "stacks", "tests", "tools")


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


every_page = pytest.mark.parametrize("page", PAGES, ids=named)


def fences(page: Path) -> Iterator[tuple[list[str], str]]:
    """Yield the words after the backticks, and the code, of each fenced block."""
    for fence in _FENCE.finditer(page.read_text(encoding="utf-8")):
        yield fence["info"].split(), fence["code"]


def code_of(page: Path) -> list[str]:
    """Return everything that is written as code: lines of blocks, and spans."""
    text = page.read_text(encoding="utf-8")
    lines = [
        line.strip()
        for info, code in fences(page)
        if info[:1] in ([], ["bash"])
        for line in code.replace("\\\n", " ").splitlines()
    ]
    return [*lines, *_SPAN.findall(_FENCE.sub("", text))]


def anchors(page: Path) -> set[str]:
    """Return the anchors GitHub gives a page's headings."""
    headings = _HEADING.findall(_FENCE.sub("", page.read_text(encoding="utf-8")))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


# --- links and names ----------------------------------------------------------------------------


@every_page
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for link in _LINK.findall(page.read_text(encoding="utf-8")):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{link} is not there"
        assert not anchor or anchor in anchors(target), f"{link}: there is no such heading"


@every_page
def test_every_path_of_the_repository_that_is_named_exists(page: Path) -> None:
    for code in code_of(page):
        if re.fullmatch(rf"({'|'.join(_REPOSITORY_FOLDERS)})/[\w./-]+", code):
            assert (ROOT / code).exists(), f"{code} is not there"


def test_every_decision_is_listed_in_the_architecture() -> None:
    listed = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    for decision in sorted((ROOT / "docs/decisions").glob("*.md")):
        title = decision.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
        assert f"[{title}](decisions/{decision.name})" in listed


# --- tables -------------------------------------------------------------------------------------


@every_page
def test_generated_tables_are_current(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert refreshed(text) == text, "run python -m flowstack_docs"


def test_every_table_has_its_place() -> None:
    found = [name for page in PAGES for name in places(page.read_text(encoding="utf-8"))]
    assert sorted(found) == sorted(TABLES)


def test_the_default_model_is_the_one_that_the_page_names() -> None:
    page = (ROOT / "docs/api.md").read_text(encoding="utf-8")
    assert f"`model` is `{requests.DEFAULT_MODEL}`" in page


def not_called() -> NoReturn:
    raise AssertionError("describing the routes answers no request")


def test_the_operators_routes_are_those_that_there_are() -> None:
    app = admin_routes.admin_app(
        not_called,
        not_called,
        history=not_called,
        alerts=not_called,
        subscriptions=not_called,
        statements=not_called,
        closings=not_called,
        month_end=not_called,
        exports=not_called,
        erasures=not_called,
        forecasts=not_called,
        recommendations=not_called,
        webhooks=not_called,
        margins=not_called,
        test_clocks=True,
    )
    paths: dict[str, dict[str, Any]] = json.loads(app.get_openapi_json_schema())["paths"]
    sources = list(ROOT.glob("tests/**/test_*.py"))
    code = "\n".join(source.read_text(encoding="utf-8") for source in sources)
    defined = set(re.findall(r"^ *(?:async )?def (test_\w+)", code, re.MULTILINE))
    assert len(named_there) > 30
    assert named_there <= defined, named_there - defined
    assert files <= {source.name for source in sources}
