"""Reading lists that come in pages, as far as they are wanted."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Protocol, TypeVar

from flowstack.operations import Operation
from flowstack.transport import AsyncClient, Client

PAGE = 50
"""How many rows are asked for at once."""

Row_co = TypeVar("Row_co", covariant=True)


class Page(Protocol[Row_co]):
    """One page of a list."""

    @property
    def next_cursor(self) -> str | None:
        """Where the next page begins; ``None`` on the last one."""
        ...

    @property
    def rows(self) -> Sequence[Row_co]:
        """What is on it."""
        ...


PageOf = Callable[[int, str | None], Operation[Page[Row_co]]]
"""Returns the operation that reads the page of a size that begins at a cursor."""


def each(client: Client, page_of: PageOf[Row_co], limit: int | None) -> Iterator[Row_co]:
    """Yield the rows of all pages, or the first ``limit``; pages are read as needed."""
    cursor: str | None = None
    while limit is None or limit > 0:
        page = client.run(page_of(_size(limit), cursor))
        rows = page.rows[:limit]
        yield from rows
        limit = None if limit is None else limit - len(rows)
        cursor = page.next_cursor
        if cursor is None:
            return


async def each_async(
    client: AsyncClient, page_of: PageOf[Row_co], limit: int | None
) -> AsyncIterator[Row_co]:
    """Yield the rows of all pages, or the first ``limit``; pages are read as needed."""
    cursor: str | None = None
    while limit is None or limit > 0:
        page = await client.run(page_of(_size(limit), cursor))
        rows = page.rows[:limit]
        for row in rows:
            yield row
        limit = None if limit is None else limit - len(rows)
        cursor = page.next_cursor
        if cursor is None:
            return


def _size(limit: int | None) -> int:
    return PAGE if limit is None else min(limit, PAGE)
