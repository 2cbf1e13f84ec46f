"""API keys: ``fs_`` + 192 random bits + a checksum.

The checksum lets a mistyped key be refused without a read. Only the SHA-256 of a key is ever
stored: the key has far more entropy than a hash needs salting for.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from dataclasses import dataclass
from datetime import datetime

PREFIX = "fs_"
RANDOM_BYTES = 24
_BODY_LENGTH = 33
_CHECKSUM_LENGTH = 6
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_SHAPE = re.compile(rf"{PREFIX}([0-9A-Za-z]{{{_BODY_LENGTH}}})([0-9A-Za-z]{{{_CHECKSUM_LENGTH}}})")


def _base62(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, len(_ALPHABET))
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(f"{PREFIX}{body}".encode()), _CHECKSUM_LENGTH)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A well-formed key. Its text is shown once, to whoever it is issued to, and never printed."""

    text: str

    def __repr__(self) -> str:
        return f"ApiKey({self.masked})"

    __str__ = __repr__

    @property
    def digest(self) -> str:
        """The SHA-256 under which the key is stored and found."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def masked(self) -> str:
        """Enough to recognise the key by, too little to use it."""
        return f"{PREFIX}…{self.text[-_CHECKSUM_LENGTH:]}"


def mint_key(random_bytes: bytes) -> ApiKey:
    """Make a key from ``RANDOM_BYTES`` bytes of a cryptographic source."""
    if len(random_bytes) != RANDOM_BYTES:
        raise ValueError(f"a key takes {RANDOM_BYTES} random bytes")
    body = _base62(int.from_bytes(random_bytes, "big"), _BODY_LENGTH)
    return ApiKey(f"{PREFIX}{body}{_checksum(body)}")


def parse_key(text: str) -> ApiKey | None:
    """Return the key, or ``None`` where the shape or the checksum is wrong (a typo)."""
    match = _SHAPE.fullmatch(text)
    if match is None or _checksum(match[1]) != match[2]:
        return None
    return ApiKey(text)


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """What is kept of a key: whose it is and until when, never the key."""

    key_id: str
    customer_id: str
    digest: str
    masked: str
    name: str
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None

    def usable(self, now: datetime) -> bool:
        """Whether requests with the key are let in at ``now``."""
        if self.revoked_at is not None:
            return False
        return self.expires_at is None or now < self.expires_at

    def status(self, now: datetime) -> str:
        """``active``, ``revoked`` or ``expired``."""
        if self.revoked_at is not None:
            return "revoked"
        return "active" if self.usable(now) else "expired"
