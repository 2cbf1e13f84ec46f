"""What a payment provider says of a customer's payments, and what that means for its plan.

Events arrive late, repeatedly and in any order. So what is kept of a provider's subscription is a
*standing* that every event is merged into, and merging is a least upper bound: whichever way the
same events come in, the same standing comes out. What the standing means for the plan is computed
from it, never from the event that happened to arrive last.

The newest word wins, by the instant at which it was said. Words of one second are told apart by
what can follow upon what: nothing follows an end, and a payment that failed after a change is told
in the second of the change, while one that succeeds after a failure is not.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import IntEnum

from flowstack_core.domain.periods import Period
from flowstack_core.domain.plans import Tier
from flowstack_core.domain.subscriptions import (
    Origin,
    Subscription,
    Terms,
    change_terms,
    schedule_for,
    withdraw,
)

GRACE = timedelta(days=7)
"""How long after a failed payment a plan is kept at least; it then ends with the period."""

_MOST_FAILURES = 20
"""How many failures are remembered: far more than a provider tries to collect one invoice."""


class PaymentState(IntEnum):
    """How a subscription stands at the provider; of one second, the higher is the later word."""

    BEGUN = 0
    """Bought at a checkout: anything the subscription says of itself counts more."""
    PAID = 1
    FAILING = 2
    ENDED = 3


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A subscription as the provider described it at one instant.

    Attributes
    ----------
    terms
        The terms that its price names, if it names any.
    ends_at
        When it will end at the provider, if that is settled.
    """

    event_id: str
    created: datetime
    state: PaymentState
    terms: Terms | None = None
    ends_at: datetime | None = None

    def newer_than(self, other: Snapshot | None) -> bool:
        """Whether this is the later word."""
        return other is None or self.order > other.order

    @property
    def order(self) -> tuple[bool, datetime, PaymentState, str]:
        """What decides which word is later; the id, only that of two one always does."""
        return self.state is not PaymentState.BEGUN, self.created, self.state, self.event_id


@dataclass(frozen=True, slots=True)
class PaymentEvent:
    """One event of the provider, verified.

    Attributes
    ----------
    subscription_id, payer_id
        The provider's own names for the subscription and for who pays it.
    customer_id
        Our customer, where the event names it.
    began_at
        When the subscription began at the provider, where the event tells.
    snapshot
        What it says of the subscription.
    failed
        Whether it says that a payment failed, and nothing of the subscription.
    """

    event_id: str
    created: datetime
    subscription_id: str
    payer_id: str | None = None
    customer_id: str | None = None
    began_at: datetime | None = None
    snapshot: Snapshot | None = None
    failed: bool = False

    @property
    def names_a_plan(self) -> bool:
        """Whether it can be about FlowStack: other things may be sold from the same account."""
        return self.snapshot is not None and self.snapshot.terms is not None


@dataclass(frozen=True, slots=True)
class Standing:
    """What all events of one of the provider's subscriptions say together.

    Attributes
    ----------
    customer_id
        Our customer; once known it stays.
    began_at
        When the subscription began at the provider.
    snapshot
        The newest word on it.
    paid_at
        The last instant at which it was paid for; one that never was decides nothing.
    failures
        When payments failed since.
    told_by
        The event that last added something: what follows is done once for each of them.
    """

    subscription_id: str
    customer_id: str | None = None
    began_at: datetime | None = None
    snapshot: Snapshot | None = None
    paid_at: datetime | None = None
    failures: tuple[datetime, ...] = ()
    told_by: str = ""

    @property
    def ends_at(self) -> datetime | None:
        """Until when the plan is kept, if an end is in sight: the provider's, or the grace's."""
        ends = [] if self.snapshot is None else [self.snapshot.ends_at]
        ends += [failure + GRACE for failure in self.failures[:1]]
        return min((end for end in ends if end is not None), default=None)

    def told(self, event: PaymentEvent, customer_id: str | None) -> Standing:
        """Return the standing with an event merged into it; itself if that adds nothing."""
        snapshot, paid_at, failures = self.snapshot, self.paid_at, set(self.failures)
        said = event.snapshot
        if said is not None and said.newer_than(snapshot):
            snapshot = said
        if said is not None and said.state in {PaymentState.BEGUN, PaymentState.PAID}:
            paid_at = said.created if paid_at is None else max(paid_at, said.created)
        if event.failed or (said is not None and said.state is PaymentState.FAILING):
            failures.add(event.created)
        since = sorted(at for at in failures if paid_at is None or at >= paid_at)
        merged = replace(
            self,
            customer_id=self.customer_id or customer_id,
            began_at=_earlier(self.began_at, event.began_at),
            snapshot=snapshot,
            paid_at=paid_at,
            failures=tuple(since[:_MOST_FAILURES]),
        )
        return self if merged == self else replace(merged, told_by=event.event_id)


@dataclass(frozen=True, slots=True)
class Governing:
    """Which of the provider's subscriptions decides a customer's plan: the one begun last."""

    subscription_id: str
    began_at: datetime


def after_payment(subscription: Subscription, standing: Standing, now: datetime) -> Subscription:
    """Return the subscription as the standing of its payment makes it at ``now``.

    Paid: up at once, down with the next period (P1, P2), and what failed or ended payments had
    scheduled is withdrawn. Ending or ended: ``free`` with the first period after it (P3). Failing:
    ``free`` with the first period that begins after the grace. The version is raised in any case,
    so that two events decided on side by side cannot both be written.
    """
    decided = _decided(subscription, standing, now)
    return replace(decided, version=subscription.version + 1)


def _decided(subscription: Subscription, standing: Standing, now: datetime) -> Subscription:
    said, ends_at = standing.snapshot, standing.ends_at
    if said is None or (said.terms is None and ends_at is None):
        return subscription
    cleared = withdraw(subscription, now, Origin.PAYMENT)
    if said.state is PaymentState.ENDED or (said.ends_at is not None and said.ends_at <= now):
        return _free_from(now, cleared, now)
    paid = cleared if said.terms is None else _moved(cleared, standing, said.terms, now)
    return paid if ends_at is None else _free_from(ends_at, paid, now)


def _moved(
    subscription: Subscription, standing: Standing, terms: Terms, now: datetime
) -> Subscription:
    """Move to what is paid for; a word that changes nothing leaves the customer's wishes alone.

    A payment that failed grants nothing, but a smaller plan is waited for all the same.
    """
    current = subscription.terms
    if not terms.raises(current):
        following = Period.containing(now).next()
        return schedule_for(subscription, terms, following, now, Origin.PAYMENT)
    if standing.failures:
        return subscription
    if (terms.tier, terms.session_limit) == (current.tier, current.session_limit):
        return replace(subscription, terms=terms)
    return change_terms(subscription, terms, now, Origin.PAYMENT)


def _free_from(moment: datetime, subscription: Subscription, now: datetime) -> Subscription:
    """Schedule ``free`` for the first period that begins at ``moment`` or later (P3)."""
    if subscription.terms.tier is Tier.FREE:
        return subscription
    free = Terms.of(Tier.FREE)
    return schedule_for(subscription, free, _first_from(moment), now, Origin.PAYMENT)


def _first_from(moment: datetime) -> Period:
    period = Period.containing(moment)
    return period if period.start == moment else period.next()


def _earlier(one: datetime | None, other: datetime | None) -> datetime | None:
    if one is None or other is None:
        return one or other
    return min(one, other)
