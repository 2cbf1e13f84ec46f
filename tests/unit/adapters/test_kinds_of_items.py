"""Whatever is stored of a customer is known to exports and erasures."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from flowstack_core.adapters.dynamodb_customer_data import Walk
from flowstack_core.adapters.kinds_of_items import BOOKS, KINDS, UNLISTED
from flowstack_core.domain.data_rights import Scope
from tests.support.customers_items import every_kind
from tests.support.fakes import DECEMBER, NOVEMBER
from tests.support.in_memory_data_rights import InMemoryCustomerData

PAGE = Path(__file__).parents[3] / "docs/data-model.md"
TABLES = ("accounts", "sessions", "usage", "vault")
_ROW = re.compile(r"^\| [^|]+ \| `([A-Z][^`]+)` \| `([^`]+)` \|", re.MULTILINE)


def documented() -> list[tuple[str, str, str]]:
    """Return table, partition and sort key of every kind of item that the page names."""
    page = PAGE.read_text(encoding="utf-8")
    return [
        (table, *row)
        for table in TABLES
        for row in _ROW.findall(page.split(f"\n## {table}\n")[1].split("\n## ")[0])
    ]


def opened(template: str) -> str:
    """Return a key with a star for everything that differs from item to item."""
    return re.sub(r"<[^>]*>|\{[^}]*\}", "*", template)


def known(table: str, partition: str, sort: str) -> bool:
    of_customers = any(
        (kind.table, opened(kind.partition)) == (table, opened(partition))
        and opened(sort).startswith(kind.sort)
        for kind in KINDS
    )
    unlisted = any(t == table and opened(partition).startswith(opened(p)) for t, p in UNLISTED)
    return of_customers or unlisted or any(t == table and partition.startswith(p) for t, p in BOOKS)


@pytest.mark.parametrize("kind", documented(), ids="/".join)
def test_every_kind_of_item_is_exported_erased_or_said_to_be_neither(
    kind: tuple[str, str, str],
) -> None:
    assert known(*kind), "tell layers/core/flowstack_core/adapters/kinds_of_items.py"


def test_a_kind_that_nobody_told_of_is_noticed() -> None:
    assert len(documented()) > 12
    assert not known("accounts", "CUSTOMER#<id>", "NICKNAME")
    assert not known("vault", "CUSTOMER#<id>", "PROFILE")


def test_who_leads_is_gone_through_after_who_is_led() -> None:
    names = [kind.name for kind in KINDS]
    assert len(names) == len(set(names))
    for kind in KINDS:
        if kind.leader is not None:
            assert names.index(kind.leader) > names.index(kind.name)


def test_what_is_shown_is_in_a_file() -> None:
    for kind in KINDS:
        assert bool(kind.shown) == (kind.file is not None)


def test_a_walk_finds_every_item_once_and_goes_on_behind_any() -> None:
    data = InMemoryCustomerData()
    for customer_id in ("cus_1", "cus_10"):
        for item in every_kind(customer_id, [NOVEMBER, DECEMBER], sessions=2):
            data.put(**item)
    walk = Walk(Scope("cus_1", NOVEMBER, DECEMBER), data._read)
    visits = list(walk.visits(()))
    found = [visit.place for visit in visits if visit.place is not None]
    assert len(found) == len(set(found)) == len(data.items) / 2
    for number, visit in enumerate(visits):
        assert list(walk.visits(visit.position)) == visits[number + 1 :]


def test_a_payer_that_pays_for_another_customer_now_is_not_the_former_ones() -> None:
    data = InMemoryCustomerData()
    data.put("accounts", "PAYMENTS#cus_1", "cus_stripe")
    data.put("accounts", "PAYMENT#cus_stripe", "PAYER", customer_id={"S": "cus_10"})
    visits = Walk(Scope("cus_1", NOVEMBER, NOVEMBER), data._read).visits(())
    assert [v.place.pk for v in visits if v.place is not None] == ["PAYMENTS#cus_1"]


def test_a_live_session_is_only_that_of_its_latest_record() -> None:
    data = InMemoryCustomerData()
    for item in every_kind("cus_1", [NOVEMBER], sessions=1):
        data.put(**item)
    older = {"agent": {"S": "a#b"}, "conversation_id": {"S": "2026-11/0"}}
    data.put("sessions", "RECORDS#cus_1#2026-11", "ses_0", **older)
    visits = Walk(Scope("cus_1", NOVEMBER, NOVEMBER), data._read).visits(())
    assert sum(v.place is not None and v.kind == "live session" for v in visits) == 1
