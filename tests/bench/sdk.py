"""What the Python client costs a program: ``python -m tests.bench.sdk``.

The same short exchange over one kept connection with a server in a process of its own: by bare
httpx, by the FlowStack client and by the ``openai`` client, in turn, round after round. What is
reported beyond bare httpx is the clients' own work.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version

import httpx
from openai import OpenAI

from flowstack import Agent
from tests.support.emulator import ROOT
from tests.support.fake_api import answer_document
from tests.support.local_http import LocalHandler, LocalServer

CALLS = 200
ROUNDS = 15
IMPORT_ROUNDS = 9
_PAGE = ROOT / "docs/benchmarks-sdk.md"
_KEY = "fs_bench"
_TEXT = "What is a box plot?"

_COMPLETION = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1764000000,
    "model": "claude-sonnet-4-6",
    "choices": [
        {
            "index": 0,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": "Hello!"},
        }
    ],
    "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7},
}

_INTRODUCTION = """# Benchmarks of the Python client

What the client costs a program beside bare httpx and beside the `openai` client, against the same
local server over one kept connection. `make bench`, or `python -m tests.bench.sdk` alone, measures
it and writes this page anew.
"""

_CALLS = f"""## A call

Microseconds of wall time a call: the median of {ROUNDS} rounds of {CALLS} calls, each round running
every client in turn, and the fastest and slowest round. The server answers at once from a process
of its own, so this is mostly the time on loopback; "beyond httpx" is what a client adds, and where
it is small or negative it is lost in the noise.
"""

_IMPORTS = f"""## Import

Milliseconds of fresh processes, the start of a Python that does nothing subtracted; median of
{IMPORT_ROUNDS}, in turn.
"""


@dataclass(frozen=True, slots=True)
class Timing:
    """What something took, round by round."""

    name: str
    rounds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The median round."""
        return statistics.median(self.rounds)


class _Handler(LocalHandler):
    def do_POST(self) -> None:  # noqa: N802 (the base class names it)
        self.read_body()
        path = self.route()[0]
        self.reply_json(200, _COMPLETION if path.endswith("/completions") else answer_document())


@contextmanager
def _server() -> Iterator[str]:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.bench.sdk", "serve"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.communicate()  # closes its input, which ends it


def _serve() -> None:
    with LocalServer(_Handler) as server:
        print(server.url, flush=True)
        sys.stdin.read()


def measure_calls() -> list[Timing]:
    """Time a call by each client."""
    with (
        _server() as url,
        httpx.Client(trust_env=False) as http,
        Agent("bench", _KEY, base_url=url) as agent,
        OpenAI(api_key=_KEY, base_url=f"{url}/v1") as openai,
    ):
        body = {"agent": "bench", "model": "claude-sonnet-4-6", "message": _TEXT}

        def by_httpx() -> None:
            json.loads(http.post(f"{url}/chat", json=body, headers={"X-API-Key": _KEY}).content)

        def by_openai() -> None:
            openai.chat.completions.create(
                model="claude-sonnet-4-6", messages=[{"role": "user", "content": _TEXT}]
            )

        calls: dict[str, Callable[[], object]] = {
            "bare httpx": by_httpx,
            f"flowstack {version('flowstack')}, `agent.chat`": lambda: agent.chat(_TEXT),
            f"openai {version('openai')}, `chat.completions.create`": by_openai,
        }
        took: dict[str, list[float]] = {name: [] for name in calls}
        for call in calls.values():
            _times(call, CALLS)  # opens the connection, and fills the caches
        for _ in range(ROUNDS):
            for name, call in calls.items():
                took[name].append(_times(call, CALLS) * 1e6 / CALLS)
    return [Timing(name, tuple(rounds)) for name, rounds in took.items()]


def measure_imports() -> list[Timing]:
    """Time the import of each client."""
    programs = {
        "": "pass",
        "`import httpx`": "import httpx",
        "`import flowstack`": "import flowstack",
        "`import openai`": "import openai",
    }
    took: dict[str, list[float]] = {name: [] for name in programs}
    for code in programs.values():
        _runs(code)
    for _ in range(IMPORT_ROUNDS):
        for name, code in programs.items():
            took[name].append(_times(lambda code=code: _runs(code), 1) * 1000)  # type: ignore[misc]
    startup = statistics.median(took.pop(""))
    return [Timing(name, tuple(each - startup for each in rounds)) for name, rounds in took.items()]


def _runs(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def _times(call: Callable[[], object], count: int) -> float:
    started = time.perf_counter()
    for _ in range(count):
        call()
    return time.perf_counter() - started


def render(calls: list[Timing], imports: list[Timing], conditions: list[tuple[str, str]]) -> str:
    """Return the page."""
    base = calls[0].median
    return "\n".join(
        (
            _INTRODUCTION,
            _table(("condition", "value"), conditions),
            _CALLS,
            _table(
                ("client", "median µs", "range µs", "beyond httpx µs"),
                [
                    (
                        timing.name,
                        f"{timing.median:.0f}",
                        f"{min(timing.rounds):.0f} to {max(timing.rounds):.0f}",
                        f"{timing.median - base:.0f}" if timing is not calls[0] else "",
                    )
                    for timing in calls
                ],
            ),
            _IMPORTS,
            _table(
                ("program", "median ms"),
                [(timing.name, f"{timing.median:.0f}") for timing in imports],
            ),
        )
    )


def _table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [header, ("---",) * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def main() -> None:
    """Measure, and write the page."""
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    conditions = [
        ("measured", f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"),
        ("machine", f"{os.cpu_count()} processors, {platform.machine()}"),
        ("load when it began", f"{load} (1, 5 and 15 minutes)"),
        ("Python", f"{platform.python_implementation()} {platform.python_version()}"),
        *((package, version(package)) for package in ("httpx", "pydantic")),
    ]
    page = render(measure_calls(), measure_imports(), conditions)
    _PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    _serve() if sys.argv[1:] == ["serve"] else main()
