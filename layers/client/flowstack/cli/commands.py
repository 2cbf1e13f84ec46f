"""The command line: ``flowstack``.

Exit codes: 0 done, 1 refused by the API, 2 wrong usage, 3 no connection, 4 come back later (the
quota or your own ceiling is used up, or too many requests).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, ParamSpec

import typer
from rich.markdown import Markdown

from flowstack.agent import Agent
from flowstack.billing import AlertSettings, BillingManager, BudgetSettings
from flowstack.cli import output
from flowstack.cli.output import Output, facts, listing, note
from flowstack.documents import Answer
from flowstack.exceptions import (
    APIConnectionError,
    BudgetExceededError,
    ConfigurationError,
    FlowStackError,
    InvalidRequestError,
    QuotaExceededError,
    RateLimitError,
)
from flowstack.models import Models
from flowstack.providers import REQUIRED_CREDENTIALS, Providers, check_provider
from flowstack.transport import API_KEY_VARIABLE, API_URL_VARIABLE
from flowstack.version import __version__

Parameters = ParamSpec("Parameters")

REFUSED, USAGE, NO_CONNECTION, LATER = 1, 2, 3, 4
DEFAULT_AGENT = "flowstack-cli"


def _group(text: str) -> typer.Typer:
    return typer.Typer(
        help=text, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_show_locals=False
    )


app = typer.Typer(
    help=f"Talk to agents and see what they cost. The key is read from {API_KEY_VARIABLE}.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_show_locals=False,
)
subscription_app = _group("See, shrink, cancel or keep the subscription.")
alerts_app = _group("Be told, once each, at shares of the limit.")
budget_app = _group("Limit a month's cost, and how far a session goes.")
vault_app = _group("Keep documents.")
byok_app = _group("Keep your own keys at providers.")
app.add_typer(subscription_app, name="subscription")
app.add_typer(budget_app, name="budget")
app.add_typer(alerts_app, name="alerts")
app.add_typer(vault_app, name="vault")
app.add_typer(byok_app, name="byok")

Json = Annotated[bool, typer.Option("--json", help="Write JSON, for scripts.")]
Collection = Annotated[str, typer.Argument(help="The collection.")]
Key = Annotated[str, typer.Argument(help="The document's key.")]
Preview = Annotated[bool, typer.Option("--preview", help="Say what would happen, and do nothing.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask whether it is meant.")]
Where = Annotated[
    str | None, typer.Option(metavar="JSON", help='A filter, such as \'{"age": {"$gte": 18}}\'.')
]


@dataclass
class Options:
    """What holds for every command."""

    api_url: str | None
    as_json: bool

    def agent(self, name: str = DEFAULT_AGENT, **settings: Any) -> Agent:
        """Return an agent; the key comes from the environment, never from the command line."""
        return Agent(name, base_url=self.api_url, **settings)

    def billing(self) -> BillingManager:
        """Return what knows about money."""
        return self.agent().billing


@app.callback()
def options(
    context: typer.Context,
    api_url: Annotated[
        str | None, typer.Option(envvar=API_URL_VARIABLE, help="Where FlowStack answers.")
    ] = None,
    *,
    json_: Json = False,
) -> None:
    """Take the options that stand before the command."""
    context.obj = Options(api_url, json_)


def _reported(command: Callable[Parameters, None]) -> Callable[Parameters, None]:
    """Turn what goes wrong into a message and an exit code."""

    @wraps(command)
    def run(*args: Parameters.args, **kwargs: Parameters.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except FlowStackError as error:
            context: Any = kwargs["context"]
            _output(context, json_=bool(kwargs.get("json_"))).failure(error)
            raise typer.Exit(exit_code(error)) from error

    return run


def exit_code(error: FlowStackError) -> int:
    """Return the exit code that an error stands for."""
    if isinstance(error, APIConnectionError):
        return NO_CONNECTION
    if isinstance(error, QuotaExceededError | BudgetExceededError | RateLimitError):
        return LATER
    unsent = isinstance(error, ConfigurationError) or error.status_code is None
    return USAGE if unsent else REFUSED


def _output(context: typer.Context, *, json_: bool) -> Output:
    return Output(as_json=context.obj.as_json or json_)


# --- conversations -------------------------------------------------------------------------


@app.command("chat")
@_reported
def chat(
    context: typer.Context,
    message: Annotated[
        list[str] | None, typer.Argument(help="What to say; without it, a conversation begins.")
    ] = None,
    agent: Annotated[str, typer.Option(help="The agent's name.")] = DEFAULT_AGENT,
    conversation: Annotated[
        str | None, typer.Option(help="Which conversation to go on with.")
    ] = None,
    provider: Annotated[str, typer.Option(help="Who answers.")] = Providers.BEDROCK,
    model: Annotated[str, typer.Option(help="Which model answers.")] = Models.DEFAULT,
    system: Annotated[str | None, typer.Option(help="The system prompt.")] = None,
    *,
    json_: Json = False,
) -> None:
    """Say something to an agent, or talk with it until you are done."""
    talker = context.obj.agent(
        agent, provider=provider, model=model, system=system, conversation_id=conversation
    )
    out = _output(context, json_=json_)
    if message:
        _say(out, talker, " ".join(message))
    elif not sys.stdin.isatty():
        _say(out, talker, sys.stdin.read())
    else:
        _talk(out, talker)


def _say(out: Output, agent: Agent, message: str) -> None:
    answer = agent.send(message)
    out.answer(answer, *_answer_parts(answer))


def _answer_parts(answer: Answer) -> list[Any]:
    content = Markdown(answer.content) if sys.stdout.isatty() else note(answer.content)
    notices = [] if answer.model_notice is None else [note(answer.model_notice, "yellow")]
    return [content, *notices]


def _talk(out: Output, agent: Agent) -> None:
    out.answer(
        {"conversation_id": agent.conversation_id},
        note(f"{agent.model} answers. /new begins another conversation, Ctrl-D ends.", "dim"),
    )
    while True:
        try:
            said = input("you> ").strip()
        except (EOFError, KeyboardInterrupt):
            out.answer({}, note(""))
            return
        if said == "/new":
            agent.new_conversation()
        elif said:
            try:
                _say(out, agent, said)
            except FlowStackError as error:
                out.failure(error)


# --- usage and money -----------------------------------------------------------------------


@app.command("usage")
@_reported
def usage(context: typer.Context, *, json_: Json = False) -> None:
    """Show how many sessions are used and left, and where the month is heading."""
    found = context.obj.billing().usage()
    _output(context, json_=json_).answer(found, *output.usage_parts(found))


@app.command("forecast")
@_reported
def forecast(context: typer.Context, *, json_: Json = False) -> None:
    """Show how many sessions the month is heading for, and when they are used up."""
    found = context.obj.billing().forecast()
    _output(context, json_=json_).answer(found, *output.forecast_parts(found))


@app.command("advice")
@_reported
def advice(context: typer.Context, *, json_: Json = False) -> None:
    """Say how to pay less, and whether the plan is too small."""
    found = context.obj.billing().recommendations()
    none = [] if found.recommendations else [note("There is nothing to advise.", "dim")]
    _output(context, json_=json_).answer(found, *map(output.advice_text, found), *none)


@app.command("plans")
@_reported
def plans(context: typer.Context, *, json_: Json = False) -> None:
    """List the plans on offer."""
    found = context.obj.billing().plans()
    columns = ("tier", "price a month", "sessions a month", "managed models", "own keys", "support")
    rows = (
        (
            plan.tier,
            plan.price_per_month,
            plan.sessions_per_month,
            plan.managed_models,
            plan.byok,
            plan.support,
        )
        for plan in found
    )
    _output(context, json_=json_).answer(found, listing(columns, rows))


@app.command("history")
@_reported
def history(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, help="How many months.")] = 12,
    *,
    csv: Annotated[bool, typer.Option("--csv", help="Write CSV, for spreadsheets.")] = False,
    json_: Json = False,
) -> None:
    """Show the statements of closed months, the newest first."""
    billing = context.obj.billing()
    if csv:
        sys.stdout.write(billing.history_csv(limit))
        return
    found = list(billing.history(limit))
    parts = [output.documents(found)] if found else [note("No month is closed yet.", "dim")]
    _output(context, json_=json_).answer(found, *parts)


@subscription_app.command("show")
@_reported
def show_subscription(context: typer.Context, *, json_: Json = False) -> None:
    """Show what was bought, and what waits for the month's end."""
    found = context.obj.billing().subscription()
    _output(context, json_=json_).answer(found, output.subscription_table(found))


