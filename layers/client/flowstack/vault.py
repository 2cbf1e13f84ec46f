"""DataVault: JSON documents that outlive conversations, in collections, found by filters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

from flowstack.exceptions import NotFoundError
from flowstack.operations import Operation, present
from flowstack.transport import AsyncClient, Client

Item = dict[str, Any]
Filter = Mapping[str, Any]
Sort = Sequence[tuple[str, int]] | Mapping[str, int]

_PATH = "/datavault"
_LARGEST_PAGE = 1_000


class Vault:
    """The customer's documents. Nothing done here counts a session."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def store(
        self,
        collection: str,
        data: Mapping[str, Any],
        key: str | None = None,
        *,
        ttl_seconds: int | None = None,
        if_absent: bool = False,
    ) -> str:
        """Keep a document, in place of one of the same key; return its key.

        Parameters
        ----------
        key
            Its name in the collection; one is made up where it is not given.
        ttl_seconds
            After so many seconds it is gone; never, where it is not given.
        if_absent
            Keep it only if there is none of this key.

        Raises
        ------
        ConflictError
            There is one already, and ``if_absent`` was said.
        """
        return self._client.run(store(collection, data, key, ttl_seconds, if_absent=if_absent))

    @overload
    def retrieve(self, collection: str, key: str) -> Item | None: ...

    @overload
    def retrieve(
        self, collection: str, key: None = None, filter: Filter | None = None
    ) -> list[Item]: ...

    def retrieve(
        self,
        collection: str,
        key: str | None = None,
        filter: Filter | None = None,  # noqa: A002 - the word is the customers'
    ) -> Item | list[Item] | None:
        """Return the document of a key (``None`` if there is none), or all that pass a filter."""
        if key is None:
            return self.query(collection, filter)
        try:
            return self._client.run(retrieve(collection, key))
        except NotFoundError:
            return None

    def query(
        self,
        collection: str,
        filter: Filter | None = None,  # noqa: A002 - the word is the customers'
        sort: Sort | None = None,
        limit: int | None = None,
    ) -> list[Item]:
        """Return the documents that pass a filter.

        Parameters
        ----------
        filter
            Fields and what they must be, in MongoDB's way: ``{"age": {"$gte": 18}}``.
        sort
            Fields and directions, the most important first: ``[("age", -1)]``; -1 is descending.
        limit
            How many at most.
        """
        found = _Found(limit)
        while not found.complete:
            found.take(self._client.run(query(collection, filter, sort, found.missing, found.at)))
        return found.items

    def update(self, collection: str, key: str, updates: Mapping[str, Any]) -> bool:
        """Change some fields of a document; tell whether there is one of this key."""
        try:
            return self._client.run(update(collection, key, updates))
        except NotFoundError:
            return False

    def delete(self, collection: str, key: str) -> bool:
        """Delete a document; tell whether there was one of this key."""
        try:
            return self._client.run(delete(collection, key))
        except NotFoundError:
            return False

    def count(
        self,
        collection: str,
        filter: Filter | None = None,  # noqa: A002 - the word is the customers'
    ) -> int:
        """Return how many documents pass a filter."""
        total, cursor = self._client.run(count(collection, filter, None))
        while cursor is not None:
            more, cursor = self._client.run(count(collection, filter, cursor))
            total += more
        return total

    def list_collections(self) -> list[str]:
        """Return the names of all collections."""
        names, cursor = self._client.run(list_collections(None))
        while cursor is not None:
            more, cursor = self._client.run(list_collections(cursor))
            names += more
        return names

    def clear(self, collection: str) -> bool:
        """Delete all documents of a collection; tell whether that was done to the end."""
        done, cursor = self._client.run(clear(collection, None))
        while cursor is not None:
            done, cursor = self._client.run(clear(collection, cursor))
        return done


