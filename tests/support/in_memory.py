"""Stores kept in memory: the ports' semantics, written down as plainly as they can be.

They share one set of tables and one lock, so that every operation is atomic, also where it
touches the tables of two stores. The contract suite holds them to the same tests as the adapters
that run on AWS.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from threading import RLock
from typing import Any

from flowstack_core.domain.alerts import Alert, AlertSettings
from flowstack_core.domain.api_keys import KeyRecord
from flowstack_core.domain.deferred import DeferredRequest, Run, Status
from flowstack_core.domain.errors import InvalidRequestError
from flowstack_core.domain.idempotency import Claim
from flowstack_core.domain.month_end import MonthEndRun, PageState
from flowstack_core.domain.own_limits import CeilingReached, OwnLimits
from flowstack_core.domain.periods import Period
from flowstack_core.domain.providers import Provider
from flowstack_core.domain.quota import PeriodUsage
from flowstack_core.domain.rollups import Talk
from flowstack_core.domain.sessions import Conversation, Session, SessionRecord
from flowstack_core.domain.statements import Statement
from flowstack_core.domain.stored_credentials import StoredCredentials
from flowstack_core.domain.subscriptions import Subscription
from flowstack_core.domain.webhooks import Delivery, WebhookEndpoint
from flowstack_core.services.ports.accounts import AuditRecord, Customer, Page
from flowstack_core.services.ports.failures import StoreContentionError
from flowstack_core.services.ports.sessions import (
    Admitted,
    Attempt,
    BudgetReached,
    ContinueOutcome,
    LimitReached,
    ManagedNotGranted,
    ManagedNotIncluded,
    NoLiveSession,
    PeriodClosed,
    PeriodNotOpen,
    SessionAlive,
    SessionCapped,
    Settlement,
    StartOutcome,
    Turn,
)


@dataclass(slots=True)
class Tables:
    """Everything that is stored, and the lock that makes operations on it atomic."""

    lock: RLock = field(default_factory=RLock)
    heads: dict[Conversation, Session] = field(default_factory=dict)
    records: dict[str, SessionRecord] = field(default_factory=dict)
    processed: set[str] = field(default_factory=set)
    settlements: list[Settlement] = field(default_factory=list)
    claims: dict[tuple[str, str], Claim] = field(default_factory=dict)
    counters: dict[tuple[str, Period], PeriodUsage] = field(default_factory=dict)
    customers: dict[str, Customer] = field(default_factory=dict)
    subscriptions: dict[str, Subscription] = field(default_factory=dict)
    keys: dict[str, KeyRecord] = field(default_factory=dict)
    audits: dict[tuple[str, str], AuditRecord] = field(default_factory=dict)
    offsets: dict[str, float] = field(default_factory=dict)
    statements: dict[tuple[str, Period], Statement] = field(default_factory=dict)
    adjustments: dict[str, dict[Period, int]] = field(default_factory=dict)
    runs: dict[Period, MonthEndRun] = field(default_factory=dict)
    pages: dict[tuple[Period, int], PageState] = field(default_factory=dict)
    credentials: dict[tuple[str, Provider], StoredCredentials] = field(default_factory=dict)
    own_limits: dict[str, OwnLimits] = field(default_factory=dict)
    budget_alerts: dict[tuple[str, Period], CeilingReached] = field(default_factory=dict)
    alert_settings: dict[str, AlertSettings] = field(default_factory=dict)
    alerts: dict[str, Alert] = field(default_factory=dict)
    told: dict[str, set[str]] = field(default_factory=dict)
    erased: set[str] = field(default_factory=set)
    deferred: dict[tuple[str, str], DeferredRequest] = field(default_factory=dict)
    bodies: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    webhooks: dict[str, WebhookEndpoint] = field(default_factory=dict)
    deliveries: dict[tuple[str, str], Delivery] = field(default_factory=dict)

    def end(self, run: Run, status: Status, **outcome: dict[str, Any] | None) -> bool:
        """Give a deferred request its outcome, if the run is its last and it has none."""
        place = (run.customer_id, run.request_id)
        request = self.deferred.get(place)
        if request is None or request.run_id != run.run_id or request.status != "running":
            return False
        self.deferred[place] = replace(request, status=status, **outcome)  # type: ignore[arg-type]
        return True

    def ended(self, run: Run, status: Status) -> bool:
        """Whether this very run gave the request this outcome."""
        request = self.deferred.get((run.customer_id, run.request_id))
        return request is not None and (request.run_id, request.status) == (run.run_id, status)

    def raise_counter(
        self, subscription: Subscription, period: Period, before: Subscription | None = None
    ) -> bool:
        """Open the period or bring its entitlement up to ``subscription``, from ``before``."""
        place = (subscription.customer_id, period)
        counter = self.counters.get(place)
        if counter is not None and (
            counter.closed_at is not None or counter.subscription_version >= subscription.version
        ):
            return False
        self.counters[place] = (
            PeriodUsage.opened(before or subscription, period).under(subscription)
            if counter is None
            else counter.under(subscription)
        )
        return True

    def count(self, session: Session, change: int) -> None:
        """Add to the counter of the period in which the session started."""
        place = (session.conversation.customer_id, session.period)
        counter = self.counters[place]
        self.counters[place] = replace(
            counter,
            sessions_used=counter.sessions_used + change,
            managed_sessions=counter.managed_sessions + (change if session.managed else 0),
        )
        if counter.closed_at is not None:
            left = self.adjustments.setdefault(place[0], {})
            left[session.period] = left.get(session.period, 0) + change

    def closed(self, customer_id: str, period: Period) -> bool:
        """Whether the period's counter is fenced."""
        counter = self.counters.get((customer_id, period))
        return counter is not None and counter.closed_at is not None

    def expire_head(self, conversation: Conversation) -> None:
        """Delete the conversation's session, as the expiry of items does some day."""
        with self.lock:
            self.heads.pop(conversation, None)


