"""From functions to the descriptions that a model reads."""

from __future__ import annotations

import functools
import warnings
from enum import Enum
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from flowstack import ToolDefinitionError
from flowstack.documents import ToolCall
from flowstack.tools import Tool, Toolbox


class Address(BaseModel):
    """Where somebody lives."""

    street: str
    title: str = "Home"


class Size(Enum):
    SMALL = "s"
    LARGE = "l"


def schema_of(function: Any) -> dict[str, Any]:
    return dict(Tool.of(function).input_schema)


def ran(function: Any, **arguments: Any) -> str:
    box = Toolbox()
    box.add(Tool.of(function, name="it"))
    result = box.run(ToolCall(id="1", name="it", input=arguments))
    assert not result.is_error, result.content
    return result.content


def test_types_defaults_and_requirements_are_described() -> None:
    def ship(
        order: str,
        express: bool,
        weights: list[float],
        how: Literal["air", "sea"] = "air",
        limit: Annotated[int, Field(ge=1, le=9)] = 3,
        note: str | None = None,
        *,
        size: Size = Size.SMALL,
    ) -> None: ...

    assert schema_of(ship) == {
        "type": "object",
        "additionalProperties": False,
        "required": ["order", "express", "weights"],
        "properties": {
            "order": {"type": "string"},
            "express": {"type": "boolean"},
            "weights": {"type": "array", "items": {"type": "number"}},
            "how": {"type": "string", "enum": ["air", "sea"], "default": "air"},
            "limit": {"type": "integer", "minimum": 1, "maximum": 9, "default": 3},
            "note": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
            "size": {"$ref": "#/$defs/Size", "default": "s"},
        },
        "$defs": {"Size": {"enum": ["s", "l"], "type": "string"}},
    }


def test_models_are_described_and_given_as_models() -> None:
    def move(to: Address) -> str:
        return f"{type(to).__name__} {to.street}"

    schema = schema_of(move)
    assert schema["properties"] == {"to": {"$ref": "#/$defs/Address"}}
    assert schema["$defs"]["Address"]["properties"] == {
        "street": {"type": "string"},
        "title": {"type": "string", "default": "Home"},
    }
    assert ran(move, to={"street": "Main"}) == "Address Main"


def test_a_function_without_parameters_or_docstring_is_a_tool() -> None:
    def nothing() -> None: ...

    tool = Tool.of(nothing)
    assert tool.definition() == {
        "name": "nothing",
        "description": "",
        "input_schema": {"type": "object", "properties": {}, "additionalProperties": False},
    }


def test_untyped_parameters_take_anything() -> None:
    def echo(what, more=[1]):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202, B006
        return {"what": what, "more": more}

    assert schema_of(echo)["properties"] == {"what": {}, "more": {"default": [1]}}
    assert ran(echo, what={"a": 1}) == '{"what":{"a":1},"more":[1]}'


def google(a: int, b: str = "", c: float = 0) -> None:
    """Do a thing.

    It takes two lines.

    Args:
        a (int): the first,
            which goes on
        b: the second

    Returns:
        c: this is no parameter
    """


def numpy(a: int, b: str = "", c: float = 0) -> None:
    """Do a thing.

    It takes two lines.

    Parameters
    ----------
    a : int
        the first,
        which goes on
    b
        the second

    Returns
    -------
    c
        this is no parameter
    """


@pytest.mark.parametrize("function", [google, numpy])
def test_docstrings_say_what_parameters_are_for(function: Any) -> None:
    tool = Tool.of(function)
    assert tool.description == "Do a thing.\n\nIt takes two lines."
    properties = tool.input_schema["properties"]
    assert properties["a"]["description"] == "the first, which goes on"
    assert properties["b"]["description"] == "the second"
    assert "description" not in properties["c"]


def test_any_name_that_python_allows_may_be_a_parameter() -> None:
    def odd(
        _private: int, schema: str, model_config: str, copy: bool, title: str, self: int
    ) -> str:
        return f"{_private} {schema} {model_config} {copy} {title} {self}"

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        names = ["_private", "schema", "model_config", "copy", "title", "self"]
        assert list(schema_of(odd)["properties"]) == names
    given = {
        "_private": 1,
        "schema": "s",
        "model_config": "m",
        "copy": True,
        "title": "t",
        "self": 2,
    }
    assert ran(odd, **given) == "1 s m True t 2"


def test_methods_and_partial_functions_and_objects_are_tools() -> None:
    class Shop:
        name = "shop"

        def buy(self, what: str) -> str:
            """Buy something."""
            return f"{self.name}: {what}"

        def __call__(self, what: str) -> str:
            return f"called: {what}"

    shop = Shop()
    assert Tool.of(shop.buy).name == "buy"
    assert ran(shop.buy, what="tea") == "shop: tea"
    assert ran(shop, what="tea") == "called: tea"
    assert ran(functools.partial(shop.buy), what="tea") == "shop: tea"


def test_a_default_that_json_cannot_hold_is_left_out_without_a_warning() -> None:
    marker = object()

    def odd(what: Any = marker) -> str:
        return str(what is marker)

    assert schema_of(odd)["properties"] == {"what": {}}
    assert ran(odd) == "True"


@pytest.mark.parametrize(
    "function",
    [
        lambda *many: many,
        lambda **named: named,
        lambda a, /: a,
    ],
)
def test_arguments_without_a_name_of_their_own_are_refused(function: Any) -> None:
    with pytest.raises(ToolDefinitionError, match="by name"):
        Tool.of(function, name="it")


@pytest.mark.parametrize("name", ["", "with space", "ключ", "x" * 65, "<lambda>"])
def test_a_name_that_no_provider_takes_is_refused(name: str) -> None:
    def fine() -> None: ...

    fine.__name__ = name
    with pytest.raises(ToolDefinitionError):
        Tool.of(fine)


def test_types_that_json_cannot_hold_are_refused_when_the_tool_is_made() -> None:
    class Opaque: ...

    def odd(what: Opaque) -> None: ...

    odd.__annotations__["what"] = Opaque
    with pytest.raises(ToolDefinitionError, match="odd"):
        Tool.of(odd)


def test_a_name_that_cannot_be_found_is_refused_when_the_tool_is_made() -> None:
    def odd(what: int) -> None: ...

    odd.__annotations__["what"] = "Missing"
    with pytest.raises(ToolDefinitionError, match="Missing"):
        Tool.of(odd)


def test_a_tool_of_the_same_name_replaces_the_one_before() -> None:
    box = Toolbox()
    box.add(Tool.of(lambda: "old", name="it"))
    box.add(Tool.of(lambda: "new", name="it"))
    assert len(box.definitions()) == 1
    assert box.run(ToolCall(id="1", name="it", input={})).content == "new"


def test_what_the_model_gives_is_converted_where_it_is_meant() -> None:
    assert ran(lambda a: a, a="5") == "5"

    def double(a: int) -> int:
        return a * 2

    assert ran(double, a="5") == "10"
