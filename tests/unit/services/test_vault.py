"""The vault's rules: whose documents, which are there, what a write expects, what a retry does."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowstack_core.domain.errors import (
    IdempotencyConflictError,
    InvalidRequestError,
    PayloadTooLargeError,
    QueryTooLargeError,
    ServiceUnavailableError,
    SortTooLargeError,
    VersionMismatchError,
)
from flowstack_core.domain.vault import Document, Expected, collection_of
from flowstack_core.services import vault as vault_module
from flowstack_core.services.ports.failures import StoreContentionError
from flowstack_core.services.vault import DeleteCommand, StoreCommand, UpdateCommand
from tests.support.fakes import Budget
from tests.support.in_memory_vault import InMemoryVaultStore
from tests.support.vaults import Vault

HOUR = timedelta(hours=1)


@pytest.fixture
def vault() -> Vault:
    return Vault()


def small_pages(size: int = 3) -> Vault:
    """Return a vault whose store has pages of few documents."""
    return Vault(InMemoryVaultStore(page_size=size))


def filled(vault: Vault, documents: int = 10, collection: str = "c") -> Vault:
    for number in range(documents):
        vault.store(collection, {"n": number}, f"k{number:03d}")
    return vault


def numbers(found: dict[str, Any]) -> list[int]:
    return [data["n"] for data in found["data"]]


# --- storing and getting -------------------------------------------------------------------


def test_what_was_stored_is_found(vault: Vault) -> None:
    stored = vault.store("users", {"name": "Ada"}, "ada")
    assert stored["success"] is True
    assert vault.get("users", "ada") == {"name": "Ada"}
    found = vault.find("users")
    assert found["data"] == [{"name": "Ada"}]
    facts = {name: stored[name] for name in ("key", "version", "updated_at", "expires_at")}
    assert found["meta"] == [facts]


def test_a_document_without_a_key_gets_one(vault: Vault) -> None:
    one, other = vault.store("users", {"n": 1}), vault.store("users", {"n": 1})
    assert one["key"] != other["key"]
    assert vault.get("users", one["key"]) == {"n": 1}
    assert vault.count("users")["count"] == 2


def test_storing_again_replaces(vault: Vault) -> None:
    first = vault.store("users", {"a": 1, "b": 2}, "k")
    second = vault.store("users", {"a": 3}, "k")
    assert first["version"] != second["version"]
    assert vault.data("users") == [{"a": 3}]


def test_what_is_not_there_is_not_found(vault: Vault) -> None:
    assert vault.get("users", "k") is None
    assert vault.find("users") == {"data": [], "meta": [], "next_cursor": None}
    assert vault.count("users")["count"] == 0
    assert vault.delete("users", "k")["success"] is False
    assert vault.update("users", "k", {"a": 1})["success"] is False
    assert vault.get("users", "k") is None


def test_a_deleted_document_is_gone(vault: Vault) -> None:
    vault.store("users", {"a": 1}, "k")
    deleted = vault.delete("users", "k")
    assert deleted == {"success": True, "deleted": 1, "remaining": False, "next_cursor": None}
    assert vault.get("users", "k") is None
    assert vault.delete("users", "k")["success"] is False


def test_the_samples_of_the_published_package_run(vault: Vault) -> None:
    for day in range(40):
        vault.store("usage_history", {"timestamp": f"2026-11-{day:02d}", "usage_percentage": day})
    history = vault.data("usage_history", sort=[["timestamp", -1]], limit=30)
    assert len(history) == 30
    assert history[0]["usage_percentage"] - history[1]["usage_percentage"] == 1
    vault.store("cache", {"data": "result"}, "expensive_op_1")
    assert vault.get("cache", "expensive_op_1") == {"data": "result"}
    assert vault.get("cache", "expensive_op_2") is None


# --- changing ------------------------------------------------------------------------------


def test_an_update_keeps_what_it_does_not_name(vault: Vault) -> None:
    vault.store("users", {"a": 1, "b": 2}, "k")
    assert vault.update("users", "k", {"b": 3})["success"] is True
    assert vault.get("users", "k") == {"a": 1, "b": 3}
    vault.update("users", "k", {"$inc": {"a": 5}, "$push": {"tags": "new"}, "$unset": {"b": 1}})
    assert vault.get("users", "k") == {"a": 6, "tags": ["new"]}


def test_an_update_can_replace(vault: Vault) -> None:
    vault.store("users", {"a": 1}, "k")
    vault.update("users", "k", {"$inc": 1}, replaces=True)
    assert vault.get("users", "k") == {"$inc": 1}


def test_an_update_that_makes_a_document_too_large_is_refused(vault: Vault) -> None:
    vault.store("users", {"a": "x" * 600_000}, "k")
    with pytest.raises(PayloadTooLargeError):
        vault.update("users", "k", {"b": "x" * 600_000})
    assert vault.get("users", "k") == {"a": "x" * 600_000}


def test_changes_at_once_are_both_made(vault: Vault) -> None:
    class Racing(InMemoryVaultStore):
        """Lets somebody else in between reading and writing, twice."""

        rivals = 2

        def put(self, document: Document, *arguments: Any) -> Any:
            if self.rivals and document.data["n"] > 0:
                self.rivals -= 1
                Vault(self, ids=vault.ids).update("c", "k", {"$inc": {"n": 100}})
            return super().put(document, *arguments)

    racing = Racing()
    racing.rivals = 0
    mine = Vault(racing, ids=vault.ids)
    mine.store("c", {"n": 0}, "k")
    racing.rivals = 2
    mine.update("c", "k", {"$inc": {"n": 1}})
    assert mine.get("c", "k") == {"n": 201}


# --- versions ------------------------------------------------------------------------------


def test_a_write_on_another_version_changes_nothing(vault: Vault) -> None:
    old = vault.store("c", {"n": 1}, "k")["version"]
    new = vault.store("c", {"n": 2}, "k")["version"]
    expected = Expected(old)
    writes: list[Callable[[], Any]] = [
        lambda: vault.store("c", {"n": 3}, "k", expected=expected),
        lambda: vault.update("c", "k", {"n": 3}, expected=expected),
        lambda: vault.delete("c", "k", expected=expected),
    ]
    for write in writes:
        with pytest.raises(VersionMismatchError) as refusal:
            write()
        assert refusal.value.details["version"] == new
    assert vault.get("c", "k") == {"n": 2}


def test_a_write_on_the_present_version_takes_place(vault: Vault) -> None:
    version = vault.store("c", {"n": 1}, "k")["version"]
    version = vault.store("c", {"n": 2}, "k", expected=Expected(version))["version"]
    version = vault.update("c", "k", {"n": 3}, expected=Expected(version))["version"]
    assert vault.get("c", "k") == {"n": 3}
    assert vault.delete("c", "k", expected=Expected(version))["success"] is True


def test_what_is_absent_has_no_version(vault: Vault) -> None:
    writes: list[Callable[[], Any]] = [
        lambda: vault.store("c", {"n": 3}, "k", expected=Expected("ver_1")),
        lambda: vault.update("c", "k", {"n": 3}, expected=Expected("ver_1")),
    ]
    for write in writes:
        with pytest.raises(VersionMismatchError) as refusal:
            write()
        assert refusal.value.details["version"] is None
    assert vault.delete("c", "k", expected=Expected("ver_1"))["success"] is False
    assert vault.get("c", "k") is None


def test_only_one_creates_what_must_be_absent(vault: Vault) -> None:
    vault.store("c", {"n": 1}, "k", expected=Expected(absent=True))
    with pytest.raises(VersionMismatchError):
        vault.store("c", {"n": 2}, "k", expected=Expected(absent=True))
    assert vault.get("c", "k") == {"n": 1}


# --- expiry (TRAPS 12: DynamoDB returns expired items for days) ----------------------------


def test_an_expired_document_is_nowhere_though_the_store_has_it(vault: Vault) -> None:
    vault.store("c", {"n": 1}, "k", lifetime=HOUR)
    vault.clock.advance(seconds=3599.999999)
    assert vault.get("c", "k") == {"n": 1}
    vault.clock.advance(microseconds=1)
    assert vault.get("c", "k") is None
    assert vault.data("c") == []
    assert vault.data("c", sort={"n": 1}) == []
    assert vault.count("c")["count"] == 0
    assert vault.count("c", filter={"n": 1})["count"] == 0
    assert vault.collections()["names"] == []
    assert vault.update("c", "k", {"n": 2})["success"] is False
    assert vault.delete("c", "k")["success"] is False
    assert vault.clear("c")["deleted"] == 0


def test_an_expired_document_is_absent_for_conditions(vault: Vault) -> None:
    version = vault.store("c", {"n": 1}, "k", lifetime=HOUR)["version"]
    vault.clock.advance(hours=1)
    with pytest.raises(VersionMismatchError):
        vault.store("c", {"n": 2}, "k", expected=Expected(version))
    vault.store("c", {"n": 3}, "k", expected=Expected(absent=True))
    assert vault.get("c", "k") == {"n": 3}


def test_a_change_keeps_the_lifetime_unless_it_names_one(vault: Vault) -> None:
    first = vault.store("c", {"n": 1}, "k", lifetime=HOUR)["expires_at"]
    assert vault.update("c", "k", {"n": 2})["expires_at"] == first
    vault.clock.advance(minutes=30)
    later = vault.update("c", "k", {"n": 3}, lifetime=HOUR, keeps_lifetime=False)["expires_at"]
    assert later > first
    assert vault.update("c", "k", {"n": 4}, keeps_lifetime=False)["expires_at"] is None


def test_storing_anew_ends_the_old_lifetime(vault: Vault) -> None:
    vault.store("c", {"n": 1}, "k", lifetime=HOUR)
    assert vault.store("c", {"n": 2}, "k")["expires_at"] is None
    vault.clock.advance(hours=2)
    assert vault.get("c", "k") == {"n": 2}


# --- retries -------------------------------------------------------------------------------


def test_a_repeated_store_without_a_key_makes_one_document(vault: Vault) -> None:
    command = StoreCommand("c", None, {"n": 1}, idempotency_key="once")
    first = vault.service.store(vault.customer_id, command, vault.budget)
    again = vault.service.store(vault.customer_id, command, vault.budget)
    assert (first.replayed, again.replayed) == (False, True)
    assert again.document == first.document
    assert vault.count("c")["count"] == 1


def test_a_repeated_increment_counts_once(vault: Vault) -> None:
    vault.store("c", {"n": 0}, "k")
    command = UpdateCommand("c", "k", {"$inc": {"n": 1}}, idempotency_key="once")
    for _ in range(3):
        vault.service.update(vault.customer_id, command, vault.budget)
    assert vault.get("c", "k") == {"n": 1}


def test_a_repeat_gets_the_first_answer_whatever_happened_since(vault: Vault) -> None:
    vault.store("c", {"n": 0}, "k")
    version = vault.store("c", {"n": 0}, "k")["version"]
    update = UpdateCommand("c", "k", {"n": 1}, expected=Expected(version), idempotency_key="u")
    delete = DeleteCommand("c", "k", idempotency_key="d")
    first = vault.service.update(vault.customer_id, update, vault.budget)
    removed = vault.service.delete(vault.customer_id, delete, vault.budget)
    vault.store("c", {"n": 2}, "k")
    assert vault.service.update(vault.customer_id, update, vault.budget).document == first.document
    assert vault.service.delete(vault.customer_id, delete, vault.budget).document == (
        removed.document
    )
    assert vault.get("c", "k") == {"n": 2}


def test_a_key_that_was_used_for_something_else_is_refused(vault: Vault) -> None:
    vault.store("c", {"n": 1}, "k", idempotency_key="once")
    writes: list[Callable[[], Any]] = [
        lambda: vault.store("c", {"n": 2}, "k", idempotency_key="once"),
        lambda: vault.store("d", {"n": 1}, "k", idempotency_key="once"),
        lambda: vault.store("c", {"n": 1}, "k", idempotency_key="once", lifetime=HOUR),
        lambda: vault.update("c", "k", {"n": 1}, idempotency_key="once"),
        lambda: vault.delete("c", "k", idempotency_key="once"),
    ]
    for write in writes:
        with pytest.raises(IdempotencyConflictError):
            write()
    assert vault.get("c", "k") == {"n": 1}


def test_a_key_is_forgotten_after_a_day(vault: Vault) -> None:
    vault.store("c", {"n": 1}, idempotency_key="once")
    vault.clock.advance(hours=24)
    vault.store("c", {"n": 1}, idempotency_key="once")
    assert vault.count("c")["count"] == 2


def test_keys_of_other_customers_are_other_keys(vault: Vault) -> None:
    vault.store("c", {"n": 1}, "k", idempotency_key="once")
    other = vault.of("cus_other")
    assert other.store("c", {"n": 2}, "k", idempotency_key="once")["success"] is True
    assert other.get("c", "k") == {"n": 2}


def test_what_is_no_idempotency_key_is_refused(vault: Vault) -> None:
    with pytest.raises(InvalidRequestError):
        vault.store("c", {"n": 1}, "k", idempotency_key="ключ")


class Unsure(InMemoryVaultStore):
    """Does what it is told, and sometimes loses the answer."""

    losses = 0

    def put(self, *arguments: Any) -> Any:
        outcome = super().put(*arguments)
        if self.losses:
            self.losses -= 1
            raise StoreContentionError("time-out")
        return outcome


def test_an_increment_whose_answer_was_lost_is_not_made_again() -> None:
    store = Unsure()
    vault = Vault(store)
    vault.store("c", {"n": 0}, "k")
    store.losses = 1
    with pytest.raises(ServiceUnavailableError) as refusal:
        vault.update("c", "k", {"$inc": {"n": 1}})
    assert refusal.value.retry_after_seconds
    assert vault.get("c", "k") == {"n": 1}


def test_with_a_key_the_lost_answer_is_found() -> None:
    store = Unsure()
    vault = Vault(store)
    vault.store("c", {"n": 0}, "k")
    store.losses = 1
    assert vault.update("c", "k", {"$inc": {"n": 1}}, idempotency_key="once")["success"] is True
    assert vault.get("c", "k") == {"n": 1}


def test_a_store_whose_answer_was_lost_recognises_itself() -> None:
    store = Unsure()
    vault = Vault(store)
    version = vault.store("c", {"n": 0}, "k")["version"]
    store.losses = 2
    assert vault.store("c", {"n": 1}, "k", expected=Expected(version))["success"] is True
    assert vault.get("c", "k") == {"n": 1}


# --- pages ---------------------------------------------------------------------------------


@pytest.mark.parametrize("sort", [None, [["n", -1]], {"n": 1}])
@pytest.mark.parametrize("limit", [1, 3, 4, 10, 100])
def test_pages_hold_every_document_once(sort: Any, limit: int) -> None:
    vault = filled(small_pages(), 10)
    pages = list(vault.pages("c", sort=sort, limit=limit))
    found = [number for page in pages for number in numbers(page)]
    assert found == (list(range(9, -1, -1)) if sort == [["n", -1]] else list(range(10)))
    assert all(len(page["data"]) <= limit for page in pages)


def test_pages_of_a_filter_hold_what_it_finds() -> None:
    vault = filled(small_pages(), 20)
    found = {"n": {"$mod": [2, 1]}}
    pages = list(vault.pages("c", filter=found, limit=3))
    assert [number for page in pages for number in numbers(page)] == list(range(1, 20, 2))


def test_a_page_goes_on_after_documents_that_were_deleted_meanwhile() -> None:
    vault = filled(small_pages(), 10)
    first = vault.find("c", limit=4)
    vault.delete("c", "k003")
    vault.delete("c", "k004")
    second = vault.find("c", limit=4, cursor=first["next_cursor"])
    assert numbers(second) == [5, 6, 7, 8]


def test_a_cursor_of_another_query_is_refused() -> None:
    vault = filled(small_pages(), 10)
    cursor = vault.find("c", limit=4)["next_cursor"]
    for other in ({"filter": {"n": 1}}, {"sort": {"n": 1}}):
        with pytest.raises(InvalidRequestError) as refusal:
            vault.find("c", limit=4, cursor=cursor, **other)
        assert refusal.value.details["field"] == "cursor"
    with pytest.raises(InvalidRequestError):
        vault.find("d", limit=4, cursor=cursor)
    with pytest.raises(InvalidRequestError):
        vault.count("c", cursor=cursor)


@pytest.fixture
def four_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request reads four pages at most."""
    monkeypatch.setattr(vault_module, "MAX_PAGES", 4)


