"""The command line: ``flowstack-admin``.

Exit codes: 0 done, 1 refused by the API, 2 wrong usage, 3 no connection.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, ParamSpec

import typer

from flowstack_admin import rendering
from flowstack_admin.client import AdminClient, find_connection_file, segment
from flowstack_admin.failures import AdminError, CannotConnectError
from flowstack_admin.rendering import Output, facts, listing, note
from flowstack_core.domain.plans import Tier

Parameters = ParamSpec("Parameters")


@dataclass
class Options:
    """What holds for every command."""

    api_url: str | None
    region: str | None
    profile: str | None
    as_json: bool

    def client(self) -> AdminClient:
        """Return the client of the API that was named, or of the local stack around here."""
        if self.api_url is not None:
            return AdminClient.of_aws(self.api_url, self.region, self.profile)
        found = find_connection_file(Path.cwd())
        if found is None:
            raise CannotConnectError(
                "There is no local stack in this folder or above it.",
                {"hint": "Start one with `make run`, or give --api-url (FLOWSTACK_ADMIN_API_URL)."},
            )
        return AdminClient.of_local_stack(found)


# --- the shape of the command line ---------------------------------------------------------


def _group(text: str) -> typer.Typer:
    return typer.Typer(
        help=text, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_show_locals=False
    )


app = typer.Typer(
    help="Operate FlowStack: customers, keys, tiers, credits, usage and test clocks.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_show_locals=False,
)
customer_app = _group("Create and see customers.")
key_app = _group("Issue, list and revoke API keys.")
tier_app = _group("Change what a customer has bought.")
usage_app = _group("See and check usage.")
clock_app = _group("Move a customer's test clock (not on production stages).")
app.add_typer(customer_app, name="customer")
app.add_typer(key_app, name="key")
app.add_typer(tier_app, name="tier")
app.add_typer(usage_app, name="usage")
app.add_typer(clock_app, name="clock")


def _price(text: str) -> Decimal:
    try:
        price = Decimal(text)
    except InvalidOperation:
        raise typer.BadParameter("a price looks like 29 or 1200.50") from None
    exponent = price.as_tuple().exponent
    if not price.is_finite() or price < 0 or (isinstance(exponent, int) and exponent < -2):
        raise typer.BadParameter("a price is not negative and has two decimals at most")
    return price


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter("a time looks like 2026-12-01T00:00:00Z") from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


CustomerId = Annotated[str, typer.Argument(metavar="ID", help="The customer's id.")]
Json = Annotated[bool, typer.Option("--json", help="Write JSON, for scripts.")]
Limit = Annotated[
    int | None, typer.Option("--session-limit", min=0, help="Sessions a month, by contract.")
]
Price = Annotated[
    Decimal | None,
    typer.Option("--price", parser=_price, metavar="USD", help="US dollars a month, by contract."),
]


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


def _reported(
    command: Callable[Parameters, None],
) -> Callable[Parameters, None]:
    """Turn what a command raises on purpose into a message and an exit code."""

    @wraps(command)
    def run(*args: Parameters.args, **kwargs: Parameters.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except AdminError as error:
            context: Any = kwargs["context"]
            as_json = context.obj.as_json or bool(kwargs.get("json_"))
            Output(as_json=as_json).failure(error)
            raise typer.Exit(error.exit_code) from error

    return run


def _output(context: typer.Context, json_: bool) -> Output:  # noqa: FBT001 - the option's value
    return Output(as_json=context.obj.as_json or json_)


def _client(context: typer.Context) -> AdminClient:
    client: AdminClient = context.obj.client()
    return client


def _path(customer_id: str, rest: str = "") -> str:
    return f"/admin/customers/{segment(customer_id)}{rest}"


def _contract(limit: int | None, price: Decimal | None) -> dict[str, Any]:
    terms: dict[str, Any] = {}
    if limit is not None:
        terms["session_limit"] = limit
    if price is not None:
        terms["price_usd"] = f"{price:f}"
    return terms


# --- customers -----------------------------------------------------------------------------


@customer_app.command("create")
@_reported
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
    body = {"name": name, "tier": tier.value, **_contract(session_limit, price)}
    answer = _client(context).post("/admin/customers", body)
    customer, key = answer["customer"], answer["key"]
    rows = [("customer id", customer["customer_id"]), ("name", customer["name"])]
    _output(context, json_).answer(
        {**customer, "key_id": key["key_id"], "api_key": key["text"]},
        facts(*rows, *rendering.subscription_rows(customer["subscription"])),
        *rendering.shown_once(key["text"]),
    )


@customer_app.command("show")
@_reported
def show_customer(context: typer.Context, customer_id: CustomerId, *, json_: Json = False) -> None:
    """Show a customer, its subscription and where it stands."""
    client = _client(context)
    customer = client.get(_path(customer_id))["customer"]
    usage = client.get(_path(customer_id, "/usage"))
    rows = [
        ("customer id", customer["customer_id"]),
        ("name", customer["name"]),
        ("created", customer["created_at"]),
    ]
    _output(context, json_).answer(
        {**customer, "usage": usage},
        facts(*rows, *rendering.subscription_rows(customer["subscription"])),
        note(""),
        facts(*rendering.usage_rows(usage)),
    )


@customer_app.command("list")
@_reported
def list_customers(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, max=100, help="Customers a page.")] = 50,
    cursor: Annotated[str | None, typer.Option(help="Where the page begins.")] = None,
    *,
    everyone: Annotated[bool, typer.Option("--all", help="Read all pages.")] = False,
    json_: Json = False,
) -> None:
    """List customers in the order they were created."""
    client = _client(context)
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
    more = [] if next_cursor is None else [note(f"There are more: --cursor {next_cursor}", "dim")]
    none = [] if customers else [note("There are no customers yet.", "dim")]
    _output(context, json_).answer(
        {"customers": customers, "next_cursor": next_cursor}, table, *none, *more
    )


# --- keys ----------------------------------------------------------------------------------


@key_app.command("issue")
@_reported
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
    answer = _client(context).post(_path(customer_id, "/keys"), body)
    key = dict(answer["key"])
    text = key.pop("text")
    key.pop("notice", None)
    rows = [("key id", key["key_id"]), ("name", key["name"]), ("expires", key["expires_at"])]
    _output(context, json_).answer(
        {"customer_id": answer["customer_id"], **key, "api_key": text},
        facts(*rows),
        *rendering.shown_once(text),
    )


@key_app.command("list")
@_reported
def list_keys(context: typer.Context, customer_id: CustomerId, *, json_: Json = False) -> None:
    """List a customer's keys; their texts are stored nowhere."""
    answer = _client(context).get(_path(customer_id, "/keys"))
    columns = ("key id", "key", "name", "status", "created", "expires", "revoked")
    names = ("key_id", "masked", "name", "status", "created_at", "expires_at", "revoked_at")
    rows = ([key[name] for name in names] for key in answer["keys"])
    _output(context, json_).answer(answer, listing(columns, rows))


