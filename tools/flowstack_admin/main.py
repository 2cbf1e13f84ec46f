"""The command line: ``flowstack-admin``.

Exit codes: 0 done, 1 refused by the API, 2 wrong usage, 3 no connection.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from flowstack_admin import rendering
from flowstack_admin.billing import month_end_app, statement_app, subscription_app
from flowstack_admin.client import segment
from flowstack_admin.command_line import (
    CustomerId,
    InPeriod,
    Json,
    Limit,
    Options,
    Price,
    client_of,
    contract,
    customer_path,
    group,
    output_of,
    reported,
)
from flowstack_admin.console import console
from flowstack_admin.data_rights import data_app
from flowstack_admin.failures import CannotConnectError
from flowstack_admin.margins import show_margins
from flowstack_admin.rendering import Output, facts, listing, note
from flowstack_admin.webhooks import webhook_app
from flowstack_core.domain.history import Dimension, Granularity
from flowstack_core.domain.plans import Tier

# --- the shape of the command line ---------------------------------------------------------


app = typer.Typer(
    help="Operate FlowStack: customers, keys, plans, statements, usage and test clocks.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_show_locals=False,
)
customer_app = group("Create and see customers.")
key_app = group("Issue, list and revoke API keys.")
usage_app = group("See and check usage.")
clock_app = group("Move a customer's test clock (not on production stages).")
app.add_typer(customer_app, name="customer")
app.add_typer(key_app, name="key")
app.add_typer(subscription_app, name="subscription")
app.add_typer(statement_app, name="statement")
app.add_typer(month_end_app, name="month-end")
app.add_typer(data_app, name="data")
app.add_typer(webhook_app, name="webhook")
app.add_typer(usage_app, name="usage")
app.add_typer(clock_app, name="clock")
app.command("margin")(show_margins)
app.command("console")(console)


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter("a time looks like 2026-12-01T00:00:00Z") from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


@app.callback()
def options(
    context: typer.Context,
    api_url: Annotated[
        str | None,
        typer.Option(
            envvar="FLOWSTACK_ADMIN_API_URL",
            help="The API to operate, stage included; by default the local stack's.",
        ),
    ] = None,
    region: Annotated[
        str | None, typer.Option(help="Region to sign for; by default the URL's.")
    ] = None,
    profile: Annotated[str | None, typer.Option(help="AWS profile to sign with.")] = None,
    *,
    json_: Json = False,
) -> None:
    """Take the options that stand before the command."""
    context.obj = Options(api_url, region, profile, json_)


# --- customers -----------------------------------------------------------------------------


@customer_app.command("create")
@reported
def create_customer(
    context: typer.Context,
    name: Annotated[str, typer.Option(help="The customer's name.")],
    tier: Annotated[Tier, typer.Option(help="The plan.")] = Tier.FREE,
    session_limit: Limit = None,
    price: Price = None,
    *,
    json_: Json = False,
) -> None:
    """Create a customer; print its id and its first key, which is shown this once."""
    body = {"name": name, "tier": tier.value, **contract(session_limit, price)}
    answer = client_of(context).post("/admin/customers", body)
    customer, key = answer["customer"], answer["key"]
    rows = [("customer id", customer["customer_id"]), ("name", customer["name"])]
    output_of(context, json_).answer(
        {**customer, "key_id": key["key_id"], "api_key": key["text"]},
        facts(*rows, *rendering.subscription_rows(customer["subscription"])),
        *rendering.shown_once(key["text"]),
    )


@customer_app.command("show")
@reported
def show_customer(context: typer.Context, customer_id: CustomerId, *, json_: Json = False) -> None:
    """Show a customer, its subscription and where it stands."""
    client = client_of(context)
    customer = client.get(customer_path(customer_id))["customer"]
    usage = client.get(customer_path(customer_id, "/usage"))
    rows = [
        ("customer id", customer["customer_id"]),
        ("name", customer["name"]),
        ("created", customer["created_at"]),
    ]
    output_of(context, json_).answer(
        {**customer, "usage": usage},
        facts(*rows, *rendering.subscription_rows(customer["subscription"])),
        note(""),
        facts(*rendering.usage_rows(usage)),
    )


@customer_app.command("list")
@reported
def list_customers(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, max=100, help="Customers a page.")] = 50,
    cursor: Annotated[str | None, typer.Option(help="Where the page begins.")] = None,
    *,
    everyone: Annotated[bool, typer.Option("--all", help="Read all pages.")] = False,
    json_: Json = False,
) -> None:
    """List customers in the order they were created."""
    client = client_of(context)
    page = client.get("/admin/customers", {"limit": limit, "cursor": cursor})
    customers = list(page["customers"])
    while everyone and page["next_cursor"] is not None:
        page = client.get("/admin/customers", {"limit": limit, "cursor": page["next_cursor"]})
        customers += page["customers"]
    columns = ("customer id", "name", "tier", "sessions a month", "price a month", "created")
    table = listing(
        columns,
        (
            (
                customer["customer_id"],
                customer["name"],
                customer["subscription"]["tier"],
                customer["subscription"]["session_limit"],
                rendering.dollars(customer["subscription"]["price_usd"]),
                customer["created_at"],
            )
            for customer in customers
        ),
    )
    next_cursor = page["next_cursor"]
    none = [] if customers else [note("There are no customers yet.", "dim")]
    output_of(context, json_).answer(
        {"customers": customers, "next_cursor": next_cursor},
        table,
        *none,
        *rendering.more(next_cursor),
    )


# --- keys ----------------------------------------------------------------------------------


@key_app.command("issue")
@reported
def issue_key(
    context: typer.Context,
    customer_id: CustomerId,
    name: Annotated[str | None, typer.Option(help="What the key is for.")] = None,
    expires_at: Annotated[
        datetime | None,
        typer.Option(parser=_moment, metavar="ISO-TIME", help="When the key ends; UTC if unsaid."),
    ] = None,
    *,
    json_: Json = False,
) -> None:
    """Issue another key; it is shown this once."""
    body: dict[str, Any] = {} if name is None else {"name": name}
    if expires_at is not None:
        body["expires_at"] = expires_at.isoformat()
    answer = client_of(context).post(customer_path(customer_id, "/keys"), body)
    key = dict(answer["key"])
    text = key.pop("text")
    key.pop("notice", None)
    rows = [("key id", key["key_id"]), ("name", key["name"]), ("expires", key["expires_at"])]
    output_of(context, json_).answer(
        {"customer_id": answer["customer_id"], **key, "api_key": text},
        facts(*rows),
        *rendering.shown_once(text),
    )


@key_app.command("list")
@reported
def list_keys(context: typer.Context, customer_id: CustomerId, *, json_: Json = False) -> None:
    """List a customer's keys; their texts are stored nowhere."""
    answer = client_of(context).get(customer_path(customer_id, "/keys"))
    columns = ("key id", "key", "name", "status", "created", "expires", "revoked")
    names = ("key_id", "masked", "name", "status", "created_at", "expires_at", "revoked_at")
    rows = ([key[name] for name in names] for key in answer["keys"])
    output_of(context, json_).answer(answer, listing(columns, rows))


