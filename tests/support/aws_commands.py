"""Whether a call of the AWS command line is one there is, by botocore's own models of the services.

Checked are service, operation, the names of options, those that are needed, the members in what is
written short (``A=1,B=2``) and the members that ``--query`` asks of the answer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import jmespath  # type: ignore[import-untyped]  # it comes with botocore
from botocore import xform_name
from botocore.model import ListShape, MapShape, OperationModel, Shape, StructureShape
from botocore.session import Session

_OF_EVERY_COMMAND = {
    "--query",
    "--output",
    "--region",
    "--profile",
    "--no-cli-pager",
    "--cli-binary-format",
}
_WRITES_A_FILE = {("lambda", "invoke")}
"""Commands whose last word is the file that takes the answer's body."""

_RENAMED = {("sns", "subscribe", "endpoint"): "notification-endpoint"}
"""Options that the command line calls otherwise, because it has that name itself."""

_MADE_BY_HAND = {("logs", "tail"): {"--since", "--follow", "--filter-pattern", "--format"}}
"""Commands of the command line that are no operation, and their options."""


def check_aws(words: list[str]) -> None:
    """Check ``aws SERVICE OPERATION …``, given without ``aws``.

    Raises
    ------
    AssertionError
        There is no such service, operation, option or member, or an option that is needed is left
        out.
    """
    service, operation, *rest = words
    options, loose = _options(rest)
    if (service, operation) in _MADE_BY_HAND:
        assert options.keys() <= _MADE_BY_HAND[service, operation], options
        return
    model = _operation(service, operation)
    assert len(loose) == ((service, operation) in _WRITES_A_FILE), loose
    assert model.input_shape is not None

    def option(member: str) -> str:
        name = xform_name(member, "-")
        return f"--{_RENAMED.get((service, operation, name), name)}"

    known = {option(name): shape for name, shape in model.input_shape.members.items()}
    unknown = options.keys() - known.keys() - _OF_EVERY_COMMAND
    assert not unknown, f"aws {service} {operation} has no {unknown}"
    missing = {option(name) for name in model.input_shape.required_members} - options.keys()
    assert not missing, f"aws {service} {operation} needs {missing}"
    for name in options.keys() & known.keys():
        _check_value(known[name], options[name])
    if "--query" in options:
        assert model.output_shape is not None
        asked = set(_fields(jmespath.compile(options["--query"]).parsed))
        assert asked <= set(_members(model.output_shape)), asked


def _operation(service: str, operation: str) -> OperationModel:
    session = Session()
    assert service in session.get_available_services(), f"aws {service}"
    model = session.get_service_model(service)
    there = {xform_name(name, "-"): name for name in model.operation_names}
    assert operation in there, f"aws {service} {operation}"
    return model.operation_model(there[operation])


def _options(words: list[str]) -> tuple[dict[str, str], list[str]]:
    """Tell options, each with its value, from words that belong to none."""
    options: dict[str, str] = {}
    loose: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--"):
            loose.append(word)
            continue
        options[word] = rest.pop(0) if rest and not rest[0].startswith("--") else ""
    return options, loose


def _check_value(shape: Shape, value: str) -> None:
    if value.startswith("{"):
        json.loads(value)
    elif isinstance(shape, StructureShape):
        named = set(re.findall(r"(?:^|,)(\w+)=", value))
        assert named, value
        assert named <= shape.members.keys(), named


def _fields(parsed: dict[str, Any]) -> Iterator[str]:
    """Yield the members that a JMESPath expression names."""
    if parsed["type"] == "field":
        yield parsed["value"]
    for child in parsed["children"]:
        if isinstance(child, dict):
            yield from _fields(child)


def _members(shape: Shape, depth: int = 6) -> Iterator[str]:
    """Yield the names of all members of a shape and of what is in it."""
    if depth == 0:
        return
    if isinstance(shape, StructureShape):
        for name, member in shape.members.items():
            yield name
            yield from _members(member, depth - 1)
    elif isinstance(shape, ListShape):
        yield from _members(shape.member, depth - 1)
    elif isinstance(shape, MapShape):
        yield from _members(shape.value, depth - 1)
