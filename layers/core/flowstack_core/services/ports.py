"""What the services ask of the world. Adapters implement these protocols.

Every operation of a store is **atomic** and **safe to repeat**: running it again with the same
arguments, after any failure and any delay, leaves what one run leaves and gives the same outcome.
That is what allows services to retry blindly.

Stores raise `StoreContentionError` where repeating the operation may help, whether or not it took
effect. Everything else they know is an outcome, returned as a value.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from flowstack_core.domain.own_limits import UNCAPPED

# Every function imports the ports, but each needs few parts of the domain.
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import date, datetime, timedelta

    from flowstack_core.domain.alerts import Alert, AlertSettings
    from flowstack_core.domain.api_keys import KeyRecord
    from flowstack_core.domain.closing import Closing
    from flowstack_core.domain.data_rights import (
        Erasure,
        Export,
        ExportStep,
        Part,
        Position,
        Scope,
    )
    from flowstack_core.domain.deferred import DeferredRequest, Run
    from flowstack_core.domain.errors import FlowStackError
    from flowstack_core.domain.idempotency import Claim, IdempotencyKey
    from flowstack_core.domain.margin import MarginRun
    from flowstack_core.domain.messages import Message, ModelAnswer, ModelRequest, TokenUsage
    from flowstack_core.domain.month_end import ClosePage, Listing, MonthEndRun, PageState
    from flowstack_core.domain.own_limits import (
        BudgetAlert,
        CeilingReached,
        OwnLimits,
        SessionCaps,
    )
    from flowstack_core.domain.payments import Governing, PaymentEvent, Standing
    from flowstack_core.domain.periods import Period
    from flowstack_core.domain.plans import Tier
    from flowstack_core.domain.providers import Provider, ProviderCredentials
    from flowstack_core.domain.quota import PeriodUsage
    from flowstack_core.domain.rollups import DaySlice, DayTotal, Route
    from flowstack_core.domain.sessions import Conversation, Growth, Session, SessionRecord
    from flowstack_core.domain.statements import Statement
    from flowstack_core.domain.stored_credentials import StoredCredentials
    from flowstack_core.domain.subscriptions import Subscription, Terms
    from flowstack_core.domain.vault import Collection, Document, Expected, Place, Receipt
    from flowstack_core.domain.webhooks import Delivery, Reply, Step, WebhookEndpoint, WebhookEvent


class StoreContentionError(Exception):
    """A conflict, a throttle or a time-out; the operation may or may not have taken effect."""


# --- time, chance, budget ------------------------------------------------------------------


class Clock(Protocol):
    """The time as one customer sees it."""

    def now(self) -> datetime:
        """Return the present instant, timezone-aware."""
        ...


class CustomerClocks(Protocol):
    """Where clocks come from: the system's, or a customer's test clock."""

    def for_customer(self, customer_id: str) -> Clock:
        """Return the clock that the customer's sessions and periods follow."""
        ...


class Ids(Protocol):
    """Where ids come from."""

    def session_id(self, now: datetime) -> str:
        """Make the id of a new session; ids sort by ``now``."""
        ...

    def attempt_id(self) -> str:
        """Make a short id for one admitted request."""
        ...


class TimeBudget(Protocol):
    """How long the present request may still take."""

    def remaining_seconds(self) -> float:
        """Return the seconds until the caller is cut off."""
        ...


# --- sessions ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request that asks to be admitted to a conversation.

    Attributes
    ----------
    attempt_id
        Unique for the request; the same across its retries.
    at
        When the message arrived.
    busy_until
        The request cannot still be running after this instant.
    managed
        Whether it asks for a managed model.
    caps
        How far the customer lets a session go, as far as it is known.
    """

    conversation: Conversation
    attempt_id: str
    at: datetime
    busy_until: datetime
    managed: bool
    caps: SessionCaps = UNCAPPED


@dataclass(frozen=True, slots=True)
class Admitted:
    """The attempt is part of ``session``; ``started`` tells whether it began it."""

    session: Session
    started: bool


@dataclass(frozen=True, slots=True)
class NoLiveSession:
    """No session of the conversation is alive; an ended one that is still held comes along."""

    held: Session | None = None


@dataclass(frozen=True, slots=True)
class ManagedNotGranted:
    """The session is alive, but the quota was not yet asked whether managed models are included."""

    session: Session


@dataclass(frozen=True, slots=True)
class SessionCapped:
    """The session is alive, and has reached a cap of the attempt's."""

    session: Session


@dataclass(frozen=True, slots=True)
class SessionAlive:
    """Another request started a session of this conversation first."""


@dataclass(frozen=True, slots=True)
class PeriodNotOpen:
    """The period has no counter yet."""


@dataclass(frozen=True, slots=True)
class PeriodClosed:
    """The period was closed: its end has passed, if not on this clock then on another."""


