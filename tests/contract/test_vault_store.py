"""What every vault store must do, in memory and on DynamoDB."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import count
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber

from flowstack_core.adapters.dynamodb_vault import DynamoDBVaultStore, encode_document
from flowstack_core.domain.vault import (
    ANYTHING,
    Document,
    Expected,
    Receipt,
    collection_of,
    pack,
    place_of,
)
from flowstack_core.services.ports.failures import StoreContentionError
from flowstack_core.services.ports.vault import Refused, Repeated, VaultStore, Written
from tests.support.fakes import NOON
from tests.support.in_memory_vault import InMemoryVaultStore

_numbers = count(1)
HOUR = timedelta(hours=1)
AWKWARD = ["a", "a#", "#a", "a#b", "a%23b", "a%", "%", "é", "🐈", "a b", "a$", "~"]


@dataclass(frozen=True)
class Stored:
    """A store, and a customer nobody else uses."""

    vault: VaultStore
    customer_id: str

    def document(
        self, key: str = "k", collection: str = "c", customer_id: str | None = None, **fields: Any
    ) -> Document:
        """Return a document of a version that no other has."""
        number = next(_numbers)
        facts: dict[str, Any] = {
            "body": pack({"n": number}),
            "version": f"ver_{number:06d}",
            "updated_at": NOON,
            **fields,
        }
        place = place_of(collection_of(customer_id or self.customer_id, collection), key)
        return Document(place=place, **facts)

    def put(self, document: Document, expected: Expected = ANYTHING, **when: Any) -> Any:
        return self.vault.put(document, expected, when.get("receipt"), when.get("now", NOON))

    def receipt(self, text: str = "digest", **fields: Any) -> Receipt:
        facts: dict[str, Any] = {
            "fingerprint": "print",
            "answer": {"success": True},
            "expires_at": NOON + 24 * HOUR,
            **fields,
        }
        return Receipt(self.customer_id, text, **facts)


@pytest.fixture(params=["memory", "dynamodb"])
def stored(request: pytest.FixtureRequest) -> Stored:
    """Both implementations, one after the other."""
    customer_id = f"cus_vault{next(_numbers):06d}"
    if request.param == "memory":
        return Stored(InMemoryVaultStore(), customer_id)
    return Stored(DynamoDBVaultStore(request.getfixturevalue("dynamodb"), "vault"), customer_id)


# --- one document --------------------------------------------------------------------------


def test_a_document_is_got_as_it_was_put(stored: Stored) -> None:
    for document in (
        stored.document(),
        stored.document("k2", expires_at=NOON + HOUR),
        stored.document("ключ 🐈 #%", "a#b%c"),
        stored.document("k3", body=pack({"n": -0.0, "big": 10**300, "text": "žluťoučký"})),
    ):
        assert stored.put(document) == Written()
        assert stored.vault.get(document.place) == document


def test_what_was_not_put_is_not_there(stored: Stored) -> None:
    assert stored.vault.get(stored.document().place) is None
    assert stored.vault.receipt(stored.customer_id, "digest") is None


def test_an_expired_document_is_returned_as_what_it_is(stored: Stored) -> None:
    document = stored.document(expires_at=NOON - HOUR)
    stored.put(document)
    assert stored.vault.get(document.place) == document


def test_putting_again_is_applied_already(stored: Stored) -> None:
    first = stored.document()
    stored.put(first)
    second = stored.document()
    for _ in range(2):
        assert stored.put(second, Expected(first.version)) == Written()
    assert stored.vault.get(first.place) == second


def test_a_put_on_another_version_is_refused(stored: Stored) -> None:
    first = stored.document()
    stored.put(first)
    assert stored.put(stored.document(), Expected("ver_other")) == Refused(first)
    assert stored.put(stored.document(), Expected(absent=True)) == Refused(first)
    assert stored.vault.get(first.place) == first


def test_a_put_on_a_version_of_nothing_is_refused(stored: Stored) -> None:
    document = stored.document()
    assert stored.put(document, Expected("ver_other")) == Refused(None)
    assert stored.vault.get(document.place) is None


def test_what_has_expired_is_absent_for_a_put(stored: Stored) -> None:
    old = stored.document(expires_at=NOON)
    stored.put(old)
    later = NOON + timedelta(microseconds=1)
    assert stored.put(stored.document(), Expected(old.version), now=later) == Refused(old)
    assert stored.put(stored.document(), Expected(absent=True), now=NOON - HOUR) == Refused(old)
    new = stored.document()
    assert stored.put(new, Expected(absent=True), now=NOON) == Written()
    assert stored.vault.get(new.place) == new


def test_deleting_again_is_applied_already(stored: Stored) -> None:
    document = stored.document()
    stored.put(document)
    for _ in range(2):
        assert stored.vault.delete(document, None, NOON) == Written()
    assert stored.vault.get(document.place) is None


def test_a_document_that_was_changed_is_not_deleted(stored: Stored) -> None:
    old, new = stored.document(), stored.document()
    stored.put(old)
    stored.put(new)
    assert stored.vault.delete(old, None, NOON) == Refused(new)
    assert stored.vault.get(new.place) == new


# --- receipts ------------------------------------------------------------------------------


def test_a_write_with_a_receipt_takes_effect_once(stored: Stored) -> None:
    first = stored.document()
    receipt = stored.receipt()
    assert stored.put(first, receipt=receipt) == Written()
    assert stored.vault.receipt(stored.customer_id, "digest") == receipt
    second = stored.document()
    assert stored.put(second, receipt=stored.receipt(answer={})) == Repeated(receipt)
    assert stored.vault.delete(first, stored.receipt(), NOON) == Repeated(receipt)
    assert stored.vault.get(first.place) == first


def test_a_write_that_is_refused_leaves_no_receipt(stored: Stored) -> None:
    document = stored.document()
    stored.put(document)
    other = stored.document()
    assert stored.put(other, Expected("ver_other"), receipt=stored.receipt()) == Refused(document)
    stale = replace(document, version="ver_stale")
    assert stored.vault.delete(stale, stored.receipt(), NOON) == Refused(document)
    assert stored.vault.receipt(stored.customer_id, "digest") is None
    assert stored.vault.delete(document, stored.receipt(), NOON) == Written()
    assert stored.vault.get(document.place) is None


def test_an_expired_receipt_is_forgotten(stored: Stored) -> None:
    stored.put(stored.document(), receipt=stored.receipt(expires_at=NOON))
    again = stored.document()
    assert stored.put(again, receipt=stored.receipt()) == Written()
    assert stored.vault.get(again.place) == again


def test_receipts_of_customers_are_their_own(stored: Stored) -> None:
    stored.put(stored.document(), receipt=stored.receipt())
    assert stored.vault.receipt(f"{stored.customer_id}x", "digest") is None


# --- many documents ------------------------------------------------------------------------


def keys(stored: Stored, limit: int | None, collection: str = "c") -> list[str]:
    found: list[str] = []
    after: str | None = None
    while True:
        page = stored.vault.page(collection_of(stored.customer_id, collection), after, limit)
        assert limit is None or len(page.documents) <= limit
        found += [document.place.key for document in page.documents]
        after = page.next_after
        if after is None:
            return found


def test_pages_hold_every_document_once_in_the_order_of_keys(stored: Stored) -> None:
    for key in AWKWARD:
        stored.put(stored.document(key))
    for limit in (1, 5, 100, None):
        assert keys(stored, limit) == sorted(AWKWARD)


def test_a_page_begins_behind_any_key(stored: Stored) -> None:
    for key in ("a", "c"):
        stored.put(stored.document(key))
    collection = collection_of(stored.customer_id, "c")
    for after, expected in (("a", ["c"]), ("b", ["c"]), ("c", []), ("z", [])):
        page = stored.vault.page(collection, after, None)
        assert [document.place.key for document in page.documents] == expected


def test_collections_and_customers_never_meet(stored: Stored) -> None:
    others = [f"{stored.customer_id}#x", f"{stored.customer_id}%", f"{stored.customer_id}2"]
    for customer_id in (stored.customer_id, *others):
        for name in AWKWARD:
            stored.put(stored.document(customer_id, name, customer_id))
    for customer_id in (stored.customer_id, *others):
        for name in AWKWARD:
            page = stored.vault.page(collection_of(customer_id, name), None, None)
            assert [document.place.key for document in page.documents] == [customer_id]
            assert page.documents[0].place.collection == collection_of(customer_id, name)


def test_a_count_leaves_out_what_has_expired(stored: Stored) -> None:
    for key, expires_at in (
        *(("a", None), ("b", NOON)),
        *(("c", NOON + timedelta(microseconds=1)), ("d", NOON - HOUR)),
    ):
        stored.put(stored.document(key, expires_at=expires_at))
    stored.put(stored.document("a", "other"))
    page = stored.vault.count_page(collection_of(stored.customer_id, "c"), None, NOON)
    assert (page.count, page.next_after) == (2, None)
    assert stored.vault.count_page(collection_of(stored.customer_id, "c"), "a", NOON).count == 1


def test_the_first_documents_behind_each_other_are_those_of_all_collections(
    stored: Stored,
) -> None:
    for name in AWKWARD:
        for key in ("2", "1", "3"):
            stored.put(stored.document(key, name))
    stored.put(stored.document("k", "zz", f"{stored.customer_id}2"))
    names: list[str] = []
    while first := stored.vault.first_after(stored.customer_id, names[-1] if names else None):
        assert first.place.key == "1"
        names.append(first.place.collection.name)
    assert sorted(names) == sorted(AWKWARD)
    assert len(names) == len(set(names))


def test_documents_are_removed_in_any_number(stored: Stored) -> None:
    documents = [stored.document(f"k{number:03d}") for number in range(60)]
    for document in documents:
        stored.put(document)
    for _ in range(2):
        stored.vault.remove([document.place for document in documents[:55]])
    stored.vault.remove([])
    assert keys(stored, None) == [document.place.key for document in documents[55:]]


# --- DynamoDB alone ------------------------------------------------------------------------


def stubbed() -> tuple[DynamoDBVaultStore, Stubber]:
    client = boto3.client(
        "dynamodb", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x"
    )
    return DynamoDBVaultStore(client, "vault"), Stubber(client)


@pytest.mark.parametrize("code", ["ProvisionedThroughputExceededException", "ThrottlingException"])
def test_a_throttle_is_contention(code: str) -> None:
    store, stubber = stubbed()
    document = Stored(store, "cus_1").document()
    for operation in ("put_item", "delete_item", "get_item", "query", "batch_write_item"):
        stubber.add_client_error(operation, code, http_status_code=400)
    with stubber:
        for call in (
            lambda: store.put(document, ANYTHING, None, NOON),
            lambda: store.delete(document, None, NOON),
            lambda: store.get(document.place),
            lambda: store.page(document.place.collection, None, None),
            lambda: store.remove([document.place]),
        ):
            with pytest.raises(StoreContentionError):
                call()


def test_what_a_batch_did_not_delete_is_contention() -> None:
    store, stubber = stubbed()
    left = {"vault": [{"DeleteRequest": {"Key": {"pk": {"S": "p"}, "sk": {"S": "s"}}}}]}
    stubber.add_response("batch_write_item", {"UnprocessedItems": left})
    with stubber, pytest.raises(StoreContentionError):
        store.remove([Stored(store, "cus_1").document().place])


def test_other_errors_are_not_hidden() -> None:
    store, stubber = stubbed()
    document = Stored(store, "cus_1").document()
    stubber.add_client_error("put_item", "ValidationException", http_status_code=400)
    with stubber, pytest.raises(ClientError):
        store.put(document, ANYTHING, None, NOON)


@pytest.mark.parametrize("microseconds", [0, 1, 999_999])
def test_an_item_is_never_deleted_before_it_has_expired(microseconds: int) -> None:
    expires_at = NOON + timedelta(microseconds=microseconds)
    document = Stored(InMemoryVaultStore(), "cus_1").document(expires_at=expires_at)
    assert int(encode_document(document)["ttl"]["N"]) >= expires_at.timestamp()
