"""What a customer has bought, and from when: rules P1, P2, P3 and P6.

A subscription is the terms in force and the changes that wait, each on top of another. Which terms
hold in a period is computed, never switched by a job: a late or missing schedule cannot delay a
downgrade or an upgrade. Closing a period afterwards writes down what had become true.

Customers move down, cancel and take that back by themselves; up, only the operator or a verified
payment moves them (P6). What the operator or a failed payment scheduled is not the customer's to
take back.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from flowstack_core.domain.errors import (
    AccountClosedError,
    ConflictError,
    UpgradeNotSelfServiceError,
)
from flowstack_core.domain.periods import Period, instant
from flowstack_core.domain.plans import Tier, plan_for


class Origin(StrEnum):
    """Who made a change: only a customer's own can be taken back by the customer (P6)."""

    CUSTOMER = "customer"
    OPERATOR = "operator"
    PAYMENT = "payment"


@dataclass(frozen=True, slots=True)
class Terms:
    """A tier with its contract: what is paid and what is given.

    Attributes
    ----------
    tier
        The plan the terms are based on.
    session_limit
        Sessions a month; the plan's unless the contract says otherwise.
    price_cents
        US cents a month; the plan's unless the contract says otherwise.
    """

    tier: Tier
    session_limit: int
    price_cents: int

    @classmethod
    def of(
        cls, tier: Tier, session_limit: int | None = None, price_cents: int | None = None
    ) -> Terms:
        """Return the plan's terms with the contract's limit and price where they are given."""
        plan = plan_for(tier)
        return cls(
            tier=tier,
            session_limit=plan.sessions_per_month if session_limit is None else session_limit,
            price_cents=plan.price_cents if price_cents is None else price_cents,
        )

    @property
    def managed_models(self) -> bool:
        """Whether managed Bedrock is included (P4)."""
        return plan_for(self.tier).managed_models

    def raises(self, current: Terms) -> bool:
        """Whether moving from ``current`` to these terms is an upgrade, hence immediate (P1).

        A higher tier is an upgrade. Within a tier, a limit that is not lower is one too.
        """
        if self.tier is not current.tier:
            return self.tier.rank > current.tier.rank
        return self.session_limit >= current.session_limit

    def lost_against(self, current: Terms) -> tuple[str, ...]:
        """Name what a customer on ``current`` terms no longer has under these."""
        old, new = plan_for(current.tier), plan_for(self.tier)
        lost = []
        if self.session_limit < current.session_limit:
            lost.append(f"{current.session_limit - self.session_limit} sessions a month")
        if old.managed_models and not new.managed_models:
            lost.append("managed models")
        lost += [extra for extra in old.extras if extra not in new.extras]
        if self.tier.rank < current.tier.rank and old.support != new.support:
            lost.append(f"{old.support} support ({new.support} instead)")
        return tuple(lost)


@dataclass(frozen=True, slots=True)
class PendingChange:
    """Terms that take over at the start of a period (P2, P3).

    Attributes
    ----------
    covers
        What waits beneath: it comes back when a customer takes back a change of its own on top,
        and takes over in its turn where it comes later and leads lower.
    """

    terms: Terms
    effective_period: Period
    origin: Origin = Origin.OPERATOR
    covers: PendingChange | None = None

    @property
    def cancellation(self) -> bool:
        """Whether nothing is paid any more afterwards (P3)."""
        return self.terms.tier is Tier.FREE

    @property
    def followed_by(self) -> PendingChange | None:
        """What takes over after it: the next change beneath that comes later and leads lower."""
        beneath = self.covers
        while beneath is not None and (
            beneath.effective_period <= self.effective_period
            or beneath.terms.tier.rank >= self.terms.tier.rank
        ):
            beneath = beneath.covers
        return beneath


