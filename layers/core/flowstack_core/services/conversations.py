"""Messages in, answers out: the use case behind every door that takes messages.

The order is fixed: everything that can be refused without a store is refused first; then the
idempotency key is claimed, the message admitted, the model called, and answer and session
settled in one write. Whatever fails after admission withdraws the attempt, so that a session in
which nothing was processed is not billed (S5).

A door that answers at once takes all steps with `ConversationService.answer`; one that answers
later (`flowstack_core.services.deferred`) takes the same steps, the model's in another function.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from flowstack_core.domain.catalogue import Catalogue, Model, ResolvedModel
from flowstack_core.domain.errors import (
    FlowStackError,
    IdempotencyConflictError,
    InvalidRequestError,
    ModelError,
    ModelTimeoutError,
    RateLimitedError,
    RequestInProgressError,
    ServiceUnavailableError,
    TierLimitationError,
)
from flowstack_core.domain.fair_use import FairUseMeter
from flowstack_core.domain.idempotency import RETENTION, Claim, idempotency_key
from flowstack_core.domain.messages import (
    DEFAULT_MAX_TOKENS,
    ContentBlock,
    Message,
    ModelAnswer,
    ModelRequest,
    ToolSpec,
    check_conversation,
    check_message,
    context_budget,
    fit_to_context,
)
from flowstack_core.domain.own_limits import UNCAPPED, SessionCaps
from flowstack_core.domain.periods import Period, instant
from flowstack_core.domain.plans import Tier, plan_for
from flowstack_core.domain.providers import (
    Provider,
    ProviderCredentials,
    check_external_id,
    credentials_required,
)
from flowstack_core.domain.rollups import Route
from flowstack_core.domain.sessions import Conversation, Session
from flowstack_core.domain.sizes import acceptable, check_keepable
from flowstack_core.services.admission import Admission, Ticket
from flowstack_core.services.byok import CredentialFinder
from flowstack_core.services.ports.accounts import SubscriptionReader
from flowstack_core.services.ports.models import ModelClient, ModelClients
from flowstack_core.services.ports.observer import Observer
from flowstack_core.services.ports.sessions import SessionStore, Settlement, Turn
from flowstack_core.services.ports.surroundings import Clock, CustomerClocks, Ids, TimeBudget
from flowstack_core.services.retrying import Retrier

if TYPE_CHECKING:
    from flowstack_core.domain.deferred import Run

Result = TypeVar("Result")

_SETTLE_RESERVE_SECONDS = 3.0
"""Kept back from the model, so that its answer can be settled and delivered."""

_SHORTEST_MODEL_SECONDS = 1.0
LONGEST_MODEL_SECONDS = 600.0
"""What a deferred request gives its model; one that is answered at once never has as much."""

_DELIVERY_RESERVE_SECONDS = 0.3


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is asking, as the authorizer found it; never taken from the request.

    ``tier`` and ``caps`` may be some seconds old. The tier only chooses fair-use limits and where
    credentials are looked for first, and before anything here harms the customer it is asked for
    anew.
    """

    customer_id: str
    tier: Tier
    caps: SessionCaps = UNCAPPED


@dataclass(frozen=True, slots=True)
class MessageCommand:
    """One message to an agent, validated as far as its form goes.

    Attributes
    ----------
    operation
        ``invoke``: the caller carries the history; ``chat``: the server keeps it.
    messages
        The whole history for ``invoke``; the new user message for ``chat``.
    credentials
        The customer's own, as the request brought them.
    fingerprint
        The payload without credentials: what tells one request from another under the same
        idempotency key.
    byok
        Whether own credentials are to be used where a managed model would be included too.
    """

    operation: Literal["invoke", "chat"]
    agent: str
    conversation_id: str
    provider: Provider
    model: str
    messages: tuple[Message, ...]
    system: str | None
    tools: tuple[ToolSpec, ...]
    temperature: float | None
    max_tokens: int | None
    credentials: ProviderCredentials | None
    idempotency_key: str | None
    fingerprint: dict[str, Any]
    byok: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What the caller gets, and what is worth counting about it."""

    document: dict[str, Any]
    replayed: bool = False
    session_started: bool = False
    usage_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Exchange:
    """One message on its way through, with everything that was decided about it so far."""

    caller: Caller
    command: MessageCommand
    model: ResolvedModel
    attempt_id: str
    clock: Clock
    budget: TimeBudget
    claim: Claim | None = None

    @property
    def managed(self) -> bool:
        """Whether the operator's account pays for the model."""
        return self.command.credentials is None


