"""What follows from events of a payment provider, however they are delivered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstack_core.adapters.stripe_events import StripeEvents
from flowstack_core.domain.errors import ConflictError, SignatureRejectedError
from flowstack_core.domain.payments import Governing, Standing
from flowstack_core.domain.plans import Tier
from flowstack_core.domain.subscriptions import (
    Origin,
    PendingChange,
    Subscription,
    Terms,
    end,
    undo,
)
from flowstack_core.services.payments import PaymentService, Receipt
from flowstack_core.services.ports.accounts import Customer
from flowstack_core.services.ports.failures import StoreContentionError
from flowstack_core.services.subscriptions import cancellation
from tests.support.fakes import DECEMBER, NOON, NOVEMBER, World, at
from tests.support.faulty import Answerless, Fault, Unreachable
from tests.support.in_memory_payments import InMemoryPaymentStore
from tests.support.stripe_messages import (
    SECRET,
    checkout,
    event_of,
    failed_invoice,
    price,
    signature_of,
    subscription,
)

SECOND = timedelta(seconds=1)
DAY = timedelta(days=1)
FREE = PendingChange(Terms.of(Tier.FREE), DECEMBER, Origin.PAYMENT)


@dataclass
class Payments:
    """The service over stores in memory, and a customer on ``tier``."""

    tier: Tier = Tier.FREE
    faults: Fault | None = None
    world: World = field(default_factory=World)
    store: InMemoryPaymentStore = field(default_factory=InMemoryPaymentStore)

    def __post_init__(self) -> None:
        if not self.world.tables.subscriptions:
            self.world.subscribe(self.tier)
        self.service = PaymentService(
            StripeEvents(lambda: (SECRET,)),
            self.store if self.faults is None else self.faults.wrap(self.store),
            self.world.accounts,
            self.world.subscription_service,
            self.world.clock,
        )

    def deliver(self, body: str) -> Receipt:
        return self.service.receive(body, signature_of(body, self.world.clock.now()))

    def all(self, *bodies: str) -> Subscription:
        for body in bodies:
            self.deliver(body)
        return self.subscription

    @property
    def subscription(self) -> Subscription:
        return self.world.tables.subscriptions[self.world.customer_id]

    @property
    def acts(self) -> list[str]:
        trail = self.world.accounts.audit_trail(self.world.customer_id, 100)
        return [record.audit_id for record in trail if record.actor == "stripe"]


@pytest.fixture
def payments() -> Payments:
    return Payments()


# --- which customer, which plan ------------------------------------------------------------


def test_p1_a_checkout_and_its_subscription_grant_the_plan_at_once(payments: Payments) -> None:
    payments.all(checkout(), subscription(tier="professional"))
    assert payments.subscription.terms == Terms.of(Tier.PROFESSIONAL)
    counter = payments.world.counter()
    assert counter is not None
    assert counter.session_limit == 10_000


def test_a_checkout_that_notes_its_tier_grants_it_by_itself(payments: Payments) -> None:
    receipt = payments.deliver(checkout(metadata={"flowstack_tier": "starter"}))
    assert receipt.ignored is None
    assert payments.subscription.terms == Terms.of(Tier.STARTER)


def test_an_event_before_its_checkout_is_kept_and_takes_effect_with_it(payments: Payments) -> None:
    receipt = payments.deliver(subscription(tier="professional"))
    assert receipt.ignored == "not_linked_yet"
    assert payments.subscription.terms == Terms.of(Tier.FREE)
    assert payments.acts == []
    payments.deliver(checkout(NOON + SECOND))
    assert payments.subscription.terms == Terms.of(Tier.PROFESSIONAL)


def test_a_subscription_may_name_its_customer_itself(payments: Payments) -> None:
    payments.deliver(subscription(metadata={"flowstack_customer_id": "cus_1"}))
    assert payments.subscription.terms == Terms.of(Tier.STARTER)


def test_a_payer_once_known_is_known_for_later_subscriptions(payments: Payments) -> None:
    payments.all(checkout(), subscription(kind="deleted"))
    payments.deliver(
        subscription(NOON + DAY, tier="professional", subscription_id="sub_2", began=NOON + DAY)
    )
    assert payments.subscription.terms == Terms.of(Tier.PROFESSIONAL)


def test_who_pays_for_a_customer_is_learnt_only_where_the_customer_is_named(
    payments: Payments,
) -> None:
    payments.deliver(subscription())
    assert payments.store.payers == {}
    payments.deliver(checkout())
    assert payments.store.payers == {"cus_stripe_1": "cus_1"}


def test_the_plan_is_that_of_the_subscription_begun_last(payments: Payments) -> None:
    payments.all(checkout(), subscription(tier="starter"))
    later = NOON + DAY
    payments.all(
        checkout(later, subscription_id="sub_2"),
        subscription(later, tier="professional", subscription_id="sub_2", began=later),
    )
    receipt = payments.deliver(subscription(later + SECOND, kind="deleted"))
    assert receipt.ignored == "replaced_by_another_subscription"
    assert payments.subscription.terms == Terms.of(Tier.PROFESSIONAL)
    assert payments.subscription.pending is None


def test_a_subscription_that_was_never_paid_decides_nothing() -> None:
    payments = Payments(Tier.STARTER)
    named = {"flowstack_customer_id": "cus_1"}
    receipt = payments.deliver(subscription(kind="deleted", status="canceled", metadata=named))
    assert receipt.ignored == "never_paid"
    unpaid = payments.deliver(checkout(subscription_id="sub_2", payment_status="unpaid"))
    assert unpaid.ignored == "never_paid"
    assert payments.subscription.pending is None


def test_a_contract_is_taken_over(payments: Payments) -> None:
    body = subscription(
        prices=[price("flowstack_enterprise", 120_000)],
        metadata={"flowstack_session_limit": "250000"},
    )
    payments.all(checkout(), body)
    assert payments.subscription.terms == Terms(Tier.ENTERPRISE, 250_000, 120_000)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (checkout(customer_id="cus_nobody"), "unknown_customer"),
        (failed_invoice(), "not_flowstack"),
        (subscription(kind="deleted", prices=[]), "not_flowstack"),
        (checkout(customer_id=None), "not_flowstack"),
        (event_of("customer.created", {}), "type"),
    ],
)
def test_what_is_not_for_us_is_taken_and_nothing_is_kept(
    payments: Payments, body: str, reason: str
) -> None:
    assert payments.deliver(body).ignored == reason
    assert payments.store == InMemoryPaymentStore(lock=payments.store.lock)
    assert payments.acts == []


def test_of_a_customer_that_is_being_erased_nothing_is_kept(payments: Payments) -> None:
    subscriptions = payments.world.tables.subscriptions
    subscriptions[payments.world.customer_id] = end(payments.subscription, NOON)
    assert payments.deliver(checkout()).ignored == "account_closed"
    assert payments.store == InMemoryPaymentStore(lock=payments.store.lock)


def test_an_event_that_nobody_signed_is_refused_and_nothing_is_kept(payments: Payments) -> None:
    body = checkout(metadata={"flowstack_tier": "enterprise"})
    with pytest.raises(SignatureRejectedError):
        payments.service.receive(body, signature_of(body, secret="whsec_other"))
    assert payments.store.standings == {}
    assert payments.subscription.terms == Terms.of(Tier.FREE)


# --- the life of a subscription --------------------------------------------------------------


def test_p2_a_smaller_plan_waits_for_the_next_period(payments: Payments) -> None:
    payments.all(checkout(), subscription(tier="professional"))
    payments.deliver(subscription(NOON + SECOND, tier="starter"))
    assert payments.subscription.terms_in(NOVEMBER) == Terms.of(Tier.PROFESSIONAL)
    assert payments.subscription.terms_in(DECEMBER) == Terms.of(Tier.STARTER)


def test_p3_a_deleted_subscription_ends_with_the_period(payments: Payments) -> None:
    found = payments.all(checkout(), subscription(), subscription(NOON + SECOND, kind="deleted"))
    assert found.terms == Terms.of(Tier.STARTER)
    assert found.pending == FREE


def test_a_failed_payment_is_forgiven_when_it_is_made_up_for(payments: Payments) -> None:
    payments.all(checkout(), subscription())
    assert payments.all(failed_invoice(NOON + SECOND)).pending == FREE
    assert payments.all(subscription(NOON + 2 * SECOND, status="past_due")).pending == FREE
    assert payments.all(subscription(NOON + DAY)).pending is None


def test_p6_what_a_payment_scheduled_is_not_the_customer_s_to_take_back(
    payments: Payments,
) -> None:
    found = payments.all(checkout(), subscription(), failed_invoice(NOON + SECOND))
    with pytest.raises(ConflictError, match="not made by you"):
        undo(found, NOON)


def test_a_routine_word_does_not_take_back_what_the_customer_decided(payments: Payments) -> None:
    payments.all(checkout(), subscription())
    payments.world.command(cancellation())
    found = payments.all(subscription(NOON + DAY))
    assert found.pending is not None
    assert found.pending.origin is Origin.CUSTOMER


def test_after_the_grace_the_customer_is_on_free_and_a_payment_brings_the_plan_back(
    payments: Payments,
) -> None:
    payments.all(checkout(), subscription(), failed_invoice(NOON + SECOND))
    december = at("2026-12-03T00:00:00")
    payments.world.clock.move_to(december)
    payments.all(subscription(december - DAY, status="past_due"))
    assert payments.subscription.terms_in(DECEMBER) == Terms.of(Tier.FREE)
    assert payments.all(subscription(december)).terms == Terms.of(Tier.STARTER)


# --- repeated, late, out of order ------------------------------------------------------------


def test_every_event_that_adds_something_is_in_the_trail_once(payments: Payments) -> None:
    bodies = [
        checkout(event_id="evt_a"),
        subscription(event_id="evt_b"),
        subscription(NOON + SECOND, event_id="evt_c"),
    ]
    payments.all(*bodies)
    before = payments.subscription
    assert sorted(payments.acts) == ["payment:evt_a", "payment:evt_b", "payment:evt_c"]
    for body in bodies:
        payments.deliver(body)
    assert payments.subscription == before
    assert len(payments.acts) == 3


def test_an_event_repeated_after_the_operator_stepped_in_changes_nothing(
    payments: Payments,
) -> None:
    bodies = [checkout(), subscription(), subscription(NOON + SECOND, kind="deleted")]
    payments.all(*bodies)
    given = payments.world.set_terms(Tier.PROFESSIONAL)
    assert payments.all(*bodies) == given


def test_an_older_event_never_undoes_a_newer_one(payments: Payments) -> None:
    newer = payments.all(checkout(), subscription(NOON + SECOND, tier="professional"))
    for older in (
        subscription(NOON, tier="starter"),
        subscription(NOON, status="past_due"),
        subscription(NOON, kind="deleted"),
        failed_invoice(NOON),
    ):
        assert payments.deliver(older).ignored == "nothing_new"
    assert payments.subscription == newer


STEPS: list[tuple[str, Callable[[datetime, str], str]]] = [
    ("starter", lambda moment, name: subscription(moment, event_id=name)),
    (
        "cancels",
        lambda moment, name: subscription(
            moment, event_id=name, cancel_at=int((NOON + 8 * DAY).timestamp())
        ),
    ),
    ("fails", lambda moment, name: failed_invoice(moment, event_id=name)),
    ("past due", lambda moment, name: subscription(moment, status="past_due", event_id=name)),
    ("unpaid", lambda moment, name: subscription(moment, status="unpaid", event_id=name)),
    ("deleted", lambda moment, name: subscription(moment, kind="deleted", event_id=name)),
]
UP = ("professional", lambda moment, name: subscription(moment, tier="professional", event_id=name))


def history_of(steps: list[tuple[str, Any]], gaps: list[int]) -> list[str]:
    """Return the events of a subscription; a gap of 0 puts two into one second."""
    moment, bodies = NOON, [checkout(event_id="evt_0"), subscription(event_id="evt_1")]
    for number, ((_, make), gap) in enumerate(zip(steps, gaps, strict=True), 2):
        moment += gap * SECOND
        bodies.append(make(moment, f"evt_{number}"))
    return bodies


def as_it_stands(found: Subscription) -> Subscription:
    return replace(found, version=0)


@given(st.data())
def test_any_order_and_repetition_of_a_history_ends_in_the_same_subscription(
    data: st.DataObject,
) -> None:
    """Promised in full where no earlier event granted more than the last one."""
    steps = data.draw(st.lists(st.sampled_from(STEPS), max_size=5))
    gaps = data.draw(st.lists(st.integers(0, 90_000), min_size=len(steps), max_size=len(steps)))
    history = history_of(steps, gaps)
    delivered = [*data.draw(st.permutations(history)), *data.draw(st.permutations(history))]
    # Already on what is paid for: what comes first decides how much is granted meanwhile.
    expected = Payments(Tier.STARTER).all(*history)
    assert as_it_stands(Payments(Tier.STARTER).all(*delivered)) == as_it_stands(expected)


@given(st.data())
def test_whatever_was_granted_meanwhile_the_next_periods_are_those_of_the_newest_word(
    data: st.DataObject,
) -> None:
    steps = data.draw(st.lists(st.sampled_from([*STEPS, UP]), max_size=5))
    gaps = data.draw(st.lists(st.integers(0, 3), min_size=len(steps), max_size=len(steps)))
    history = history_of(steps, gaps)
    delivered = [*data.draw(st.permutations(history)), *data.draw(st.permutations(history))]
    expected, found = Payments().all(*history), Payments().all(*delivered)
    period = DECEMBER.next().next()
    assert found.terms_in(period) == expected.terms_in(period)


# --- failures between two writes -------------------------------------------------------------


@pytest.mark.parametrize(
    "operation",
    ["standing", "replace_standing", "customer_of", "link_payer", "govern", "governing"],
)
@pytest.mark.parametrize("kind", [Answerless, Unreachable])
def test_an_event_whose_handling_broke_off_is_carried_out_when_it_comes_again(
    operation: str, kind: Any
) -> None:
    faults = kind(operation)
    payments = Payments(faults=faults)
    bodies = [subscription(), checkout(NOON + SECOND)]
    for body in bodies:
        try:
            payments.deliver(body)
        except StoreContentionError:
            faults.active = False
            payments.deliver(body)
        faults.active = True
    assert payments.subscription.terms == Terms.of(Tier.STARTER)
    assert len(payments.acts) == 1


def test_what_a_lost_handler_left_undone_the_next_event_does(payments: Payments) -> None:
    payments.deliver(checkout(event_id="evt_a"))
    body = subscription(event_id="evt_b")
    lost = Payments(world=payments.world, store=payments.store, faults=Unreachable("govern"))
    with pytest.raises(StoreContentionError):
        lost.deliver(body)
    assert payments.deliver(checkout(event_id="evt_a")).ignored == "nothing_new"
    assert payments.subscription.terms == Terms.of(Tier.STARTER)
    assert "payment:evt_b" in payments.acts


@dataclass
class Overtaken(InMemoryPaymentStore):
    """A store at which something else happens right before the plan is decided on."""

    happen: Callable[[], object] = lambda: None

    def governing(self, customer_id: str) -> Governing | None:
        happen, self.happen = self.happen, lambda: None
        happen()
        return super().governing(customer_id)


def test_an_event_that_is_overtaken_leaves_the_last_word_to_the_newer_one(
    payments: Payments,
) -> None:
    payments.all(checkout(), subscription())
    newer = subscription(NOON + 2 * SECOND, tier="professional")
    kept = payments.store
    store = Overtaken(
        kept.standings, kept.payers, kept.decisive, happen=lambda: payments.deliver(newer)
    )
    slow = Payments(world=payments.world, store=store)
    assert slow.deliver(subscription(NOON + SECOND, kind="deleted")).ignored == "overtaken"
    assert payments.subscription.terms == Terms.of(Tier.PROFESSIONAL)
    assert payments.subscription.pending is None


def test_a_subscription_that_is_replaced_meanwhile_decides_nothing_any_more(
    payments: Payments,
) -> None:
    payments.all(checkout(), subscription())
    later = NOON + DAY
    kept = payments.store
    store = Overtaken(
        kept.standings,
        kept.payers,
        kept.decisive,
        happen=lambda: payments.all(
            checkout(later, subscription_id="sub_2"),
            subscription(later, tier="professional", subscription_id="sub_2", began=later),
        ),
    )
    slow = Payments(world=payments.world, store=store)
    assert slow.deliver(subscription(NOON + SECOND, kind="deleted")).ignored == "overtaken"
    assert payments.subscription.pending is None


def test_endless_contention_is_given_back_to_the_provider(payments: Payments) -> None:
    class Busy(InMemoryPaymentStore):
        def replace_standing(self, before: Standing | None, after: Standing) -> bool:
            return False

    payments = Payments(store=Busy())
    with pytest.raises(ConflictError):
        payments.deliver(checkout())
    assert payments.acts == []


def test_a_customer_of_another_name_is_another_customer(payments: Payments) -> None:
    payments.world.tables.customers["cus_2"] = Customer("cus_2", "Bob", NOON)
    payments.world.tables.subscriptions["cus_2"] = Subscription("cus_2", Terms.of(Tier.FREE))
    payments.all(checkout(customer_id="cus_2"), subscription(tier="enterprise"))
    assert payments.subscription.terms == Terms.of(Tier.FREE)
    assert payments.world.tables.subscriptions["cus_2"].terms.tier is Tier.ENTERPRISE