@dataclass(frozen=True, slots=True)
class LimitReached:
    """All sessions of the period are used (Q1)."""

    usage: PeriodUsage


@dataclass(frozen=True, slots=True)
class ManagedNotIncluded:
    """The entitlement in force has no managed models (P4)."""

    usage: PeriodUsage


@dataclass(frozen=True, slots=True)
class BudgetReached:
    """The customer's own ceiling keeps new sessions from starting in the period."""

    period: Period
    ceiling: CeilingReached


ContinueOutcome = Admitted | NoLiveSession | ManagedNotGranted | SessionCapped
StartOutcome = (
    Admitted
    | NoLiveSession
    | SessionAlive
    | PeriodNotOpen
    | PeriodClosed
    | LimitReached
    | ManagedNotIncluded
    | BudgetReached
)


@dataclass(frozen=True, slots=True)
class Turn:
    """One exchange of a conversation: what the user sent and what the model answered."""

    session_id: str
    at: datetime
    attempt_id: str
    messages: tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class Settlement:
    """What is written when an answer is ready to be delivered.

    Attributes
    ----------
    at
        When the answer is delivered (S2).
    route
        Who paid for the model, at which provider, and which one it was.
    turn
        The exchange to keep, where the server keeps the conversation.
    claim, run, answer
        The idempotency key and the run of a deferred request, where there is one, and the answer
        to keep with them.
    """

    session: Session
    attempt_id: str
    at: datetime
    route: Route
    tokens: TokenUsage
    turn: Turn | None = None
    claim: Claim | None = None
    run: Run | None = None
    answer: dict[str, Any] | None = None


class RollupReader(Protocol):
    """The daily rollups of a customer. They follow the sessions by seconds."""

    def days(self, customer_id: str, first: date, last: date) -> Sequence[DayTotal]:
        """Return the days from ``first`` to ``last``, both included, on which anything started.

        The oldest comes first.
        """
        ...

    def slices(self, customer_id: str, first: date, last: date) -> Iterator[DaySlice]:
        """Yield the same days' parts by agent and route, the oldest day first."""
        ...


class RollupStore(RollupReader, Protocol):
    """The daily rollups, and what of each session is in them."""

    def records_of(self, sessions: Sequence[Session]) -> Mapping[str, SessionRecord]:
        """Return the sessions' records by session id, read consistently; some may be gone."""
        ...

    def add(self, growths: Sequence[Growth]) -> bool:
        """Add sessions of one customer and day to its rollups, and note it on their records.

        All or nothing: ``False`` if one of the records is gone, or no longer says what it said.
        """
        ...


class SessionStore(Protocol):
    """Sessions, their transcripts and the idempotency keys of their requests."""

    def continue_session(self, attempt: Attempt) -> ContinueOutcome:
        """Admit the attempt to the conversation's live session, if there is one."""
        ...

    def start_session(self, attempt: Attempt, session_id: str, period: Period) -> StartOutcome:
        """Start a session and count it in ``period``, both or neither."""
        ...

    def grant_managed(self, session: Session, until: Period) -> bool:
        """Let a live session use managed models to the end of ``until``, if the quota says so."""
        ...

    def settle(self, settlement: Settlement) -> bool:
        """Record that a message was processed; ``False`` if the session was released before."""
        ...

    def abandon(self, conversation: Conversation, attempt_id: str) -> Session | None:
        """Take the attempt out of flight; return the session it was part of, as it now is."""
        ...

    def release(self, session: Session, at: datetime) -> bool:
        """Take back a held session: it counts no more. ``False`` if it is not to be released.

        Where its period was closed meanwhile, an adjustment for the next statement is left.
        """
        ...

    def release_expired(self, session: Session, at: datetime) -> bool:
        """Take back a session by the last image of its item, which expiry has deleted.

        An item that was deleted while held can never be processed, so its image is the truth.
        ``False`` if it was processed, or was never counted.
        """
        ...

    def claim(self, claim: Claim, now: datetime) -> Claim:
        """Take the idempotency key; return the claim that holds it now, ours or another's."""
        ...

    def drop_claim(self, claim: Claim) -> None:
        """Give up our unanswered claim, so that a retry can run at once."""
        ...

    def transcript(self, session: Session, limit_tokens: int) -> Sequence[Turn]:
        """Return the session's turns, oldest first.

        Turns that are older than the newest ``limit_tokens`` may be left out.
        """
        ...

    def held_sessions(self, customer_id: str, period: Period) -> Sequence[Session]:
        """Return the sessions that occupy the quota with nothing processed."""
        ...

    def records(self, customer_id: str, period: Period) -> Iterator[SessionRecord]:
        """Yield the records of all sessions started in the period."""
        ...


