"""The vault: storing, changing and deleting the documents of one customer.

No request counts a session or asks for the quota (S5, Q2).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

from flowstack_core.domain.errors import (
    IdempotencyConflictError,
    InvalidRequestError,
    ServiceUnavailableError,
    VersionMismatchError,
)
from flowstack_core.domain.idempotency import idempotency_key
from flowstack_core.domain.periods import instant
from flowstack_core.domain.vault import (
    ANYTHING,
    RECEIPT_RETENTION,
    Collection,
    Document,
    Expected,
    Place,
    Receipt,
    collection_of,
    pack,
    place_of,
)
from flowstack_core.domain.vault_cursors import (
    InvalidCursorError,
    key_to_follow,
    read_cursor,
    write_cursor,
)
from flowstack_core.domain.vault_updates import check_updates, updated
from flowstack_core.services.ports.failures import StoreContentionError
from flowstack_core.services.ports.surroundings import Clock, CustomerClocks, TimeBudget
from flowstack_core.services.ports.vault import (
    Refused,
    Repeated,
    VaultIds,
    VaultStore,
    WriteOutcome,
)
from flowstack_core.services.retrying import Retrier

MAX_PAGES = 64
"""Pages of at most 1 MB that one request reads."""

_READING_RESERVE_SECONDS = 6.0
"""What is left when reading stops: enough for the last page, and to render 5 MB."""

_DELIVERY_RESERVE_SECONDS = 0.5

Result = TypeVar("Result")


# --- what is asked for ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StoreCommand:
    """Store a document.

    Attributes
    ----------
    key
        Made where there is none.
    lifetime
        After which the document is gone; ``None`` for never.
    idempotency_key
        The header's text, where there was one.
    """

    collection: str
    key: str | None
    data: dict[str, Any]
    lifetime: timedelta | None = None
    expected: Expected = ANYTHING
    idempotency_key: str | None = None

    operation = "vault.store"

    @property
    def payload(self) -> list[Any]:
        """What a repeat of the request must ask for too."""
        return [self.collection, self.key, self.data, *_facts(self.lifetime, self.expected)]


@dataclass(frozen=True, slots=True)
class UpdateCommand:
    """Change a document.

    Attributes
    ----------
    replaces
        Whether ``updates`` is the whole document, and not what to change.
    lifetime
        A new one, unless ``keeps_lifetime``.
    keeps_lifetime
        Whether the document expires when it would have.
    """

    collection: str
    key: str
    updates: dict[str, Any]
    replaces: bool = False
    lifetime: timedelta | None = None
    keeps_lifetime: bool = True
    expected: Expected = ANYTHING
    idempotency_key: str | None = None

    operation = "vault.update"

    @property
    def payload(self) -> list[Any]:
        """What a repeat of the request must ask for too."""
        return [
            *(self.collection, self.key, self.updates, self.replaces, self.keeps_lifetime),
            *_facts(self.lifetime, self.expected),
        ]

    @property
    def repeatable(self) -> bool:
        """Whether making the change twice leaves what making it once leaves."""
        return self.replaces or not self.updates.keys() & {"$inc", "$push"}


@dataclass(frozen=True, slots=True)
class DeleteCommand:
    """Delete a document."""

    collection: str
    key: str
    expected: Expected = ANYTHING
    idempotency_key: str | None = None

    operation = "vault.delete"

    @property
    def payload(self) -> list[Any]:
        """What a repeat of the request must ask for too."""
        return [self.collection, self.key, *_facts(None, self.expected)]


Command = StoreCommand | UpdateCommand | DeleteCommand


def _facts(lifetime: timedelta | None, expected: Expected) -> list[Any]:
    seconds = None if lifetime is None else lifetime.total_seconds()
    return [seconds, expected.version, expected.absent]


@dataclass(frozen=True, slots=True)
class WriteAnswer:
    """What to answer, and whether it was answered before."""

    document: dict[str, Any]
    replayed: bool = False


# --- one request's reading -----------------------------------------------------------------


class OutOfTimeError(Exception):
    """Reading has to stop where it is."""


@dataclass(slots=True)
class Reading:
    """How much one request has read, and whether it may go on."""

    budget: TimeBudget
    pages: int = 0

    @property
    def may_go_on(self) -> bool:
        """Whether there is time, and room, for another page."""
        return self.pages < MAX_PAGES and self.in_time

    @property
    def in_time(self) -> bool:
        """Whether there is time."""
        return self.budget.remaining_seconds() >= _READING_RESERVE_SECONDS

    def checkpoint(self) -> None:
        """Stop where there is no time, also in the midst of a document.

        Raises
        ------
        OutOfTimeError
            If there is none.
        """
        if not self.in_time:
            raise OutOfTimeError


@dataclass(frozen=True, slots=True)
class VaultAccess:
    """A store with everything that reading it and writing to it have in common."""

    store: VaultStore
    clocks: CustomerClocks
    retrier: Retrier

    def clock(self, customer_id: str, budget: TimeBudget) -> Clock:
        """Return the clock by which the customer's documents expire."""
        return self.retry(lambda: self.clocks.for_customer(customer_id), budget)

    def retry(self, operation: Callable[[], Result], budget: TimeBudget) -> Result:
        """Run an operation on the store until it gives an outcome."""
        return self.retrier.run(operation, budget, reserve_seconds=_DELIVERY_RESERVE_SECONDS)


