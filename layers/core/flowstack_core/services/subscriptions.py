"""Changing what a customer has bought, for real or dry: rules P1, P2, P3 and P6.

A change is decided by the domain, from the subscription as it stands and the customer's own clock.
Before it is made, periods that have ended are closed, so that the terms which were in force in
them are on a statement and can be forgotten.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from flowstack_core.domain.errors import ConflictError, NotFoundError
from flowstack_core.domain.periods import Period
from flowstack_core.domain.plans import Tier
from flowstack_core.domain.quota import PeriodUsage
from flowstack_core.domain.subscriptions import (
    Origin,
    Subscription,
    Terms,
    cancel,
    change_terms,
    end,
    schedule_downgrade,
    undo,
)
from flowstack_core.services.auditing import Auditor
from flowstack_core.services.closing import ClosingService
from flowstack_core.services.documents import subscription_facts
from flowstack_core.services.ports.accounts import AccountStore, AuditRecord
from flowstack_core.services.ports.surroundings import Clock, CustomerClocks
from flowstack_core.services.ports.usage import UsageStore
from flowstack_core.services.retrying import Patience, Retrier

_MAX_ATTEMPTS = 5

_WRITE_PATIENCE = timedelta(seconds=4)
"""How long one write may meet contention: a busy customer's counter is written all the time."""


@dataclass(frozen=True, slots=True)
class Command:
    """A change of a subscription that somebody asks for.

    Attributes
    ----------
    action
        What the audit trail calls it.
    decide
        Returns the subscription after the change, or the very same one where nothing changes.
        Raises a `FlowStackError` where it is not allowed.
    """

    action: str
    decide: Callable[[Subscription, datetime], Subscription]


def downgrade_to(tier: Tier) -> Command:
    """Return a customer's command to move down at the end of the period (P2)."""
    return Command(
        "subscription.downgrade", lambda found, now: schedule_downgrade(found, tier, now)
    )


def cancellation() -> Command:
    """Return a customer's command to cancel at the end of the period (P3)."""
    return Command("subscription.cancel", cancel)


def take_back() -> Command:
    """Return a customer's command to undo what it has scheduled (P2)."""
    return Command("subscription.undo", undo)


def move_to(terms: Terms, origin: Origin = Origin.OPERATOR) -> Command:
    """Return the operator's, or a payment's, command: up at once (P1), down at period end (P2)."""
    return Command(
        "subscription.change", lambda found, now: change_terms(found, terms, now, origin)
    )


def ending() -> Command:
    """Return the operator's command to stop a customer for good."""
    return Command("subscription.end", end)


@dataclass(frozen=True, slots=True)
class Preview:
    """What a change would do.

    Attributes
    ----------
    now
        The present instant on the customer's clock.
    usage, usage_after
        The present period as it stands, and as it would stand right after the change.
    """

    now: datetime
    before: Subscription
    after: Subscription
    usage: PeriodUsage
    usage_after: PeriodUsage

    @property
    def immediate(self) -> bool:
        """Whether the terms of the present period change (P1)."""
        period = self.usage.period
        return self.before.terms_in(period) != self.after.terms_in(period)

    @property
    def effective_period(self) -> Period:
        """The first period under the terms that the change leads to."""
        return self.usage.period if self.immediate else self.usage.period.next()

    @property
    def effective_at(self) -> datetime:
        """When those terms take over."""
        return self.now if self.immediate else self.effective_period.start

    @property
    def terms_before(self) -> Terms:
        """The terms in force now."""
        return self.before.terms_in(self.usage.period)

    @property
    def terms_after(self) -> Terms:
        """The terms that the change leads to."""
        return self.after.terms_in(self.effective_period)

    @property
    def lost(self) -> tuple[str, ...]:
        """What the customer has now and will not have then."""
        return self.terms_after.lost_against(self.terms_before)


class SubscriptionService:
    """Shows subscriptions and changes them. An ``actor`` is who the audit trail will name.

    Parameters
    ----------
    random_bytes
        What the ids of audit records are made of.
    """

    def __init__(
        self,
        accounts: AccountStore,
        usage: UsageStore,
        clocks: CustomerClocks,
        system_clock: Clock,
        random_bytes: Callable[[int], bytes],
        retrier: Retrier,
        closings: ClosingService,
    ) -> None:
        self._accounts = accounts
        self._usage = usage
        self._clocks = clocks
        self._system_clock = system_clock
        self._audit = Auditor(system_clock, random_bytes).record
        self._retrier = retrier
        self._closings = closings

    def subscription(self, customer_id: str) -> Subscription:
        """Return the subscription as it is in the customer's present period.

        Raises
        ------
        NotFoundError
            There is no such customer.
        """
        now = self._clocks.for_customer(customer_id).now()
        return self._found(customer_id).settled(Period.containing(now))

    def change(
        self, actor: str, customer_id: str, command: Command, audit_id: str | None = None
    ) -> Subscription:
        """Carry out a command; return the subscription after it.

        Parameters
        ----------
        audit_id
            Makes the command safe to repeat, after any time: under one id it is carried out once.

        Raises
        ------
        NotFoundError
            There is no such customer.
        ConflictError, UpgradeNotSelfServiceError
            The command does not fit the subscription, or its actor.
        """
        for _ in range(_MAX_ATTEMPTS):
            if audit_id is not None and self._accounts.audit_record(customer_id, audit_id):
                return self.subscription(customer_id)
            # Before closing: what had ended by now is closed then, however long that takes.
            now = self._clocks.for_customer(customer_id).now()
            self._closings.close_due(customer_id)
            before = self._found(customer_id)
            after = command.decide(before, now)
            if after is before:
                return before
            audit = self._audit(
                actor,
                customer_id,
                command.action,
                subscription_facts(before),
                subscription_facts(after),
                audit_id,
            )
            if self._write(before, after, Period.containing(now), audit):
                return after
        raise ConflictError("The subscription is being changed by somebody else; try again.")

    def preview(self, customer_id: str, command: Command) -> Preview:
        """Tell what a command would do; nothing is written.

        Raises
        ------
        NotFoundError, ConflictError, UpgradeNotSelfServiceError
            As carrying it out would.
        """
        before = self._found(customer_id)
        now = self._clocks.for_customer(customer_id).now()
        after = command.decide(before, now)
        period = Period.containing(now)
        usage = self._usage.period_usage(customer_id, period)
        standing = PeriodUsage.opened(before, period) if usage is None else usage.under(before)
        return Preview(now, before, after, standing, standing.under(after))

    def _found(self, customer_id: str) -> Subscription:
        subscription = self._accounts.subscription(customer_id)
        if subscription is None:
            raise NotFoundError("There is no such customer.", details={"customer_id": customer_id})
        return subscription

    def _write(
        self, before: Subscription, after: Subscription, period: Period, audit: AuditRecord
    ) -> bool:
        patience = Patience.of(self._system_clock, _WRITE_PATIENCE)
        write = partial(self._accounts.change_subscription, before, after, period, audit)
        return self._retrier.run(write, patience, reserve_seconds=0)