class ConversationService:
    """Answers messages."""

    def __init__(
        self,
        *,
        admission: Admission,
        sessions: SessionStore,
        subscriptions: SubscriptionReader,
        clocks: CustomerClocks,
        ids: Ids,
        retrier: Retrier,
        catalogue: Catalogue,
        region: str,
        model_clients: ModelClients,
        fair_use: FairUseMeter,
        own_credentials: CredentialFinder,
        observer: Observer,
    ) -> None:
        self._admission = admission
        self._sessions = sessions
        self._subscriptions = subscriptions
        self._clocks = clocks
        self._ids = ids
        self._retrier = retrier
        self._catalogue = catalogue
        self._region = region
        self._model_clients = model_clients
        self._fair_use = fair_use
        self._own_credentials = own_credentials
        self._observer = observer

    def answer(self, caller: Caller, command: MessageCommand, budget: TimeBudget) -> Answer:
        """Answer one message.

        Raises
        ------
        FlowStackError
            Each refusal and failure by its own class; none of them counts a session.
        """
        return with_tier_in_force(caller, lambda who: self._answer(who, command, budget))

    def _answer(self, caller: Caller, command: MessageCommand, budget: TimeBudget) -> Answer:
        exchange = self.receive(caller, command, budget)
        exchange = self.claim(exchange, command.operation)
        if exchange.claim is not None and exchange.claim.answer is not None:
            return Answer(exchange.claim.answer, replayed=True)
        try:
            ticket = self.admit(exchange)
            try:
                return self.complete(exchange, ticket)
            except BaseException:
                # Also on a bug or a kill signal: what was not processed must not stay counted.
                self.withdraw(ticket, exchange.clock, budget)
                raise
        except BaseException:
            self.drop(exchange)
            raise

    def receive(
        self,
        caller: Caller,
        command: MessageCommand,
        budget: TimeBudget,
        *,
        managed: bool | None = None,
    ) -> Exchange:
        """Refuse what can be refused without admitting it; nothing is written.

        Parameters
        ----------
        managed
            Whether the operator's account pays for the model, where the message was admitted
            before; ``None`` leaves it to the message and the customer's tier.

        Raises
        ------
        FlowStackError
            The message, its model or its size is wrong, credentials are missing or cannot be had,
            or fair use was exceeded.
        """
        clock = self._retry(lambda: self._clocks.for_customer(caller.customer_id), budget)
        now = clock.now()
        if not managed:
            wanted = replace(command, byok=command.byok or managed is False)
            command = replace(command, credentials=self._credentials(caller, wanted, now, budget))
        check_external_id(command.credentials, caller.customer_id)
        exchange = Exchange(
            caller=caller,
            command=command,
            model=self._resolve_model(command, now),
            attempt_id=self._ids.attempt_id(),
            clock=clock,
            budget=budget,
        )
        self._observer.message_received(caller.tier, command.provider, managed=exchange.managed)
        _check_request(command, exchange.model)
        self._check_fair_use(exchange, now)
        return exchange

    def _credentials(
        self, caller: Caller, command: MessageCommand, now: datetime, budget: TimeBudget
    ) -> ProviderCredentials | None:
        """Return the customer's own credentials if they are to be used: sent ones before stored.

        ``None`` means the managed provider, and is never a way out when own credentials were
        wanted and could not be had.
        """
        if command.credentials is not None:
            return command.credentials
        wanted = command.byok or not command.provider.managed
        if not wanted and plan_for(caller.tier).managed_models:
            return None
        stored = self._retry(
            lambda: self._own_credentials.find(caller.customer_id, command.provider), budget
        )
        if stored is None and wanted:
            raise credentials_required(command.provider)
        if stored is not None and not wanted:
            # An upgrade is seen by the very next request (P1), whatever the caller's tier says.
            tier = self._present_tier(caller, now, budget)
            return None if plan_for(tier).managed_models else stored
        return stored

    def _present_tier(self, caller: Caller, now: datetime, budget: TimeBudget) -> Tier:
        """Return the tier in force, which may be another than the caller's."""
        subscription = self._retry(
            lambda: self._subscriptions.subscription(caller.customer_id), budget
        )
        if subscription is None:
            return caller.tier
        return subscription.terms_in(Period.containing(now)).tier

    def _resolve_model(self, command: MessageCommand, now: datetime) -> ResolvedModel:
        credentials, today = command.credentials, now.date()
        self._model_clients.check(command.provider, credentials)
        if credentials is None:
            return self._catalogue.resolve(command.model, self._region, today)
        region = credentials.values.get("region", self._region)
        return self._catalogue.resolve_own(command.model, command.provider, region, today)

    def admit(self, exchange: Exchange, *, runs_for: timedelta | None = None) -> Ticket:
        """Admit the message to its session (S1, Q1, P4).

        Parameters
        ----------
        runs_for
            How long its answer may take; as long as the request has where nothing is said.
        """
        command = exchange.command
        return self._admission.admit(
            Conversation(exchange.caller.customer_id, command.agent, command.conversation_id),
            managed=exchange.managed,
            follow_up_expected=command.operation == "chat" or len(command.messages) > 1,
            attempt_id=exchange.attempt_id,
            clock=exchange.clock,
            budget=exchange.budget,
            runs_for=runs_for,
            caps=exchange.caller.caps,
        )

    def complete(self, exchange: Exchange, ticket: Ticket, run: Run | None = None) -> Answer:
        """Ask the model and settle its answer, with the ``run`` of a deferred request if it is one.

        On any failure the attempt is still in flight: the caller withdraws it.
        """
        history, dropped = self._history(exchange, ticket)
        answer = self._ask_model(exchange, history)
        document = _document(exchange, answer, ticket, exchange.clock.now(), dropped)
        if exchange.managed:
            # Before it is settled: what was used was used, also where it cannot be recorded.
            self._fair_use.record_managed_tokens(
                exchange.caller.customer_id, answer.usage.total_tokens, exchange.clock.now()
            )
        self._settle(exchange, ticket, answer, document, run)
        return Answer(
            document, session_started=ticket.started, usage_tokens=answer.usage.total_tokens
        )

    def withdraw(self, ticket: Ticket, clock: Clock, budget: TimeBudget) -> None:
        """Give up an admitted message that was not processed (S5)."""
        self._admission.withdraw(ticket, clock, budget)

    def models(self, customer_id: str, budget: TimeBudget) -> tuple[Model, ...]:
        """Return the managed models that can be asked today."""
        clock = self._retry(lambda: self._clocks.for_customer(customer_id), budget)
        return self._catalogue.available(self._region, clock.now().date())

    def _check_fair_use(self, exchange: Exchange, now: datetime) -> None:
        """Refuse what goes beyond fair use (F1); a refusal first makes sure of the tier (P1)."""
        caller, managed = exchange.caller, exchange.managed
        refusal = self._fair_use.admit(
            caller.customer_id, plan_for(caller.tier).fair_use, now, managed=managed
        )
        if refusal is None:
            return
        tier = self._present_tier(caller, now, exchange.budget)
        if tier is not caller.tier:
            refusal = self._fair_use.admit(
                caller.customer_id, plan_for(tier).fair_use, now, managed=managed
            )
            if refusal is None:
                return
        raise RateLimitedError(
            f"Too much at once: fair use allows {refusal.allowed} "
            f"{refusal.limit.value.replace('_', ' ')}. Nothing was counted.",
            details={
                "limit": refusal.limit.value,
                "allowed": refusal.allowed,
                "tier": tier.value,
                "retry_after_seconds": refusal.retry_after_seconds,
                "hint": "Wait for Retry-After seconds; the session goes on meanwhile.",
            },
            retry_after_seconds=refusal.retry_after_seconds,
        )

    def claim(self, exchange: Exchange, operation: str) -> Exchange:
        """Take the request's idempotency key, or find its answer (S3).

        Parameters
        ----------
        operation
            What the key stands for: under one key, another operation is another request.
        """
        command, attempt_id, budget = exchange.command, exchange.attempt_id, exchange.budget
        if command.idempotency_key is None:
            return exchange
        now = exchange.clock.now()
        try:
            key = idempotency_key(
                exchange.caller.customer_id,
                command.idempotency_key,
                operation,
                command.fingerprint,
            )
        except ValueError as error:
            raise InvalidRequestError(f"{error}.", details={"field": "Idempotency-Key"}) from error
        wanted = Claim(
            key=key,
            owner=attempt_id,
            lease_until=now + timedelta(seconds=budget.remaining_seconds() + 5),
            expires_at=now + RETENTION,
        )
        found = self._retry(lambda: self._sessions.claim(wanted, now), budget)
        if found.owner == attempt_id:
            return replace(exchange, claim=found)
        if found.key.fingerprint != key.fingerprint:
            raise IdempotencyConflictError(
                "This Idempotency-Key was used before with a different request.",
                details={"hint": "Use a new key for a new request."},
            )
        if found.answer is None:
            raise RequestInProgressError(
                "The first request with this Idempotency-Key is still running.",
                details={"hint": "Retry after the given time to get its answer."},
                retry_after_seconds=2,
            )
        return replace(exchange, claim=found)

    def drop(self, exchange: Exchange) -> None:
        """Let a retry run at once after a failure; if that fails, its lease runs out by itself."""
        claim = exchange.claim
        if claim is None:
            return
        with suppress(ServiceUnavailableError):
            self._retrier.run(
                lambda: self._sessions.drop_claim(claim),
                exchange.budget,
                reserve_seconds=_DELIVERY_RESERVE_SECONDS,
            )

    def _history(self, exchange: Exchange, ticket: Ticket) -> tuple[tuple[Message, ...], int]:
        """Return the messages for the model, and how many old turns had to be left out."""
        command = exchange.command
        limit = context_budget(exchange.model, command.system, command.tools, command.max_tokens)
        turns: list[tuple[Message, ...]] = []
        if command.operation == "chat" and not ticket.started:
            kept = self._retry(
                lambda: self._sessions.transcript(ticket.session, limit), exchange.budget
            )
            turns = [turn.messages for turn in kept]
        kept_turns, dropped = fit_to_context([*turns, command.messages], limit)
        history = tuple(message for turn in kept_turns for message in turn)
        check_conversation(history)
        return history, dropped

    def _ask_model(self, exchange: Exchange, history: tuple[Message, ...]) -> ModelAnswer:
        command, model = exchange.command, exchange.model
        # First of all: the first client of a provider takes a while to load.
        client = self._model_clients.client(command.provider, command.credentials)
        seconds = min(
            exchange.budget.remaining_seconds() - _SETTLE_RESERVE_SECONDS, LONGEST_MODEL_SECONDS
        )
        if seconds < _SHORTEST_MODEL_SECONDS:
            raise ModelTimeoutError(
                "There was no time left to ask the model. Nothing was counted.",
                retry_after_seconds=1,
            )
        request = ModelRequest(
            model=model,
            messages=history,
            system=command.system,
            tools=command.tools,
            temperature=command.temperature,
            max_tokens=min(command.max_tokens or DEFAULT_MAX_TOKENS, model.max_output_tokens),
            timeout_seconds=seconds,
        )
        return self._observed(client, request, exchange.budget)

    def _observed(
        self, client: ModelClient, request: ModelRequest, budget: TimeBudget
    ) -> ModelAnswer:
        """Call the model, and tell the observer what came of it and how long it took."""
        before = budget.remaining_seconds()
        try:
            answer = client.converse(request)
            if not acceptable(answer):
                raise ModelError(
                    "The model's answer is larger than FlowStack can pass on. Nothing was counted.",
                    details={"hint": "Ask for less at once, or use another model."},
                )
        except FlowStackError as error:
            self._observer.model_failed(before - budget.remaining_seconds(), error)
            raise
        self._observer.model_answered(before - budget.remaining_seconds(), answer.usage)
        return answer

    def _settle(
        self,
        exchange: Exchange,
        ticket: Ticket,
        answer: ModelAnswer,
        document: dict[str, Any],
        run: Run | None,
    ) -> None:
        command = exchange.command
        turn = None
        if command.operation == "chat":
            said: tuple[ContentBlock, ...] = answer.content_blocks
            turn = Turn(
                session_id=ticket.session.session_id,
                at=ticket.attempt.at,
                attempt_id=exchange.attempt_id,
                messages=(*command.messages, Message(role="assistant", content=said)),
            )
        settlement = Settlement(
            session=ticket.session,
            attempt_id=exchange.attempt_id,
            at=exchange.clock.now(),
            route=Route(exchange.managed, command.provider.value, exchange.model.model),
            tokens=answer.usage,
            turn=turn,
            claim=exchange.claim,
            run=run,
            answer=document if exchange.claim is not None or run is not None else None,
        )
        try:
            settled = self._retrier.run(
                lambda: self._sessions.settle(settlement),
                exchange.budget,
                reserve_seconds=_DELIVERY_RESERVE_SECONDS,
            )
        except ServiceUnavailableError as unsure:
            # The last write may have taken effect unseen: then the session counts.
            raise ServiceUnavailableError(
                "The model answered, but the answer could not be recorded in time.",
                details={"hint": "Retry with the same Idempotency-Key: nothing counts twice."},
                retry_after_seconds=2,
            ) from unsure
        if not settled:
            raise ServiceUnavailableError(
                "The answer came too late for its session. Nothing was counted; please retry.",
                retry_after_seconds=1,
            )

    def _retry(self, operation: Callable[[], Result], budget: TimeBudget) -> Result:
        return self._retrier.run(
            operation, budget, reserve_seconds=_SETTLE_RESERVE_SECONDS + _SHORTEST_MODEL_SECONDS
        )


