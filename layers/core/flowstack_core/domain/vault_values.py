"""How MongoDB orders and finds the values of a document, for the types that JSON has.

Values are compared through *order keys*: tuples that Python compares as MongoDB compares the
values they were made from. Equal values have equal keys, which can be looked up in a set.

MongoDB Manual, "Comparison/Sort Order" and "Query an Array".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import Enum, IntEnum
from typing import Any, Final

OrderKey = tuple[Any, ...]
Path = tuple[str, ...]


class Missing(Enum):
    """What a path finds where there is nothing."""

    MISSING = "missing"


MISSING: Final = Missing.MISSING


class Kind(IntEnum):
    """The types in MongoDB's order. An empty array sorts as ``UNDEFINED``."""

    UNDEFINED = 0
    NULL = 1
    NUMBER = 2
    STRING = 3
    OBJECT = 4
    ARRAY = 5
    BOOLEAN = 6


_PLACE_DIGITS = 7
"""No array has more elements than a document has bytes."""

UNDEFINED_KEY: Final[OrderKey] = (Kind.UNDEFINED,)


def kind_of(value: Any) -> Kind:
    """Return the type of a value; what is missing counts as null."""
    match value:
        case None | Missing.MISSING:
            return Kind.NULL
        case bool():
            return Kind.BOOLEAN
        case int() | float():
            return Kind.NUMBER
        case str():
            return Kind.STRING
        case dict():
            return Kind.OBJECT
        case list():
            return Kind.ARRAY
    raise TypeError(f"JSON has no {type(value).__name__}")


def order_key(value: Any) -> OrderKey:
    """Return the key by which a value is compared.

    Numbers compare by value, whatever their type; texts by code points; objects field by field,
    in the order of their fields, by type, name and value.
    """
    kind = kind_of(value)
    match kind:
        case Kind.NULL:
            return (kind,)
        case Kind.OBJECT:
            fields = tuple((kind_of(each), name, order_key(each)) for name, each in value.items())
            return (kind, fields)
        case Kind.ARRAY:
            return (kind, tuple(order_key(each) for each in value))
    return (kind, value)


def path_of(text: str) -> Path:
    """Split a dotted path."""
    return tuple(text.split("."))


def values_at(document: Any, path: Path, *, into_leaf: bool = True) -> Iterator[Any]:
    """Yield what a condition on a path is tried on; it holds if it holds for one of them.

    An array on the way stands for its objects and, where the path has a number, for the element
    at that place. An array at the end stands for its elements and for itself. The empty path
    leads to the value itself.

    Parameters
    ----------
    into_leaf
        Whether an array at the end stands for its elements too.
    """
    value = document
    for depth, name in enumerate(path):
        if isinstance(value, list):
            yield from _through_array(value, path[depth:], into_leaf=into_leaf)
            return
        value = value.get(name, MISSING) if isinstance(value, dict) else MISSING
    if into_leaf and path and isinstance(value, list):
        yield from value
    yield value


def _through_array(array: Sequence[Any], rest: Path, *, into_leaf: bool) -> Iterator[Any]:
    place = array_place(rest[0])
    for number, element in enumerate(array):
        if isinstance(element, dict):
            yield from values_at(element, rest, into_leaf=into_leaf)
        if number != place:
            continue
        if len(rest) == 1:
            # An array that a number leads to is not gone into.
            yield element
        elif isinstance(element, dict):
            yield from values_at(element, rest[1:], into_leaf=into_leaf)
        elif isinstance(element, list):
            yield from _through_array(element, rest[1:], into_leaf=into_leaf)


def array_place(name: str) -> int | None:
    """Return the place in an array that a part of a path may stand for; "01" stands for none."""
    if not (name.isascii() and name.isdecimal()) or len(name) > _PLACE_DIGITS:
        return None
    return int(name) if str(int(name)) == name else None


def sort_keys_at(value: Any, path: Path) -> Iterator[OrderKey]:
    """Yield the order keys by which a document may sort on a path; there is at least one."""
    if isinstance(value, list) and not value:
        yield UNDEFINED_KEY
    elif not path:
        elements = value if isinstance(value, list) else (value,)
        yield from map(order_key, elements)
    elif isinstance(value, dict):
        yield from sort_keys_at(value.get(path[0], MISSING), path[1:])
    elif isinstance(value, list):
        yield from _sort_keys_in(value, path)
    else:
        yield order_key(None)


def _sort_keys_in(array: Sequence[Any], path: Path) -> Iterator[OrderKey]:
    place = array_place(path[0])
    if place is not None:
        element = array[place] if place < len(array) else MISSING
        yield from sort_keys_at(element, path[1:])
        return
    for element in array:
        if isinstance(element, dict):
            yield from sort_keys_at(element, path)
        else:
            yield order_key(None)