class InMemorySessionStore:
    """Sessions, transcripts and idempotency keys."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def continue_session(self, attempt: Attempt) -> ContinueOutcome:
        """Admit the attempt to the conversation's live session."""
        with self._tables.lock:
            head = self._tables.heads.get(attempt.conversation)
            if head is None:
                return NoLiveSession()
            if attempt.attempt_id in head.in_flight:
                return Admitted(head, started=False)
            if not head.alive(attempt.at):
                return NoLiveSession(head if head.held else None)
            if attempt.caps.reached_by(head) is not None:
                return SessionCapped(head)
            if attempt.managed and not head.allows_managed(attempt.at):
                return ManagedNotGranted(head)
            joined = replace(
                head,
                last_activity_at=max(head.last_activity_at, attempt.at),
                in_flight={**head.in_flight, attempt.attempt_id: attempt.busy_until},
                turns=head.turns + 1,
            )
            self._tables.heads[attempt.conversation] = joined
            return Admitted(joined, started=False)

    def start_session(self, attempt: Attempt, session_id: str, period: Period) -> StartOutcome:
        """Start a session and count it, both or neither."""
        with self._tables.lock:
            head = self._tables.heads.get(attempt.conversation)
            if head is not None and head.session_id == session_id:
                return Admitted(head, started=True)
            if head is not None and head.alive(attempt.at):
                return SessionAlive()
            if head is not None and head.held:
                return NoLiveSession(head)
            if session_id in self._tables.records:  # started before, and released since
                return NoLiveSession()
            counter = self._tables.counters.get((attempt.conversation.customer_id, period))
            if counter is None:
                return PeriodNotOpen()
            if counter.closed_at is not None:
                return PeriodClosed()
            if attempt.managed and not counter.managed_models:
                return ManagedNotIncluded(counter)
            if counter.sessions_used >= counter.session_limit:
                return LimitReached(counter)
            if counter.budget_block is not None:
                return BudgetReached(period, counter.budget_block)
            session = Session(
                session_id=session_id,
                conversation=attempt.conversation,
                period=period,
                started_at=attempt.at,
                last_activity_at=attempt.at,
                managed=attempt.managed,
                managed_until=period.end if attempt.managed else None,
                in_flight={attempt.attempt_id: attempt.busy_until},
            )
            self._tables.heads[attempt.conversation] = session
            self._tables.records[session_id] = SessionRecord(
                session_id=session_id,
                conversation=attempt.conversation,
                period=period,
                started_at=attempt.at,
                managed=attempt.managed,
            )
            self._tables.count(session, 1)
            return Admitted(session, started=True)

    def grant_managed(self, session: Session, until: Period) -> bool:
        """Let the session use managed models to the end of ``until``, if the counter says so."""
        with self._tables.lock:
            head = self._tables.heads.get(session.conversation)
            counter = self._tables.counters.get((session.conversation.customer_id, until))
            if head is None or head.session_id != session.session_id:
                return False
            if counter is None or not counter.managed_models:
                return False
            granted = max(head.managed_until or until.end, until.end)
            self._tables.heads[session.conversation] = replace(head, managed_until=granted)
            return True

    def settle(self, settlement: Settlement) -> bool:
        """Record that a message was processed; the turn and the answer with it."""
        with self._tables.lock:
            head = self._tables.heads.get(settlement.session.conversation)
            if head is None or head.session_id != settlement.session.session_id:
                return False
            if settlement.attempt_id not in head.in_flight:
                return settlement.run is None or self._tables.ended(settlement.run, "succeeded")
            if not self._answer(settlement):
                return False
            route, tokens = settlement.route.within(settlement.session.said), settlement.tokens
            added = Talk(1, tokens.input_tokens, tokens.output_tokens)
            self._tables.heads[head.conversation] = replace(
                head,
                opened_by=head.opened_by or route,
                said={**head.said, route: head.said.get(route, Talk()) + added},
                processed_at=head.processed_at or settlement.at,
                last_activity_at=max(head.last_activity_at, settlement.at),
                in_flight=_without(head, settlement.attempt_id),
                tokens=head.tokens + settlement.tokens.total_tokens,
            )
            self._tables.processed.add(head.session_id)
            self._tables.settlements.append(settlement)
            return True

    def _answer(self, settlement: Settlement) -> bool:
        """Keep the answer with claim and run; ``False`` if one of them is no longer ours."""
        if settlement.run is not None and not self._tables.end(
            settlement.run, "succeeded", answer=settlement.answer
        ):
            return False
        if settlement.claim is None:
            return True
        place = _place(settlement.claim)
        holder = self._tables.claims.get(place)
        if holder is None or holder.owner != settlement.claim.owner:
            return False
        self._tables.claims[place] = replace(holder, answer=settlement.answer)
        return True

    def abandon(self, conversation: Conversation, attempt_id: str) -> Session | None:
        """Take the attempt out of flight; return the conversation's session as it now is."""
        with self._tables.lock:
            head = self._tables.heads.get(conversation)
            if head is None:
                return None
            in_flight = _without(head, attempt_id)
            turns = head.turns - (len(head.in_flight) - len(in_flight))
            left = replace(head, in_flight=in_flight, turns=turns)
            self._tables.heads[conversation] = left
            return left

    def release(self, session: Session, at: datetime) -> bool:
        """Take back a held session: it counts no more."""
        with self._tables.lock:
            record = self._tables.records.get(session.session_id)
            if record is None or session.session_id in self._tables.processed:
                return False
            if not record.counted:
                return True
            head = self._tables.heads.get(session.conversation)
            current = head is not None and head.session_id == session.session_id
            if not (head if head is not None and current else session).releasable(at):
                return False
            if current:
                del self._tables.heads[session.conversation]
            self._tables.records[session.session_id] = replace(record, released_at=at)
            self._tables.count(session, -1)
            return True

    def release_expired(self, session: Session, at: datetime) -> bool:
        """Take back a session whose item was deleted while nothing had been processed."""
        with self._tables.lock:
            record = self._tables.records.get(session.session_id)
            if record is None or not session.held:
                return False
            if record.counted:
                self._tables.records[session.session_id] = replace(record, released_at=at)
                self._tables.count(session, -1)
            return True

    def claim(self, claim: Claim, now: datetime) -> Claim:
        """Take the idempotency key, unless somebody holds it."""
        with self._tables.lock:
            holder = self._tables.claims.get(_place(claim))
            if holder is not None and not holder.may_be_taken_by(claim.key, now):
                return holder
            self._tables.claims[_place(claim)] = claim
            return claim

    def drop_claim(self, claim: Claim) -> None:
        """Give up our own unanswered claim."""
        with self._tables.lock:
            holder = self._tables.claims.get(_place(claim))
            if holder is not None and holder.owner == claim.owner and holder.answer is None:
                del self._tables.claims[_place(claim)]

    def transcript(self, session: Session, limit_tokens: int) -> Sequence[Turn]:
        """Return the session's turns, oldest first."""
        with self._tables.lock:
            turns = [s.turn for s in self._tables.settlements if s.turn is not None]
        mine = [turn for turn in turns if turn.session_id == session.session_id]
        return sorted(mine, key=lambda turn: (turn.at, turn.attempt_id))

    def held_sessions(self, customer_id: str, period: Period) -> Sequence[Session]:
        """Return the sessions that occupy the quota with nothing processed."""
        with self._tables.lock:
            return [
                head
                for head in self._tables.heads.values()
                if head.held
                and head.period == period
                and head.conversation.customer_id == customer_id
            ]

    def records(self, customer_id: str, period: Period) -> Iterator[SessionRecord]:
        """Yield the records of all sessions started in the period."""
        with self._tables.lock:
            found = [
                record
                for record in self._tables.records.values()
                if record.period == period and record.conversation.customer_id == customer_id
            ]
        yield from found


