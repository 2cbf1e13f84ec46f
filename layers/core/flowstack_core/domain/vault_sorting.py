"""The order of found documents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import total_ordering
from typing import Any

from flowstack_core.domain.errors import InvalidRequestError
from flowstack_core.domain.vault_values import OrderKey, Path, path_of, sort_keys_at

MAX_SORT_FIELDS = 8
_MAX_PATH_LENGTH = 512

ASCENDING = 1
DESCENDING = -1


@total_ordering
@dataclass(frozen=True, slots=True)
class Descending:
    """An order key the other way round."""

    key: OrderKey

    def __lt__(self, other: Descending) -> bool:
        return other.key < self.key


SortKey = tuple[Any, ...]
"""Where a document stands: an order key for each field of the sort, and its key at the end."""


@dataclass(frozen=True, slots=True)
class Sort:
    """Fields to sort by, each up or down; equal documents stand in the order of their keys."""

    fields: tuple[tuple[Path, int], ...]

    def keys(self, document: dict[str, Any]) -> tuple[OrderKey, ...]:
        """Return what of the document decides its place."""
        return tuple(
            (min if direction == ASCENDING else max)(sort_keys_at(document, path))
            for path, direction in self.fields
        )

    def place(self, keys: Sequence[OrderKey], document_key: str) -> SortKey:
        """Return the place of a document with these keys."""
        directed = (
            key if direction == ASCENDING else Descending(key)
            for key, (_, direction) in zip(keys, self.fields, strict=True)
        )
        return (*directed, document_key)


def read_sort(found: Any) -> Sort | None:
    """Read pairs of path and direction, or an object of them; ``None`` if there are none.

    Raises
    ------
    InvalidRequestError
        If it is neither.
    """
    pairs = list(found.items()) if isinstance(found, dict) else found
    if not isinstance(pairs, list) or len(pairs) > MAX_SORT_FIELDS:
        raise _wrong(f"must be pairs of path and direction, at most {MAX_SORT_FIELDS}")
    fields = []
    for pair in pairs:
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise _wrong("must be pairs of path and direction")
        path, direction = pair
        if not isinstance(path, str) or not 0 < len(path) <= _MAX_PATH_LENGTH:
            raise _wrong(f"a path has 1 to {_MAX_PATH_LENGTH} characters")
        if isinstance(direction, bool) or direction not in (ASCENDING, DESCENDING):
            raise _wrong("a direction is 1 or -1")
        fields.append((path_of(path), int(direction)))
    return Sort(tuple(fields)) if fields else None


def _wrong(problem: str) -> InvalidRequestError:
    return InvalidRequestError(f"sort: {problem}.", details={"field": "sort", "problem": problem})
