"""Writes the measurements down as a page of the documentation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from flowstack_core.domain.month_end import CUSTOMERS_PER_PAGE
from tests.bench.bundles import Bundle
from tests.bench.capacity import Units
from tests.bench.hot_path import REPEATS, Case, HotPath, units_of
from tests.bench.metering import Request
from tests.bench.month_end import MonthEnd, PageCost, Throughput
from tests.bench.rollups import BATCH, Pace, Rollups
from tests.bench.tables import table, units_text
from tests.bench.vault import COMPUTED, FIRST_PAGE, MANY, ONE, Operation, QueryCost

_SECONDS_A_CUSTOMER = 0.015
"""A transaction of two items takes about ten milliseconds on DynamoDB."""

_WORKERS = 10
_WRITE_PRICE, _READ_PRICE = 0.625e-6, 0.125e-6
_GB_SECOND_PRICE, _QUEUE_PRICE, _EVENT_PRICE = 13.3334e-6, 0.40e-6, 1.00e-6

_INTRODUCTION = """# Benchmarks

What a message costs in DynamoDB, and how large the bundles are. `make bench` measures all of it
and writes this page anew; nothing here is written by hand. It writes [what a request costs where
there is much](benchmarks-growth.md), [how long the conversation function takes to
start](benchmarks-start.md), [the Python client's](benchmarks-sdk.md) page, [how good forecasts
are](benchmarks-forecast.md), [the quota beside a peer's](benchmarks-quota.md), and [what a message
takes beside its model](benchmarks-overhead.md), too.
"""

_HOT_PATH = f"""## What a message costs in DynamoDB

The conversation function itself answers requests, in process and configured as on a production
stage (no test clock), against a MiniStack of its own and a local server that speaks Bedrock's
Converse API. botocore's own events count every request that its clients make. Each case ran
{REPEATS} times and cost the same each time.

The units are computed by DynamoDB's rules from the items that each request met: a write unit for
each started KB of the larger of the item before and after, twice that for each item of a
transaction, one more for each change of an index entry; a read unit for each started 4 KB, half of
it when the read need not be consistent. "(refused)" marks a write whose condition failed. DynamoDB
bills such a write for its item all the same; what it bills for a cancelled transaction cannot be
seen without an AWS account, so the price of every item in it is taken: an upper bound. The
authorizer's reads are not among them: API Gateway keeps its answer for a key for a minute.
"""

_REPORTED = """MiniStack reports capacity too. Of the {requests} kinds of requests on this page
{differences} get another figure from it than the one computed here: it reports nothing for refused
writes, and it takes every read for a small one. Of the {comparable} kinds of writes that succeed,
{agreeing} get the same figure.
"""

_NAIVE = """### Beside it: a meter that reads, then writes

A plain comparison from the same run and DynamoDB, written for this page and not a product: get the
counter, get the session, put the session, update the counter. It is cheaper, most of all where it
refuses, and not exact: requests that read at the same time all see room, so it admits more than the
limit, loses counts, and counts a message that the model never answered. It keeps no record of a
session, settles nothing after the model, and cannot tell a retry from a new request.
"""

_LENGTHS = """### With the turns, and with what waits

No cost grows [with the customers or with their conversations](benchmarks-growth.md). Two grow with
something else. The transcript that `/chat` reads grows with the turns of its session, and a refusal
reads the sessions that wait for their first answer at that moment, in case one of them was left by
a crash.
"""

_MONTH_END = """## The month end

The worker closes pages of 25 customers: two reads for the page, one transaction for each customer
(its statement, and the counter that the statement fences), one note on the page. Units are those of
one customer, its share of the page's reads and its note included.
"""

_THROUGHPUT = """One worker, one customer after the other, against MiniStack on the same machine;
the queue is in memory. Time and requests include listing the customers. Peak memory of the process
after each tenth of the customers: {memory} MB.
"""

_ON_PAPER = f"""On AWS, by the units above and list prices of us-east-1 (on demand: $0.625 a million
write units, $0.125 a million read units; Lambda on arm64: $0.0000133334 a GB-second; SQS: $0.40 a
million requests; EventBridge: $1.00 a million events), with {_SECONDS_A_CUSTOMER * 1000:.0f} ms a
customer in a worker of 512 MB. {_WORKERS} workers run at once unless the stack is told otherwise.
"""

_ROLLUPS = """## Rollups

