"""The vault kept in memory: the port's semantics, written down as plainly as they can be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from threading import RLock

from flowstack_core.domain.vault import Collection, Document, Expected, Place, Receipt
from flowstack_core.services.ports.vault import (
    CountPage,
    DocumentPage,
    Refused,
    Repeated,
    WriteOutcome,
    Written,
)


@dataclass
class InMemoryVaultStore:
    """Documents and receipts, with pages as small as a test wants them."""

    page_size: int = 1_000
    documents: dict[Place, Document] = field(default_factory=dict)
    receipts: dict[tuple[str, str], Receipt] = field(default_factory=dict)
    lock: RLock = field(default_factory=RLock)

    def get(self, place: Place) -> Document | None:
        return self.documents.get(place)

    def receipt(self, customer_id: str, digest: str) -> Receipt | None:
        return self.receipts.get((customer_id, digest))

    def put(
        self, document: Document, expected: Expected, receipt: Receipt | None, now: datetime
    ) -> WriteOutcome:
        with self.lock:
            repeated = self._repeated(receipt, now)
            if repeated is not None:
                return repeated
            found = self.documents.get(document.place)
            present = found if found is not None and found.live(now) else None
            mine = found is not None and found.version == document.version
            if not mine and not expected.allows(present):
                return Refused(found)
            self.documents[document.place] = document
            self._remember(receipt)
            return Written()

    def delete(self, document: Document, receipt: Receipt | None, now: datetime) -> WriteOutcome:
        with self.lock:
            repeated = self._repeated(receipt, now)
            if repeated is not None:
                return repeated
            found = self.documents.get(document.place)
            if found is not None and found.version != document.version:
                return Refused(found)
            self.documents.pop(document.place, None)
            self._remember(receipt)
            return Written()

    def page(self, collection: Collection, after: str | None, limit: int | None) -> DocumentPage:
        found = self._behind(collection, after)
        size = min(self.page_size, limit or self.page_size)
        page = found[:size]
        # As DynamoDB: a full page does not know that it is the last.
        return DocumentPage(tuple(page), page[-1].place.key if len(page) == size else None)

    def count_page(self, collection: Collection, after: str | None, now: datetime) -> CountPage:
        page = self.page(collection, after, None)
        return CountPage(sum(each.live(now) for each in page.documents), page.next_after)

    def first_after(self, customer_id: str, collection: str | None) -> Document | None:
        mine = [
            each
            for place, each in self.documents.items()
            if place.collection.customer_id == customer_id
            and (collection is None or _order(place.collection.name) > _order(collection))
        ]
        return min(mine, key=lambda d: (_order(d.place.collection.name), d.place.key), default=None)

    def remove(self, places: Sequence[Place]) -> None:
        with self.lock:
            for place in places:
                self.documents.pop(place, None)

    def _behind(self, collection: Collection, after: str | None) -> list[Document]:
        found = [
            document
            for place, document in self.documents.items()
            if place.collection == collection and (after is None or place.key > after)
        ]
        return sorted(found, key=lambda document: document.place.key)

    def _repeated(self, receipt: Receipt | None, now: datetime) -> Repeated | None:
        if receipt is None:
            return None
        found = self.receipts.get((receipt.customer_id, receipt.digest))
        return None if found is None or found.expires_at <= now else Repeated(found)

    def _remember(self, receipt: Receipt | None) -> None:
        if receipt is not None:
            self.receipts[receipt.customer_id, receipt.digest] = receipt


def _order(collection: str) -> str:
    """Names sort with their end, and with two characters escaped, as keys do."""
    return collection.replace("%", "%25").replace("#", "%23") + "#"
