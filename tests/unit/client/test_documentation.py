"""What the client's pages say of it is so; their samples run in ``tests/unit/test_samples.py``."""

from __future__ import annotations

import re

import typer.main
from typer.core import TyperGroup

from flowstack import costs, exceptions
from flowstack.cli.commands import app
from tests.support.emulator import ROOT
from tests.support.pages import blocks

_COMMAND = re.compile(r"^flowstack (\w+)(?: (\w+))?", re.M)


def test_the_readmes_sample_of_the_client_is_short() -> None:
    sample = blocks(ROOT / "README.md", "python")[0].code
    assert len([line for line in sample.splitlines() if line.strip()]) <= 10


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
