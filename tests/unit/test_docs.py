"""What the documentation says is checked wherever a program can check it."""

from __future__ import annotations

import json
import re
import shlex
from collections import Counter
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import pytest
import typer.main
from aws_cdk import App, Environment
from aws_cdk.assertions import Template
from pydantic import BaseModel
from typer.core import TyperGroup

from flowstack_admin.main import app as admin_app
from flowstack_core.domain.plans import Tier
from flowstack_core.http import (
    admin_routes,
    requests,
    telemetry,
)
from flowstack_core.metrics import METRICS
from flowstack_docs.pages import ROOT, places, refreshed
from flowstack_docs.tables import TABLES, alarms_of, runbook_pages
from stacks.application import Application
from stacks.sources import Sources
from tests.support.pages import PAGES, blocks, commands_of, named, prose, spans

WRITTEN_BY_PROGRAMS = {"api-reference.md", "benchmarks.md", "rules.md"}
PAGES_WITH_EXAMPLES = (ROOT / "README.md", ROOT / "docs/api.md")

_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)|(?:src|srcset|href)=\"([^\"]+)\"")
_HEADING = re.compile(r"^(#+) (.+)$", re.MULTILINE)
_CONTENTS = re.compile(r"(?:^ *- \[[^\]]+\]\(#[\w-]+\)\n)+", re.MULTILINE)
_LONGEST_LINE = 110
_LONGEST_WITHOUT_CONTENTS = 250
"""How many lines a page may have before it has to begin with its contents."""

_REPOSITORY_FOLDERS = ("docs", "functions", "layers", "requirements", "stacks", "tests", "tools")


every_page = pytest.mark.parametrize("page", PAGES, ids=named)


def code_of(page: Path) -> list[str]:
    """Return everything that is written as code: the lines of shell blocks, and spans."""
    lines = [line.strip() for block in blocks(page, "bash") for line in block.code.splitlines()]
    return [*lines, *spans(page)]


def headings(page: Path) -> list[tuple[int, str]]:
    """Return the level of each heading of a page and the anchor that GitHub gives it."""
    seen: Counter[str] = Counter()
    found = []
    for marks, heading in _HEADING.findall(prose(page)):
        anchor = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        found.append((len(marks), f"{anchor}-{seen[anchor]}" if seen[anchor] else anchor))
        seen[anchor] += 1
    return found


# --- links and names ----------------------------------------------------------------------------


@every_page
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for markdown, html in _LINK.findall(prose(page)):
        link = markdown or html
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{link} is not there"
        known = {name for _, name in headings(target)} if anchor else set()
        assert not anchor or anchor in known, f"{link}: there is no such heading"


@every_page
def test_contents_name_every_section_in_its_order(page: Path) -> None:
    contents = _CONTENTS.search(prose(page))
    sections = [anchor for level, anchor in headings(page) if level == 2]
    if contents is None:
        lines = page.read_text(encoding="utf-8").count("\n")
        assert lines <= _LONGEST_WITHOUT_CONTENTS or page.name in WRITTEN_BY_PROGRAMS
        return
    named_there = re.findall(r"^- \[[^\]]+\]\(#([\w-]+)\)$", contents[0], re.MULTILINE)
    assert named_there == sections


@every_page
def test_prose_is_wrapped(page: Path) -> None:
    long = [line for line in prose(page).splitlines() if len(line) > _LONGEST_LINE]
    unwrapped = [line for line in long if line.lstrip()[0] not in "|<#"]
    assert not unwrapped or page.name in WRITTEN_BY_PROGRAMS


def test_the_index_names_every_page() -> None:
    index = ROOT / "docs/README.md"
    linked = {found[0].partition("#")[0] for found in _LINK.findall(prose(index))}
    there = {page.name for page in (ROOT / "docs").glob("*.md")} - {index.name}
    assert there <= linked


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
    found = {name for page in PAGES for name in places(page.read_text(encoding="utf-8"))}
    assert found == TABLES.keys()


def test_the_default_model_is_the_one_that_the_page_names() -> None:
    page = " ".join((ROOT / "docs/api.md").read_text(encoding="utf-8").split())
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
    there = {
        f"{method.upper()} {path.replace('<', '{').replace('>', '}')}"
        for path, operations in paths.items()
        for method in operations
    }
    page = (ROOT / "docs/api.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `([A-Z]+ /admin/[^`]+)` \|", page, re.MULTILINE)) == there


# --- commands -----------------------------------------------------------------------------------


def test_the_runbook_has_every_command_of_flowstack_admin() -> None:
    group = typer.main.get_command(admin_app)
    assert isinstance(group, TyperGroup)
    there = {
        f"{name} {inner}"
        for name, command in group.commands.items()
        for inner in (command.commands if isinstance(command, TyperGroup) else ("",))
    }
    shown = [
        shlex.join(words)
        for program, *words in commands_of(ROOT / "docs/operations.md")
        if program == "flowstack-admin"
    ]
    assert {words for words in there if not any(one.startswith(words) for one in shown)} == set()


# --- examples -----------------------------------------------------------------------------------


def model_named(name: str) -> type[BaseModel]:
    modules = [
        import_module(f"flowstack_core.http.{path.stem}")
        for path in (ROOT / "layers/core/flowstack_core/http").glob("*.py")
    ]
    found: type[BaseModel] = next(
        getattr(module, name) for module in modules if hasattr(module, name)
    )
    return found


@pytest.mark.parametrize("page", PAGES_WITH_EXAMPLES, ids=named)
def test_every_json_example_is_what_it_is_said_to_be(page: Path) -> None:
    examples = blocks(page, "json")
    assert examples
    for example in examples:
        assert len(example.words) == 2, f"{example}: say which model this is"
        model_named(example.words[1]).model_validate_json(example.code)


