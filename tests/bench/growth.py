"""Whether a request costs more, the more customers there are, or conversations of its customer.

``python -m tests.bench.growth`` writes the page, or fails and names what grew. It needs some 12 GB
of memory; ``FLOWSTACK_BENCH_CUSTOMERS=2000 FLOWSTACK_BENCH_CONVERSATIONS=500`` need next to none.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from io import StringIO
from itertools import count
from typing import Any
from unittest.mock import patch

from mypy_boto3_dynamodb import DynamoDBClient

from flowstack_core import bootstrap
from flowstack_core.adapters.dynamodb_accounts import decode_customer, encode_cursor, profile_key
from flowstack_core.adapters.dynamodb_sessions import head_key, record_key
from flowstack_core.adapters.dynamodb_usage import counter_key
from flowstack_core.domain.periods import Period
from flowstack_core.domain.sessions import Conversation
from flowstack_core.http.requests import DEFAULT_MODEL
from tests.bench.bounds import Bound, bounds_of
from tests.bench.conversation_function import Function, conversation_function, load_handler
from tests.bench.copier import PROGRAM, Copier, Copies, Items
from tests.bench.copying_emulator import name_of_copy
from tests.bench.flatness import Cost, Operation, check_flat, sizes_up_to
from tests.bench.hot_path import NotRepeatableError, units_of
from tests.bench.metering import Meter, Request
from tests.bench.tables import table, units_text
from tests.support.emulator import ROOT, TABLES
from tests.support.http_events import HttpResponse, LambdaContext, http_event, response_of

CUSTOMERS, MANY_CUSTOMERS = "FLOWSTACK_BENCH_CUSTOMERS", 1_000_000
CONVERSATIONS, MANY_CONVERSATIONS = "FLOWSTACK_BENCH_CONVERSATIONS", 100_000

REPEATS = 3
PAGE_SIZE = 20

_PAGE = ROOT / "docs/benchmarks-growth.md"
_STARTS = 2 * REPEATS
_READ_TIMEOUT_SECONDS = 600
_OPERATOR = "arn:aws:iam::000000000000:user/bench"
_READS = (
    "/tier-info",
    "/usage",
    "/usage/history",
    "/usage/forecast",
    "/usage/recommendations",
)
_IDS = ("customer_id", "key_id", "digest", "audit_id", "session_id")
_CONVERSATION_IDS = ("conversation_id", "session_id")
_METHOD = "arn:aws:execute-api:us-east-1:000000000000:api/prod/POST/chat"
_AGENT = "bench-agent"
_MESSAGE = "Our order 48213 was to arrive on Tuesday and has not. Could you find out where it is?"


@dataclass(frozen=True, slots=True)
class Axis:
    """What was measured while one number grew, and the copies that made it grow."""

    sizes: tuple[int, ...]
    operations: tuple[Operation, ...]
    copies: Copies


@dataclass(frozen=True, slots=True)
class Growth:
    """Both numbers, and what bounded the requests that were made."""

    customers: Axis
    conversations: Axis
    bounds: tuple[Bound, ...]


@dataclass(frozen=True, slots=True)
class Caller:
    """A customer, and what the authorizer tells functions of it."""

    customer_id: str
    context: dict[str, Any]


class Callers:
    """Sends requests to the functions as API Gateway does, for customers and for operators."""

    def __init__(self, function: Function) -> None:
        self._conversation = function.handler
        self._database = function.database
        self._authorizer, self._usage, self._rollups, self._admin = map(
            load_handler, ("authorizer", "usage", "rollups", "admin")
        )

    def send(
        self,
        caller: Caller,
        path: str,
        conversation_id: str,
        *,
        opening: bool = True,
        status: int = 200,
    ) -> HttpResponse:
        """Send a message."""
        body: dict[str, Any] = {"agent": _AGENT, "conversation_id": conversation_id}
        if path == "/chat":
            body["message"] = _MESSAGE
        else:
            said = [_MESSAGE] if opening else [_MESSAGE, "It left the depot.", "Then when?"]
            body |= {"provider": "bedrock", "model": DEFAULT_MODEL}
            body["messages"] = [
                {"role": ("user", "assistant")[turn % 2], "content": text}
                for turn, text in enumerate(said)
            ]
        event = http_event("POST", path, json.dumps(body), authorizer=caller.context)
        return _answered(self._conversation, event, status)

    def read(self, caller: Caller, path: str) -> None:
        """Read something of the customer's usage."""
        _answered(self._usage, http_event("GET", path, authorizer=caller.context), 200)

    def create_customer(self, session_limit: int) -> HttpResponse:
        """Sign a customer up."""
        body = {"name": "Bench", "tier": "enterprise", "session_limit": session_limit}
        identity = {"userArn": _OPERATOR}
        event = http_event("POST", "/admin/customers", json.dumps(body), identity=identity)
        return _answered(self._admin, event, 201)

    def operate(self, path: str, **query: str) -> None:
        """Read something as an operator."""
        event = http_event("GET", path, query=query, identity={"userArn": _OPERATOR})
        _answered(self._admin, event, 200)

    def authorize(self, key: str) -> dict[str, Any]:
        """Return what the authorizer tells functions of whose key it is."""
        headers = {"X-API-Key": [key]}
        event = {"type": "REQUEST", "methodArn": _METHOD, "multiValueHeaders": headers}
        with redirect_stdout(StringIO()):
            policy = self._authorizer(event, LambdaContext())
        context: dict[str, Any] = policy["context"]
        return context

    def roll_up(self, conversation: Conversation) -> None:
        """Give the function of rollups the change that an answer was."""
        key = head_key(conversation)
        image = self._database.get_item(TableName="sessions", Key=key)["Item"]
        record = {
            "eventID": "1",
            "eventName": "MODIFY",
            "eventSource": "aws:dynamodb",
            "dynamodb": {"SequenceNumber": "1", "Keys": key, "NewImage": image},
        }
        with redirect_stdout(StringIO()):
            answer = self._rollups({"Records": [record]}, LambdaContext())
        if answer["batchItemFailures"]:
            raise RuntimeError(f"not rolled up: {answer}")