@pytest.mark.usefixtures("four_pages")
def test_what_does_not_fit_one_request_is_paged_or_refused_and_never_cut() -> None:
    vault = filled(small_pages(), 30)
    with pytest.raises(QueryTooLargeError):
        vault.find("c")
    with pytest.raises(QueryTooLargeError):
        vault.find("c", filter={"n": 29})
    page = vault.find("c", filter={"n": 29}, limit=1)
    assert page["data"] == []
    assert page["next_cursor"] is not None
    found = [
        number for page in vault.pages("c", filter={"n": 29}, limit=1) for number in numbers(page)
    ]
    assert found == [29]


@pytest.mark.usefixtures("four_pages")
def test_what_cannot_be_sorted_whole_is_not_sorted_in_part() -> None:
    vault = filled(small_pages(), 30)
    for limit in (None, 1):
        with pytest.raises(SortTooLargeError):
            vault.find("c", sort={"n": 1}, limit=limit)
    assert len(vault.data("c", limit=10)) == 10


@pytest.mark.usefixtures("four_pages")
@pytest.mark.parametrize("found", [{}, {"n": {"$gte": 0}}])
def test_a_count_is_exact_or_says_that_it_is_not(found: dict[str, Any]) -> None:
    vault = filled(small_pages(), 30)
    with pytest.raises(QueryTooLargeError):
        vault.count("c", filter=found)
    counted, total = vault.count("c", filter=found, partial=True), 0
    while counted["next_cursor"] is not None:
        total += counted["count"]
        counted = vault.count("c", filter=found, cursor=counted["next_cursor"])
    assert total + counted["count"] == 30


