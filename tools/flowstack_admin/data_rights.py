"""Commands about a customer's right to its data."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from flowstack_admin import rendering
from flowstack_admin.client import segment
from flowstack_admin.command_line import (
    CustomerId,
    Json,
    client_of,
    customer_path,
    group,
    output_of,
    reported,
)
from flowstack_admin.rendering import facts

data_app = group("Give a customer its data, or delete it.")

ExportId = Annotated[str, typer.Argument(metavar="EXPORT_ID", help="The export's id.")]


@data_app.command("export")
@reported
def export(context: typer.Context, customer_id: CustomerId, *, json_: Json = False) -> None:
    """Start to write everything that is stored of a customer into one archive."""
    answer = client_of(context).post(customer_path(customer_id, "/exports"), {})
    _show_export(context, answer, json_=json_)


@data_app.command("export-status")
@reported
def export_status(
    context: typer.Context, customer_id: CustomerId, export_id: ExportId, *, json_: Json = False
) -> None:
    """Show how far an export is and, when it is ready, a link that works for 15 minutes."""
    path = customer_path(customer_id, f"/exports/{segment(export_id)}")
    _show_export(context, client_of(context).get(path), json_=json_)


@data_app.command("erase")
@reported
def erase(
    context: typer.Context,
    customer_id: CustomerId,
    confirm: Annotated[str, typer.Option(metavar="ID", help="The customer's id once more.")],
    *,
    json_: Json = False,
) -> None:
    """Stop a customer at once and delete all but its statements. This cannot be undone."""
    answer = client_of(context).post(customer_path(customer_id, "/erasure"), {"confirm": confirm})
    _show_erasure(context, answer, json_=json_)


@data_app.command("erase-status")
@reported
def erase_status(context: typer.Context, customer_id: CustomerId, *, json_: Json = False) -> None:
    """Show how far an erasure is, or that it was done."""
    answer = client_of(context).get(customer_path(customer_id, "/erasure"))
    _show_erasure(context, answer, json_=json_)


def _show_export(context: typer.Context, answer: dict[str, Any], *, json_: bool) -> None:
    rows = rendering.export_rows(answer["export"])
    output_of(context, json_).answer(answer, facts(*rows))


def _show_erasure(context: typer.Context, answer: dict[str, Any], *, json_: bool) -> None:
    rows = rendering.erasure_rows(answer["erasure"])
    output_of(context, json_).answer(answer, facts(*rows))