def _answered(
    handler: Callable[..., dict[str, Any]], event: dict[str, Any], status: int
) -> HttpResponse:
    # Metrics and logs are on, as in production; nobody wants to read them here.
    with redirect_stdout(StringIO()):
        response = response_of(handler(event, LambdaContext()))
    if response.status != status:
        raise RuntimeError(f"{event['path']} answered {response.status}: {response.text}")
    return response


class Costs:
    """What operations cost, by size."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._found: dict[str, Operation] = {}
        self.bounds: set[Bound] = set()
        self.size = 1

    @property
    def operations(self) -> tuple[Operation, ...]:
        """What was measured so far."""
        return tuple(self._found.values())

    def measure(
        self,
        name: str,
        act: Callable[[], object],
        *,
        times: int = REPEATS,
        full_from: int = 1,
    ) -> None:
        """Do something several times, and note what it costs.

        Raises
        ------
        NotRepeatableError
            The cost was not the same each time.
        UnboundedRequestError
            Nothing bounds what one of its requests can meet.
        """
        recorded, milliseconds = [], []
        for _ in range(times):
            began, probed = time.perf_counter(), self._meter.probing_seconds
            with self._meter.recording() as requests:
                act()
            probing = self._meter.probing_seconds - probed
            milliseconds.append((time.perf_counter() - began - probing) * 1000)
            recorded.append(tuple(requests))
        first, *others = recorded
        if any(other != first for other in others):
            raise NotRepeatableError(f"{name}: {recorded}")
        for request in first:
            self.bounds.update(bounds_of(request.operation, request.asked))
        self._note(name, first, statistics.median(milliseconds), full_from)

    def _note(
        self, name: str, requests: Sequence[Request], milliseconds: float, full_from: int
    ) -> None:
        cost = Cost(
            self.size,
            len(requests),
            units_of(requests),
            sum(request.items_read for request in requests),
            milliseconds,
        )
        before = self._found.get(name)
        costs = (cost,) if before is None else (*before.costs, cost)
        self._found[name] = Operation(name, costs, full_from)


class Bench:
    """Signs customers up on one emulator, and measures what they and operators ask for."""

    def __init__(self, function: Function) -> None:
        self.database = function.database
        self.callers = Callers(function)
        self.costs = Costs(function.meter)
        self.copier = Copier(function.endpoint_url)
        self._names = count(1)

    def sign_up(self, session_limit: int) -> Caller:
        """Sign a customer up, and look its key up."""
        answers: list[HttpResponse] = []
        self.costs.measure(
            "sign-up",
            lambda: answers.append(self.callers.create_customer(session_limit)),
            times=1,
        )
        document = answers[0].body
        key = document["key"]["text"]
        self.costs.measure("key lookup by the authorizer", lambda: self.callers.authorize(key))
        return Caller(document["customer"]["customer_id"], self.callers.authorize(key))

    def begin(self, caller: Caller) -> Conversation:
        """Chat once, and roll it up."""
        conversation = Conversation(caller.customer_id, _AGENT, self._name())
        self.callers.send(caller, "/chat", conversation.conversation_id)
        self.callers.roll_up(conversation)
        return conversation

    def go_on(self, caller: Caller, conversation_id: str) -> None:
        """Hold a copy to be what it is a copy of: the code must find its running session."""
        answer = self.callers.send(caller, "/chat", conversation_id, opening=False)
        if answer.body["session"]["new"]:
            raise RuntimeError(f"{conversation_id} of {caller.customer_id} is no running session")

    def ask_as(self, caller: Caller) -> None:
        """Measure what a customer asks for: some starts more, and then it is at its limit."""
        begun = {path: [self._name() for _ in range(REPEATS)] for path in ("/invoke", "/chat")}
        for path, names in begun.items():
            self._each(f"start, `{path}`", names, self._sender(caller, path, opening=True))
        for path, names in begun.items():
            self._each(f"follow-up, `{path}`", names, self._sender(caller, path, opening=False))
        self._each(
            "rollup of a message, after its answer",
            begun["/chat"],
            lambda name: self.callers.roll_up(Conversation(caller.customer_id, _AGENT, name)),
        )
        self.costs.measure(
            "refusal over the limit, `/chat`",
            lambda: self.callers.send(caller, "/chat", self._name(), status=429),
        )
        for path in _READS:
            self.costs.measure(f"`GET {path}`", partial(self.callers.read, caller, path))

    def ask_as_operator(self, caller: Caller, behind: str | None) -> None:
        """Measure what an operator asks for, a page of customers behind one in the middle too."""
        path = "/admin/customers"
        self.costs.measure(
            f"`GET {path}/{{customer_id}}`",
            lambda: self.callers.operate(f"{path}/{caller.customer_id}"),
        )
        self._list("the first", {})
        if behind is not None:
            item = _get(self.database, "accounts", profile_key(behind))
            self._list("one in the middle", {"cursor": encode_cursor(decode_customer(item))})

    def _list(self, which: str, place: dict[str, str]) -> None:
        self.costs.measure(
            f"`GET /admin/customers`, a page of {PAGE_SIZE}, {which}",
            lambda: self.callers.operate("/admin/customers", limit=str(PAGE_SIZE), **place),
            times=1,  # of a million customers it takes the emulator long
            full_from=2 * (PAGE_SIZE + 2),
        )

    def _each(self, name: str, conversations: Sequence[str], act: Callable[[str], object]) -> None:
        waiting = iter(conversations)
        self.costs.measure(name, lambda: act(next(waiting)))

    def _sender(self, caller: Caller, path: str, *, opening: bool) -> Callable[[str], object]:
        return lambda name: self.callers.send(caller, path, name, opening=opening)

    def _name(self) -> str:
        return f"{next(self._names):06d}-conversation"


def measure_growth(
    customers: Sequence[int], conversations: Sequence[int], say: Callable[[str], None]
) -> Growth:
    """Measure at each size, each of the two numbers on an emulator of its own."""
    logging.disable(logging.ERROR)  # lines are on in production, and unread here
    bounds: set[Bound] = set()
    axes: dict[str, Axis] = {}
    for what, sizes, measure in (
        ("customers", customers, _among_customers),
        ("conversations", conversations, _with_conversations),
    ):
        with (
            patch.object(bootstrap, "_READ_TIMEOUT_SECONDS", _READ_TIMEOUT_SECONDS),
            conversation_function(PROGRAM) as function,
        ):
            bench = Bench(function)
            for size in measure(bench, sizes):
                say(f"measured with {size:,} {what}; copies so far: {bench.copier.made}")
            axes[what] = Axis(tuple(sizes), bench.costs.operations, bench.copier.made)
            bounds |= bench.costs.bounds
    return Growth(axes["customers"], axes["conversations"], tuple(sorted(bounds)))


def _among_customers(bench: Bench, sizes: Iterable[int]) -> Iterator[int]:
    """Measure a new customer at each size; all others are copies of the first."""
    first: Conversation | None = None
    items: Items = {}
    made = 0
    for position, size in enumerate(sizes):
        copies = size - 1 - position
        bench.copier.copy(items, _texts(items, _IDS), range(made, copies))
        bench.costs.size, made = size, copies
        caller = bench.sign_up(1 + _STARTS)
        conversation = bench.begin(caller)
        if first is None:
            first, items = conversation, _everything(bench.database)
        bench.ask_as(caller)
        behind = name_of_copy(first.customer_id, copies // 2) if copies > 2 * PAGE_SIZE else None
        bench.ask_as_operator(caller, behind)
        if behind is not None:
            copy = Caller(behind, {**caller.context, "customer_id": behind})
            bench.go_on(copy, first.conversation_id)
        yield size


def _with_conversations(bench: Bench, sizes: Iterable[int]) -> Iterator[int]:
    """Measure a new customer at each size, who has so many copies of its first conversation."""
    for size in sizes:
        bench.costs.size = size
        caller = bench.sign_up(size + _STARTS)
        conversation = bench.begin(caller)
        items = _everything_of(bench.database, conversation)
        bench.copier.copy(items, _texts(items, _CONVERSATION_IDS), range(size - 1))
        bench.database.update_item(
            TableName="usage",
            Key=counter_key(caller.customer_id, _period()),
            UpdateExpression="ADD sessions_used :copies",
            ExpressionAttributeValues={":copies": {"N": str(size - 1)}},
        )
        bench.ask_as(caller)
        if size > 1:
            bench.go_on(caller, name_of_copy(conversation.conversation_id, size // 2 - 1))
        yield size


def _everything(database: DynamoDBClient) -> Items:
    """Return all items there are: those of one customer, who chatted once."""
    return {name: database.scan(TableName=name)["Items"] for name in TABLES}


def _everything_of(database: DynamoDBClient, conversation: Conversation) -> Items:
    """Return the items of a conversation that has one session."""
    head = _get(database, "sessions", head_key(conversation))
    session_id = head["session_id"]["S"]
    record = record_key(conversation.customer_id, _period(), session_id)
    turns = database.query(
        TableName="sessions",
        KeyConditionExpression="pk = :pk",
        ExpressionAttributeValues={":pk": {"S": f"SESSION#{session_id}"}},
    )["Items"]
    return {"sessions": [head, _get(database, "sessions", record), *turns]}


def _texts(items: Items, attributes: Iterable[str]) -> list[str]:
    """Return the texts that such attributes have."""
    every = [item for of_table in items.values() for item in of_table]
    return sorted({item[name]["S"] for name in attributes for item in every if name in item})


def _get(database: DynamoDBClient, table_name: str, key: dict[str, Any]) -> dict[str, Any]:
    item: dict[str, Any] = database.get_item(TableName=table_name, Key=key)["Item"]
    return item


def _period() -> Period:
    return Period.containing(datetime.now(UTC))


# --- the page ------------------------------------------------------------------------------

_INTRODUCTION = f"""# What a request costs where there is much

