"""Requests that are answered later."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from flowstack_core.domain.deferred import DeferredRequest, Run
    from flowstack_core.domain.idempotency import Claim


class DeferredStore(Protocol):
    """Requests that were admitted and are answered later.

    Their answer is written by the `Settlement` that settles their session.
    """

    def accept(self, request: DeferredRequest, body: dict[str, Any], claim: Claim | None) -> bool:
        """Keep a new request, and its id as the answer to its idempotency key, all or nothing.

        ``False`` if the key is no longer ours.

        Raises
        ------
        PayloadTooLargeError
            The body cannot be kept.
        """
        ...

    def take_back(self, request: DeferredRequest, claim: Claim | None) -> bool:
        """Forget a request and its idempotency key; ``False`` if a run has begun."""
        ...

    def request(self, customer_id: str, request_id: str) -> DeferredRequest | None:
        """Return the request as it stands, read consistently."""
        ...

    def body(self, customer_id: str, request_id: str) -> dict[str, Any] | None:
        """Return what was asked for."""
        ...

    def begin(self, run: Run, now: datetime) -> DeferredRequest | None:
        """Begin a run if the request may be run; return the request as it then stands."""
        ...

    def fail(self, run: Run, failure: dict[str, Any]) -> bool:
        """Record that there will be no answer; ``False`` if the run is no longer the last one."""
        ...


class DeferredQueue(Protocol):
    """The way to whoever runs deferred requests: at least once, in any order."""

    def send(self, customer_id: str, request_id: str) -> None:
        """Have the request run.

        Raises
        ------
        StoreContentionError
            Whether it will be run is not known.
        """
        ...
