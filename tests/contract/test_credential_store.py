"""What every store of credentials must do, in memory and on DynamoDB; and the cipher on KMS."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import count
from typing import Any

import boto3
import pytest
from mypy_boto3_dynamodb import DynamoDBClient
from mypy_boto3_kms import KMSClient

from flowstack_core.adapters.dynamodb_credentials import DynamoDBCredentialStore
from flowstack_core.adapters.kms import KmsCredentialCipher
from flowstack_core.domain.errors import StoredCredentialsUnreadableError
from flowstack_core.domain.providers import Provider
from flowstack_core.domain.stored_credentials import MAX_PLAINTEXT_BYTES, StoredCredentials
from flowstack_core.services.byok import CredentialFinder, CredentialService
from flowstack_core.services.ports.accounts import AuditRecord
from tests.contract.conftest import Stores
from tests.support.emulator import REGION
from tests.support.fakes import NOON, Budget, FixedClock, retrier

_numbers = count(1)
HOUR = timedelta(hours=1)
SECRET = b'{"api_key":"canary-secret"}'


def audit_of(stores: Stores, at: datetime = NOON) -> AuditRecord:
    """Return a record nobody else has."""
    return AuditRecord(
        stores.customer_id, f"aud_c{next(_numbers):06d}", at, "key_1", "test", None, {"n": 1}
    )


def credentials_of(stores: Stores, **fields: Any) -> StoredCredentials:
    facts: dict[str, Any] = {
        "customer_id": stores.customer_id,
        "provider": Provider.OPENAI,
        "masked": {"api_key": "…cdef", "host": "…"},
        "ciphertext": bytes(range(256)),
        "created_at": NOON,
        "updated_at": NOON,
        **fields,
    }
    return StoredCredentials(**facts)


def put(stores: Stores, **fields: Any) -> StoredCredentials:
    stored = credentials_of(stores, **fields)
    assert stores.credentials.replace_credentials(None, stored, audit_of(stores))
    return stored


def find(stores: Stores, provider: Provider = Provider.OPENAI) -> StoredCredentials | None:
    return stores.credentials.credentials(stores.customer_id, provider)


def trail(stores: Stores) -> list[str]:
    return [audit.audit_id for audit in stores.accounts.audit_trail(stores.customer_id, 100)]


def test_what_was_stored_is_found_as_it_was(stores: Stores) -> None:
    assert find(stores) is None
    stored = put(stores)
    assert find(stores) == stored
    assert find(stores, Provider.COHERE) is None


def test_credentials_are_listed_by_provider_and_are_nobody_elses(stores: Stores) -> None:
    put(stores)
    put(stores, provider=Provider.BEDROCK, last_used_at=NOON)
    listed = stores.credentials.all_credentials(stores.customer_id)
    assert [stored.provider for stored in listed] == [Provider.BEDROCK, Provider.OPENAI]
    assert stores.credentials.all_credentials(f"{stores.customer_id}0") == []


def test_only_what_was_read_is_replaced(stores: Stores) -> None:
    first = put(stores)
    second = replace(first, ciphertext=b"second", version=2)
    third = replace(first, ciphertext=b"third", version=2)
    assert stores.credentials.replace_credentials(first, second, audit_of(stores))
    before = trail(stores)
    assert not stores.credentials.replace_credentials(first, third, audit_of(stores))
    assert not stores.credentials.replace_credentials(None, third, audit_of(stores))
    assert find(stores) == second
    assert trail(stores) == before


def test_a_change_that_is_repeated_took_effect_once(stores: Stores) -> None:
    first, audit = credentials_of(stores), audit_of(stores)
    assert stores.credentials.replace_credentials(None, first, audit)
    second = replace(first, ciphertext=b"second", version=2)
    assert stores.credentials.replace_credentials(first, second, audit_of(stores))
    assert stores.credentials.replace_credentials(None, first, audit)
    assert find(stores) == second
    assert len(trail(stores)) == 2


def test_deleting_takes_what_was_read_and_leaves_a_record(stores: Stores) -> None:
    first = put(stores)
    second = replace(first, ciphertext=b"second", version=2)
    assert stores.credentials.replace_credentials(first, second, audit_of(stores))
    assert not stores.credentials.delete_credentials(first, audit_of(stores))
    audit = audit_of(stores)
    assert stores.credentials.delete_credentials(second, audit)
    assert find(stores) is None
    assert stores.credentials.delete_credentials(second, audit), "it is in effect"
    assert not stores.credentials.delete_credentials(second, audit_of(stores))
    assert audit.audit_id in trail(stores)
    assert len(trail(stores)) == 3


def test_of_many_who_store_at_once_one_does(stores: Stores) -> None:
    wanted = [credentials_of(stores, ciphertext=b"%d" % number) for number in range(8)]
    clock = FixedClock()

    def store(stored: StoredCredentials) -> bool:
        audit = audit_of(stores, clock.now())
        return retrier().run(
            lambda: stores.credentials.replace_credentials(None, stored, audit),
            Budget(),
            reserve_seconds=0,
        )

    with ThreadPoolExecutor(8) as threads:
        done = list(threads.map(store, wanted))
    assert done.count(True) == 1
    assert find(stores) == wanted[done.index(True)]
    assert len(trail(stores)) == 1


def test_a_use_is_noted_once_an_hour(stores: Stores) -> None:
    stored = put(stores)
    for minutes, expected in ((0, 0), (59, 0), (60, 60), (61, 60), (200, 200)):
        stores.credentials.mark_used(stored, NOON + timedelta(minutes=minutes))
        found = find(stores)
        assert found is not None
        assert found.last_used_at == NOON + timedelta(minutes=expected)


def test_a_use_of_what_was_replaced_or_deleted_is_not_noted(stores: Stores) -> None:
    first = put(stores)
    second = replace(first, ciphertext=b"second", version=2)
    assert stores.credentials.replace_credentials(first, second, audit_of(stores))
    stores.credentials.mark_used(first, NOON)
    assert find(stores) == second
    assert stores.credentials.delete_credentials(second, audit_of(stores))
    stores.credentials.mark_used(second, NOON)
    assert find(stores) is None


# --- the cipher, on the emulator's KMS ---------------------------------------------------------


@pytest.fixture(scope="session")
def kms(emulator_url: str) -> KMSClient:
    return boto3.client(
        "kms",
        endpoint_url=emulator_url,
        region_name=REGION,
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )


@pytest.fixture(scope="session")
def key_id(kms: KMSClient) -> str:
    return kms.create_key(Description="credentials")["KeyMetadata"]["Arn"]


@pytest.fixture
def cipher(kms: KMSClient, key_id: str) -> KmsCredentialCipher:
    return KmsCredentialCipher(lambda: kms, key_id)


def test_what_was_sealed_is_opened_for_the_same_customer_and_provider(
    cipher: KmsCredentialCipher,
) -> None:
    for plaintext in (b"1", SECRET, os.urandom(MAX_PLAINTEXT_BYTES)):
        sealed = cipher.encrypt("cus_1", Provider.OPENAI, plaintext)
        assert plaintext not in sealed or len(plaintext) == 1
        assert cipher.decrypt("cus_1", Provider.OPENAI, sealed) == plaintext


@pytest.mark.parametrize(
    ("customer_id", "provider"),
    [("cus_2", Provider.OPENAI), ("cus_1", Provider.COHERE), ("cus_2", Provider.COHERE)],
)
def test_byok_a_ciphertext_that_was_moved_cannot_be_opened(
    customer_id: str, provider: Provider, cipher: KmsCredentialCipher
) -> None:
    sealed = cipher.encrypt("cus_1", Provider.OPENAI, SECRET)
    with pytest.raises(StoredCredentialsUnreadableError):
        cipher.decrypt(customer_id, provider, sealed)


def test_what_is_no_ciphertext_cannot_be_opened(cipher: KmsCredentialCipher) -> None:
    with pytest.raises(StoredCredentialsUnreadableError):
        cipher.decrypt("cus_1", Provider.OPENAI, b"rubbish")


def test_a_key_out_of_service_is_an_error_until_it_is_back(
    kms: KMSClient, cipher: KmsCredentialCipher, key_id: str
) -> None:
    sealed = cipher.encrypt("cus_1", Provider.OPENAI, SECRET)
    kms.disable_key(KeyId=key_id)
    try:
        with pytest.raises(StoredCredentialsUnreadableError):
            cipher.decrypt("cus_1", Provider.OPENAI, sealed)
    finally:
        kms.enable_key(KeyId=key_id)
    assert cipher.decrypt("cus_1", Provider.OPENAI, sealed) == SECRET


def test_byok_an_item_that_was_moved_in_the_table_is_of_no_use(
    dynamodb: DynamoDBClient, cipher: KmsCredentialCipher
) -> None:
    store, clock = DynamoDBCredentialStore(dynamodb, "accounts"), FixedClock()
    service = CredentialService(store, cipher, clock, os.urandom, retrier())
    finder = CredentialFinder(store, cipher, clock)
    owner, thief = "cus_owner", "cus_thief"
    service.store("key_1", owner, "openai", {"api_key": "canary-secret"}, Budget())
    item = dynamodb.get_item(
        TableName="accounts", Key={"pk": {"S": f"CREDENTIALS#{owner}"}, "sk": {"S": "openai"}}
    )["Item"]
    for customer_id, provider in ((thief, Provider.OPENAI), (owner, Provider.COHERE)):
        moved = {
            **item,
            "pk": {"S": f"CREDENTIALS#{customer_id}"},
            "sk": {"S": provider.value},
            "customer_id": {"S": customer_id},
            "provider": {"S": provider.value},
        }
        dynamodb.put_item(TableName="accounts", Item=moved)
        with pytest.raises(StoredCredentialsUnreadableError):
            finder.find(customer_id, provider)
    found = finder.find(owner, Provider.OPENAI)
    assert found is not None
    assert found.values == {"api_key": "canary-secret"}
