"""Erasures: a customer is stopped, closed and deleted, but for its statements.

The order is what makes it sound. First nothing can start any more and what is owed is on a
statement. Then everything waits until the last request that was under way has ended. Only then it
deletes; and it goes through everything again, after another wait, until there is nothing left.
"""

from __future__ import annotations

from datetime import timedelta
from functools import partial

from flowstack_core.domain.data_rights import Erasure, Phase, Scope
from flowstack_core.domain.errors import InvalidRequestError, NotFoundError
from flowstack_core.domain.periods import Period
from flowstack_core.services.accounts import AccountService
from flowstack_core.services.closing import ClosingService
from flowstack_core.services.ports.data_rights import Archives, CustomerData, DataRightsQueue, Visit
from flowstack_core.services.ports.surroundings import Clock
from flowstack_core.services.retrying import Patience, Retrier
from flowstack_core.services.subscriptions import SubscriptionService, ending

AUDIT_ID = "erasure"
"""Under this id a customer's subscription is ended once."""

STEP_SECONDS = 45

_BATCH = 90
"""Items deleted at once, together with the mark of how far that is: a transaction takes 100."""

_BATCH_BYTES = 3 * 1024 * 1024
"""A transaction takes 4 MB of items."""

_CLOSED_AT_ONCE = 36
"""How many periods one request closes: as many as fit its time."""

_PATIENCE = timedelta(seconds=10)

_NOW = timedelta(0)

_FIRST_STEP = timedelta(seconds=60)
"""When the queue goes on with what the operator's request has begun."""


class ErasureMovedError(Exception):
    """Two were at the same step, and this one came second."""


