"""The samples of the documentation run, in the order in which they stand."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx
import pytest
import typer.main
from typer.core import TyperGroup

from flowstack import costs, exceptions
from flowstack.cli.commands import app
from tests.support.emulator import ROOT
from tests.support.fake_api import KEY, URL, FakeApi

PAGES = (ROOT / "docs/sdk.md", ROOT / "docs/billing-guide.md", ROOT / "layers/client/README.md")

_PYTHON = re.compile(r"^```python\n(.*?)^```$", re.S | re.M)
_COMMAND = re.compile(r"^flowstack (\w+)(?: (\w+))?", re.M)


@pytest.fixture
def offline(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> FakeApi:
    async def handle(self: object, request: httpx.Request) -> httpx.Response:
        return api.handle(request)

    monkeypatch.setenv("FLOWSTACK_API_KEY", KEY)
    monkeypatch.setenv("FLOWSTACK_API_URL", URL)
    monkeypatch.setattr(
        httpx.HTTPTransport, "handle_request", lambda self, request: api.handle(request)
    )
    monkeypatch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", handle)
    return api


def run(page: Path) -> None:
    namespace: dict[str, Any] = {"__name__": "sample"}
    for code in _PYTHON.findall(page.read_text(encoding="utf-8")):
        exec(compile(code, str(page), "exec"), namespace)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_sample_of_a_page_runs(page: Path, offline: FakeApi) -> None:
    run(page)
    assert "POST /chat" in offline.routes


def test_the_readmes_sample_of_the_client_runs(offline: FakeApi) -> None:
    sample = _PYTHON.findall((ROOT / "README.md").read_text(encoding="utf-8"))[0]
    assert len([line for line in sample.splitlines() if line.strip()]) <= 10
    exec(compile(sample, "README.md", "exec"), {"__name__": "sample"})
    assert offline.routes == ["POST /chat", "GET /usage"]


def test_the_guides_comparison_is_what_the_sums_give() -> None:
    page = (ROOT / "docs/billing-guide.md").read_text(encoding="utf-8")
    dear, cheap = "gpt-4o-2024-05-13", "mistral-large"
    for option in (
        costs.managed_option(1_000),
        costs.byok_option(1_000, [dear], free_while_possible=True),
        costs.byok_option(1_000, ["gpt-3.5-turbo-0613"]),
        costs.managed_option(10_000),
        costs.byok_option(10_000, [cheap, dear], round_outward_to=100),
    ):
        assert f"| {option.flowstack} | {option.ai} | {option.total} |" in page


def test_every_error_is_in_the_guide() -> None:
    page = (ROOT / "docs/sdk.md").read_text(encoding="utf-8")
    for name, kind in vars(exceptions).items():
        if isinstance(kind, type) and issubclass(kind, exceptions.FlowStackError):
            assert f"`{name}`" in page, name


def test_every_command_that_is_named_exists_and_every_one_is_named() -> None:
    page = (ROOT / "docs/sdk.md").read_text(encoding="utf-8")
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    named = set(_COMMAND.findall(page))
    for name, inner in named:
        command = group.commands[name]
        if isinstance(command, TyperGroup):
            assert inner in command.commands
    assert {name for name, _ in named} == set(group.commands) - {"version"}