class InMemoryDeferredStore:
    """Requests that are answered later."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def accept(self, request: DeferredRequest, body: dict[str, Any], claim: Claim | None) -> bool:
        """Keep a new request, and its id as the answer to its idempotency key."""
        place = (request.customer_id, request.request_id)
        with self._tables.lock:
            if claim is not None:
                holder = self._tables.claims.get(_place(claim))
                if holder is None or holder.owner != claim.owner:
                    return False
                answer = {"request_id": request.request_id}
                self._tables.claims[_place(claim)] = replace(holder, answer=answer)
            self._tables.deferred[place] = request
            self._tables.bodies[place] = body
            return True

    def take_back(self, request: DeferredRequest, claim: Claim | None) -> bool:
        """Forget a request and its idempotency key; ``False`` if a run has begun."""
        place = (request.customer_id, request.request_id)
        with self._tables.lock:
            found = self._tables.deferred.get(place)
            if found is not None and found.status != "queued":
                return False
            self._tables.deferred.pop(place, None)
            self._tables.bodies.pop(place, None)
            if claim is not None:
                self._tables.claims.pop(_place(claim), None)
            return True

    def request(self, customer_id: str, request_id: str) -> DeferredRequest | None:
        """Return the request as it stands."""
        with self._tables.lock:
            return self._tables.deferred.get((customer_id, request_id))

    def body(self, customer_id: str, request_id: str) -> dict[str, Any] | None:
        """Return what was asked for."""
        with self._tables.lock:
            return self._tables.bodies.get((customer_id, request_id))

    def begin(self, run: Run, now: datetime) -> DeferredRequest | None:
        """Begin a run if the request may be run; return the request as it then stands."""
        place = (run.customer_id, run.request_id)
        with self._tables.lock:
            request = self._tables.deferred.get(place)
            if request is not None and request.may_be_run(now):
                request = replace(request, status="running", run_id=run.run_id, run_until=run.until)
                self._tables.deferred[place] = request
            return request

    def fail(self, run: Run, failure: dict[str, Any]) -> bool:
        """Record that there will be no answer; ``False`` if the run is no longer the last one."""
        with self._tables.lock:
            return self._tables.end(run, "failed", failure=failure) or self._tables.ended(
                run, "failed"
            )


class InMemoryUsageStore:
    """The counters."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def period_usage(self, customer_id: str, period: Period) -> PeriodUsage | None:
        """Return the counter."""
        with self._tables.lock:
            return self._tables.counters.get((customer_id, period))

    def open_period(self, subscription: Subscription, period: Period) -> bool:
        """Open the period, or bring its entitlement up to the subscription."""
        with self._tables.lock:
            current = self._tables.subscriptions.get(subscription.customer_id)
            if current is None or current.version != subscription.version:
                return False
            return self._tables.raise_counter(subscription, period)


