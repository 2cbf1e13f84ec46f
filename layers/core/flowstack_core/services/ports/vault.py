"""Documents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from flowstack_core.domain.vault import Collection, Document, Expected, Place, Receipt


@dataclass(frozen=True, slots=True)
class Written:
    """The write took effect, now or when it was tried before."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The document is not as the write expects; nothing was changed."""

    found: Document | None


@dataclass(frozen=True, slots=True)
class Repeated:
    """A write with this idempotency key took effect before; nothing was changed."""

    receipt: Receipt


WriteOutcome = Written | Refused | Repeated


@dataclass(frozen=True, slots=True)
class DocumentPage:
    """Some documents of a collection in the order of their keys, expired ones included.

    Attributes
    ----------
    next_after
        The key after which the next page begins; ``None`` after the last.
    """

    documents: tuple[Document, ...]
    next_after: str | None


@dataclass(frozen=True, slots=True)
class CountPage:
    """How many documents of a part of a collection have not expired."""

    count: int
    next_after: str | None


class VaultStore(Protocol):
    """The customers' documents. Reads are consistent."""

    def get(self, place: Place) -> Document | None:
        """Return the document, whether it has expired or not."""
        ...

    def put(
        self, document: Document, expected: Expected, receipt: Receipt | None, now: datetime
    ) -> WriteOutcome:
        """Store the document if what is there is as expected; expired is absent.

        A receipt is written in the same write, or neither.
        """
        ...

    def delete(self, document: Document, receipt: Receipt | None, now: datetime) -> WriteOutcome:
        """Delete the document if it has this version still; one that is gone is deleted."""
        ...

    def receipt(self, customer_id: str, digest: str) -> Receipt | None:
        """Return what was written under an idempotency key, whether it has expired or not."""
        ...

    def page(self, collection: Collection, after: str | None, limit: int | None) -> DocumentPage:
        """Return the documents after a key: at most ``limit``, and at most 1 MB."""
        ...

    def count_page(self, collection: Collection, after: str | None, now: datetime) -> CountPage:
        """Count the documents after a key that have not expired, in at most 1 MB."""
        ...

    def first_after(self, customer_id: str, collection: str | None) -> Document | None:
        """Return the first document of the first collection whose name follows a name."""
        ...

    def remove(self, places: Sequence[Place]) -> None:
        """Delete documents, whatever they are."""
        ...


class VaultIds(Protocol):
    """Where the vault's ids come from."""

    def document_key(self, now: datetime) -> str:
        """Make the key of a document; keys sort by ``now``."""
        ...

    def version(self) -> str:
        """Make a version that no document ever had."""
        ...