# --- deferred requests ---------------------------------------------------------------------


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


# --- accounts and usage --------------------------------------------------------------------


class UsageStore(Protocol):
    """The counters."""

    def period_usage(self, customer_id: str, period: Period) -> PeriodUsage | None:
        """Return the counter, read consistently; ``None`` if the period is not open."""
        ...

    def open_period(self, subscription: Subscription, period: Period) -> bool:
        """Open the period, or bring its entitlement up to the subscription.

        ``False`` if the counter is already at the subscription's version or closed, or the
        subscription was changed meanwhile.
        """
        ...


class SubscriptionReader(Protocol):
    """What the quota needs of the accounts."""

    def subscription(self, customer_id: str) -> Subscription | None:
        """Return the subscription, read consistently."""
        ...


class KeyReader(Protocol):
    """What the authorizer needs of the accounts."""

    def key(self, digest: str) -> KeyRecord | None:
        """Return the record of the key with this SHA-256."""
        ...


class OwnLimitsReader(Protocol):
    """What a refusal needs of the limits that customers set themselves."""

    def own_limits(self, customer_id: str) -> OwnLimits:
        """Return the customer's limits, read consistently."""
        ...


class CallerReader(Protocol):
    """What the authorizer needs to know about the customer behind a key."""

    def subscription_and_limits(self, customer_id: str) -> tuple[Subscription, OwnLimits] | None:
        """Return both, read consistently and together; ``None`` if there is no subscription."""
        ...


class OwnLimitsStore(OwnLimitsReader, CallerReader, Protocol):
    """The limits that customers set themselves, and what follows from their ceilings."""

    def replace_limits(
        self,
        before: OwnLimits,
        after: OwnLimits,
        period: Period,
        reached: CeilingReached | None,
        audit: AuditRecord,
    ) -> bool:
        """Put ``after`` in the place of ``before``, and what follows in ``period`` with it.

        ``False`` if somebody changed them since they were read. The period has to be open.
        """
        ...

    def note_ceiling(
        self, limits: OwnLimits, period: Period, reached: CeilingReached | None
    ) -> bool:
        """Note on the counter what follows from a ceiling, and have it told once a period.

        ``False`` if it is no longer the customer's ceiling, or the period is closed.
        """
        ...


@dataclass(frozen=True, slots=True)
class Customer:
    """The account that subscribes and is billed."""

    customer_id: str
    name: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """One act of an operator or a customer: who did what, when, before and after."""

    customer_id: str
    audit_id: str
    at: datetime
    actor: str
    action: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Page:
    """Some customers, and where the next ones begin."""

    customers: tuple[tuple[Customer, Subscription], ...]
    next_cursor: str | None


class AccountStore(SubscriptionReader, KeyReader, Protocol):
    """Customers, keys, subscriptions and the audit trail.

    Every change writes its audit record in the same transaction; ``False`` or ``None`` means
    that the change did not apply because its precondition no longer held.
    """

    def create_customer(
        self, customer: Customer, subscription: Subscription, key: KeyRecord, audit: AuditRecord
    ) -> bool:
        """Add a customer with a subscription and a first key."""
        ...

    def customer(self, customer_id: str) -> Customer | None:
        """Return the customer."""
        ...

    def customers(self, limit: int, cursor: str | None) -> Page:
        """Return a page of customers, in the order they were created."""
        ...

    def add_key(self, key: KeyRecord, audit: AuditRecord) -> bool:
        """Add a key to an existing customer."""
        ...

    def keys(self, customer_id: str) -> Sequence[KeyRecord]:
        """Return the customer's keys, revoked ones included."""
        ...

    def revoke_key(self, key: KeyRecord, audit: AuditRecord) -> bool:
        """Mark the key revoked at ``audit.at``."""
        ...

    def change_subscription(
        self, before: Subscription, after: Subscription, period: Period, audit: AuditRecord
    ) -> bool:
        """Replace the subscription and bring the period's counter up to it, both or neither.

        ``period`` is the present one: ``False`` also if it is closed, or the next one has begun.
        """
        ...

    def credit(
        self, subscription: Subscription, period: Period, sessions: int, audit: AuditRecord
    ) -> bool:
        """Add sessions to the period's limit, once per ``audit.audit_id`` however often repeated.

        ``False`` if the subscription is no longer at the given version, or the period is closed.
        """
        ...

    def audit_record(self, customer_id: str, audit_id: str) -> AuditRecord | None:
        """Return the record of one act, read consistently; ``None`` if it did not take effect."""
        ...

    def audit_trail(self, customer_id: str, limit: int) -> Sequence[AuditRecord]:
        """Return the newest audit records first."""
        ...


