"""The cipher on KMS: what is asked, and what becomes of its failures."""

from __future__ import annotations

from collections.abc import Iterator

import boto3
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from botocore.stub import Stubber
from mypy_boto3_kms import KMSClient

from flowstack_core.adapters.kms import KmsCredentialCipher, KmsWebhookSecrets
from flowstack_core.domain.errors import StoredCredentialsUnreadableError
from flowstack_core.domain.providers import Provider
from flowstack_core.services.ports.failures import StoreContentionError

SECRET = b'{"api_key":"canary-secret"}'
KEY = "arn:aws:kms:us-east-1:111122223333:key/credentials"
CONTEXT = {"flowstack:customer": "cus_1", "flowstack:provider": "openai"}


@pytest.fixture
def client() -> KMSClient:
    return boto3.client(
        "kms", region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test"
    )


@pytest.fixture
def kms(client: KMSClient) -> Iterator[Stubber]:
    with Stubber(client) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()


@pytest.fixture
def cipher(client: KMSClient) -> KmsCredentialCipher:
    return KmsCredentialCipher(lambda: client, KEY)


def test_byok_both_ways_name_the_key_the_customer_and_the_provider(
    kms: Stubber, cipher: KmsCredentialCipher
) -> None:
    kms.add_response(
        "encrypt",
        {"CiphertextBlob": b"sealed"},
        {"KeyId": KEY, "Plaintext": SECRET, "EncryptionContext": CONTEXT},
    )
    kms.add_response(
        "decrypt",
        {"Plaintext": SECRET},
        {"KeyId": KEY, "CiphertextBlob": b"sealed", "EncryptionContext": CONTEXT},
    )
    assert cipher.encrypt("cus_1", Provider.OPENAI, SECRET) == b"sealed"
    assert cipher.decrypt("cus_1", Provider.OPENAI, b"sealed") == SECRET


@pytest.mark.parametrize(
    "code",
    [
        "InvalidCiphertextException",
        "IncorrectKeyException",
        "DisabledException",
        "KMSInvalidStateException",
        "NotFoundException",
    ],
)
def test_what_no_repetition_can_open_is_unreadable(
    code: str, kms: Stubber, cipher: KmsCredentialCipher
) -> None:
    kms.add_client_error("decrypt", code)
    with pytest.raises(StoredCredentialsUnreadableError, match="openai"):
        cipher.decrypt("cus_1", Provider.OPENAI, b"sealed")


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("ThrottlingException", 400),
        ("KMSInternalException", 500),
        ("DependencyTimeoutException", 503),
        ("KeyUnavailableException", 500),
    ],
)
def test_what_passes_is_worth_another_try(
    code: str, status: int, kms: Stubber, cipher: KmsCredentialCipher
) -> None:
    kms.add_client_error("encrypt", code, http_status_code=status)
    kms.add_client_error("decrypt", code, http_status_code=status)
    with pytest.raises(StoreContentionError):
        cipher.encrypt("cus_1", Provider.OPENAI, SECRET)
    with pytest.raises(StoreContentionError):
        cipher.decrypt("cus_1", Provider.OPENAI, b"sealed")


@pytest.mark.parametrize("operation", ["encrypt", "decrypt"])
def test_a_refusal_by_iam_rises_as_it_is(
    operation: str, kms: Stubber, cipher: KmsCredentialCipher
) -> None:
    kms.add_client_error(operation, "AccessDeniedException")
    with pytest.raises(ClientError, match="AccessDenied"):
        getattr(cipher, operation)("cus_1", Provider.OPENAI, b"text")


def test_a_lost_connection_is_worth_another_try() -> None:
    def unreachable() -> KMSClient:
        raise EndpointConnectionError(endpoint_url="https://kms.invalid")

    with pytest.raises(StoreContentionError):
        KmsCredentialCipher(unreachable, KEY).encrypt("cus_1", Provider.OPENAI, SECRET)


def test_no_client_is_made_before_it_is_needed() -> None:
    def never() -> KMSClient:
        raise AssertionError("nobody asked for anything")

    KmsCredentialCipher(never, KEY)


# --- secrets of webhooks -----------------------------------------------------------------------

WEBHOOK = {"flowstack:customer": "cus_1", "flowstack:provider": "webhook"}


def test_the_secret_of_a_webhook_is_bound_to_its_customer_and_to_no_provider(
    client: KMSClient, kms: Stubber
) -> None:
    kms.add_response(
        "encrypt",
        {"CiphertextBlob": b"sealed"},
        {"KeyId": KEY, "Plaintext": b"whsec_canary", "EncryptionContext": WEBHOOK},
    )
    kms.add_response(
        "decrypt",
        {"Plaintext": b"whsec_canary"},
        {"KeyId": KEY, "CiphertextBlob": b"sealed", "EncryptionContext": WEBHOOK},
    )
    secrets = KmsWebhookSecrets(lambda: client, KEY)
    assert secrets.seal("cus_1", "whsec_canary") == b"sealed"
    assert secrets.open("cus_1", b"sealed") == "whsec_canary"
    assert "webhook" not in set(Provider)


def test_a_secret_that_cannot_be_opened_is_none(client: KMSClient, kms: Stubber) -> None:
    kms.add_client_error("decrypt", "InvalidCiphertextException")
    assert KmsWebhookSecrets(lambda: client, KEY).open("cus_1", b"sealed") is None