@key_app.command("revoke")
@reported
def revoke_key(
    context: typer.Context,
    customer_id: CustomerId,
    key_id: Annotated[str, typer.Argument(metavar="KEY_ID", help="The key's id.")],
    *,
    json_: Json = False,
) -> None:
    """Revoke a key; for up to a minute API Gateway may still let it in."""
    answer = client_of(context).delete(customer_path(customer_id, f"/keys/{segment(key_id)}"))
    revoked_at = answer["key"]["revoked_at"]
    output_of(context, json_).answer(
        answer,
        note(f"{key_id} is revoked since {revoked_at}."),
        note("API Gateway remembers a key's standing for 60 seconds.", "dim"),
    )


# --- credits and the audit trail -------------------------------------------------------------


@app.command("credit")
@reported
def credit(
    context: typer.Context,
    customer_id: CustomerId,
    sessions: Annotated[int, typer.Argument(min=1, metavar="SESSIONS", help="How many.")],
    reason: Annotated[str, typer.Option(help="Why; kept in the audit trail.")],
    request_id: Annotated[
        str | None, typer.Option(help="A name for this credit: under one name it is given once.")
    ] = None,
    *,
    json_: Json = False,
) -> None:
    """Give a customer sessions on top of the present period's limit."""
    request_id = request_id or uuid.uuid4().hex
    body = {"sessions": sessions, "reason": reason, "request_id": request_id}
    try:
        answer = client_of(context).post(customer_path(customer_id, "/credits"), body)
    except CannotConnectError as error:
        error.details["hint"] = f"It may have been given. Repeat it with --request-id {request_id}."
        raise
    output_of(context, json_).answer(
        {**answer, "request_id": request_id},
        note(f"{sessions:,} sessions on top of the limit of {answer['period']}."),
    )


@app.command("audit")
@reported
def audit_trail(
    context: typer.Context,
    customer_id: CustomerId,
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many records.")] = 50,
    *,
    json_: Json = False,
) -> None:
    """Show what operators did to a customer, the newest first."""
    answer = client_of(context).get(customer_path(customer_id, "/audit-trail"), {"limit": limit})
    rows = (
        (record["at"], record["action"], rendering.change_text(record), record["actor"])
        for record in answer["audit_trail"]
    )
    output_of(context, json_).answer(answer, listing(("at", "act", "what", "who"), rows))


# --- usage ---------------------------------------------------------------------------------


@usage_app.command("show")
@reported
def show_usage(context: typer.Context, customer_id: CustomerId, *, json_: Json = False) -> None:
    """Show how many sessions are used, held and left."""
    usage = client_of(context).get(customer_path(customer_id, "/usage"))
    output_of(context, json_).answer(usage, facts(*rendering.usage_rows(usage)))