@subscription_app.command("downgrade")
@_reported
def downgrade(
    context: typer.Context,
    tier: Annotated[str, typer.Argument(help="The smaller plan.")],
    *,
    preview: Preview = False,
    yes: Yes = False,
    json_: Json = False,
) -> None:
    """Move to a smaller plan when the month ends."""
    billing, out = context.obj.billing(), _output(context, json_=json_)
    if preview:
        _show_preview(out, billing.preview("downgrade", tier))
        return
    _make_sure(f"Move to {tier} when the month ends?", yes=yes)
    found = billing.downgrade(tier)
    out.answer(found, output.subscription_table(found))


@subscription_app.command("cancel")
@_reported
def cancel(
    context: typer.Context, *, preview: Preview = False, yes: Yes = False, json_: Json = False
) -> None:
    """Cancel when the month ends."""
    billing, out = context.obj.billing(), _output(context, json_=json_)
    if preview:
        _show_preview(out, billing.preview("cancel"))
        return
    _make_sure("Cancel when the month ends?", yes=yes)
    found = billing.cancel()
    out.answer(found, output.subscription_table(found))


@subscription_app.command("undo")
@_reported
def undo(context: typer.Context, *, preview: Preview = False, json_: Json = False) -> None:
    """Take back a downgrade or cancellation that still waits."""
    billing, out = context.obj.billing(), _output(context, json_=json_)
    if preview:
        _show_preview(out, billing.preview("undo"))
        return
    found = billing.undo()
    out.answer(found, output.subscription_table(found))