class InMemoryAccountStore:
    """Customers, keys, subscriptions and the audit trail."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def _applied(self, audit: AuditRecord) -> bool:
        return (audit.customer_id, audit.audit_id) in self._tables.audits

    def _record(self, audit: AuditRecord) -> bool:
        self._tables.audits[audit.customer_id, audit.audit_id] = audit
        return True

    def create_customer(
        self, customer: Customer, subscription: Subscription, key: KeyRecord, audit: AuditRecord
    ) -> bool:
        """Add a customer with a subscription and a first key."""
        with self._tables.lock:
            if self._applied(audit):
                return True
            if customer.customer_id in self._tables.customers or key.digest in self._tables.keys:
                return False
            self._tables.customers[customer.customer_id] = customer
            self._tables.subscriptions[customer.customer_id] = subscription
            self._tables.keys[key.digest] = key
            return self._record(audit)

    def customer(self, customer_id: str) -> Customer | None:
        """Return the customer."""
        with self._tables.lock:
            return self._tables.customers.get(customer_id)

    def subscription(self, customer_id: str) -> Subscription | None:
        """Return the subscription."""
        with self._tables.lock:
            return self._tables.subscriptions.get(customer_id)

    def customers(self, limit: int, cursor: str | None) -> Page:
        """Return a page of customers, in the order they were created."""
        with self._tables.lock:
            everyone = sorted(
                self._tables.customers.values(), key=lambda c: (c.created_at, c.customer_id)
            )
            after = 0
            if cursor is not None:
                ids = [customer.customer_id for customer in everyone]
                if cursor not in ids:
                    raise InvalidRequestError("no cursor", details={"field": "cursor"})
                after = 1 + ids.index(cursor)
            page = everyone[after : after + limit]
            return Page(
                customers=tuple((c, self._tables.subscriptions[c.customer_id]) for c in page),
                next_cursor=page[-1].customer_id if after + limit < len(everyone) else None,
            )

    def key(self, digest: str) -> KeyRecord | None:
        """Return the record of the key with this digest."""
        with self._tables.lock:
            return self._tables.keys.get(digest)

    def add_key(self, key: KeyRecord, audit: AuditRecord) -> bool:
        """Add a key to an existing customer."""
        with self._tables.lock:
            if self._applied(audit):
                return True
            if key.customer_id not in self._tables.customers or key.digest in self._tables.keys:
                return False
            self._tables.keys[key.digest] = key
            return self._record(audit)

    def keys(self, customer_id: str) -> Sequence[KeyRecord]:
        """Return the customer's keys, revoked ones included."""
        with self._tables.lock:
            return [key for key in self._tables.keys.values() if key.customer_id == customer_id]

    def revoke_key(self, key: KeyRecord, audit: AuditRecord) -> bool:
        """Mark the key revoked."""
        with self._tables.lock:
            if self._applied(audit):
                return True
            found = self._tables.keys.get(key.digest)
            if found is None or found.revoked_at is not None:
                return False
            self._tables.keys[key.digest] = replace(found, revoked_at=audit.at)
            return self._record(audit)

    def change_subscription(
        self, before: Subscription, after: Subscription, period: Period, audit: AuditRecord
    ) -> bool:
        """Replace the subscription and bring the period's counter up to it."""
        with self._tables.lock:
            if self._applied(audit):
                return True
            current = self._tables.subscriptions.get(before.customer_id)
            if current is None or current.version != before.version:
                return False
            too_late = (before.customer_id, period.next()) in self._tables.counters
            if too_late or self._tables.closed(before.customer_id, period):
                return False
            self._tables.subscriptions[before.customer_id] = after
            self._tables.raise_counter(after, period, before)
            return self._record(audit)

    def credit(
        self, subscription: Subscription, period: Period, sessions: int, audit: AuditRecord
    ) -> bool:
        """Add sessions to the period's limit, once per audit id."""
        with self._tables.lock:
            if self._applied(audit):
                return True
            current = self._tables.subscriptions.get(subscription.customer_id)
            if current is None or current.version != subscription.version:
                return False
            if self._tables.closed(subscription.customer_id, period):
                return False
            self._tables.raise_counter(subscription, period)
            place = (subscription.customer_id, period)
            counter = self._tables.counters[place]
            self._tables.counters[place] = replace(
                counter,
                session_limit=counter.session_limit + sessions,
                credited_sessions=counter.credited_sessions + sessions,
            )
            return self._record(audit)

    def audit_record(self, customer_id: str, audit_id: str) -> AuditRecord | None:
        """Return the record of one act."""
        with self._tables.lock:
            return self._tables.audits.get((customer_id, audit_id))

    def audit_trail(self, customer_id: str, limit: int) -> Sequence[AuditRecord]:
        """Return the newest audit records first."""
        with self._tables.lock:
            trail = [a for a in self._tables.audits.values() if a.customer_id == customer_id]
        return sorted(trail, key=lambda audit: (audit.at, audit.audit_id), reverse=True)[:limit]


