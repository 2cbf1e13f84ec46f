"""Commands about plans, statements and the month end."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from flowstack_admin import rendering
from flowstack_admin.client import segment
from flowstack_admin.command_line import (
    CustomerId,
    Json,
    Limit,
    Price,
    client_of,
    contract,
    customer_path,
    group,
    output_of,
    reported,
)
from flowstack_admin.rendering import facts, listing, note
from flowstack_core.domain.plans import Tier
from flowstack_core.services.statements import statements_csv

subscription_app = group("See and change what a customer has bought.")
statement_app = group("See what closed periods cost.")
month_end_app = group("Close the periods of all customers, and watch it.")

PeriodName = Annotated[str, typer.Argument(metavar="YYYY-MM", help="The period.")]
Csv = Annotated[bool, typer.Option("--csv", help="Write CSV, a row for each line.")]

_MONTH_ENDS = "/admin/month-ends"


# --- subscriptions -------------------------------------------------------------------------


@subscription_app.command("show")
@reported
def show_subscription(
    context: typer.Context, customer_id: CustomerId, *, json_: Json = False
) -> None:
    """Show the terms in force and the change that waits."""
    answer = client_of(context).get(customer_path(customer_id, "/subscription"))
    rows = rendering.subscription_rows(answer["subscription"])
    output_of(context, json_).answer(answer, facts(*rows))


@subscription_app.command("change")
@reported
def change_subscription(
    context: typer.Context,
    customer_id: CustomerId,
    tier: Annotated[Tier, typer.Argument(metavar="TIER", help="The plan.")],
    session_limit: Limit = None,
    price: Price = None,
    *,
    preview: Annotated[bool, typer.Option("--preview", help="Tell what it would do.")] = False,
    json_: Json = False,
) -> None:
    """Move a customer to a tier or contract: up at once, down at the end of the period."""
    body = {"tier": tier.value, **contract(session_limit, price)}
    query = {"preview": "true" if preview else None}
    answer = client_of(context).put(customer_path(customer_id, "/tier"), body, query)
    if preview:
        rows = rendering.preview_rows(answer["preview"])
        output_of(context, json_).answer(answer, facts(*rows), note("Nothing was changed."))
        return
    subscription = answer["subscription"]
    waits = subscription["pending_change"] is not None
    said = "The change waits for the next period." if waits else "The change holds at once."
    output_of(context, json_).answer(
        answer, facts(*rendering.subscription_rows(subscription)), note(said)
    )


# --- statements ----------------------------------------------------------------------------


@statement_app.command("list")
@reported
def list_statements(
    context: typer.Context,
    customer_id: CustomerId,
    limit: Annotated[int, typer.Option(min=1, max=100, help="Statements a page.")] = 12,
    cursor: Annotated[str | None, typer.Option(help="Where the page begins.")] = None,
    *,
    csv: Csv = False,
    json_: Json = False,
) -> None:
    """List a customer's statements, the newest first."""
    answer = client_of(context).get(
        customer_path(customer_id, "/statements"), {"limit": limit, "cursor": cursor}
    )
    statements, out = answer["statements"], output_of(context, json_)
    if csv:
        out.text(statements_csv(statements))
        return
    columns = ("period", "tier", "sessions used", "session limit", "total", "closed")
    rows = (
        (
            one["period"],
            one["tier"],
            one["sessions_used"],
            one["session_limit"],
            rendering.dollars(one["total"]),
            one["closed_at"],
        )
        for one in statements
    )
    none = [] if statements else [note("There are no statements here.", "dim")]
    out.answer(answer, listing(columns, rows), *none, *rendering.more(answer["next_cursor"]))


@statement_app.command("show")
@reported
def show_statement(
    context: typer.Context,
    customer_id: CustomerId,
    period: PeriodName,
    *,
    csv: Csv = False,
    json_: Json = False,
) -> None:
    """Show the statement of a period."""
    path = customer_path(customer_id, f"/statements/{segment(period)}")
    answer = client_of(context).get(path)
    statement, out = answer["statement"], output_of(context, json_)
    if csv:
        out.text(statements_csv([statement]))
        return
    out.answer(
        answer,
        facts(*rendering.statement_rows(statement)),
        note(""),
        rendering.lines_of(statement),
    )


@statement_app.command("close")
@reported
def close(context: typer.Context, customer_id: CustomerId, *, json_: Json = False) -> None:
    """Write the statements of a customer's ended periods now."""
    answer = client_of(context).post(customer_path(customer_id, "/close"), {})
    output_of(context, json_).answer(answer, facts(("periods closed", answer["closed"])))


# --- the month end -------------------------------------------------------------------------


@month_end_app.command("list")
@reported
def list_month_ends(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, max=100, help="How many.")] = 12,
    *,
    json_: Json = False,
) -> None:
    """List month ends, the newest first."""
    answer = client_of(context).get(_MONTH_ENDS, {"limit": limit})
    names = ("period", "customers", "started_at", "listed_at", "finished_at")
    rows = ([run[name] for name in names] for run in answer["month_ends"])
    columns = ("period", "customers", "started", "listed", "finished")
    output_of(context, json_).answer(answer, listing(columns, rows))


@month_end_app.command("show")
@reported
def show_month_end(context: typer.Context, period: PeriodName, *, json_: Json = False) -> None:
    """Show how many customers of a month end are closed, open and failed, and why."""
    _show_progress(context, client_of(context).get(_month_end(period)), json_=json_)


@month_end_app.command("start")
@reported
def start_month_end(context: typer.Context, period: PeriodName, *, json_: Json = False) -> None:
    """Start the month end of a period, or take up one that stands still."""
    _show_progress(context, client_of(context).post(_month_end(period), {}), json_=json_)


@month_end_app.command("redrive")
@reported
def redrive(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, max=1_000, help="How many at most.")] = 100,
    *,
    json_: Json = False,
) -> None:
    """Try again to close the customers that were given up."""
    answer = client_of(context).post(f"{_MONTH_ENDS}/redrive", {}, {"limit": limit})
    output_of(context, json_).answer(answer, facts(("tried again", answer["redriven"])))


def _month_end(period: str) -> str:
    return f"{_MONTH_ENDS}/{segment(period)}"


def _show_progress(context: typer.Context, answer: dict[str, Any], *, json_: bool) -> None:
    month_end = answer["month_end"]
    failures = [rendering.failures_of(month_end)] if month_end["failures"] else []
    output_of(context, json_).answer(
        answer,
        facts(*rendering.progress_rows(month_end)),
        *failures,
        rendering.progress_verdict(month_end),
    )
