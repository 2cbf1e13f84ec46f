"""Sets the admission of a message beside a quota of zae-limiter, on the same DynamoDB."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import count
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import boto3

from flowstack_core.adapters.dynamodb_accounts import DynamoDBAccountStore
from flowstack_core.adapters.dynamodb_own_limits import DynamoDBOwnLimitsStore
from flowstack_core.adapters.dynamodb_sessions import DynamoDBSessionStore
from flowstack_core.adapters.dynamodb_usage import DynamoDBUsageStore
from flowstack_core.adapters.system import RandomIds, SystemClock
from flowstack_core.domain.errors import QuotaExceededError
from flowstack_core.domain.plans import Tier
from flowstack_core.domain.sessions import Conversation
from flowstack_core.domain.subscriptions import Subscription
from flowstack_core.services.admission import Admission, Ticket
from flowstack_core.services.retrying import Retrier
from tests.bench.customers import create_customer
from tests.support.emulator import REGION, ROOT, create_tables, emulator
from tests.support.fakes import Watching

LIMIT = 25
RACERS = 200
REPEATS = 300
_PAGE = ROOT / "docs/benchmarks-quota.md"
_PEER = ROOT / ".local/peers-venv/bin/python"
_THREADS = 24

_INTRODUCTION = f"""# The quota, beside zae-limiter

