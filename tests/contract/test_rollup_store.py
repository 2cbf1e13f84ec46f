"""What every store of rollups must do, in memory and on DynamoDB."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date, timedelta

import pytest

from flowstack_core.domain.rollups import DaySlice, DayTotal, Route, Talk
from flowstack_core.domain.sessions import Growth, Session, SessionRecord
from flowstack_core.services.ports.failures import StoreContentionError
from flowstack_core.services.ports.sessions import Admitted
from tests.contract.conftest import Stores
from tests.contract.test_session_store import OWN, ROUTE, Thread
from tests.support.fakes import NOON, NOVEMBER

DAY = NOON.date()
YEARS = (date(2020, 1, 1), date(2030, 12, 31))


class Book:
    """The rollups of one customer, and sessions to put into them."""

    def __init__(self, stores: Stores) -> None:
        self.stores = stores
        self.store = stores.rollups
        self.opened = Thread(stores).open(limit=200)

    def session(self, name: str, *ways: Route, agent: str = "agent", days: int = 0) -> Session:
        """Start a session and answer a message each of these ways."""
        thread = Thread(self.stores, name)
        thread.conversation = replace(thread.conversation, agent=agent)
        at = NOON + timedelta(days=days)
        session = thread.started(f"{name}-start", at)
        for number, way in enumerate(ways):
            attempt = f"{name}-start" if number == 0 else f"{name}-{number}"
            if number:
                assert isinstance(thread.follow(attempt, at), Admitted)
            assert thread.settle(session, attempt, at, route=way)
        found = thread.follow(f"{name}-seen", at)
        assert isinstance(found, Admitted)
        return found.session

    def grown(self, *sessions: Session) -> list[Growth]:
        """Return what their records do not know yet."""
        records = self.store.records_of(sessions)
        return [Growth(session, records[session.session_id]) for session in sessions]

    def record(self, session: Session) -> SessionRecord:
        """Return a session's record."""
        return self.store.records_of([session])[session.session_id]

    @property
    def days(self) -> list[DayTotal]:
        return list(self.store.days(self.stores.customer_id, *YEARS))

    @property
    def slices(self) -> list[DaySlice]:
        return list(self.store.slices(self.stores.customer_id, *YEARS))


@pytest.fixture
def book(stores: Stores) -> Book:
    """One, empty."""
    return Book(stores)


def test_nothing_started_is_no_days(book: Book) -> None:
    assert (book.days, book.slices) == ([], [])


def test_sessions_are_added_with_total_and_slices(book: Book) -> None:
    growths = book.grown(book.session("a", ROUTE, OWN, ROUTE), book.session("b", OWN))
    assert book.store.add(growths)
    assert book.days == [DayTotal(DAY, 2, 1, Talk(2, 20, 10), Talk(2, 20, 10))]
    assert book.slices == [
        DaySlice(DAY, "agent", OWN, 1, Talk(2, 20, 10)),
        DaySlice(DAY, "agent", ROUTE, 1, Talk(2, 20, 10)),
    ]


def test_what_is_added_stands_on_the_record(book: Book) -> None:
    session = book.session("a", OWN, ROUTE)
    book.store.add(book.grown(session))
    (record,) = book.stores.sessions.records(book.stores.customer_id, NOVEMBER)
    assert (record.opened_by, record.rolled_up) == (OWN, session.said)
    assert sorted(record.slices(), key=lambda part: part.place) == book.slices


def test_adding_again_from_what_was_read_before_adds_nothing(book: Book) -> None:
    growths = book.grown(book.session("a", ROUTE))
    assert book.store.add(growths)
    assert not book.store.add(growths)
    assert book.days == [DayTotal(DAY, 1, 1, Talk(1, 10, 5))]


def test_only_what_came_since_is_added(book: Book) -> None:
    book.store.add(book.grown(book.session("a", ROUTE)))
    thread = Thread(book.stores, "a")
    joined = thread.follow("more", NOON)
    thread.settle(joined.session, "more", NOON, route=OWN)
    later = thread.follow("seen", NOON).session
    (growth,) = book.grown(later)
    assert growth.needed
    assert book.store.add([growth])
    assert not any(growth.needed for growth in book.grown(later))
    assert book.days == [DayTotal(DAY, 1, 1, Talk(1, 10, 5), Talk(1, 10, 5))]
    assert book.slices[0] == DaySlice(DAY, "agent", OWN, 0, Talk(1, 10, 5))


def test_one_record_that_moved_on_stops_the_whole_addition(book: Book) -> None:
    first, second = book.session("a", ROUTE), book.session("b", ROUTE)
    growths = book.grown(first, second)
    assert book.store.add(growths[:1])
    assert not book.store.add(growths)
    assert book.days[0].sessions == 1


def test_s5_a_released_session_never_appears(book: Book) -> None:
    thread = Thread(book.stores, "held")
    session = thread.started("a")
    growth = Growth(replace(session, said={ROUTE: Talk(1, 1, 1)}), book.record(session))
    assert growth.needed
    left = book.stores.sessions.abandon(thread.conversation, "a")
    assert left is not None
    assert book.stores.sessions.release(left, NOON)
    assert not book.store.add([growth])
    assert not Growth(growth.session, book.record(session)).needed
    assert (book.days, book.slices) == ([], [])


def test_a_session_without_a_record_is_not_added(book: Book) -> None:
    session = book.session("a", ROUTE)
    growth = book.grown(session)[0]
    gone = replace(session, session_id="ses_erased")
    assert book.store.records_of([gone]) == {}
    assert not book.store.add([Growth(gone, replace(growth.record, session_id="ses_erased"))])
    assert (book.days, book.slices) == ([], [])


def test_names_that_customers_choose_never_meet_in_a_key(book: Book) -> None:
    names = ["a#b", "a%23b", "a", "a$", "ä" * 128, "#" * 128]
    for number, agent in enumerate(names):
        book.store.add(book.grown(book.session(f"s{number}", ROUTE, agent=agent)))
    assert sorted(part.agent for part in book.slices) == sorted(names)
    assert sum(total.sessions for total in book.days) == len(names)


def test_days_are_found_from_the_first_to_the_last_included(book: Book) -> None:
    for number in range(4):
        book.store.add(book.grown(book.session(f"s{number}", ROUTE, days=number)))
    span = (DAY + timedelta(days=1), DAY + timedelta(days=2))
    found = book.store.days(book.stores.customer_id, *span)
    assert [total.day for total in found] == list(span)
    parts = book.store.slices(book.stores.customer_id, *span)
    assert [part.day for part in parts] == list(span)


def test_as_many_sessions_as_a_transaction_takes_are_added_at_once(book: Book) -> None:
    sessions = [book.session(f"s{number:03}", ROUTE) for number in range(98)]
    assert book.store.add(book.grown(*sessions))
    assert book.days == [DayTotal(DAY, 98, 98, Talk(98, 980, 490))]


def test_two_workers_at_once_add_a_session_once(book: Book) -> None:
    growths = book.grown(*(book.session(f"s{number}", ROUTE) for number in range(5)))

    def work(growth: Growth) -> bool:
        while True:
            try:
                return book.store.add([growth])
            except StoreContentionError:
                continue

    with ThreadPoolExecutor(8) as pool:
        added = list(pool.map(work, growths * 4))
    assert sum(added) == len(growths)
    assert book.days[0].sessions == len(growths)
