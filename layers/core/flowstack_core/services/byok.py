"""Bring your own key: credentials that customers store, and their use in messages.

Values are in memory only, for as long as a request needs them and in a cache that forgets after a
minute: that is how long a deletion or a rotation may take to be seen everywhere.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from threading import Lock
from typing import Any, TypeVar

from flowstack_core.domain.errors import ConflictError, NotFoundError
from flowstack_core.domain.periods import instant
from flowstack_core.domain.providers import (
    Provider,
    ProviderCredentials,
    check_external_id,
    credentials_required,
    parse_credentials,
    parse_provider,
)
from flowstack_core.domain.stored_credentials import (
    StoredCredentials,
    credentials_of,
    masked,
    plaintext_of,
)
from flowstack_core.services.auditing import Auditor
from flowstack_core.services.ports.credentials import (
    CredentialCipher,
    StoredCredentialReader,
    StoredCredentialStore,
)
from flowstack_core.services.ports.surroundings import Clock, TimeBudget
from flowstack_core.services.retrying import Retrier

Result = TypeVar("Result")

CACHE_LIFETIME = timedelta(seconds=60)
"""How long credentials that were deleted or replaced can still be used."""

_CACHE_SIZE = 256
_MAX_CHANGE_ATTEMPTS = 5
_DELIVERY_RESERVE_SECONDS = 0.3


class CredentialService:
    """Stores, lists and deletes credentials. An ``actor`` is who is acting: the key's id."""

    def __init__(
        self,
        store: StoredCredentialStore,
        cipher: CredentialCipher,
        clock: Clock,
        random_bytes: Callable[[int], bytes],
        retrier: Retrier,
    ) -> None:
        self._store = store
        self._cipher = cipher
        self._clock = clock
        self._audit = Auditor(clock, random_bytes).record
        self._retrier = retrier

    def store(
        self,
        actor: str,
        customer_id: str,
        provider_name: str,
        values: Mapping[str, str],
        budget: TimeBudget,
    ) -> tuple[StoredCredentials, bool]:
        """Keep credentials; return them, and whether they replaced others.

        Raises
        ------
        FlowStackError
            The provider does not exist, or the values have not the form it wants, or name the
            external id of somebody else.
        """
        provider = parse_provider(provider_name)
        given = parse_credentials(provider, values, named="credentials")
        if given is None:
            raise credentials_required(provider, named="credentials")
        check_external_id(given, customer_id, named="credentials")
        plaintext = plaintext_of(given)
        ciphertext = self._retry(
            lambda: self._cipher.encrypt(customer_id, provider, plaintext), budget
        )
        for _ in range(_MAX_CHANGE_ATTEMPTS):
            before = self._find(customer_id, provider, budget)
            now = self._clock.now()
            after = StoredCredentials(
                customer_id=customer_id,
                provider=provider,
                masked=masked(given),
                ciphertext=ciphertext,
                created_at=now if before is None else before.created_at,
                updated_at=now,
                version=1 if before is None else before.version + 1,
            )
            action = "credentials.store" if before is None else "credentials.rotate"
            replaced = None if before is None else before.facts()
            audit = self._audit(actor, customer_id, action, replaced, after.facts())
            change = partial(self._store.replace_credentials, before, after, audit)
            if self._retry(change, budget):
                return after, before is not None
        raise _busy()

    def stored(self, customer_id: str, budget: TimeBudget) -> Sequence[StoredCredentials]:
        """Return what the customer has stored, by provider."""
        return self._retry(lambda: self._store.all_credentials(customer_id), budget)

    def delete(
        self, actor: str, customer_id: str, provider_name: str, budget: TimeBudget
    ) -> Provider:
        """Delete a provider's credentials for good.

        Raises
        ------
        NotFoundError
            There are none.
        """
        provider = parse_provider(provider_name)
        for _ in range(_MAX_CHANGE_ATTEMPTS):
            stored = self._find(customer_id, provider, budget)
            if stored is None:
                raise NotFoundError(
                    f"No {provider.value} credentials are stored.",
                    details={"provider": provider.value},
                )
            audit = self._audit(actor, customer_id, "credentials.delete", stored.facts(), None)
            if self._retry(partial(self._store.delete_credentials, stored, audit), budget):
                return provider
        raise _busy()

    def _find(
        self, customer_id: str, provider: Provider, budget: TimeBudget
    ) -> StoredCredentials | None:
        return self._retry(lambda: self._store.credentials(customer_id, provider), budget)

    def _retry(self, operation: Callable[[], Result], budget: TimeBudget) -> Result:
        return self._retrier.run(operation, budget, reserve_seconds=_DELIVERY_RESERVE_SECONDS)


