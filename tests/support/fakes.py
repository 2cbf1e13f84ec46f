"""Clocks, ids, budgets and models that do what a test tells them, and a whole world of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from random import Random
from threading import Lock
from typing import Any, Literal

from flowstack_core.domain.catalogue import Catalogue, default_catalogue
from flowstack_core.domain.errors import FlowStackError, InvalidProviderError
from flowstack_core.domain.fair_use import FairUseMeter
from flowstack_core.domain.messages import (
    Message,
    ModelAnswer,
    ModelRequest,
    TextBlock,
    TokenUsage,
    ToolSpec,
)
from flowstack_core.domain.periods import Period
from flowstack_core.domain.plans import Tier
from flowstack_core.domain.providers import Provider, ProviderCredentials
from flowstack_core.domain.quota import PeriodUsage
from flowstack_core.domain.sessions import Conversation, Session
from flowstack_core.domain.subscriptions import Subscription, Terms
from flowstack_core.http.requests import stored_command
from flowstack_core.services.accounts import AccountService
from flowstack_core.services.admission import Admission, Ticket
from flowstack_core.services.conversations import (
    Answer,
    Caller,
    ConversationService,
    MessageCommand,
)
from flowstack_core.services.deferred import Accepted, DeferredRequests, DeferredRunner
from flowstack_core.services.ports import (
    AccountStore,
    Clock,
    Customer,
    DeferredStore,
    ModelClient,
    SessionStore,
    UsageStore,
)
from flowstack_core.services.retrying import Retrier
from flowstack_core.services.usage import UsageService
from tests.support.faulty import Fault
from tests.support.in_memory import (
    InMemoryAccountStore,
    InMemoryClockOffsetStore,
    InMemoryDeferredStore,
    InMemorySessionStore,
    InMemoryUsageStore,
    Tables,
)

NOON = datetime(2026, 11, 15, 12, tzinfo=UTC)
"""When tests begin, unless they care."""

NOVEMBER = Period(2026, 11)
DECEMBER = Period(2026, 12)
MODEL = "claude-haiku-4-5"
REGION = "us-east-1"


def at(text: str) -> datetime:
    """Read ``2026-11-30T23:59:59.999`` as UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


class FixedClock:
    """A clock that stands still until it is moved; every customer has the same one."""

    def __init__(self, now: datetime = NOON) -> None:
        self._now = now

    def now(self) -> datetime:
        """Return the present instant."""
        return self._now

    def advance(self, **duration: float) -> None:
        """Move forward by a ``timedelta`` given in keywords."""
        self._now += timedelta(**duration)

    def move_to(self, instant: datetime) -> None:
        """Set the clock."""
        self._now = instant

    def for_customer(self, customer_id: str) -> Clock:
        """Return itself."""
        return self


class SequentialIds:
    """Ids that count up, and sort by time as real ones do; safe to share between threads."""

    def __init__(self) -> None:
        self._numbers = count(1)
        self._lock = Lock()

    def _next(self) -> int:
        with self._lock:
            return next(self._numbers)

    def session_id(self, now: datetime) -> str:
        """Return the id of a new session."""
        return f"ses_{int(now.timestamp() * 1000):013d}{self._next():06d}"

    def attempt_id(self) -> str:
        """Return the id of a request."""
        return f"att_{self._next():06d}"


class Budget:
    """A request's time: as much as it is given, less what was slept."""

    def __init__(self, seconds: float = 29.0) -> None:
        self.seconds = seconds

    def remaining_seconds(self) -> float:
        """Return what is left."""
        return self.seconds

    def sleep(self, seconds: float) -> None:
        """Spend some of it."""
        self.seconds -= seconds


def retrier(budget: Budget | None = None, seed: int = 0) -> Retrier:
    """Return a retrier whose waiting costs ``budget``, and no time at all without one."""
    chance = Random(seed)
    return Retrier(
        sleep=budget.sleep if budget is not None else lambda seconds: None, chance=chance.random
    )


def text_message(role: Literal["user", "assistant"], text: str) -> Message:
    """Return a message of one text."""
    return Message(role=role, content=(TextBlock(text=text),))


def model_answer(text: str = "Hello!", tokens: TokenUsage | None = None) -> ModelAnswer:
    """Return a model's plain answer."""
    return ModelAnswer(
        content_blocks=(TextBlock(text=text),),
        stop_reason="end_turn",
        usage=tokens or TokenUsage(input_tokens=10, output_tokens=5),
    )


Reaction = ModelAnswer | BaseException | Callable[[ModelRequest], ModelAnswer]