def _show_preview(out: Output, preview: Any) -> None:
    out.answer(preview, facts(*preview.items()))


@budget_app.command("show")
@_reported
def show_budget(context: typer.Context, *, json_: Json = False) -> None:
    """Show your own limits, and what the month has cost so far."""
    found = context.obj.billing().budget()
    _output(context, json_=json_).answer(found, *output.budget_parts(found))


@budget_app.command("set")
@_reported
def set_budget(
    context: typer.Context,
    ceiling: Annotated[
        float | None, typer.Option(help="The most that a month may cost, in dollars.")
    ] = None,
    turns: Annotated[int | None, typer.Option(min=1, help="Messages of one session.")] = None,
    tokens: Annotated[int | None, typer.Option(min=1, help="Tokens of one session.")] = None,
    *,
    block: Annotated[
        bool | None, typer.Option("--block/--warn", help="Whether the ceiling stops new sessions.")
    ] = None,
    no_ceiling: Annotated[bool, typer.Option("--no-ceiling", help="Take it away.")] = False,
    no_turns: Annotated[bool, typer.Option("--no-turns", help="Do not count them.")] = False,
    no_tokens: Annotated[bool, typer.Option("--no-tokens", help="Do not count them.")] = False,
    json_: Json = False,
) -> None:
    """Change your own limits; what is not named stays."""
    settings: BudgetSettings = {}
    if no_ceiling or ceiling is not None:
        settings["monthly_ceiling"] = None if no_ceiling else ceiling
    if no_turns or turns is not None:
        settings["session_turn_cap"] = None if no_turns else turns
    if no_tokens or tokens is not None:
        settings["session_token_cap"] = None if no_tokens else tokens
    if block is not None:
        settings["action"] = "block" if block else "warn"
    found = context.obj.billing().set_budget(**settings)
    _output(context, json_=json_).answer(found, *output.budget_parts(found))


@alerts_app.command("show")
@_reported
def show_alerts(context: typer.Context, *, json_: Json = False) -> None:
    """Show at which shares of the limit there is an alert, and this month's alerts."""
    found = context.obj.billing().alerts()
    _output(context, json_=json_).answer(found, *output.alerts_parts(found))


@alerts_app.command("set")
@_reported
def set_alerts(
    context: typer.Context,
    threshold: Annotated[
        list[int] | None,
        typer.Option(min=1, max=100, help="A percentage of the limit; give it several times."),
    ] = None,
    email: Annotated[str | None, typer.Option(help="Where mail about alerts goes.")] = None,
    *,
    no_email: Annotated[bool, typer.Option("--no-email", help="Send no mail.")] = False,
    json_: Json = False,
) -> None:
    """Choose at which shares of the limit there is an alert; what is not named stays."""
    settings: AlertSettings = {}
    if threshold:
        settings["thresholds"] = threshold
    if no_email or email is not None:
        settings["email"] = None if no_email else email
    found = context.obj.billing().set_alerts(**settings)
    _output(context, json_=json_).answer(found, *output.alerts_parts(found))


def _make_sure(question: str, *, yes: bool) -> None:
    """Ask, unless it was said beforehand; a script that did not say so is stopped."""
    if not yes:
        typer.confirm(question, abort=True, err=True)


# --- documents -----------------------------------------------------------------------------


@vault_app.command("collections")
@_reported
def vault_collections(context: typer.Context, *, json_: Json = False) -> None:
    """List the collections."""
    names = context.obj.agent().vault.list_collections()
    _output(context, json_=json_).answer(names, *(note(name) for name in names))


