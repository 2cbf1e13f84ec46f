"""Admission: the one door through which every message enters a session (S1 to S5, Q1, Q2, P4).

A follow-up costs one conditional update, a start one transaction; neither reads first. Only a
refusal re-reads: it asks the accounts whether the counter's entitlement is still the one in
force, so an upgrade is never delayed, and takes back sessions that a crash left held, so a
crash never becomes a refusal. With the caps that customers set for a session it is the same.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum, auto
from functools import partial
from typing import TypeVar

from flowstack_core.domain.errors import (
    BudgetExceededError,
    QuotaExceededError,
    ServiceUnavailableError,
    SessionCapReachedError,
    TierLimitationError,
)
from flowstack_core.domain.own_limits import UNCAPPED, CapReached, CeilingReached, SessionCaps
from flowstack_core.domain.periods import Period, instant
from flowstack_core.domain.quota import PeriodUsage, QuotaStatement
from flowstack_core.domain.sessions import Conversation, Session
from flowstack_core.domain.subscriptions import Subscription
from flowstack_core.services.ports.accounts import OwnLimitsReader, SubscriptionReader
from flowstack_core.services.ports.observer import Observer
from flowstack_core.services.ports.sessions import (
    Admitted,
    Attempt,
    BudgetReached,
    LimitReached,
    ManagedNotGranted,
    ManagedNotIncluded,
    NoLiveSession,
    PeriodClosed,
    PeriodNotOpen,
    SessionAlive,
    SessionCapped,
    SessionStore,
)
from flowstack_core.services.ports.surroundings import Clock, Ids, TimeBudget
from flowstack_core.services.ports.usage import UsageStore
from flowstack_core.services.retrying import Retrier

Result = TypeVar("Result")

_MAX_ROUNDS = 12
"""More changes of mind than this within one request mean that something is wrong."""

_MODEL_RESERVE_SECONDS = 12.0
"""Admission stops trying when less than this is left for the model and the settlement."""

_CLEAN_UP_RESERVE_SECONDS = 0.3

_OVERRUN = timedelta(seconds=5)
"""Added to the caller's time budget: by then even a slow kill has happened."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """Proof that an attempt was admitted: what settling or withdrawing it takes."""

    attempt: Attempt
    session: Session
    started: bool


class _Next(Enum):
    """What to try next, after a try that did not decide."""

    FOLLOW_UP = auto()
    START = auto()
    START_LATER = auto()


