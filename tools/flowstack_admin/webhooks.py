"""Commands about deliveries to customers' webhooks."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from flowstack_admin import rendering
from flowstack_admin.command_line import (
    CustomerId,
    Json,
    client_of,
    customer_path,
    group,
    output_of,
    reported,
)
from flowstack_admin.rendering import facts, listing, note

webhook_app = group("See deliveries to webhooks, and try again what was given up.")


@webhook_app.command("deliveries")
@reported
def deliveries(
    context: typer.Context,
    customer_id: CustomerId,
    limit: Annotated[int, typer.Option(min=1, max=100, help="Deliveries a page.")] = 20,
    cursor: Annotated[str | None, typer.Option(help="Where the page begins.")] = None,
    *,
    json_: Json = False,
) -> None:
    """List a customer's deliveries of the last 30 days, the newest first."""
    query = {"limit": limit, "cursor": cursor}
    answer = client_of(context).get(customer_path(customer_id, "/webhook-deliveries"), query)
    columns = ("event id", "type", "created", "status", "attempts", "last answer", "next attempt")
    found = answer["deliveries"]
    none = [] if found else [note("There were no deliveries.", "dim")]
    output_of(context, json_).answer(
        answer,
        listing(columns, map(_row, found)),
        *none,
        *rendering.more(answer["next_cursor"]),
    )


@webhook_app.command("redrive")
@reported
def redrive(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, max=1_000, help="How many at most.")] = 100,
    *,
    json_: Json = False,
) -> None:
    """Try again to deliver what was given up, of all customers."""
    answer = client_of(context).post("/admin/webhooks/redrive", {}, {"limit": limit})
    output_of(context, json_).answer(answer, facts(("tried again", answer["redriven"])))


def _row(delivery: dict[str, Any]) -> list[object]:
    last = delivery["last_attempt"] or {"status": None, "reason": None}
    return [
        *(delivery[name] for name in ("event_id", "type", "created_at", "status", "attempts")),
        last["status"] or last["reason"],
        delivery["next_attempt_at"],
    ]
