"""How long fresh processes take to start the conversation function, and what takes the time.

boto3 with one client, which no function can do without, is timed in the same rounds to compare
with.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from stacks.constructs.layer import core_contents, providers_contents
from stacks.python_target import PythonTarget
from stacks.sources import Sources
from tests.bench.bundles import built_layer
from tests.support.emulator import REGION, ROOT
from tests.support.http_events import http_event

ROUNDS = 15
BREAKDOWN_ROUNDS = 5

_PAGE = ROOT / "docs/benchmarks-start.md"
_PACKAGES = ("boto3", "botocore", "aws-lambda-powertools", "pydantic", "pydantic-core")

_END = "\nimport os; os._exit(0)"
_NOTHING = "pass"
_BOTO3 = 'import boto3; boto3.client("dynamodb")'
_HANDLER = "import handler"
_COMPOSED = "import handler; from flowstack_core import bootstrap; bootstrap.conversation_service()"
_WITH_OPENAI = f"{_COMPOSED}; from flowstack_core.adapters import openai_client"
_WITH_ANTHROPIC = f"{_COMPOSED}; from flowstack_core.adapters import anthropic_client"
_FIRST_MESSAGE = Path(__file__).with_name("first_message.py")
_CHAT = {"agent": "bench", "message": "Hello"}
_INVOKE = {
    "provider": "bedrock",
    "model": "claude-haiku-4-5",
    "messages": [{"role": "user", "content": "Hello"}],
}
_SOURCES = (ROOT / "layers/core", ROOT / "functions/conversation")

_GROUPS = {
    "boto3, botocore and what they bring": (
        "boto3",
        "botocore",
        "dateutil",
        "jmespath",
        "s3transfer",
        "six",
        "urllib3",
    ),
    "pydantic": ("pydantic", "pydantic_core", "annotated_types", "typing_inspection"),
    "Powertools, OpenAPI models": ("aws_lambda_powertools.event_handler.openapi",),
    "Powertools, the rest": ("aws_lambda_powertools",),
    "FlowStack": ("flowstack_core", "handler"),
}
_OTHERS = "Python's own library, and others"

_INTRODUCTION = f"""# How long the conversation function takes to start

Processor time of fresh processes, {ROUNDS} rounds that run each program in turn; the start of a
Python that does nothing is subtracted, and so is the end of the processes, to which Lambda's never
come. Ratios are to boto3 with one client, which no function on DynamoDB can do without; importing
the handler makes no client yet, composing its service makes that one.

A message "answered" is the first of its session, from the start of the process to the answer of the
handler. botocore is handed what DynamoDB and Bedrock would say, so there is no network in it: what
was only moved from the import to the first message would show there.

On AWS functions start from snapshots (SnapStart), in which all of this is done; what it takes is
waited for when a version is published, and wherever there are no snapshots.
[Decision 28](decisions/0028-cold-starts.md) says what was done about it.
"""

_BREAKDOWN = f"""
Where the time of the handler goes, by `-X importtime` (median of
{BREAKDOWN_ROUNDS} runs; tracing makes each module slower than it is otherwise). The time in which
pydantic builds a model counts for the module that declares it.
"""


@dataclass(frozen=True, slots=True)
class Timing:
    """What one program took beyond the start of Python, in milliseconds."""

    name: str
    median: float
    fastest: float
    slowest: float


@dataclass(frozen=True, slots=True)
class ImportTimes:
    """All timings.

    Attributes
    ----------
    startup_ms
        The median start of a Python that does nothing.
    timings
        boto3 alone first.
    breakdown_ms
        Time spent in the modules of each group while the handler is imported, as ``-X importtime``
        sees it: more than without, for it costs time itself.
    """

    startup_ms: float
    timings: tuple[Timing, ...]
    breakdown_ms: Mapping[str, float]


def measure_import_time(layer: Path, providers: Path) -> ImportTimes:
    """Time every program once a round, in turn.

    Parameters
    ----------
    layer, providers
        The packages of the layers built for this Python, as Lambda finds them: without bytecode.
    """
    sources = _environment(_SOURCES)
    bundled = {**_environment((layer, providers, _SOURCES[1])), "PYTHONDONTWRITEBYTECODE": "1"}
    programs = {
        "": (_code(_NOTHING), sources),
        '`import boto3; boto3.client("dynamodb")` alone': (_code(_BOTO3), sources),
        "conversation handler": (_code(_HANDLER), sources),
        "its service composed": (_code(_COMPOSED), sources),
        "a first `/chat` answered": (_first_message("/chat", _CHAT), sources),
        "a first `/invoke` answered": (_first_message("/invoke", _INVOKE), sources),
        "the service with OpenAI's client, which the first customer loads who needs it": (
            _code(_WITH_OPENAI),
            sources,
        ),
        "with Anthropic's client, likewise": (_code(_WITH_ANTHROPIC), sources),
        "the service from the layers as they are shipped, without bytecode": (
            _code(_COMPOSED),
            bundled,
        ),
        "the same with OpenAI's client": (_code(_WITH_OPENAI), bundled),
        "the same with Anthropic's client": (_code(_WITH_ANTHROPIC), bundled),
    }
    took: dict[str, list[float]] = defaultdict(list)
    for arguments, environment in programs.values():
        _run(arguments, environment)  # writes bytecode where it may, and warms the disk's cache
    for _ in range(ROUNDS):
        for name, (arguments, environment) in programs.items():
            took[name].append(_run(arguments, environment))
    startup = statistics.median(took.pop(""))
    return ImportTimes(
        startup_ms=startup,
        timings=tuple(_timing(name, runs, startup) for name, runs in took.items()),
        breakdown_ms=_breakdown(sources),
    )


def _code(code: str) -> list[str]:
    return ["-c", code + _END]


def _first_message(path: str, body: dict[str, Any]) -> list[str]:
    caller = {"customer_id": "cus_1", "key_id": "key_1", "tier": "starter"}
    event = http_event("POST", path, json.dumps(body), authorizer=caller)
    return [str(_FIRST_MESSAGE), json.dumps(event)]


def _timing(name: str, runs: Sequence[float], startup: float) -> Timing:
    return Timing(name, statistics.median(runs) - startup, min(runs) - startup, max(runs) - startup)


def _environment(path: Sequence[Path]) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return {
        **kept,
        "PYTHONPATH": os.pathsep.join(map(str, path)),
        "FLOWSTACK_STAGE": "prod",
        "ACCOUNTS_TABLE": "accounts",
        "SESSIONS_TABLE": "sessions",
        "USAGE_TABLE": "usage",
        "PYDANTIC_DISABLE_PLUGINS": "1",
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }


def _run(arguments: Sequence[str], environment: dict[str, str]) -> float:
    before = _spent()
    _python(arguments, environment)
    return (_spent() - before) * 1000


def _spent() -> float:
    """Return the seconds of a processor that ended child processes had."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return children.ru_utime + children.ru_stime