def test_an_answer_has_no_more_bytes_than_lambda_returns() -> None:
    vault = Vault()
    for number in range(7):
        vault.store("c", {"n": number, "text": "x" * 900_000}, f"k{number}")
    for sort in (None, {"n": 1}):
        with pytest.raises(QueryTooLargeError):
            vault.find("c", sort=sort)
        pages = list(vault.pages("c", sort=sort, limit=100))
        assert [len(page["data"]) for page in pages] == [5, 2]
        assert [number for page in pages for number in numbers(page)] == list(range(7))


def test_reading_stops_in_time() -> None:
    budget = Budget(28)

    class Slow(InMemoryVaultStore):
        def page(self, *arguments: Any) -> Any:
            budget.sleep(3)
            return super().page(*arguments)

    vault = Vault(Slow(page_size=3), budget=budget)
    filled(vault, 60)
    page = vault.find("c", filter={"n": 59}, limit=5)
    assert page["data"] == []
    assert page["next_cursor"] is not None
    assert budget.seconds > 2
    budget.seconds = 28
    with pytest.raises(SortTooLargeError):
        vault.find("c", sort={"n": 1}, limit=5)
    budget.seconds = 28
    with pytest.raises(QueryTooLargeError):
        vault.find("c", filter={"n": 59})


