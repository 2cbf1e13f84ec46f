"""Idempotency keys: a retried request is answered with the first answer (S3).

A *claim* is taken before the work and turned into the stored answer in the very write that
settles the session, so there is no instant at which a retry could find one without the other.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

RETENTION = timedelta(hours=24)
"""How long an answer is kept for retries."""

LONGEST = 255
"""How many characters a key may have."""

_SHAPE = re.compile(rf"[\x21-\x7e]{{1,{LONGEST}}}")


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """A customer's name for one request, and a fingerprint of what was asked.

    Attributes
    ----------
    customer_id
        Whose key it is: the same text from another customer is another key.
    digest
        SHA-256 of the text the customer chose.
    fingerprint
        SHA-256 of the operation and its payload, credentials left out.
    """

    customer_id: str
    digest: str
    fingerprint: str


def idempotency_key(
    customer_id: str, text: str, operation: str, payload: dict[str, Any]
) -> IdempotencyKey:
    """Read the ``Idempotency-Key`` header's ``text`` for ``operation`` on ``payload``.

    Raises
    ------
    ValueError
        If the text is not 1 to 255 visible ASCII characters.
    """
    if _SHAPE.fullmatch(text) is None:
        raise ValueError("Idempotency-Key must be 1 to 255 visible ASCII characters")
    canonical = json.dumps([operation, payload], sort_keys=True, separators=(",", ":"))
    return IdempotencyKey(
        customer_id=customer_id,
        digest=hashlib.sha256(text.encode()).hexdigest(),
        fingerprint=hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest(),
    )


@dataclass(frozen=True, slots=True)
class Claim:
    """The state of an idempotency key.

    Attributes
    ----------
    owner
        The attempt that holds the claim.
    lease_until
        Until when that attempt can still be running; afterwards the claim may be taken over.
    answer
        The stored answer once the attempt was settled.
    """

    key: IdempotencyKey
    owner: str
    lease_until: datetime
    expires_at: datetime
    answer: dict[str, Any] | None = None

    def may_be_taken_by(self, key: IdempotencyKey, now: datetime) -> bool:
        """Whether another attempt may take the key over at ``now``.

        Only when it was forgotten (past its retention), or when its owner died unanswered and
        the retry asks for the same thing.
        """
        if self.expires_at <= now:
            return True
        abandoned = self.answer is None and self.lease_until <= now
        return abandoned and self.key.fingerprint == key.fingerprint