def with_tier_in_force(caller: Caller, step: Callable[[Caller], Result]) -> Result:
    """Take a step for the caller, and once more if its tier turns out to be out of date.

    Where managed models are refused to a caller whose tier has them, stored credentials were not
    looked for (P4); with the tier in force they are.
    """
    try:
        return step(caller)
    except TierLimitationError as refusal:
        if not plan_for(caller.tier).managed_models:
            raise
        return step(replace(caller, tier=Tier(refusal.details["tier"])))


def _check_request(command: MessageCommand, model: ResolvedModel) -> None:
    """Refuse what the model could never answer, before anything is written."""
    model.check_supports(
        system=command.system is not None,
        tools=bool(command.tools),
        temperature=command.temperature is not None,
        max_tokens=command.max_tokens,
    )
    if command.operation == "invoke":
        check_conversation(command.messages)
    else:
        check_message(0, command.messages[0])
        check_keepable(command.messages[0])
    fit_to_context(
        [command.messages], context_budget(model, command.system, command.tools, command.max_tokens)
    )


def _document(
    exchange: Exchange,
    answer: ModelAnswer,
    ticket: Ticket,
    delivered_at: datetime,
    dropped_turns: int,
) -> dict[str, Any]:
    """Render the answer as the caller gets it, and as its retries will get it again."""
    command, model = exchange.command, exchange.model
    document: dict[str, Any] = {
        "content": answer.content,
        "stop_reason": answer.stop_reason,
        "model": model.model,
        "provider": command.provider.value,
        "usage": {
            "input_tokens": answer.usage.input_tokens,
            "output_tokens": answer.usage.output_tokens,
            "total_tokens": answer.usage.total_tokens,
        },
        "session": _session_facts(ticket.session, delivered_at, started=ticket.started),
    }
    if answer.tool_calls:
        document["tool_calls"] = [
            {"id": call.id, "name": call.name, "input": call.input} for call in answer.tool_calls
        ]
    if model.successor_of is not None:
        document["model_notice"] = (
            f"{model.successor_of} was retired; its successor {model.model} answered."
        )
    if command.operation == "chat":
        document["history"] = {"turns_dropped": dropped_turns}
    return document


def _session_facts(session: Session, delivered_at: datetime, *, started: bool) -> dict[str, Any]:
    ends_at = delivered_at + (session.ends_at - session.last_activity_at)
    return {
        "id": session.session_id,
        "new": started,
        "agent": session.conversation.agent,
        "conversation_id": session.conversation.conversation_id,
        "period": session.period.name,
        "started_at": instant(session.started_at),
        "ends_at": instant(ends_at),
    }
