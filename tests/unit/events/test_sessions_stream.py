"""The stream of the sessions table: what expiry deletes while held is released, once."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from flowstack_core.adapters.dynamodb_sessions import put_head
from flowstack_core.domain.sessions import Session
from flowstack_core.events.sessions_stream import deleted_sessions
from flowstack_core.services.expiry import ExpiryService
from flowstack_core.services.ports.failures import StoreContentionError
from tests.support.batch_events import stream_record
from tests.support.fakes import NOON, World
from tests.support.http_events import LambdaContext
from tests.support.metric_lines import dimensions_of, measured


def _image(session: Session) -> dict[str, Any]:
    item: dict[str, Any] = put_head("sessions", session)["Put"]["Item"]
    if session.processed_at is not None:
        item["processed_at"] = item["started_at"]
    return item


def _record(session: Session, number: int = 1, event: str = "REMOVE") -> dict[str, Any]:
    return stream_record(number, event, before=_image(session))


class Stream:
    """The expiry function over a world in memory."""

    def __init__(self) -> None:
        self.world = World()
        self.world.subscribe()
        self.service = ExpiryService(self.world.sessions, self.world.clock)
        self.failing: set[str] = set()
        self._handler = deleted_sessions(self._deleted)

    def _deleted(self, session: Session) -> bool:
        if session.session_id in self.failing:
            raise StoreContentionError("throttled")
        return self.service.session_deleted(session)

    def crash(self, conversation_id: str) -> Session:
        """Leave a session behind that a killed function started."""
        session = self.world.admit(conversation_id).session
        del self.world.tables.heads[session.conversation]
        return session

    def deliver(self, *records: dict[str, Any]) -> list[str]:
        """Deliver a batch; return the sequence numbers reported as failed."""
        answer = self._handler({"Records": list(records)}, LambdaContext())
        return [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]


@pytest.fixture
def stream() -> Stream:
    """One."""
    return Stream()


def test_s5_a_session_that_expired_unprocessed_is_released(stream: Stream) -> None:
    session = stream.crash("a")
    assert stream.world.used() == 1
    assert stream.deliver(_record(session)) == []
    assert (stream.world.used(), stream.world.drift()) == (0, 0)


def test_s5_redelivered_and_bulk_records_release_once(stream: Stream) -> None:
    sessions = [stream.crash(name) for name in "abc"]
    records = [_record(session, number) for number, session in enumerate(sessions, 1)]
    stream.deliver(*records, *records)
    stream.deliver(*records)
    assert (stream.world.used(), stream.world.drift()) == (0, 0)


def test_s5_a_processed_session_stays_counted(stream: Stream) -> None:
    stream.world.send("a")
    session = stream.world.session("a")
    assert session is not None
    stream.deliver(_record(replace(session, in_flight={})))
    assert stream.world.used() == 1


def test_s5_a_session_released_at_once_is_not_released_again(stream: Stream) -> None:
    stream.world.send("kept")
    ticket = stream.world.admit("a")
    stream.world.admission.withdraw(ticket, stream.world.clock, stream.world.budget)
    stream.deliver(_record(ticket.session))
    assert (stream.world.used(), stream.world.drift()) == (1, 0)


def test_other_changes_are_not_its_business(stream: Stream) -> None:
    session = stream.crash("a")
    turn = _record(session)
    turn["dynamodb"]["Keys"]["sk"] = {"S": "TURN#x"}
    stream.deliver(_record(session, event="MODIFY"), _record(session, event="INSERT"), turn)
    assert stream.world.used() == 1


def test_a_record_that_fails_is_reported_and_stops_no_other(stream: Stream) -> None:
    first, second = stream.crash("a"), stream.crash("b")
    stream.failing = {first.session_id}
    assert stream.deliver(_record(first, 1), _record(second, 2)) == ["1"]
    assert stream.world.used() == 1
    stream.failing = set()
    assert stream.deliver(_record(first, 1), _record(second, 2)) == []
    assert stream.world.used() == 0


def test_s4_a_release_after_the_month_end_goes_to_the_month_of_the_start(stream: Stream) -> None:
    session = stream.crash("a")
    stream.world.clock.move_to(NOON + timedelta(days=30))
    stream.deliver(_record(session))
    assert stream.world.used(session.period) == 0


def test_sessions_that_are_released_are_counted(
    stream: Stream, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = stream.crash("a"), stream.crash("b")
    stream.deliver(_record(first, 1), _record(second, 2))
    expiry = dimensions_of(service="expiry", stage="undefined")
    assert measured(capsys.readouterr().out.splitlines()) == {("SessionsReleased", expiry): [2.0]}
    stream.deliver(_record(first, event="MODIFY"))
    assert measured(capsys.readouterr().out.splitlines()) == {}
