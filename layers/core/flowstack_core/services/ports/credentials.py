"""Customers' credentials at providers, sealed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from flowstack_core.domain.providers import Provider
    from flowstack_core.domain.stored_credentials import StoredCredentials
    from flowstack_core.services.ports.accounts import AuditRecord


class StoredCredentialReader(Protocol):
    """What messages need of the stored credentials."""

    def credentials(self, customer_id: str, provider: Provider) -> StoredCredentials | None:
        """Return the customer's credentials at the provider, read consistently."""
        ...

    def mark_used(self, stored: StoredCredentials, at: datetime) -> None:
        """Note that they were used, if that is news and they are still the ones in force."""
        ...


class StoredCredentialStore(StoredCredentialReader, Protocol):
    """Credentials that customers stored.

    Every change writes its audit record in the same transaction; ``False`` means that somebody
    changed them since they were read.
    """

    def all_credentials(self, customer_id: str) -> Sequence[StoredCredentials]:
        """Return the customer's credentials, by provider."""
        ...

    def replace_credentials(
        self, before: StoredCredentials | None, after: StoredCredentials, audit: AuditRecord
    ) -> bool:
        """Put ``after`` in the place of ``before``, or where there was nothing."""
        ...

    def delete_credentials(self, stored: StoredCredentials, audit: AuditRecord) -> bool:
        """Delete them for good."""
        ...


class CredentialCipher(Protocol):
    """Seals credentials so that they can be read as this customer's, at this provider, only."""

    def encrypt(self, customer_id: str, provider: Provider, plaintext: bytes) -> bytes:
        """Return the ciphertext."""
        ...

    def decrypt(self, customer_id: str, provider: Provider, ciphertext: bytes) -> bytes:
        """Return the plaintext.

        Raises
        ------
        StoredCredentialsUnreadableError
            If it was sealed for another customer or provider, was tampered with, or its key is
            out of service.
        """
        ...
