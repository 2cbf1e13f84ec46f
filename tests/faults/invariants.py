"""What must be true of the streams of every life, once all of them were delivered."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from typing import Any

from flowstack_core.adapters.dynamodb_rollups import DynamoDBRollupStore
from flowstack_core.adapters.dynamodb_sessions import decode_session
from flowstack_core.adapters.dynamodb_usage import decode_usage
from flowstack_core.domain.alerts import Alert, AlertSettings, reaches
from flowstack_core.domain.own_limits import BudgetAlert
from flowstack_core.domain.periods import Period
from flowstack_core.domain.rollups import DaySlice, merged
from flowstack_core.domain.sessions import Session
from flowstack_core.domain.statements import Statement
from tests.faults.streams import Streams, of_answers, of_counts, of_news
from tests.support.in_memory_alerts import Channels

ALWAYS = (date(2020, 1, 1), date(2040, 1, 1))


def check_rollups(
    streams: Streams, rollups: DynamoDBRollupStore, customer_id: str, billed: set[str]
) -> None:
    """Rollups: the days add up to the sessions that are billed, however they were told."""
    latest: dict[str, Session] = {}
    for record in filter(of_answers, streams.records):
        session = decode_session(record["dynamodb"]["NewImage"])
        known = latest.get(session.session_id)
        if known is None or session.talk.messages >= known.talk.messages:
            latest[session.session_id] = session
    assert billed <= latest.keys(), "S5: billed without an answer"
    parts = (part for name in sorted(billed) for part in _slices(latest[name]))
    found = list(rollups.slices(customer_id, *ALWAYS))
    assert sorted(found, key=repr) == sorted(merged(parts), key=repr), "the days do not add up"


def _slices(session: Session) -> Iterator[DaySlice]:
    for route, talk in session.said.items():
        opened = int(route == session.opened_by)
        agent = session.conversation.agent
        yield DaySlice(session.started_at.date(), agent, route, opened, talk)


def check_alerts(streams: Streams, kept: Sequence[Alert], channels: Channels) -> None:
    """A1, A2: one alert for each threshold that any count reached; everybody heard of each."""
    reached: set[tuple[Period, int]] = set()
    for record in filter(of_counts, streams.records):
        count = decode_usage(record["dynamodb"]["NewImage"])
        if count.closed_at is None:
            reached |= {
                (count.period, threshold)
                for threshold in AlertSettings().thresholds
                if reaches(threshold, count.sessions_used, count.session_limit)
            }
    assert {(alert.period, alert.threshold) for alert in kept} == reached, "A1"
    alerts = {alert.alert_id: alert for alert in kept}
    for channel in ("bus", "topic"):
        heard = [one for one in channels.heard_by(channel) if isinstance(one, Alert)]
        assert all(alerts[alert.alert_id] == alert for alert in heard), "A2: told otherwise"
        assert {alert.alert_id for alert in heard} == alerts.keys(), f"A2: the {channel} missed one"
    mailed = {one.alert_id for one, _ in channels.heard_by("email") if isinstance(one, Alert)}
    assert mailed == alerts.keys(), "A2: a mail is missing"


def check_news(streams: Streams, channels: Channels) -> None:
    """A2: each piece of news was told under one id, and never in two wordings."""
    told: dict[str, Any] = {}
    for event in channels.heard_by("webhook"):
        assert told.setdefault(event.event_id, event) == event, "one id, two events"
    assert len(told) == sum(map(of_news, streams.records)), "the webhook missed something"
    on_the_bus = {_name(one) for one in channels.heard_by("bus")}
    assert len(on_the_bus) == len(told), "the bus missed something"


def _name(news: Alert | BudgetAlert | Statement) -> str:
    match news:
        case Alert():
            return news.alert_id
        case BudgetAlert():
            return news.event_id
        case _:
            return news.statement_id


def check_ceilings(records: Iterable[Mapping[str, Any]]) -> None:
    """Ceilings: reached is told once a period, and nothing starts while a block stands."""
    told: list[str] = []
    for record in records:
        change = record["dynamodb"]
        sort_key = change["Keys"]["sk"]["S"]
        if sort_key.startswith("BUDGET#") and record["eventName"] == "INSERT":
            told.append(sort_key)
        if of_counts(record) and "budget_block" in change["OldImage"]:
            before, after = (decode_usage(change[image]) for image in ("OldImage", "NewImage"))
            assert after.sessions_used <= before.sessions_used, "started beyond a ceiling"
    assert len(told) == len(set(told)), "a ceiling was told twice"
