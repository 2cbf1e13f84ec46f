"""One customer's life on the real services and adapters, while requests to AWS fail by chance.

A life is a random story of messages, retries, plan changes, credits, month ends, documents, stored
credentials, ceilings, and what the streams make of all that. Any request to AWS may be throttled,
break before or after it took effect, lose its answer, answer late, or be the last thing that its
process does. Callers behave as callers do: they send a request again under its idempotency key,
queues and streams deliver again.

When the story is told, the faults end, everything that waits is delivered, and `Life.check` looks
at what is left. Everything follows from the seed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from itertools import count
from random import Random
from typing import Any, Literal

from mypy_boto3_dynamodb import DynamoDBClient

from flowstack_core.adapters.dynamodb_accounts import DynamoDBAccountStore
from flowstack_core.adapters.dynamodb_alerts import DynamoDBAlertStore
from flowstack_core.adapters.dynamodb_closing import DynamoDBClosingStore
from flowstack_core.adapters.dynamodb_codec import read_instant
from flowstack_core.adapters.dynamodb_credentials import DynamoDBCredentialStore
from flowstack_core.adapters.dynamodb_month_end import DynamoDBMonthEndStore
from flowstack_core.adapters.dynamodb_own_limits import DynamoDBOwnLimitsStore
from flowstack_core.adapters.dynamodb_rollups import DynamoDBRollupStore
from flowstack_core.adapters.dynamodb_sessions import (
    DynamoDBSessionStore,
    decode_session,
    head_key,
)
from flowstack_core.adapters.dynamodb_usage import DynamoDBUsageStore, adjustments_key
from flowstack_core.adapters.dynamodb_vault import DynamoDBVaultStore
from flowstack_core.adapters.re2_patterns import compile_re2
from flowstack_core.domain.alerts import SettingsChange
from flowstack_core.domain.catalogue import default_catalogue
from flowstack_core.domain.errors import (
    FlowStackError,
    ModelUnavailableError,
    NotFoundError,
    RequestInProgressError,
    ServiceUnavailableError,
)
from flowstack_core.domain.fair_use import FairUseMeter
from flowstack_core.domain.messages import ModelAnswer, ModelRequest, TextBlock
from flowstack_core.domain.month_end import ClosePage
from flowstack_core.domain.own_limits import CeilingAction
from flowstack_core.domain.periods import Period
from flowstack_core.domain.plans import Tier
from flowstack_core.domain.prices import cost
from flowstack_core.domain.sessions import INACTIVITY_LIMIT, Conversation
from flowstack_core.domain.subscriptions import Terms
from flowstack_core.events.rollup_stream import grown_sessions
from flowstack_core.events.usage_stream import announcements, watched_counts
from flowstack_core.services.accounts import AccountService
from flowstack_core.services.admission import Admission
from flowstack_core.services.alerts import AlertService, ThresholdWatch
from flowstack_core.services.announcing import Announcer
from flowstack_core.services.byok import CredentialFinder, CredentialService
from flowstack_core.services.closing import ClosingService
from flowstack_core.services.conversations import Caller, ConversationService
from flowstack_core.services.expiry import ExpiryService
from flowstack_core.services.month_end import CloseWorker, MonthEndService, PageUnfinishedError
from flowstack_core.services.own_limits import BudgetService
from flowstack_core.services.ports.failures import StoreContentionError
from flowstack_core.services.retrying import Retrier
from flowstack_core.services.rollups import RollupService
from flowstack_core.services.subscriptions import SubscriptionService, move_to
from flowstack_core.services.vault import StoreCommand, VaultAccess, VaultService
from flowstack_core.services.vault_queries import Query, VaultQueries
from tests.faults.invariants import check_alerts, check_ceilings, check_news, check_rollups
from tests.faults.streams import Listener, Streams, of_answers, of_counts, of_news
from tests.support.emulator import create_tables, dynamodb_client
from tests.support.fakes import (
    REGION,
    FixedClock,
    ScriptedModels,
    SealingCipher,
    Watching,
    at,
    message,
    model_answer,
)
from tests.support.faulty import FunctionKilled
from tests.support.faulty_aws import AwsFaults
from tests.support.http_events import LambdaContext
from tests.support.in_memory_alerts import Channels
from tests.support.in_memory_closing import InMemoryMonthEndQueue

BEGINNING = at("2026-11-29T20:00")
PERIODS = (Period(2026, 11), Period(2026, 12), Period(2027, 1))
CONVERSATIONS = ("a", "b", "c")
RATES = (0.0, 0.03, 0.1, 0.25)
TIERS = ((Tier.STARTER, 3), (Tier.PROFESSIONAL, 5), (Tier.ENTERPRISE, 8))
GAPS = (
    *(timedelta(milliseconds=1), timedelta(seconds=20), timedelta(minutes=10)),
    *(timedelta(minutes=29, seconds=59), timedelta(minutes=30), timedelta(hours=3)),
    *(timedelta(hours=20), timedelta(days=3)),
)
BREAKAGES = ((), (), ("bus",), ("topic",), ("webhook", "email"))
_REQUEST = timedelta(seconds=29)
_BATCH = timedelta(seconds=20)
_PATIENCE = 4
_DELIVERIES = 60


@dataclass
class Deadline:
    """A request's time by the clock."""

    clock: FixedClock
    seconds: float = _REQUEST.total_seconds()

    def __post_init__(self) -> None:
        self._until = self.clock.now() + timedelta(seconds=self.seconds)

    def remaining_seconds(self) -> float:
        """Return what is left."""
        return (self._until - self.clock.now()).total_seconds()