[zae-limiter](https://pypi.org/project/zae-limiter/) keeps quotas on DynamoDB, and keeps them
exactly, as we do. Here it has one of sessions that resets with the month, in a table of its own on
the same MiniStack. Times are of the whole operation in a process that does nothing else, {REPEATS}
in a row.

The two do not do the same. zae-limiter counts what it is told to: it knows no session, so its
caller would have to find out which message starts one; it keeps no record of what was counted,
gives nothing back when a function dies, and has no entitlement that changes within the month. That
is why it is cheaper where a session starts: there, one transaction writes the session, its record
for the statement, and the count under the entitlement in force. Of a message that goes on with a
session, which most do, zae-limiter knows nothing; here it is one update. A refusal reads the
sessions that wait for their first answer, in case one of them was left by a crash.
"""


@dataclass(frozen=True, slots=True)
class Figure:
    """What one operation asks DynamoDB for before the model, and how long it takes."""

    name: str
    requests: tuple[str, ...]
    milliseconds: tuple[float, ...]

    @property
    def p50(self) -> float:
        """The median, in milliseconds."""
        return statistics.median(self.milliseconds)

    @property
    def p99(self) -> float:
        """What one in a hundred takes longer than, in milliseconds."""
        return statistics.quantiles(self.milliseconds, n=100)[98]


@dataclass(frozen=True, slots=True)
class Quotas:
    """Both sides.

    Attributes
    ----------
    admitted, peer_admitted
        How many of `RACERS` at once were let in at a limit of `LIMIT`.
    """

    peer_version: str
    figures: tuple[Figure, ...]
    peer_figures: tuple[Figure, ...]
    admitted: int
    peer_admitted: int


class Budget:
    """A request's time."""

    def __init__(self) -> None:
        self._until = time.monotonic() + 29

    def remaining_seconds(self) -> float:
        """Return what is left."""
        return self._until - time.monotonic()


def measure_quotas() -> Quotas:
    """Measure both, one after the other, on one MiniStack."""
    with TemporaryDirectory() as directory, emulator(Path(directory)) as url:
        ours = _Admissions(url)
        figures = tuple(ours.figures())
        admitted = ours.race()
        peer = json.loads(
            subprocess.run(
                [str(_PEER), str(Path(__file__).parent / "peers/zae_meter.py"), url]
                + [str(number) for number in (LIMIT, RACERS, REPEATS)],
                env={**os.environ, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"},
                check=True,
                capture_output=True,
                text=True,
            ).stdout
        )
    names = ("start", "refusal")
    return Quotas(
        peer_version=peer["version"],
        figures=figures,
        peer_figures=tuple(
            Figure(name, _labels(peer[name]), tuple(peer[f"{name}_ms"])) for name in names
        ),
        admitted=admitted,
        peer_admitted=peer["admitted"],
    )


def _labels(made: Iterable[Sequence[object]]) -> tuple[str, ...]:
    """Name requests; the emulator reports nothing of those that a condition refused."""
    return tuple(
        f"{operation} (refused)" if units is None else f"{operation}, {units:g} units"
        for operation, units in made
    )


class _Admissions:
    """The admission of messages, as the conversation function composes it."""

    def __init__(self, url: str) -> None:
        session = boto3.Session(
            aws_access_key_id="test", aws_secret_access_key="test", region_name=REGION
        )
        self._database = boto3.Session(
            aws_access_key_id="test", aws_secret_access_key="test", region_name=REGION
        ).client("dynamodb", endpoint_url=url)
        create_tables(self._database)
        self._made: list[str] = []
        session.events.register("after-call.dynamodb", self._note)
        client = session.client("dynamodb", endpoint_url=url)
        accounts = DynamoDBAccountStore(client, "accounts", "usage")
        self._admission = Admission(
            DynamoDBSessionStore(client, "sessions", "usage"),
            DynamoDBUsageStore(client, "usage", "accounts"),
            accounts,
            DynamoDBOwnLimitsStore(client, "accounts", "usage"),
            RandomIds(),
            Retrier(sleep=time.sleep, chance=Random(1).random),
            Watching(),
        )
        self._numbers = count(1)

    def _note(self, parsed: dict[str, object], model: object, **_: object) -> None:
        name = str(getattr(model, "name", ""))
        self._made.append(f"{name} (refused)" if "Error" in parsed else name)

    def figures(self) -> Iterable[Figure]:
        """Yield what starts, follow-ups and refusals cost."""
        many = create_customer(self._database, Tier.ENTERPRISE, 10**6)
        full = create_customer(self._database, Tier.PROFESSIONAL, 1)
        self._admit(many, "first")
        self._admit(full, "first")
        yield self._figure("start", lambda: self._admit(many, self._name()))
        yield self._figure("follow-up", lambda: self._admit(many, "first", follow_up=True))
        yield self._figure("refusal", lambda: self._admit(full, self._name()))

    def race(self) -> int:
        """Return how many of racing first messages are admitted."""
        raced = create_customer(self._database, Tier.PROFESSIONAL, LIMIT)
        with ThreadPoolExecutor(_THREADS) as threads:
            tickets = threads.map(lambda _: self._admit(raced, self._name()), range(RACERS))
            return sum(ticket is not None for ticket in tickets)

    def _figure(self, name: str, admit: Callable[[], Ticket | None]) -> Figure:
        self._made = []
        self._end(admit(), name)
        requests = tuple(self._made) if name != "follow-up" else tuple(self._made[:1])
        taken = []
        for _ in range(REPEATS):
            began = time.perf_counter()
            ticket = admit()
            taken.append((time.perf_counter() - began) * 1000)
            self._end(ticket, name)
        return Figure(name, requests, tuple(taken))

    def _end(self, ticket: Ticket | None, name: str) -> None:
        """Take a follow-up out of flight, as its answer would: what flies makes the item grow."""
        if ticket is not None and name == "follow-up":
            self._admission.withdraw(ticket, SystemClock(), Budget())

    def _admit(
        self, subscription: Subscription, name: str, *, follow_up: bool = False
    ) -> Ticket | None:
        try:
            return self._admission.admit(
                Conversation(subscription.customer_id, "agent", name),
                managed=True,
                follow_up_expected=follow_up,
                attempt_id=RandomIds().attempt_id(),
                clock=SystemClock(),
                budget=Budget(),
            )
        except QuotaExceededError:
            return None

    def _name(self) -> str:
        return f"conversation-{next(self._numbers)}"


# --- the page ------------------------------------------------------------------------------


def render(quotas: Quotas, conditions: Sequence[tuple[str, str]]) -> str:
    """Return the page."""
    sides = (
        ("FlowStack", quotas.figures),
        (f"zae-limiter {quotas.peer_version}", quotas.peer_figures),
    )
    rows = (
        f"| {side} | {figure.name} | {', '.join(figure.requests)} | {figure.p50:.1f} |"
        f" {figure.p99:.1f} |"
        for side, figures in sides
        for figure in figures
    )
    raced = (
        f"Of {RACERS} requests at once at a limit of {LIMIT}, FlowStack admitted"
        f" {quotas.admitted}, and zae-limiter {quotas.peer_admitted}."
    )
    return "\n".join(
        (
            _INTRODUCTION,
            "| condition | value |",
            "| --- | --- |",
            *(f"| {name} | {value} |" for name, value in conditions),
            "",
            "| | operation | requests before the model | p50 ms | p99 ms |",
            "| --- | --- | --- | --- | --- |",
            *rows,
            "",
            raced,
            "",
        )
    )


def main() -> None:
    """Measure, and write the page."""
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    conditions = [
        ("measured", f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"),
        ("command", "`make bench`, or `python -m tests.bench.quota`"),
        ("machine", f"{os.cpu_count()} processors, {platform.machine()}"),
        ("load when it began", f"{load} (1, 5 and 15 minutes)"),
        ("Python", f"{platform.python_implementation()} {platform.python_version()}"),
        ("boto3", version("boto3")),
    ]
    _PAGE.write_text(render(measure_quotas(), conditions), encoding="utf-8")


if __name__ == "__main__":
    main()
