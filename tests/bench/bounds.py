"""Says what bounds the items that a DynamoDB request can meet, however much there is in the table.

A request that names items by their keys meets those. A query meets what stands in one partition, up
to its ``Limit``; without one, only partitions of which it is known why they stay small will do.
Whose a partition is must be seen from its name, but for those that are read with a ``Limit``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tests.bench.metering import key_of, parts_of

_NAMED = re.compile(
    r"""(?P<digest>KEY\#)[0-9a-f]{64}
    | (?P<session>SESSION\#)ses_\w+
    | (?P<kind>[A-Z_]+\#)?cus_\w+ (?P<more>\#.+)?""",
    re.VERBOSE,
)
_EQUALITY = re.compile(r"(?P<attribute>\w+) = (?P<value>:\w+)")

_SMALL = {
    ("SESSION#<session>", "pk = :pk AND sk > :since"): "the turns of one session",
    (
        "CUSTOMER#<customer>",
        "pk = :customer AND begins_with(sk, :subscription)",
    ): "the subscription and the customer's own limits",
    (
        "ROLLUPS#<customer>",
        "pk = :pk AND sk BETWEEN :first AND :last",
    ): "the days asked for",
    (
        "<customer>#…",
        "held_in = :held_in",
    ): "the sessions that wait for their first answer: the index has no others",
}
"""Queries that need no ``Limit``: partition, condition, and what keeps small what they find."""


class UnboundedRequestError(Exception):
    """A request may meet the more items, the more customers or conversations there are."""


@dataclass(frozen=True, slots=True, order=True)
class Bound:
    """Where a request looks, and what bounds the items that it meets there.

    Attributes
    ----------
    partition
        Its name, with a word for each id in it, and behind that of the index if it is one's.
    """

    operation: str
    partition: str
    by: str


def bounds_of(operation: str, asked: Mapping[str, Any]) -> Iterator[Bound]:
    """Yield what bounds a request, in each partition that it names.

    Raises
    ------
    UnboundedRequestError
        Nothing does.
    """
    match operation:
        case "Query":
            yield _bound_of_query(asked)
        case "BatchGetItem":
            for table in asked["RequestItems"].values():
                for key in table["Keys"]:
                    yield Bound(operation, _partition(key["pk"]["S"]), "keys, at most a hundred")
        case "GetItem":
            yield Bound(operation, _partition(asked["Key"]["pk"]["S"]), "its key")
        case "PutItem" | "UpdateItem" | "DeleteItem" | "TransactWriteItems":
            for part in parts_of(operation, asked):
                partition = _partition(key_of(part)["pk"]["S"])
                yield Bound(operation, partition, "its key")
        case _:
            raise UnboundedRequestError(f"{operation} names no partition")


def _bound_of_query(asked: Mapping[str, Any]) -> Bound:
    condition = asked["KeyConditionExpression"]
    found = _EQUALITY.match(condition)
    if found is None:
        raise UnboundedRequestError(f"a query by {condition} does not begin with its partition")
    name = asked["ExpressionAttributeValues"][found["value"]]["S"]
    place = f"{asked['IndexName']}: " if "IndexName" in asked else ""
    if "Limit" in asked:
        return Bound("Query", f"{place}{_word(name) or name}", f"its Limit, {asked['Limit']}")
    partition = _partition(name)
    small = _SMALL.get((partition, condition))
    if small is None:
        raise UnboundedRequestError(f"a query of {partition} by {condition} has no Limit")
    if partition.startswith("CUSTOMER#"):
        _check_prefix(asked)
    return Bound("Query", f"{place}{partition}", small)


def _check_prefix(asked: Mapping[str, Any]) -> None:
    """Hold a query to the items of which there are no more than two."""
    prefix = asked["ExpressionAttributeValues"][":subscription"]["S"]
    if not prefix.startswith("SUBSCRIPTION"):
        raise UnboundedRequestError(f"a query of what begins with {prefix} has no Limit")


def _partition(name: str) -> str:
    """Return a partition's name without ids.

    Raises
    ------
    UnboundedRequestError
        The name does not tell whose it is.
    """
    word = _word(name)
    if word is None:
        raise UnboundedRequestError(f"the partition {name} is nobody's")
    return word


def _word(name: str) -> str | None:
    named = _NAMED.fullmatch(name)
    if named is None:
        return None
    if named["digest"]:
        return "KEY#<sha256>"
    if named["session"]:
        return "SESSION#<session>"
    return f"{named['kind'] or ''}<customer>{'#…' if named['more'] else ''}"
