"""What closing a period must do to the stores, in memory and on DynamoDB."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import count

import pytest

from flowstack_core.domain.closing import Closing, close_period
from flowstack_core.domain.month_end import ClosePage, Listing, MonthEndRun, PageState
from flowstack_core.domain.periods import Period
from flowstack_core.domain.plans import Tier
from flowstack_core.domain.quota import PeriodUsage
from flowstack_core.domain.sessions import Conversation, Session
from flowstack_core.domain.subscriptions import (
    Origin,
    PendingChange,
    Subscription,
    Terms,
    cancel,
    change_terms,
)
from flowstack_core.services.ports.accounts import AuditRecord, Customer
from flowstack_core.services.ports.closing import ClosingFacts
from flowstack_core.services.ports.failures import StoreContentionError
from flowstack_core.services.ports.sessions import Admitted, Attempt, PeriodClosed
from tests.contract.conftest import Stores
from tests.contract.test_account_store import audit_of, key_of
from tests.support.fakes import DECEMBER, NOON, NOVEMBER

_numbers = count(1)
LATER = DECEMBER.start + timedelta(hours=1)


@dataclass
class Customers:
    """A customer of one implementation, and what happens to it."""

    stores: Stores

    def create(self, tier: Tier = Tier.STARTER, at: datetime = NOON) -> str:
        customer_id = f"{self.stores.customer_id}x{next(_numbers)}"
        assert self.stores.accounts.create_customer(
            Customer(customer_id, "Ada", at),
            Subscription(customer_id, Terms.of(tier)),
            key_of(customer_id),
            audit_of(customer_id),
        )
        return customer_id

    def facts(self, customer_id: str, period: Period = NOVEMBER) -> ClosingFacts:
        return self.stores.closings.facts([customer_id], period)[customer_id]

    def closing(self, customer_id: str, period: Period = NOVEMBER) -> Closing:
        facts = self.facts(customer_id, period)
        return close_period(facts.subscription, period, facts.usage, facts.adjustments, LATER)

    def close(self, customer_id: str, period: Period = NOVEMBER) -> Closing:
        closing = self.closing(customer_id, period)
        assert self.stores.closings.close(closing, None)
        return closing

    def start(
        self, customer_id: str, *, managed: bool = True, open_period: bool = True
    ) -> Session | PeriodClosed:
        if open_period:
            self.stores.usage.open_period(self.subscription(customer_id), NOVEMBER)
        number = next(_numbers)
        outcome = self.stores.sessions.start_session(
            Attempt(
                Conversation(customer_id, "agent", f"c{number}"),
                f"att{number}",
                NOON,
                NOON + timedelta(seconds=30),
                managed=managed,
            ),
            f"ses_{number:08d}",
            NOVEMBER,
        )
        if isinstance(outcome, PeriodClosed):
            return outcome
        assert isinstance(outcome, Admitted)
        return outcome.session

    def subscription(self, customer_id: str) -> Subscription:
        found = self.stores.accounts.subscription(customer_id)
        assert found is not None
        return found

    def counter(self, customer_id: str, period: Period = NOVEMBER) -> PeriodUsage:
        found = self.stores.usage.period_usage(customer_id, period)
        assert found is not None
        return found

    def change(self, customer_id: str, after: Subscription, period: Period = NOVEMBER) -> bool:
        before = self.subscription(customer_id)
        return self.stores.accounts.change_subscription(
            before, after, period, audit_of(customer_id)
        )


@pytest.fixture
def customers(stores: Stores) -> Customers:
    return Customers(stores)


def started(outcome: Session | PeriodClosed) -> Session:
    assert isinstance(outcome, Session)
    return outcome


# --- facts ----------------------------------------------------------------


def test_facts_of_a_customer_in_whose_period_nothing_happened(customers: Customers) -> None:
    facts = customers.facts(customers.create())
    assert (facts.usage, facts.closed, facts.previous_closed, facts.adjustments) == (
        None,
        False,
        False,
        {},
    )
    assert facts.subscription.terms == Terms.of(Tier.STARTER)
    assert facts.customer.created_at == NOON


def test_facts_are_read_of_a_whole_page_at_once_and_leave_out_who_is_not_there(
    customers: Customers,
) -> None:
    known = [customers.create() for _ in range(30)]
    found = customers.stores.closings.facts([*known, "cus_nobody"], NOVEMBER)
    assert list(found) == known


def test_facts_know_what_is_closed_and_how_far_the_test_clock_is(customers: Customers) -> None:
    who = customers.create()
    customers.close(who)
    assert customers.stores.clock_offsets.set_offset(who, 0, 86_400.5, audit_of(who))
    now, later = customers.facts(who), customers.facts(who, DECEMBER)
    assert (now.closed, now.previous_closed) == (True, False)
    assert (later.closed, later.previous_closed) == (False, True)
    assert now.clock_offset_seconds == 86_400.5


# --- the statement ----------------------------------------------------------------


def test_a_statement_is_read_as_it_was_written(customers: Customers) -> None:
    who = customers.create(Tier.PROFESSIONAL)
    customers.start(who)
    customers.start(who, managed=False)
    customers.stores.accounts.credit(customers.subscription(who), NOVEMBER, 7, audit_of(who))
    assert customers.change(who, cancel(customers.subscription(who), NOON))
    closing = customers.closing(who)
    assert closing.statement.plan_change is not None
    record = audit_of(who, action="subscription.take_effect")
    assert customers.stores.closings.close(closing, record)
    assert customers.stores.closings.statement(who, NOVEMBER) == closing.statement
    assert customers.counter(who) == closing.usage
    assert customers.subscription(who) == Subscription(who, Terms.of(Tier.FREE), version=3)
    assert customers.stores.accounts.audit_record(who, record.audit_id) == record


def test_statements_are_listed_newest_first_and_page_by_page(customers: Customers) -> None:
    who, other = customers.create(), customers.create()
    period = NOVEMBER
    for _ in range(14):
        customers.close(who, period)
        period = period.next()
    customers.close(other)
    store = customers.stores.closings
    first = store.statements(who, 10, None)
    rest = store.statements(who, 10, first[-1].period)
    periods = [statement.period for statement in (*first, *rest)]
    assert periods == sorted(periods, reverse=True)
    assert (len(first), len(rest), periods[-1]) == (10, 4, NOVEMBER)
    assert store.statement(who, period) is None


def test_a_period_is_closed_once_whoever_tries_and_however_often(customers: Customers) -> None:
    who = customers.create()
    customers.start(who)
    first = customers.close(who)
    later = replace(first.statement, closed_at=LATER + timedelta(days=1))
    again = replace(customers.closing(who), statement=later)
    assert not customers.stores.closings.close(again, None)
    assert customers.stores.closings.statement(who, NOVEMBER) == first.statement


def test_of_many_who_close_at_once_one_does(customers: Customers) -> None:
    who = customers.create()
    customers.start(who)
    closing = customers.closing(who)

    def attempt(_: int) -> str:
        try:
            return str(customers.stores.closings.close(closing, None))
        except StoreContentionError:
            return "contention"

    with ThreadPoolExecutor(8) as threads:
        outcomes = list(threads.map(attempt, range(8)))
    assert outcomes.count("True") == 1


@pytest.mark.parametrize("moved", ["start", "release", "credit", "upgrade", "downgrade", "opened"])
def test_a_closing_whose_basis_moved_is_refused_whole(customers: Customers, moved: str) -> None:
    who = customers.create()
    held = None if moved == "opened" else started(customers.start(who))
    closing = customers.closing(who)
    subscription = customers.subscription(who)
    if moved in {"start", "opened"}:
        customers.start(who)
    elif moved == "release":
        assert held is not None
        assert customers.stores.sessions.release(held, NOON + timedelta(minutes=5))
    elif moved == "credit":
        assert customers.stores.accounts.credit(subscription, NOVEMBER, 1, audit_of(who))
    else:
        tier = Tier.PROFESSIONAL if moved == "upgrade" else Tier.FREE
        assert customers.change(who, change_terms(subscription, Terms.of(tier), NOON))
    with pytest.raises(StoreContentionError):
        customers.stores.closings.close(closing, audit_of(who))
    assert customers.stores.closings.statement(who, NOVEMBER) is None
    assert customers.counter(who).closed_at is None
    customers.close(who)


# --- the fence ----------------------------------------------------------------


def test_nothing_starts_in_a_closed_period(customers: Customers) -> None:
    who = customers.create()
    customers.start(who)
    customers.close(who)
    assert customers.start(who) == PeriodClosed()
    assert customers.counter(who).sessions_used == 1


def test_nothing_starts_in_a_closed_period_in_which_nothing_had_happened(
    customers: Customers,
) -> None:
    who = customers.create()
    customers.close(who)
    assert customers.start(who) == PeriodClosed()
    assert customers.counter(who).closed_at == LATER


def test_a_closed_period_takes_no_change_no_credit_and_no_new_entitlement(
    customers: Customers,
) -> None:
    who = customers.create()
    customers.start(who)
    customers.close(who)
    before = customers.counter(who)
    subscription = customers.subscription(who)
    upgrade = change_terms(subscription, Terms.of(Tier.PROFESSIONAL), NOON)
    assert not customers.change(who, upgrade)
    assert not customers.stores.accounts.credit(subscription, NOVEMBER, 5, audit_of(who))
    assert not customers.stores.usage.open_period(replace(subscription, version=9), NOVEMBER)
    assert customers.counter(who) == before
    assert customers.subscription(who) == subscription


def test_a_change_is_too_late_once_the_next_period_has_begun(customers: Customers) -> None:
    who = customers.create()
    assert customers.stores.usage.open_period(customers.subscription(who), DECEMBER)
    cancelled = cancel(customers.subscription(who), NOON)
    assert not customers.change(who, cancelled)
    assert customers.subscription(who).pending is None


def test_p5_a_change_in_a_period_without_a_counter_remembers_the_tier_before_it(
    customers: Customers,
) -> None:
    who = customers.create(Tier.FREE)
    upgrade = change_terms(customers.subscription(who), Terms.of(Tier.STARTER), NOON)
    assert customers.change(who, upgrade)
    assert customers.counter(who).tiers == {Tier.FREE, Tier.STARTER}
    raised = change_terms(upgrade, Terms.of(Tier.ENTERPRISE, 200_000, 100), NOON)
    assert customers.change(who, raised)
    counter = customers.counter(who)
    assert counter.tiers == {Tier.FREE, Tier.STARTER, Tier.ENTERPRISE}
    assert (counter.price_cents, counter.session_limit) == (2_900, 200_000)


# --- late facts ----------------------------------------------------------------


@pytest.mark.parametrize("way", ["release", "release_expired"])
@pytest.mark.parametrize("managed", [True, False])
def test_a_release_after_the_close_is_left_for_the_next_statement_once(
    customers: Customers, way: str, managed: bool
) -> None:
    who = customers.create()
    session = started(customers.start(who, managed=managed))
    customers.start(who)
    statement = customers.close(who).statement
    for _ in range(2):
        release = getattr(customers.stores.sessions, way)
        assert release(session, LATER)
    facts = customers.facts(who, DECEMBER)
    assert facts.adjustments == {NOVEMBER: -1}
    counter = customers.counter(who)
    assert counter.sessions_used == 1
    assert counter.managed_sessions == (1 if not managed else statement.managed_sessions - 1)
    assert customers.stores.closings.statement(who, NOVEMBER) == statement
    customers.close(who, DECEMBER)
    assert customers.facts(who, DECEMBER.next()).adjustments == {}


def test_adjustments_that_moved_while_they_were_stated_are_stated_anew(
    customers: Customers,
) -> None:
    who = customers.create()
    first, second = started(customers.start(who)), started(customers.start(who))
    customers.close(who)
    assert customers.stores.sessions.release(first, LATER)
    closing = customers.closing(who, DECEMBER)
    assert customers.stores.sessions.release(second, LATER)
    with pytest.raises(StoreContentionError):
        customers.stores.closings.close(closing, None)
    assert customers.close(who, DECEMBER).statement.adjustments == {NOVEMBER: -2}


# --- subscriptions ----------------------------------------------------------------


def test_a_change_that_covers_another_is_read_as_it_was_written(customers: Customers) -> None:
    who = customers.create(Tier.PROFESSIONAL)
    before = customers.subscription(who)
    last = PendingChange(Terms.of(Tier.FREE), DECEMBER.next(), Origin.PAYMENT)
    below = PendingChange(Terms.of(Tier.STARTER), DECEMBER, Origin.PAYMENT, last)
    pending = PendingChange(Terms.of(Tier.FREE), DECEMBER, Origin.CUSTOMER, below)
    after = replace(before, pending=pending, version=2)
    assert customers.change(who, after)
    assert customers.subscription(who) == after


def test_the_record_of_an_act_is_found_by_its_id(customers: Customers) -> None:
    who = customers.create()
    record: AuditRecord = audit_of(who)
    assert customers.stores.accounts.audit_record(who, record.audit_id) is None
    after = cancel(customers.subscription(who), NOON)
    assert customers.stores.accounts.change_subscription(
        customers.subscription(who), after, NOVEMBER, record
    )
    assert customers.stores.accounts.audit_record(who, record.audit_id) == record


# --- runs and pages ----------------------------------------------------------------


@pytest.fixture
def run(stores: Stores) -> MonthEndRun:
    """A run nobody else has."""
    period = Period(2030 + next(_numbers), 1)
    run = MonthEndRun(period, LATER, LATER)
    assert stores.month_ends.start(run)
    return run


def test_a_run_is_started_once(stores: Stores, run: MonthEndRun) -> None:
    assert not stores.month_ends.start(replace(run, started_at=NOON))
    assert stores.month_ends.run(run.period) == run
    assert stores.month_ends.run(run.period.next()) is None
    assert stores.month_ends.runs(1) == [run]


def test_a_step_is_done_once_with_its_pages(stores: Stores, run: MonthEndRun) -> None:
    pages = [ClosePage(run.period, n, (f"a{n}", f"b{n}")) for n in range(40)]
    after = replace(run, step=1, cursor="c", customers=80, moved_at=LATER)
    assert stores.month_ends.advance(run, after, pages)
    other = [ClosePage(run.period, 7, ("someone else",))]
    assert not stores.month_ends.advance(run, replace(after, customers=1), other)
    assert stores.month_ends.run(run.period) == after
    found = list(stores.month_ends.pages(run.period))
    assert found == [
        PageState(page.number, 2, frozenset(page.customer_ids), LATER) for page in pages
    ]
    assert [page.number for page in stores.month_ends.pages(run.period, 10, 5)] == [
        10, 11, 12, 13, 14,
    ]  # fmt: skip


def test_a_list_that_is_complete_takes_no_more_steps(stores: Stores, run: MonthEndRun) -> None:
    listed = replace(run, step=1, listed_at=LATER)
    assert stores.month_ends.advance(run, listed, [])
    assert not stores.month_ends.advance(listed, replace(listed, step=2), [])


def test_a_page_notes_who_is_closed_and_who_is_given_up(stores: Stores, run: MonthEndRun) -> None:
    page = ClosePage(run.period, 0, ("a", "b", "c"))
    assert stores.month_ends.advance(run, replace(run, step=1), [page])
    store = stores.month_ends

    def now() -> PageState:
        return next(iter(store.pages(run.period)))

    for _ in range(2):
        store.record(page, ("a",), {"b": "sour"}, NOON)
    assert now() == PageState(0, 3, frozenset({"b", "c"}), NOON, {"b": "sour"})
    assert now().waiting() == ("c",)
    store.record(page, ("b", "c"), {}, LATER)
    assert now() == PageState(0, 3, frozenset(), LATER)
    store.record(page, ("b", "c"), {}, LATER)
    assert now() == PageState(0, 3, frozenset(), LATER)


def test_a_page_that_no_run_has_is_nobodys_to_note_on(stores: Stores, run: MonthEndRun) -> None:
    stores.month_ends.record(ClosePage(run.period, 99, ("a",)), ("a",), {}, LATER)
    assert list(stores.month_ends.pages(run.period)) == []


def test_a_run_is_finished_once(stores: Stores, run: MonthEndRun) -> None:
    stores.month_ends.finish(run, LATER)
    stores.month_ends.finish(run, LATER + timedelta(days=1))
    found = stores.month_ends.run(run.period)
    assert found is not None
    assert found.finished_at == LATER


# --- the directory ----------------------------------------------------------------


def test_customers_are_listed_by_creation_up_to_an_instant(customers: Customers) -> None:
    long_ago = datetime(1999, 1, 1, tzinfo=NOON.tzinfo) + timedelta(days=next(_numbers))
    if customers.stores.kind == "dynamodb":
        long_ago = long_ago.replace(year=1998)
    made = [customers.create(at=long_ago + timedelta(seconds=n)) for n in range(5)]
    end = long_ago + timedelta(seconds=4)
    directory = customers.stores.directory
    found: list[str] = []
    listing = Listing((), None, more=True)
    sizes = []
    while listing.more:
        listing = directory.created_before(end, listing.cursor, 2)
        found += listing.customer_ids
        sizes.append(len(listing.customer_ids))
    assert [who for who in found if who in made] == made[:4]
    assert max(sizes) == 2
    after = directory.created_before(end, listing.cursor, 2)
    assert after == Listing((), listing.cursor, more=False)
