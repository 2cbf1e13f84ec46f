"""AWS KMS: stored credentials are sealed for one customer and one provider.

The encryption context is authenticated with the ciphertext, so one that was moved to another
customer or provider cannot be decrypted; the functions' roles demand the context as well. Values
are encrypted directly with the key (they fit into the 4 KB that KMS takes), so no data key is
ever in memory.
"""

from __future__ import annotations

from collections.abc import Callable
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


class KmsCredentialCipher:
    """`flowstack_core.services.ports.CredentialCipher` on KMS.

    Parameters
    ----------
    client
        Returns the client, which is made when it is first needed: most requests need none.
    """

    def __init__(self, client: Callable[[], KMSClient], key_id: str) -> None:
        self._client = client
        self._key_id = key_id

    def encrypt(self, customer_id: str, provider: Provider, plaintext: bytes) -> bytes:
        """Return the ciphertext."""
        with contention():
            answer = self._client().encrypt(
                KeyId=self._key_id,
                Plaintext=plaintext,
                EncryptionContext=encryption_context(customer_id, provider),
            )
        return answer["CiphertextBlob"]

    def decrypt(self, customer_id: str, provider: Provider, ciphertext: bytes) -> bytes:
        """Return the plaintext.

        Raises
        ------
        StoredCredentialsUnreadableError
            If it is not a ciphertext of this customer, provider and key, or the key is out of
            service.
        """
        try:
            with contention():
                answer = self._client().decrypt(
                    KeyId=self._key_id,
                    CiphertextBlob=ciphertext,
                    EncryptionContext=encryption_context(customer_id, provider),
                )
        except ClientError as error:
            if error.response["Error"]["Code"] in _UNREADABLE:
                raise unreadable(provider) from error
            raise
        return answer["Plaintext"]


def encryption_context(customer_id: str, provider: Provider) -> dict[str, str]:
    """Return what a ciphertext is bound to. CloudTrail records it, so it holds no secret."""
    return {CUSTOMER_CONTEXT: customer_id, PROVIDER_CONTEXT: provider.value}
