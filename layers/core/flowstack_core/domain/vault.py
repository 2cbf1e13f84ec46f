"""The vault: documents that customers keep in collections."""

from __future__ import annotations

import hashlib
import json
import math
import unicodedata
import zlib
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from flowstack_core.domain.errors import InvalidRequestError, PayloadTooLargeError
from flowstack_core.domain.identifiers import checked_name

MAX_KEY_BYTES = 500
"""With the collection's name, escaped, it must fit the 1,024 bytes of a sort key."""

MAX_DOCUMENT_BYTES = 1_000_000
"""As JSON in ASCII. A page always has room for one document."""

MAX_STORED_BYTES = 400_000
"""Compressed. DynamoDB's items have at most 409,600 bytes, keys and names included."""

MAX_PAGE = 1_000
MAX_PAGE_BYTES = 5_000_000
"""As JSON in ASCII. A Lambda function answers with at most 6 MB."""

MAX_TTL = timedelta(days=3_653)
RECEIPT_RETENTION = timedelta(hours=24)
"""How long the answer to a write with an ``Idempotency-Key`` is remembered."""


@dataclass(frozen=True, slots=True)
class Collection:
    """A customer's collection. The customer is part of every name there is."""

    customer_id: str
    name: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where a document is."""

    collection: Collection
    key: str


@dataclass(frozen=True, slots=True)
class Document:
    """A document as it is stored.

    Attributes
    ----------
    body
        Compressed JSON, as `pack` makes it.
    version
        Changes with every write and never comes back.
    """

    place: Place
    body: bytes = field(repr=False)
    version: str
    updated_at: datetime
    expires_at: datetime | None = None

    def live(self, now: datetime) -> bool:
        """Whether it has not expired. DynamoDB may still return one that has, for days."""
        return self.expires_at is None or self.expires_at > now

    @property
    def data(self) -> dict[str, Any]:
        """What the customer stored."""
        unpacked: dict[str, Any] = json.loads(zlib.decompress(self.body))
        return unpacked


@dataclass(frozen=True, slots=True)
class Receipt:
    """What was answered to a write with an idempotency key; written together with its effect.

    Attributes
    ----------
    digest
        SHA-256 of the key.
    fingerprint
        SHA-256 of the request.
    """

    customer_id: str
    digest: str
    fingerprint: str
    answer: dict[str, Any]
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Expected:
    """What must be true of the document for a write to take place; by default nothing.

    Attributes
    ----------
    version
        It has this version.
    absent
        There is none.
    """

    version: str | None = None
    absent: bool = False

    def allows(self, found: Document | None) -> bool:
        """Whether a document, which has not expired, is as it must be."""
        if self.absent:
            return found is None
        return self.version is None or (found is not None and found.version == self.version)


ANYTHING = Expected()


def collection_of(customer_id: str, name: str) -> Collection:
    """Return the customer's collection with this name, in Unicode normal form C.

    Raises
    ------
    InvalidRequestError
        If it cannot be one.
    """
    try:
        return Collection(customer_id, checked_name(name))
    except ValueError as error:
        raise InvalidRequestError(
            f"collection: {error}.", details={"field": "collection"}
        ) from None


def place_of(collection: Collection, key: str) -> Place:
    """Return the place of a key in a collection; keys are compared as they are.

    Raises
    ------
    InvalidRequestError
        If it cannot be one.
    """
    problem = None
    if not key:
        problem = "must not be empty"
    elif any(unicodedata.category(character) in {"Cc", "Cs"} for character in key):
        problem = "must not hold control characters or lone surrogates"
    elif len(key.encode()) > MAX_KEY_BYTES:
        problem = f"must have at most {MAX_KEY_BYTES} bytes"
    if problem is not None:
        raise InvalidRequestError(f"key: {problem}.", details={"field": "key"})
    return Place(collection, key)


def pack(data: dict[str, Any]) -> bytes:
    """Return a document as compressed JSON.

    Raises
    ------
    InvalidRequestError
        If it has numbers or texts that JSON does not have.
    PayloadTooLargeError
        If it is too large to be stored.
    """
    _check_values(data)
    try:
        text = as_json(data).encode()
    except ValueError as error:  # an integer of more digits than Python writes
        raise _unfit(str(error)) from error
    body = zlib.compress(text)
    for size, maximum, how in (
        (len(text), MAX_DOCUMENT_BYTES, "as JSON"),
        (len(body), MAX_STORED_BYTES, "compressed"),
    ):
        if size > maximum:
            raise PayloadTooLargeError(
                f"The document has {size:,} bytes {how}; at most {maximum:,} can be stored.",
                details={
                    "size": size,
                    "maximum": maximum,
                    "hint": "Split it into several documents.",
                },
            )
    return body


def as_json(value: Any) -> str:
    """Write a value as JSON in ASCII, as it is sent and stored."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def digest_of(*parts: Any) -> str:
    """Return the SHA-256 of values, by which a request is told from another."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _check_values(value: Any) -> None:
    waiting = [value]
    while waiting:
        match waiting.pop():
            case float() as number if not math.isfinite(number):
                raise _unfit("JSON has no NaN, and no number beyond 1.8e308")
            case str() as text if not sound(text):
                raise _unfit("texts must not hold lone surrogates")
            case dict() as fields:
                waiting += [*fields.keys(), *fields.values()]
            case list() as elements:
                waiting += elements


def sound(text: str) -> bool:
    """Whether a text is Unicode: it has no halves of character pairs."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _unfit(problem: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"The document cannot be stored: {problem}.", details={"problem": problem}
    )
