"""A customer's data, to be exported or erased."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from flowstack_core.domain.data_rights import Erasure, Export, ExportStep, Part, Position, Scope


@dataclass(frozen=True, slots=True)
class ItemPlace:
    """Where an item stands."""

    table: str
    pk: str
    sk: str


@dataclass(frozen=True, slots=True)
class Visit:
    """A stop of a walk over what is stored of a customer.

    Attributes
    ----------
    place
        Where the item is; ``None`` at the end of a partition, from where a walk can go on too.
    file
        The file of an archive that shows it, as ``row``; ``None`` where nothing of it is shown.
    kept
        Whether an erasure leaves it.
    size
        About how many bytes the item has.
    """

    kind: str
    position: Position
    place: ItemPlace | None = None
    file: str | None = None
    row: Mapping[str, Any] = field(default_factory=dict, repr=False)
    kept: bool = False
    size: int = 0


class CustomerData(Protocol):
    """Everything that is stored of customers, with the books of its exports and erasures."""

    def walk(self, scope: Scope, after: Position) -> Iterator[Visit]:
        """Yield everything that is stored of the customer, behind a position."""
        ...

    def erasure(self, customer_id: str) -> Erasure | None:
        """Return a customer's erasure, read consistently."""
        ...

    def begin_erasure(self, erasure: Erasure) -> bool:
        """Add an erasure; ``False`` if the customer has one."""
        ...

    def advance_erasure(self, before: Erasure, after: Erasure, places: Sequence[ItemPlace]) -> bool:
        """Delete items and move the erasure on, all or nothing; ``False`` if it has moved on.

        Raises
        ------
        StoreContentionError
            Also if one of the items is gone.
        """
        ...

    def export(self, customer_id: str, export_id: str) -> Export | None:
        """Return an export, read consistently."""
        ...

    def begin_export(self, export: Export) -> bool:
        """Add an export; ``False`` if there is one of that id."""
        ...

    def take_export_step(self, export: Export, until: datetime, now: datetime) -> bool:
        """Begin a step; ``False`` if it was done, or may be running."""
        ...

    def advance_export(self, before: Export, after: Export, step: ExportStep) -> bool:
        """Note what a step added and move the export on, all or nothing."""
        ...

    def export_steps(self, export: Export) -> Sequence[ExportStep]:
        """Return what the steps of an export added, in their order."""
        ...


class Archives(Protocol):
    """Where archives are put together, part by part, and fetched."""

    def begin(self, export: Export) -> str:
        """Begin an archive; return what the store calls it while it is written."""
        ...

    def put_part(self, export: Export, number: int, content: bytes) -> Part:
        """Store a part."""
        ...

    def put_tail(self, export: Export, step: int, content: bytes) -> None:
        """Keep what is too little to be a part."""
        ...

    def tail(self, export: Export, step: int) -> bytes:
        """Return what a step left behind."""
        ...

    def finish(self, export: Export, parts: Sequence[Part]) -> None:
        """Make the parts one archive; an archive that is there already stays."""
        ...

    def link(self, export: Export, lifetime: timedelta) -> str:
        """Return an address under which anybody can fetch the archive for a while."""
        ...

    def discard(self, customer_id: str) -> int:
        """Delete all that is there of a customer; return how many objects that were."""
        ...


class DataRightsQueue(Protocol):
    """How the steps of exports and erasures are handed on. All may be delivered twice."""

    def send_export(self, customer_id: str, export_id: str, step: int) -> None:
        """Ask for a step of an export."""
        ...

    def send_erasure(self, customer_id: str, step: int, delay: timedelta) -> None:
        """Ask for a step of an erasure, ``delay`` from now or as late as the queue can."""
        ...
