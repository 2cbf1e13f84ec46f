"""Credentials that a customer stored: what is kept of them, and what is shown.

The values leave this module sealed, as the plaintext of one encryption, or masked.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

from flowstack_core.domain.errors import InvalidRequestError, StoredCredentialsUnreadableError
from flowstack_core.domain.providers import PUBLIC_FIELDS, Provider, ProviderCredentials

MAX_PLAINTEXT_BYTES = 4_096
"""As much as KMS encrypts without a data key (AWS KMS API Reference, "Encrypt")."""

USE_RESOLUTION = timedelta(hours=1)
"""How exactly it is known when credentials were last used: each use is not worth a write."""

_SHOWN_CHARACTERS = 4
_SHORTEST_SHOWN = 20
# A host is checked when it is used: until then somebody's password may be in it.
_SHOWN_WHOLE = PUBLIC_FIELDS - {"host"}


@dataclass(frozen=True, slots=True)
class StoredCredentials:
    """One provider's credentials as they are kept.

    Attributes
    ----------
    masked
        Each field's value, masked: the only form in which values are shown.
    ciphertext
        All values, encrypted for this customer and this provider.
    last_used_at
        When a message last used them, to the hour; ``None`` until then.
    version
        Raised by one each time they are replaced.
    """

    customer_id: str
    provider: Provider
    masked: Mapping[str, str]
    ciphertext: bytes = field(repr=False)
    created_at: datetime
    updated_at: datetime
    last_used_at: datetime | None = None
    version: int = 1

    def use_is_news(self, now: datetime) -> bool:
        """Whether a use at ``now`` is worth writing down."""
        return self.last_used_at is None or now - self.last_used_at >= USE_RESOLUTION

    def facts(self) -> dict[str, Any]:
        """Return what the audit trail says of them: no value, not even a masked one."""
        return {
            "provider": self.provider.value,
            "fields": sorted(self.masked),
            "version": self.version,
        }


def mask(value: str) -> str:
    """Return enough of a secret to recognise it by; of a short one, nothing."""
    if len(value) < _SHORTEST_SHOWN:
        return "…"
    return f"…{value[-_SHOWN_CHARACTERS:]}"


def masked(credentials: ProviderCredentials) -> Mapping[str, str]:
    """Return the fields with their values masked; names, such as a region, are no secrets."""
    return MappingProxyType(
        {
            name: value if name in _SHOWN_WHOLE else mask(value)
            for name, value in credentials.values.items()
        }
    )


def plaintext_of(credentials: ProviderCredentials) -> bytes:
    """Return what is encrypted.

    Raises
    ------
    InvalidRequestError
        The values are longer, all together, than one encryption takes.
    """
    text = json.dumps(dict(credentials.values), separators=(",", ":")).encode()
    if len(text) > MAX_PLAINTEXT_BYTES:
        raise InvalidRequestError(
            f"credentials are too long to store: {len(text)} bytes as JSON, at most "
            f"{MAX_PLAINTEXT_BYTES} are kept.",
            details={
                "field": "credentials",
                "maximum": MAX_PLAINTEXT_BYTES,
                "hint": "Send them with each request as byok_credentials.",
            },
        )
    return text


def credentials_of(provider: Provider, plaintext: bytes) -> ProviderCredentials:
    """Read what `plaintext_of` wrote.

    Raises
    ------
    StoredCredentialsUnreadableError
        It is something else.
    """
    try:
        values = json.loads(plaintext)
    except ValueError:
        # Not chained: the error would hold the text.
        raise unreadable(provider) from None
    return ProviderCredentials(provider, MappingProxyType(values))


def unreadable(provider: Provider) -> StoredCredentialsUnreadableError:
    """Return the failure of credentials that were stored and cannot be read."""
    return StoredCredentialsUnreadableError(
        f"The stored {provider.value} credentials cannot be decrypted. Nothing was counted.",
        details={
            "provider": provider.value,
            "hint": "Store them again, or send byok_credentials with the request.",
        },
    )
