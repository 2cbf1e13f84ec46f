"""Cursors: where to go on, bound to the request that they go on with.

A cursor holds nothing secret and grants nothing: whose documents are read is decided by the API
key alone. One that was changed or belongs to another request is refused all the same. Whoever reads
this can make one, so what a cursor holds is checked like everything else that is sent.
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flowstack_core.domain.errors import InvalidRequestError, SortTooLargeError
from flowstack_core.domain.nesting import deeper_than
from flowstack_core.domain.vault import Collection, as_json, collection_of, digest_of, place_of
from flowstack_core.domain.vault_values import UNDEFINED_KEY, Kind, OrderKey

MAX_CURSOR_LENGTH = 16_000
_MAX_UNPACKED = 1_000_000
_LABEL_LENGTH = 16
_MAX_DEPTH = 512
"""Of lists in lists: four times that of the deepest document that can be stored."""


class InvalidCursorError(InvalidRequestError):
    """A cursor that is none of the request it came with."""

    def __init__(self) -> None:
        super().__init__(
            "cursor: this is no cursor of this request.",
            details={
                "field": "cursor",
                "hint": "Send next_cursor with the same collection, filter and sort.",
            },
        )


def write_cursor(request: Any, position: list[Any]) -> str:
    """Return the cursor of a request at a position.

    Raises
    ------
    SortTooLargeError
        If the position takes too much room, as that of a very long text that is sorted by does.
    """
    label = _label(request, position)
    packed = zlib.compress(as_json([label, *position]).encode())
    cursor = base64.urlsafe_b64encode(packed).decode().rstrip("=")
    if len(cursor) > MAX_CURSOR_LENGTH:
        raise SortTooLargeError(
            "The values that are sorted by are too long to go on behind them.",
            details={"maximum": MAX_CURSOR_LENGTH, "hint": "Sort by a shorter field."},
        )
    return cursor


def read_cursor(request: Any, cursor: str) -> list[Any]:
    """Return the position of a cursor.

    Raises
    ------
    InvalidCursorError
        If it is not one of this request.
    """
    if len(cursor) > MAX_CURSOR_LENGTH:
        raise InvalidCursorError
    try:
        packed = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        unpacked = zlib.decompressobj().decompress(packed, _MAX_UNPACKED)
        found = json.loads(unpacked)
    except (binascii.Error, zlib.error, ValueError, RecursionError):
        raise InvalidCursorError from None
    if not isinstance(found, list) or not found or deeper_than(_MAX_DEPTH, found):
        raise InvalidCursorError
    if found[0] != _label(request, found[1:]):
        raise InvalidCursorError
    return found[1:]


def key_to_follow(collection: Collection, key: str) -> str:
    """Return the document's key that a cursor says to go on behind.

    Raises
    ------
    InvalidCursorError
        If no document can have it.
    """
    with _names_of_a_cursor():
        return place_of(collection, key).key


def collection_to_follow(customer_id: str, name: str) -> str:
    """Return the collection's name that a cursor says to go on behind.

    Raises
    ------
    InvalidCursorError
        If no collection can have it.
    """
    with _names_of_a_cursor():
        return collection_of(customer_id, name).name


@contextmanager
def _names_of_a_cursor() -> Iterator[None]:
    """Blame the cursor for a name in it that nothing can have."""
    try:
        yield
    except InvalidRequestError:
        raise InvalidCursorError from None


def read_order_key(found: Any) -> OrderKey:
    """Read an order key from a cursor.

    Raises
    ------
    InvalidCursorError
        If it is none.
    """
    match found:
        case [Kind.UNDEFINED]:
            return UNDEFINED_KEY
        case [Kind.NULL]:
            return (Kind.NULL,)
        case [Kind.NUMBER, int() | float() as value] if not isinstance(value, bool):
            return (Kind.NUMBER, value)
        case [Kind.STRING, str() as text]:
            return (Kind.STRING, text)
        case [Kind.BOOLEAN, bool() as truth]:
            return (Kind.BOOLEAN, truth)
        case [Kind.ARRAY, list() as elements]:
            return (Kind.ARRAY, tuple(map(read_order_key, elements)))
        case [Kind.OBJECT, list() as fields]:
            return (Kind.OBJECT, tuple(map(_read_field, fields)))
    raise InvalidCursorError


def _read_field(found: Any) -> tuple[Kind, str, OrderKey]:
    match found:
        case [int(), str() as name, key]:
            read = read_order_key(key)
            return (read[0], name, read)
    raise InvalidCursorError


def _label(request: Any, position: list[Any]) -> str:
    return digest_of("cursor", request, position)[:_LABEL_LENGTH]