def test_a_filter_that_takes_all_the_time_is_refused() -> None:
    vault = Vault()
    vault.store("c", {"n": [{"b": 1}] * 100}, "k")
    vault.budget.seconds = 6.1
    checks = vault.budget.remaining_seconds

    def ticking() -> float:
        vault.budget.sleep(0.01)
        return checks()

    vault.budget.remaining_seconds = ticking  # type: ignore[method-assign]
    with pytest.raises(QueryTooLargeError):
        vault.find("c", filter={"n": {"$elemMatch": {"b": 2}}}, limit=1)


# --- clearing and listing ------------------------------------------------------------------


def test_clearing_empties_one_collection(vault: Vault) -> None:
    filled(vault, 5)
    filled(vault, 5, "d")
    assert vault.clear("c") == {
        "success": True,
        "deleted": 5,
        "remaining": False,
        "next_cursor": None,
    }
    assert vault.collections()["names"] == ["d"]
    assert vault.clear("c")["deleted"] == 0


@pytest.mark.usefixtures("four_pages")
def test_clearing_a_large_collection_can_be_gone_on_with() -> None:
    vault = filled(small_pages(), 30)
    cleared = vault.clear("c")
    assert (cleared["success"], cleared["deleted"], cleared["remaining"]) == (False, 12, True)
    vault.clock.advance(seconds=1)
    vault.store("c", {"n": 100}, "k999")
    deleted = cleared["deleted"]
    while cleared["remaining"]:
        cleared = vault.clear("c", cleared["next_cursor"])
        deleted += cleared["deleted"]
    assert deleted == 30
    assert cleared["success"] is True
    assert vault.data("c") == [{"n": 100}]


