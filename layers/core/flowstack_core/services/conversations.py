"""Messages in, answers out: the use case behind ``/invoke`` and ``/chat``.

The order is fixed: everything that can be refused without a store is refused first; then the
idempotency key is claimed, the message admitted, the model called, and answer and session
settled in one write. Whatever fails after admission withdraws the attempt, so that a session in
which nothing was processed is not billed (S5).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, TypeVar

from flowstack_core.domain.catalogue import Catalogue, ResolvedModel
from flowstack_core.domain.errors import (
    IdempotencyConflictError,
    InvalidRequestError,
    ModelTimeoutError,
    RateLimitedError,
    RequestInProgressError,
    ServiceUnavailableError,
)
from flowstack_core.domain.fair_use import FairUseMeter
from flowstack_core.domain.idempotency import RETENTION, Claim, idempotency_key
from flowstack_core.domain.messages import (
    ContentBlock,
    Message,
    ModelAnswer,
    ModelRequest,
    ToolSpec,
    check_conversation,
    context_budget,
    fit_to_context,
)
from flowstack_core.domain.periods import Period, instant
from flowstack_core.domain.plans import Tier, plan_for
from flowstack_core.domain.providers import ProviderCredentials
from flowstack_core.domain.sessions import Conversation, Session
from flowstack_core.services.admission import Admission, Ticket
from flowstack_core.services.ports import (
    Clock,
    CustomerClocks,
    Ids,
    ModelClient,
    SessionStore,
    Settlement,
    SubscriptionReader,
    TimeBudget,
    Turn,
)
from flowstack_core.services.retrying import Retrier

Result = TypeVar("Result")

_SETTLE_RESERVE_SECONDS = 3.0
"""Kept back from the model, so that its answer can be settled and delivered."""

_SHORTEST_MODEL_SECONDS = 1.0
_DELIVERY_RESERVE_SECONDS = 0.3


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is asking, as the authorizer found it; never taken from the request.

    ``tier`` may be some seconds old: it only chooses fair-use limits, and a refusal by them is
    checked against the subscription first.
    """

    customer_id: str
    tier: Tier


