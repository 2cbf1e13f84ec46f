"""JSON out of what Python programs hold: dates, sets, models and money included."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from pydantic_core import PydanticSerializationError, to_jsonable_python

from flowstack.exceptions import InvalidRequestError


def to_json(value: Any) -> str:
    """Write a value as JSON; amounts of money become numbers.

    Raises
    ------
    InvalidRequestError
        It has no form in JSON. The message names the type, never the value.
    """
    try:
        return json.dumps(
            value, default=_plain, ensure_ascii=False, separators=(",", ":"), allow_nan=False
        )
    except PydanticSerializationError as error:
        raise InvalidRequestError(str(error)) from None
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidRequestError(f"This cannot be sent as JSON: {error}") from None


def to_bytes(value: Any) -> bytes:
    """Write a value as a request's body.

    Raises
    ------
    InvalidRequestError
        It has no form in JSON, or holds half of a character pair.
    """
    try:
        return to_json(value).encode()
    except UnicodeEncodeError:
        raise InvalidRequestError("The text holds half of a character pair.") from None


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return to_jsonable_python(value)