class Admission:
    """Admits attempts to sessions and withdraws those whose message was not processed."""

    def __init__(
        self,
        sessions: SessionStore,
        usage: UsageStore,
        subscriptions: SubscriptionReader,
        own_limits: OwnLimitsReader,
        ids: Ids,
        retrier: Retrier,
        observer: Observer,
    ) -> None:
        self._sessions = sessions
        self._usage = usage
        self._subscriptions = subscriptions
        self._own_limits = own_limits
        self._ids = ids
        self._retrier = retrier
        self._observer = observer

    def admit(
        self,
        conversation: Conversation,
        *,
        managed: bool,
        follow_up_expected: bool,
        attempt_id: str,
        clock: Clock,
        budget: TimeBudget,
        runs_for: timedelta | None = None,
        caps: SessionCaps = UNCAPPED,
    ) -> Ticket:
        """Admit one message, which arrives now.

        Parameters
        ----------
        follow_up_expected
            Which of the two writes to try first. Only the cost depends on it, never the outcome.
        runs_for
            How long it can be running; as long as ``budget`` lasts where nothing is said.
        caps
            How far the customer lets a session go; before they refuse they are read anew.

        Raises
        ------
        QuotaExceededError
            If a session would have to start and all of the period's are used (Q1).
        BudgetExceededError
            If one would have to start and the customer's own ceiling keeps it from that.
        SessionCapReachedError
            If the session has gone as far as the customer lets one go.
        TierLimitationError
            If a managed model is asked for and not included (P4).
        ServiceUnavailableError
            If the stores could not decide in time; nothing is counted.
        """
        at = clock.now()
        attempt = Attempt(
            conversation=conversation,
            attempt_id=attempt_id,
            at=at,
            busy_until=at + (runs_for or timedelta(seconds=budget.remaining_seconds()) + _OVERRUN),
            managed=managed,
            caps=caps,
        )
        session_id = self._ids.session_id(at)
        try:
            return self._decide(
                attempt, session_id, clock, budget, follow_up_expected=follow_up_expected
            )
        except ServiceUnavailableError:
            # A write whose answer never arrived may have taken effect.
            self._withdraw(attempt, at, budget)
            raise

    def withdraw(self, ticket: Ticket, clock: Clock, budget: TimeBudget) -> None:
        """Give up an admitted attempt whose message was not processed (S5).

        The session is released when nothing was processed and no other attempt is in flight.
        Should the stores not let that happen in time, the session stays held, and the next
        refusal or its expiry releases it.
        """
        self._withdraw(ticket.attempt, clock.now(), budget)

    def _decide(
        self,
        attempt: Attempt,
        session_id: str,
        clock: Clock,
        budget: TimeBudget,
        *,
        follow_up_expected: bool,
    ) -> Ticket:
        period = Period.containing(attempt.at)
        try_follow_up = follow_up_expected
        for _ in range(_MAX_ROUNDS):
            if try_follow_up:
                next_step = self._follow_up(attempt, period, budget)
            else:
                next_step = self._start(attempt, session_id, period, budget)
            if isinstance(next_step, Ticket):
                return next_step
            if isinstance(next_step, Attempt):
                attempt = next_step
                continue
            try_follow_up = next_step is _Next.FOLLOW_UP
            if next_step is _Next.START_LATER:
                # It waited past the end of its period, or its clock is a little behind.
                attempt = replace(attempt, at=max(clock.now(), period.end))
                period = Period.containing(attempt.at)
        raise ServiceUnavailableError(
            "This conversation changes too fast to admit a message. Nothing was counted.",
            retry_after_seconds=1,
        )

    def _follow_up(
        self, attempt: Attempt, period: Period, budget: TimeBudget
    ) -> Ticket | _Next | Attempt:
        """Try the one conditional update that a follow-up costs.

        An attempt that is returned is to be tried in the place of this one.
        """
        match self._retry(lambda: self._sessions.continue_session(attempt), budget):
            case Admitted(session, started):
                return Ticket(attempt, session, started)
            case ManagedNotGranted(session):
                self._grant_managed(session, attempt, period, budget)
                return _Next.FOLLOW_UP
            case SessionCapped(session):
                return self._refuse_unless_caps_allow(attempt, session, budget)
            case NoLiveSession(held):
                self._release_ended(held, attempt, budget)
                return _Next.START

    def _start(
        self, attempt: Attempt, session_id: str, period: Period, budget: TimeBudget
    ) -> Ticket | _Next:
        """Try the one transaction that a start costs."""
        outcome = self._retry(
            lambda: self._sessions.start_session(attempt, session_id, period), budget
        )
        match outcome:
            case Admitted(session, started):
                return Ticket(attempt, session, started)
            case SessionAlive():
                return _Next.FOLLOW_UP
            case NoLiveSession(held):
                self._release_ended(held, attempt, budget)
            case PeriodClosed():
                return _Next.START_LATER
            case PeriodNotOpen():
                self._refresh_entitlement(attempt, period, None, budget)
            case ManagedNotIncluded(usage):
                if not self._refresh_entitlement(attempt, period, usage, budget):
                    raise _managed_refused(usage)
            case LimitReached(usage):
                self._refuse_unless_room_appears(attempt, period, usage, budget)
            case BudgetReached(blocked, ceiling):
                raise _budget_refused(blocked, ceiling)
        return _Next.START

    def _grant_managed(
        self, session: Session, attempt: Attempt, period: Period, budget: TimeBudget
    ) -> None:
        """Ask the quota for managed models in a session that began without them (P4)."""
        if self._retry(lambda: self._sessions.grant_managed(session, period), budget):
            return
        customer_id = attempt.conversation.customer_id
        usage = self._retry(lambda: self._usage.period_usage(customer_id, period), budget)
        if self._refresh_entitlement(attempt, period, usage, budget):
            return
        if usage is not None and not usage.managed_models:
            raise _managed_refused(usage)

    def _refuse_unless_room_appears(
        self, attempt: Attempt, period: Period, usage: PeriodUsage, budget: TimeBudget
    ) -> None:
        """Refuse the start, unless the limit was raised meanwhile or a dead session gives way."""
        if self._refresh_entitlement(attempt, period, usage, budget):
            return
        held = self._retry(lambda: self._sessions.held_sessions(usage.customer_id, period), budget)
        released = [
            session
            for session in held
            if session.releasable(attempt.at) and self._release(session, attempt, budget)
        ]
        if released:
            return
        statement = QuotaStatement(usage, len(held))
        raise QuotaExceededError(
            f"Session limit reached. {statement.reason} Running conversations can go on.",
            details={
                **statement.facts(),
                "hint": "Upgrade the plan, or wait until the quota resets.",
            },
        )

    def _refuse_unless_caps_allow(
        self, attempt: Attempt, session: Session, budget: TimeBudget
    ) -> Attempt:
        """Refuse the message, unless the caps were raised meanwhile or dead attempts give way."""
        customer_id = attempt.conversation.customer_id
        limits = self._retry(lambda: self._own_limits.own_limits(customer_id), budget)
        reached = limits.caps.reached_by(session)
        if reached is None:
            return replace(attempt, caps=limits.caps)
        dead = session.dead_attempts(attempt.at) if reached.kind == "turns" else []
        for attempt_id in dead:
            self._retry(partial(self._sessions.abandon, session.conversation, attempt_id), budget)
        if not dead:
            raise _cap_refused(session, reached)
        return replace(attempt, caps=limits.caps)

    def _refresh_entitlement(
        self, attempt: Attempt, period: Period, usage: PeriodUsage | None, budget: TimeBudget
    ) -> bool:
        """Bring the counter up to the subscription; ``False`` if it already was (P1)."""
        customer_id = attempt.conversation.customer_id
        subscription = self._retry(lambda: self._subscriptions.subscription(customer_id), budget)
        if subscription is None:
            raise _no_subscription(customer_id)
        subscription.ensure_running()
        if usage is not None and usage.subscription_version >= subscription.version:
            return False
        found: Subscription = subscription
        self._retry(lambda: self._usage.open_period(found, period), budget)
        return True

    def _release_ended(self, held: Session | None, attempt: Attempt, budget: TimeBudget) -> None:
        """Take back a session that ended with nothing processed, before the next one starts."""
        if held is not None:
            self._release(held, attempt, budget)

    def _release(self, session: Session, attempt: Attempt, budget: TimeBudget) -> bool:
        released = self._retry(lambda: self._sessions.release(session, attempt.at), budget)
        if released:
            self._observer.session_released()
        return released

    def _withdraw(self, attempt: Attempt, at: datetime, budget: TimeBudget) -> None:
        with suppress(ServiceUnavailableError):
            session = self._clean_up(
                lambda: self._sessions.abandon(attempt.conversation, attempt.attempt_id), budget
            )
            if session is not None and session.releasable(at):
                left: Session = session
                if self._clean_up(lambda: self._sessions.release(left, at), budget):
                    self._observer.session_released()

    def _clean_up(self, operation: Callable[[], Result], budget: TimeBudget) -> Result:
        return self._retrier.run(operation, budget, reserve_seconds=_CLEAN_UP_RESERVE_SECONDS)

    def _retry(self, operation: Callable[[], Result], budget: TimeBudget) -> Result:
        return self._retrier.run(operation, budget, reserve_seconds=_MODEL_RESERVE_SECONDS)


