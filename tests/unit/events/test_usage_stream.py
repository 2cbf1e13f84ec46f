"""The stream of the usage table: who is told of statements and alerts (A2), and of nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstack_core.adapters.dynamodb_alerts import encode_alert
from flowstack_core.adapters.dynamodb_closing import encode_statement
from flowstack_core.adapters.dynamodb_own_limits import tell_once
from flowstack_core.adapters.dynamodb_usage import counter_key
from flowstack_core.domain.alerts import Alert, AlertSettings
from flowstack_core.domain.own_limits import BudgetAlert, CeilingAction, CeilingReached
from flowstack_core.domain.statements import Statement
from flowstack_core.events.usage_stream import announcements
from flowstack_core.services.announcing import Announcer
from flowstack_core.services.ports.alerts import AlertStore
from tests.support.batch_events import stream_record
from tests.support.fakes import NOON, NOVEMBER, World, at
from tests.support.faulty import FunctionKilled, Killed
from tests.support.http_events import LambdaContext
from tests.support.in_memory import Tables
from tests.support.in_memory_alerts import Channels, InMemoryAlertStore

ALERT = Alert("cus_1", NOVEMBER, 75, NOON, 75, 100)
EVERYBODY = ["bus", "topic", "webhook", "email"]


def _record(image: dict[str, Any], number: int = 1, event: str = "INSERT") -> dict[str, Any]:
    return stream_record(number, event, after=image)


class Stream:
    """The announcements function before channels that can be broken."""

    def __init__(self, *, mail: bool = True) -> None:
        self.tables = Tables()
        self.store: AlertStore = InMemoryAlertStore(self.tables)
        self.channels = Channels()
        self._mail = self.channels.mail if mail else None
        self.tables.alert_settings["cus_1"] = AlertSettings(email="ada@example.com", version=1)

    def deliver(self, *records: dict[str, Any], faults: Killed | None = None) -> list[str]:
        """Deliver a batch; return the sequence numbers reported as failed."""
        channels: Any = self.channels if faults is None else faults.wrap(self.channels)
        store = self.store if faults is None else faults.wrap(self.store)
        outbox, mail = self.channels.outbox, self._mail
        if faults is not None:
            outbox, mail = faults.wrap(outbox), faults.wrap(mail)
        announcer = Announcer(store, channels, channels, outbox, mail)
        handler = announcements(lambda: announcer)
        # A record nobody cares for, as Powertools fails the call if all of a batch failed.
        other = _record({**encode_alert(ALERT), "sk": {"S": "ADJUSTMENTS"}}, 0)
        answer = handler({"Records": [other, *records]}, LambdaContext())
        return [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]

    def alert(self, alert: Alert = ALERT, number: int = 1) -> dict[str, Any]:
        """Keep an alert; return the record of it."""
        self.store.keep(alert)
        return _record(encode_alert(alert), number)

    @property
    def told(self) -> list[str]:
        """Who was told of anything, in order."""
        return [channel for channel, _ in self.channels.heard]


@pytest.fixture
def stream() -> Stream:
    """One."""
    return Stream()


@pytest.fixture
def statement() -> Statement:
    """The statement of a November with one session."""
    world = World()
    world.subscribe()
    world.send()
    world.clock.move_to(at("2026-12-01T06:00:00"))
    world.close_month()
    return world.tables.statements[world.customer_id, NOVEMBER]


# --- statements ----------------------------------------------------------------------------------


def test_a_new_statement_is_told_as_it_was_written(stream: Stream, statement: Statement) -> None:
    assert stream.deliver(_record(encode_statement(statement))) == []
    assert stream.channels.heard_by("bus") == [statement]
    (event,) = stream.channels.heard_by("webhook")
    assert (event.type, event.customer_id, event.at) == (
        *("statement.created", statement.customer_id),
        statement.closed_at,
    )
    assert event.event_id == f"evt_period_closed_{statement.statement_id}"
    assert event.data["statement"]["statement_id"] == statement.statement_id
    assert stream.told == ["bus", "webhook"]


def test_other_changes_are_not_its_business(stream: Stream, statement: Statement) -> None:
    image = encode_statement(statement)
    counter = {**image, **counter_key(statement.customer_id, NOVEMBER)}
    told = _record(encode_alert(ALERT), 3, event="MODIFY")
    gone = _record(encode_alert(ALERT), 4, event="REMOVE")
    del gone["dynamodb"]["NewImage"]
    records = [_record(image, event="MODIFY"), _record(counter, 2), told, gone]
    assert stream.deliver(*records) == []
    assert stream.told == []


def test_a_statement_that_the_bus_refuses_is_reported_and_stops_no_other(
    stream: Stream, statement: Statement
) -> None:
    other = replace(statement, customer_id="cus_2")
    records = [_record(encode_statement(statement), 1), _record(encode_statement(other), 2)]
    stream.channels.broken = {"bus"}
    assert stream.deliver(*records) == ["1", "2"]
    assert stream.told == ["webhook", "webhook"]
    stream.channels.broken = set()
    assert stream.deliver(*records) == []
    assert stream.channels.heard_by("bus") == [statement, other]
    # The outbox hears again, under the ids it has heard.
    ids = [event.event_id for event in stream.channels.heard_by("webhook")]
    assert ids[:2] == ids[2:]


def test_a_statement_that_cannot_be_read_fails_by_itself(
    stream: Stream, statement: Statement
) -> None:
    image = encode_statement(statement)
    broken = {name: value for name, value in image.items() if name != "tiers"}
    assert stream.deliver(_record(broken, 1), _record(image, 2)) == ["1"]
    assert stream.channels.heard_by("bus") == [statement]


# --- alerts --------------------------------------------------------------------------------------


def test_a2_everybody_is_told_of_an_alert_once(stream: Stream) -> None:
    record = stream.alert()
    assert stream.deliver(record) == []
    assert stream.told == EVERYBODY
    assert stream.channels.heard_by("bus") == stream.channels.heard_by("topic") == [ALERT]
    assert stream.channels.heard_by("email") == [(ALERT, "ada@example.com")]
    (event,) = stream.channels.heard_by("webhook")
    assert (event.event_id, event.type, event.at) == (
        *("evt_usage_alert_alr_1_2026-11_075", "usage.alert"),
        NOON,
    )
    assert event.data == {
        "period": "2026-11",
        "alert": {
            "id": "alr_1_2026-11_075",
            "threshold": 75,
            "at": "2026-11-15T12:00:00.000Z",
            "sessions_used": 75,
            "sessions_limit": 100,
        },
    }
    assert stream.deliver(record, stream.alert(number=2)) == []
    assert stream.told == EVERYBODY


@pytest.mark.parametrize("broken", EVERYBODY)
def test_a2_a_channel_that_fails_stops_no_other_and_is_told_later_alone(
    broken: str, stream: Stream
) -> None:
    record = stream.alert()
    stream.channels.broken = {broken}
    for _ in range(3):
        assert stream.deliver(record) == ["1"]
    others = [channel for channel in EVERYBODY if channel != broken]
    assert stream.told == others
    stream.channels.broken = set()
    assert stream.deliver(record) == []
    assert stream.told == [*others, broken]


@pytest.mark.parametrize("applied", [False, True])
@pytest.mark.parametrize("survived", range(10))
def test_a2_a_function_killed_at_any_call_tells_everybody_and_one_channel_twice_at_most(
    survived: int, applied: bool, stream: Stream
) -> None:
    record = stream.alert()
    with pytest.raises(FunctionKilled):
        stream.deliver(record, faults=Killed(survived, applied=applied))
    assert stream.deliver(record) == []
    assert set(stream.told) == set(EVERYBODY)
    assert len(stream.told) <= len(EVERYBODY) + 1


def test_a2_what_is_not_configured_is_not_called() -> None:
    stream = Stream(mail=False)
    assert stream.deliver(stream.alert(), _ceiling()) == []
    assert stream.told == ["bus", "topic", "webhook", "bus", "webhook"]


def test_a2_who_gave_no_address_gets_no_mail(stream: Stream) -> None:
    other = replace(ALERT, customer_id="cus_2")
    assert stream.deliver(stream.alert(other)) == []
    assert stream.told == ["bus", "topic", "webhook"]


def test_a2_of_an_alert_that_was_erased_nobody_is_told(stream: Stream) -> None:
    assert stream.deliver(_record(encode_alert(ALERT))) == []
    assert stream.told == []


# --- ceilings ------------------------------------------------------------------------------------


REACHED = CeilingReached(NOON, 5000, 5012, CeilingAction.BLOCK)
CEILING = BudgetAlert("cus_1", NOVEMBER, REACHED)


def _ceiling(alert: BudgetAlert = CEILING, number: int = 9) -> dict[str, Any]:
    request = tell_once("usage", alert.customer_id, alert.period, alert.reached)["Update"]
    values = request["ExpressionAttributeValues"]
    return _record(
        {
            **request["Key"],
            "customer_id": values[":customer"],
            "period": values[":period"],
            "reached": values[":reached"],
        },
        number,
    )


def test_a_reached_ceiling_is_told_the_bus_the_webhook_and_by_mail(stream: Stream) -> None:
    assert stream.deliver(_ceiling()) == []
    assert stream.told == ["bus", "webhook", "email"]
    assert stream.channels.heard_by("bus") == [CEILING]
    assert stream.channels.heard_by("email") == [(CEILING, "ada@example.com")]
    (event,) = stream.channels.heard_by("webhook")
    assert (event.event_id, event.type, event.at) == (
        *("evt_budget_reached_cus_1_2026-11", "budget.reached"),
        NOON,
    )
    assert event.data == {
        "period": "2026-11",
        "budget": {
            "at": "2026-11-15T12:00:00.000Z",
            "monthly_ceiling": 50.0,
            "spent": 50.12,
            "action": "block",
        },
    }


@pytest.mark.parametrize("broken", ["bus", "webhook", "email"])
def test_a_ceiling_is_mailed_once_whatever_else_fails(broken: str, stream: Stream) -> None:
    stream.channels.broken = {broken}
    assert stream.deliver(_ceiling()) == ["9"]
    stream.channels.broken = set()
    assert stream.deliver(_ceiling()) == []
    assert stream.told.count("email") == 1
    assert {"bus", "webhook"} <= set(stream.told)


def test_a_customer_without_an_address_gets_no_mail_about_its_ceiling(stream: Stream) -> None:
    assert stream.deliver(_ceiling(replace(CEILING, customer_id="cus_2"))) == []
    assert stream.told == ["bus", "webhook"]


def _rounds() -> st.SearchStrategy[list[set[str]]]:
    return st.lists(st.sets(st.sampled_from(EVERYBODY)), max_size=6)


@given(_rounds())
def test_a2_without_a_kill_each_channel_is_told_exactly_once_however_often_others_fail(
    rounds: list[set[str]],
) -> None:
    stream = Stream()
    record = stream.alert()
    for broken in _then_whole(rounds):
        stream.channels.broken = broken
        stream.deliver(record)
    assert sorted(stream.told) == sorted(EVERYBODY)


def _then_whole(rounds: list[set[str]]) -> Iterator[set[str]]:
    yield from rounds
    yield set()
