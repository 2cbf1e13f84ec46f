"""The usage history: whole spans, zeros where nothing was, parts for those whose plan has them."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest

from flowstack_core.domain.errors import (
    InvalidRequestError,
    NotFoundError,
    QueryTooLargeError,
    TierLimitationError,
)
from flowstack_core.domain.history import MOST_NAMES, MOST_SPANS, Dimension, Granularity, spans
from flowstack_core.domain.plans import Tier
from flowstack_core.domain.rollups import DaySlice, Route, Talk
from flowstack_core.services import history as history_module
from flowstack_core.services.history import HistoryQuery, HistoryService
from tests.support.fakes import FixedClock, World, at
from tests.support.in_memory_rollups import InMemoryRollupReader

MANAGED = Route(managed=True, provider="bedrock", model="nova-lite")
OWN = Route(managed=False, provider="openai", model="gpt-4o")
OWN_BEDROCK = Route(managed=False, provider="bedrock", model="nova-lite")
NOW = at("2026-11-24T20:23:00")
DAY = date(2026, 11, 24)
FAR = date(2100, 12, 31)


class Past:
    """A customer with a past, in the evening of 24 November 2026, a Tuesday."""

    def __init__(self, tier: Tier = Tier.PROFESSIONAL, now: str = "2026-11-24T20:23:00") -> None:
        self.world = World(clock=FixedClock(at(now)))
        self.world.subscribe(tier)
        self.reader = InMemoryRollupReader()
        self.service = HistoryService(self.reader, self.world.accounts, self.world.clock)

    def add(
        self,
        day: date,
        route: Route = MANAGED,
        sessions: int = 1,
        agent: str = "a",
        messages: int = 2,
    ) -> None:
        talk = Talk(messages, 10 * messages, 5 * messages)
        self.reader.add("cus_1", DaySlice(day, agent, route, sessions, talk))

    def ask(self, **query: Any) -> dict[str, Any]:
        return self.service.own_document("cus_1", HistoryQuery(**query))


@pytest.fixture
def past() -> Past:
    """One without any usage."""
    return Past()


def test_by_default_it_is_each_day_of_the_period_so_far(past: Past) -> None:
    past.add(date(2026, 10, 31))
    past.add(date(2026, 11, 3), sessions=2)
    past.add(date(2026, 11, 3), OWN, messages=3)
    past.add(DAY, OWN)
    document = past.ask()
    assert (document["from"], document["to"], document["granularity"]) == (
        "2026-11-01",
        "2026-11-24",
        "daily",
    )
    assert document["as_of"] == "2026-11-24T20:23:00.000Z"
    assert len(document["series"]) == 24
    assert document["series"][2] == {
        "start": "2026-11-03",
        "end": "2026-11-04",
        "sessions": 3,
        "managed_sessions": 2,
        "byok_sessions": 1,
        "messages": 5,
        "managed_messages": 2,
        "byok_messages": 3,
        "input_tokens": 50,
        "output_tokens": 25,
        "complete": True,
    }
    assert document["totals"]["sessions"] == 4
    assert document["totals"]["messages"] == 7


def test_a_day_without_usage_is_there_with_zeros(past: Past) -> None:
    (point,) = past.ask(first=DAY, last=DAY)["series"]
    sums = {name: value for name, value in point.items() if isinstance(value, int)}
    assert len(sums) == 9
    assert set(sums.values()) == {0}


@pytest.mark.parametrize(
    ("granularity", "first", "last", "starts"),
    [
        (Granularity.DAILY, date(2026, 11, 23), DAY, ["2026-11-23", "2026-11-24"]),
        (Granularity.WEEKLY, date(2026, 11, 22), DAY, ["2026-11-16", "2026-11-23"]),
        (Granularity.WEEKLY, date(2025, 12, 31), date(2026, 1, 1), ["2025-12-29"]),
        (Granularity.MONTHLY, date(2026, 2, 28), date(2026, 3, 1), ["2026-02-01", "2026-03-01"]),
    ],
)
def test_weeks_begin_on_mondays_and_months_with_the_period_and_both_are_whole(
    past: Past, granularity: Granularity, first: date, last: date, starts: list[str]
) -> None:
    past.add(date.fromisoformat(starts[0]))
    document = past.ask(granularity=granularity, first=first, last=last)
    assert [point["start"] for point in document["series"]] == starts
    ends = [point["end"] for point in document["series"]]
    assert ends[:-1] == starts[1:]
    assert document["series"][0]["sessions"] == 1
    assert document["from"] == starts[0]
    assert document["to"] == str(date.fromisoformat(ends[-1]) - timedelta(days=1))


def test_a_span_is_complete_when_nothing_can_start_in_it_any_more() -> None:
    before = Past(now="2026-11-22T23:59:59.999")
    after = Past(now="2026-11-23T00:00:00")
    week = {
        "granularity": Granularity.WEEKLY,
        "first": date(2026, 11, 16),
        "last": date(2026, 11, 16),
    }
    assert not before.ask(**week)["series"][0]["complete"]
    assert after.ask(**week)["series"][0]["complete"]


def test_the_days_are_those_of_the_customers_clock() -> None:
    document = Past(now="2027-03-02T00:00:00").ask()
    assert [point["start"] for point in document["series"]] == ["2027-03-01", "2027-03-02"]


def test_the_rest_of_the_period_can_be_asked_for_and_is_not_complete(past: Past) -> None:
    document = past.ask(first=DAY, last=date(2026, 11, 30))
    assert [point["complete"] for point in document["series"]] == [False] * 7


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"first": DAY, "last": DAY - timedelta(days=1)}, "from"),
        ({"first": date(2026, 11, 25)}, "from"),
        ({"last": date(2026, 12, 1)}, "to"),
        ({"last": date.max}, "to"),
    ],
)
def test_days_that_make_no_sense_are_refused(
    past: Past, query: dict[str, date], field: str
) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        past.ask(**query)
    assert refused.value.details["field"] == field


@pytest.mark.parametrize("granularity", list(Granularity))
def test_there_are_as_many_spans_as_there_may_be_and_no_more(granularity: Granularity) -> None:
    most = MOST_SPANS[granularity]
    first = date(2024, 1, 1)
    last = first
    for _ in range(most):
        last = granularity.following(last)
    assert len(spans(granularity, first, last - timedelta(days=1), latest=FAR)) == most
    with pytest.raises(InvalidRequestError, match=f"at most {most}"):
        spans(granularity, first, last, latest=FAR)
    with pytest.raises(InvalidRequestError):
        spans(granularity, date.min, last, latest=FAR)


@pytest.mark.parametrize("tier", [Tier.FREE, Tier.STARTER])
def test_p4_parts_are_for_professional_and_enterprise(tier: Tier) -> None:
    with pytest.raises(TierLimitationError, match=f"{tier} tier") as refused:
        Past(tier).ask(by=Dimension.AGENT)
    assert refused.value.details["tier"] == tier.value
    assert refused.value.details["feature"] == "usage breakdowns"
    assert Past(tier).ask()["series"]
    assert Past(Tier.ENTERPRISE).ask(by=Dimension.AGENT)["series"]


def test_p1_an_upgrade_opens_the_parts_at_once() -> None:
    past = Past(Tier.STARTER)
    past.world.set_terms(Tier.PROFESSIONAL)
    assert past.ask(by=Dimension.AGENT)["series"]


def test_an_operator_sees_the_parts_whatever_the_tier() -> None:
    past = Past(Tier.FREE)
    past.add(DAY)
    document = past.service.document("cus_1", HistoryQuery(by=Dimension.MODEL))
    assert document["series"][-1]["breakdown"][0]["name"] == "nova-lite"


@pytest.mark.parametrize(
    ("by", "names"),
    [
        (Dimension.AGENT, [("b", 3, 0), ("a", 1, 1)]),
        (Dimension.PROVIDER, [("bedrock", 4, 1), ("openai", 0, 0)]),
        (Dimension.MODEL, [("nova-lite", 4, 1), ("gpt-4o", 0, 0)]),
    ],
)
def test_parts_are_named_and_the_largest_comes_first(
    past: Past, by: Dimension, names: list[tuple[str, int, int]]
) -> None:
    past.add(DAY, MANAGED)
    past.add(DAY, OWN_BEDROCK)
    past.add(DAY, OWN, sessions=0)
    past.add(DAY, MANAGED, sessions=3, agent="b")
    point = past.ask(first=DAY, last=DAY, by=by)["series"][0]
    parts = point["breakdown"]
    assert [(p["name"], p["managed_sessions"], p["byok_sessions"]) for p in parts] == names
    for name in ("sessions", "messages", "input_tokens", "output_tokens"):
        assert sum(part[name] for part in parts) == point[name]


def test_the_smallest_of_many_parts_are_one_without_a_name(past: Past) -> None:
    for number in range(MOST_NAMES + 3):
        past.add(DAY, sessions=1 + (number < MOST_NAMES), agent=f"agent {number:02}")
    parts = past.ask(first=DAY, last=DAY, by=Dimension.AGENT)["series"][0]["breakdown"]
    assert [part["name"] for part in parts][-2:] == [f"agent {MOST_NAMES - 1}", None]
    assert parts[-1]["sessions"] == 3


def test_more_parts_than_one_request_has_time_for_are_refused(
    past: Past, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history_module, "MOST_SLICES", 2)
    for agent in "abc":
        past.add(DAY, agent=agent)
    with pytest.raises(QueryTooLargeError):
        past.ask(by=Dimension.AGENT)
    assert past.ask()["totals"]["sessions"] == 3


def test_nobody_has_no_parts() -> None:
    with pytest.raises(NotFoundError):
        Past().service.own_document("cus_none", HistoryQuery(by=Dimension.AGENT))
