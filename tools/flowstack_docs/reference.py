"""The reference of the API, written from its OpenAPI document."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

_DOCUMENT = Path(__file__).parents[2] / "layers/core/flowstack_core/http/openapi.json"
_METHODS = ("get", "post", "put", "patch", "delete")
_BOUNDS = {
    "minLength": "at least {} characters",
    "maxLength": "at most {:,} characters",
    "minItems": "at least {}",
    "maxItems": "at most {:,}",
    "maxProperties": "at most {} entries",
    "minimum": "from {:,}",
    "maximum": "to {:,}",
    "exclusiveMinimum": "more than {:,}",
}

Schema = Mapping[str, Any]


@cache
def openapi() -> dict[str, Any]:
    """Return the OpenAPI document that the API serves."""
    document: dict[str, Any] = json.loads(_DOCUMENT.read_text(encoding="utf-8"))
    return document


def routes_reference() -> str:
    """Return every route with its parameters, body and answers."""
    return "\n".join(
        "\n".join(_route(method, path, route))
        for path, methods in sorted(openapi()["paths"].items())
        for method, route in methods.items()
        if method in _METHODS
    )


def schemas_reference() -> str:
    """Return every document of a body or an answer, field by field."""
    schemas: Mapping[str, Schema] = openapi()["components"]["schemas"]
    return "\n".join("\n".join(_schema(name, schemas[name])) for name in sorted(schemas))


def _route(method: str, path: str, route: Schema) -> Iterator[str]:
    yield f"### {method.upper()} {path}\n"
    yield f"{route['summary']}.\n"
    parameters = route.get("parameters", ())
    if parameters:
        yield "| parameter | in | type | |"
        yield "| --- | --- | --- | --- |"
        for one in parameters:
            name = f"`{one['name']}`" + (" (required)" if one.get("required") else "")
            yield _row(name, one["in"], _type(one["schema"]), one.get("description", ""))
        yield ""
    for media, content in route.get("requestBody", {}).get("content", {}).items():
        yield f"Body ({media}): {_type(content['schema'])}.\n"
    refusals: dict[str, list[str]] = {}
    for status, answer in sorted(route["responses"].items()):
        if _refuses(status):
            refusals.setdefault(_body(answer), []).append(status)
        else:
            yield f"- {status}, {_body(answer) or 'no body'}: {_oneline(answer['description'])}"
    for body, statuses in refusals.items():
        yield f"- {', '.join(statuses)}: {body}"
    yield ""


def _refuses(status: str) -> bool:
    return status >= "400"


def _body(answer: Schema) -> str:
    """Say what an answer holds, whatever form it comes in."""
    kinds = (_type(each.get("schema", {})) for each in answer.get("content", {}).values())
    return ", ".join(dict.fromkeys(kinds))


def statuses_reference() -> str:
    """Return what each refusal means, wherever it is given."""
    meanings: dict[str, dict[str, None]] = {}
    for methods in openapi()["paths"].values():
        for method, route in methods.items():
            if method in _METHODS:
                for status, answer in route["responses"].items():
                    if _refuses(status):
                        meanings.setdefault(status, {})[_oneline(answer["description"])] = None
    rows = (_row(status, " ".join(meanings[status])) for status in sorted(meanings))
    return "\n".join(("| status | means |", "| --- | --- |", *rows, ""))


def _schema(name: str, schema: Schema) -> Iterator[str]:
    yield f"### {name}\n"
    about = " ".join(schema.get("description", "").replace("``", "`").split("\n\n")[0].split())
    if about:
        yield f"{about}\n"
    fields = schema.get("properties")
    if fields is None:
        yield f"{_type(schema)}.\n"
        return
    required = schema.get("required", ())
    yield "| field | type | |"
    yield "| --- | --- | --- |"
    for field, one in fields.items():
        optional = "" if field in required else _default(one)
        notes = "; ".join(each for each in (optional, _oneline(one.get("description", ""))) if each)
        yield _row(f"`{field}`", _type(one), notes)
    yield ""


def _default(schema: Schema) -> str:
    default = schema.get("default")
    return "optional" if default is None else f"optional, by default `{json.dumps(default)}`"


def _type(schema: Schema) -> str:
    """Say what a value is, and how far it goes."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    for several in ("anyOf", "oneOf", "allOf"):
        if several in schema:
            return " or ".join(dict.fromkeys(_type(one) for one in schema[several]))
    if "enum" in schema:
        return " or ".join(f"`{one}`" for one in schema["enum"])
    if "const" in schema:
        return f"`{json.dumps(schema['const'])}`"
    return " ".join(part for part in (_kind(schema), _bounds(schema)) if part)


def _kind(schema: Schema) -> str:
    kind = schema.get("type", "any JSON")
    if kind == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if kind == "object":
        values = schema.get("additionalProperties")
        return f"object of {_type(values)}" if isinstance(values, dict) else "object"
    return f"{kind} ({schema['format']})" if "format" in schema else str(kind)


def _bounds(schema: Schema) -> str:
    named = (name for name in _BOUNDS if name in schema)
    bounds = [_BOUNDS[name].format(_number(schema[name])) for name in named]
    if "pattern" in schema:
        bounds.append(f"as `{schema['pattern']}`")
    return f"({', '.join(bounds)})" if bounds else ""


def _number(value: float) -> float:
    return int(value) if value == int(value) else value


def _row(*cells: str) -> str:
    return f"| {' | '.join(_oneline(cell).replace('|', chr(92) + '|') for cell in cells)} |"


def _oneline(text: str) -> str:
    return " ".join(text.split())