@key_app.command("revoke")
@_reported
def revoke_key(
    context: typer.Context,
    customer_id: CustomerId,
    key_id: Annotated[str, typer.Argument(metavar="KEY_ID", help="The key's id.")],
    *,
    json_: Json = False,
) -> None:
    """Revoke a key; for up to a minute API Gateway may still let it in."""
    answer = _client(context).delete(_path(customer_id, f"/keys/{segment(key_id)}"))
    revoked_at = answer["key"]["revoked_at"]
    _output(context, json_).answer(
        answer,
        note(f"{key_id} is revoked since {revoked_at}."),
        note("API Gateway remembers a key's standing for 60 seconds.", "dim"),
    )


# --- subscriptions and credits -------------------------------------------------------------


@tier_app.command("set")
@_reported
def set_tier(
    context: typer.Context,
    customer_id: CustomerId,
    tier: Annotated[Tier, typer.Argument(metavar="TIER", help="The plan.")],
    session_limit: Limit = None,
    price: Price = None,
    *,
    json_: Json = False,
) -> None:
    """Move a customer to a tier or contract: up at once, down at the end of the period."""
    body = {"tier": tier.value, **_contract(session_limit, price)}
    answer = _client(context).put(_path(customer_id, "/tier"), body)
    subscription = answer["subscription"]
    waits = subscription["pending_change"] is not None
    said = "The change waits for the next period." if waits else "The change holds at once."
    _output(context, json_).answer(
        answer, facts(*rendering.subscription_rows(subscription)), note(said)
    )


