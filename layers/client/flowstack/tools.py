"""Functions that a model may ask for: described from signature and docstring, and run safely."""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic.errors import PydanticUserError
from pydantic.json_schema import GenerateJsonSchema

from flowstack.documents import ToolCall
from flowstack.exceptions import FlowStackError, ToolDefinitionError
from flowstack.json_text import to_json

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
_GOOGLE_SECTION = re.compile(r"^(Args|Arguments|Parameters|Params):\s*$")
_OTHER_SECTION = re.compile(
    r"^(Returns?|Raises|Yields|Examples?|Notes?|See Also|Attributes|Warnings?):?\s*$"
)
_GOOGLE_ENTRY = re.compile(r"^\s*\*{0,2}(\w+)\s*(?:\([^)]*\))?:\s*(.*)$")
_NUMPY_ENTRY = re.compile(r"^([\w, ]+?)\s*(?::.*)?$")
_EMPTY = "(no output)"


class _Arguments(BaseModel):
    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=False)


class _Schema(GenerateJsonSchema):
    def emit_warning(self, kind: Any, detail: str) -> None:
        """Leave out defaults that JSON cannot hold, without a word: the model need not know."""


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What running a tool gave, as it is sent back."""

    tool_use_id: str
    content: str
    is_error: bool = False

    def part(self) -> dict[str, Any]:
        """Return it as a part of a message."""
        said = {"type": "tool_result", "tool_use_id": self.tool_use_id, "content": self.content}
        return {**said, "is_error": True} if self.is_error else said


@dataclass(frozen=True, slots=True)
class Tool:
    """A function and its description."""

    name: str
    description: str
    input_schema: Mapping[str, Any]
    function: Callable[..., Any]
    _arguments: type[_Arguments]
    _parameters: tuple[str, ...]

    @classmethod
    def of(
        cls, function: Callable[..., Any], name: str | None = None, description: str | None = None
    ) -> Tool:
        """Describe a function by its signature and docstring.

        Raises
        ------
        ToolDefinitionError
            Its name or its parameters cannot be described.
        """
        name = name or str(getattr(function, "__name__", ""))
        if _NAME.fullmatch(name) is None:
            raise ToolDefinitionError(
                f"A tool's name is 1 to 64 letters, digits, _ and -, not {name!r}."
            )
        summary, documented = _read_docstring(inspect.getdoc(function) or "")
        arguments, parameters = _arguments_of(function, name, documented)
        schema = _tidied(arguments.model_json_schema(schema_generator=_Schema))
        return cls(name, description or summary, schema, function, arguments, parameters)

    def definition(self) -> dict[str, Any]:
        """Return the description in the API's terms."""
        return {
            "name": self.name,
            "description": self.description,
            "input_schema": dict(self.input_schema),
        }

    def call(self, arguments: Mapping[str, Any]) -> Any:
        """Check the arguments and call the function; an async one returns its coroutine."""
        checked = self._arguments.model_validate(dict(arguments))
        values = {
            parameter: getattr(checked, field)
            for parameter, field in zip(self._parameters, type(checked).model_fields, strict=True)
        }
        return self.function(**values)


class Toolbox:
    """The tools of an agent, by name; a later one replaces an earlier one of its name."""

    def __init__(self) -> None:
        self._tools: dict[str, Tool] = {}

    def add(self, tool: Tool) -> None:
        """Offer a tool to the model."""
        self._tools[tool.name] = tool

    def definitions(self) -> list[dict[str, Any]]:
        """Return the description of each tool."""
        return [tool.definition() for tool in self._tools.values()]

    def run(self, call: ToolCall) -> ToolResult:
        """Run what a call asks for; what goes wrong is told to the model."""
        try:
            outcome = self._start(call)
            return _success(call, _waited(outcome) if inspect.iscoroutine(outcome) else outcome)
        except Exception as error:  # noqa: BLE001 - the model can go on; the program must not end
            return _failure(call, error)

    async def run_async(self, call: ToolCall) -> ToolResult:
        """Run what a call asks for; plain functions run in a thread, so that the loop goes on."""
        try:
            outcome = await asyncio.to_thread(self._start, call)
            return _success(call, await outcome if inspect.iscoroutine(outcome) else outcome)
        except Exception as error:  # noqa: BLE001 - the model can go on; the program must not end
            return _failure(call, error)

    def _start(self, call: ToolCall) -> Any:
        tool = self._tools.get(call.name)
        if tool is None:
            raise LookupError(f"There is no tool {call.name}.")
        return tool.call(call.input)