class ClockOffsetStore(Protocol):
    """The offsets of customers' test clocks; exists on non-production stages only."""

    def offset_seconds(self, customer_id: str) -> float:
        """Return how far ahead of the system's clock the customer's is."""
        ...

    def set_offset(self, customer_id: str, before: float, after: float, audit: AuditRecord) -> bool:
        """Move the clock, if it still stands at ``before``."""
        ...


# --- closing periods -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ClosingFacts:
    """All that closing a customer's period depends on.

    Attributes
    ----------
    closed, previous_closed
        Whether there is a statement of the period, and of the one before.
    adjustments
        What became known of closed periods and is on no statement yet.
    clock_offset_seconds
        How far ahead the customer's test clock is.
    """

    customer: Customer
    subscription: Subscription
    usage: PeriodUsage | None
    closed: bool
    previous_closed: bool
    adjustments: Mapping[Period, int]
    clock_offset_seconds: float = 0.0


class StatementStore(Protocol):
    """Statements: written once, by closing a period, and never changed."""

    def statements(
        self, customer_id: str, limit: int, before: Period | None
    ) -> Sequence[Statement]:
        """Return the customer's newest statements first; those of periods ``before`` that one."""
        ...

    def statement(self, customer_id: str, period: Period) -> Statement | None:
        """Return one statement, read consistently."""
        ...


class ClosingStore(StatementStore, Protocol):
    """What closing reads and writes."""

    def facts(self, customer_ids: Sequence[str], period: Period) -> Mapping[str, ClosingFacts]:
        """Return the facts of each of the customers that exist, read together.

        A subscription is read no earlier than the counter beside it.
        """
        ...

    def close(self, closing: Closing, audit: AuditRecord | None) -> bool:
        """Write the statement, fence the counter, apply what waited; all or nothing.

        ``False`` if there is a statement already. ``audit`` records the change that takes effect,
        where there is one.

        Raises
        ------
        StoreContentionError
            Also if the counter, the subscription or the adjustments are no longer what the
            closing was decided from: it has to be decided anew.
        """
        ...


class MonthEndStore(Protocol):
    """The runs of the month end and their pages."""

    def run(self, period: Period) -> MonthEndRun | None:
        """Return the run of a period, read consistently."""
        ...

    def runs(self, limit: int) -> Sequence[MonthEndRun]:
        """Return the newest runs first."""
        ...

    def start(self, run: MonthEndRun) -> bool:
        """Add a run; ``False`` if the period has one."""
        ...

    def advance(self, before: MonthEndRun, after: MonthEndRun, pages: Sequence[ClosePage]) -> bool:
        """Do a step: add its pages and move the run on, all or nothing.

        ``False`` if the run has moved on already.
        """
        ...

    def finish(self, run: MonthEndRun, at: datetime) -> None:
        """Note that no customer of the run is open any more; the first note stays."""
        ...

    def pages(
        self, period: Period, first: int = 0, count: int | None = None
    ) -> Iterator[PageState]:
        """Yield the pages of a run in the order of their numbers, from ``first`` on."""
        ...

    def record(
        self, page: ClosePage, closed: Sequence[str], failed: Mapping[str, str], at: datetime
    ) -> None:
        """Note which of a page's customers are closed, and why others were given up.

        A customer that is closed is no longer failed, whichever is noted first.
        """
        ...


class CustomerDirectory(Protocol):
    """All customers, in the order they were created."""

    def created_before(self, end: datetime, cursor: str | None, limit: int) -> Listing:
        """Return the customers behind the cursor who were created before ``end``."""
        ...


class MonthEndQueue(Protocol):
    """How the work of a month end is handed on. Everything may be delivered twice."""

    def send_step(self, period: Period, step: int, delay_seconds: int = 0) -> None:
        """Ask for a step of the listing."""
        ...

    def send_pages(self, pages: Sequence[ClosePage]) -> None:
        """Ask for pages to be closed."""
        ...

    def give_up(self, page: ClosePage, reason: str) -> None:
        """Put a page among the dead letters, with the reason."""
        ...

    def redrive(self, limit: int) -> int:
        """Ask again for dead letters, up to ``limit``; return how many."""
        ...


class EventPublisher(Protocol):
    """The bus that tells others what happened. An event can be delivered twice, under one id."""

    def period_closed(self, statement: Statement) -> None:
        """Tell that a period was closed, with its statement."""
        ...

    def usage_alert(self, alert: Alert) -> None:
        """Tell that a threshold was reached."""
        ...

    def budget_reached(self, alert: BudgetAlert) -> None:
        """Tell that a customer's own ceiling was reached."""
        ...


# --- alerts --------------------------------------------------------------------------------


