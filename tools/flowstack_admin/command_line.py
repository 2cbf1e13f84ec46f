"""What every command of ``flowstack-admin`` has in common: options, failures, argument types."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, ParamSpec

import typer

from flowstack_admin.client import AdminClient, find_connection_file, segment
from flowstack_admin.failures import AdminError, CannotConnectError
from flowstack_admin.rendering import Output

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


def group(text: str) -> typer.Typer:
    """Return a group of commands."""
    return typer.Typer(
        help=text, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_show_locals=False
    )


def _price(text: str) -> Decimal:
    try:
        price = Decimal(text)
    except InvalidOperation:
        raise typer.BadParameter("a price looks like 29 or 1200.50") from None
    exponent = price.as_tuple().exponent
    if not price.is_finite() or price < 0 or (isinstance(exponent, int) and exponent < -2):
        raise typer.BadParameter("a price is not negative and has two decimals at most")
    return price


CustomerId = Annotated[str, typer.Argument(metavar="ID", help="The customer's id.")]
InPeriod = Annotated[
    str | None,
    typer.Option("--period", metavar="YYYY-MM", help="The period; by default the present one."),
]
Json = Annotated[bool, typer.Option("--json", help="Write JSON, for scripts.")]
Limit = Annotated[
    int | None, typer.Option("--session-limit", min=0, help="Sessions a month, by contract.")
]
Price = Annotated[
    Decimal | None,
    typer.Option("--price", parser=_price, metavar="USD", help="US dollars a month, by contract."),
]


def reported(
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


def output_of(context: typer.Context, json_: bool) -> Output:  # noqa: FBT001 - the option's value
    """Return where a command writes."""
    return Output(as_json=context.obj.as_json or json_)


def client_of(context: typer.Context) -> AdminClient:
    """Return the client that a command asks."""
    client: AdminClient = context.obj.client()
    return client


def customer_path(customer_id: str, rest: str = "") -> str:
    """Return the path of a customer, or of something of the customer's."""
    return f"/admin/customers/{segment(customer_id)}{rest}"


def contract(limit: int | None, price: Decimal | None) -> dict[str, Any]:
    """Return what a contract says otherwise than the plan, as the API takes it."""
    terms: dict[str, Any] = {}
    if limit is not None:
        terms["session_limit"] = limit
    if price is not None:
        terms["price_usd"] = f"{price:f}"
    return terms
