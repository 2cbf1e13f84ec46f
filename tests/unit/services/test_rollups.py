"""Rollups are the sums of the sessions, however and how often they become known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowstack_core.domain.periods import Period
from flowstack_core.domain.rollups import DaySlice, Route, Talk, day_totals, merged
from flowstack_core.domain.sessions import Conversation, Growth, Session, SessionRecord
from flowstack_core.services.ports.failures import StoreContentionError
from flowstack_core.services.rollups import LARGEST_ADDITION, RollupService, additions
from tests.support.fakes import NOON, Budget, retrier
from tests.support.faulty import FunctionKilled, Killed, Unreachable
from tests.support.in_memory import Tables
from tests.support.in_memory_rollups import InMemoryRollupStore, slices_of

MANAGED = Route(managed=True, provider="bedrock", model="nova-lite")
OWN = Route(managed=False, provider="openai", model="gpt-4o")
OWN_TOO = Route(managed=False, provider="anthropic", model="claude-opus")
YEARS = (date(2020, 1, 1), date(2030, 12, 31))


def begun(
    name: str, customer_id: str = "cus_1", agent: str = "agent", days: int = 0, **more: Any
) -> Session:
    """Return a session that has just started."""
    at = NOON + timedelta(days=days)
    conversation = Conversation(customer_id, agent, name)
    return Session(name, conversation, Period.containing(at), at, at, **more)


def answered(session: Session, *ways: Route, tokens: int = 1) -> Session:
    """Return the session after some more answers."""
    said = dict(session.said)
    for way in ways:
        said[way] = said.get(way, Talk()) + Talk(1, tokens, 2 * tokens)
    return replace(
        session, said=said, opened_by=session.opened_by or ways[0], processed_at=session.started_at
    )


def record_of(session: Session) -> SessionRecord:
    """Return the record that its start leaves."""
    return SessionRecord(
        session.session_id, session.conversation, session.period, session.started_at, False
    )


@dataclass
class Rolling:
    """A service over rollups in memory; ``wrap`` stands between the two."""

    tables: Tables = field(default_factory=Tables)
    hold_ceiling: Callable[[str], None] = lambda customer_id: None

    def __post_init__(self) -> None:
        self.store = InMemoryRollupStore(self.tables)

    def start(self, *sessions: Session) -> None:
        """Leave the records of sessions that started."""
        for session in sessions:
            self.tables.records[session.session_id] = record_of(session)

    def roll_up(
        self, sessions: Sequence[Session], wrap: Callable[[Any], Any] = lambda store: store
    ) -> set[str]:
        """Roll up a batch; return the sessions that failed."""
        budget = Budget(30.0)
        service = RollupService(wrap(self.store), self.hold_ceiling, retrier(budget))
        return set(service.roll_up(sessions, budget))

    def slices(self, customer_id: str = "cus_1") -> list[DaySlice]:
        return list(self.store.slices(customer_id, *YEARS))


@pytest.fixture
def rolling() -> Rolling:
    """One with nothing in it."""
    return Rolling()


def test_a_session_counts_on_its_day_by_its_first_way_and_talks_by_all(rolling: Rolling) -> None:
    session = answered(begun("a"), OWN, MANAGED, MANAGED)
    rolling.start(session)
    assert rolling.roll_up([session]) == set()
    assert rolling.slices() == [
        DaySlice(NOON.date(), "agent", OWN, 1, Talk(1, 1, 2)),
        DaySlice(NOON.date(), "agent", MANAGED, 0, Talk(2, 2, 4)),
    ]
    (total,) = rolling.store.days("cus_1", *YEARS)
    assert (total.sessions, total.managed_sessions, total.byok_sessions) == (1, 0, 1)
    assert total.talk == Talk(3, 3, 6)


def test_of_each_session_the_latest_state_counts_whatever_the_order(rolling: Rolling) -> None:
    states = [answered(begun("a"), *[MANAGED] * count) for count in (3, 1, 2)]
    rolling.start(states[0])
    rolling.roll_up(states)
    rolling.roll_up(states[1:])
    assert rolling.slices() == slices_of(states[0])


def test_s4_what_is_said_after_midnight_belongs_to_the_day_of_the_start(rolling: Rolling) -> None:
    session = answered(begun("a"), MANAGED)
    rolling.start(session)
    rolling.roll_up([session])
    rolling.roll_up(
        [replace(answered(session, MANAGED), last_activity_at=NOON + timedelta(days=1))]
    )
    assert [part.day for part in rolling.slices()] == [NOON.date()]


def test_s5_a_session_that_was_released_never_appears(rolling: Rolling) -> None:
    session = answered(begun("a"), MANAGED)
    rolling.tables.records["a"] = replace(record_of(session), released_at=NOON)
    assert rolling.roll_up([session]) == set()
    assert rolling.slices() == []


def test_a_late_record_of_an_erased_customer_brings_nothing_back(rolling: Rolling) -> None:
    assert rolling.roll_up([answered(begun("a"), MANAGED)]) == set()
    assert rolling.slices() == []


def test_an_erasure_between_reading_and_adding_brings_nothing_back(rolling: Rolling) -> None:
    kept, erased = answered(begun("a"), MANAGED), answered(begun("b"), OWN)
    rolling.start(kept, erased)

    def erase() -> None:
        rolling.tables.records.pop("b", None)

    assert rolling.roll_up([kept, erased], lambda store: Meanwhile(store, erase)) == set()
    assert rolling.slices() == slices_of(kept)


def test_nothing_new_is_no_write(rolling: Rolling) -> None:
    session = answered(begun("a"), MANAGED)
    rolling.start(session)
    rolling.roll_up([session])
    assert rolling.roll_up([session], Unreachable("add").wrap) == set()


def test_an_empty_batch_asks_nothing(rolling: Rolling) -> None:
    assert rolling.roll_up([], Unreachable().wrap) == set()


def test_what_cannot_be_added_in_time_is_reported_and_the_rest_is_added(rolling: Rolling) -> None:
    fine, stuck = answered(begun("a"), MANAGED), answered(begun("b", "cus_2"), MANAGED)
    rolling.start(fine, stuck)

    failed = rolling.roll_up([stuck, fine], lambda store: Meanwhile(store, str, refuses="b"))
    assert failed == {"b"}
    assert rolling.slices() == slices_of(fine)
    assert rolling.slices("cus_2") == []


def test_what_cannot_be_read_in_time_is_all_reported(rolling: Rolling) -> None:
    sessions = [answered(begun(name), MANAGED) for name in "ab"]
    assert rolling.roll_up(sessions, Unreachable("records_of").wrap) == {"a", "b"}


def growth(session: Session) -> Growth:
    return Growth(session, record_of(session))


def test_sessions_of_a_customer_and_day_go_together() -> None:
    growths = [
        growth(answered(begun(f"{customer_id}-{days}-{number}", customer_id, days=days), MANAGED))
        for number in range(3)
        for customer_id in ("cus_1", "cus_2")
        for days in (0, 1)
    ]
    groups = list(additions(growths))
    assert [len(group) for group in groups] == [3, 3, 3, 3]


def test_an_addition_is_as_large_as_a_transaction_can_be_and_no_larger() -> None:
    # A record each, and two more items: the day's total, and the slice.
    alike = [growth(answered(begun(f"s{number:03}"), MANAGED)) for number in range(99)]
    assert [len(group) for group in additions(alike)] == [LARGEST_ADDITION - 2, 1]
    # Two items each, and the day's total.
    apart = [
        growth(answered(begun(f"s{number:03}", agent=f"agent {number}"), MANAGED))
        for number in range(50)
    ]
    assert [len(group) for group in additions(apart)] == [49, 1]


# --- any trace, any delivery --------------------------------------------------------------------


class Meanwhile:
    """Does something between a read and the write that follows it."""

    def __init__(self, store: Any, act: Callable[[], object], refuses: str = "") -> None:
        self._store = store
        self._act = act
        self._refuses = refuses

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def add(self, growths: Sequence[Growth]) -> bool:
        """Act, then add, unless it is the session that is refused."""
        self._act()
        if growths[0].session.session_id == self._refuses:
            raise StoreContentionError("throttled")
        return bool(self._store.add(growths))


WAYS = st.sampled_from([MANAGED, OWN, OWN_TOO])
TRACES = st.lists(
    st.tuples(
        st.sampled_from(["cus_1", "cus_2"]),
        st.sampled_from(["agent", "other agent"]),
        st.integers(0, 2),
        st.lists(WAYS, min_size=1, max_size=4),
        st.sampled_from([False, False, False, True]),
    ),
    min_size=1,
    max_size=6,
)


@dataclass(frozen=True)
class Trace:
    """What a random life of the sessions table put on its stream."""

    states: list[Session]
    final: list[Session]


def trace_of(drawn: Any, tables: Tables) -> Trace:
    """Play the sessions: each of its answers is a state on the stream."""
    states, final = [], []
    for number, (customer_id, agent, days, ways, released) in enumerate(drawn):
        session = begun(f"ses_{number}", customer_id, agent, days)
        tables.records[session.session_id] = record_of(session)
        if released:
            # Nothing was answered in it; a forged state must not get in either.
            tables.records[session.session_id] = replace(record_of(session), released_at=NOON)
            states.append(answered(session, ways[0]))
            continue
        counts = range(1, len(ways) + 1)
        states += [answered(session, *ways[:count], tokens=7) for count in counts]
        final.append(states[-1])
    return Trace(states, final)


@given(drawn=TRACES, data=st.data())
@settings(
    max_examples=400,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
def test_any_order_repetition_batch_and_crash_gives_the_sums_of_the_sessions(
    drawn: Any, data: st.DataObject
) -> None:
    rolling = Rolling()
    trace = trace_of(drawn, rolling.tables)
    batches = st.lists(st.sampled_from(trace.states), min_size=1, max_size=8)

    def deliver(sessions: Sequence[Session]) -> None:
        fate = data.draw(st.sampled_from(["whole", "killed", "raced"]))
        wrap: Callable[[Any], Any] = lambda store: store  # noqa: E731 - it is replaced below
        if fate == "killed":
            wrap = Killed(data.draw(st.integers(0, 5)), applied=data.draw(st.booleans())).wrap
        elif fate == "raced":
            other = data.draw(batches)
            wrap = lambda store: Meanwhile(store, lambda: rolling.roll_up(other))  # noqa: E731
        with suppress(FunctionKilled):
            assert rolling.roll_up(sessions, wrap) == set()

    for batch in data.draw(st.lists(batches, max_size=6)):
        deliver(batch)
    # A stream delivers each record at least once in the end, the last state of each among them.
    everything = data.draw(st.permutations(trace.states))
    size = data.draw(st.integers(1, len(everything)))
    for first in range(0, len(everything), size):
        assert rolling.roll_up(everything[first : first + size]) == set()
    for customer_id in ("cus_1", "cus_2"):
        expected = merged(
            part
            for session in trace.final
            if session.conversation.customer_id == customer_id
            for part in slices_of(session)
        )
        assert rolling.slices(customer_id) == expected
        assert rolling.store.days(customer_id, *YEARS) == day_totals(expected)
        records = (
            record
            for record in rolling.tables.records.values()
            if record.conversation.customer_id == customer_id
        )
        assert merged(part for record in records for part in record.slices()) == expected


# --- ceilings ------------------------------------------------------------------------------


def test_a_ceiling_is_held_once_a_batch_against_what_the_rollups_have_become() -> None:
    rolling = Rolling()
    seen: list[tuple[str, int]] = []
    rolling.hold_ceiling = lambda customer_id: seen.append(
        (customer_id, sum(part.sessions for part in rolling.slices(customer_id)))
    )
    batch = [answered(begun(name), OWN) for name in ("a", "b")]
    batch.append(answered(begun("c", "cus_2"), OWN))
    rolling.start(*batch)
    assert rolling.roll_up(batch) == set()
    assert seen == [("cus_1", 2), ("cus_2", 1)]


def test_a_ceiling_that_could_not_be_held_fails_its_customers_sessions_and_is_held_again() -> None:
    rolling, down = Rolling(), True
    held: list[str] = []

    def hold(customer_id: str) -> None:
        if down and customer_id == "cus_1":
            raise StoreContentionError("down")
        held.append(customer_id)

    rolling.hold_ceiling = hold
    batch = [answered(begun("a"), OWN), answered(begun("b", "cus_2"), OWN)]
    rolling.start(*batch)
    assert rolling.roll_up(batch) == {"a"}
    down = False
    assert rolling.roll_up(batch) == set()
    assert held == ["cus_2", "cus_1", "cus_2"]
    assert [part.sessions for part in rolling.slices()] == [1]