The cost of a request does not grow with the number of customers, nor with the number of
conversations that its customer has. `make bench`, or `python -m tests.bench.growth` alone, measures
that and writes this page anew; it fails, and names the operation, if round trips, units or items
read grow with the size. `{CUSTOMERS}` and `{CONVERSATIONS}`
make it smaller and quicker.
"""

_HOW = f"""The functions themselves answer in one process, configured as on a production stage,
against a MiniStack; botocore's events see each request to DynamoDB. Units are computed as on
[the page of messages](benchmarks.md#what-a-message-costs-in-dynamodb). Items read are those that
reads met, whatever they returned; conditions of writes are not among them. Each operation ran
{REPEATS} times and cost the same each time; a sign-up and a page of customers ran once. A page of
customers is compared from the size on at which it is full.

A customer is new at each size: signed up through the operators' API and let in by the authorizer,
it chats once, and its message is rolled up. Then it asks for everything below, the last time beyond
its limit.

All others are copies of what the real code wrote for the first customer, or for its first
conversation: each item that there was by then in any table, with other ids of the same length. They
were not written through DynamoDB's API: by `BatchWriteItem` MiniStack would need some 37 GB for a
million customers, more than this machine has. A program that runs MiniStack and adds an action to
it (`tests/bench/copying_emulator.py`) copies within its memory, by the function that MiniStack
stores items with; what copies have in common is one object. The counter of the customer with many
conversations was raised to what they come to. To see that copies are as good as what they were made
from, a conversation of one of them goes on: the code must find its running session.

Milliseconds are medians, for information only. They tell of MiniStack on one machine and nothing of
DynamoDB: for a page of an index MiniStack sorts the whole partition and looks through all of it,
where DynamoDB reads on from the place that it is given.
"""

_BOUNDS = """## What bounds each request

No request scans, and none looks where it cannot be told whose the items are, but for the operators'
page of customers, which has a `Limit`. These are all places that the requests above looked at; the
benchmark fails on any other (`tests/bench/bounds.py`).
"""

_WHAT_GROWS = """## What does grow, with something else

- The transcript that `/chat` reads, with the turns of its session, up to what the model takes; and
  a refusal, with the sessions that wait for their first answer at that moment
  ([measured](benchmarks.md#with-the-turns-and-with-what-waits)).
- The history of usage, with the days asked for and, where it is broken down, with their agents and
  models.
- A query of the vault that filters or sorts, with its collection
  ([measured](benchmarks.md#what-the-vault-costs-in-dynamodb)).
- What is done to all of something: the month end, with the customers; the audit of a period, an
  export and an erasure, with what their customer has. None of these is on the way of a request of
  customers.

There is no route that lists conversations or sessions.
"""


def render(growth: Growth, conditions: Sequence[tuple[str, str]]) -> str:
    """Return the page."""
    bounds = ((each.operation, f"`{each.partition}`", each.by) for each in growth.bounds)
    return "\n".join(
        (
            _INTRODUCTION,
            table(("condition", "value"), conditions),
            _HOW,
            *_axis("customers", growth.customers),
            *_axis("conversations of the customer", growth.conversations),
            _BOUNDS,
            table(("request", "partition", "bounded by"), bounds),
            _WHAT_GROWS.rstrip("\n"),
            "",
        )
    )


def _axis(what: str, axis: Axis) -> Iterator[str]:
    sizes = [f"{size:,}" for size in axis.sizes]
    copies = axis.copies
    yield f"## With the {what}\n"
    yield (
        f"{copies.items:,} items are copies, made in {copies.seconds:.0f} seconds; MiniStack then"
        f" had {copies.memory_mb:,.0f} MB.\n"
    )
    yield table(("operation", *sizes), _rows(axis, _cost))
    yield table(("milliseconds", *sizes), _rows(axis, lambda cost: f"{cost.milliseconds:,.1f}"))


def _rows(axis: Axis, render_cost: Callable[[Cost], str]) -> Iterator[Sequence[str]]:
    for operation in axis.operations:
        costs = {cost.size: cost for cost in operation.costs}
        yield (
            operation.name,
            *(render_cost(costs[size]) if size in costs else "—" for size in axis.sizes),
        )


def _cost(cost: Cost) -> str:
    requests = f"{cost.round_trips} request{'s' if cost.round_trips > 1 else ''}"
    return f"{requests}, {units_text(cost.units)}, {cost.items_read} read"


def main() -> None:
    """Measure, and write the page; fail if anything grew."""
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    conditions = (
        ("measured", f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"),
        ("command", "`make bench`, or `python -m tests.bench.growth`"),
        ("machine", f"{os.cpu_count()} processors, {platform.machine()}"),
        ("load when it began", f"{load} (1, 5 and 15 minutes)"),
        ("Python", f"{platform.python_implementation()} {platform.python_version()}"),
        ("boto3", version("boto3")),
    )
    growth = measure_growth(
        sizes_up_to(int(os.environ.get(CUSTOMERS, MANY_CUSTOMERS))),
        sizes_up_to(int(os.environ.get(CONVERSATIONS, MANY_CONVERSATIONS))),
        lambda what: print(f"bench: {what}", flush=True),
    )
    check_flat((*growth.customers.operations, *growth.conversations.operations))
    _PAGE.write_text(render(growth, conditions), encoding="utf-8")
    print(f"bench: wrote {_PAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
