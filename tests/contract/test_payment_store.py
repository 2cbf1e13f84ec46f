"""What every store of payments must do, in memory and on DynamoDB."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest

from flowstack_core.domain.payments import Governing, PaymentState, Snapshot, Standing
from flowstack_core.domain.plans import Tier
from flowstack_core.domain.subscriptions import Terms
from flowstack_core.services.ports.payments import PaymentStore
from tests.contract.conftest import Stores
from tests.support.fakes import NOON

DAY = timedelta(days=1)


@pytest.fixture
def payments(stores: Stores) -> PaymentStore:
    return stores.payments


@pytest.fixture
def bare(stores: Stores) -> Standing:
    """A standing of which hardly anything is known."""
    return Standing(f"sub_{stores.customer_id}", told_by="evt_1")


@pytest.fixture
def full(bare: Standing) -> Standing:
    """A standing of which everything is known."""
    return replace(
        bare,
        customer_id="cus_1",
        began_at=NOON - DAY,
        snapshot=Snapshot(
            "evt_2",
            NOON,
            PaymentState.FAILING,
            Terms(Tier.ENTERPRISE, 250_000, 123_456),
            NOON + DAY,
        ),
        paid_at=NOON - DAY,
        failures=(NOON, NOON + DAY),
        told_by="evt_2",
    )


def test_a_standing_is_kept_as_it_is(
    payments: PaymentStore, bare: Standing, full: Standing
) -> None:
    assert payments.standing(bare.subscription_id) is None
    assert payments.replace_standing(None, bare)
    assert payments.standing(bare.subscription_id) == bare
    assert payments.replace_standing(bare, full)
    assert payments.standing(bare.subscription_id) == full


def test_a_standing_that_moved_on_is_not_replaced(
    payments: PaymentStore, bare: Standing, full: Standing
) -> None:
    late = replace(bare, told_by="evt_3")
    payments.replace_standing(None, bare)
    assert not payments.replace_standing(None, late)
    payments.replace_standing(bare, full)
    assert not payments.replace_standing(bare, late)
    assert payments.standing(bare.subscription_id) == full


def test_a_customer_that_became_known_meanwhile_is_not_forgotten(
    payments: PaymentStore, bare: Standing
) -> None:
    # The event that was told first comes again when its payer is known: it says nothing else new.
    linked, late = replace(bare, customer_id="cus_1"), replace(bare, told_by="evt_2")
    payments.replace_standing(None, bare)
    assert payments.replace_standing(bare, linked)
    assert not payments.replace_standing(bare, late)
    assert payments.standing(bare.subscription_id) == linked
    assert payments.replace_standing(linked, replace(late, customer_id="cus_1"))


def test_replacing_again_after_a_lost_answer_says_that_it_was_done(
    payments: PaymentStore, bare: Standing, full: Standing
) -> None:
    for _ in range(2):
        assert payments.replace_standing(None, bare)
    for _ in range(2):
        assert payments.replace_standing(bare, full)


def test_of_events_side_by_side_one_at_a_time_is_merged(
    payments: PaymentStore, bare: Standing
) -> None:
    payments.replace_standing(None, bare)
    rivals = [replace(bare, told_by=f"evt_rival_{number}") for number in range(8)]
    with ThreadPoolExecutor(8) as threads:
        won = list(threads.map(lambda rival: payments.replace_standing(bare, rival), rivals))
    assert won.count(True) == 1
    assert payments.standing(bare.subscription_id) == rivals[won.index(True)]


def test_a_payer_is_linked_to_the_customer_named_last(
    payments: PaymentStore, stores: Stores
) -> None:
    payer = f"stripe_{stores.customer_id}"
    assert payments.customer_of(payer) is None
    for customer_id in ("cus_1", "cus_1", "cus_2"):
        payments.link_payer(payer, customer_id)
        assert payments.customer_of(payer) == customer_id


def test_the_subscription_begun_last_decides(payments: PaymentStore, stores: Stores) -> None:
    customer_id = stores.customer_id
    old, new = Governing("sub_old", NOON), Governing("sub_new", NOON + DAY)
    assert payments.governing(customer_id) is None
    assert payments.govern(customer_id, old)
    assert payments.govern(customer_id, old)
    assert payments.govern(customer_id, new)
    assert not payments.govern(customer_id, old)
    assert payments.govern(customer_id, new)
    assert payments.governing(customer_id) == new


def test_of_two_begun_at_once_the_same_one_decides_whoever_asks_last(
    payments: PaymentStore, stores: Stores
) -> None:
    customer_id = stores.customer_id
    one, other = Governing("sub_a", NOON), Governing("sub_b", NOON)
    assert payments.govern(customer_id, one)
    assert payments.govern(customer_id, other)
    assert not payments.govern(customer_id, one)


def test_a_deciding_subscription_may_turn_out_to_have_begun_earlier(
    payments: PaymentStore, stores: Stores
) -> None:
    earlier = Governing("sub_a", NOON - DAY)
    assert payments.govern(stores.customer_id, Governing("sub_a", NOON))
    assert payments.govern(stores.customer_id, earlier)
    assert payments.governing(stores.customer_id) == earlier
