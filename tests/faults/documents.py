"""Documents in the vault: stored, counted up, deleted, by requests with keys and without."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import suppress

from flowstack_core.adapters.dynamodb_vault import DynamoDBVaultStore, decode_document
from flowstack_core.adapters.re2_patterns import compile_re2
from flowstack_core.domain.errors import ConflictError
from flowstack_core.services.ports.surroundings import TimeBudget
from flowstack_core.services.vault import (
    DeleteCommand,
    StoreCommand,
    UpdateCommand,
    VaultAccess,
    VaultService,
)
from flowstack_core.services.vault_queries import Query, VaultQueries
from tests.faults.registers import Register
from tests.faults.stage import NO_ANSWER, Stage
from tests.support.fakes import SequentialIds

WORKFLOW = "vault"
KEYS = ("d1", "d2")
COUNTER = "count"
_PATIENCE = 4

Act = Callable[[TimeBudget], object]


class Documents:
    """The customer's documents.

    Two are written as a whole, each time with another number. A third is counted up: exactly as
    often as it was asked for with keys, and at most once more for each request without one.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        store = DynamoDBVaultStore(stage.dynamodb, stage.tables["vault"])
        access = VaultAccess(store, stage.clock, stage.retrier)
        self._vault = VaultService(access, SequentialIds())
        self._queries = VaultQueries(access, compile_re2)
        self._registers: dict[str, Register[int | None]] = {key: Register(None) for key in KEYS}
        self._keyed: set[int] = set()
        self._counted = self._perhaps_counted = 0
        self._counting = 0

    def begin(self) -> None:
        """Store the document that is counted up."""
        command = StoreCommand("c", COUNTER, {"count": 0})
        self._vault.store(self._stage.customer_id, command, self._stage.budget())

    def keep(self) -> None:
        """Store a document or delete it, again while there is no answer."""
        stage = self._stage
        key = stage.random.choice(KEYS)
        register, number = self._registers[key], stage.number()
        keyed = stage.random.random() < 0.7
        name = f"vault-{number}" if keyed else None
        if stage.random.random() < 0.8:
            if keyed:
                self._keyed.add(number)
            command = StoreCommand("c", key, {"number": number}, idempotency_key=name)
            register.write(
                number,
                lambda: self._again(
                    lambda budget: self._vault.store(stage.customer_id, command, budget)
                ),
            )
        else:
            deletion = DeleteCommand("c", key, idempotency_key=name)
            register.write(
                None,
                lambda: self._again(
                    lambda budget: self._vault.delete(stage.customer_id, deletion, budget)
                ),
            )
        if register.still:
            stage.insist(self._number(key) in register.possible, f"{key} is what nobody wrote last")

    def _once_more(self, act: Act) -> None:
        """Send a request whose answer nobody waits for."""
        budget = self._stage.budget()
        with suppress(*NO_ANSWER, ConflictError):
            self._stage.request(WORKFLOW, lambda: act(budget))

    def _again(self, act: Act) -> None:
        """Send a request, and again while there is no answer, as long as patience lasts."""
        stage = self._stage
        for left in reversed(range(_PATIENCE)):
            budget = stage.budget()
            try:
                with stage.repeatable(lambda: self._once_more(act)):
                    stage.request(WORKFLOW, lambda: act(budget))  # noqa: B023 - runs at once
            except NO_ANSWER:
                if not left:
                    raise
                stage.wait(1)
            else:
                return

    def count_up(self) -> None:
        """Add one, with a key until that is done, or once without."""
        stage = self._stage
        keyed = stage.random.random() < 0.7
        name = f"count-{stage.number()}" if keyed else None
        command = UpdateCommand("c", COUNTER, {"$inc": {"count": 1}}, idempotency_key=name)

        def update(budget: TimeBudget) -> None:
            self._vault.update(stage.customer_id, command, budget)

        self._counting += 1
        try:
            if keyed:
                with stage.repeatable(lambda: self._once_more(update)):
                    stage.deliver(WORKFLOW, lambda: update(stage.budget()))
            else:
                stage.request(WORKFLOW, lambda: update(stage.budget()))
        except NO_ANSWER:
            self._perhaps_counted += 1
        else:
            self._counted += 1
        finally:
            self._counting -= 1
        if not self._counting:
            self._check_count()

    def _check_count(self) -> None:
        item = self._known(COUNTER)
        count = -1 if item is None else item["count"]
        most = self._counted + self._perhaps_counted
        self._stage.insist(
            self._counted <= count <= most, f"counted up to {count} of {self._counted} to {most}"
        )

    def check(self) -> None:
        """Look at what is there, and at all that ever was."""
        stage = self._stage
        query = Query(collection="c")
        found = self._queries.find(stage.customer_id, query, stage.budget())
        kept = {meta["key"]: data for meta, data in zip(found["meta"], found["data"], strict=True)}
        for key, register in self._registers.items():
            assert kept.get(key, {}).get("number") in register.possible, "nobody wrote it last"
        self._check_count()
        versions = Counter[tuple[str, str]]()
        numbers = Counter[int]()
        for change in stage.streams.changes("vault", "c#"):
            if change.after is None:
                continue
            document = decode_document(stage.customer_id, change.after)
            versions[document.place.key, document.version] += 1
            numbers[document.data.get("number", 0)] += 1
        assert set(versions.values()) <= {1}, "a version came back"
        assert all(numbers[number] <= 1 for number in self._keyed), "a repeat was a second change"

    def _number(self, key: str) -> int | None:
        data = self._known(key)
        return None if data is None else data["number"]

    def _known(self, key: str) -> dict[str, int] | None:
        changes = list(self._stage.streams.changes("vault", f"c#{key}"))
        if not changes or changes[-1].after is None:
            return None
        return decode_document(self._stage.customer_id, changes[-1].after).data
