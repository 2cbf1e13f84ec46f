"""Changes to a document: ``$set``, ``$unset``, ``$inc`` and ``$push``, as MongoDB makes them."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from flowstack_core.domain.errors import InvalidRequestError
from flowstack_core.domain.vault_values import (
    MISSING,
    Kind,
    Missing,
    Path,
    array_place,
    kind_of,
    path_of,
)

MAX_PATHS = 200
MAX_PATH_PARTS = 64
MAX_ARRAY_PADDING = 1_000

Change = Callable[[Any], Any]
"""From the value a path leads to, or ``MISSING``, to the new one."""

_REMOVE: Final = None
"""Instead of a change: what the path leads to is removed."""


def check_updates(updates: Mapping[str, Any]) -> None:
    """Refuse updates that no document could take.

    Raises
    ------
    InvalidRequestError
        Operators beside fields, an unknown one, an operand it does not have, or two changes of
        one place.
    """
    _read(updates)


def updated(document: dict[str, Any], updates: Mapping[str, Any]) -> dict[str, Any]:
    """Return the document with the updates made; fields without an operator are set.

    Raises
    ------
    InvalidRequestError
        If the document has another type than a change needs. Then none of them is made.
    """
    changed = copy.deepcopy(document)
    for path, change in _read(updates):
        if change is _REMOVE:
            _remove_at(changed, path)
        else:
            _change_at(changed, path, change)
    return changed


def _read(updates: Mapping[str, Any]) -> list[tuple[Path, Change | None]]:
    operators = {name: each for name, each in updates.items() if name.startswith("$")}
    if operators and len(operators) < len(updates):
        raise _wrong("updates", "operators cannot stand beside fields")
    if not operators:
        operators = {"$set": dict(updates)}
    changes: dict[Path, Change | None] = {}
    for operator, operands in operators.items():
        place = f"updates.{operator}"
        if operator not in _OPERATORS:
            raise _wrong(place, f"is none of {', '.join(_OPERATORS)}")
        if not isinstance(operands, dict):
            raise _wrong(place, "must be an object")
        for text, operand in operands.items():
            path = _checked_path(text, changes)
            changes[path] = _OPERATORS[operator](operand, f"{place}.{text}")
    return list(changes.items())


def _checked_path(text: str, taken: Mapping[Path, Change | None]) -> Path:
    path, place = path_of(text), f"updates.{text}"
    if len(path) > MAX_PATH_PARTS or not all(path):
        raise _wrong(place, f"is no path of 1 to {MAX_PATH_PARTS} names")
    if any(part.startswith("$") for part in path):
        raise _wrong(place, "names in a path do not begin with $")
    if len(taken) >= MAX_PATHS:
        raise _wrong("updates", f"has more than {MAX_PATHS} paths")
    for other in taken:
        shorter = min(len(path), len(other))
        if path[:shorter] == other[:shorter]:
            raise _wrong(place, f"conflicts with the change of {'.'.join(other)}")
    return path


# --- operators -----------------------------------------------------------------------------


def _set(operand: Any, _: str) -> Change:
    # A copy: a later change must not reach into what was sent.
    return lambda _: copy.deepcopy(operand)


def _unset(_operand: Any, _: str) -> None:
    return _REMOVE


def _increment(operand: Any, place: str) -> Change:
    if kind_of(operand) is not Kind.NUMBER:
        raise _wrong(place, "must be a number")

    def change(value: Any) -> Any:
        if value is MISSING:
            return operand
        if kind_of(value) is not Kind.NUMBER:
            raise _wrong(place, "the document has no number there")
        try:
            total = value + operand
        except OverflowError:
            total = math.inf
        if isinstance(total, float) and not math.isfinite(total):
            raise _wrong(place, "the sum is out of range")
        return total

    return change


def _push(operand: Any, place: str) -> Change:
    added = [operand]
    if isinstance(operand, dict) and any(name.startswith("$") for name in operand):
        if list(operand) != ["$each"] or not isinstance(operand["$each"], list):
            raise _wrong(place, "takes a value, or $each with an array")
        added = operand["$each"]

    def change(value: Any) -> Any:
        if value is MISSING:
            return copy.deepcopy(added)
        if not isinstance(value, list):
            raise _wrong(place, "the document has no array there")
        return [*value, *copy.deepcopy(added)]

    return change


_OPERATORS: Mapping[str, Callable[[Any, str], Change | None]] = MappingProxyType(
    {"$set": _set, "$unset": _unset, "$inc": _increment, "$push": _push}
)


# --- paths ---------------------------------------------------------------------------------


def _change_at(document: dict[str, Any], path: Path, change: Change) -> None:
    """Change what a path leads to; objects on the way are made."""
    holder: Any = document
    for depth, name in enumerate(path[:-1]):
        following = _get(holder, name, path)
        if following is MISSING:
            value = change(MISSING)
            for inner in reversed(path[depth + 1 :]):
                value = {inner: value}
            _put(holder, name, value, path)
            return
        holder = following
    _put(holder, path[-1], change(_get(holder, path[-1], path)), path)


def _remove_at(document: dict[str, Any], path: Path) -> None:
    """Remove what a path leads to, if it leads anywhere."""
    holder: Any = document
    for name in path[:-1]:
        if isinstance(holder, dict):
            holder = holder.get(name)
        elif isinstance(holder, list):
            place = array_place(name)
            holder = holder[place] if place is not None and place < len(holder) else None
    last = path[-1]
    if isinstance(holder, dict):
        holder.pop(last, None)
    elif isinstance(holder, list):
        place = array_place(last)
        if place is not None and place < len(holder):
            # As MongoDB: the elements behind it keep their places.
            holder[place] = None


def _get(holder: Any, name: str, path: Path) -> Any | Missing:
    if isinstance(holder, dict):
        return holder.get(name, MISSING)
    if isinstance(holder, list):
        place = _place(name, path)
        return holder[place] if place < len(holder) else MISSING
    raise _wrong(f"updates.{'.'.join(path)}", f"there is a value before {name}, and no object")


def _put(holder: dict[str, Any] | list[Any], name: str, value: Any, path: Path) -> None:
    if isinstance(holder, dict):
        holder[name] = value
        return
    place = _place(name, path)
    if place > len(holder) + MAX_ARRAY_PADDING:
        raise _wrong(f"updates.{'.'.join(path)}", f"{name} is far behind the end of the array")
    holder.extend([None] * (place + 1 - len(holder)))
    holder[place] = value


def _place(name: str, path: Path) -> int:
    place = array_place(name)
    if place is None:
        raise _wrong(f"updates.{'.'.join(path)}", f"an array has no field {name}")
    return place


def _wrong(place: str, problem: str) -> InvalidRequestError:
    shown = place[:200]
    return InvalidRequestError(f"{shown}: {problem}.", details={"field": shown, "problem": problem})