class AlertStore(Protocol):
    """What customers want to be told of, the alerts there were, and who was told of them."""

    def settings(self, customer_id: str) -> AlertSettings:
        """Return a customer's settings, read consistently; the defaults if it has none."""
        ...

    def settings_of(self, customer_ids: Sequence[str]) -> Mapping[str, AlertSettings]:
        """Return the settings of many customers, each with those that `settings` returns."""
        ...

    def replace_settings(
        self, customer_id: str, before: AlertSettings, after: AlertSettings, audit: AuditRecord
    ) -> bool:
        """Put ``after`` in the place of ``before``; ``False`` if that is not what stands there.

        The audit record is written in the same transaction.
        """
        ...

    def keep(self, alert: Alert) -> Alert | None:
        """Keep an alert if there is none of its customer, period and threshold (A1).

        Returns the one that is kept now, this one or an earlier one; ``None`` if there is none,
        because the customer's data is being erased.
        """
        ...

    def alerts(self, customer_id: str, period: Period) -> Sequence[Alert]:
        """Return the alerts of a period, the lowest threshold first, read consistently."""
        ...

    def told(self, alert: Alert) -> frozenset[str] | None:
        """Return the channels that were told of an alert; ``None`` if it is kept no more."""
        ...

    def mark_told(self, alert: Alert, channel: str) -> None:
        """Note that a channel was told of an alert, if it is still kept."""
        ...


class AlertTopic(Protocol):
    """The topic of the operators, for alerts of all customers."""

    def publish(self, alert: Alert) -> None:
        """Tell that a threshold was reached; again, it is told again, under the same id."""
        ...


class AlertMail(Protocol):
    """Mail to customers."""

    def send(self, alert: Alert, address: str) -> None:
        """Send a customer its alert; again, it is sent again."""
        ...

    def send_budget(self, alert: BudgetAlert, address: str) -> None:
        """Tell a customer that its own ceiling was reached; again, it is told again."""
        ...


# --- margins -------------------------------------------------------------------------------


class CounterReader(Protocol):
    """The counters of many customers at once."""

    def counters(self, customer_ids: Sequence[str], period: Period) -> Mapping[str, PeriodUsage]:
        """Return each customer's counter under its subscription, whether it was opened or not.

        Who has no subscription is left out. A subscription is read no earlier than the counter.
        """
        ...


class MarginStore(Protocol):
    """The runs that add up margins, and the reports that they end in: one of each a period."""

    def run(self, period: Period) -> MarginRun | None:
        """Return the run of a period that was begun last, read consistently."""
        ...

    def begin(self, run: MarginRun) -> bool:
        """Put a run in the place of one of an earlier day; ``False`` if there is none such."""
        ...

    def advance(self, before: MarginRun, after: MarginRun) -> bool:
        """Do a step; where that finishes the run, it becomes the report, both or neither.

        ``False`` if the run has moved on already, or another one took its place.
        """
        ...

    def report(self, period: Period) -> MarginRun | None:
        """Return the run of a period that was finished last, read consistently."""
        ...


class MarginQueue(Protocol):
    """How the work of a run is handed on. Everything may be delivered twice."""

    def send_step(self, run: MarginRun) -> None:
        """Ask for the run's next step."""
        ...


# --- stored credentials --------------------------------------------------------------------


class StoredCredentialReader(Protocol):
    """What messages need of the stored credentials."""

    def credentials(self, customer_id: str, provider: Provider) -> StoredCredentials | None:
        """Return the customer's credentials at the provider, read consistently."""
        ...

    def mark_used(self, stored: StoredCredentials, at: datetime) -> None:
        """Note that they were used, if that is news and they are still the ones in force."""
        ...


class StoredCredentialStore(StoredCredentialReader, Protocol):
    """Credentials that customers stored.

    Every change writes its audit record in the same transaction; ``False`` means that somebody
    changed them since they were read.
    """

    def all_credentials(self, customer_id: str) -> Sequence[StoredCredentials]:
        """Return the customer's credentials, by provider."""
        ...

    def replace_credentials(
        self, before: StoredCredentials | None, after: StoredCredentials, audit: AuditRecord
    ) -> bool:
        """Put ``after`` in the place of ``before``, or where there was nothing."""
        ...

    def delete_credentials(self, stored: StoredCredentials, audit: AuditRecord) -> bool:
        """Delete them for good."""
        ...


class CredentialCipher(Protocol):
    """Seals credentials so that they can be read as this customer's, at this provider, only."""

    def encrypt(self, customer_id: str, provider: Provider, plaintext: bytes) -> bytes:
        """Return the ciphertext."""
        ...

    def decrypt(self, customer_id: str, provider: Provider, ciphertext: bytes) -> bytes:
        """Return the plaintext.

        Raises
        ------
        StoredCredentialsUnreadableError
            If it was sealed for another customer or provider, was tampered with, or its key is
            out of service.
        """
        ...