@dataclass
class Invocation(LambdaContext):
    """A call of a function, whose time passes with the clock's."""

    deadline: Deadline = field(kw_only=True)

    def get_remaining_time_in_millis(self) -> int:
        """Return what is left."""
        return int(self.deadline.remaining_seconds() * 1000)


class Ids:
    """Ids of a life, unique in it."""

    def __init__(self) -> None:
        self._numbers = count(1)

    def session_id(self, now: Any) -> str:
        return f"ses_{int(now.timestamp() * 1000):013d}{next(self._numbers):06d}"

    def attempt_id(self) -> str:
        return f"att_{next(self._numbers):06d}"

    def document_key(self, now: Any) -> str:
        return f"doc_{next(self._numbers):06d}"

    def version(self) -> str:
        return f"ver_{next(self._numbers):06d}"


class Model:
    """A model that answers, fails, dawdles, or has its caller killed; it knows whom it answered."""

    def __init__(self, random: Random, clock: FixedClock, faults: AwsFaults) -> None:
        self._random, self._clock, self._faults = random, clock, faults
        self.answered: list[str] = []

    def converse(self, request: ModelRequest) -> ModelAnswer:
        """React to one request."""
        if self._faults.rate and self._random.random() < self._faults.rate:
            match self._random.choice(["fails", "dawdles", "kills"]):
                case "fails":
                    raise ModelUnavailableError("The model is gone.")
                case "dawdles":
                    self._clock.advance(seconds=self._random.choice([5, 20]))
                case _:
                    raise self._faults.killed()
        block = request.messages[-1].content[0]
        assert isinstance(block, TextBlock)
        self.answered.append(block.text)
        return model_answer(f"re: {block.text}")


