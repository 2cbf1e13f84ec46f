"""The stream of the sessions table: what is answered is rolled up, once, and failures are named."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from flowstack_core.adapters.dynamodb_codec import string
from flowstack_core.adapters.dynamodb_sessions import put_head
from flowstack_core.adapters.dynamodb_talk import encode_route, encode_talk
from flowstack_core.domain.rollups import Talk
from flowstack_core.domain.sessions import Session
from flowstack_core.events.rollup_stream import grown_sessions
from flowstack_core.services.ports.failures import StoreContentionError
from flowstack_core.services.rollups import RollupService
from tests.support.batch_events import stream_record
from tests.support.fakes import retrier
from tests.support.faulty import Unreachable
from tests.support.http_events import LambdaContext
from tests.support.in_memory_rollups import InMemoryRollupStore
from tests.unit.services.test_rollups import MANAGED, OWN, YEARS, Rolling, answered, begun


def _image(session: Session) -> dict[str, Any]:
    item: dict[str, Any] = put_head("sessions", session)["Put"]["Item"]
    for route, talk in session.said.items():
        item |= encode_talk(route, talk)
    if session.opened_by is not None:
        item["opened_by"] = string(encode_route(session.opened_by))
        item["processed_at"] = item["started_at"]
    return item


def _record(session: Session, number: int = 1, before: Session | None = None) -> dict[str, Any]:
    old = None if before is None else _image(before)
    return stream_record(number, "MODIFY", before=old, after=_image(session))


class Stream:
    """The rollups function over stores in memory."""

    def __init__(self) -> None:
        self.rolling = Rolling()
        self.store: Any = self.rolling.store
        self._handler = grown_sessions(
            lambda: RollupService(self.store, lambda customer_id: None, retrier())
        )

    def deliver(self, *records: dict[str, Any]) -> list[str]:
        """Deliver a batch; return the sequence numbers reported as failed."""
        # So little time is left that nothing is tried twice.
        answer = self._handler({"Records": list(records)}, LambdaContext(seconds=4.0))
        return [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]

    def session(self, name: str, *ways: Any, customer_id: str = "cus_1") -> Session:
        session = begun(name, customer_id)
        self.rolling.start(session)
        return answered(session, *ways) if ways else session

    @property
    def sessions(self) -> int:
        return sum(total.sessions for total in self.store.days("cus_1", *YEARS))


@pytest.fixture
def stream() -> Stream:
    """One."""
    return Stream()


def test_what_was_answered_is_rolled_up_once_however_often_it_is_told(stream: Stream) -> None:
    first = stream.session("a", MANAGED)
    second = answered(first, OWN)
    records = [_record(first, 1, begun("a")), _record(second, 2, first)]
    for _ in range(2):
        assert stream.deliver(*records, *reversed(records)) == []
    (total,) = stream.store.days("cus_1", *YEARS)
    assert (total.sessions, total.managed, total.byok) == (1, Talk(1, 1, 2), Talk(1, 1, 2))


def test_changes_without_an_answer_ask_nothing(stream: Stream) -> None:
    held = stream.session("held")
    session = stream.session("a", MANAGED)
    joined = replace(session, in_flight={"att_1": session.started_at})
    turn = _record(session, 3)
    turn["dynamodb"]["Keys"]["sk"] = string("TURN#x")
    deleted = _record(session, 4)
    del deleted["dynamodb"]["NewImage"]
    stream.store = Unreachable().wrap(stream.rolling.store)
    assert stream.deliver(_record(held, 1), _record(joined, 2, session), turn, deleted) == []


def test_a_session_that_replaces_another_is_not_taken_for_it(stream: Stream) -> None:
    first = stream.session("a", MANAGED)
    second = replace(stream.session("b", MANAGED), conversation=first.conversation)
    assert stream.deliver(_record(first, 1), _record(second, 2, first)) == []
    assert stream.sessions == 2


def test_a_record_that_cannot_be_read_is_reported_and_stops_no_other(stream: Stream) -> None:
    bad = _record(stream.session("bad", MANAGED), 1)
    del bad["dynamodb"]["NewImage"]["session_id"]
    assert stream.deliver(bad, _record(stream.session("a", MANAGED), 2)) == ["1"]
    assert stream.sessions == 1


def test_every_record_of_a_session_that_fails_is_reported_and_no_other(stream: Stream) -> None:
    class OneIsStuck(InMemoryRollupStore):
        def add(self, growths: Any) -> bool:
            if growths[0].session.conversation.customer_id == "cus_2":
                raise StoreContentionError("throttled")
            return super().add(growths)

    stuck = stream.session("b", MANAGED, customer_id="cus_2")
    records = [
        _record(stuck, 1),
        _record(stream.session("a", MANAGED), 2),
        _record(answered(stuck, OWN), 3, stuck),
    ]
    stream.store = OneIsStuck(stream.rolling.tables)
    assert stream.deliver(*records) == ["1", "3"]
    assert stream.sessions == 1
    stream.store = stream.rolling.store
    assert stream.deliver(*records) == []
    assert [total.talk.messages for total in stream.store.days("cus_2", *YEARS)] == [2]