@dataclass(frozen=True, slots=True)
class Subscription:
    """A customer's terms, with the version that every change raises by one.

    Counters remember the version they were opened with, so that a stale one is recognised.

    Attributes
    ----------
    ended_at
        When the customer was stopped for good. From then on nothing starts and nothing changes.
    """

    customer_id: str
    terms: Terms
    version: int = 1
    pending: PendingChange | None = None
    ended_at: datetime | None = None

    def ensure_running(self) -> None:
        """Make sure that the customer was not stopped.

        Raises
        ------
        AccountClosedError
            It was.
        """
        if self.ended_at is not None:
            raise AccountClosedError(
                "This account is closed.",
                details={"closed_at": instant(self.ended_at)},
            )

    def terms_in(self, period: Period) -> Terms:
        """Return the terms in force in ``period`` (the oldest one not closed, or a later one)."""
        return self.settled(period).terms

    def settled(self, period: Period) -> Subscription:
        """Return the subscription with what took over by ``period`` written into its terms.

        It says the same about ``period`` and all later ones, under a new version; it is itself
        where nothing took over.
        """
        terms, waiting = self.terms, self.pending
        while waiting is not None and period >= waiting.effective_period:
            terms, waiting = waiting.terms, waiting.followed_by
        if waiting is self.pending:
            return self
        return replace(self, terms=terms, pending=waiting, version=self.version + 1)


def change_terms(
    subscription: Subscription, terms: Terms, now: datetime, origin: Origin = Origin.OPERATOR
) -> Subscription:
    """Return the subscription after the operator or a payment moves it to ``terms`` at ``now``.

    An upgrade holds at once and clears a waiting downgrade (P1, P2). Anything else waits for the
    next period, without proration (P2).
    """
    period = Period.containing(now)
    settled = _changing(subscription, period)
    current = settled.terms
    if terms.raises(current) and terms.session_limit < current.session_limit:
        # A contract of fewer sessions on a higher tier: what was paid for is kept to its end.
        kept = replace(terms, session_limit=current.session_limit)
        pending = PendingChange(terms, period.next(), origin)
        return replace(settled, terms=kept, pending=pending)
    if terms.raises(current):
        return replace(settled, terms=terms, pending=None)
    return replace(settled, pending=PendingChange(terms, period.next(), origin))


def schedule_for(
    subscription: Subscription, terms: Terms, period: Period, now: datetime, origin: Origin
) -> Subscription:
    """Return the subscription after ``terms`` were scheduled for ``period``, or the next one.

    ``period`` may lie further out than the next. What waited is kept: what comes earlier, and a
    customer's own change of the same period that leads no higher, on top of this change; the rest
    beneath it, to come back should it be withdrawn.
    """
    present = Period.containing(now)
    settled = _changing(subscription, present)
    change = PendingChange(terms, max(period, present.next()), origin)
    return replace(settled, pending=_placed(settled.pending, change))


def withdraw(subscription: Subscription, now: datetime, origin: Origin) -> Subscription:
    """Return the subscription without what ``origin`` had scheduled; others' changes wait on."""
    present = Period.containing(now)
    settled = _changing(subscription, present)
    return replace(settled, pending=_without(settled.pending, origin))


def schedule_downgrade(subscription: Subscription, tier: Tier, now: datetime) -> Subscription:
    """Return the subscription after its customer moves down to ``tier``'s plan (P2, P3, P6).

    Asking again for what is already waiting changes nothing.

    Raises
    ------
    UpgradeNotSelfServiceError
        The tier is above the one in force, or above one that others have already scheduled.
    ConflictError
        The tier is the one in force.
    """
    period = Period.containing(now)
    settled = _changing(subscription, period)
    current, waiting = settled.terms, settled.pending
    if tier is current.tier:
        raise ConflictError(
            f"You are already on the {tier.value} plan.",
            details={
                "tier": tier.value,
                "hint": "To keep it after scheduling a change, undo that change.",
            },
        )
    if _leads_to(tier, period.next(), waiting):
        return subscription
    covers = _without(waiting, Origin.CUSTOMER)
    if _leads_to(tier, period.next(), covers):
        return replace(settled, pending=covers)
    granted = replace(settled, pending=covers).terms_in(period.next())
    if tier.rank > granted.tier.rank:
        raise _not_self_service(tier, granted.tier)
    terms = _own_choice(tier, current, granted)
    return replace(settled, pending=PendingChange(terms, period.next(), Origin.CUSTOMER, covers))