class AsyncVault:
    """`Vault` for coroutines."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def store(
        self,
        collection: str,
        data: Mapping[str, Any],
        key: str | None = None,
        *,
        ttl_seconds: int | None = None,
        if_absent: bool = False,
    ) -> str:
        """Keep a document, in place of one of the same key; return its key."""
        kept = store(collection, data, key, ttl_seconds, if_absent=if_absent)
        return await self._client.run(kept)

    @overload
    async def retrieve(self, collection: str, key: str) -> Item | None: ...

    @overload
    async def retrieve(
        self, collection: str, key: None = None, filter: Filter | None = None
    ) -> list[Item]: ...

    async def retrieve(
        self,
        collection: str,
        key: str | None = None,
        filter: Filter | None = None,  # noqa: A002 - the word is the customers'
    ) -> Item | list[Item] | None:
        """Return the document of a key (``None`` if there is none), or all that pass a filter."""
        if key is None:
            return await self.query(collection, filter)
        try:
            return await self._client.run(retrieve(collection, key))
        except NotFoundError:
            return None

    async def query(
        self,
        collection: str,
        filter: Filter | None = None,  # noqa: A002 - the word is the customers'
        sort: Sort | None = None,
        limit: int | None = None,
    ) -> list[Item]:
        """Return the documents that pass a filter, as `Vault.query` does."""
        found = _Found(limit)
        while not found.complete:
            page = query(collection, filter, sort, found.missing, found.at)
            found.take(await self._client.run(page))
        return found.items

    async def update(self, collection: str, key: str, updates: Mapping[str, Any]) -> bool:
        """Change some fields of a document; tell whether there is one of this key."""
        try:
            return await self._client.run(update(collection, key, updates))
        except NotFoundError:
            return False

    async def delete(self, collection: str, key: str) -> bool:
        """Delete a document; tell whether there was one of this key."""
        try:
            return await self._client.run(delete(collection, key))
        except NotFoundError:
            return False

    async def count(
        self,
        collection: str,
        filter: Filter | None = None,  # noqa: A002 - the word is the customers'
    ) -> int:
        """Return how many documents pass a filter."""
        total, cursor = await self._client.run(count(collection, filter, None))
        while cursor is not None:
            more, cursor = await self._client.run(count(collection, filter, cursor))
            total += more
        return total

    async def list_collections(self) -> list[str]:
        """Return the names of all collections."""
        names, cursor = await self._client.run(list_collections(None))
        while cursor is not None:
            more, cursor = await self._client.run(list_collections(cursor))
            names += more
        return names

    async def clear(self, collection: str) -> bool:
        """Delete all documents of a collection; tell whether that was done to the end."""
        done, cursor = await self._client.run(clear(collection, None))
        while cursor is not None:
            done, cursor = await self._client.run(clear(collection, cursor))
        return done


# --- what is asked ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Page:
    """Some of the documents found, and where the next ones begin."""

    items: list[Item]
    next_cursor: str | None


def store(
    collection: str,
    data: Mapping[str, Any],
    key: str | None,
    ttl_seconds: int | None,
    *,
    if_absent: bool,
) -> Operation[str]:
    """Return the operation that keeps a document."""
    body = present(
        operation="store",
        collection=collection,
        key=key,
        data=dict(data),
        ttl_seconds=ttl_seconds,
        if_absent=if_absent or None,
    )
    return Operation("POST", _PATH, lambda found: str(found["key"]), body=body)


def retrieve(collection: str, key: str) -> Operation[Item | None]:
    """Return the operation that reads one document."""
    asked = {"operation": "retrieve", "collection": collection, "key": key}
    return Operation("GET", _PATH, _first, query=asked)


def query(
    collection: str,
    filter: Filter | None,  # noqa: A002 - the word is the customers'
    sort: Sort | None,
    limit: int | None,
    cursor: str | None,
) -> Operation[Page]:
    """Return the operation that reads a page of the documents that pass a filter."""
    order = list(sort.items()) if isinstance(sort, Mapping) else sort
    asked = present(
        collection=collection,
        filter=filter or None,
        sort=order or None,
        limit=_LARGEST_PAGE if limit is None else min(limit, _LARGEST_PAGE),
        cursor=cursor,
    )
    return Operation("POST", f"{_PATH}/query", _page, body=asked)


def update(collection: str, key: str, updates: Mapping[str, Any]) -> Operation[bool]:
    """Return the operation that changes fields."""
    body = {"operation": "update", "collection": collection, "key": key, "updates": dict(updates)}
    return Operation("PUT", _PATH, _succeeded, body=body)


def delete(collection: str, key: str) -> Operation[bool]:
    """Return the operation that deletes a document."""
    body = {"operation": "delete", "collection": collection, "key": key}
    return Operation("DELETE", _PATH, _succeeded, body=body)


def count(
    collection: str,
    filter: Filter | None,  # noqa: A002 - the word is the customers'
    cursor: str | None,
) -> Operation[tuple[int, str | None]]:
    """Return the operation that counts documents, and says where it would go on."""
    asked = present(collection=collection, filter=filter or None, partial=True, cursor=cursor)
    return Operation(
        "POST",
        f"{_PATH}/count",
        lambda found: (int(found["count"]), found.get("next_cursor")),
        body=asked,
    )


def list_collections(cursor: str | None) -> Operation[tuple[list[str], str | None]]:
    """Return the operation that names the collections, and says where it would go on."""
    return Operation(
        "GET",
        f"{_PATH}/collections",
        lambda found: (list(found["names"]), found.get("next_cursor")),
        query=present(cursor=cursor),
    )


def clear(collection: str, cursor: str | None) -> Operation[tuple[bool, str | None]]:
    """Return the operation that deletes documents of a collection, as many as it can."""
    return Operation(
        "DELETE",
        _PATH,
        lambda found: (bool(found["success"]), found.get("next_cursor")),
        body=present(operation="clear", collection=collection, cursor=cursor),
    )


class _Found:
    """Documents gathered page by page."""

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self.items: list[Item] = []
        self.at: str | None = None
        self.complete = limit is not None and limit < 1

    @property
    def missing(self) -> int | None:
        """How many are still wanted; ``None`` for all."""
        return None if self._limit is None else self._limit - len(self.items)

    def take(self, page: Page) -> None:
        """Add a page."""
        self.items += page.items[: self.missing]
        self.at = page.next_cursor
        self.complete = self.at is None or self.missing == 0


def _page(document: Mapping[str, Any]) -> Page:
    return Page(list(document["data"]), document.get("next_cursor"))


def _first(document: Mapping[str, Any]) -> Item | None:
    return next(iter(document["data"]), None)


def _succeeded(document: Mapping[str, Any]) -> bool:
    return bool(document.get("success"))