class InMemoryCredentialStore:
    """Credentials that customers stored."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def credentials(self, customer_id: str, provider: Provider) -> StoredCredentials | None:
        """Return the customer's credentials at the provider."""
        with self._tables.lock:
            return self._tables.credentials.get((customer_id, provider))

    def all_credentials(self, customer_id: str) -> Sequence[StoredCredentials]:
        """Return the customer's credentials, by provider."""
        with self._tables.lock:
            mine = [c for c in self._tables.credentials.values() if c.customer_id == customer_id]
        return sorted(mine, key=lambda stored: stored.provider.value)

    def replace_credentials(
        self, before: StoredCredentials | None, after: StoredCredentials, audit: AuditRecord
    ) -> bool:
        """Put ``after`` in the place of ``before``, or where there was nothing."""
        return self._act((after.customer_id, after.provider), before, after, audit)

    def delete_credentials(self, stored: StoredCredentials, audit: AuditRecord) -> bool:
        """Delete them for good."""
        return self._act((stored.customer_id, stored.provider), stored, None, audit)

    def _act(
        self,
        place: tuple[str, Provider],
        before: StoredCredentials | None,
        after: StoredCredentials | None,
        audit: AuditRecord,
    ) -> bool:
        with self._tables.lock:
            if (audit.customer_id, audit.audit_id) in self._tables.audits:
                return True
            current = self._tables.credentials.get(place)
            if _version(current) != _version(before):
                return False
            if after is None:
                del self._tables.credentials[place]
            else:
                self._tables.credentials[place] = after
            self._tables.audits[audit.customer_id, audit.audit_id] = audit
            return True

    def mark_used(self, stored: StoredCredentials, at: datetime) -> None:
        """Note that they were used, if that is news and they are still the ones in force."""
        place = (stored.customer_id, stored.provider)
        with self._tables.lock:
            current = self._tables.credentials.get(place)
            if current is None or current.version != stored.version:
                return
            if current.use_is_news(at):
                self._tables.credentials[place] = replace(current, last_used_at=at)