def _python(arguments: Sequence[str], environment: dict[str, str]) -> str:
    finished = subprocess.run(
        [sys.executable, *arguments],
        env=environment,
        cwd=ROOT / "functions",
        check=True,
        capture_output=True,
        text=True,
    )
    return finished.stderr


def _breakdown(environment: dict[str, str]) -> dict[str, float]:
    rounds = [
        _grouped(
            _self_times(_python(["-X", "importtime", "-c", _HANDLER], environment)),
            _self_times(_python(["-X", "importtime", "-c", _NOTHING], environment)),
        )
        for _ in range(BREAKDOWN_ROUNDS)
    ]
    return {
        group: statistics.median(each[group] for each in rounds) for group in (*_GROUPS, _OTHERS)
    }


def _self_times(report: str) -> dict[str, float]:
    """Return the milliseconds each module took itself, read from ``-X importtime``."""
    lines = (line.removeprefix("import time:").split("|") for line in report.splitlines())
    return {
        name.strip(): int(own) / 1000
        for own, _, name in (line for line in lines if len(line) == 3)
        if own.strip().isdigit()
    }


def _grouped(found: Mapping[str, float], at_startup: Mapping[str, float]) -> dict[str, float]:
    sums: dict[str, float] = dict.fromkeys((*_GROUPS, _OTHERS), 0.0)
    for module, own in found.items():
        if module not in at_startup:
            sums[_group(module)] += own
    return sums


def _group(module: str) -> str:
    for group, packages in _GROUPS.items():
        if any(module == package or module.startswith(f"{package}.") for package in packages):
            return group
    return _OTHERS


# --- the page ------------------------------------------------------------------------------


def render(times: ImportTimes, conditions: Sequence[tuple[str, str]]) -> str:
    """Return the page."""
    return "\n".join(
        (
            _INTRODUCTION,
            "| condition | value |",
            "| --- | --- |",
            *(f"| {name} | {value} |" for name, value in conditions),
            "",
            "| program | median ms | range ms | ratio |",
            "| --- | --- | --- | --- |",
            *_rows(times.timings),
            f"| start of Python, subtracted above | {times.startup_ms:.0f} | | |",
            _BREAKDOWN,
            "| modules | ms |",
            "| --- | --- |",
            *(f"| {name} | {spent:.0f} |" for name, spent in times.breakdown_ms.items()),
            "",
        )
    )


def _rows(timings: Sequence[Timing]) -> Iterable[str]:
    base = timings[0].median
    for each in timings:
        span = f"{each.fastest:.0f} to {each.slowest:.0f}"
        yield f"| {each.name} | {each.median:.0f} | {span} | {each.median / base:.2f} |"


def main() -> None:
    """Measure, and write the page."""
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    conditions = [
        ("measured", f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"),
        ("command", "`make bench`, or `python -m tests.bench.import_time`"),
        ("machine", f"{os.cpu_count()} processors, {platform.machine()}"),
        ("load when it began", f"{load} (1, 5 and 15 minutes)"),
        ("Python", f"{platform.python_implementation()} {platform.python_version()}"),
        *((package, version(package)) for package in _PACKAGES),
    ]
    sources, host = Sources(ROOT), PythonTarget.of_interpreter(sys.executable)
    with (
        built_layer(core_contents(sources), host) as layer,
        built_layer(providers_contents(sources), host) as providers,
    ):
        times = measure_import_time(layer / "python", providers / "python")
    _PAGE.write_text(render(times, conditions), encoding="utf-8")


if __name__ == "__main__":
    main()
