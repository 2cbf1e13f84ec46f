"""What a request's body must be before anybody looks at what it says."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from flowstack_core.domain.errors import (
    InvalidRequestError,
    PayloadTooLargeError,
    UnsupportedMediaTypeError,
)
from flowstack_core.domain.nesting import deeper_than

MAX_BYTES = 1_000_000
MAX_DEPTH = 64

_CONSTANTS = frozenset({"NaN", "Infinity", "-Infinity"})


def check_json_body(body: str | None, content_type: str | None) -> None:
    """Refuse a body that is not JSON, too large or too deep.

    Raises
    ------
    UnsupportedMediaTypeError, PayloadTooLargeError, InvalidRequestError
        What is wrong, and what would be right.
    """
    media_type = (content_type or "").split(";")[0].strip()
    if media_type != "application/json":
        raise UnsupportedMediaTypeError(
            "The body must be JSON.",
            details={"hint": "Send the header Content-Type: application/json."},
        )
    if body is None or not body.strip():
        raise InvalidRequestError("The body must not be empty.", details={"field": "body"})
    size = len(body.encode("utf-8", "surrogatepass"))
    if size > MAX_BYTES:
        raise PayloadTooLargeError(
            f"The body has {size} bytes; at most {MAX_BYTES} are accepted.",
            details={"size": size, "maximum": MAX_BYTES, "hint": "Send less history."},
        )
    parse_json(body, "body")


def parse_json(text: str, field: str) -> Any:
    """Read JSON that a caller sent.

    Raises
    ------
    InvalidRequestError
        If it is none, or too deep; ``field`` is what is wrong then.
    """
    try:
        document = json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise InvalidRequestError(
            f"The {field} is not valid JSON.",
            details={"field": field, "position": error.pos, "problem": error.msg},
        ) from error
    except RecursionError:
        raise _too_deep(field) from None
    except ValueError as error:
        problem = str(error) if str(error) in _CONSTANTS else "a number has too many digits"
        raise InvalidRequestError(
            f"The {field} is not valid JSON.", details={"field": field, "problem": problem}
        ) from error
    if deeper_than(MAX_DEPTH, document):
        raise _too_deep(field)
    return document


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(constant)


def _too_deep(field: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"The {field} is nested more than {MAX_DEPTH} levels deep.", details={"field": field}
    )