@vault_app.command("query")
@_reported
def vault_query(
    context: typer.Context,
    collection: Collection,
    where: Where = None,
    sort: Annotated[
        list[str] | None, typer.Option(metavar="FIELD", help="Sort by; -FIELD is descending.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 20,
    *,
    json_: Json = False,
) -> None:
    """List documents."""
    order = [(field.removeprefix("-"), -1 if field.startswith("-") else 1) for field in sort or []]
    found = context.obj.agent().vault.query(collection, _object(where), order, limit)
    _output(context, json_=json_).answer(found, *(note(output.shown(one)) for one in found))


@vault_app.command("get")
@_reported
def vault_get(
    context: typer.Context, collection: Collection, key: Key, *, json_: Json = False
) -> None:
    """Show a document."""
    found = context.obj.agent().vault.retrieve(collection, key)
    if found is None:
        _output(context, json_=json_).failure(
            FlowStackError(f"There is no document {key!r} in {collection!r}.", "NOT_FOUND")
        )
        raise typer.Exit(REFUSED)
    text = json.dumps(found, indent=2, ensure_ascii=False)
    _output(context, json_=json_).answer(found, note(text))


@vault_app.command("put")
@_reported
def vault_put(
    context: typer.Context,
    collection: Collection,
    data: Annotated[str, typer.Argument(metavar="JSON", help="The document; - reads it.")],
    key: Annotated[str | None, typer.Option(help="Its key; one is made up without.")] = None,
    *,
    json_: Json = False,
) -> None:
    """Keep a document."""
    document = _object(sys.stdin.read() if data == "-" else data)
    stored = context.obj.agent().vault.store(collection, document or {}, key)
    _output(context, json_=json_).answer({"key": stored}, note(stored))


@vault_app.command("delete")
@_reported
def vault_delete(
    context: typer.Context, collection: Collection, key: Key, *, json_: Json = False
) -> None:
    """Delete a document."""
    deleted = context.obj.agent().vault.delete(collection, key)
    said = "Deleted." if deleted else "There was none."
    _output(context, json_=json_).answer({"deleted": deleted}, note(said))


@vault_app.command("count")
@_reported
def vault_count(
    context: typer.Context, collection: Collection, where: Where = None, *, json_: Json = False
) -> None:
    """Count documents."""
    number = context.obj.agent().vault.count(collection, _object(where))
    _output(context, json_=json_).answer({"count": number}, note(f"{number:,}"))


@vault_app.command("clear")
@_reported
def vault_clear(
    context: typer.Context, collection: Collection, *, yes: Yes = False, json_: Json = False
) -> None:
    """Delete all documents of a collection."""
    _make_sure(f"Delete all documents of {collection}?", yes=yes)
    context.obj.agent().vault.clear(collection)
    _output(context, json_=json_).answer({"cleared": True}, note("Cleared."))


def _object(text: str | None) -> dict[str, Any] | None:
    """Read a JSON object from the command line.

    Raises
    ------
    InvalidRequestError
        It is none.
    """
    if text is None:
        return None
    try:
        value = json.loads(text)
    except ValueError as error:
        raise InvalidRequestError(f"That is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise InvalidRequestError('A JSON object is needed, such as {"name": "Ada"}.')
    return value


# --- own keys ------------------------------------------------------------------------------


@byok_app.command("list")
@_reported
def byok_list(context: typer.Context, *, json_: Json = False) -> None:
    """List for which providers keys are stored."""
    found = context.obj.billing().list_byok_credentials()
    none = [] if found else [note("None are stored.", "dim")]
    _output(context, json_=json_).answer(found, *([output.documents(found)] if found else none))


@byok_app.command("store")
@_reported
def byok_store(
    context: typer.Context,
    provider: Annotated[str, typer.Argument(help="The provider.")],
    file: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="A JSON file with the fields; without it they are asked for, unseen.",
        ),
    ] = None,
    *,
    json_: Json = False,
) -> None:
    """Store your own key at a provider, encrypted. It is never shown again."""
    check_provider(provider, None)
    if file is not None:
        credentials = _object(file.read_text(encoding="utf-8")) or {}
    else:
        credentials = {
            name: typer.prompt(name, hide_input=True, err=True)
            for name in REQUIRED_CREDENTIALS[provider][0]
        }
    context.obj.billing().store_byok_credentials(provider, credentials)
    _output(context, json_=json_).answer({"stored": provider}, note(f"Stored for {provider}."))


@byok_app.command("delete")
@_reported
def byok_delete(
    context: typer.Context,
    provider: Annotated[str, typer.Argument(help="The provider.")],
    *,
    yes: Yes = False,
    json_: Json = False,
) -> None:
    """Forget the key at a provider."""
    _make_sure(f"Forget the key at {provider}?", yes=yes)
    deleted = context.obj.billing().delete_byok_credentials(provider)
    said = f"Deleted for {provider}." if deleted else "There was none."
    _output(context, json_=json_).answer({"deleted": deleted}, note(said))


@app.command("version")
def version() -> None:
    """Show the version of this package."""
    sys.stdout.write(f"{__version__}\n")