@dataclass(frozen=True, slots=True)
class MessageCommand:
    """One message to an agent, validated as far as its form goes.

    Attributes
    ----------
    operation
        ``invoke``: the caller carries the history; ``chat``: the server keeps it.
    messages
        The whole history for ``invoke``; the new user message for ``chat``.
    fingerprint
        The payload without credentials: what tells one request from another under the same
        idempotency key.
    """

    operation: Literal["invoke", "chat"]
    agent: str
    conversation_id: str
    provider: str
    model: str
    messages: tuple[Message, ...]
    system: str | None
    tools: tuple[ToolSpec, ...]
    temperature: float | None
    max_tokens: int | None
    credentials: ProviderCredentials | None
    idempotency_key: str | None
    fingerprint: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """What the caller gets, and what is worth counting about it."""

    document: dict[str, Any]
    replayed: bool = False
    session_started: bool = False
    usage_tokens: int = 0


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
        model_client: Callable[[str, ProviderCredentials | None], ModelClient],
        fair_use: FairUseMeter,
    ) -> None:
        self._admission = admission
        self._sessions = sessions
        self._subscriptions = subscriptions
        self._clocks = clocks
        self._ids = ids
        self._retrier = retrier
        self._catalogue = catalogue
        self._region = region
        self._model_client = model_client
        self._fair_use = fair_use

    def answer(self, caller: Caller, command: MessageCommand, budget: TimeBudget) -> Answer:
        """Answer one message.

        Raises
        ------
        FlowStackError
            Each refusal and failure by its own class; none of them counts a session.
        """
        clock = self._clocks.for_customer(caller.customer_id)
        now = clock.now()
        managed = command.credentials is None
        model = self._catalogue.resolve(command.model, self._region, now.date())
        _check_request(command, model)
        self._check_fair_use(caller, now, managed=managed)

        attempt_id = self._ids.attempt_id()
        claim = self._claim(caller, command, attempt_id, now, budget)
        if claim is not None and claim.answer is not None:
            return Answer(claim.answer, replayed=True)
        try:
            return self._process(caller, command, model, managed, attempt_id, claim, clock, budget)
        except BaseException:
            self._drop(claim, budget)
            raise

    def _process(
        self,
        caller: Caller,
        command: MessageCommand,
        model: ResolvedModel,
        managed: bool,
        attempt_id: str,
        claim: Claim | None,
        clock: Clock,
        budget: TimeBudget,
    ) -> Answer:
        ticket = self._admission.admit(
            Conversation(caller.customer_id, command.agent, command.conversation_id),
            managed=managed,
            follow_up_expected=command.operation == "chat" or len(command.messages) > 1,
            attempt_id=attempt_id,
            clock=clock,
            budget=budget,
        )
        try:
            history, dropped = self._history(command, ticket, model, budget)
            answer = self._ask_model(command, model, history, budget)
            document = _document(command, model, answer, ticket, clock.now(), dropped)
            self._settle(command, ticket, answer, claim, document, managed, clock, budget)
        except BaseException:
            # Also on a bug or a kill signal: what was not processed must not stay counted.
            self._admission.withdraw(ticket, clock, budget)
            raise
        if managed:
            self._fair_use.record_managed_tokens(
                caller.customer_id, answer.usage.total_tokens, clock.now()
            )
        return Answer(
            document, session_started=ticket.started, usage_tokens=answer.usage.total_tokens
        )

    def _check_fair_use(self, caller: Caller, now: datetime, *, managed: bool) -> None:
        """Refuse what goes beyond fair use (F1); a refusal first makes sure of the tier (P1)."""
        refusal = self._fair_use.admit(
            caller.customer_id, plan_for(caller.tier).fair_use, now, managed=managed
        )
        if refusal is None:
            return
        subscription = self._subscriptions.subscription(caller.customer_id)
        tier = caller.tier if subscription is None else subscription.terms_in(
            Period.containing(now)
        ).tier
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

    def _claim(
        self,
        caller: Caller,
        command: MessageCommand,
        attempt_id: str,
        now: datetime,
        budget: TimeBudget,
    ) -> Claim | None:
        """Take the request's idempotency key, or find its answer (S3)."""
        if command.idempotency_key is None:
            return None
        try:
            key = idempotency_key(
                caller.customer_id, command.idempotency_key, command.operation, command.fingerprint
            )
        except ValueError as error:
            raise InvalidRequestError(
                f"{error}.", details={"field": "Idempotency-Key"}
            ) from error
        wanted = Claim(
            key=key,
            owner=attempt_id,
            lease_until=now + timedelta(seconds=budget.remaining_seconds() + 5),
            expires_at=now + RETENTION,
        )
        found = self._retry(lambda: self._sessions.claim(wanted, now), budget)
        if found.owner == attempt_id:
            return found
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
        return found

    def _drop(self, claim: Claim | None, budget: TimeBudget) -> None:
        """Let a retry run at once after a failure; if that fails, its lease runs out by itself."""
        if claim is None:
            return
        try:
            self._retrier.run(
                lambda: self._sessions.drop_claim(claim),
                budget,
                reserve_seconds=_DELIVERY_RESERVE_SECONDS,
            )
        except ServiceUnavailableError:
            return

    def _history(
        self, command: MessageCommand, ticket: Ticket, model: ResolvedModel, budget: TimeBudget
    ) -> tuple[tuple[Message, ...], int]:
        """Return the messages for the model, and how many old turns had to be left out."""
        turns: list[tuple[Message, ...]] = []
        if command.operation == "chat" and not ticket.started:
            kept = self._retry(lambda: self._sessions.transcript(ticket.session), budget)
            turns = [turn.messages for turn in kept]
        limit = context_budget(model, command.system, command.tools, command.max_tokens)
        kept_turns, dropped = fit_to_context([*turns, command.messages], limit)
        history = tuple(message for turn in kept_turns for message in turn)
        check_conversation(history)
        return history, dropped

    def _ask_model(
        self,
        command: MessageCommand,
        model: ResolvedModel,
        history: tuple[Message, ...],
        budget: TimeBudget,
    ) -> ModelAnswer:
        seconds = budget.remaining_seconds() - _SETTLE_RESERVE_SECONDS
        if seconds < _SHORTEST_MODEL_SECONDS:
            raise ModelTimeoutError(
                "There was no time left to ask the model. Nothing was counted.",
                retry_after_seconds=1,
            )
        client = self._model_client(command.provider, command.credentials)
        return client.converse(
            ModelRequest(
                model=model,
                messages=history,
                system=command.system,
                tools=command.tools,
                temperature=command.temperature,
                max_tokens=min(command.max_tokens or model.default_max_tokens, model.max_output_tokens),
                timeout_seconds=seconds,
            )
        )

    def _settle(
        self,
        command: MessageCommand,
        ticket: Ticket,
        answer: ModelAnswer,
        claim: Claim | None,
        document: dict[str, Any],
        managed: bool,
        clock: Clock,
        budget: TimeBudget,
    ) -> None:
        turn = None
        if command.operation == "chat":
            said: tuple[ContentBlock, ...] = answer.content_blocks
            turn = Turn(
                session_id=ticket.session.session_id,
                at=ticket.attempt.at,
                attempt_id=ticket.attempt.attempt_id,
                messages=(*command.messages, Message(role="assistant", content=said)),
            )
        settlement = Settlement(
            session=ticket.session,
            attempt_id=ticket.attempt.attempt_id,
            at=clock.now(),
            managed=managed,
            tokens=answer.usage,
            turn=turn,
            claim=claim,
            answer=document if claim is not None else None,
        )
        settled = self._retrier.run(
            lambda: self._sessions.settle(settlement),
            budget,
            reserve_seconds=_DELIVERY_RESERVE_SECONDS,
        )
        if not settled:
            raise ServiceUnavailableError(
                "The answer came too late for its session. Nothing was counted; please retry.",
                retry_after_seconds=1,
            )

    def _retry(self, operation: Callable[[], Result], budget: TimeBudget) -> Result:
        return self._retrier.run(
            operation, budget, reserve_seconds=_SETTLE_RESERVE_SECONDS + _SHORTEST_MODEL_SECONDS
        )


