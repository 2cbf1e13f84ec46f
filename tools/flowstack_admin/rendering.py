"""Documents of the admin API, for people: tables and a few lines."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from flowstack_admin.failures import AdminError

_PIPE_WIDTH = 200
"""Columns where no terminal says how many it has: wide enough to cut nothing."""


class Output:
    """Where answers and errors are written, for a person or for a script."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json

    def answer(self, document: dict[str, Any], *parts: Table | Text) -> None:
        """Write an answer: the document for a script, the parts for a person."""
        if self.as_json:
            _write_json(sys.stdout, document)
            return
        console = _console(sys.stdout)
        for part in parts:
            console.print(part, soft_wrap=isinstance(part, Text))

    def text(self, text: str) -> None:
        """Write a text as it is, for a file."""
        sys.stdout.write(text)

    def failure(self, error: AdminError) -> None:
        """Write why there is no answer, to the stream for errors."""
        if self.as_json:
            _write_json(sys.stderr, error.envelope())
            return
        console = _console(sys.stderr)
        line = Text("Error: ", style="bold red")
        line.append(error.message, style="default not bold")
        line.append(f" [{error.error_code}]", style="dim not bold")
        console.print(line, soft_wrap=True)
        for problem in _problems(error):
            console.print(Text(f"  {problem}"), soft_wrap=True)
        if error.hint is not None:
            console.print(Text(f"Hint: {error.hint}"), soft_wrap=True)


def _console(stream: TextIO) -> Console:
    width = None if stream.isatty() else _PIPE_WIDTH
    return Console(file=stream, markup=False, highlight=False, emoji=False, width=width)


def _write_json(stream: TextIO, document: dict[str, Any]) -> None:
    stream.write(json.dumps(document, indent=2) + "\n")


def _problems(error: AdminError) -> Iterable[str]:
    problems = error.details.get("problems", [])
    if len(problems) > 1:
        yield from (f"{problem['field']}: {problem['problem']}" for problem in problems)


# --- building blocks -----------------------------------------------------------------------


def facts(*rows: tuple[str, object]) -> Table:
    """Return two columns: what it is, and its value."""
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, Text(_shown(value)))
    return table


