"""What the command writes: tables and lines for people, JSON for scripts."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TextIO

from pydantic import BaseModel
from rich.console import Console, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from flowstack.costs import estimate_monthly_cost, project_monthly_usage
from flowstack.documents import (
    Alerts,
    Budget,
    Document,
    Forecast,
    Recommendation,
    Subscription,
    UsageStats,
)
from flowstack.exceptions import FlowStackError
from flowstack.json_text import to_json
from flowstack.money import Money

_PIPE_WIDTH = 200
"""Columns where no terminal says how many it has: wide enough to cut nothing."""


class Output:
    """Where answers and errors are written, for a person or for a script."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json

    def answer(self, document: object, *parts: RenderableType) -> None:
        """Write an answer: the document for a script, the parts for a person."""
        if self.as_json:
            sys.stdout.write(to_json(_plain(document)) + "\n")
            return
        console = console_on(sys.stdout)
        for part in parts:
            console.print(part, soft_wrap=isinstance(part, Text))

    def failure(self, error: FlowStackError) -> None:
        """Write why there is no answer, to the stream for errors."""
        if self.as_json:
            said = {
                "error": error.message,
                "error_code": error.error_code,
                "details": error.details,
                "request_id": error.request_id,
            }
            sys.stderr.write(to_json(said) + "\n")
            return
        console = console_on(sys.stderr)
        line = Text("Error: ", style="bold red")
        line.append(error.message, style="default not bold")
        line.append(f" [{error.error_code}]", style="dim not bold")
        console.print(line, soft_wrap=True)
        for name, value in (("Hint", error.hint), ("Request", error.request_id)):
            if value:
                console.print(Text(f"{name}: {value}", style="dim"), soft_wrap=True)


def console_on(stream: TextIO) -> Console:
    """Return a console that writes text as it is."""
    width = None if stream.isatty() else _PIPE_WIDTH
    return Console(file=stream, markup=False, highlight=False, emoji=False, width=width)


def _plain(document: object) -> object:
    if isinstance(document, Document):
        return {name: _plain(value) for name, value in document.items()}
    if isinstance(document, BaseModel):
        return document.model_dump(mode="json")
    if isinstance(document, list):
        return [_plain(each) for each in document]
    return document


# --- building blocks -----------------------------------------------------------------------


def facts(*rows: tuple[str, object]) -> Table:
    """Return two columns: what it is, and its value."""
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, Text(shown(value)))
    return table


def listing(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """Return a table; what is too long is folded, never cut."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(shown(value)) for value in row))
    return table


def documents(found: Sequence[Document]) -> Table:
    """Return a table with a column for each simple field of the documents."""
    names = [
        name
        for name in (found[0].keys() if found else [])
        if all(isinstance(each.get(name), str | int | float | Money) for each in found)
    ]
    return listing(names, ([each[name] for name in names] for each in found))


def note(text: str, style: str = "") -> Text:
    """Return a line."""
    return Text(text, style=style)


def shown(value: object) -> str:
    """Write a value for a person."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Money):
        return f"${value:,.2f}"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M} UTC"
    if isinstance(value, int):
        return f"{value:,}"
    return str(value) if isinstance(value, str | float) else to_json(_plain(value))


# --- documents -----------------------------------------------------------------------------


def usage_parts(usage: UsageStats) -> list[RenderableType]:
    """Return where a customer stands: a bar, the numbers, where the month is heading."""
    style = "red" if not usage.can_make_requests else "yellow" if usage.is_near_limit else "green"
    bar = Table.grid(padding=(0, 1))
    share = min(usage.usage_percentage, 100.0)
    bar.add_row(
        ProgressBar(total=100, completed=share, width=40, complete_style=style),
        Text(f"{usage.usage_percentage:.1f} %", style=style),
    )
    rows: list[tuple[str, object]] = [
        ("tier", usage.tier),
        ("sessions", f"{usage.sessions_used:,} of {usage.sessions_limit:,}"),
        ("left", usage.sessions_remaining),
        ("charges", usage.current_charges),
    ]
    if usage.now is not None:
        snapshot = {
            "timestamp": usage.now,
            "sessions_used": usage.sessions_used,
            "sessions_limit": usage.sessions_limit,
        }
        rows += [
            ("heading for", f"{project_monthly_usage([snapshot], usage.now):,} sessions"),
            ("month's cost", estimate_monthly_cost(usage, now=usage.now)),
            ("days left", usage.days_left),
            ("resets", usage.resets_at),
        ]
    return [bar, facts(*rows), *_warning(usage)]


def _warning(usage: UsageStats) -> list[Text]:
    if not usage.can_make_requests:
        said = "All sessions are used. Running conversations go on; new ones wait or need more."
        return [note(said, "red")]
    if usage.is_near_limit:
        return [note("At least 80 % of the sessions are used.", "yellow")]
    return []


def forecast_parts(forecast: Forecast) -> list[RenderableType]:
    """Return where the month is heading, and when its sessions are used up."""
    interval = forecast.interval
    expected = f"{forecast.projected_sessions:,} sessions"
    rows: list[tuple[str, object]] = [
        ("heading for", f"{expected}, between {interval.low:,} and {interval.high:,}"),
        ("so far", f"{forecast.sessions_used:,} of {forecast.sessions_limit:,}"),
        ("used up", forecast.limit_reached_at),
    ]
    return [facts(*rows), note(forecast.explanation, "dim")]


def advice_text(advice: Recommendation) -> Text:
    """Return a piece of advice, coloured by whether it presses."""
    return note(f"- {advice.message}", "yellow" if advice.type == "limit_soon" else "")


def subscription_table(subscription: Subscription) -> Table:
    """Return what was bought, and what waits."""
    rows: list[tuple[str, object]] = [
        ("tier", subscription.tier),
        ("sessions a month", subscription.session_limit),
        ("price a month", subscription.price_usd),
    ]
    pending = subscription.pending_change
    while pending is not None:
        rows.append(("waiting", f"{pending.tier} from {shown(pending.effective_at)}"))
        pending = pending.followed_by
    return facts(*rows)


def budget_parts(budget: Budget) -> list[RenderableType]:
    """Return what is limited, and what the month has cost so far."""
    spent = budget.spent
    rows: list[tuple[str, object]] = [
        ("monthly ceiling", budget.monthly_ceiling),
        ("when it is reached", budget.action),
        ("turns of a session", budget.session_turn_cap),
        ("tokens of a session", budget.session_token_cap),
    ]
    if spent is not None:
        rows += [
            (f"spent in {budget.period}", spent.total),
            ("of that, the plan", spent.plan),
            ("own providers, estimated", spent.byok_estimate),
        ]
        if spent.unpriced_models:
            rows.append(("not in the estimate", ", ".join(spent.unpriced_models)))
    reached = [note("The ceiling is reached.", "red")] if budget.reached else []
    notice = [] if budget.notice is None else [note(budget.notice, "yellow")]
    return [facts(*rows), *reached, *notice]


def alerts_parts(found: Alerts) -> list[RenderableType]:
    """Return what there will be an alert at, and what there was one of."""
    thresholds = ", ".join(f"{threshold} %" for threshold in found.thresholds)
    settings = facts(("alerts at", thresholds), ("mail to", found.email), ("period", found.period))
    columns = ("reached", "at", "sessions used", "of")
    rows = [
        (f"{alert.threshold} %", alert.at, alert.sessions_used, alert.sessions_limit)
        for alert in found.alerts
    ]
    return [settings, listing(columns, rows) if rows else note("No alert in this period.", "dim")]