class InMemoryOwnLimitsStore:
    """The limits that customers set themselves."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def own_limits(self, customer_id: str) -> OwnLimits:
        """Return the customer's limits."""
        with self._tables.lock:
            return self._tables.own_limits.get(customer_id, OwnLimits(customer_id))

    def subscription_and_limits(self, customer_id: str) -> tuple[Subscription, OwnLimits] | None:
        """Return both; ``None`` if there is no subscription."""
        with self._tables.lock:
            subscription = self._tables.subscriptions.get(customer_id)
            return None if subscription is None else (subscription, self.own_limits(customer_id))

    def replace_limits(
        self,
        before: OwnLimits,
        after: OwnLimits,
        period: Period,
        reached: CeilingReached | None,
        audit: AuditRecord,
    ) -> bool:
        """Put ``after`` in the place of ``before``, with what follows in ``period``."""
        with self._tables.lock:
            if (audit.customer_id, audit.audit_id) in self._tables.audits:
                return True
            if self.own_limits(before.customer_id).version != before.version:
                return False
            if not self._follow(after.customer_id, period, reached):
                raise StoreContentionError("the counter moved on")
            self._tables.own_limits[after.customer_id] = after
            self._tables.audits[audit.customer_id, audit.audit_id] = audit
            return True

    def note_ceiling(
        self, limits: OwnLimits, period: Period, reached: CeilingReached | None
    ) -> bool:
        """Note on the counter what follows from a ceiling, and tell of it once."""
        with self._tables.lock:
            unchanged = self.own_limits(limits.customer_id).version == limits.version
            return unchanged and self._follow(limits.customer_id, period, reached)

    def _follow(self, customer_id: str, period: Period, reached: CeilingReached | None) -> bool:
        place = (customer_id, period)
        counter = self._tables.counters.get(place)
        if counter is None or counter.closed_at is not None:
            return False
        told_at = counter.budget_told_at or (None if reached is None else reached.at)
        block = reached if reached is not None and reached.blocks else None
        self._tables.counters[place] = replace(counter, budget_told_at=told_at, budget_block=block)
        if reached is not None:
            self._tables.budget_alerts.setdefault(place, reached)
        return True


class InMemoryClockOffsetStore:
    """The offsets of customers' test clocks."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def offset_seconds(self, customer_id: str) -> float:
        """Return how far ahead the customer's clock is."""
        with self._tables.lock:
            return self._tables.offsets.get(customer_id, 0.0)

    def set_offset(self, customer_id: str, before: float, after: float, audit: AuditRecord) -> bool:
        """Move the clock, if it still stands at ``before``."""
        with self._tables.lock:
            if (audit.customer_id, audit.audit_id) in self._tables.audits:
                return True
            if self._tables.offsets.get(customer_id, 0.0) != before:
                return False
            self._tables.offsets[customer_id] = after
            self._tables.audits[audit.customer_id, audit.audit_id] = audit
            return True


def _version(stored: StoredCredentials | None) -> int | None:
    return None if stored is None else stored.version


def _without(head: Session, attempt_id: str) -> dict[str, datetime]:
    return {name: until for name, until in head.in_flight.items() if name != attempt_id}


def _place(claim: Claim) -> tuple[str, str]:
    return (claim.key.customer_id, claim.key.digest)
