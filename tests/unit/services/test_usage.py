"""Where a customer stands, and whether the count is right."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, cast

import pytest

from flowstack_core.domain.errors import ModelError, NotFoundError, QuotaExceededError
from flowstack_core.domain.periods import Period
from flowstack_core.domain.plans import Tier
from flowstack_core.domain.rollups import Talk
from flowstack_core.domain.sessions import SessionRecord
from flowstack_core.services.ports.sessions import SessionStore
from flowstack_core.services.usage import UsageService
from tests.support.fakes import DECEMBER, NOVEMBER, FixedClock, ScriptedModel, World, at


def on(tier: Tier, limit: int | None = None, clock: FixedClock | None = None) -> World:
    world = World(clock=clock or FixedClock())
    world.subscribe(tier, limit)
    return world


def test_usage_says_what_is_used_held_left_and_when_it_resets() -> None:
    world = on(Tier.STARTER, 4, FixedClock(at("2026-11-15T12:00:00")))
    world.send("one")
    world.send("two")
    world.admit("running")
    world.credit(1)
    document = world.usage_service.usage_document(world.customer_id)
    assert document["tier"] == "starter"
    assert document["current_charges"] == 29.0
    assert document["current_period"] == {
        "name": "2026-11",
        "start": "2026-11-01T00:00:00.000Z",
        "end": "2026-12-01T00:00:00.000Z",
        "now": "2026-11-15T12:00:00.000Z",
        "days_left": 15,
        "sessions_used": 3,
        "sessions_held": 1,
        "sessions_limit": 5,
        "sessions_remaining": 2,
        "sessions_credited": 1,
        "usage_percentage": 60.0,
        "is_near_limit": False,
    }
    assert document["quota"]["reason"] == "2 of 5 sessions can still start."


def test_usage_and_the_refusal_state_the_same_facts() -> None:
    world = on(Tier.STARTER, 1)
    world.admit("running")
    with pytest.raises(QuotaExceededError) as refusal:
        world.send("another")
    facts = world.usage_service.usage_document(world.customer_id)["quota"]
    assert {name: refusal.value.details[name] for name in facts} == facts


def test_usage_before_the_first_session_of_a_period_is_computed_from_the_terms() -> None:
    world = on(Tier.PROFESSIONAL)
    world.set_terms(Tier.STARTER)
    world.clock.move_to(DECEMBER.start)
    document = world.usage_service.usage_document(world.customer_id)
    assert (document["tier"], document["current_period"]["sessions_limit"]) == ("starter", 1_000)
    assert document["current_period"]["sessions_used"] == 0


def test_p1_usage_shows_an_upgrade_that_the_counter_has_not_seen() -> None:
    world = on(Tier.FREE)
    world.send(managed=False)
    counter = world.counter()
    assert counter is not None
    world.set_terms(Tier.STARTER)
    world.tables.counters[world.customer_id, NOVEMBER] = counter  # as it was before
    document = world.usage_service.tier_document(world.customer_id)
    assert document["can_use_managed"] is True
    assert document["session_limit"] == 1_000
    assert (
        world.usage_service.usage_document(world.customer_id)["current_period"]["sessions_used"]
        == 1
    )


@pytest.mark.parametrize("tier", list(Tier))
def test_tier_info_tells_what_the_tier_allows(tier: Tier) -> None:
    world = on(tier)
    document = world.usage_service.tier_document(world.customer_id)
    assert document["tier"] == document["current_tier"] == tier.value
    assert document["can_use_managed"] is (tier is not Tier.FREE)
    assert document["byok"] == ("required" if tier is Tier.FREE else "optional")


def test_an_audit_of_a_right_count_reports_no_drift() -> None:
    world = World(model=ScriptedModel(ModelError("boom")))
    world.subscribe(Tier.STARTER)
    with pytest.raises(ModelError):
        world.send("failed")
    world.send("one")
    world.admit("running")
    audit = world.usage_service.audit(world.customer_id, None)
    assert (audit.period, audit.counted, audit.records) == (NOVEMBER, 2, 3)
    assert (audit.released, audit.held, audit.expected, audit.drift) == (1, 1, 2, 0)


@pytest.mark.parametrize("wrong", [-1, 1, 7])
def test_an_audit_finds_a_counter_that_is_wrong(wrong: int) -> None:
    world = on(Tier.STARTER)
    world.send()
    counter = world.counter()
    assert counter is not None
    world.tables.counters[world.customer_id, NOVEMBER] = replace(
        counter, sessions_used=counter.sessions_used + wrong
    )
    assert world.usage_service.audit(world.customer_id, NOVEMBER).drift == wrong


def test_an_audit_sets_the_rollups_beside_the_records() -> None:
    world = on(Tier.STARTER)
    world.send("one")
    world.send("two", managed=False)
    world.admit("running")
    before = world.usage_service.audit(world.customer_id, None)
    assert (before.rolled_up, before.missing, before.drifting_days) == (0, 2, ())
    assert not before.in_order
    world.roll_up()
    after = world.usage_service.audit(world.customer_id, None)
    assert (after.rolled_up, after.missing, after.drifting_days) == (2, 0, ())
    assert after.in_order


def test_an_audit_names_the_days_of_which_the_rollups_say_something_else() -> None:
    world = on(Tier.STARTER)
    world.send("one")
    world.roll_up()
    record = next(iter(world.tables.records.values()))
    (route,) = record.rolled_up
    world.tables.records[record.session_id] = replace(record, rolled_up={route: Talk(1, 1, 1)})
    audit = world.usage_service.audit(world.customer_id, None)
    assert (audit.drift, audit.missing) == (0, 0)
    assert audit.drifting_days == (world.clock.now().date(),)
    assert not audit.in_order


def test_an_audit_of_a_past_period_looks_at_its_own_records() -> None:
    world = on(Tier.STARTER, clock=FixedClock(at("2026-11-30T23:59:00")))
    world.send()
    world.clock.move_to(at("2026-12-02T00:00:00"))
    world.send()
    world.send("another")
    past = world.usage_service.audit(world.customer_id, NOVEMBER)
    present = world.usage_service.audit(world.customer_id, None)
    assert (past.counted, past.drift) == (1, 0)
    assert (present.counted, present.drift) == (2, 0)


def test_an_audit_of_a_period_without_sessions_counts_nothing() -> None:
    audit = on(Tier.STARTER).usage_service.audit("cus_1", DECEMBER)
    assert (audit.counted, audit.records, audit.drift) == (0, 0, 0)


def test_usage_of_nobody_is_not_found() -> None:
    world = World()
    for read in (
        world.usage_service.usage_document,
        world.usage_service.tier_document,
        lambda customer_id: world.usage_service.audit(customer_id, None),
    ):
        with pytest.raises(NotFoundError):
            read("cus_none")


def test_the_audit_takes_a_start_between_its_reads_for_no_drift() -> None:
    world = on(Tier.STARTER)
    world.send("before")

    class Busy:
        """Sessions that go on while they are counted, once."""

        started = False

        def records(self, customer_id: str, period: Period) -> Iterator[SessionRecord]:
            if not self.started:
                self.started = True
                world.send("meanwhile")
            return world.sessions.records(customer_id, period)

        def __getattr__(self, name: str) -> Any:
            return getattr(world.sessions, name)

    busy = UsageService(
        cast(SessionStore, Busy()), world.usage, world.rollups, world.accounts, world.clock
    )
    audit = busy.audit(world.customer_id, NOVEMBER)
    assert (audit.counted, audit.records, audit.drift) == (2, 2, 0)
