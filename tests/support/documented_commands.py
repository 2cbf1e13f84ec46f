"""Whether a command that a page shows is one there is: each program by what it takes itself."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from types import MappingProxyType

import typer
import typer.main

from flowstack.cli.commands import app as customers_app
from flowstack_admin.main import app as operators_app
from flowstack_core.http.public_routes import OPENAPI_FILE
from flowstack_docs.pages import ROOT
from tests.support.aws_commands import check_aws


def make_targets() -> set[str]:
    """Return the targets of the Makefile."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    return set(re.findall(r"^([a-z]+):(?!=)", makefile, re.MULTILINE))


def check_make(words: list[str]) -> None:
    """Check the target, and what ``make admin`` hands on."""
    target, *variables = words
    assert target in make_targets(), f"make {target}"
    for variable in variables:
        name, _, value = variable.partition("=")
        assert name in {"ARGS", "STAGE", "LIVES", "FIRST_LIFE", "PYTEST_ARGS"}, variable
        if target == "admin" and value != "…":
            check_admin(shlex.split(value))


def check_admin(words: list[str]) -> None:
    """Have ``flowstack-admin`` read its arguments."""
    _read(operators_app, words)


def check_client(words: list[str]) -> None:
    """Have ``flowstack`` read its arguments."""
    _read(customers_app, words)


def _read(app: typer.Typer, words: list[str]) -> None:
    """Have a command line read its arguments, as it would before it does anything.

    Raises
    ------
    click.UsageError
        They are not what it takes.
    """
    command = typer.main.get_command(app)
    context = command.make_context(command.name, list(words))
    while rest := [*context._protected_args, *context.args]:
        resolve = getattr(command, "resolve_command", None)
        if resolve is None:
            return
        name, command, arguments = resolve(context, rest)
        context = command.make_context(name, arguments, parent=context)


def check_curl(words: list[str]) -> None:
    """Check that the API has the path, for the method."""
    method = "POST" if "-d" in words else "GET"
    if "-X" in words:
        method = words[words.index("-X") + 1]
    address = next(word for word in words if "$API" in word)
    path = address.removeprefix("$API").partition("?")[0]
    templates = json.loads(OPENAPI_FILE.read_bytes())["paths"]
    for template, methods in templates.items():
        if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path):
            assert method.lower() in methods, f"{method} {path}"
            return
    raise AssertionError(f"no route has {path}")


def check_python(words: list[str]) -> None:
    """Check that a module that is started exists."""
    option, module, *_ = words
    assert option == "-m", words
    assert find_spec(module) is not None, module


def check_pip(words: list[str]) -> None:
    """Check that a folder that is installed, and its extras, exist."""
    command, *what = words
    assert command == "install", words
    for each in what:
        folder, _, extra = each.partition("[")
        place = ROOT / folder if folder.startswith(".") else ROOT / "layers/client"
        assert (place / "pyproject.toml").exists(), each
        extras = (place / "pyproject.toml").read_text(encoding="utf-8")
        assert not extra or f"{extra.rstrip(']')} = [" in extras, each


def check_npx(words: list[str]) -> None:
    """Check that the program is one of those that ``make setup`` installs."""
    assert words[0] == "cdk", words
    assert "aws-cdk" in (ROOT / "package.json").read_text(encoding="utf-8")


CHECKS: Mapping[str, Callable[[list[str]], None]] = MappingProxyType(
    {
        "make": check_make,
        "flowstack-admin": check_admin,
        "flowstack": check_client,
        "aws": check_aws,
        "curl": check_curl,
        "python": check_python,
        "pip": check_pip,
        "npx": check_npx,
    }
)
"""By the name of a program, what looks at the words behind it."""

NOT_OURS = frozenset({"export", "printf", "sed", "pip-audit"})
"""Programs of which nothing in the repository knows what they take."""
