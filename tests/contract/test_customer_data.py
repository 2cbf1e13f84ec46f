"""What is stored of customers, and their archives: the same in memory and on the emulator."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import count
from typing import Any

import pytest
from mypy_boto3_dynamodb import DynamoDBClient

from flowstack_core.adapters.dynamodb_customer_data import DynamoDBCustomerData
from flowstack_core.adapters.dynamodb_payments import DynamoDBPaymentStore
from flowstack_core.adapters.dynamodb_vault import DynamoDBVaultStore
from flowstack_core.domain.data_rights import (
    ArchiveFile,
    Erasure,
    Export,
    ExportStep,
    Part,
    Phase,
    Scope,
)
from flowstack_core.domain.payments import Governing, Standing
from flowstack_core.domain.vault import ANYTHING, Document, Receipt, collection_of, pack, place_of
from flowstack_core.services.ports.data_rights import CustomerData
from flowstack_core.services.ports.failures import StoreContentionError
from tests.support.customers_items import every_kind
from tests.support.emulator import TABLES
from tests.support.fakes import NOON, NOVEMBER
from tests.support.in_memory_data_rights import InMemoryCustomerData

_numbers = count(1)
LATER = NOON + timedelta(minutes=30)


@dataclass
class Data:
    """A store of one implementation, and a customer with something of every kind."""

    store: CustomerData
    scope: Scope
    items: int

    @property
    def erasure(self) -> Erasure:
        return Erasure(self.scope, "op", NOON)

    @property
    def export(self) -> Export:
        return Export(self.scope, "exp_1", "op", NOON)

    def places(self) -> list[Any]:
        """Return where items are; the books of erasures are left out."""
        found = (visit.place for visit in self.store.walk(self.scope, ()))
        return [p for p in found if p is not None and not p.pk.startswith("ERASURE#")]


@pytest.fixture(params=["memory", "dynamodb"])
def data(request: pytest.FixtureRequest) -> Data:
    """Both implementations, one after the other."""
    customer_id = f"cus_rights{next(_numbers):06d}"
    scope = Scope(customer_id, NOVEMBER, NOVEMBER)
    items = every_kind(customer_id, [NOVEMBER], sessions=3)
    if request.param == "memory":
        memory = InMemoryCustomerData()
        for item in items:
            memory.put(**item)
        return Data(memory, scope, len(items))
    client: DynamoDBClient = request.getfixturevalue("dynamodb")
    for item in items:
        attributes = {name: value for name, value in item.items() if name not in ITEM}
        key = {"pk": {"S": item["pk"]}, "sk": {"S": item["sk"]}}
        client.put_item(TableName=item["table"], Item={**key, **attributes})
    store = DynamoDBCustomerData(client, {table: table for table in TABLES})
    return Data(store, scope, len(items))


ITEM = {"table", "pk", "sk"}


def test_a_walk_finds_every_item_once_and_goes_on_behind_any(data: Data) -> None:
    visits = list(data.store.walk(data.scope, ()))
    places = [visit.place for visit in visits if visit.place is not None]
    assert len(places) == len(set(places)) == data.items
    for number in range(0, len(visits), 4):
        assert list(data.store.walk(data.scope, visits[number].position)) == visits[number + 1 :]


def test_what_a_walk_shows_is_plain(data: Data) -> None:
    shown = {visit.file: visit.row for visit in data.store.walk(data.scope, ())}
    assert shown["vault"] == {"place": "notes#1", "body": {"n": "Ü"}}
    assert shown["usage"] == {"sessions_used": 3}


def test_an_erasure_is_begun_once(data: Data) -> None:
    assert data.store.erasure(data.scope.customer_id) is None
    assert data.store.begin_erasure(data.erasure)
    assert not data.store.begin_erasure(replace(data.erasure, actor="another"))
    assert data.store.erasure(data.scope.customer_id) == data.erasure


def test_an_erasure_is_read_as_it_was_written(data: Data) -> None:
    data.store.begin_erasure(data.erasure)
    stopped = data.erasure.stopped(NOVEMBER.next(), NOON, timedelta(minutes=30))
    deleted = stopped.deleted("customer", 1, ("customer", "PROFILE"))
    done = replace(deleted, phase=Phase.DONE, not_before=None, finished_at=LATER)
    before = data.erasure
    for after in (stopped, deleted, done):
        assert data.store.advance_erasure(before, after, [])
        assert data.store.erasure(data.scope.customer_id) == after
        before = after


def test_items_are_deleted_with_the_step_and_only_with_it(data: Data) -> None:
    data.store.begin_erasure(data.erasure)
    places = data.places()
    first = data.erasure.deleted("turn of a transcript", 2, ("turn of a transcript", "x", "y"))
    assert data.store.advance_erasure(data.erasure, first, places[:2])
    assert len(data.places()) == data.items - 2
    assert not data.store.advance_erasure(data.erasure, first, places[2:4])
    assert len(data.places()) == data.items - 2


def test_an_item_that_is_gone_counts_for_nobody(data: Data) -> None:
    data.store.begin_erasure(data.erasure)
    places = data.places()
    first = data.erasure.deleted("a", 1, ("a",))
    assert data.store.advance_erasure(data.erasure, first, places[:1])
    with pytest.raises(StoreContentionError):
        data.store.advance_erasure(first, first.deleted("a", 2, ("a",)), places[:2])
    assert data.store.erasure(data.scope.customer_id) == first
    assert places[1] in data.places()


def test_all_items_go_at_once(data: Data) -> None:
    data.store.begin_erasure(data.erasure)
    all_gone = data.erasure.deleted("a", data.items, ())
    assert data.store.advance_erasure(data.erasure, all_gone, data.places())
    assert data.places() == []


def test_one_run_of_a_step_is_under_way_at_a_time(data: Data) -> None:
    export, until = data.export, NOON + timedelta(minutes=5)
    assert data.store.begin_export(export)
    assert not data.store.begin_export(export)
    assert data.store.take_export_step(export, until, NOON)
    assert not data.store.take_export_step(export, until, NOON)
    assert not data.store.take_export_step(replace(export, step=1), until, until)
    assert data.store.take_export_step(export, until + timedelta(minutes=5), until)


def test_an_export_is_read_as_it_was_written_with_its_steps_in_order(data: Data) -> None:
    export = data.export
    data.store.begin_export(export)
    steps = []
    for number in range(11):
        file = ArchiveFile(f"usage/{number}.jsonl", number, 10, "0" * 64)
        steps.append(ExportStep(number, (file,), Part(number, "etag") if number % 2 else None))
        after = replace(
            export,
            step=number + 1,
            upload_id="upload",
            position=("customer", "PROFILE"),
            tail=number if number % 2 == 0 else None,
            counts={"usage": number},
            written_at=NOON,
            ready_at=LATER,
        )
        assert data.store.advance_export(export, after, steps[-1])
        assert not data.store.advance_export(export, after, steps[-1])
        assert data.store.export(data.scope.customer_id, "exp_1") == after
        export = after
    assert data.store.export_steps(export) == steps
    assert data.store.export(data.scope.customer_id, "exp_2") is None


def test_what_stores_write_of_payments_documents_and_requests_is_found(
    dynamodb: DynamoDBClient,
) -> None:
    customer_id = f"cus_rights{next(_numbers):06d}"
    payments = DynamoDBPaymentStore(dynamodb, "accounts")
    for number, owner in enumerate((customer_id, f"{customer_id}x")):
        standing = Standing(f"sub_{number}_{customer_id}", owner, told_by="evt_1")
        assert payments.replace_standing(None, standing)
        payments.link_payer(f"payer_{number}_{customer_id}", owner)
        payments.govern(owner, Governing(standing.subscription_id, NOON))
    payments.link_payer("payer_moved", customer_id)
    payments.link_payer("payer_moved", f"{customer_id}x")
    document = Document(
        place_of(collection_of(customer_id, "notes"), "1"), pack({"n": 1}), "ver_1", NOON
    )
    DynamoDBVaultStore(dynamodb, "vault").put(
        document, ANYTHING, Receipt(customer_id, "digest", "fingerprint", {}, NOON), NOON
    )
    visits = DynamoDBCustomerData(dynamodb, {table: table for table in TABLES}).walk(
        Scope(customer_id, NOVEMBER, NOVEMBER), ()
    )
    found = Counter(visit.kind for visit in visits if visit.place is not None)
    assert found == {
        "standing of a payment": 1,
        "payer": 1,
        "name at the payment provider": 3,
        "subscription that decides": 1,
        "document": 1,
        "receipt of a write to the vault": 1,
    }