# --- writing -------------------------------------------------------------------------------


class VaultService:
    """Everything that changes a vault."""

    def __init__(self, access: VaultAccess, ids: VaultIds) -> None:
        self._access = access
        self._store = access.store
        self._ids = ids

    def store(self, customer_id: str, command: StoreCommand, budget: TimeBudget) -> WriteAnswer:
        """Store a document.

        Raises
        ------
        FlowStackError
            If it cannot be stored, or what is there is not as expected.
        """
        now = self._access.clock(customer_id, budget).now()
        key = self._ids.document_key(now) if command.key is None else command.key
        document = Document(
            place=place_of(collection_of(customer_id, command.collection), key),
            body=pack(command.data),
            version=self._ids.version(),
            updated_at=now,
            expires_at=None if command.lifetime is None else now + command.lifetime,
        )
        answer = _written(document)
        receipt = _receipt(customer_id, command, answer, now)
        replay = self._replay(receipt, now, budget)
        if replay is not None:
            return replay
        outcome = self._access.retry(
            lambda: self._store.put(document, command.expected, receipt, now), budget
        )
        return _answer(outcome, answer, receipt)

    def update(self, customer_id: str, command: UpdateCommand, budget: TimeBudget) -> WriteAnswer:
        """Change a document; changes at the same time are made one after the other.

        Raises
        ------
        FlowStackError
            If the change cannot be made, or the document is not as expected.
        """
        now = self._access.clock(customer_id, budget).now()
        place = place_of(collection_of(customer_id, command.collection), command.key)
        if not command.replaces:
            check_updates(command.updates)
        version = self._ids.version()

        def attempt(found: Document | None) -> WriteAnswer:
            _check(found, command.expected)
            if found is None:
                return WriteAnswer(_nothing_written(place.key))
            document = _changed(found, command, version, now)
            answer = _written(document)
            receipt = _receipt(customer_id, command, answer, now)
            try:
                outcome = self._store.put(document, Expected(found.version), receipt, now)
            except StoreContentionError as unsure:
                if command.repeatable or receipt is not None:
                    raise
                raise _may_have_been_made() from unsure
            return _answer(_still_as_found(outcome), answer, receipt)

        return self._on_present(place, command, attempt, now, budget)

    def delete(self, customer_id: str, command: DeleteCommand, budget: TimeBudget) -> WriteAnswer:
        """Delete a document; that there is none is no error.

        Raises
        ------
        VersionMismatchError
            If the document has another version than expected.
        """
        now = self._access.clock(customer_id, budget).now()
        place = place_of(collection_of(customer_id, command.collection), command.key)

        def attempt(found: Document | None) -> WriteAnswer:
            if found is None:
                return WriteAnswer({**removed_document(0), "success": False})
            _check(found, command.expected)
            answer = removed_document(1)
            receipt = _receipt(customer_id, command, answer, now)
            outcome = self._store.delete(found, receipt, now)
            return _answer(_still_as_found(outcome), answer, receipt)

        return self._on_present(place, command, attempt, now, budget)

    def clear(
        self, customer_id: str, collection: str, cursor: str | None, budget: TimeBudget
    ) -> dict[str, Any]:
        """Delete what was stored in a collection before clearing began, as far as time goes.

        Raises
        ------
        InvalidRequestError
            If the cursor is none of this request.
        """
        cleared = collection_of(customer_id, collection)
        request = ["clear", cleared.name]
        now = self._access.clock(customer_id, budget).now()
        began, after = (now, None) if cursor is None else _clearing(cleared, request, cursor)
        reading, deleted = Reading(budget), 0
        while True:
            page = self._access.retry(lambda: self._store.page(cleared, after, None), budget)  # noqa: B023 - runs at once
            old = [each for each in page.documents if each.updated_at <= began]
            places = [each.place for each in old]
            self._access.retry(lambda: self._store.remove(places), budget)  # noqa: B023 - runs at once
            deleted += sum(each.live(now) for each in old)
            after = page.next_after
            reading.pages += 1
            if after is None:
                return removed_document(deleted)
            if not reading.may_go_on:
                cursor = write_cursor(request, [began.isoformat(), after])
                return removed_document(deleted, cursor)

    def _on_present(
        self,
        place: Place,
        command: UpdateCommand | DeleteCommand,
        attempt: Callable[[Document | None], WriteAnswer],
        now: datetime,
        budget: TimeBudget,
    ) -> WriteAnswer:
        """Try on the document as it is, anew each time that somebody else changes it meanwhile."""
        receipt = _receipt(place.collection.customer_id, command, {}, now)
        replay = self._replay(receipt, now, budget)
        if replay is not None:
            return replay

        def try_once() -> WriteAnswer:
            found = self._store.get(place)
            return attempt(found if found is not None and found.live(now) else None)

        return self._access.retry(try_once, budget)

    def _replay(
        self, wanted: Receipt | None, now: datetime, budget: TimeBudget
    ) -> WriteAnswer | None:
        """Return the first answer to the request, if it was answered before."""
        if wanted is None:
            return None
        found = self._access.retry(
            lambda: self._store.receipt(wanted.customer_id, wanted.digest), budget
        )
        return None if found is None or found.expires_at <= now else _repeat(found, wanted)