class ScriptedModel:
    """A model that reacts as scripted, one reaction a call, and says hello ever after."""

    def __init__(self, *reactions: Reaction) -> None:
        self.reactions = list(reactions)
        self.requests: list[ModelRequest] = []
        self._lock = Lock()

    def converse(self, request: ModelRequest) -> ModelAnswer:
        """React to one request."""
        with self._lock:
            self.requests.append(request)
            reaction: Reaction = self.reactions.pop(0) if self.reactions else model_answer()
        if isinstance(reaction, BaseException):
            raise reaction
        if isinstance(reaction, ModelAnswer):
            return reaction
        return reaction(request)


@dataclass(frozen=True)
class ScriptedModels:
    """Serves Bedrock by one scripted model, whoever pays."""

    model: ScriptedModel

    def check(self, provider: Provider) -> None:
        """Serve nothing but Bedrock."""
        if provider is not Provider.BEDROCK:
            raise InvalidProviderError(f"{provider.value} is not served.")

    def client(self, provider: Provider, credentials: ProviderCredentials | None) -> ModelClient:
        """Return the model."""
        return self.model


class Queue:
    """A queue that keeps what it is sent; ``failures`` are raised first, ``kept`` or not.

    ``on_failure`` is told which request it was that seemed to fail.
    """

    def __init__(self) -> None:
        self.sent: list[tuple[str, str]] = []
        self.failures: list[Exception] = []
        self.kept = False
        self.on_failure: Callable[[str], object] = str

    def send(self, customer_id: str, request_id: str) -> None:
        """Keep a message, or fail."""
        if self.failures:
            self.on_failure(request_id)
            if self.kept:
                self.sent.append((customer_id, request_id))
            raise self.failures.pop(0)
        self.sent.append((customer_id, request_id))


