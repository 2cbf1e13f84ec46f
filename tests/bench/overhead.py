"""What a message takes beside its model, and beside DynamoDB; and what LiteLLM's proxy takes."""

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
from itertools import count, cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import boto3
import httpx

from flowstack_core.domain.plans import Tier
from tests.bench.conversation_function import conversation_function
from tests.bench.customers import create_customer
from tests.support.emulator import ROOT, free_port

REPEATS = 500
WARM_UP = 30
_CUSTOMERS = 20
_PAGE = ROOT / "docs/benchmarks-overhead.md"
_PEER = ROOT / ".local/litellm-venv/bin"
_STUB = Path(__file__).parent / "peers/provider_stub.py"
_START_SECONDS = 90

_INTRODUCTION = f"""# What a message takes beside its model

The conversation function, called in this process as Lambda calls it, against a MiniStack and a
local server that speaks Bedrock's Converse API: {REPEATS} messages in a row, after {WARM_UP} that
are not counted. "Whole" is the call of the handler. "Own" is that without the time in which
botocore waits for a server: what our code, pydantic, Powertools and botocore take. "Waiting" is
the rest, MiniStack's for the most part.

[LiteLLM](https://pypi.org/project/litellm/)'s proxy passes requests on to providers, with keys and
budgets where it has a PostgreSQL to keep them in. Its client for that database fetches a program
from the network when it is installed, which was not to be had where this was measured: so here it
has neither, one key of its configuration and nothing to count, which is less than its users have
it do. It runs as one process (uvicorn) and is asked over HTTP on the same machine, by a client
that keeps its connection, before a stub that answers at once. The stub's own time, asked directly,
is subtracted.

The two are not the same way to serve: a proxy of one process serves many requests by turns, and
Lambda serves one request a process, with API Gateway's own milliseconds before it. What can be
compared is how much work stands between a request and its model.
"""


@dataclass(frozen=True, slots=True)
class Times:
    """How long something took, each time, in milliseconds."""

    name: str
    milliseconds: tuple[float, ...]

    @property
    def p50(self) -> float:
        """The median."""
        return statistics.median(self.milliseconds)

    @property
    def p99(self) -> float:
        """What one in a hundred takes longer than."""
        return statistics.quantiles(self.milliseconds, n=100)[98]


class Waiting:
    """Adds up the time in which clients of a session wait for servers."""

    def __init__(self, session: boto3.Session) -> None:
        self._since = 0.0
        self.milliseconds = 0.0
        session.events.register("before-send", self._sent)
        session.events.register("response-received", self._received)

    def _sent(self, **_: Any) -> None:
        self._since = time.perf_counter()

    def _received(self, **_: Any) -> None:
        self.milliseconds += (time.perf_counter() - self._since) * 1000


def measure_messages() -> list[Times]:
    """Return the whole and the own time of follow-ups and of starts."""
    with conversation_function() as function:
        waiting = Waiting(function.observed_session)
        numbers = count(1)
        # Several, as fair use bounds what one may send in a minute.
        customers = cycle(
            [create_customer(function.database, Tier.ENTERPRISE, 10**6) for _ in range(_CUSTOMERS)]
        )

        def send(conversation: str) -> None:
            body = {
                "provider": "bedrock",
                "model": "claude-haiku-4-5",
                "agent": "bench",
                "conversation_id": conversation,
                "messages": [{"role": "user", "content": "Hello"}],
            }
            answer = function.send("/invoke", next(customers), body)
            if answer.status != 200:
                raise RuntimeError(f"{answer.status}: {answer.text}")

        return [
            *_both("follow-up", lambda: send("one"), waiting),
            *_both("start", lambda: send(f"one-{next(numbers)}"), waiting),
        ]