def _check_request(command: MessageCommand, model: ResolvedModel) -> None:
    """Refuse what the model could never answer, before anything is written."""
    if command.max_tokens is not None and command.max_tokens > model.max_output_tokens:
        raise InvalidRequestError(
            f"max_tokens is above what {model.model} can write ({model.max_output_tokens}).",
            details={"field": "max_tokens", "maximum": model.max_output_tokens},
        )
    if command.tools and not model.supports_tools:
        raise InvalidRequestError(
            f"{model.model} cannot use tools.",
            details={"field": "tools", "hint": "Choose a model that supports tools."},
        )
    if command.system and not model.supports_system:
        raise InvalidRequestError(
            f"{model.model} takes no system prompt.",
            details={"field": "system", "hint": "Put the instruction into the first message."},
        )
    if command.operation == "invoke":
        check_conversation(command.messages)
    fit_to_context(
        [command.messages], context_budget(model, command.system, command.tools, command.max_tokens)
    )


def _document(
    command: MessageCommand,
    model: ResolvedModel,
    answer: ModelAnswer,
    ticket: Ticket,
    delivered_at: datetime,
    dropped_turns: int,
) -> dict[str, Any]:
    """Render the answer as the caller gets it, and as its retries will get it again."""
    document: dict[str, Any] = {
        "content": answer.content,
        "stop_reason": answer.stop_reason,
        "model": model.model,
        "provider": command.provider,
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
