"""AWS KMS: stored credentials are sealed for one customer and one provider.

The encryption context is authenticated with the ciphertext, so one that was moved to another
customer or provider cannot be decrypted; the functions' roles demand the context as well. Values
are encrypted directly with the key (they fit into the 4 KB that KMS takes), so no data key is
ever in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from flowstack_core.adapters.dynamodb_codec import contention
from flowstack_core.domain.providers import Provider
from flowstack_core.domain.stored_credentials import unreadable

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient

CUSTOMER_CONTEXT = "flowstack:customer"
PROVIDER_CONTEXT = "flowstack:provider"

_UNREADABLE = frozenset(
    {
        "DisabledException",
        "IncorrectKeyException",
        "InvalidCiphertextException",
        "KMSInvalidStateException",
        "NotFoundException",
    }
)


class _Key:
    """A key, used under an encryption context.

    Parameters
    ----------
    client
        Returns the client, which is made when it is first needed: most requests need none.
    """

    def __init__(self, client: Callable[[], KMSClient], key_id: str) -> None:
        self._client = client
        self._key_id = key_id

    def encrypt(self, context: Mapping[str, str], plaintext: bytes) -> bytes:
        """Return the ciphertext."""
        with contention():
            answer = self._client().encrypt(
                KeyId=self._key_id, Plaintext=plaintext, EncryptionContext=context
            )
        return answer["CiphertextBlob"]

    def decrypt(self, context: Mapping[str, str], ciphertext: bytes) -> bytes:
        """Return the plaintext.

        Raises
        ------
        UnreadableError
            If it is not a ciphertext of this context and key, or the key is out of service.
        """
        try:
            with contention():
                answer = self._client().decrypt(
                    KeyId=self._key_id, CiphertextBlob=ciphertext, EncryptionContext=context
                )
        except ClientError as error:
            if error.response["Error"]["Code"] in _UNREADABLE:
                raise UnreadableError from error
            raise
        return answer["Plaintext"]


class UnreadableError(Exception):
    """A ciphertext cannot be opened as what it is said to be."""


class KmsCredentialCipher:
    """`flowstack_core.services.ports.credentials.CredentialCipher` on KMS.

    Parameters
    ----------
    client
        Returns the client, which is made when it is first needed: most requests need none.
    """

    def __init__(self, client: Callable[[], KMSClient], key_id: str) -> None:
        self._key = _Key(client, key_id)

    def encrypt(self, customer_id: str, provider: Provider, plaintext: bytes) -> bytes:
        """Return the ciphertext."""
        return self._key.encrypt(encryption_context(customer_id, provider), plaintext)

    def decrypt(self, customer_id: str, provider: Provider, ciphertext: bytes) -> bytes:
        """Return the plaintext.

        Raises
        ------
        StoredCredentialsUnreadableError
            If it is not a ciphertext of this customer, provider and key, or the key is out of
            service.
        """
        try:
            return self._key.decrypt(encryption_context(customer_id, provider), ciphertext)
        except UnreadableError as error:
            raise unreadable(provider) from error


class KmsWebhookSecrets:
    """`flowstack_core.services.ports.webhooks.WebhookSecrets` and its opener on KMS."""

    def __init__(self, client: Callable[[], KMSClient], key_id: str) -> None:
        self._key = _Key(client, key_id)

    def seal(self, customer_id: str, secret: str) -> bytes:
        """Return the ciphertext."""
        return self._key.encrypt(webhook_context(customer_id), secret.encode())

    def open(self, customer_id: str, ciphertext: bytes) -> str | None:
        """Return the secret; ``None`` if it cannot be opened as this customer's."""
        try:
            return self._key.decrypt(webhook_context(customer_id), ciphertext).decode()
        except UnreadableError:
            return None


def encryption_context(customer_id: str, provider: Provider) -> dict[str, str]:
    """Return what a ciphertext is bound to. CloudTrail records it, so it holds no secret."""
    return {CUSTOMER_CONTEXT: customer_id, PROVIDER_CONTEXT: provider.value}


def webhook_context(customer_id: str) -> dict[str, str]:
    """Return what the secret of a customer's webhook is bound to: no provider has that name."""
    return {CUSTOMER_CONTEXT: customer_id, PROVIDER_CONTEXT: "webhook"}
