"""MiniStack that can copy items within its memory; the emulator's own Python runs this file.

Written by ``BatchWriteItem``, a million customers would need some 37 GB in it: each value is an
object of its own there, and here what copies have in common is one. Copies go into the tables by
the function that MiniStack stores items with, so nothing about them is special to whoever reads or
writes them.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from resource import RUSAGE_SELF, getrusage
from typing import Any

ACTION = "CopyItems"
"""What to ask for, where DynamoDB has the names of its operations."""

NUMBER_LENGTH = 9
"""How many characters of a name its copies' number takes the place of."""

Item = dict[str, Any]


class UnnamedCopyError(Exception):
    """An item has a name where copies cannot be given another one."""


def name_of_copy(name: str, number: int) -> str:
    """Return the name that stands in a copy for ``name``; it is as long."""
    return f"{name[:-NUMBER_LENGTH]}{number:0{NUMBER_LENGTH}d}"


def copies(items: Iterable[Item], names: Sequence[str], numbers: Iterable[int]) -> Iterator[Item]:
    """Yield copies of the items for each number, with other names than theirs.

    Raises
    ------
    UnnamedCopyError
        A name is in something else than a text of an item's own.
    """
    originals = [(item, _named(item, names)) for item in items]
    templates = {text: _template(text, names) for _, named in originals for text in named.values()}
    for number in numbers:
        renamed = [name_of_copy(name, number) for name in names]
        # One object for each text, however many items have it.
        values = {text: {"S": each.format(*renamed)} for text, each in templates.items()}
        for item, named in originals:
            yield {**item, **{attribute: values[text] for attribute, text in named.items()}}


def _named(item: Item, names: Sequence[str]) -> dict[str, str]:
    """Return the attributes that have a name in them, and their texts."""
    found = {}
    for attribute, value in item.items():
        if any(name in json.dumps(value) for name in names):
            if "S" not in value:
                raise UnnamedCopyError(attribute)
            found[attribute] = value["S"]
        elif any(name in attribute for name in names):
            raise UnnamedCopyError(attribute)
    return found


def _template(text: str, names: Sequence[str]) -> str:
    template = text.replace("{", "{{").replace("}", "}}")
    for position, name in enumerate(names):
        template = template.replace(name, f"{{{position}}}")
    return template


def copy_items(dynamodb: Any, asked: Mapping[str, Any]) -> int:
    """Put copies of items into tables of the emulator; return how many there are."""
    count = 0
    numbers = range(*asked["numbers"])
    # All of it stays: there is nothing for the collector to find, now or later.
    gc.disable()
    for table_name, items in asked["items"].items():
        table = dynamodb._tables[table_name]
        for item in copies(items, asked["names"], numbers):
            dynamodb._set_item(table, item["pk"]["S"], item["sk"]["S"], item)
            count += 1
    gc.freeze()
    gc.enable()
    return count


def main() -> None:
    """Serve as ``ministack`` does, with one action more."""
    dynamodb: Any = import_module("ministack.services.dynamodb")
    serve = dynamodb.handle_request

    async def handle(
        method: str, path: str, headers: dict[str, str], body: bytes, query: dict[str, Any]
    ) -> Any:
        if headers.get("x-amz-target", "").endswith(f".{ACTION}"):
            copied = copy_items(dynamodb, json.loads(body))
            told = {"copied": copied, "memory_mb": getrusage(RUSAGE_SELF).ru_maxrss / 1024}
            return 200, {"Content-Type": "application/json"}, json.dumps(told).encode()
        return await serve(method, path, headers, body, query)

    dynamodb.handle_request = handle
    import_module("ministack.app").main()


if __name__ == "__main__":
    main()