def _waited(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Return what a coroutine gives, also where a loop is running already, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(copy_context().run, asyncio.run, coroutine).result()


def _success(call: ToolCall, outcome: Any) -> ToolResult:
    return ToolResult(call.id, _sound(outcome if isinstance(outcome, str) else to_json(outcome)))


def _failure(call: ToolCall, error: Exception) -> ToolResult:
    if isinstance(error, ValidationError):
        problems = (
            f"{'.'.join(map(str, problem['loc'])) or 'arguments'}: {problem['msg']}"
            for problem in error.errors(include_url=False, include_input=False)
        )
        text = "; ".join(problems)
    elif isinstance(error, FlowStackError):
        text = error.message
    else:
        text = f"{type(error).__name__}: {error}"
    return ToolResult(call.id, _sound(text), is_error=True)


def _sound(text: str) -> str:
    """Return text that can be passed on: something, without NUL and half characters."""
    sound = text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
    return sound if sound.strip() else _EMPTY


# --- descriptions -------------------------------------------------------------------------------


def _arguments_of(
    function: Callable[..., Any], name: str, documented: Mapping[str, str]
) -> tuple[type[_Arguments], tuple[str, ...]]:
    """Return a model of the function's arguments, and its parameters in the same order.

    Fields have names of their own, with the parameters' as aliases: a parameter may be called
    whatever Python allows, and a field of pydantic may not.
    """
    try:
        parameters = inspect.signature(function).parameters
        hints = get_type_hints(_hinted(function), include_extras=True)
    except (NameError, TypeError, ValueError) as error:
        raise ToolDefinitionError(f"The signature of {name} cannot be read: {error}") from error
    fields: dict[str, Any] = {}
    for number, parameter in enumerate(parameters.values()):
        if parameter.kind not in _BY_NAME:
            raise ToolDefinitionError(
                f"{name} takes {parameter}: a model gives arguments by name, one for each."
            )
        default = ... if parameter.default is inspect.Parameter.empty else parameter.default
        about = documented.get(parameter.name)
        field = Field(default, alias=parameter.name, title="", description=about)
        fields[f"argument_{number}"] = (hints.get(parameter.name, Any), field)
    try:
        return create_model(name, __base__=_Arguments, **fields), tuple(parameters)
    except PydanticUserError as error:
        raise ToolDefinitionError(
            f"{name} has a parameter that JSON cannot hold: {error.message}"
        ) from error


def _hinted(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return what carries the annotations: the function, or the ``__call__`` of an object."""
    if inspect.isfunction(function) or inspect.ismethod(function) or inspect.isclass(function):
        return function
    return getattr(function, "__wrapped__", None) or type(function).__call__


def _tidied(schema: Any, *, names: bool = False) -> Any:
    """Return a schema without the titles that pydantic makes of names: they say nothing new."""
    if isinstance(schema, dict):
        return {
            key: _tidied(value, names=not names and key in {"properties", "$defs"})
            for key, value in schema.items()
            if names or key != "title" or not isinstance(value, str)
        }
    return [_tidied(each) for each in schema] if isinstance(schema, list) else schema


def _read_docstring(text: str) -> tuple[str, dict[str, str]]:
    """Return what a docstring says of the function, and of each parameter.

    Google's and NumPy's ways of writing parameters are understood.
    """
    lines = text.splitlines()
    summary: list[str] = []
    documented: dict[str, list[str]] = {}
    section, current = "summary", ""
    for number, line in enumerate(lines):
        underlined = number + 1 < len(lines) and set(lines[number + 1].strip()) == {"-"}
        if underlined or _GOOGLE_SECTION.match(line) or _OTHER_SECTION.match(line):
            parameters = line.strip().rstrip(":") in {"Args", "Arguments", "Parameters", "Params"}
            section = ("numpy" if underlined else "google") if parameters else "other"
            current = ""
        elif section == "summary":
            summary.append(line)
        elif section != "other" and line.strip() and set(line.strip()) != {"-"}:
            current = _note(section, line, documented, current)
    return (
        "\n".join(summary).strip(),
        {name: " ".join(words) for name, words in documented.items() if words},
    )


def _note(section: str, line: str, documented: dict[str, list[str]], current: str) -> str:
    """Take a line of a section on parameters; return which parameter it is about."""
    indent = len(line) - len(line.lstrip())
    if section == "numpy" and indent == 0 and (found := _NUMPY_ENTRY.match(line)):
        current = found[1].split(",")[0].strip()
        documented[current] = []
    elif section == "google" and indent <= 4 and (found := _GOOGLE_ENTRY.match(line)):
        current = found[1]
        documented[current] = [found[2]] if found[2] else []
    elif current:
        documented[current].append(line.strip())
    return current
