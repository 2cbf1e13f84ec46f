"""Messages whose answer is fetched later: the use case behind ``Prefer: respond-async``.

A message is admitted before it is accepted, so every refusal is given at once and exactly one
session is counted. From then on its attempt is in flight until the request's deadline. The answer
and its session are settled in one write with the request itself: however often a run is begun,
one of them is charged. What was asked for is kept as it came, without credentials.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, TypeVar

from flowstack_core.domain.deferred import (
    LIFETIME,
    OVERRUN,
    RETENTION,
    DeferredRequest,
    Run,
    request_id_of,
)
from flowstack_core.domain.errors import (
    FlowStackError,
    InvalidRequestError,
    ModelTimeoutError,
    NotFoundError,
    RequestInProgressError,
    ServiceUnavailableError,
)
from flowstack_core.domain.periods import Period, instant
from flowstack_core.domain.plans import Tier
from flowstack_core.domain.sessions import Conversation, Session
from flowstack_core.services.admission import Ticket
from flowstack_core.services.conversations import (
    Answer,
    Caller,
    ConversationService,
    Exchange,
    MessageCommand,
    with_tier_in_force,
)
from flowstack_core.services.ports.deferred import DeferredQueue, DeferredStore
from flowstack_core.services.ports.sessions import Attempt
from flowstack_core.services.ports.surroundings import Clock, CustomerClocks, Ids, TimeBudget
from flowstack_core.services.retrying import Retrier

Result = TypeVar("Result")
ReadCommand = Callable[[str, dict[str, Any]], MessageCommand]
"""Makes the command of an operation and its body again."""

_DELIVERY_RESERVE_SECONDS = 0.3


@dataclass(frozen=True, slots=True)
class Accepted:
    """What the caller gets at once; ``replayed`` if it was accepted before."""

    request_id: str
    document: dict[str, Any]
    replayed: bool = False


class DeferredRequests:
    """Accepts messages to be answered later, and tells what became of them."""

    def __init__(
        self,
        conversations: ConversationService,
        store: DeferredStore,
        queue: DeferredQueue,
        clocks: CustomerClocks,
        retrier: Retrier,
    ) -> None:
        self._conversations = conversations
        self._store = store
        self._queue = queue
        self._clocks = clocks
        self._retrier = retrier

    def submit(self, caller: Caller, command: MessageCommand, budget: TimeBudget) -> Accepted:
        """Admit a message and have it answered later.

        Raises
        ------
        FlowStackError
            Each refusal by its own class, as where the answer is given at once.
        """
        if command.credentials is not None:
            raise InvalidRequestError(
                "Credentials cannot be sent with a request that is answered later.",
                details={
                    "field": "byok_credentials",
                    "hint": "They would have to be kept until then. Store them with "
                    "POST /api/byok-credentials, or leave out Prefer: respond-async.",
                },
            )
        return with_tier_in_force(caller, lambda who: self._submit(who, command, budget))

    def _submit(self, caller: Caller, command: MessageCommand, budget: TimeBudget) -> Accepted:
        exchange = self._conversations.receive(caller, command, budget)
        exchange = self._conversations.claim(exchange, f"{command.operation} deferred")
        if exchange.claim is not None and exchange.claim.answer is not None:
            request_id = exchange.claim.answer["request_id"]
            document = self.find(caller.customer_id, request_id, budget)
            return Accepted(request_id, document, replayed=True)
        try:
            ticket = self._conversations.admit(exchange, runs_for=LIFETIME)
            try:
                request = self._accept(exchange, ticket)
            except BaseException:
                self._conversations.withdraw(ticket, exchange.clock, budget)
                raise
        except BaseException:
            self._conversations.drop(exchange)
            raise
        return Accepted(request.request_id, _document(request, exchange.clock))

    def find(self, customer_id: str, request_id: str, budget: TimeBudget) -> dict[str, Any]:
        """Return a request of the customer as it stands, with its outcome once it is over.

        Raises
        ------
        NotFoundError
            The customer has no such request (any more).
        """
        clock = self._retry(lambda: self._clocks.for_customer(customer_id), budget)
        request = self._retry(lambda: self._store.request(customer_id, request_id), budget)
        if request is None or request.expires_at <= clock.now():
            raise NotFoundError(
                "There is no such request.",
                details={"hint": "Requests can be read for 24 hours, by who sent them."},
            )
        return _document(request, clock)

    def _accept(self, exchange: Exchange, ticket: Ticket) -> DeferredRequest:
        """Keep the request and put it on the queue, both or neither."""
        request, claim, budget = _request(exchange, ticket), exchange.claim, exchange.budget
        body = exchange.command.fingerprint
        try:
            if not self._retry(lambda: self._store.accept(request, body, claim), budget):
                raise RequestInProgressError(
                    "Another request has taken over this Idempotency-Key.", retry_after_seconds=2
                )
            self._retry(lambda: self._queue.send(request.customer_id, request.request_id), budget)
        except ServiceUnavailableError:
            # It may be kept and queued all the same: then whoever comes first decides.
            if self._retry(lambda: self._store.take_back(request, claim), budget):
                raise
        return request

    def _retry(self, operation: Callable[[], Result], budget: TimeBudget) -> Result:
        return self._retrier.run(operation, budget, reserve_seconds=_DELIVERY_RESERVE_SECONDS)


class DeferredRunner:
    """Runs deferred requests. The queue may deliver one twice, or again after a run was killed."""

    def __init__(
        self,
        conversations: ConversationService,
        store: DeferredStore,
        clocks: CustomerClocks,
        ids: Ids,
        retrier: Retrier,
        read_command: ReadCommand,
    ) -> None:
        self._conversations = conversations
        self._store = store
        self._clocks = clocks
        self._ids = ids
        self._retrier = retrier
        self._read_command = read_command

    def run(
        self, customer_id: str, request_id: str, budget: TimeBudget
    ) -> Answer | FlowStackError | None:
        """Answer the request, unless that was done or cannot be done any more.

        Returns
        -------
        The answer, or why there is none; ``None`` if there was nothing to do.

        Raises
        ------
        RequestInProgressError
            Another run may still be going on: it must be looked at again later.
        """
        clock = self._retry(lambda: self._clocks.for_customer(customer_id), budget)
        now = clock.now()
        run = Run(
            customer_id,
            request_id,
            self._ids.attempt_id(),
            now + timedelta(seconds=budget.remaining_seconds()) + OVERRUN,
        )
        request = self._retry(lambda: self._store.begin(run, now), budget)
        if request is None:
            return None
        if request.run_id == run.run_id and not request.over:
            return self._answer(request, run, clock, budget)
        if request.status_at(now) == "failed":
            # Whoever failed it may have been killed before the session was given back.
            self._conversations.withdraw(_ticket(request), clock, budget)
            return None
        if request.over:
            return None
        raise RequestInProgressError("Another run of this request has not ended yet.")

    def _answer(
        self, request: DeferredRequest, run: Run, clock: Clock, budget: TimeBudget
    ) -> Answer | FlowStackError:
        ticket = _ticket(request)
        bounded = _UntilDeadline(budget, clock, request)
        try:
            return self._conversations.complete(self._exchange(request, bounded), ticket, run)
        except FlowStackError as error:
            self._give_up(ticket, run, error, clock, budget)
            return error
        except Exception:
            bug = FlowStackError("Something went wrong on our side. Nothing was counted.")
            self._give_up(ticket, run, bug, clock, budget)
            raise

    def _exchange(self, request: DeferredRequest, budget: TimeBudget) -> Exchange:
        """Bring the message to where it was when it was admitted."""
        body = self._retry(
            lambda: self._store.body(request.customer_id, request.request_id), budget
        )
        if body is None:
            raise NotFoundError("What was asked for is no longer kept.")
        exchange = self._conversations.receive(
            Caller(request.customer_id, Tier(request.tier)),
            self._read_command(request.operation, body),
            budget,
            managed=request.managed,
        )
        return replace(exchange, attempt_id=request.attempt_id)

    def _give_up(
        self, ticket: Ticket, run: Run, error: FlowStackError, clock: Clock, budget: TimeBudget
    ) -> None:
        """Record the failure, and only then give the session back (S5).

        The other way round, a run that began in between could not be settled any more. If the
        failure cannot be recorded, the request was settled after all, or another run has it.
        """
        if self._retry(lambda: self._store.fail(run, _failure(error)), budget):
            self._conversations.withdraw(ticket, clock, budget)

    def _retry(self, operation: Callable[[], Result], budget: TimeBudget) -> Result:
        return self._retrier.run(operation, budget, reserve_seconds=_DELIVERY_RESERVE_SECONDS)


@dataclass(frozen=True, slots=True)
class _UntilDeadline:
    """The time of a run, which ends with the request's."""

    budget: TimeBudget
    clock: Clock
    request: DeferredRequest

    def remaining_seconds(self) -> float:
        """Return what is left."""
        left = self.request.deadline - OVERRUN - self.clock.now()
        return min(self.budget.remaining_seconds(), left.total_seconds())