class ErasureService:
    """Starts erasures, tells how far they are, and does their steps.

    Parameters
    ----------
    quiet
        How long the longest request goes on after its customer was stopped.
    """

    def __init__(
        self,
        accounts: AccountService,
        subscriptions: SubscriptionService,
        closings: ClosingService,
        data: CustomerData,
        archives: Archives,
        queue: DataRightsQueue,
        system_clock: Clock,
        retrier: Retrier,
        *,
        quiet: timedelta,
        batch: int = _BATCH,
    ) -> None:
        self._accounts = accounts
        self._subscriptions = subscriptions
        self._closings = closings
        self._data = data
        self._archives = archives
        self._queue = queue
        self._system_clock = system_clock
        self._retrier = retrier
        self._quiet = quiet
        self._batch = batch

    def start(self, actor: str, customer_id: str, confirm: str) -> Erasure:
        """Stop a customer at once, and have it erased; starting again resumes.

        Raises
        ------
        InvalidRequestError
            ``confirm`` does not repeat the customer's id.
        NotFoundError
            There is no such customer, and never was one that was erased.
        """
        if confirm != customer_id:
            raise InvalidRequestError(
                "confirm must repeat the customer's id: an erasure cannot be undone.",
                details={"field": "confirm"},
            )
        erasure = self._data.erasure(customer_id) or self._begin(actor, customer_id)
        if erasure.phase is Phase.DONE:
            return erasure
        # Asked for before anything is done: should this request be killed, the queue goes on.
        self._queue.send_erasure(customer_id, erasure.runs, min(self._quiet, _FIRST_STEP))
        if erasure.phase is not Phase.STOPPING:
            return erasure
        try:
            return self._step(erasure)
        except ErasureMovedError:
            # The queue, or another request, has stopped the customer meanwhile.
            return self.erasure(customer_id)

    def erasure(self, customer_id: str) -> Erasure:
        """Return how far an erasure is, or that it was done.

        Raises
        ------
        NotFoundError
            Nobody asked for one.
        """
        found = self._data.erasure(customer_id)
        if found is None:
            raise NotFoundError(
                "This customer's erasure was not asked for.", details={"customer_id": customer_id}
            )
        return found

    def step(self, customer_id: str, number: int) -> Erasure:
        """Do a step and ask for the next one.

        A message that comes again goes on where its run was cut off, however far that had come. If
        its run came to the end, it only asks for the next one: were it to do the next one's work,
        and be cut off after that, it would look like one that was overtaken.

        Raises
        ------
        ErasureMovedError
            Somebody else did it at the same time.
        """
        erasure = self.erasure(customer_id)
        if erasure.phase is Phase.DONE or number + 1 < erasure.runs:
            return erasure
        after = self._step(erasure) if number == erasure.runs else erasure
        if after.phase is not Phase.DONE:
            wait = max(_NOW, (after.not_before or after.asked_at) - self._system_clock.now())
            self._queue.send_erasure(customer_id, after.runs, wait)
        return after

    def _step(self, erasure: Erasure) -> Erasure:
        if erasure.phase is Phase.STOPPING:
            return self._stop(erasure)
        due = erasure.not_before is None or self._system_clock.now() >= erasure.not_before
        return self._delete(erasure) if due else erasure

    def _begin(self, actor: str, customer_id: str) -> Erasure:
        customer, _ = self._accounts.customer(customer_id)
        first = Period.containing(customer.created_at)
        erasure = Erasure(Scope(customer_id, first, first), actor, self._system_clock.now())
        self._data.begin_erasure(erasure)
        return self.erasure(customer_id)

    def _stop(self, erasure: Erasure) -> Erasure:
        """End the subscription, revoke the keys, write the last statement.

        The last period is closed while it runs: that fences its counter, so that nothing can start
        in it, and no other one opens for a subscription that has ended.
        """
        customer_id, actor = erasure.scope.customer_id, erasure.actor
        if self._closings.close_due(customer_id, at_most=_CLOSED_AT_ONCE) == _CLOSED_AT_ONCE:
            return erasure
        ended = self._subscriptions.change(actor, customer_id, ending(), AUDIT_ID)
        for key in self._accounts.keys(customer_id):
            self._accounts.revoke_key(actor, customer_id, key.key_id)
        last = Period.containing(ended.ended_at or self._system_clock.now())
        self._closings.close_through(customer_id, last)
        return self._advance(
            erasure, erasure.stopped(last, self._system_clock.now(), self._quiet), []
        )

    def _delete(self, erasure: Erasure) -> Erasure:
        """Delete for a while."""
        until = self._system_clock.now() + timedelta(seconds=STEP_SECONDS)
        batch: list[Visit] = []
        position, kind = erasure.position, ""
        for visit in self._data.walk(erasure.scope, erasure.position):
            if batch and (visit.kind != kind or self._full(batch, visit)):
                erasure = self._delete_batch(erasure, batch, kind, position)
                batch = []
            if self._system_clock.now() >= until:
                paused = erasure.deleted(kind, len(batch), position).handed_on()
                return self._advance(erasure, paused, batch)
            kind, position = visit.kind, visit.position
            if visit.place is not None and not visit.kept:
                batch.append(visit)
        if batch:
            erasure = self._delete_batch(erasure, batch, kind, position)
        archived = self._archives.discard(erasure.scope.customer_id)
        passed = erasure.passed(archived, self._system_clock.now(), self._quiet)
        return self._advance(erasure, passed, [])

    def _full(self, batch: list[Visit], visit: Visit) -> bool:
        size = sum(one.size for one in batch) + visit.size
        return len(batch) == self._batch or size > _BATCH_BYTES

    def _delete_batch(
        self, erasure: Erasure, batch: list[Visit], kind: str, position: tuple[str, ...]
    ) -> Erasure:
        return self._advance(erasure, erasure.deleted(kind, len(batch), position), batch)

    def _advance(self, before: Erasure, after: Erasure, batch: list[Visit]) -> Erasure:
        places = [visit.place for visit in batch if visit.place is not None]
        write = partial(self._data.advance_erasure, before, after, places)
        patience = Patience.of(self._system_clock, _PATIENCE)
        if self._retrier.run(write, patience, reserve_seconds=0):
            return after
        found = self.erasure(before.scope.customer_id)
        if found == after:  # it was this very write, whose answer got lost
            return after
        raise ErasureMovedError(f"step {before.step} was done by somebody else")
