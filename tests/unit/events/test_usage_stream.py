"""The stream of the usage table tells the bus of statements, and of nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from flowstack_core.adapters.dynamodb_closing import encode_statement
from flowstack_core.adapters.dynamodb_usage import counter_key
from flowstack_core.domain.statements import Statement
from flowstack_core.events.usage_stream import written_statements
from tests.support.fakes import NOVEMBER, World, at
from tests.support.http_events import LambdaContext


def _record(image: dict[str, Any], number: int = 1, event: str = "INSERT") -> dict[str, Any]:
    return {
        "eventID": str(number),
        "eventName": event,
        "eventSource": "aws:dynamodb",
        "dynamodb": {
            "SequenceNumber": str(number),
            "Keys": {"pk": image["pk"], "sk": image["sk"]},
            "NewImage": image,
        },
    }


class Stream:
    """The statements function before a bus that can refuse."""

    def __init__(self) -> None:
        self.told: list[Statement] = []
        self.refused: set[str] = set()
        self._handler = written_statements(self._written)

    def _written(self, statement: Statement) -> None:
        if statement.customer_id in self.refused:
            raise RuntimeError("the bus did not take it")
        self.told.append(statement)

    def deliver(self, *records: dict[str, Any]) -> list[str]:
        """Deliver a batch; return the sequence numbers reported as failed."""
        answer = self._handler({"Records": list(records)}, LambdaContext())
        return [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]


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


def test_a_new_statement_is_told_as_it_was_written(stream: Stream, statement: Statement) -> None:
    assert stream.deliver(_record(encode_statement(statement))) == []
    assert stream.told == [statement]


def test_other_changes_are_not_its_business(stream: Stream, statement: Statement) -> None:
    image = encode_statement(statement)
    counter = {**image, **counter_key(statement.customer_id, NOVEMBER)}
    assert stream.deliver(_record(image, event="MODIFY"), _record(counter, 2)) == []
    assert stream.told == []


def test_a_statement_that_the_bus_refuses_is_reported_and_stops_no_other(
    stream: Stream, statement: Statement
) -> None:
    other = replace(statement, customer_id="cus_2")
    records = [_record(encode_statement(statement), 1), _record(encode_statement(other), 2)]
    stream.refused = {statement.customer_id}
    assert stream.deliver(*records) == ["1"]
    assert stream.told == [other]
    stream.refused = set()
    assert stream.deliver(*records) == []
    assert stream.told == [other, statement, other]


def test_a_statement_that_cannot_be_read_fails_by_itself(
    stream: Stream, statement: Statement
) -> None:
    image = encode_statement(statement)
    broken = {name: value for name, value in image.items() if name != "tiers"}
    assert stream.deliver(_record(broken, 1), _record(image, 2)) == ["1"]
    assert stream.told == [statement]