@dataclass
class World:
    """Everything a message passes through, over stores in memory.

    ``session_faults``, ``usage_faults`` and ``account_faults`` stand between the services and the
    stores; what a test looks at is read past them.
    """

    clock: FixedClock = field(default_factory=FixedClock)
    model: ScriptedModel = field(default_factory=ScriptedModel)
    faults: Fault | None = None
    budget: Budget = field(default_factory=Budget)
    customer_id: str = "cus_1"
    tables: Tables = field(default_factory=Tables)
    ids: SequentialIds = field(default_factory=SequentialIds)
    fair_use: FairUseMeter = field(default_factory=FairUseMeter)
    catalogue: Catalogue = field(default_factory=default_catalogue)

    def __post_init__(self) -> None:
        self.sessions: SessionStore = InMemorySessionStore(self.tables)
        self.usage: UsageStore = InMemoryUsageStore(self.tables)
        self.accounts: AccountStore = InMemoryAccountStore(self.tables)
        sessions, usage, accounts = self.sessions, self.usage, self.accounts
        if self.faults is not None:
            sessions = self.faults.wrap(sessions)
            usage = self.faults.wrap(usage)
            accounts = self.faults.wrap(accounts)
        self.retrier = Retrier(sleep=self.budget.sleep, chance=Random(1).random)
        self.admission = Admission(sessions, usage, accounts, self.ids, self.retrier)
        self.service = ConversationService(
            admission=self.admission,
            sessions=sessions,
            subscriptions=accounts,
            clocks=self.clock,
            ids=self.ids,
            retrier=self.retrier,
            catalogue=self.catalogue,
            region=REGION,
            model_clients=ScriptedModels(self.model),
            fair_use=self.fair_use,
        )
        deferred: DeferredStore = InMemoryDeferredStore(self.tables)
        if self.faults is not None:
            deferred = self.faults.wrap(deferred)
        self.queue = Queue()
        self.deferred = DeferredRequests(
            self.service, deferred, self.queue, self.clock, self.retrier
        )
        self.runner = DeferredRunner(
            self.service, deferred, self.clock, self.ids, self.retrier, stored_command
        )
        self.usage_service = UsageService(sessions, usage, accounts, self.clock)
        self.account_service = AccountService(
            self.accounts,
            self.clock,
            self.clock,
            Random(2).randbytes,
            InMemoryClockOffsetStore(self.tables),
        )

    # --- what happens in a test -------------------------------------------------------------

    def subscribe(self, tier: Tier = Tier.STARTER, session_limit: int | None = None) -> None:
        """Give the customer a subscription, without any history."""
        customer_id = self.customer_id
        self.tables.customers[customer_id] = Customer(customer_id, "Ada", self.clock.now())
        self.tables.subscriptions[customer_id] = Subscription(
            customer_id, Terms.of(tier, session_limit)
        )

    def set_terms(self, tier: Tier, session_limit: int | None = None) -> Subscription:
        """Move the customer to a tier, as an operator does."""
        return self.account_service.set_terms("op", self.customer_id, tier, session_limit, None)

    def credit(self, sessions: int) -> None:
        """Grant sessions on top, as an operator does."""
        self.account_service.credit("op", self.customer_id, sessions, "sorry", None)

    def conversation(self, conversation_id: str = "default", agent: str = "agent") -> Conversation:
        """Name a conversation of the customer."""
        return Conversation(self.customer_id, agent, conversation_id)

    def send(
        self,
        conversation_id: str = "default",
        *,
        agent: str = "agent",
        managed: bool = True,
        tier: Tier = Tier.STARTER,
        **fields: Any,
    ) -> Answer:
        """Send one message through the conversation service."""
        command = message(
            conversation_id=conversation_id,
            agent=agent,
            credentials=None if managed else byok(),
            **fields,
        )
        return self.service.answer(Caller(self.customer_id, tier), command, self.budget)

    def submit(
        self,
        conversation_id: str = "default",
        *,
        operation: Literal["invoke", "chat"] = "invoke",
        text: str = "Hi",
        idempotency_key: str | None = None,
        tier: Tier = Tier.STARTER,
        **fields: Any,
    ) -> Accepted:
        """Send one message to be answered later; the queue has it then."""
        said = (
            {"message": text}
            if operation == "chat"
            else {"provider": "bedrock", "messages": [{"role": "user", "content": text}]}
        )
        where = {"agent": "agent", "conversation_id": conversation_id, "model": MODEL}
        command = stored_command(operation, {**where, **said, **fields})
        return self.deferred.submit(
            Caller(self.customer_id, tier),
            replace(command, idempotency_key=idempotency_key),
            self.budget,
        )

    def run(self, request_id: str, budget: Budget | None = None) -> Answer | FlowStackError | None:
        """Deliver a message of the queue to the worker."""
        return self.runner.run(self.customer_id, request_id, budget or Budget(660))

    def found(self, request_id: str) -> dict[str, Any]:
        """Read a deferred request as its customer."""
        return self.deferred.find(self.customer_id, request_id, self.budget)

    def admit(
        self,
        conversation_id: str = "default",
        *,
        agent: str = "agent",
        managed: bool = True,
        follow_up_expected: bool = False,
        budget: Budget | None = None,
    ) -> Ticket:
        """Admit one message, and leave it in flight."""
        return self.admission.admit(
            self.conversation(conversation_id, agent),
            managed=managed,
            follow_up_expected=follow_up_expected,
            attempt_id=self.ids.attempt_id(),
            clock=self.clock,
            budget=budget or self.budget,
        )

    # --- what a test looks at ---------------------------------------------------------------

    def session(self, conversation_id: str = "default", agent: str = "agent") -> Session | None:
        """Return the session of a conversation as it is stored."""
        return self.tables.heads.get(self.conversation(conversation_id, agent))

    def counter(self, period: Period | None = None) -> PeriodUsage | None:
        """Return the counter of a period, the present one if none is named."""
        return self.tables.counters.get(
            (self.customer_id, period or Period.containing(self.clock.now()))
        )

    def used(self, period: Period | None = None) -> int:
        """Return how many sessions count in a period."""
        counter = self.counter(period)
        return 0 if counter is None else counter.sessions_used

    def held(self, period: Period | None = None) -> int:
        """Return how many sessions are held in a period."""
        period = period or Period.containing(self.clock.now())
        return len(self.sessions.held_sessions(self.customer_id, period))

    def drift(self, period: Period | None = None) -> int:
        """Return by how much the counter differs from the records of started sessions."""
        period = period or Period.containing(self.clock.now())
        records = self.sessions.records(self.customer_id, period)
        return self.used(period) - sum(record.counted for record in records)


def byok() -> ProviderCredentials:
    """Return a customer's own credentials."""
    return ProviderCredentials(
        Provider.BEDROCK, {"aws_access_key": "AKIAEXAMPLE", "aws_secret_key": "secret"}
    )


def message(
    *,
    conversation_id: str = "default",
    agent: str = "agent",
    operation: Literal["invoke", "chat"] = "invoke",
    text: str = "Hi",
    messages: tuple[Message, ...] | None = None,
    credentials: ProviderCredentials | None = None,
    idempotency_key: str | None = None,
    model: str = MODEL,
    system: str | None = None,
    tools: tuple[ToolSpec, ...] = (),
    temperature: float | None = None,
    max_tokens: int | None = None,
) -> MessageCommand:
    """Return a command; the fingerprint follows from what is said and to whom."""
    sent = messages or (text_message("user", text),)
    return MessageCommand(
        operation=operation,
        agent=agent,
        conversation_id=conversation_id,
        provider=Provider.BEDROCK,
        model=model,
        messages=sent,
        system=system,
        tools=tools,
        temperature=temperature,
        max_tokens=max_tokens,
        credentials=credentials,
        idempotency_key=idempotency_key,
        fingerprint={
            "agent": agent,
            "conversation_id": conversation_id,
            "model": model,
            "messages": repr(sent),
        },
    )