@pytest.mark.usefixtures("four_pages")
def test_clearing_again_without_the_cursor_comes_to_an_end_too() -> None:
    vault = filled(small_pages(), 30)
    requests = 0
    while vault.clear("c")["remaining"]:
        requests += 1
    assert requests < 4
    assert vault.count("c")["count"] == 0


def test_collections_are_listed_once_each_and_in_pages(vault: Vault) -> None:
    names = ["a", "a#b", "a%b", "ab", "b", "ž", "🐈"]
    for name in names:
        filled(vault, 3, name)
    listed, cursor = [], None
    while True:
        page = vault.collections(2, cursor)
        listed += page["names"]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert sorted(listed) == sorted(names)
    assert vault.collections()["names"] == listed
    assert vault.collections()["collections"] == [f"vault_{name}" for name in listed]


def test_a_collection_of_expired_and_living_documents_is_listed() -> None:
    vault = small_pages()
    for number in range(10):
        vault.store("c", {"n": number}, f"k{number}", lifetime=HOUR)
    vault.store("c", {"n": 10}, "z")
    vault.clock.advance(hours=2)
    assert vault.collections()["names"] == ["c"]


# --- customers -----------------------------------------------------------------------------

hostile = st.one_of(
    st.sampled_from(
        [
            *("#", "%", "%23", "a#", "#a", "cus_b", "cus_b#c", "DOCUMENTS#cus_b", "../cus_b"),
            *("$", "a$", "a%23", "a#b", "a%23b", "collections"),
        ]
    ),
    st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=8).filter(
        lambda text: bool(text.strip())
    ),
)
customers = st.sampled_from(["cus_a", "cus_b"])


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(customers, hostile, hostile), max_size=12), hostile, hostile)
def test_nobody_reaches_the_documents_of_another(
    stored: list[tuple[str, str, str]], collection: str, key: str
) -> None:
    vault = Vault()
    expected: dict[str, dict[str, dict[str, int]]] = {"cus_a": {}, "cus_b": {}}
    for number, (customer, name, of_document) in enumerate(stored):
        mine = vault.of(customer)
        mine.store(name, {"owner": customer, "n": number}, of_document)
        kept = expected[customer].setdefault(collection_of(customer, name).name, {})
        kept[of_document] = number
    for customer, collections in expected.items():
        mine = vault.of(customer)
        assert set(mine.collections()["names"]) == set(collections)
        for name, documents in collections.items():
            found = mine.data(name)
            assert {data["owner"] for data in found} == {customer}
            assert sorted(data["n"] for data in found) == sorted(documents.values())
    vault.of("cus_a").store(collection, {"owner": "cus_a"}, key)
    vault.of("cus_b").clear(collection)
    vault.of("cus_b").delete(collection, key)
    assert vault.of("cus_a").get(collection, key) == {"owner": "cus_a"}
    assert vault.of("cus_b").get(collection, key) is None