@dataclass
class Life:
    """A customer, everything it deals with, and what it was told.

    Attributes
    ----------
    answers
        The document that each idempotency key was answered with.
    asked_at
        When each key was first used: it is remembered for a day from then.
    possible
        What each document of the vault may be: what was acknowledged last, and whatever was
        attempted since without an answer.
    """

    url: str
    seed: int
    answers: dict[str, dict[str, Any]] = field(default_factory=dict)
    possible: dict[str, list[dict[str, Any] | None]] = field(default_factory=dict)
    stored: list[bool] = field(default_factory=lambda: [False])
    credited: dict[Period, int] = field(default_factory=dict)
    asked_at: dict[str, datetime] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.random = Random(self.seed)
        self.clock = FixedClock(BEGINNING)
        self.rate = self.random.choice(RATES)
        self.faults = AwsFaults(Random(self.seed + 1), self.clock, 0.0)
        self._numbers = count(1)
        prefix = f"life{self.seed}-"
        self._tables = {name: f"{prefix}{name}" for name in ("accounts", "sessions", "usage")}
        self.plain = dynamodb_client(self.url)
        create_tables(self.plain, prefix)
        self.streams = Streams(self.plain, self._tables["sessions"], self._tables["usage"])
        self.faults.wrote = self.streams.wrote
        faulty = dynamodb_client(self.url)
        self.faults.attach(faulty)
        self._compose(faulty, f"{prefix}vault")
        self.sessions = DynamoDBSessionStore(
            self.plain, self._tables["sessions"], self._tables["usage"]
        )
        self.customer_id = self.accounts.create_customer("op", "Ada", *TIERS[0], price_cents=None)[
            0
        ].customer_id
        AlertService(self.alerts, self.clock, self.clock, self.random.randbytes).change(
            "key_1",
            self.customer_id,
            SettingsChange.of(None, "ada@example.com", names_email=True),
        )
        self.faults.rate = self.rate

    def _compose(self, client: DynamoDBClient, vault_table: str) -> None:
        accounts_table, usage_table = self._tables["accounts"], self._tables["usage"]
        accounts = DynamoDBAccountStore(client, accounts_table, usage_table)
        sessions = DynamoDBSessionStore(client, self._tables["sessions"], usage_table)
        usage = DynamoDBUsageStore(client, usage_table, accounts_table)
        self.closings = DynamoDBClosingStore(client, usage_table, accounts_table, test_clocks=False)
        runs = DynamoDBMonthEndStore(client, usage_table)
        credentials = DynamoDBCredentialStore(client, accounts_table)
        own_limits = DynamoDBOwnLimitsStore(client, accounts_table, usage_table)
        self.usage, observer = usage, Watching()
        clock, ids, random_bytes = self.clock, Ids(), Random(self.seed + 2).randbytes
        retrier = Retrier(
            sleep=lambda seconds: clock.advance(seconds=seconds),
            chance=Random(self.seed + 3).random,
        )
        self.model = Model(Random(self.seed + 4), clock, self.faults)
        cipher = SealingCipher()
        self.service = ConversationService(
            admission=Admission(sessions, usage, accounts, own_limits, ids, retrier, observer),
            sessions=sessions,
            subscriptions=accounts,
            clocks=clock,
            ids=ids,
            retrier=retrier,
            catalogue=default_catalogue(),
            region=REGION,
            model_clients=ScriptedModels(self.model),  # type: ignore[arg-type]
            fair_use=FairUseMeter(),
            own_credentials=CredentialFinder(credentials, cipher, clock),
            observer=observer,
        )
        self.expiry = ExpiryService(sessions, clock)
        closing = ClosingService(self.closings, clock, retrier)
        self.accounts = AccountService(accounts, clock, clock, random_bytes, retrier, closing, None)
        self.subscriptions = SubscriptionService(
            accounts, usage, clock, clock, random_bytes, retrier, closing
        )
        self.queue = InMemoryMonthEndQueue()
        self.month_end = MonthEndService(runs, accounts, self.queue, clock)
        self.closer = CloseWorker(closing, runs, self.queue, clock)
        self.credentials = CredentialService(credentials, cipher, clock, random_bytes, retrier)
        self._listen(client, accounts, own_limits, retrier)
        access = VaultAccess(DynamoDBVaultStore(client, vault_table), clock, retrier)
        self.vault = VaultService(access, ids)
        self.vault_queries = VaultQueries(access, compile_re2)

    def _listen(
        self,
        client: DynamoDBClient,
        subscriptions: DynamoDBAccountStore,
        own_limits: DynamoDBOwnLimitsStore,
        retrier: Retrier,
    ) -> None:
        """Put the functions behind the streams."""
        sessions_table, usage_table = self._tables["sessions"], self._tables["usage"]
        self.rollups = DynamoDBRollupStore(client, usage_table, sessions_table)
        self.own_limits = own_limits
        self.budgets = BudgetService(
            own_limits,
            self.usage,
            self.rollups,
            cost,
            self.clock,
            self.clock,
            Random(self.seed + 5).randbytes,
            retrier,
        )
        self.alerts = DynamoDBAlertStore(client, self._tables["accounts"], usage_table)
        self.channels = Channels()
        rollups = RollupService(self.rollups, self.budgets.evaluate, retrier)
        announcer = Announcer(
            self.alerts, self.channels, self.channels, self.channels.outbox, self.channels.mail
        )
        self.streams.listeners[sessions_table] = [
            Listener(of_answers, grown_sessions(lambda: rollups), self._invocation)
        ]
        self.streams.listeners[usage_table] = [
            # A function that was killed remembers nothing.
            Listener(
                of_counts,
                watched_counts(lambda: ThresholdWatch(self.alerts, self.clock)),
                self._invocation,
            ),
            Listener(of_news, announcements(lambda: announcer), self._invocation),
        ]

    def _invocation(self) -> Invocation:
        return Invocation(deadline=Deadline(self.clock, _BATCH.total_seconds()))

    # --- the story ---------------------------------------------------------------------------

    def tell(self, steps: int) -> None:
        """Live through so many steps."""
        happenings = (
            *(self.send, self.send, self.send, self.wait, self.wait, self.tidy),
            *(self.change_plan, self.credit, self.end_month, self.keep_document),
            *(self.keep_credentials, self.repeat, self.limit_itself),
            *(self.stream, self.stream, self.stream),
        )
        for _ in range(steps):
            happening = self.random.choice(happenings)
            self.faults.trace.append(f"{self.clock.now():%d %H:%M:%S} {happening.__name__}")
            happening()

    def wait(self) -> None:
        """Let time pass."""
        self.clock.advance(seconds=self.random.choice(GAPS).total_seconds())

    def send(self) -> None:
        """Send a message, and again under its key while there is no answer."""
        self._ask(f"key-{next(self._numbers)}", self.random.choice(CONVERSATIONS))

    def repeat(self) -> None:
        """Send an answered message once more, while its key is remembered."""
        since = self.clock.now() - timedelta(hours=24)
        remembered = [key for key in sorted(self.answers) if self.asked_at[key] > since]
        if remembered:
            key = self.random.choice(remembered)
            self._ask(key, self.answers[key]["session"]["conversation_id"])

    def _ask(self, key: str, conversation_id: str) -> None:
        operation: Literal["invoke", "chat"] = "chat" if conversation_id == "a" else "invoke"
        command = message(
            conversation_id=conversation_id, operation=operation, text=key, idempotency_key=key
        )
        self.asked_at.setdefault(key, self.clock.now())
        known, asked_before = self.answers.get(key), len(self.model.answered)
        for _ in range(_PATIENCE):
            try:
                answer = self._process(
                    lambda: self.service.answer(
                        Caller(self.customer_id, Tier.STARTER), command, Deadline(self.clock)
                    )
                )
            except (ServiceUnavailableError, RequestInProgressError, FunctionKilled):
                self.clock.advance(seconds=self.random.choice([1, 40]))
            except FlowStackError:
                return
            else:
                self.answers[key] = answer.document
                break
        if known is not None:
            assert self.answers[key] == known, "S3: another answer"
            assert len(self.model.answered) == asked_before, "S3: asked the model again"

    def stream(self) -> None:
        """Deliver something of the streams, while a channel may be broken."""
        self.channels.broken = set(self.random.choice(BREAKAGES))
        for listeners in self.streams.listeners.values():
            self.faults.revived()
            self.random.choice(listeners).deliver(self.random)

    def limit_itself(self) -> None:
        """Have the customer set a ceiling, or take it away, and repeat it until it is done."""
        ceiling = self.random.choice([None, 2_000, 5_000, 20_000])
        action = self.random.choice(list(CeilingAction))
        self._deliver(
            lambda: self.budgets.change(
                "key_1",
                self.customer_id,
                lambda limits: replace(limits, monthly_ceiling_cents=ceiling, action=action),
                Deadline(self.clock),
            )
        )

    def tidy(self) -> None:
        """Delete live sessions that have expired, as DynamoDB does, and tell of it."""
        for conversation_id in CONVERSATIONS:
            key = head_key(Conversation(self.customer_id, "agent", conversation_id))
            table = self._tables["sessions"]
            head = self.plain.get_item(TableName=table, Key=key).get("Item")
            if not head or read_instant(head, "last_activity_at") + INACTIVITY_LIMIT > (
                self.clock.now()
            ):
                continue
            self.plain.delete_item(TableName=table, Key=key)
            self.streams.compare(table)
            session = decode_session(head)
            for _ in range(self.random.choice([1, 2])):
                self._deliver(partial(self.expiry.session_deleted, session))

    def change_plan(self) -> None:
        """Have the operator move the customer, and repeat it until it is done."""
        terms = Terms.of(*self.random.choice(TIERS))
        audit_id = f"change:{next(self._numbers)}"
        self._deliver(
            lambda: self.subscriptions.change("op", self.customer_id, move_to(terms), audit_id)
        )

    def credit(self) -> None:
        """Have the operator grant a session, and repeat it until it is done."""
        request_id = f"credit-{next(self._numbers)}"
        period = self._deliver(
            lambda: self.accounts.credit("op", self.customer_id, 1, "sorry", request_id)
        )
        self.credited[period] = self.credited.get(period, 0) + 1

    def end_month(self) -> None:
        """Have the schedule call, and deliver what the queues hold, some of it twice."""
        self._deliver(self.month_end.ensure)
        while self.queue.steps or self.queue.pages:
            if self.queue.steps:
                step = self.queue.steps.popleft()
                for _ in range(self.random.choice([1, 1, 2])):
                    self._deliver(partial(self.month_end.step, *step))
                if self.month_end_is_listing():
                    return
            if self.queue.pages:
                page = self.queue.pages.popleft()
                self._deliver(partial(self._close, page, count(1)))
        if self.queue.dead:
            self.queue.redrive(len(self.queue.dead))

    def _close(self, page: ClosePage, deliveries: Iterator[int]) -> None:
        self.closer.close(page, next(deliveries))

    def month_end_is_listing(self) -> bool:
        """Whether the only thing left is to look at the list again, a while later."""
        return not self.queue.pages and bool(self.queue.delays) and self.queue.delays[-1] > 0

    def keep_document(self) -> None:
        """Store a document, and again under its key while there is no answer."""
        key = self.random.choice(["d1", "d2"])
        data = {"number": next(self._numbers)}
        command = StoreCommand("c", key, data, idempotency_key=f"vault-{data['number']}")
        possible = self.possible.setdefault(key, [None])
        for _ in range(_PATIENCE):
            try:
                self._process(
                    lambda: self.vault.store(self.customer_id, command, Deadline(self.clock))
                )
            except (ServiceUnavailableError, FunctionKilled):
                possible.append(data)
                self.clock.advance(seconds=1)
            else:
                self.possible[key] = [data]
                return

    def keep_credentials(self) -> None:
        """Store credentials or delete them."""
        store = self.random.random() < 0.6
        try:
            self._process(lambda: self._change_credentials(store=store))
        except (ServiceUnavailableError, FunctionKilled):
            self.stored.append(store)
        except NotFoundError:
            self.stored = [False]
        except FlowStackError:
            self.stored.append(store)
        else:
            self.stored = [store]

    def _change_credentials(self, *, store: bool) -> None:
        budget = Deadline(self.clock)
        if store:
            values = {"api_key": "sk-0123456789abcdef"}
            self.credentials.store("key_1", self.customer_id, "openai", values, budget)
        else:
            self.credentials.delete("key_1", self.customer_id, "openai", budget)

    def _process(self, request: Callable[[], Any]) -> Any:
        """Run a request in a process of its own."""
        self.faults.revived()
        return request()

    def _deliver(self, request: Callable[[], Any]) -> Any:
        """Run something that is delivered again until it succeeds."""
        for _ in range(_DELIVERIES):
            try:
                return self._process(request)
            except (
                FunctionKilled,
                StoreContentionError,
                ServiceUnavailableError,
                PageUnfinishedError,
            ):
                self.clock.advance(seconds=1)
        raise AssertionError("it never succeeded")

    # --- what is left ------------------------------------------------------------------------

    def settle(self) -> None:
        """End the faults, and let everything happen that is bound to happen."""
        self.faults.rate = 0.0
        self.faults.revived()
        self.clock.advance(hours=2)
        self.tidy()
        self.clock.move_to(max(self.clock.now(), PERIODS[-1].end + timedelta(hours=3)))
        for _ in range(6):
            self.end_month()
            self.clock.advance(hours=2)
        self._give_all(broken=self.random.choice(BREAKAGES))
        self._run_dry()

    def _run_dry(self) -> None:
        """Deliver all that the streams hold, and what follows from it."""
        while any(listener.waiting for listener in self._listeners()):
            self._give_all()

    def _give_all(self, broken: Iterable[str] = ()) -> None:
        self.channels.broken = set(broken)
        for listener in self._listeners():
            batch, listener.waiting = listener.waiting, []
            listener.give(batch)

    def replay(self) -> None:
        """Deliver everything that was delivered once more, in any order."""
        for listener in self._listeners():
            listener.give(self.random.sample(listener.given, len(listener.given)))
        self._run_dry()

    def _listeners(self) -> Iterator[Listener]:
        for listeners in self.streams.listeners.values():
            yield from listeners

    def check(self) -> None:
        """Look at everything that must be true of every life."""
        counted: dict[str, bool] = {}
        for period in PERIODS:
            records = list(self.sessions.records(self.customer_id, period))
            counted.update({record.session_id: record.counted for record in records})
            usage = self.usage.period_usage(self.customer_id, period)
            assert usage is not None, f"{period} was closed"
            started = sum(record.counted for record in records)
            assert usage.sessions_used == started, f"{period}: counted is not started less released"
            assert usage.managed_sessions == started
            assert usage.sessions_used <= usage.session_limit, "Q1"
            assert usage.credited_sessions == self.credited.get(period, 0), "a credit counted twice"
            assert usage.closed_at is not None
            assert not self.sessions.held_sessions(self.customer_id, period), "an orphan is held"
        for key, document in self.answers.items():
            assert counted[document["session"]["id"]], f"{key} was answered and not billed"
        assert sum(counted.values()) <= len(self.model.answered), "S5: billed for nothing"
        self._check_statements()
        self._check_vault()
        billed = {session_id for session_id, is_billed in counted.items() if is_billed}
        check_rollups(self.streams, self.rollups, self.customer_id, billed)
        alerts = [
            alert for period in PERIODS for alert in self.alerts.alerts(self.customer_id, period)
        ]
        check_alerts(self.streams, alerts, self.channels)
        check_news(self.streams, self.channels)
        check_ceilings(self.streams.records)

    def _check_statements(self) -> None:
        statements = self.closings.statements(self.customer_id, 10, None)
        assert [s.period for s in statements] == sorted(PERIODS, reverse=True), "one a period"
        late = self._pending_adjustments()
        for statement in statements:
            for period, change in statement.adjustments.items():
                late[period] = late.get(period, 0) + change
        for statement in statements:
            usage = self.usage.period_usage(self.customer_id, statement.period)
            assert usage is not None
            change = late.get(statement.period, 0)
            assert statement.sessions_used + change == usage.sessions_used, "statements do not sum"
            assert statement.total_cents == usage.price_cents

    def _pending_adjustments(self) -> dict[Period, int]:
        found = self.plain.get_item(
            TableName=self._tables["usage"], Key=adjustments_key(self.customer_id)
        ).get("Item", {})
        return {
            Period.parse(name): int(value["N"])
            for name, value in found.items()
            if name not in {"pk", "sk"}
        }

    def _check_vault(self) -> None:
        found = self.vault_queries.find(
            self.customer_id, Query(collection="c"), Deadline(self.clock)
        )
        kept = {meta["key"]: data for meta, data in zip(found["meta"], found["data"], strict=True)}
        for key, possible in self.possible.items():
            assert kept.get(key) in possible, f"{key} is what nobody wrote last"
        stored = bool(self.credentials.stored(self.customer_id, Deadline(self.clock)))
        assert stored in self.stored


def live(url: str, seed: int, steps: int) -> Life:
    """Live one life; return it when everything has settled.

    Raises
    ------
    AssertionError
        Something is not true that must be true of every life; the notes tell the story.
    """
    life = Life(url, seed)
    try:
        life.tell(steps)
        life.settle()
        life.check()
        life.replay()
        life.check()
    except BaseException as error:
        error.add_note(f"seed {seed}, faults at {life.rate}")
        error.add_note("\n".join(life.faults.trace[-120:]))
        raise
    return life