# --- webhooks ------------------------------------------------------------------------------


class WebhookOutbox(Protocol):
    """The way of events to the customers' servers."""

    def send(self, event: WebhookEvent) -> None:
        """Have an event delivered, if its customer has a webhook.

        An event may be sent twice: under one id it is delivered in one series of attempts.

        Raises
        ------
        StoreContentionError
            Whether it will be delivered is not known.
        """
        ...


class WebhookQueue(WebhookOutbox, Protocol):
    """How deliveries go on. Everything may arrive twice, and in any order."""

    def go_on(self, step: Step, delay: timedelta) -> None:
        """Ask for a step, ``delay`` from now or as late as the queue can."""
        ...

    def give_up(self, step: Step, reason: str) -> None:
        """Put a step among the dead letters, with the reason."""
        ...

    def redrive(self, limit: int) -> int:
        """Ask again for dead letters, up to ``limit``; return how many."""
        ...


class WebhookSecrets(Protocol):
    """Seals signing secrets so that they can be read as this customer's only."""

    def seal(self, customer_id: str, secret: str) -> bytes:
        """Return the ciphertext."""
        ...


class WebhookSecretOpener(Protocol):
    """Opens what `WebhookSecrets` sealed."""

    def open(self, customer_id: str, ciphertext: bytes) -> str | None:
        """Return the secret; ``None`` if it was sealed otherwise, or its key is out of service."""
        ...


class WebhookSender(Protocol):
    """Sends events to the customers' servers, and nowhere else."""

    def send(self, url: str, event: WebhookEvent, secrets: Sequence[str], at: datetime) -> Reply:
        """Send a signed event once, and return what came of it."""
        ...


class WebhookEndpoints(Protocol):
    """Where customers want to be told.

    Every change writes its audit record in the same transaction; ``False`` means that somebody
    changed it since it was read.
    """

    def endpoint(self, customer_id: str) -> WebhookEndpoint | None:
        """Return the customer's endpoint, read consistently."""
        ...

    def replace_endpoint(
        self, before: WebhookEndpoint | None, after: WebhookEndpoint, audit: AuditRecord
    ) -> bool:
        """Put ``after`` in the place of ``before``, or where there was nothing."""
        ...

    def delete_endpoint(self, endpoint: WebhookEndpoint, audit: AuditRecord) -> bool:
        """Delete it for good, with its secrets."""
        ...


@dataclass(frozen=True, slots=True)
class DeliveryPage:
    """Some deliveries, the newest first, and where the older ones begin."""

    deliveries: tuple[Delivery, ...]
    next_cursor: str | None


class DeliveryLog(Protocol):
    """The deliveries of the last days."""

    def add(self, delivery: Delivery) -> Delivery | None:
        """Add a delivery if its event has none; return the one that there is then.

        ``None`` if there is none, as the customer has no endpoint any more.
        """
        ...

    def replace(self, before: Delivery, after: Delivery) -> bool:
        """Put ``after`` in the place of ``before``; ``False`` if that is no longer there."""
        ...

    def delivery(self, customer_id: str, event_id: str) -> Delivery | None:
        """Return the delivery of an event, read consistently."""
        ...

    def deliveries(self, customer_id: str, limit: int, cursor: str | None) -> DeliveryPage:
        """Return a page of the customer's deliveries, the newest first.

        Raises
        ------
        InvalidRequestError
            If ``cursor`` is not one that an earlier page gave.
        """
        ...


# --- payments ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NotForUs:
    """A verified event that decides nothing, and why."""

    event_id: str
    reason: str


class PaymentEvents(Protocol):
    """Reads what the payment provider sends."""

    def read(self, body: str, signature: str | None, now: datetime) -> PaymentEvent | NotForUs:
        """Verify that the provider sent the body not long before ``now``, and read it.

        Raises
        ------
        SignatureRejectedError
            It was not sent by the provider, or long ago.
        MalformedPaymentEventError
            The provider sent it, and it is not what the provider documents.
        """
        ...


class MalformedPaymentEventError(Exception):
    """A verified event that cannot be read; the message names the field, never a value."""


class PaymentStore(Protocol):
    """What the payment provider has said, and which customers it is about."""

    def standing(self, subscription_id: str) -> Standing | None:
        """Return the standing of one of the provider's subscriptions, read consistently."""
        ...

    def replace_standing(self, before: Standing | None, after: Standing) -> bool:
        """Put ``after`` in the place of ``before``; ``False`` if that is not what stands there."""
        ...

    def customer_of(self, payer_id: str) -> str | None:
        """Return our customer for the provider's, read consistently."""
        ...

    def link_payer(self, payer_id: str, customer_id: str) -> None:
        """Remember whom a payer pays for; the last link stays."""
        ...

    def govern(self, customer_id: str, governing: Governing) -> bool:
        """Let a subscription decide the customer's plan, unless one begun later does.

        Returns whether it decides.
        """
        ...

    def governing(self, customer_id: str) -> Governing | None:
        """Return which subscription decides the customer's plan, read consistently."""


