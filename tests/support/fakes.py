"""Clocks, ids, budgets and models that do what a test tells them, and a whole world of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial
from itertools import count
from random import Random
from threading import Lock
from typing import Any, Literal, cast

from flowstack_core.adapters.egress import EgressPolicy
from flowstack_core.adapters.webhook_sender import check_url
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
from flowstack_core.domain.own_limits import OwnLimits, SessionCaps
from flowstack_core.domain.periods import Period
from flowstack_core.domain.plans import Tier
from flowstack_core.domain.prices import default_prices
from flowstack_core.domain.providers import Provider, ProviderCredentials
from flowstack_core.domain.quota import PeriodUsage
from flowstack_core.domain.rollups import Route, Talk
from flowstack_core.domain.sessions import Conversation, Session
from flowstack_core.domain.stored_credentials import unreadable
from flowstack_core.domain.subscriptions import Subscription, Terms
from flowstack_core.http.budget_routes import BudgetBody
from flowstack_core.http.requests import stored_command
from flowstack_core.services.accounts import AccountService
from flowstack_core.services.admission import Admission, Ticket
from flowstack_core.services.alerts import AlertService, ThresholdWatch
from flowstack_core.services.byok import CredentialFinder, CredentialService
from flowstack_core.services.closing import ClosingService
from flowstack_core.services.conversations import (
    Answer,
    Caller,
    ConversationService,
    MessageCommand,
)
from flowstack_core.services.deferred import Accepted, DeferredRequests, DeferredRunner
from flowstack_core.services.erasures import ErasureService
from flowstack_core.services.exports import ExportService
from flowstack_core.services.forecasts import ForecastService, RecommendationService
from flowstack_core.services.history import HistoryService
from flowstack_core.services.margins import MarginCalculator, MarginReporter, MarginService
from flowstack_core.services.month_end import CloseWorker, MonthEndService
from flowstack_core.services.own_limits import BudgetService, BudgetStanding
from flowstack_core.services.ports.accounts import AccountStore, Customer
from flowstack_core.services.ports.alerts import AlertStore
from flowstack_core.services.ports.closing import ClosingStore, MonthEndQueue, MonthEndStore
from flowstack_core.services.ports.credentials import StoredCredentialStore
from flowstack_core.services.ports.deferred import DeferredStore
from flowstack_core.services.ports.margins import MarginQueue, MarginStore
from flowstack_core.services.ports.models import ModelClient
from flowstack_core.services.ports.observer import Observer
from flowstack_core.services.ports.own_limits import OwnLimitsStore
from flowstack_core.services.ports.sessions import SessionStore
from flowstack_core.services.ports.surroundings import Clock
from flowstack_core.services.ports.usage import UsageStore
from flowstack_core.services.retrying import Retrier
from flowstack_core.services.rollups import RollupService
from flowstack_core.services.statements import StatementService
from flowstack_core.services.subscriptions import Command, SubscriptionService, move_to
from flowstack_core.services.usage import UsageService
from flowstack_core.services.webhooks import WebhookService
from tests.support.faulty import Fault
from tests.support.in_memory import (
    InMemoryAccountStore,
    InMemoryClockOffsetStore,
    InMemoryCredentialStore,
    InMemoryDeferredStore,
    InMemoryOwnLimitsStore,
    InMemorySessionStore,
    InMemoryUsageStore,
    Tables,
)
from tests.support.in_memory_alerts import InMemoryAlertStore
from tests.support.in_memory_closing import (
    InMemoryClosingStore,
    InMemoryCustomerDirectory,
    InMemoryMonthEndQueue,
    InMemoryMonthEndStore,
)
from tests.support.in_memory_data_rights import (
    InMemoryArchives,
    InMemoryCustomerData,
    InMemoryDataRightsQueue,
)
from tests.support.in_memory_margins import (
    InMemoryCounterReader,
    InMemoryMarginQueue,
    InMemoryMarginStore,
)
from tests.support.in_memory_rollups import InMemoryRollupStore
from tests.support.in_memory_webhooks import (
    InMemoryDeliveryLog,
    InMemoryWebhookEndpoints,
    InMemoryWebhookQueue,
    OpenSecrets,
)

NOON = datetime(2026, 11, 15, 12, tzinfo=UTC)
"""When tests begin, unless they care."""

NOVEMBER = Period(2026, 11)
DECEMBER = Period(2026, 12)
MODEL = "claude-haiku-4-5"
UNPRICED = "priceless"
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

    def document_key(self, now: datetime) -> str:
        """Return the key of a document."""
        return f"doc_{self._next():06d}"

    def version(self) -> str:
        """Return a version of a document."""
        return f"ver_{self._next():06d}"


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


class SealingCipher:
    """Seals as KMS does: what it gives tells nothing, and opens under its own context only.

    ``failure`` is raised by every call while it is set.
    """

    def __init__(self) -> None:
        self.failure: Exception | None = None
        self.opened: list[tuple[str, Provider]] = []
        self._sealed: dict[bytes, tuple[str, Provider, bytes]] = {}

    def encrypt(self, customer_id: str, provider: Provider, plaintext: bytes) -> bytes:
        """Return a number for it."""
        if self.failure is not None:
            raise self.failure
        ciphertext = f"sealed {len(self._sealed)}".encode()
        self._sealed[ciphertext] = (customer_id, provider, plaintext)
        return ciphertext

    def decrypt(self, customer_id: str, provider: Provider, ciphertext: bytes) -> bytes:
        """Return what the number stands for, if it was sealed for the two."""
        if self.failure is not None:
            raise self.failure
        self.opened.append((customer_id, provider))
        *context, plaintext = self._sealed.get(ciphertext, (None, None, b""))
        if context != [customer_id, provider]:
            raise unreadable(provider)
        return plaintext


@dataclass(frozen=True)
class ScriptedModels:
    """Serves Bedrock, and what else is ``served``, by one scripted model, whoever pays.

    ``used`` has the credentials it was asked with, ``None`` for the operator's.
    """

    model: ScriptedModel
    served: set[Provider] = field(default_factory=lambda: {Provider.BEDROCK})
    used: list[ProviderCredentials | None] = field(default_factory=list)

    def check(self, provider: Provider, credentials: ProviderCredentials | None) -> None:
        """Refuse what is not served."""
        if provider not in self.served:
            raise InvalidProviderError(f"{provider.value} is not served.")

    def client(self, provider: Provider, credentials: ProviderCredentials | None) -> ModelClient:
        """Return the model."""
        self.used.append(credentials)
        return self.model


class Watching:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def message_received(self, tier: Tier, provider: Provider, *, managed: bool) -> None:
        """Remember a message."""
        self.told.append(("received", tier, provider, managed))

    def model_answered(self, seconds: float, usage: TokenUsage) -> None:
        """Remember an answer."""
        self.told.append(("answered", seconds, usage))

    def model_failed(self, seconds: float, error: FlowStackError) -> None:
        """Remember a failure."""
        self.told.append(("failed", seconds, type(error)))

    def session_released(self) -> None:
        """Remember a release."""
        self.told.append(("released",))


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


def penny_a_token(route: Route, talk: Talk, day: date) -> Decimal | None:
    """Return what customers' own models cost: all but one have a price."""
    if route.model == UNPRICED:
        return None
    return Decimal(talk.input_tokens + talk.output_tokens) / 100


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
    cipher: SealingCipher = field(default_factory=SealingCipher)
    observer: Observer = field(default_factory=Watching)

    def __post_init__(self) -> None:
        self.sessions: SessionStore = InMemorySessionStore(self.tables)
        self.usage: UsageStore = InMemoryUsageStore(self.tables)
        self.accounts: AccountStore = InMemoryAccountStore(self.tables)
        self.credentials: StoredCredentialStore = InMemoryCredentialStore(self.tables)
        self.models = ScriptedModels(self.model)
        sessions, usage, accounts = self.sessions, self.usage, self.accounts
        if self.faults is not None:
            sessions = self.faults.wrap(sessions)
            usage = self.faults.wrap(usage)
            accounts = self.faults.wrap(accounts)
        self.retrier = Retrier(sleep=self.budget.sleep, chance=Random(1).random)
        self.own_limits: OwnLimitsStore = InMemoryOwnLimitsStore(self.tables)
        own_limits = self.own_limits
        if self.faults is not None:
            own_limits = self.faults.wrap(own_limits)
        self.admission = Admission(
            sessions, usage, accounts, own_limits, self.ids, self.retrier, self.observer
        )
        self.service = ConversationService(
            admission=self.admission,
            sessions=sessions,
            subscriptions=accounts,
            clocks=self.clock,
            ids=self.ids,
            retrier=self.retrier,
            catalogue=self.catalogue,
            region=REGION,
            model_clients=self.models,
            fair_use=self.fair_use,
            own_credentials=CredentialFinder(self.credentials, self.cipher, self.clock),
            observer=self.observer,
        )
        self.rollups = InMemoryRollupStore(self.tables)
        self.prices: dict[Route, Decimal] = {}
        self.budget_service = BudgetService(
            own_limits,
            usage,
            self.rollups,
            self.cost,
            self.clock,
            self.clock,
            Random(6).randbytes,
            self.retrier,
        )
        self.credential_service = CredentialService(
            self.credentials, self.cipher, self.clock, Random(7).randbytes, self.retrier
        )
        self.alerts: AlertStore = InMemoryAlertStore(self.tables)
        alerts = self.alerts if self.faults is None else self.faults.wrap(self.alerts)
        self.watch = ThresholdWatch(alerts, self.clock)
        self.alert_service = AlertService(self.alerts, self.clock, self.clock, Random(8).randbytes)
        deferred: DeferredStore = InMemoryDeferredStore(self.tables)
        if self.faults is not None:
            deferred = self.faults.wrap(deferred)
        self.requests = Queue()
        self.deferred = DeferredRequests(
            self.service, deferred, self.requests, self.clock, self.retrier
        )
        self.runner = DeferredRunner(
            self.service, deferred, self.clock, self.ids, self.retrier, stored_command
        )
        self.rollup_service = RollupService(
            self.rollups, self.budget_service.evaluate, self.retrier
        )
        self.usage_service = UsageService(sessions, usage, self.rollups, accounts, self.clock)
        self.history_service = HistoryService(self.rollups, accounts, self.clock)
        self.forecast_service = ForecastService(self.usage_service, self.rollups, usage)
        self.recommendation_service = RecommendationService(
            self.forecast_service, self.rollups, accounts, cost=penny_a_token
        )
        self.closings: ClosingStore = InMemoryClosingStore(self.tables)
        self.runs: MonthEndStore = InMemoryMonthEndStore(self.tables)
        self.queue = InMemoryMonthEndQueue()
        closings, runs, queue = self.closings, self.runs, cast("MonthEndQueue", self.queue)
        if self.faults is not None:
            closings = self.faults.wrap(closings)
            runs = self.faults.wrap(runs)
            queue = self.faults.wrap(queue)
        self.closing_service = ClosingService(closings, self.clock, self.retrier)
        self.statement_service = StatementService(self.closings)
        directory = InMemoryCustomerDirectory(self.tables)
        self.month_end = MonthEndService(runs, directory, queue, self.clock)
        self.close_worker = CloseWorker(self.closing_service, runs, queue, self.clock)
        undisturbed = ClosingService(self.closings, self.clock, self.retrier)
        self.subscription_service = SubscriptionService(
            self.accounts,
            self.usage,
            self.clock,
            self.clock,
            Random(3).randbytes,
            self.retrier,
            undisturbed,
        )
        self.account_service = AccountService(
            self.accounts,
            self.clock,
            self.clock,
            Random(2).randbytes,
            self.retrier,
            undisturbed,
            InMemoryClockOffsetStore(self.tables),
        )

        self.customer_data = InMemoryCustomerData()
        self.archives = InMemoryArchives()
        self.rights_queue = InMemoryDataRightsQueue()
        rights = (self.customer_data, self.archives, self.rights_queue)
        self.export_service = ExportService(
            self.accounts, *rights, self.clock, self.clock, Random(4).randbytes
        )
        self.erasure_service = ErasureService(
            self.account_service,
            self.subscription_service,
            undisturbed,
            *rights,
            self.clock,
            self.retrier,
            quiet=timedelta(minutes=30),
        )
        self.webhook_queue = InMemoryWebhookQueue(self.clock)
        self.webhook_service = WebhookService(
            InMemoryWebhookEndpoints(self.tables),
            InMemoryDeliveryLog(self.tables),
            self.webhook_queue,
            OpenSecrets(),
            partial(check_url, policy=EgressPolicy()),
            self.clock,
            Random(5).randbytes,
            self.retrier,
        )

        self.margin_reports: MarginStore = InMemoryMarginStore()
        self.margin_queue = InMemoryMarginQueue()
        reports, steps = self.margin_reports, cast("MarginQueue", self.margin_queue)
        if self.faults is not None:
            reports, steps = self.faults.wrap(reports), self.faults.wrap(steps)
        calculator = MarginCalculator(
            InMemoryCounterReader(self.tables), self.rollups, default_prices(), REGION
        )
        self.margin_service = MarginService(
            calculator, self.accounts, self.margin_reports, self.clock, self.clock
        )
        self.margin_reporter = MarginReporter(
            calculator, reports, directory, steps, self.clock, share_percent=50
        )

    def cost(self, route: Route, talk: Talk, day: date) -> Decimal | None:
        """Return what was said on a route costs: so much a token as a test says."""
        price = self.prices.get(route)
        return None if price is None else price * (talk.input_tokens + talk.output_tokens)

    # --- what happens in a test -------------------------------------------------------------

    def limit_itself(self, **limits: Any) -> BudgetStanding:
        """Change the customer's own limits, as the body of a request names them."""
        body = BudgetBody.model_validate(limits)
        return self.budget_service.change("key_1", self.customer_id, body.applied_to, self.budget)

    @property
    def caps(self) -> SessionCaps:
        """The customer's caps, as the authorizer would tell them now."""
        return self.tables.own_limits.get(self.customer_id, OwnLimits(self.customer_id)).caps

    def subscribe(self, tier: Tier = Tier.STARTER, session_limit: int | None = None) -> None:
        """Give the customer a subscription, without any history."""
        customer_id = self.customer_id
        self.tables.customers[customer_id] = Customer(customer_id, "Ada", self.clock.now())
        self.tables.subscriptions[customer_id] = Subscription(
            customer_id, Terms.of(tier, session_limit)
        )

    def set_terms(self, tier: Tier, session_limit: int | None = None) -> Subscription:
        """Move the customer to a tier, as an operator does."""
        return self.command(move_to(Terms.of(tier, session_limit)))

    def command(self, command: Command, audit_id: str | None = None) -> Subscription:
        """Change the customer's subscription."""
        return self.subscription_service.change("op", self.customer_id, command, audit_id)

    def close_month(self, *, twice: bool = False) -> None:
        """Run the month end as the schedule and the queues do, until nothing is left to deliver."""
        self.month_end.ensure()
        while self.queue.steps or self.queue.pages:
            if self.queue.steps:
                step = self.queue.steps.popleft()
                self.month_end.step(*step)
                if twice:
                    self.month_end.step(*step)
            if self.queue.pages:
                page = self.queue.pages.popleft()
                self.close_worker.close(page, 1)
                if twice:
                    self.close_worker.close(page, 2)

    def roll_up(self) -> None:
        """Roll up every session whose item is there, as its stream would have it."""
        answered = [head for head in self.tables.heads.values() if not head.held]
        assert self.rollup_service.roll_up(answered, self.budget) == {}

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
        caps: SessionCaps | None = None,
        **fields: Any,
    ) -> Answer:
        """Send one message through the conversation service."""
        caller = Caller(self.customer_id, tier, self.caps if caps is None else caps)
        command = message(
            conversation_id=conversation_id,
            agent=agent,
            credentials=None if managed else byok(),
            **fields,
        )
        return self.service.answer(caller, command, self.budget)

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
            Caller(self.customer_id, tier, self.caps),
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
            caps=self.caps,
        )

    def store(self, provider: Provider = Provider.BEDROCK, **values: str) -> None:
        """Store credentials of the customer's own, as the customer does."""
        self.credential_service.store(
            "key_1", self.customer_id, provider.value, values or OWN, self.budget
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


OWN = {"aws_access_key": "AKIASTORED", "aws_secret_key": "the stored secret"}
"""What `World.store` stores where nothing is said."""


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
    provider: Provider = Provider.BEDROCK,
    byok: bool = False,
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
        provider=provider,
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
        byok=byok,
    )