@app.command("credit")
@_reported
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
        answer = _client(context).post(_path(customer_id, "/credits"), body)
    except CannotConnectError as error:
        error.details["hint"] = f"It may have been given. Repeat it with --request-id {request_id}."
        raise
    _output(context, json_).answer(
        {**answer, "request_id": request_id},
        note(f"{sessions:,} sessions on top of the limit of {answer['period']}."),
    )


@app.command("audit")
@_reported
def audit_trail(
    context: typer.Context,
    customer_id: CustomerId,
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many records.")] = 50,
    *,
    json_: Json = False,
) -> None:
    """Show what operators did to a customer, the newest first."""
    answer = _client(context).get(_path(customer_id, "/audit-trail"), {"limit": limit})
    rows = (
        (record["at"], record["action"], rendering.change_text(record), record["actor"])
        for record in answer["audit_trail"]
    )
    _output(context, json_).answer(answer, listing(("at", "act", "what", "who"), rows))


# --- usage ---------------------------------------------------------------------------------


@usage_app.command("show")
@_reported
def show_usage(context: typer.Context, customer_id: CustomerId, *, json_: Json = False) -> None:
    """Show how many sessions are used, held and left."""
    usage = _client(context).get(_path(customer_id, "/usage"))
    _output(context, json_).answer(usage, facts(*rendering.usage_rows(usage)))


@usage_app.command("audit")
@_reported
def audit_usage(
    context: typer.Context,
    customer_id: CustomerId,
    period: Annotated[
        str | None, typer.Option(metavar="YYYY-MM", help="The period; by default the present one.")
    ] = None,
    *,
    json_: Json = False,
) -> None:
    """Rebuild a period's count from its session records, and report any drift."""
    audit = _client(context).get(_path(customer_id, "/usage/audit"), {"period": period})
    names = ("period", "records", "released", "expected", "counted", "held", "drift")
    _output(context, json_).answer(
        audit, facts(*((name, audit[name]) for name in names)), rendering.audit_verdict(audit)
    )


# --- test clocks ---------------------------------------------------------------------------


def _show_clock(output: Output, clock: dict[str, Any]) -> None:
    rows = [("the customer's time", clock["now"]), ("seconds ahead", clock["offset_seconds"])]
    output.answer(clock, facts(*rows))


@clock_app.command("show")
@_reported
def show_clock(context: typer.Context, customer_id: CustomerId, *, json_: Json = False) -> None:
    """Show what a customer's clock says."""
    clock = _client(context).get(_path(customer_id, "/clock"))
    _show_clock(_output(context, json_), clock)


@clock_app.command("advance")
@_reported
def advance_clock(
    context: typer.Context,
    customer_id: CustomerId,
    minutes: Annotated[float, typer.Option(min=0.0, help="How far to go.")],
    *,
    json_: Json = False,
) -> None:
    """Move a customer's clock forward by some minutes."""
    clock = _client(context).put(_path(customer_id, "/clock"), {"advance_minutes": minutes})
    _show_clock(_output(context, json_), clock)


@clock_app.command("set")
@_reported
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
    clock = _client(context).put(_path(customer_id, "/clock"), {"set_to": moment.isoformat()})
    _show_clock(_output(context, json_), clock)


if __name__ == "__main__":
    app()
