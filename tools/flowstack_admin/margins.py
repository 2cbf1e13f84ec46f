"""The command about margins."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from flowstack_admin.client import AdminClient
from flowstack_admin.command_line import (
    InPeriod,
    Json,
    client_of,
    customer_path,
    output_of,
    reported,
)
from flowstack_admin.rendering import Output, dollars, facts, listing, note

_AMOUNTS = ("revenue", "managed cost", "share", "margin", "messages", "unpriced tokens")


@reported
def show_margins(
    context: typer.Context,
    customer_id: Annotated[
        str | None,
        typer.Argument(metavar="[ID]", help="The customer's id; without, the report of all."),
    ] = None,
    period: InPeriod = None,
    *,
    json_: Json = False,
) -> None:
    """Show what customers pay beside what their managed models cost."""
    client, out = client_of(context), output_of(context, json_)
    if customer_id is None:
        _show_report(client, out, period)
    else:
        _show_customer(client, out, customer_id, period)


def _show_customer(client: AdminClient, out: Output, customer_id: str, period: str | None) -> None:
    answer = client.get(customer_path(customer_id, "/margin"), {"period": period})
    amounts = zip(_AMOUNTS, _amounts(answer), strict=True)
    out.answer(answer, facts(("period", answer["period"]), ("tier", answer["tier"]), *amounts))


def _show_report(client: AdminClient, out: Output, period: str | None) -> None:
    report = client.get("/admin/margins", {"period": period})
    tiers = [*report["tiers"], {"tier": "all", **report["totals"]}]
    over = f"cost more than {report['share_percent']} % of their price"
    out.answer(
        report,
        facts(
            ("period", report["period"]),
            ("as of", report["as_of"]),
            (over, report["customers_over_share"]),
        ),
        note(""),
        listing(
            ("tier", "customers", *_AMOUNTS),
            ((each["tier"], each["customers"], *_amounts(each)) for each in tiers),
        ),
        note(""),
        listing(
            ("customer id", "tier", *_AMOUNTS),
            ((each["customer_id"], each["tier"], *_amounts(each)) for each in report["worst"]),
        ),
    )


def _amounts(of: dict[str, Any]) -> Iterator[object]:
    share, unpriced = of["cost_share_percent"], of["unpriced"]
    yield dollars(of["revenue"])
    yield dollars(of["managed_cost"])
    yield None if share is None else f"{share} %"
    yield dollars(of["margin"])
    yield of["managed"]["messages"]
    yield unpriced["input_tokens"] + unpriced["output_tokens"]