def _request(exchange: Exchange, ticket: Ticket) -> DeferredRequest:
    session, attempt = ticket.session, ticket.attempt
    return DeferredRequest(
        customer_id=exchange.caller.customer_id,
        request_id=request_id_of(attempt.attempt_id),
        attempt_id=attempt.attempt_id,
        tier=exchange.caller.tier.value,
        operation=exchange.command.operation,
        managed=attempt.managed,
        agent=session.conversation.agent,
        conversation_id=session.conversation.conversation_id,
        session_id=session.session_id,
        period=session.period.name,
        session_started_at=session.started_at,
        session_started=ticket.started,
        accepted_at=attempt.at,
        deadline=attempt.busy_until,
        expires_at=attempt.at + RETENTION,
    )


def _ticket(request: DeferredRequest) -> Ticket:
    """Return the proof of admission that `_request` wrote down."""
    conversation = Conversation(request.customer_id, request.agent, request.conversation_id)
    return Ticket(
        attempt=Attempt(
            conversation=conversation,
            attempt_id=request.attempt_id,
            at=request.accepted_at,
            busy_until=request.deadline,
            managed=request.managed,
        ),
        session=Session(
            session_id=request.session_id,
            conversation=conversation,
            period=Period.parse(request.period),
            started_at=request.session_started_at,
            last_activity_at=request.accepted_at,
        ),
        started=request.session_started,
    )


def _document(request: DeferredRequest, clock: Clock) -> dict[str, Any]:
    """Render a request as the caller gets it."""
    status = request.status_at(clock.now())
    document: dict[str, Any] = {
        "request_id": request.request_id,
        "status": status,
        "accepted_at": instant(request.accepted_at),
        "answered_by": instant(request.deadline),
        "expires_at": instant(request.expires_at),
        "session": {
            "id": request.session_id,
            "new": request.session_started,
            "agent": request.agent,
            "conversation_id": request.conversation_id,
            "period": request.period,
        },
    }
    if status == "succeeded":
        document["answer"] = request.answer
    if status == "failed":
        document["failure"] = request.failure or _failure(
            ModelTimeoutError("There was no answer in the time a deferred request has.")
        )
    return document


def _failure(error: FlowStackError) -> dict[str, Any]:
    return {"error": error.message, "error_code": error.code, "details": error.details}