# --- the vault -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Written:
    """The write took effect, now or when it was tried before."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The document is not as the write expects; nothing was changed."""

    found: Document | None


@dataclass(frozen=True, slots=True)
class Repeated:
    """A write with this idempotency key took effect before; nothing was changed."""

    receipt: Receipt


WriteOutcome = Written | Refused | Repeated


@dataclass(frozen=True, slots=True)
class DocumentPage:
    """Some documents of a collection in the order of their keys, expired ones included.

    Attributes
    ----------
    next_after
        The key after which the next page begins; ``None`` after the last.
    """

    documents: tuple[Document, ...]
    next_after: str | None


@dataclass(frozen=True, slots=True)
class CountPage:
    """How many documents of a part of a collection have not expired."""

    count: int
    next_after: str | None


class VaultStore(Protocol):
    """The customers' documents. Reads are consistent."""

    def get(self, place: Place) -> Document | None:
        """Return the document, whether it has expired or not."""
        ...

    def put(
        self, document: Document, expected: Expected, receipt: Receipt | None, now: datetime
    ) -> WriteOutcome:
        """Store the document if what is there is as expected; expired is absent.

        A receipt is written in the same write, or neither.
        """
        ...

    def delete(self, document: Document, receipt: Receipt | None, now: datetime) -> WriteOutcome:
        """Delete the document if it has this version still; one that is gone is deleted."""
        ...

    def receipt(self, customer_id: str, digest: str) -> Receipt | None:
        """Return what was written under an idempotency key, whether it has expired or not."""
        ...

    def page(self, collection: Collection, after: str | None, limit: int | None) -> DocumentPage:
        """Return the documents after a key: at most ``limit``, and at most 1 MB."""
        ...

    def count_page(self, collection: Collection, after: str | None, now: datetime) -> CountPage:
        """Count the documents after a key that have not expired, in at most 1 MB."""
        ...

    def first_after(self, customer_id: str, collection: str | None) -> Document | None:
        """Return the first document of the first collection whose name follows a name."""
        ...

    def remove(self, places: Sequence[Place]) -> None:
        """Delete documents, whatever they are."""
        ...


class VaultIds(Protocol):
    """Where the vault's ids come from."""

    def document_key(self, now: datetime) -> str:
        """Make the key of a document; keys sort by ``now``."""
        ...

    def version(self) -> str:
        """Make a version that no document ever had."""
        ...


# --- data rights ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ItemPlace:
    """Where an item stands."""

    table: str
    pk: str
    sk: str


@dataclass(frozen=True, slots=True)
class Visit:
    """A stop of a walk over what is stored of a customer.

    Attributes
    ----------
    place
        Where the item is; ``None`` at the end of a partition, from where a walk can go on too.
    file
        The file of an archive that shows it, as ``row``; ``None`` where nothing of it is shown.
    kept
        Whether an erasure leaves it.
    size
        About how many bytes the item has.
    """

    kind: str
    position: Position
    place: ItemPlace | None = None
    file: str | None = None
    row: Mapping[str, Any] = field(default_factory=dict, repr=False)
    kept: bool = False
    size: int = 0


class CustomerData(Protocol):
    """Everything that is stored of customers, with the books of its exports and erasures."""

    def walk(self, scope: Scope, after: Position) -> Iterator[Visit]:
        """Yield everything that is stored of the customer, behind a position."""
        ...

    def erasure(self, customer_id: str) -> Erasure | None:
        """Return a customer's erasure, read consistently."""
        ...

    def begin_erasure(self, erasure: Erasure) -> bool:
        """Add an erasure; ``False`` if the customer has one."""
        ...

    def advance_erasure(self, before: Erasure, after: Erasure, places: Sequence[ItemPlace]) -> bool:
        """Delete items and move the erasure on, all or nothing; ``False`` if it has moved on.

        Raises
        ------
        StoreContentionError
            Also if one of the items is gone.
        """
        ...

    def export(self, customer_id: str, export_id: str) -> Export | None:
        """Return an export, read consistently."""
        ...

    def begin_export(self, export: Export) -> bool:
        """Add an export; ``False`` if there is one of that id."""
        ...

    def take_export_step(self, export: Export, until: datetime, now: datetime) -> bool:
        """Begin a step; ``False`` if it was done, or may be running."""
        ...

    def advance_export(self, before: Export, after: Export, step: ExportStep) -> bool:
        """Note what a step added and move the export on, all or nothing."""
        ...

    def export_steps(self, export: Export) -> Sequence[ExportStep]:
        """Return what the steps of an export added, in their order."""
        ...