# --- metrics and alarms -------------------------------------------------------------------------


def test_every_metric_that_is_written_is_registered_and_no_other() -> None:
    code = (ROOT / "layers/core/flowstack_core").rglob("*.py")
    written = {
        name
        for source in code
        for name in re.findall(
            r'\b(?:count|gauge|measure)\(\s*"(\w+)"', source.read_text(encoding="utf-8")
        )
    }
    assert written | set(telemetry._REFUSALS.values()) == METRICS.keys()


def test_every_metric_is_written_by_the_parts_that_it_is_said_to_be() -> None:
    for source in (ROOT / "layers/core/flowstack_core").rglob("*.py"):
        text = source.read_text(encoding="utf-8")
        service = re.search(r'MetricLog\("([\w-]+)"\)', text)
        if service is not None:
            for name in re.findall(r'\b_metrics\.(?:count|gauge|measure)\(\s*"(\w+)"', text):
                assert service[1] in METRICS[name].services, f"{source.name}: {name}"


def alarms_in(folder: Path, **context: str) -> dict[str, dict[str, Any]]:
    """Return the alarms of a production stage by their names in it."""
    app = App(
        context={"stage": "prod", "aws:cdk:bundling-stacks": [], **context}, outdir=str(folder)
    )
    application = Application(app, Sources(ROOT), Environment())
    alarms = Template.from_stack(application.monitoring).find_resources("AWS::CloudWatch::Alarm")
    return {
        alarm["Properties"]["AlarmName"].removeprefix("FlowStack-prod-"): alarm["Properties"]
        for alarm in alarms.values()
    }


@pytest.fixture(scope="module")
def alarms(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    return alarms_in(tmp_path_factory.mktemp("prod"))


@pytest.fixture(scope="module")
def all_alarms(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """With those of what has to be configured."""
    return alarms_in(tmp_path_factory.mktemp("paid"), stripe_webhook_secret="flowstack/stripe")


def test_the_runbook_is_about_every_alarm_and_about_no_other(
    all_alarms: dict[str, dict[str, Any]],
) -> None:
    named_there = [name for page in runbook_pages() for name in alarms_of(page)]
    assert len(named_there) == len(set(named_there))
    assert set(named_there) == all_alarms.keys()


def test_every_alarm_refers_to_the_page_that_is_about_it(
    all_alarms: dict[str, dict[str, Any]],
) -> None:
    for page in runbook_pages():
        about = alarms_of(page)
        assert about, f"{page.name} is about no alarm"
        for name in about:
            assert all_alarms[name]["AlarmDescription"].endswith(f"docs/runbook/{page.name}")


@pytest.mark.parametrize("page", runbook_pages(), ids=named)
def test_every_page_of_the_runbook_says_how_to_see_it_and_what_to_do(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert "**See it.**" in text
    assert re.search(r"\*\*Do\.\*\*|\| do \|", text)


def test_queries_that_are_named_exist(tmp_path: Path) -> None:
    app = App(context={"stage": "prod", "aws:cdk:bundling-stacks": []}, outdir=str(tmp_path))
    template = Template.from_stack(Application(app, Sources(ROOT), Environment()).monitoring)
    queries = {
        found["Properties"]["Name"].split("/")[1]
        for found in template.find_resources("AWS::Logs::QueryDefinition").values()
    }
    operations = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    saved = operations.split("as saved queries")[1].split("A query costs")[0]
    assert {" ".join(name.split()) for name in re.findall(r"\*([^*]+)\*", saved)} == queries
    for page in runbook_pages():
        text = " ".join(page.read_text(encoding="utf-8").split())
        assert set(re.findall(r"query \*([^*]+)\*", text)) <= queries


def test_the_price_of_the_alarms_is_for_as_many_as_there_are(
    alarms: dict[str, dict[str, Any]],
) -> None:
    watched = sum(
        len([each for each in alarm.get("Metrics", ()) if "MetricStat" in each]) or 1
        for alarm in alarms.values()
    )
    page = " ".join((ROOT / "docs/cost.md").read_text(encoding="utf-8").split())
    assert f"{len(alarms)} alarms on {watched} metrics, ${watched * 0.10:.2f}" in page


def test_the_price_of_the_metrics_is_for_as_many_as_there_can_be() -> None:
    totals = sum(len(metric.services) for metric in METRICS.values())
    by = Counter(metric.by for metric in METRICS.values())
    most = totals + by["tier"] * len(Tier)
    page = " ".join((ROOT / "docs/cost.md").read_text(encoding="utf-8").split())
    assert (
        f"{totals} metrics, and {by['tier']} of them by tier, ${most * 0.30:.2f}; "
        f"{by['provider']} more for each provider in use, ${by['provider'] * 0.30:.2f}" in page
    )


# --- security ------------------------------------------------------------------------------------


def test_every_test_that_the_page_on_security_relies_on_exists() -> None:
    page = (ROOT / "docs/security.md").read_text(encoding="utf-8")
    named_there = set(re.findall(r"`(test_\w+)`", page))
    files = set(re.findall(r"`(test_\w+\.py)`", page))
    sources = list(ROOT.glob("tests/**/test_*.py"))
    code = "\n".join(source.read_text(encoding="utf-8") for source in sources)
    defined = set(re.findall(r"^ *(?:async )?def (test_\w+)", code, re.MULTILINE))
    assert len(named_there) > 30
    assert named_there <= defined, named_there - defined
    assert files <= {source.name for source in sources}
