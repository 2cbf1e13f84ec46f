"""How values stand in DynamoDB, and which of its failures are worth another try."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from math import ceil
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from flowstack_core.adapters.contention import contention_by
from flowstack_core.services.ports.failures import StoreContentionError

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

Item = Mapping[str, Any]
"""An item, or a part of one, in DynamoDB's own notation: ``{"name": {"S": "…"}}``."""

_INSTANT = "%Y-%m-%dT%H:%M:%S.%fZ"

_BATCH_GET = 100

_CONTENTION_CODES = frozenset(
    {
        "InternalServerError",
        "LimitExceededException",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "ServiceUnavailable",
        "ThrottlingException",
        "TransactionConflictException",
        "TransactionInProgressException",
    }
)
"""DynamoDB Developer Guide, "Error handling": those marked as to be retried."""


_FAILED = "ConditionalCheckFailed"

_CONTENTION_REASONS = frozenset(
    {"TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"}
)


def encode_instant(moment: datetime) -> str:
    """Write an instant in UTC with microseconds; the texts sort as the instants do."""
    return moment.astimezone(UTC).strftime(_INSTANT)


def decode_instant(text: str) -> datetime:
    """Read what `encode_instant` wrote."""
    return datetime.strptime(text, _INSTANT).replace(tzinfo=UTC)


def string(value: str) -> dict[str, str]:
    """Write a text."""
    return {"S": value}


def number(value: int) -> dict[str, str]:
    """Write an integer."""
    return {"N": str(value)}


def flag(value: bool) -> dict[str, bool]:  # noqa: FBT001 - it is the value
    """Write a truth value."""
    return {"BOOL": value}


def instant_value(moment: datetime) -> dict[str, str]:
    """Write an instant as an attribute."""
    return string(encode_instant(moment))


def epoch_value(moment: datetime) -> dict[str, str]:
    """Write an instant as time to live wants it: whole seconds since 1970, never too early."""
    return number(ceil(moment.timestamp()))


def document_value(document: Any) -> dict[str, bytes]:
    """Write anything JSON can hold, compressed: half the size is half the write units."""
    return {"B": zlib.compress(json.dumps(document, separators=(",", ":")).encode())}


def read_document(value: Mapping[str, Any]) -> Any:
    """Read what `document_value` wrote."""
    return json.loads(zlib.decompress(value["B"]))


def read_instant(item: Item, name: str) -> datetime:
    """Read an instant that must be there."""
    return decode_instant(item[name]["S"])


def read_optional_instant(item: Item, name: str) -> datetime | None:
    """Read an instant, or ``None`` where there is none."""
    return decode_instant(item[name]["S"]) if name in item else None


def read_integer(item: Item, name: str) -> int:
    """Read an integer that must be there."""
    return int(item[name]["N"])


def read_count(item: Item, name: str) -> int:
    """Read a sum, which is not there before something was added to it."""
    return read_integer(item, name) if name in item else 0


def escaped(name: str) -> str:
    """Return a customer's name fit to be a part of a key: different names stay different."""
    return name.replace("%", "%25").replace("#", "%23")


def unescaped(part: str) -> str:
    """Return the name that `escaped` made a part of a key from."""
    return part.replace("%23", "#").replace("%25", "%")


def contention() -> AbstractContextManager[None]:
    """Turn the failures that repeating may mend into `StoreContentionError`."""
    return contention_by(_CONTENTION_CODES)


def failed_condition(error: ClientError) -> Item | None:
    """Return the item on which a write's condition failed; an empty one if there was none.

    ``None`` means that the error is something else.
    """
    if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
        return None
    found: Item = error.response.get("Item", {})  # type: ignore[assignment]
    return found


def cancellation(error: ClientError, *, proof: int | None = None) -> Sequence[Item | None]:
    """Return, for each part of a cancelled transaction, the item on which its condition failed.

    ``None`` stands for a part whose condition held.

    Parameters
    ----------
    proof
        The part, if there is one, whose failed condition says by itself what came of the
        transaction, whatever the others met.

    Raises
    ------
    StoreContentionError
        If a part met a conflict or a throttle. A condition that failed beside it may have seen an
        earlier try of the same transaction half way, so it decides nothing.
    ClientError
        The error itself, if it is not about a cancelled transaction, or if a part is wrong.
    """
    if error.response["Error"]["Code"] != "TransactionCanceledException":
        raise error
    reasons: list[dict[str, Any]] = error.response.get("CancellationReasons", [])  # type: ignore[assignment]
    codes = [reason.get("Code", "None") for reason in reasons]
    met = set(codes) - {"None"}
    if not met <= {_FAILED, *_CONTENTION_REASONS}:
        raise error
    proven = bool(codes) and proof is not None and codes[proof] == _FAILED
    if met != {_FAILED} and not proven:
        raise StoreContentionError("TransactionConflict") from error
    return [
        reason.get("Item", {}) if code == _FAILED else None
        for code, reason in zip(codes, reasons, strict=True)
    ]


def transact(
    client: DynamoDBClient, *parts: dict[str, Any], proof: int | None = None
) -> Sequence[Item | None] | None:
    """Write all parts or none; return what the failed conditions found, ``None`` if written.

    ``proof`` is that of `cancellation`.

    Raises
    ------
    StoreContentionError
        If repeating the transaction may help.
    """
    try:
        with contention():
            client.transact_write_items(TransactItems=list(parts))  # type: ignore[arg-type]
    except ClientError as error:
        return cancellation(error, proof=proof)
    return None


def batch_get(client: DynamoDBClient, table: str, keys: Sequence[dict[str, Any]]) -> Iterator[Item]:
    """Yield the items of the keys that exist, read consistently, a hundred in a request.

    Raises
    ------
    StoreContentionError
        If DynamoDB left some of the keys for later.
    """
    for first in range(0, len(keys), _BATCH_GET):
        batch = {"Keys": list(keys[first : first + _BATCH_GET]), "ConsistentRead": True}
        with contention():
            answer = client.batch_get_item(RequestItems={table: batch})  # type: ignore[dict-item]
        if answer["UnprocessedKeys"]:
            raise StoreContentionError("UnprocessedKeys")
        yield from answer["Responses"][table]


def put_once(table: str, item: Mapping[str, Any]) -> dict[str, Any]:
    """Write an item that must not exist yet."""
    return {
        "Put": {
            "TableName": table,
            "Item": dict(item),
            "ConditionExpression": "attribute_not_exists(pk)",
        }
    }


def query(client: DynamoDBClient, **request: Any) -> Iterator[Item]:
    """Yield what a query finds, page by page."""
    while True:
        with contention():
            page = client.query(**request)
        yield from page["Items"]
        if "LastEvaluatedKey" not in page:
            return
        request["ExclusiveStartKey"] = page["LastEvaluatedKey"]