def _both(name: str, operation: Callable[[], None], waiting: Waiting) -> Iterator[Times]:
    for _ in range(WARM_UP):
        operation()
    whole, own = [], []
    for _ in range(REPEATS):
        waiting.milliseconds = 0.0
        began = time.perf_counter()
        operation()
        took = (time.perf_counter() - began) * 1000
        whole.append(took)
        own.append(took - waiting.milliseconds)
    yield Times(f"{name}, whole", tuple(whole))
    yield Times(f"{name}, own", tuple(own))


# --- the peer ------------------------------------------------------------------------------


def measure_proxy() -> Times:
    """Return what LiteLLM's proxy takes on top of the provider behind it."""
    stub_port, proxy_port = free_port(), free_port()
    with TemporaryDirectory() as directory:
        config = Path(directory) / "config.json"
        config.write_text(json.dumps(_config(stub_port)), encoding="utf-8")
        proxy = [str(_PEER / "litellm"), "--config", str(config), "--host", "127.0.0.1"]
        with (
            _running([sys.executable, str(_STUB), str(stub_port)], {}),
            _running([*proxy, "--port", str(proxy_port)], {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}),
        ):
            direct = _asked(f"http://127.0.0.1:{stub_port}/v1/chat/completions", "sk-stub")
            through = _asked(f"http://127.0.0.1:{proxy_port}/v1/chat/completions", "sk-bench")
    between = statistics.median(direct)
    return Times("LiteLLM's proxy", tuple(each - between for each in through))


def _config(stub_port: int) -> dict[str, Any]:
    behind = {"model": "openai/stub", "api_key": "sk-stub"}
    behind["api_base"] = f"http://127.0.0.1:{stub_port}/v1"
    return {
        "model_list": [{"model_name": "stub", "litellm_params": behind}],
        "general_settings": {"master_key": "sk-bench"},
        "litellm_settings": {"telemetry": False},
    }


@contextmanager
def _running(command: Sequence[str], variables: dict[str, str]) -> Iterator[None]:
    process = subprocess.Popen(
        command,
        env={**os.environ, **variables},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def _asked(url: str, key: str) -> list[float]:
    body = {"model": "stub", "messages": [{"role": "user", "content": "Hello"}]}
    taken = []
    with httpx.Client(trust_env=False, timeout=30) as client:

        def ask() -> None:
            client.post(
                url, headers={"Authorization": f"Bearer {key}"}, json=body
            ).raise_for_status()

        _once_it_answers(ask)
        for _ in range(WARM_UP):
            ask()
        for _ in range(REPEATS):
            began = time.perf_counter()
            ask()
            taken.append((time.perf_counter() - began) * 1000)
    return taken


def _once_it_answers(ask: Callable[[], None]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            return ask()
        except httpx.HTTPError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


# --- the page ------------------------------------------------------------------------------


def render(times: Sequence[Times], conditions: Sequence[tuple[str, str]]) -> str:
    """Return the page."""
    return "\n".join(
        (
            _INTRODUCTION,
            "| condition | value |",
            "| --- | --- |",
            *(f"| {name} | {value} |" for name, value in conditions),
            "",
            "| | p50 ms | p99 ms |",
            "| --- | --- | --- |",
            *(f"| {each.name} | {each.p50:.1f} | {each.p99:.1f} |" for each in times),
            "",
        )
    )


def main() -> None:
    """Measure, and write the page."""
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    asked = "from importlib.metadata import version; print(version('litellm'))"
    peer = subprocess.run(
        [str(_PEER / "python"), "-c", asked], check=True, capture_output=True, text=True
    )
    conditions = [
        ("measured", f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"),
        ("command", "`make bench`, or `python -m tests.bench.overhead`"),
        ("machine", f"{os.cpu_count()} processors, {platform.machine()}"),
        ("load when it began", f"{load} (1, 5 and 15 minutes)"),
        ("Python", f"{platform.python_implementation()} {platform.python_version()}"),
        ("boto3", version("boto3")),
        ("litellm", peer.stdout.strip()),
    ]
    _PAGE.write_text(render([*measure_messages(), measure_proxy()], conditions), encoding="utf-8")


if __name__ == "__main__":
    main()