@usage_app.command("alerts")
@reported
def show_alerts(
    context: typer.Context,
    customer_id: CustomerId,
    period: InPeriod = None,
    *,
    json_: Json = False,
) -> None:
    """Show of which shares of its limit a customer is told, and was told."""
    answer = client_of(context).get(customer_path(customer_id, "/alerts"), {"period": period})
    names = ("threshold", "at", "sessions_used", "sessions_limit", "id")
    rows = [[alert[name] for name in names] for alert in answer["alerts"]]
    columns = ("percent", "at", "sessions used", "session limit", "id")
    alerts = listing(columns, rows) if rows else note("There are no alerts here.", "dim")
    output_of(context, json_).answer(answer, facts(*rendering.alert_rows(answer)), alerts)


@usage_app.command("audit")
@reported
def audit_usage(
    context: typer.Context,
    customer_id: CustomerId,
    period: InPeriod = None,
    *,
    json_: Json = False,
) -> None:
    """Rebuild a period's count and rollups from its session records, and report any drift."""
    audit = client_of(context).get(customer_path(customer_id, "/usage/audit"), {"period": period})
    names = ("period", "records", "released", "expected", "counted", "held", "drift")
    output_of(context, json_).answer(
        audit,
        facts(*((name, audit[name]) for name in names), *rendering.rollup_rows(audit["rollups"])),
        rendering.audit_verdict(audit),
        rendering.rollups_verdict(audit["rollups"]),
    )


@usage_app.command("history")
@reported
def usage_history(
    context: typer.Context,
    customer_id: CustomerId,
    granularity: Annotated[
        Granularity, typer.Option(help="How long the spans are.")
    ] = Granularity.DAILY,
    first: Annotated[
        str | None, typer.Option("--from", metavar="YYYY-MM-DD", help="The first day.")
    ] = None,
    last: Annotated[
        str | None, typer.Option("--to", metavar="YYYY-MM-DD", help="The last day.")
    ] = None,
    by: Annotated[Dimension | None, typer.Option(help="What to break the spans down by.")] = None,
    *,
    json_: Json = False,
) -> None:
    """Show what a customer used; by default each day of the present period."""
    query = {"granularity": granularity.value, "from": first, "to": last}
    history = client_of(context).get(
        customer_path(customer_id, "/usage-history"), {**query, "by": by and by.value}
    )
    output_of(context, json_).answer(
        history, listing(rendering.HISTORY_COLUMNS, rendering.history_rows(history))
    )


@usage_app.command("forecast")
@reported
def forecast_usage(context: typer.Context, customer_id: CustomerId, *, json_: Json = False) -> None:
    """Show how many sessions a customer's period is heading for, and when they are used up."""
    forecast = client_of(context).get(customer_path(customer_id, "/forecast"))
    output_of(context, json_).answer(
        forecast, facts(*rendering.forecast_rows(forecast)), note(forecast["explanation"], "dim")
    )


@usage_app.command("advice")
@reported
def advise(context: typer.Context, customer_id: CustomerId, *, json_: Json = False) -> None:
    """Show what a customer is advised about plans and models."""
    answer = client_of(context).get(customer_path(customer_id, "/recommendations"))
    advice = answer["recommendations"]
    columns = ("what", "saves a month", "plan", "why")
    none = [] if advice else [note("There is nothing to advise.", "dim")]
    output_of(context, json_).answer(
        answer, listing(columns, map(rendering.advice_row, advice)), *none
    )


# --- test clocks ---------------------------------------------------------------------------


def _show_clock(output: Output, clock: dict[str, Any]) -> None:
    rows = [("the customer's time", clock["now"]), ("seconds ahead", clock["offset_seconds"])]
    output.answer(clock, facts(*rows))


@clock_app.command("show")
@reported
def show_clock(context: typer.Context, customer_id: CustomerId, *, json_: Json = False) -> None:
    """Show what a customer's clock says."""
    clock = client_of(context).get(customer_path(customer_id, "/clock"))
    _show_clock(output_of(context, json_), clock)


@clock_app.command("advance")
@reported
def advance_clock(
    context: typer.Context,
    customer_id: CustomerId,
    minutes: Annotated[float, typer.Option(min=0.0, help="How far to go.")],
    *,
    json_: Json = False,
) -> None:
    """Move a customer's clock forward by some minutes."""
    clock = client_of(context).put(
        customer_path(customer_id, "/clock"), {"advance_minutes": minutes}
    )
    _show_clock(output_of(context, json_), clock)


@clock_app.command("set")
@reported
def set_clock(
    context: typer.Context,
    customer_id: CustomerId,
    moment: Annotated[
        datetime,
        typer.Argument(parser=_moment, metavar="ISO-TIME", help="Where to go; UTC if unsaid."),
    ],
    *,
    json_: Json = False,
) -> None:
    """Set a customer's clock; it never goes back."""
    clock = client_of(context).put(
        customer_path(customer_id, "/clock"), {"set_to": moment.isoformat()}
    )
    _show_clock(output_of(context, json_), clock)


if __name__ == "__main__":
    app()
