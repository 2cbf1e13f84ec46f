"""Times how long fresh processes take to import the conversation function, and what takes the time.

boto3 with one client, which no function can do without, is timed in the same rounds to compare
with. Wall time of whole processes; the start of a Python that does nothing is subtracted.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.emulator import REGION, ROOT

ROUNDS = 11
BREAKDOWN_ROUNDS = 5

_NOTHING = "pass"
_BOTO3 = 'import boto3; boto3.client("dynamodb")'
_HANDLER = "import handler"
_COMPOSED = "import handler; from flowstack_core import bootstrap; bootstrap.conversation_service()"
_WITH_OPENAI = f"{_COMPOSED}; from flowstack_core.adapters import openai_client"
_WITH_ANTHROPIC = f"{_COMPOSED}; from flowstack_core.adapters import anthropic_client"
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
        "": (_NOTHING, sources),
        '`import boto3; boto3.client("dynamodb")` alone': (_BOTO3, sources),
        "conversation handler": (_HANDLER, sources),
        "conversation handler, its service composed": (_COMPOSED, sources),
        "with OpenAI's client, loaded when the first customer needs it": (_WITH_OPENAI, sources),
        "with Anthropic's client, likewise": (_WITH_ANTHROPIC, sources),
        "the service from the layers as they are shipped, without bytecode": (_COMPOSED, bundled),
        "the same with OpenAI's client": (_WITH_OPENAI, bundled),
        "the same with Anthropic's client": (_WITH_ANTHROPIC, bundled),
    }
    took: dict[str, list[float]] = defaultdict(list)
    for code, environment in programs.values():
        _run(code, environment)  # writes bytecode where it may, and warms the disk's cache
    for _ in range(ROUNDS):
        for name, (code, environment) in programs.items():
            took[name].append(_run(code, environment))
    startup = statistics.median(took.pop(""))
    return ImportTimes(
        startup_ms=startup,
        timings=tuple(_timing(name, runs, startup) for name, runs in took.items()),
        breakdown_ms=_breakdown(sources),
    )


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
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }


def _run(code: str, environment: dict[str, str]) -> float:
    started = time.perf_counter()
    _python(["-c", code], environment)
    return (time.perf_counter() - started) * 1000


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
