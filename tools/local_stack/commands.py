"""The command line: up, demo, status and down."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from local_stack import demo as demonstration
from local_stack.connection import Connection
from local_stack.environment import PASSED_TO_EMULATOR
from local_stack.failure import LocalStackError
from local_stack.progress import PrintedProgress
from local_stack.stack import DEFAULT_PORT, PROJECT, LocalStack

app = typer.Typer(
    name="local_stack",
    help="FlowStack on this machine: an emulator of AWS with the app deployed into it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Directory = Annotated[Path, typer.Option(help="Folder of the stack's files.")]
Port = Annotated[int, typer.Option(help="Port wanted; the next free one if it is taken.")]

LOCAL = PROJECT / ".local"


@app.command()
def up(directory: Directory = LOCAL, port: Port = DEFAULT_PORT) -> None:
    """Start the emulator and deploy the app. Safe to repeat."""
    with _explained():
        _up(directory, port)


@app.command()
def demo(directory: Directory = LOCAL, port: Port = DEFAULT_PORT) -> None:
    """Start and deploy, then play a conversation as a customer. Safe to repeat."""
    started = time.monotonic()
    with _explained():
        connection = _up(directory, port)
        stack = _stack(directory, port)
        with PrintedProgress().step("Finding or creating the demo customer"):
            connection = demonstration.ensure_customer(stack.layout, connection)
        conversation_id = f"demo-{secrets.token_hex(4)}"
        _play(connection, conversation_id)
    print(f"Ready in {time.monotonic() - started:.0f} s.\n")
    _introduce(connection)
    print("\nGo on with:\n")
    for line in demonstration.curl_lines(connection, conversation_id):
        print(f"{line}\n")
    print(f"For scripts: {stack.layout.connection}. `make stop` ends it all.")


@app.command()
def status(directory: Directory = LOCAL) -> None:
    """Say whether a stack runs, and where; ends with 1 when none does."""
    stack = _stack(directory, DEFAULT_PORT)
    running = stack.running()
    if running is None:
        print("Nothing is running.")
        raise typer.Exit(1)
    print(f"Emulator: {running.endpoint_url} (process {running.pid})")
    connection = stack.connection()
    if connection is None:
        print("The app is not deployed.")
    else:
        _introduce(connection)


@app.command()
def down(directories: Annotated[list[Path] | None, typer.Argument()] = None) -> None:
    """End the emulator of each folder and everything it started. Safe to repeat."""
    with _explained():
        ended = [_stack(folder, DEFAULT_PORT).down() for folder in directories or [LOCAL]]
    print("Stopped; its data is gone." if any(ended) else "Nothing was running.")


def _stack(directory: Path, port: int) -> LocalStack:
    return LocalStack(directory, port=port, progress=PrintedProgress())


def _up(directory: Path, port: int) -> Connection:
    print("FlowStack on this machine")
    return _stack(directory, port).up()


def _play(connection: Connection, conversation_id: str) -> None:
    if connection.api_key is None:
        raise LocalStackError("the demo customer has no key")
    with demonstration.open_client(connection, connection.api_key) as client:
        before = client.usage()
        print(f"\nSessions used before: {before['sessions_used']} of {before['sessions_limit']}\n")
        for number, exchange in enumerate(client.converse(conversation_id)):
            print(f"  {2 * number + 1}. customer: {exchange.question}")
            print(f"  {2 * number + 2}. {demonstration.AGENT}: {exchange.answer['content']}")
        after = client.usage()
        print(f"\nSessions used after:  {after['sessions_used']} of {after['sessions_limit']}")
    counted = after["sessions_used"] - before["sessions_used"]
    if counted != 1:
        raise LocalStackError(f"six messages of one conversation counted {counted} sessions")
    print("6 messages = 1 session\n")
    if not any(name in os.environ for name in PASSED_TO_EMULATOR):
        print(
            "The emulator's own model answered. For a real one, set MINISTACK_BEDROCK_PROXY_URL to"
        )
        print("a server that speaks OpenAI's protocol, such as Ollama, and run this again.\n")


def _introduce(connection: Connection) -> None:
    if connection.https_api_url:
        print(f"API over HTTPS: {connection.https_api_url}")
        print(f"  trust with:   {connection.ca_file}")
    print(f"API over HTTP:  {connection.api_url}")
    print(f"Console:        {connection.api_url}/console")
    print(f"Key:            {connection.api_key or 'none yet; `make run` creates a customer'}")


@contextmanager
def _explained() -> Iterator[None]:
    """End with a sentence, not a stack trace, when a step fails."""
    try:
        yield
    except LocalStackError as error:
        typer.secho(f"\nCannot go on: {error}", fg=typer.colors.RED, err=True)
        raise typer.Exit(1) from error