def cancel(subscription: Subscription, now: datetime) -> Subscription:
    """Return the subscription after its customer cancels: ``free`` from the next period on (P3).

    Cancelling again changes nothing.

    Raises
    ------
    ConflictError
        There is nothing to cancel: the customer is on ``free``.
    """
    if subscription.terms_in(Period.containing(now)).tier is Tier.FREE:
        raise ConflictError(
            "There is nothing to cancel: you are on the free plan.",
            details={"tier": Tier.FREE.value},
        )
    return schedule_downgrade(subscription, Tier.FREE, now)


def undo(subscription: Subscription, now: datetime) -> Subscription:
    """Return the subscription after its customer takes back the change it had scheduled (P2).

    Raises
    ------
    ConflictError
        Nothing is waiting, or what is waiting was not scheduled by the customer.
    """
    settled = _changing(subscription, Period.containing(now))
    waiting = settled.pending
    if waiting is None:
        raise ConflictError(
            "There is no scheduled change to undo.",
            details={"hint": "A change can be taken back until it takes effect."},
        )
    if waiting.origin is not Origin.CUSTOMER:
        raise ConflictError(
            "The scheduled change was not made by you, so you cannot undo it.",
            details={
                "origin": waiting.origin.value,
                "effective_at": instant(waiting.effective_period.start),
                "hint": "Please ask the operator.",
            },
        )
    return replace(settled, pending=waiting.covers)


def end(subscription: Subscription, now: datetime) -> Subscription:
    """Return the subscription after its customer was stopped for good at ``now``.

    The period that runs costs what it costs, without proration (P2); nothing is paid after it.
    Ending again changes nothing.
    """
    if subscription.ended_at is not None:
        return subscription
    period, nothing = Period.containing(now), Terms.of(Tier.FREE)
    settled = _changing(subscription, period)
    pending = None if settled.terms == nothing else PendingChange(nothing, period.next())
    return replace(settled, pending=pending, ended_at=now)


def _changing(subscription: Subscription, period: Period) -> Subscription:
    """Return what a change in ``period`` starts from, under the version the change will have."""
    subscription.ensure_running()
    settled = subscription.settled(period)
    return replace(settled, version=subscription.version + 1)


def _placed(waiting: PendingChange | None, change: PendingChange) -> PendingChange:
    """Return what waits once ``change`` does: beneath what comes before it, on top of the rest."""
    if waiting is None:
        return change
    same_period = waiting.effective_period == change.effective_period
    no_higher = waiting.terms.tier.rank <= change.terms.tier.rank
    own = waiting.origin is Origin.CUSTOMER and same_period and no_higher
    if own or waiting.effective_period < change.effective_period:
        return replace(waiting, covers=_placed(waiting.covers, change))
    return replace(change, covers=waiting)


def _without(waiting: PendingChange | None, origin: Origin) -> PendingChange | None:
    if waiting is None:
        return None
    covers = _without(waiting.covers, origin)
    return covers if waiting.origin is origin else replace(waiting, covers=covers)


def _leads_to(tier: Tier, period: Period, waiting: PendingChange | None) -> bool:
    """Whether what is waiting leads to ``tier`` by ``period`` already."""
    return waiting is not None and waiting.terms.tier is tier and waiting.effective_period <= period


def _own_choice(tier: Tier, *bounds: Terms) -> Terms:
    """Return ``tier``'s terms as a customer may choose them: never with a higher limit (P6).

    A contract may give fewer sessions than the plan of a lower tier does.
    """
    limits = [terms.session_limit for terms in bounds]
    return Terms.of(tier, min(Terms.of(tier).session_limit, *limits))


def _not_self_service(tier: Tier, instead_of: Tier) -> UpgradeNotSelfServiceError:
    return UpgradeNotSelfServiceError(
        f"Moving from {instead_of.value} to {tier.value} is not something you can do yourself.",
        details={
            "requested_tier": tier.value,
            "tier": instead_of.value,
            "hint": "Ask the operator for an upgrade; it takes effect at once.",
        },
    )