@dataclass(slots=True)
class _Cache:
    """Decrypted credentials, oldest first: few of them, and none for longer than a minute."""

    _entries: OrderedDict[tuple[str, Provider], tuple[datetime, ProviderCredentials]] = field(
        default_factory=OrderedDict, repr=False
    )
    _lock: Lock = field(default_factory=Lock, repr=False)

    def get(self, place: tuple[str, Provider], now: datetime) -> ProviderCredentials | None:
        """Return what is kept, and forget whatever is too old."""
        with self._lock:
            for stale in [at for at, (read, _) in self._entries.items() if not _fresh(read, now)]:
                del self._entries[stale]
            found = self._entries.get(place)
        return None if found is None else found[1]

    def put(
        self, place: tuple[str, Provider], read_at: datetime, credentials: ProviderCredentials
    ) -> None:
        """Keep credentials that were read no earlier than ``read_at``."""
        with self._lock:
            self._entries.pop(place, None)
            self._entries[place] = (read_at, credentials)
            if len(self._entries) > _CACHE_SIZE:
                self._entries.popitem(last=False)


def _fresh(read_at: datetime, now: datetime) -> bool:
    return timedelta(0) <= now - read_at < CACHE_LIFETIME


class CredentialFinder:
    """Finds the stored credentials that a message is answered with.

    Parameters
    ----------
    clock
        The system's: a test clock that leaps must neither keep nor lose a secret.
    """

    def __init__(
        self, store: StoredCredentialReader, cipher: CredentialCipher, clock: Clock
    ) -> None:
        self._store = store
        self._cipher = cipher
        self._clock = clock
        self._cache = _Cache()

    def find(self, customer_id: str, provider: Provider) -> ProviderCredentials | None:
        """Return the customer's credentials at the provider; ``None`` if none are stored.

        That there are none is never remembered: what is stored can be used at once.

        Raises
        ------
        StoredCredentialsUnreadableError
            There are some, and they cannot be decrypted.
        StoreContentionError
            Trying again may help.
        """
        now = self._clock.now()
        place = (customer_id, provider)
        known = self._cache.get(place, now)
        if known is not None:
            return known
        stored = self._store.credentials(customer_id, provider)
        if stored is None:
            return None
        plaintext = self._cipher.decrypt(customer_id, provider, stored.ciphertext)
        credentials = credentials_of(provider, plaintext)
        self._cache.put(place, now, credentials)
        self._note_use(stored, now)
        return credentials

    def _note_use(self, stored: StoredCredentials, now: datetime) -> None:
        if not stored.use_is_news(now):
            return
        # When they were used is a courtesy: nothing that fails here may fail the message.
        with suppress(Exception):
            self._store.mark_used(stored, now)


def credential_facts(stored: StoredCredentials) -> dict[str, Any]:
    """Render stored credentials for the customer: masked."""
    return {
        "provider": stored.provider.value,
        "credentials": dict(stored.masked),
        "created_at": instant(stored.created_at),
        "updated_at": instant(stored.updated_at),
        "last_used_at": None if stored.last_used_at is None else instant(stored.last_used_at),
    }


def _busy() -> ConflictError:
    return ConflictError("These credentials are being changed by somebody else; try again.")
