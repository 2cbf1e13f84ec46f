"""Exports and erasures over items, archives and messages kept in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from hashlib import md5
from typing import Any

from flowstack_core.adapters.dynamodb_codec import Item
from flowstack_core.adapters.dynamodb_customer_data import Walk
from flowstack_core.domain.data_rights import Erasure, Export, ExportStep, Part, Position, Scope
from flowstack_core.services.ports.data_rights import ItemPlace, Visit
from flowstack_core.services.ports.failures import StoreContentionError


class InMemoryCustomerData:
    """What is stored of customers, as items, with the books of exports and erasures."""

    def __init__(self) -> None:
        self.items: dict[ItemPlace, Item] = {}
        self.erasures: dict[str, Erasure] = {}
        self.exports: dict[tuple[str, str], Export] = {}
        self.steps: dict[tuple[str, str, int], ExportStep] = {}

    def put(self, table: str, pk: str, sk: str, **attributes: Any) -> ItemPlace:
        """Store an item."""
        place = ItemPlace(table, pk, sk)
        self.items[place] = {"pk": {"S": pk}, "sk": {"S": sk}, **attributes}
        return place

    def walk(self, scope: Scope, after: Position) -> Iterator[Visit]:
        """Yield everything behind a position."""
        return Walk(scope, self._read).visits(after)

    def _read(self, table: str, pk: str, first: str, last: str) -> Iterator[Item]:
        found = sorted(
            (place.sk, item)
            for place, item in self.items.items()
            if (place.table, place.pk) == (table, pk) and first <= place.sk <= last
        )
        return iter([item for _, item in found])

    def erasure(self, customer_id: str) -> Erasure | None:
        """Return a customer's erasure."""
        return self.erasures.get(customer_id)

    def begin_erasure(self, erasure: Erasure) -> bool:
        """Add an erasure, once."""
        if erasure.scope.customer_id in self.erasures:
            return False
        self.erasures[erasure.scope.customer_id] = erasure
        return True

    def advance_erasure(self, before: Erasure, after: Erasure, places: Sequence[ItemPlace]) -> bool:
        """Delete items and move the erasure on, all or nothing."""
        if self.erasures[before.scope.customer_id].step != before.step:
            return False
        if any(place not in self.items for place in places):
            raise StoreContentionError("an item expired meanwhile")
        for place in places:
            del self.items[place]
        self.erasures[before.scope.customer_id] = after
        return True

    def export(self, customer_id: str, export_id: str) -> Export | None:
        """Return an export."""
        return self.exports.get((customer_id, export_id))

    def begin_export(self, export: Export) -> bool:
        """Add an export, once."""
        if _place(export) in self.exports:
            return False
        self.exports[_place(export)] = export
        return True

    def take_export_step(self, export: Export, until: datetime, now: datetime) -> bool:
        """Begin a step that nobody has done and nobody can be doing."""
        found = self.exports[_place(export)]
        running = found.run_until is not None and found.run_until > now
        if found.step != export.step or running:
            return False
        self.exports[_place(export)] = replace(found, run_until=until)
        return True

    def advance_export(self, before: Export, after: Export, step: ExportStep) -> bool:
        """Note what a step added and move the export on."""
        found = self.exports.get(_place(before))
        if found is None or found.step != before.step:
            return False
        self.steps[*_place(before), step.number] = step
        self.exports[_place(before)] = after
        return True

    def export_steps(self, export: Export) -> Sequence[ExportStep]:
        """Return what the steps added, in their order."""
        found = {key: step for key, step in self.steps.items() if key[:2] == _place(export)}
        return [found[key] for key in sorted(found)]


def _place(export: Export) -> tuple[str, str]:
    return export.scope.customer_id, export.export_id


@dataclass
class InMemoryArchives:
    """Archives and their parts; a part can be replaced until its archive is finished."""

    smallest_part: int = 0
    parts: dict[tuple[str, int], bytes] = field(default_factory=dict)
    tails: dict[tuple[str, str, int], bytes] = field(default_factory=dict)
    finished: dict[tuple[str, str], bytes] = field(default_factory=dict)
    uploads: int = 0

    def begin(self, export: Export) -> str:
        """Begin an archive."""
        self.uploads += 1
        return f"upload {self.uploads}"

    def put_part(self, export: Export, number: int, content: bytes) -> Part:
        """Store a part."""
        assert _place(export) not in self.finished, "there is no such upload any more"
        self.parts[export.upload_id, number] = content
        return Part(number, md5(content).hexdigest())

    def put_tail(self, export: Export, step: int, content: bytes) -> None:
        """Keep what is too little to be a part."""
        self.tails[*_place(export), step] = content

    def tail(self, export: Export, step: int) -> bytes:
        """Return what a step left behind."""
        return self.tails[*_place(export), step]

    def finish(self, export: Export, parts: Sequence[Part]) -> None:
        """Make the parts one archive, if they are what they are said to be."""
        contents = [self.parts[export.upload_id, part.number] for part in parts]
        for part, content in zip(parts, contents, strict=True):
            assert md5(content).hexdigest() == part.etag
        assert all(len(content) >= self.smallest_part for content in contents[:-1])
        assert [part.number for part in parts] == sorted({part.number for part in parts})
        self.finished[_place(export)] = b"".join(contents)

    def link(self, export: Export, lifetime: timedelta) -> str:
        """Return an address."""
        return f"https://archives.example/{export.export_id}?for={lifetime}"

    def discard(self, customer_id: str) -> int:
        """Delete all that is there of a customer."""
        mine = [key for key in self.finished if key[0] == customer_id]
        left = [key for key in self.tails if key[0] == customer_id]
        for key in mine:
            del self.finished[key]
        for tail in left:
            del self.tails[tail]
        return len(mine) + len(left)


@dataclass
class InMemoryDataRightsQueue:
    """Messages that wait; ``None`` for the export's id where an erasure is meant."""

    messages: list[tuple[str, str | None, int]] = field(default_factory=list)
    delays: list[timedelta] = field(default_factory=list)

    def send_export(self, customer_id: str, export_id: str, step: int) -> None:
        """Ask for a step of an export."""
        self.messages.append((customer_id, export_id, step))

    def send_erasure(self, customer_id: str, step: int, delay: timedelta) -> None:
        """Ask for a step of an erasure."""
        self.messages.append((customer_id, None, step))
        self.delays.append(delay)
