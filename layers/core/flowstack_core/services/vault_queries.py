"""The vault: finding, counting and listing the documents of one customer.

A request reads what fits its time and `MAX_PAGES`, and says where to go on. Nothing is left out in
silence: what must be whole and cannot be is refused.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from flowstack_core.domain.errors import QueryTooLargeError, SortTooLargeError
from flowstack_core.domain.vault import (
    MAX_PAGE,
    MAX_PAGE_BYTES,
    Collection,
    Document,
    as_json,
    collection_of,
    place_of,
)
from flowstack_core.domain.vault_cursors import (
    InvalidCursorError,
    collection_to_follow,
    key_to_follow,
    read_cursor,
    read_order_key,
    write_cursor,
)
from flowstack_core.domain.vault_filters import Condition, PatternCompiler, read_filter
from flowstack_core.domain.vault_sorting import Sort, SortKey, read_sort
from flowstack_core.domain.vault_values import OrderKey
from flowstack_core.services.ports.surroundings import TimeBudget
from flowstack_core.services.vault import OutOfTimeError, Reading, VaultAccess, document_facts

_FACTS_BYTES = 3_200
"""More than what an answer says about a document: a key of 500 bytes may be 3,000 in ASCII."""


@dataclass(frozen=True, slots=True)
class Query:
    """Which documents, in which order, and how many.

    Attributes
    ----------
    limit
        How many at most. With neither ``limit`` nor ``cursor`` the answer must be whole.
    """

    collection: str
    filter: dict[str, Any] = field(default_factory=dict)
    sort: Any = None
    limit: int | None = None
    cursor: str | None = None

    @property
    def whole(self) -> bool:
        """Whether all must be found."""
        return self.limit is None and self.cursor is None


_Match = tuple[Document, dict[str, Any]]
"""A document that was found, and what is in it."""


@dataclass(frozen=True, slots=True)
class _Sorted:
    """A document at its place in the order. It is kept compressed."""

    place: SortKey
    keys: tuple[OrderKey, ...]
    document: Document
    size: int


@dataclass(slots=True)
class _Search:
    """One request's way through a collection, in the order of keys.

    Attributes
    ----------
    after
        The key behind which there is more to read; ``None`` at the very beginning.
    ended
        Whether everything was read.
    """

    access: VaultAccess
    collection: Collection
    condition: Condition
    reading: Reading
    now: datetime
    after: str | None
    ended: bool = False

    def matches(self, page_size: int | None) -> Iterator[_Match]:
        """Yield what is found until reading must stop, or the caller does."""
        while self.reading.may_go_on:
            page = self.access.retry(
                lambda: self.access.store.page(self.collection, self.after, page_size),
                self.reading.budget,
            )
            self.reading.pages += 1
            try:
                yield from self._matches_in(page.documents)
            except OutOfTimeError:
                return
            self.after = page.next_after
            if page.next_after is None:
                self.ended = True
                return

    def _matches_in(self, documents: tuple[Document, ...]) -> Iterator[_Match]:
        for document in documents:
            self.reading.checkpoint()
            if document.live(self.now):
                data = document.data
                if self.condition.holds(data, self.reading.checkpoint):
                    yield document, data
            self.after = document.place.key


class VaultQueries:
    """Everything that reads a vault."""

    def __init__(self, access: VaultAccess, compile_pattern: PatternCompiler) -> None:
        self._access = access
        self._store = access.store
        self._compile_pattern = compile_pattern

    def retrieve(
        self, customer_id: str, collection: str, key: str, budget: TimeBudget
    ) -> dict[str, Any]:
        """Get the document with a key; where there is none, nothing."""
        place = place_of(collection_of(customer_id, collection), key)
        now = self._access.clock(customer_id, budget).now()
        found = self._access.retry(lambda: self._store.get(place), budget)
        if found is None or not found.live(now):
            return _found([], None)
        return _found([(found, found.data)], None)

    def find(self, customer_id: str, query: Query, budget: TimeBudget) -> dict[str, Any]:
        """Find documents.

        Raises
        ------
        QueryTooLargeError
            If the answer must be whole and is too large.
        SortTooLargeError
            If the collection is too large to be sorted.
        """
        sort = None if query.sort is None else read_sort(query.sort)
        if sort is not None:
            return self._find_sorted(customer_id, query, sort, budget)
        request = _request("find", query)
        search = self._search(customer_id, query, _start(customer_id, query, request), budget)
        begun_after = search.after
        found: list[_Match] = []
        room, limit = MAX_PAGE_BYTES, _limit(query)
        # Where everything is found, no more is read than will be answered.
        for document, data in search.matches(None if query.filter else limit):
            room -= _size(data)
            if room < 0:
                break
            found.append((document, data))
            if len(found) == limit:
                search.after = document.place.key
                break
        if search.ended:
            return _found(found, None)
        if query.whole:
            raise _too_large("The answer does not fit one request.")
        if search.after is None or search.after == begun_after:
            raise _too_large("One document took all the time of the request.")
        return _found(found, write_cursor(request, [search.after]))

    def _find_sorted(
        self, customer_id: str, query: Query, sort: Sort, budget: TimeBudget
    ) -> dict[str, Any]:
        request = _request("find", query)
        start = None if query.cursor is None else _sorted_start(request, query.cursor, sort)
        search = self._search(customer_id, query, None, budget)
        best: list[_Sorted] = []
        size, cut, limit = 0, False, _limit(query)
        for document, data in search.matches(None):
            keys = sort.keys(data)
            place = sort.place(keys, document.place.key)
            if start is not None and place <= start:
                continue
            entry = _Sorted(place, keys, document, _size(data))
            bisect.insort(best, entry, key=lambda each: each.place)
            size += entry.size
            while size > MAX_PAGE_BYTES or (limit is not None and len(best) > limit):
                size -= best.pop().size
                cut = True
        if not search.ended:
            raise SortTooLargeError(
                "The collection is too large to be sorted within one request.",
                details={"hint": "Query without sort, page by page, and sort what you get."},
            )
        if cut and query.whole:
            raise _too_large("The answer does not fit one request.")
        cursor = None
        if cut:
            last = best[-1]
            cursor = write_cursor(request, [list(last.keys), last.document.place.key])
        return _found([(each.document, each.document.data) for each in best], cursor)

    def count(
        self, customer_id: str, query: Query, budget: TimeBudget, *, partial: bool
    ) -> dict[str, Any]:
        """Count documents by reading them; expired ones do not count.

        Parameters
        ----------
        partial
            Whether the count so far will do where reading takes more than one request.

        Raises
        ------
        QueryTooLargeError
            If it will not do.
        """
        request = _request("count", query)
        search = self._search(customer_id, query, _start(customer_id, query, request), budget)
        begun_after = search.after
        count = sum(1 for _ in search.matches(None)) if query.filter else self._count_all(search)
        if search.ended:
            return {"count": count, "next_cursor": None}
        if not partial and query.cursor is None:
            raise _too_large("Counting takes more than one request.", hint='Send "partial": true.')
        if search.after is None or search.after == begun_after:
            raise _too_large("One document took all the time of the request.")
        return {"count": count, "next_cursor": write_cursor(request, [search.after])}

    def _count_all(self, search: _Search) -> int:
        """Count without getting the documents themselves."""
        count = 0
        while search.reading.may_go_on:
            page = self._access.retry(
                lambda: self._store.count_page(search.collection, search.after, search.now),
                search.reading.budget,
            )
            search.reading.pages += 1
            count += page.count
            search.after = page.next_after
            if page.next_after is None:
                search.ended = True
                break
        return count

    def collections(
        self, customer_id: str, limit: int | None, cursor: str | None, budget: TimeBudget
    ) -> dict[str, Any]:
        """List the collections that hold a document now, skipping from one to the next.

        Raises
        ------
        QueryTooLargeError
            If all are wanted at once, and that takes too long.
        """
        request = ["collections"]
        after = None if cursor is None else _collection_start(customer_id, request, cursor)
        now = self._access.clock(customer_id, budget).now()
        names: list[str] = []
        reading = Reading(budget)
        while reading.in_time and len(names) != limit:
            first = self._access.retry(
                lambda: self._store.first_after(customer_id, after),  # noqa: B023 - runs at once
                budget,
            )
            if first is None:
                return _collections(names, None)
            after = first.place.collection.name
            if first.live(now) or self._any_live(first.place.collection, reading, now):
                names.append(after)
        if limit is None and cursor is None:
            raise _too_large("There are too many collections for one answer.")
        if after is None:
            raise _too_large("There was no time to look at a collection.")
        return _collections(names, write_cursor(request, [after]))

    def _any_live(self, collection: Collection, reading: Reading, now: datetime) -> bool:
        after: str | None = None
        while reading.may_go_on:
            page = self._access.retry(
                lambda: self._store.count_page(collection, after, now),  # noqa: B023 - runs at once
                reading.budget,
            )
            reading.pages += 1
            after = page.next_after
            if page.count or after is None:
                return page.count > 0
        raise _too_large(f"The collection {collection.name} has too many expired documents.")

    def _search(
        self, customer_id: str, query: Query, after: str | None, budget: TimeBudget
    ) -> _Search:
        return _Search(
            access=self._access,
            collection=collection_of(customer_id, query.collection),
            condition=read_filter(query.filter, self._compile_pattern),
            reading=Reading(budget),
            now=self._access.clock(customer_id, budget).now(),
            after=after,
        )


def _request(operation: str, query: Query) -> list[Any]:
    """Return what a cursor belongs to."""
    return [operation, query.collection, query.filter, query.sort]


def _start(customer_id: str, query: Query, request: list[Any]) -> str | None:
    if query.cursor is None:
        return None
    collection = collection_of(customer_id, query.collection)
    return key_to_follow(collection, _name_in(request, query.cursor))


def _collection_start(customer_id: str, request: list[Any], cursor: str) -> str:
    return collection_to_follow(customer_id, _name_in(request, cursor))


def _name_in(request: list[Any], cursor: str) -> str:
    match read_cursor(request, cursor):
        case [str() as name]:
            return name
    raise InvalidCursorError


def _sorted_start(request: list[Any], cursor: str, sort: Sort) -> SortKey:
    match read_cursor(request, cursor):
        case [list() as keys, str() as key] if len(keys) == len(sort.fields):
            return sort.place([read_order_key(each) for each in keys], key)
    raise InvalidCursorError


def _size(data: dict[str, Any]) -> int:
    return len(as_json(data)) + _FACTS_BYTES


def _limit(query: Query) -> int | None:
    return query.limit if query.whole or query.limit is not None else MAX_PAGE


def _too_large(
    sentence: str, hint: str = "Send a limit, and follow next_cursor."
) -> QueryTooLargeError:
    return QueryTooLargeError(sentence, details={"hint": hint})


# --- documents -----------------------------------------------------------------------------


def _found(found: list[tuple[Document, dict[str, Any]]], next_cursor: str | None) -> dict[str, Any]:
    return {
        "data": [data for _, data in found],
        "meta": [document_facts(document) for document, _ in found],
        "next_cursor": next_cursor,
    }


def _collections(names: list[str], next_cursor: str | None) -> dict[str, Any]:
    return {
        "names": names,
        # Clients of the published package take a prefix off.
        "collections": [f"vault_{name}" for name in names],
        "next_cursor": next_cursor,
    }