def listing(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """Return a table; ids and keys in it are folded where it is narrow, never cut."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(_shown(value)) for value in row))
    return table


def note(text: str, style: str = "") -> Text:
    """Return a line."""
    return Text(text, style=style)


def more(next_cursor: str | None) -> list[Text]:
    """Say where the next page begins, if there is one."""
    return [] if next_cursor is None else [note(f"There are more: --cursor {next_cursor}", "dim")]


def dollars(amount: float) -> str:
    """Write an amount of US dollars."""
    return f"${amount:,.2f}"


def _shown(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else str(value)


# --- documents -----------------------------------------------------------------------------


def shown_once(text: str) -> list[Text | Table]:
    """Show a key, and say that it is not shown again."""
    return [
        note(""),
        facts(("API key", text)),
        note("This is the only time that the key is shown. Store it now.", "yellow"),
    ]


def subscription_rows(subscription: dict[str, Any]) -> list[tuple[str, object]]:
    """Return what a customer has bought, and what waits for the next period."""
    rows: list[tuple[str, object]] = [
        ("tier", subscription["tier"]),
        ("sessions a month", subscription["session_limit"]),
        ("price a month", dollars(subscription["price_usd"])),
    ]
    pending = subscription["pending_change"]
    while pending is not None:
        terms = f"{_terms(pending)} (by the {pending['origin']})"
        rows.append(("from " + pending["effective_at"], terms))
        pending = pending.get("followed_by")
    return rows


def preview_rows(preview: dict[str, Any]) -> list[tuple[str, object]]:
    """Return what a change would do."""
    period = preview["current_period"]
    return [
        ("takes effect", "at once" if preview["immediate"] else preview["effective_at"]),
        ("now", _terms(preview["before"])),
        ("then", _terms(preview["after"])),
        ("lost", ", ".join(preview["lost"]) or None),
        (f"sessions left in {period['name']}", period["sessions_remaining"]),
        (f"charges of {period['name']}", dollars(period["current_charges"])),
    ]


def statement_rows(statement: dict[str, Any]) -> list[tuple[str, object]]:
    """Return what a statement says of the whole period."""
    change = statement["plan_change"]
    return [
        ("statement", statement["statement_id"]),
        ("period", statement["period"]),
        ("closed", statement["closed_at"]),
        ("tiers", ", ".join(statement["tiers"])),
        ("sessions used", statement["sessions_used"]),
        ("with managed models", statement["managed_sessions"]),
        ("with own keys", statement["byok_sessions"]),
        ("session limit", statement["session_limit"]),
        ("of it credited", statement["credited_sessions"]),
        ("adjusted sessions", statement["adjusted_sessions"]),
        ("total", dollars(statement["total"])),
        ("afterwards", None if change is None else _terms(change["after"])),
    ]


def lines_of(statement: dict[str, Any]) -> Table:
    """Return the lines of a statement."""
    return listing(
        ("line", "period", "sessions", "amount"),
        (
            (line["description"], line["period"], line["sessions"], dollars(line["amount"]))
            for line in statement["lines"]
        ),
    )


def progress_rows(month_end: dict[str, Any]) -> list[tuple[str, object]]:
    """Return how far a month end is."""
    listed = "" if month_end["listed"] else " so far"
    return [
        ("period", month_end["period"]),
        ("started", month_end["started_at"]),
        (f"customers{listed}", month_end["customers"]),
        ("closed", month_end["closed"]),
        ("open", month_end["open"]),
        ("failed", month_end["failed"]),
        ("finished", month_end["finished_at"]),
    ]


def failures_of(month_end: dict[str, Any]) -> Table:
    """Return whose period could not be closed, and why."""
    return listing(
        ("customer id", "why it failed"),
        ((failure["customer_id"], failure["reason"]) for failure in month_end["failures"]),
    )


def progress_verdict(month_end: dict[str, Any]) -> Text:
    """Say what is to be done about a month end."""
    if month_end["done"]:
        return note("Everybody is closed.", "green")
    if month_end["failed"]:
        return note(
            "Some could not be closed: mend the cause, then `month-end redrive`; see "
            "docs/operations.md.",
            "bold red",
        )
    return note("It is under way.", "dim")


def export_rows(export: dict[str, Any]) -> list[tuple[str, object]]:
    """Return how far an export is, and where its archive can be fetched."""
    return [
        ("export id", export["export_id"]),
        ("status", export["status"]),
        ("asked", export["asked_at"]),
        ("ready", export["ready_at"]),
        ("deleted on", export["expires_at"]),
        *((f"records of {name}", count) for name, count in export["records"].items()),
        ("link", export["url"]),
        ("link works until", export["url_expires_at"]),
    ]


def erasure_rows(erasure: dict[str, Any]) -> list[tuple[str, object]]:
    """Return how far an erasure is, and what it deleted."""
    return [
        ("status", erasure["status"]),
        ("asked by", erasure["actor"]),
        ("asked", erasure["asked_at"]),
        ("stopped", erasure["stopped_at"]),
        ("goes on", erasure["deletes_after"]),
        ("finished", erasure["finished_at"]),
        ("what expires is gone by", erasure["expires_by"]),
        *((f"deleted: {kind}", count) for kind, count in erasure["deleted"].items()),
    ]


def usage_rows(usage: dict[str, Any]) -> list[tuple[str, object]]:
    """Return where a customer stands in the present period."""
    period = usage["current_period"]
    return [
        ("period", f"{period['name']} (the customer's clock: {period['now']})"),
        ("tier in force", usage["tier"]),
        ("sessions used", period["sessions_used"]),
        ("of them held", period["sessions_held"]),
        ("session limit", period["sessions_limit"]),
        ("of it credited", period["sessions_credited"]),
        ("sessions left", period["sessions_remaining"]),
        ("charges", dollars(usage["current_charges"])),
        ("resets at", period["end"]),
        ("quota", usage["quota"]["reason"]),
    ]


def forecast_rows(forecast: dict[str, Any]) -> list[tuple[str, object]]:
    """Return where a period is heading."""
    interval = forecast["interval"]
    between = f"{interval['low']:,} and {interval['high']:,}"
    return [
        ("period", f"{forecast['period']} (the customer's clock: {forecast['as_of']})"),
        ("sessions used", forecast["sessions_used"]),
        ("session limit", forecast["sessions_limit"]),
        ("heading for", forecast["projected_sessions"]),
        (f"in {interval['confidence']:.0%} of cases between", between),
        ("limit reached at", forecast["limit_reached_at"]),
        ("method", forecast["method"]),
    ]


def advice_row(advice: dict[str, Any]) -> tuple[object, ...]:
    """Return a piece of advice in one row."""
    saved = dollars(advice["potential_savings"])
    return advice["type"], saved, advice["suggested_tier"], advice["message"]


def alert_rows(answer: dict[str, Any]) -> list[tuple[str, object]]:
    """Return of what a customer is told, and where besides its webhook."""
    return [
        ("period", answer["period"]),
        ("told at", ", ".join(f"{threshold} %" for threshold in answer["thresholds"])),
        ("mail to", answer["email"]),
    ]


def audit_verdict(audit: dict[str, Any]) -> Text:
    """Say whether a count is right."""
    drift = audit["drift"]
    if drift == 0:
        return note("The counter agrees with the records.", "green")
    return note(
        f"DRIFT {drift:+d}: the counter does not agree with the records. Run it again; see "
        "docs/operations.md if it stays.",
        "bold red",
    )


def rollup_rows(rollups: dict[str, Any]) -> list[tuple[str, object]]:
    """Return how far the rollups of a period are."""
    return [
        ("rolled up", rollups["sessions"]),
        ("not rolled up yet", rollups["missing"]),
        ("drifting days", ", ".join(rollups["drifting_days"]) or "none"),
    ]


def rollups_verdict(rollups: dict[str, Any]) -> Text:
    """Say whether the rollups are right."""
    if not rollups["missing"] and not rollups["drifting_days"]:
        return note("The rollups agree with the records.", "green")
    return note(
        "The rollups do not agree with the records. They follow by seconds: run it again; see "
        "docs/operations.md if it stays.",
        "bold red" if rollups["drifting_days"] else "yellow",
    )


HISTORY_COLUMNS = (
    *("from", "name", "sessions", "managed", "own key", "messages"),
    *("input tokens", "output tokens"),
)


def history_rows(history: dict[str, Any]) -> Iterator[tuple[object, ...]]:
    """Yield a line for each span and part, and one for all."""
    for point in history["series"]:
        yield _history_row(point["start"], "", point)
        for part in point.get("breakdown", ()):
            yield _history_row("", "(others)" if part["name"] is None else part["name"], part)
    yield _history_row("in all", "", history["totals"])


def _history_row(start: str, name: str, sums: dict[str, Any]) -> tuple[object, ...]:
    counts = ("sessions", "managed_sessions", "byok_sessions", "messages")
    tokens = ("input_tokens", "output_tokens")
    return (start, name, *(sums[each] for each in (*counts, *tokens)))


def change_text(record: dict[str, Any]) -> str:
    """Write what an act changed in one line."""
    before, after = record["before"] or {}, record["after"] or {}
    changed = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    return ", ".join(
        f"{name}: {_brief(before[name])} → {_brief(after.get(name))}"
        if name in before
        else f"{name}: {_brief(after[name])}"
        for name in changed
    )


def _terms(terms: dict[str, Any]) -> str:
    """Write terms within a line."""
    price = dollars(terms["price_usd"])
    return f"{terms['tier']}, {terms['session_limit']:,} sessions, {price} a month"


def _brief(value: object) -> str:
    """Write a value within a line; a pending change by its tier and period."""
    if isinstance(value, dict):
        return f"{value.get('tier')} from {value.get('effective_period')}"
    return "-" if value is None else str(value)
