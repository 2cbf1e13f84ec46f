"""A vault to drive in tests: services over a store, with a clock and patterns of RE2."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from flowstack_core.adapters.re2_patterns import compile_re2
from flowstack_core.services.ports.vault import VaultStore
from flowstack_core.services.vault import (
    DeleteCommand,
    StoreCommand,
    UpdateCommand,
    VaultAccess,
    VaultService,
)
from flowstack_core.services.vault_queries import Query, VaultQueries
from tests.support.fakes import Budget, FixedClock, SequentialIds, retrier
from tests.support.in_memory_vault import InMemoryVaultStore


@dataclass
class Vault:
    """One customer's vault."""

    store_: VaultStore = field(default_factory=InMemoryVaultStore)
    customer_id: str = "cus_vault"
    clock: FixedClock = field(default_factory=FixedClock)
    budget: Budget = field(default_factory=lambda: Budget(28.0))
    ids: SequentialIds = field(default_factory=SequentialIds)

    def __post_init__(self) -> None:
        access = VaultAccess(self.store_, self.clock, retrier(self.budget))
        self.service = VaultService(access, self.ids)
        self.queries = VaultQueries(access, compile_re2)

    def of(self, customer_id: str) -> Vault:
        """Return another customer's vault on the same store."""
        return Vault(self.store_, customer_id, self.clock, self.budget, self.ids)

    def store(
        self, collection: str, data: dict[str, Any], key: str | None = None, **fields: Any
    ) -> dict[str, Any]:
        command = StoreCommand(collection, key, data, **fields)
        return self.service.store(self.customer_id, command, self.budget).document

    def update(
        self, collection: str, key: str, updates: dict[str, Any], **fields: Any
    ) -> dict[str, Any]:
        command = UpdateCommand(collection, key, updates, **fields)
        return self.service.update(self.customer_id, command, self.budget).document

    def delete(self, collection: str, key: str, **fields: Any) -> dict[str, Any]:
        command = DeleteCommand(collection, key, **fields)
        return self.service.delete(self.customer_id, command, self.budget).document

    def clear(self, collection: str, cursor: str | None = None) -> dict[str, Any]:
        return self.service.clear(self.customer_id, collection, cursor, self.budget)

    def get(self, collection: str, key: str) -> dict[str, Any] | None:
        found = self.queries.retrieve(self.customer_id, collection, key, self.budget)["data"]
        document: dict[str, Any] | None = found[0] if found else None
        return document

    def find(self, collection: str, **fields: Any) -> dict[str, Any]:
        return self.queries.find(self.customer_id, Query(collection, **fields), self.budget)

    def data(self, collection: str, **fields: Any) -> list[dict[str, Any]]:
        """Return the documents that are found, whole."""
        found: list[dict[str, Any]] = self.find(collection, **fields)["data"]
        return found

    def pages(self, collection: str, **fields: Any) -> Iterator[dict[str, Any]]:
        """Yield all pages of a query."""
        page = self.find(collection, **fields)
        yield page
        while page["next_cursor"] is not None:
            page = self.find(collection, **{**fields, "cursor": page["next_cursor"]})
            yield page

    def count(self, collection: str, *, partial: bool = False, **fields: Any) -> dict[str, Any]:
        query = Query(collection, **fields)
        return self.queries.count(self.customer_id, query, self.budget, partial=partial)

    def collections(self, limit: int | None = None, cursor: str | None = None) -> dict[str, Any]:
        return self.queries.collections(self.customer_id, limit, cursor, self.budget)