def _changed(found: Document, command: UpdateCommand, version: str, now: datetime) -> Document:
    data = command.updates if command.replaces else updated(found.data, command.updates)
    expires_at = found.expires_at
    if not command.keeps_lifetime:
        expires_at = None if command.lifetime is None else now + command.lifetime
    return Document(found.place, pack(data), version, now, expires_at)


def _check(found: Document | None, expected: Expected) -> None:
    if not expected.allows(found):
        raise _mismatch(found)


def _still_as_found(outcome: WriteOutcome) -> WriteOutcome:
    if isinstance(outcome, Refused):
        raise StoreContentionError("changed meanwhile")
    return outcome


def _answer(outcome: WriteOutcome, answer: dict[str, Any], receipt: Receipt | None) -> WriteAnswer:
    if isinstance(outcome, Refused):
        raise _mismatch(outcome.found)
    if isinstance(outcome, Repeated) and receipt is not None:
        return _repeat(outcome.receipt, receipt)
    return WriteAnswer(answer)


def _repeat(found: Receipt, wanted: Receipt) -> WriteAnswer:
    if found.fingerprint != wanted.fingerprint:
        raise IdempotencyConflictError(
            "This Idempotency-Key was used before with a different request.",
            details={"hint": "Use a new key for a new request."},
        )
    return WriteAnswer(found.answer, replayed=True)


def _receipt(
    customer_id: str, command: Command, answer: dict[str, Any], now: datetime
) -> Receipt | None:
    """Return what to remember of a request, if it has an idempotency key."""
    if command.idempotency_key is None:
        return None
    try:
        key = idempotency_key(
            customer_id, command.idempotency_key, command.operation, {"payload": command.payload}
        )
    except ValueError as error:
        raise InvalidRequestError(f"{error}.", details={"field": "Idempotency-Key"}) from error
    return Receipt(customer_id, key.digest, key.fingerprint, answer, now + RECEIPT_RETENTION)


def _clearing(
    collection: Collection, request: list[Any], cursor: str
) -> tuple[datetime, str | None]:
    match read_cursor(request, cursor):
        case [str() as written, str() as after]:
            return _beginning(written), key_to_follow(collection, after)
    raise InvalidCursorError


def _beginning(written: str) -> datetime:
    try:
        began = datetime.fromisoformat(written)
    except ValueError:
        raise InvalidCursorError from None
    if began.tzinfo is None:
        raise InvalidCursorError
    return began


def _mismatch(found: Document | None) -> VersionMismatchError:
    return VersionMismatchError(
        "The document is not as the request expects. Nothing was changed.",
        details={
            "version": None if found is None else found.version,
            "hint": "Get the document again, and send its version as if_match.",
        },
    )


def _may_have_been_made() -> ServiceUnavailableError:
    return ServiceUnavailableError(
        "The change may have been made or not; it was not tried again.",
        details={"hint": "Send an Idempotency-Key: then a repeat acts once."},
        retry_after_seconds=1,
    )


# --- documents -----------------------------------------------------------------------------


def document_facts(document: Document) -> dict[str, Any]:
    """Render what FlowStack knows about a document."""
    expires_at = document.expires_at
    return {
        "key": document.place.key,
        "version": document.version,
        "updated_at": instant(document.updated_at),
        "expires_at": None if expires_at is None else instant(expires_at),
    }


def removed_document(deleted: int, next_cursor: str | None = None) -> dict[str, Any]:
    """Render a deletion; with a cursor it has not come to its end."""
    return {
        "success": next_cursor is None,
        "deleted": deleted,
        "remaining": next_cursor is not None,
        "next_cursor": next_cursor,
    }


def _written(document: Document) -> dict[str, Any]:
    return {"success": True, **document_facts(document)}


def _nothing_written(key: str) -> dict[str, Any]:
    return {
        "success": False,
        "key": key,
        "version": None,
        "updated_at": None,
        "expires_at": None,
    }
