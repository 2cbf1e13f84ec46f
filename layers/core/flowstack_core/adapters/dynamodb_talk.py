"""What was said in a session, as it stands on its head and on its record.

Each route has three sums, and each sum is an attribute at the top of its item: ``ADD`` works there
only. Their names are short, because all of a head has to fit one write unit::

    n#m#bedrock#nova-lite   messages     m: managed, b: own key (BYOK)
    i#m#bedrock#nova-lite   input tokens
    o#m#bedrock#nova-lite   output tokens
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flowstack_core.adapters.dynamodb_codec import Item, number, string
from flowstack_core.domain.rollups import Route, Talk

OPENED_BY = "opened_by"

_MESSAGES, _INPUT, _OUTPUT = "n#", "i#", "o#"
_MANAGED, _BYOK = "m", "b"


def encode_route(route: Route) -> str:
    """Write a route. The model comes last: it alone may hold a ``#``."""
    return f"{_MANAGED if route.managed else _BYOK}#{route.provider}#{route.model}"


def decode_route(text: str) -> Route:
    """Read what `encode_route` wrote."""
    payer, provider, model = text.split("#", 2)
    return Route(payer == _MANAGED, provider, model)


def encode_talk(route: Route, talk: Talk) -> dict[str, Any]:
    """Write the three sums of a route."""
    way = encode_route(route)
    return {
        _MESSAGES + way: number(talk.messages),
        _INPUT + way: number(talk.input_tokens),
        _OUTPUT + way: number(talk.output_tokens),
    }


def decode_said(item: Item) -> dict[Route, Talk]:
    """Read the sums of all routes."""
    return {
        decode_route(way): Talk(
            int(item[name]["N"]), int(item[_INPUT + way]["N"]), int(item[_OUTPUT + way]["N"])
        )
        for name in item
        if name.startswith(_MESSAGES)
        for way in (name.removeprefix(_MESSAGES),)
    }


def decode_opened_by(item: Item) -> Route | None:
    """Read the way of the first answer, ``None`` where there was none yet."""
    return decode_route(item[OPENED_BY]["S"]) if OPENED_BY in item else None


def opened_by_value(route: Route) -> dict[str, str]:
    """Write the way of the first answer."""
    return string(encode_route(route))


def named(sums: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, Any], list[tuple[str, str]]]:
    """Return names and values of attributes for an expression, and the two side by side."""
    names = {f"#s{index}": name for index, name in enumerate(sums)}
    values = {f":s{index}": value for index, value in enumerate(sums.values())}
    return names, values, list(zip(names, values, strict=True))