class Archives(Protocol):
    """Where archives are put together, part by part, and fetched."""

    def begin(self, export: Export) -> str:
        """Begin an archive; return what the store calls it while it is written."""
        ...

    def put_part(self, export: Export, number: int, content: bytes) -> Part:
        """Store a part."""
        ...

    def put_tail(self, export: Export, step: int, content: bytes) -> None:
        """Keep what is too little to be a part."""
        ...

    def tail(self, export: Export, step: int) -> bytes:
        """Return what a step left behind."""
        ...

    def finish(self, export: Export, parts: Sequence[Part]) -> None:
        """Make the parts one archive; an archive that is there already stays."""
        ...

    def link(self, export: Export, lifetime: timedelta) -> str:
        """Return an address under which anybody can fetch the archive for a while."""
        ...

    def discard(self, customer_id: str) -> int:
        """Delete all that is there of a customer; return how many objects that were."""
        ...


class DataRightsQueue(Protocol):
    """How the steps of exports and erasures are handed on. All may be delivered twice."""

    def send_export(self, customer_id: str, export_id: str, step: int) -> None:
        """Ask for a step of an export."""
        ...

    def send_erasure(self, customer_id: str, step: int, delay: timedelta) -> None:
        """Ask for a step of an erasure, ``delay`` from now or as late as the queue can."""
        ...


# --- models --------------------------------------------------------------------------------


class ModelClient(Protocol):
    """A provider's models."""

    def converse(self, request: ModelRequest) -> ModelAnswer:
        """Answer the messages.

        Raises
        ------
        ModelError
            Or another `FlowStackError` that says why there is no answer.
        """
        ...


class ModelClients(Protocol):
    """The providers that can be asked."""

    def check(self, provider: Provider, credentials: ProviderCredentials | None) -> None:
        """Make sure, before anything is counted, that the provider can be asked.

        Raises
        ------
        InvalidProviderError
            The provider is not served.
        InvalidRequestError
            The credentials name a host that is never asked.
        """
        ...

    def client(self, provider: Provider, credentials: ProviderCredentials | None) -> ModelClient:
        """Return a client; without ``credentials`` for the managed provider."""
        ...


# --- operators --------------------------------------------------------------------------------


class Observer(Protocol):
    """Is told what operators want to know of messages. It neither fails nor takes any time."""

    def message_received(self, tier: Tier, provider: Provider, *, managed: bool) -> None:
        """Take note of a message, before it is refused or admitted."""
        ...

    def model_answered(self, seconds: float, usage: TokenUsage) -> None:
        """Take note of an answer of the message's model."""
        ...

    def model_failed(self, seconds: float, error: FlowStackError) -> None:
        """Take note that the message's model gave no answer."""
        ...

    def session_released(self) -> None:
        """Take note that a session was given back, as nothing was processed in it."""
        ...


__all__ = [
    "AccountStore",
    "Admitted",
    "AlertMail",
    "AlertStore",
    "AlertTopic",
    "Archives",
    "Attempt",
    "AuditRecord",
    "BudgetReached",
    "CallerReader",
    "Claim",
    "Clock",
    "ClockOffsetStore",
    "ClosingFacts",
    "ClosingStore",
    "ContinueOutcome",
    "CountPage",
    "CredentialCipher",
    "Customer",
    "CustomerClocks",
    "CustomerData",
    "CustomerDirectory",
    "DataRightsQueue",
    "DeferredQueue",
    "DeferredRequest",
    "DeferredStore",
    "DocumentPage",
    "EventPublisher",
    "IdempotencyKey",
    "Ids",
    "ItemPlace",
    "KeyReader",
    "LimitReached",
    "MalformedPaymentEventError",
    "ManagedNotGranted",
    "ManagedNotIncluded",
    "ModelClient",
    "ModelClients",
    "MonthEndQueue",
    "MonthEndStore",
    "NoLiveSession",
    "NotForUs",
    "Observer",
    "OwnLimitsReader",
    "OwnLimitsStore",
    "Page",
    "PaymentEvents",
    "PaymentStore",
    "PeriodClosed",
    "PeriodNotOpen",
    "Refused",
    "Repeated",
    "RollupReader",
    "RollupStore",
    "Run",
    "SessionAlive",
    "SessionCapped",
    "SessionStore",
    "Settlement",
    "StartOutcome",
    "StatementStore",
    "StoreContentionError",
    "StoredCredentialReader",
    "StoredCredentialStore",
    "SubscriptionReader",
    "Terms",
    "TimeBudget",
    "Turn",
    "UsageStore",
    "VaultIds",
    "VaultStore",
    "Visit",
    "WebhookOutbox",
    "WriteOutcome",
    "Written",
]