The rollups function takes changes from the stream, and adds the sessions of one customer and day in
one transaction: their records, the day's total, its slices. These units are spent after the answer,
beside those of the message itself.
"""

_PACES = f"""One worker, one batch of {BATCH} after the other, against MiniStack on the same
machine. The processor is the worker's own; on AWS each shard of the stream has a worker.
"""

_VAULT = """## What the vault costs in DynamoDB

The vault function itself, in the same way, with documents of some 300 bytes (200 and less when they
are compressed) beside their keys.
"""

_QUERIES = f"""A query reads its collection, whatever it finds; a page that is neither filtered
nor sorted reads what it returns. The costs with {COMPUTED:,} documents are not measured: they are
those with {MANY:,}, {COMPUTED // MANY} times over, as units grow with the bytes that are read.
"""

_BUNDLES = """## Size of the bundles

The layers as the stacks build them for {python} on {machine}, and each function's folder. Zipped
with zlib's default level. boto3 is in no layer: the runtime brings it. Only the conversation
function has the layer of providers.
"""


@dataclass(frozen=True, slots=True)
class Conditions:
    """Under which circumstances the page came to be: name and value of each."""

    facts: tuple[tuple[str, str], ...]


def render_page(
    conditions: Conditions,
    hot_path: HotPath,
    month_end: MonthEnd,
    rollups: Rollups,
    bundles: Sequence[Bundle],
    target: tuple[str, str],
) -> str:
    """Return the page."""
    python, machine = target
    cases = (*hot_path.messages, *hot_path.lengths)
    return "\n".join(
        (
            _INTRODUCTION,
            table(("condition", "value"), conditions.facts),
            _HOT_PATH,
            _cases(hot_path.messages),
            _comparison(cases),
            _NAIVE,
            _cases(hot_path.naive),
            _LENGTHS,
            _cases(hot_path.lengths),
            _MONTH_END,
            _month_end(month_end.pages),
            _THROUGHPUT.format(
                memory=", ".join(f"{each:.0f}" for each in month_end.throughput.memory_mb)
            ),
            _throughput(month_end.throughput),
            _ON_PAPER,
            _on_paper(month_end.pages),
            rollups_section(rollups),
            _VAULT,
            _operations(hot_path.vault.operations),
            _QUERIES,
            _queries(hot_path.vault.queries),
            _BUNDLES.format(python=python, machine=machine),
            table(
                ("bundle", "files", "unzipped KB", "zipped KB"),
                (
                    (each.name, str(each.files), _kilobytes(each.unzipped), _kilobytes(each.zipped))
                    for each in bundles
                ),
            ).rstrip("\n"),
            "",
        )
    )


def _cases(cases: Iterable[Case]) -> str:
    return table(
        (
            *("message", "outcome", "before the model", "units", "after the model", "units"),
            *("requests", "units in all"),
        ),
        (
            (
                case.name,
                case.outcome,
                *_side(case.side(after_model=False)),
                *_side(case.side(after_model=True)),
                str(len(case.requests)),
                units_text(units_of(case.requests)),
            )
            for case in cases
        ),
    )


def _side(requests: Sequence[Request]) -> tuple[str, str]:
    if not requests:
        return "—", "—"
    names = [(name, len(list(same))) for name, same in groupby(each.label for each in requests)]
    listed = ", ".join(name if times == 1 else f"{times} x {name}" for name, times in names)
    return listed, units_text(units_of(requests))


def _comparison(cases: Sequence[Case]) -> str:
    kinds = {
        (request.label, request.units, request.reported)
        for case in cases
        for request in case.requests
    }
    comparable = [
        (units, reported)
        for label, units, reported in kinds
        if units.write and not label.endswith("(refused)")
    ]
    return _REPORTED.format(
        differences=sum(units.total != reported for _, units, reported in kinds),
        requests=len(kinds),
        agreeing=sum(units.write == reported for units, reported in comparable),
        comparable=len(comparable),
    )


def _month_end(pages: Sequence[PageCost]) -> str:
    return table(
        ("customers with", "requests for the page", "of them writes", "units a customer"),
        (
            (
                page.name,
                str(len(page.requests)),
                str(sum(bool(request.units.write) for request in page.requests)),
                units_text(Units(round(page.units.read, 2), round(page.units.write, 2))),
            )
            for page in pages
        ),
    )


def rollups_section(rollups: Rollups) -> str:
    """Return the section about the rollups."""
    costs = table(
        ("batch", "requests", "units a message"),
        (
            (
                batch.name,
                str(len(batch.requests)),
                units_text(Units(round(batch.units.read, 2), round(batch.units.write, 2))),
            )
            for batch in rollups.batches
        ),
    )
    return "\n".join((_ROLLUPS, costs, _PACES, _paces(rollups.paces)))


def _paces(paces: Iterable[Pace]) -> str:
    return table(
        ("first messages of sessions", "messages", "messages a second", "processor ms a message"),
        (
            (
                pace.name,
                f"{pace.events:,}",
                f"{pace.events / pace.seconds:,.0f}",
                f"{pace.processor_seconds * 1_000 / pace.events:.2f}",
            )
            for pace in paces
        ),
    )


def _operations(operations: Iterable[Operation]) -> str:
    return table(
        ("operation", "outcome", "requests", "units"),
        ((each.name, str(each.status), *_side(each.requests)) for each in operations),
    )


def _queries(queries: Iterable[QueryCost]) -> str:
    return table(
        ("query", f"{ONE} document", f"{MANY:,} documents", f"{COMPUTED:,} documents, computed"),
        (
            (
                query.one.name,
                units_text(units_of(query.one.requests)),
                units_text(units_of(query.many.requests)),
                _computed(query),
            )
            for query in queries
        ),
    )


def _throughput(found: Throughput) -> str:
    requests = ", ".join(f"{times:,} {name}" for name, times in sorted(found.requests.items()))
    return table(
        ("customers", "seconds", "customers a second", "processor ms a customer", "requests"),
        [
            (
                f"{found.customers:,}",
                f"{found.seconds:.0f}",
                f"{found.customers / found.seconds:.0f}",
                f"{found.processor_seconds / found.customers * 1000:.2f}",
                requests,
            )
        ],
    )


def _on_paper(pages: Sequence[PageCost]) -> str:
    units = next(page.units for page in pages if page.name == "sessions used")
    customer = (
        units.write * _WRITE_PRICE
        + units.read * _READ_PRICE
        + _SECONDS_A_CUSTOMER * 0.5 * _GB_SECOND_PRICE
        + 4 / CUSTOMERS_PER_PAGE * _QUEUE_PRICE
        + _EVENT_PRICE
    )
    return table(
        ("customers", "one worker", f"{_WORKERS} workers", "cost"),
        (
            (
                f"{customers:,}",
                _duration(customers * _SECONDS_A_CUSTOMER),
                _duration(customers * _SECONDS_A_CUSTOMER / _WORKERS),
                f"${customers * customer:,.2f}",
            )
            for customers in (100_000, 1_000_000, 10_000_000)
        ),
    )


def _duration(seconds: float) -> str:
    if seconds < 3600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def _computed(query: QueryCost) -> str:
    """Return the cost with so many more documents; a page reads no more than it returns."""
    if query.one.name == FIRST_PAGE:
        return units_text(units_of(query.many.requests))
    units = units_of(query.many.requests)
    times = COMPUTED // MANY
    return units_text(Units(units.read * times, units.write * times))


def _kilobytes(size: int) -> str:
    return f"{size / 1000:,.1f}"
