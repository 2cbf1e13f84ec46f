"""Sessions, quota and subscription against a plain model, through thousands of random steps.

The model knows the rules and nothing of how they are implemented: no stores, no retries, no
writes. A third of the machines runs with store calls that fail, before or after they took
effect; that must not change one outcome.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from flowstack_core.domain.errors import (
    IdempotencyConflictError,
    ModelError,
    QuotaExceededError,
    TierLimitationError,
)
from flowstack_core.domain.messages import ModelAnswer, ModelRequest
from flowstack_core.domain.periods import Period
from flowstack_core.domain.plans import Tier
from flowstack_core.services.expiry import ExpiryService
from tests.support.fakes import Budget, FixedClock, World, model_answer
from tests.support.faulty import Faults

HALF_AN_HOUR = timedelta(minutes=30)
A_DAY = timedelta(hours=24)
CANNOT_RUN_ANY_MORE = timedelta(seconds=34)
STEP = timedelta(microseconds=1)
Month = tuple[int, int]

# Few conversations and low limits, so that steps meet each other.
CONVERSATIONS = st.sampled_from(["a", "b", "c", "d"])
TIERS = [("free", 2), ("starter", 3), ("professional", 4), ("enterprise", 5), ("enterprise", 7)]
GAPS = st.sampled_from(
    [
        STEP,
        timedelta(seconds=5),
        CANNOT_RUN_ANY_MORE - STEP,
        CANNOT_RUN_ANY_MORE,
        timedelta(minutes=10),
        HALF_AN_HOUR - STEP,
        HALF_AN_HOUR,
        timedelta(hours=5),
        A_DAY,
    ]
)


@dataclass
class Stretch:
    """The model's session."""

    month: Month
    last: datetime
    processed: bool = False
    managed_until: datetime | None = None
    running_until: list[datetime] = field(default_factory=list)

    def could_be_answered(self, now: datetime) -> bool:
        return self.processed or any(until > now for until in self.running_until)


@dataclass
class Kept:
    """The model's memory of an idempotency key."""

    request: tuple[Any, ...]
    document: dict[str, Any]
    forgotten_at: datetime


class RefusedError(Exception):
    """The model refuses; the argument is the error it expects."""


def month_of(now: datetime) -> Month:
    return (now.year, now.month)


def month_after(month: Month) -> Month:
    return (month[0] + 1, 1) if month[1] == 12 else (month[0], month[1] + 1)


def start_of(month: Month) -> datetime:
    return datetime(month[0], month[1], 1, tzinfo=UTC)


class Rules:
    """What the rules say, written down without regard to cost or failure."""

    def __init__(self) -> None:
        self.sessions: dict[str, Stretch] = {}
        self.used: dict[Month, int] = {}
        self.terms = ("starter", 3)
        self.next_terms: tuple[Month, tuple[str, int]] | None = None
        self.credits: dict[Month, int] = {}
        self.keys: dict[str, Kept] = {}

    def terms_in(self, month: Month) -> tuple[str, int]:
        if self.next_terms is not None and month >= self.next_terms[0]:
            return self.next_terms[1]
        return self.terms

    def limit(self, month: Month) -> int:
        return self.terms_in(month)[1] + self.credits.get(month, 0)

    def release(self, conversation: str) -> None:
        self.used[self.sessions.pop(conversation).month] -= 1

    def admit(self, conversation: str, now: datetime, managed: bool) -> tuple[Stretch, bool]:
        month = month_of(now)
        may_use_managed = self.terms_in(month)[0] != "free"
        session = self.sessions.get(conversation)
        if session is not None and now - session.last < HALF_AN_HOUR:
            if managed and (session.managed_until is None or session.managed_until <= now):
                if not may_use_managed:
                    raise RefusedError(TierLimitationError)
                session.managed_until = start_of(month_after(month))
            session.last = max(session.last, now)
            return session, False
        if session is not None and not session.processed:
            self.release(conversation)
        if managed and not may_use_managed:
            raise RefusedError(TierLimitationError)
        if self.used.get(month, 0) >= self.limit(month):
            dead = [
                name
                for name, other in self.sessions.items()
                if other.month == month and not other.could_be_answered(now)
            ]
            for name in dead:
                self.release(name)
            if not dead:
                raise RefusedError(QuotaExceededError)
        session = Stretch(month, now, managed_until=start_of(month_after(month)))
        if not managed:
            session.managed_until = None
        self.sessions[conversation] = session
        self.used[month] = self.used.get(month, 0) + 1
        return session, True

    def change(self, terms: tuple[str, int], now: datetime) -> None:
        month = month_of(now)
        present = self.terms_in(month)
        order = [name for name, _ in TIERS]
        rank, present_rank = order.index(terms[0]), order.index(present[0])
        self.terms, self.next_terms = present, None
        if (rank, terms[1]) >= (present_rank, present[1]):
            self.terms = terms
        else:
            self.next_terms = (month_after(month), terms)


