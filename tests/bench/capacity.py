"""Capacity units by the rules of DynamoDB, computed from the items that a request met.

The rules are those of the Developer Guide ("DynamoDB read and write operations", "DynamoDB item
sizes and formats", "Transactions", "Global Secondary Indexes"): a write costs one unit for each
started KB of the larger of the item before and after it, twice that in a transaction, and what it
changes in an index costs once more; a read costs one unit for each started 4 KB, half of that when
it need not be consistent; a write whose condition fails costs what it would have cost.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

Item = Mapping[str, Any]
"""An item in DynamoDB's own notation."""

_WRITE_BYTES = 1024
_READ_BYTES = 4096
_NESTING_BYTES = 3


@dataclass(frozen=True, slots=True)
class Units:
    """Capacity units of a request, its tables and indexes together."""

    read: float = 0.0
    write: float = 0.0

    def __add__(self, other: Units) -> Units:
        return Units(self.read + other.read, self.write + other.write)

    @property
    def total(self) -> float:
        """What DynamoDB's ``CapacityUnits`` adds up."""
        return self.read + self.write


@dataclass(frozen=True, slots=True)
class ItemWrite:
    """What a request did, or tried to do, to one item.

    Attributes
    ----------
    table
        The table's name.
    before, after
        The item as it was and as it is; ``None`` where there is none.
    wanted
        The whole item that was to be put, where the request names it.
    """

    table: str
    before: Item | None
    after: Item | None
    wanted: Item | None = None


Indexes = Mapping[str, tuple[str, str]]
"""The key attributes of each table's index, which holds whole items."""


def item_size(item: Item | None) -> int:
    """Return the bytes of an item's names and values."""
    if item is None:
        return 0
    return sum(len(name.encode()) + _value_size(value) for name, value in item.items())


def write_units(write: ItemWrite, indexes: Indexes, *, transactional: bool) -> float:
    """Return the units of writing one item, in its table and in its index."""
    sizes = (item_size(each) for each in (write.before, write.after, write.wanted))
    units = _blocks(max(sizes), _WRITE_BYTES) * (2 if transactional else 1)
    return units + _index_units(write, indexes)


def read_units(items: Iterable[Item | None], *, consistent: bool) -> float:
    """Return the units of reading items at once; to find nothing costs as much as a small item."""
    return _blocks(sum(map(item_size, items)), _READ_BYTES) * (1.0 if consistent else 0.5)


def _index_units(write: ItemWrite, indexes: Indexes) -> float:
    """Return one write for an entry that appears, goes or changes, two for one that moves."""
    if write.table not in indexes or write.before == write.after:
        return 0.0
    names = indexes[write.table]
    before, after = (_entry(item, names) for item in (write.before, write.after))
    if before is not None and after is not None:
        if all(before[name] == after[name] for name in names):
            return _blocks(max(item_size(before), item_size(after)), _WRITE_BYTES)
        return sum(_blocks(item_size(entry), _WRITE_BYTES) for entry in (before, after))
    entry = before or after
    return 0.0 if entry is None else _blocks(item_size(entry), _WRITE_BYTES)


def _entry(item: Item | None, names: tuple[str, str]) -> Item | None:
    """Return the item if the index holds it: one that lacks a key attribute is not in it."""
    return item if item is not None and all(name in item for name in names) else None


def _blocks(size: int, block: int) -> float:
    return float(max(1, ceil(size / block)))


def _value_size(value: Mapping[str, Any]) -> int:
    kind: str
    content: Any
    ((kind, content),) = value.items()
    match kind:
        case "S":
            return len(str(content).encode())
        case "N":
            digits = str(content).lstrip("-").replace(".", "").strip("0") or "0"
            return ceil(len(digits) / 2) + 1 + str(content).startswith("-")
        case "B":
            return len(content)
        case "BOOL" | "NULL":
            return 1
        case "SS":
            return sum(len(str(each).encode()) for each in content)
        case "M":
            nested = sum(len(name.encode()) + _value_size(each) for name, each in content.items())
            return _NESTING_BYTES + len(content) + nested
        case "L":
            return _NESTING_BYTES + len(content) + sum(map(_value_size, content))
    raise ValueError(f"no rule for the size of {kind}")