def _managed_refused(usage: PeriodUsage) -> TierLimitationError:
    return TierLimitationError(
        f"Managed models are not available on the {usage.tier} tier.",
        details={
            "tier": usage.tier.value,
            "feature": "managed models",
            "hint": "Send byok_credentials with your own provider key, or upgrade the plan.",
        },
    )


def _cap_refused(session: Session, reached: CapReached) -> SessionCapReachedError:
    return SessionCapReachedError(
        f"This session has used {reached.used} of the {reached.cap} {reached.kind} that your "
        "account lets a session have. Nothing was counted.",
        details={
            "kind": reached.kind,
            "cap": reached.cap,
            "used": reached.used,
            "session_id": session.session_id,
            "ends_at": instant(session.ends_at),
            "hint": "Begin another conversation, wait until this session has ended, or raise the "
            "cap with PUT /budget.",
        },
    )


def _budget_refused(period: Period, reached: CeilingReached) -> BudgetExceededError:
    return BudgetExceededError(
        f"The monthly ceiling of ${reached.ceiling_cents / 100:,.2f} that your account has set is "
        "reached. Running conversations can go on.",
        details={
            "period": period.name,
            "ceiling": reached.ceiling_cents / 100,
            "spent": reached.spent_cents / 100,
            "reached_at": instant(reached.at),
            "resets_at": instant(period.end),
            "hint": "Raise or remove the ceiling with PUT /budget, or wait until the next period.",
        },
    )


def _no_subscription(customer_id: str) -> ServiceUnavailableError:
    return ServiceUnavailableError(
        "This account has no subscription.",
        details={"customer_id": customer_id, "hint": "Ask the operator to set a tier."},
        retry_after_seconds=60,
    )