class SessionsQuotaAndSubscription(RuleBasedStateMachine):
    """Does the same to FlowStack and to the model, and compares."""

    @initialize(
        seed=st.integers(0, 999),
        faulty=st.sampled_from([False, False, True]),
        start=st.sampled_from(
            [
                datetime(2026, 11, 30, 23, 20, tzinfo=UTC),
                datetime(2026, 12, 31, 23, 50, tzinfo=UTC),
                datetime(2028, 2, 28, 23, 0, tzinfo=UTC),
            ]
        ),
    )
    def begin(self, seed: int, faulty: bool, start: datetime) -> None:
        self.clock = FixedClock(start)
        self.world = World(
            clock=self.clock, faults=Faults(seed=seed, rate=1 / 3) if faulty else None
        )
        self.world.subscribe(Tier.STARTER, 3)
        self.plain = Rules()

    # --- messages ---------------------------------------------------------------------------

    @rule(
        conversation=CONVERSATIONS,
        managed=st.booleans(),
        operation=st.sampled_from(["invoke", "chat"]),
        thinking=st.sampled_from([0, 0, 20]),
        fails=st.sampled_from([False, False, False, True]),
        key=st.sampled_from([None, None, "k1", "k2"]),
        text=st.sampled_from(["Hi", "Hi", "Ho"]),
    )
    def send(
        self,
        conversation: str,
        managed: bool,
        operation: str,
        thinking: int,
        fails: bool,
        key: str | None,
        text: str,
    ) -> None:
        now = self.clock.now()
        calls = len(self.world.model.requests)
        request = (conversation, operation, text)

        def think(_: ModelRequest) -> ModelAnswer:
            self.clock.advance(seconds=thinking)
            if fails:
                raise ModelError("boom")
            return model_answer()

        def act() -> Any:
            self.world.budget.seconds = 100_000.0
            self.world.model.reactions = [think]
            return self.world.send(
                conversation,
                managed=managed,
                operation=operation,
                idempotency_key=key,
                text=text,
                tier=Tier.ENTERPRISE,
            )

        kept = self.plain.keys.get(key) if key is not None else None
        if kept is not None and kept.forgotten_at > now:
            if kept.request != request:
                with pytest.raises(IdempotencyConflictError):
                    act()
            else:
                assert act().document == kept.document
            assert len(self.world.model.requests) == calls
            return
        try:
            session, started = self.plain.admit(conversation, now, managed)
        except RefusedError as refused:
            with pytest.raises(refused.args[0]):
                act()
            assert len(self.world.model.requests) == calls
            return
        if fails:
            with pytest.raises(ModelError):
                act()
            if not session.could_be_answered(self.clock.now()):
                self.plain.release(conversation)
            return
        answer = act()
        assert answer.session_started is started
        assert answer.document["session"]["period"] == "{:04}-{:02}".format(*session.month)
        session.processed = True
        session.last = max(session.last, self.clock.now())
        if key is not None:
            self.plain.keys[key] = Kept(request, answer.document, now + A_DAY)

    @rule(conversation=CONVERSATIONS, managed=st.booleans(), follow_up_expected=st.booleans())
    def crash(self, conversation: str, managed: bool, follow_up_expected: bool) -> None:
        now = self.clock.now()

        def act() -> Any:
            self.world.budget.seconds = 100_000.0
            return self.world.admit(
                conversation,
                managed=managed,
                follow_up_expected=follow_up_expected,
                budget=Budget(29),
            )

        try:
            session, started = self.plain.admit(conversation, now, managed)
        except RefusedError as refused:
            with pytest.raises(refused.args[0]):
                act()
            return
        assert act().started is started
        session.running_until.append(now + CANNOT_RUN_ANY_MORE)

    # --- time -------------------------------------------------------------------------------

    @rule(gap=GAPS)
    def wait(self, gap: timedelta) -> None:
        self.clock.move_to(self.clock.now() + gap)

    @rule(conversation=CONVERSATIONS, before=st.sampled_from([STEP, timedelta(0)]))
    def wait_until_a_session_is_about_to_end(self, conversation: str, before: timedelta) -> None:
        session = self.plain.sessions.get(conversation)
        if session is not None:
            end = session.last + HALF_AN_HOUR - before
            self.clock.move_to(max(self.clock.now(), end))

    @rule(before=st.sampled_from([timedelta(minutes=5), STEP, timedelta(0)]))
    def wait_until_the_month_is_about_to_end(self, before: timedelta) -> None:
        end = start_of(month_after(month_of(self.clock.now()))) - before
        self.clock.move_to(max(self.clock.now(), end))

    @rule(conversation=CONVERSATIONS)
    def the_store_deletes_an_item_that_expired(self, conversation: str) -> None:
        session = self.plain.sessions.get(conversation)
        if session is None or self.clock.now() - session.last < HALF_AN_HOUR:
            return
        image = self.world.session(conversation)
        assert image is not None
        self.world.tables.expire_head(image.conversation)
        told = ExpiryService(self.world.sessions, self.clock).session_deleted(image)
        assert told is not session.processed
        if session.processed:
            del self.plain.sessions[conversation]
        else:
            self.plain.release(conversation)

    # --- the operator -----------------------------------------------------------------------

    @rule(terms=st.sampled_from(TIERS))
    def change_terms(self, terms: tuple[str, int]) -> None:
        self.plain.change(terms, self.clock.now())
        self.world.set_terms(Tier(terms[0]), terms[1])

    @precondition(lambda self: sum(self.plain.credits.values()) < 6)
    @rule(sessions=st.integers(1, 2))
    def credit(self, sessions: int) -> None:
        month = month_of(self.clock.now())
        self.plain.credits[month] = self.plain.credits.get(month, 0) + sessions
        self.world.credit(sessions)

    # --- what must always hold --------------------------------------------------------------

    @invariant()
    def the_count_is_the_models_and_what_the_records_say(self) -> None:
        months = {*self.plain.used, month_of(self.clock.now())}
        for month in months:
            period = Period(*month)
            assert self.world.used(period) == self.plain.used.get(month, 0)
            assert self.world.drift(period) == 0
        opened = {(period.year, period.month) for _, period in self.world.tables.counters}
        assert sum(self.world.used(Period(*month)) for month in opened - months) == 0

    @invariant()
    def no_more_started_than_was_ever_granted(self) -> None:
        month = month_of(self.clock.now())
        assert self.plain.used.get(month, 0) <= self.plain.limit(month)
        counter = self.world.counter()
        if counter is not None and counter.sessions_used:
            assert counter.sessions_used <= counter.session_limit

    @invariant()
    def usage_tells_the_truth(self) -> None:
        month = month_of(self.clock.now())
        # Read past the faults: reading is not what this test is about.
        reader = World(tables=self.world.tables, clock=self.clock).usage_service
        told = reader.usage_document(self.world.customer_id)["current_period"]
        held = sum(s.month == month and not s.processed for s in self.plain.sessions.values())
        assert told["sessions_used"] == self.plain.used.get(month, 0)
        assert told["sessions_limit"] == self.plain.limit(month)
        assert told["sessions_held"] == held


TestSessionsQuotaAndSubscription = SessionsQuotaAndSubscription.TestCase
TestSessionsQuotaAndSubscription.settings = settings(
    max_examples=300,
    stateful_step_count=40,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
