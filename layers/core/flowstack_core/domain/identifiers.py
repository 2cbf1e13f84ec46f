"""Names that customers choose, and ids that FlowStack makes."""

from __future__ import annotations

import unicodedata
from datetime import datetime

_CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"
MAX_NAME_LENGTH = 128


def checked_name(text: str) -> str:
    """Return an agent's or conversation's name in Unicode normal form C.

    Raises
    ------
    ValueError
        If it is empty, longer than 128 characters, only white space, or holds control
        characters or lone surrogates.
    """
    name = unicodedata.normalize("NFC", text)
    if not name.strip():
        raise ValueError("must not be empty")
    if len(name) > MAX_NAME_LENGTH:
        raise ValueError(f"must have at most {MAX_NAME_LENGTH} characters")
    if any(unicodedata.category(character) in {"Cc", "Cs"} for character in name):
        raise ValueError("must not hold control characters or lone surrogates")
    return name


def _crockford(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, 32)
        digits.append(_CROCKFORD[digit])
    return "".join(reversed(digits))


def sortable_id(prefix: str, now: datetime, random_bytes: bytes) -> str:
    """Make an id that sorts by time: 48 bits of milliseconds, 80 bits of chance.

    The layout is that of a ULID (github.com/ulid/spec), in lower case.
    """
    if len(random_bytes) != 10:
        raise ValueError("a sortable id takes 10 random bytes")
    milliseconds = int(now.timestamp() * 1000)
    chance = int.from_bytes(random_bytes, "big")
    return f"{prefix}_{_crockford(milliseconds, 10)}{_crockford(chance, 16)}"


def random_id(prefix: str, random_bytes: bytes) -> str:
    """Make an id that tells nothing: 80 bits of chance."""
    if len(random_bytes) != 10:
        raise ValueError("a random id takes 10 random bytes")
    return f"{prefix}_{_crockford(int.from_bytes(random_bytes, 'big'), 16)}"
