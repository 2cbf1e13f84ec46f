"""The schedules and queues of the month end: messages in, work done, failures one by one."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from aws_lambda_powertools.utilities.batch.exceptions import BatchProcessingError

from flowstack_core.adapters.sqs_month_end import encode_page, encode_step
from flowstack_core.domain.month_end import ClosePage
from flowstack_core.domain.plans import Tier
from flowstack_core.domain.subscriptions import Subscription, Terms
from flowstack_core.events.month_end import ENSURE, UnknownEventError, closes, month_end
from flowstack_core.services.month_end import ATTEMPTS
from flowstack_core.services.ports.accounts import Customer
from tests.support.batch_events import queue_record
from tests.support.fakes import NOON, NOVEMBER, World, at
from tests.support.http_events import LambdaContext
from tests.support.metric_lines import dimensions_of, measured


def _messages(*bodies: str, delivery: int = 1) -> dict[str, Any]:
    """Return the event of an SQS queue; messages are numbered from 1."""
    return {
        "Records": [
            queue_record(str(number), body, received=delivery)
            for number, body in enumerate(bodies, 1)
        ]
    }


def _metrics(capsys: pytest.CaptureFixture[str]) -> dict[str, int]:
    """Return the sums of the metrics that were written to the log."""
    service = dimensions_of(service="month-end", stage="undefined")
    return {
        name: int(sum(values))
        for (name, dimensions), values in measured(capsys.readouterr().out.splitlines()).items()
        if dimensions == service
    }


class MonthEndFunctions:
    """The month end's functions over a world in memory, on the 1st of December."""

    def __init__(self, customers: int = 3) -> None:
        self.world = World()
        self.ids = tuple(f"cus_{number}" for number in range(1, customers + 1))
        for customer_id in self.ids:
            self.world.tables.customers[customer_id] = Customer(customer_id, "Ada", NOON)
            self.world.tables.subscriptions[customer_id] = Subscription(
                customer_id, Terms.of(Tier.STARTER)
            )
        self.world.clock.move_to(at("2026-12-01T00:00:00"))
        self._month_end = month_end(lambda: self.world.month_end)
        self._closes = closes(lambda: self.world.close_worker)

    def tell(self, event: dict[str, Any]) -> Any:
        """Invoke the month end's function."""
        return self._month_end(event, LambdaContext())

    def do_steps(self, *bodies: str) -> list[str]:
        """Deliver messages of the steps' queue; return the ids reported as failed."""
        return _failed(self._month_end(_messages(*bodies), LambdaContext()))

    def close(self, *bodies: str, delivery: int = 1) -> list[str]:
        """Deliver messages of the closes' queue; return the ids reported as failed."""
        return _failed(self._closes(_messages(*bodies, delivery=delivery), LambdaContext()))

    def page(self, *customer_ids: str) -> str:
        """Return the message of a page."""
        return encode_page(ClosePage(NOVEMBER, 0, customer_ids))


def _failed(answer: dict[str, Any]) -> list[str]:
    return [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]


@pytest.fixture
def functions() -> MonthEndFunctions:
    """Three customers whose November has ended."""
    return MonthEndFunctions()


# --- schedules and steps -------------------------------------------------------------------


def test_the_schedule_starts_the_month_that_has_just_ended(functions: MonthEndFunctions) -> None:
    functions.tell(ENSURE)
    assert list(functions.world.queue.steps) == [(NOVEMBER, 0)]


def test_a_step_lists_the_customers_and_hands_them_on(functions: MonthEndFunctions) -> None:
    functions.tell(ENSURE)
    assert functions.do_steps(encode_step(NOVEMBER, 0)) == []
    assert list(functions.world.queue.pages) == [ClosePage(NOVEMBER, 0, functions.ids)]


def test_a_malformed_step_fails_and_stops_no_other(functions: MonthEndFunctions) -> None:
    functions.tell(ENSURE)
    assert functions.do_steps("{}", encode_step(NOVEMBER, 0)) == ["1"]
    assert functions.world.queue.pages


def test_a_batch_of_which_nothing_could_be_done_is_an_error(functions: MonthEndFunctions) -> None:
    with pytest.raises(BatchProcessingError):
        functions.do_steps(encode_step(NOVEMBER, 7))


@pytest.mark.parametrize(
    "event", [{}, {"task": "ensured"}, {"task": "ensure", "period": "2026-11"}, {"detail": {}}]
)
def test_an_event_that_is_neither_is_refused(
    event: dict[str, Any], functions: MonthEndFunctions, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UnknownEventError):
        functions.tell(event)
    assert not functions.world.queue.steps
    assert _metrics(capsys) == {}


# --- what the alarms watch -----------------------------------------------------------------


def test_the_gauges_are_zero_when_everything_is_closed(
    functions: MonthEndFunctions, capsys: pytest.CaptureFixture[str]
) -> None:
    functions.tell(ENSURE)
    assert _metrics(capsys) == {"MonthEndOpen": 0, "MonthEndFailed": 0}
    functions.world.clock.advance(hours=6)
    functions.world.close_month()
    functions.tell(ENSURE)
    assert _metrics(capsys) == {"MonthEndOpen": 0, "MonthEndFailed": 0}
    functions.tell(ENSURE)
    assert _metrics(capsys) == {"MonthEndOpen": 0, "MonthEndFailed": 0}


def test_the_gauges_tell_who_is_open_and_who_failed(
    functions: MonthEndFunctions, capsys: pytest.CaptureFixture[str]
) -> None:
    functions.tell(ENSURE)
    functions.do_steps(encode_step(NOVEMBER, 0))
    del functions.world.tables.customers["cus_2"]
    functions.close(functions.page("cus_2"), delivery=ATTEMPTS)
    capsys.readouterr()
    functions.tell(ENSURE)
    assert _metrics(capsys) == {"MonthEndOpen": 2, "MonthEndFailed": 1}


def test_the_gauges_are_sums_over_all_runs(
    functions: MonthEndFunctions, capsys: pytest.CaptureFixture[str]
) -> None:
    for month in (1, 2):
        functions.tell(ENSURE)
        functions.do_steps(encode_step(NOVEMBER if month == 1 else NOVEMBER.next(), 0))
        functions.world.clock.advance(days=31)
    capsys.readouterr()
    functions.tell(ENSURE)
    assert _metrics(capsys) == {"MonthEndOpen": 6, "MonthEndFailed": 0}


# --- pages ---------------------------------------------------------------------------------


def test_a_page_is_closed_and_counted(
    functions: MonthEndFunctions, capsys: pytest.CaptureFixture[str]
) -> None:
    assert functions.close(functions.page("cus_1", "cus_2"), functions.page("cus_3")) == []
    assert {who for who, _ in functions.world.tables.statements} == set(functions.ids)
    assert _metrics(capsys) == {"PeriodsClosed": 3, "ClosesGivenUp": 0}


def test_a_page_that_is_delivered_twice_is_closed_once(functions: MonthEndFunctions) -> None:
    page = functions.page(*functions.ids)
    functions.close(page, page)
    before = dict(functions.world.tables.statements)
    functions.world.clock.advance(hours=1)
    functions.close(page, delivery=2)
    assert functions.world.tables.statements == before


def test_a_page_with_a_failure_is_delivered_again_and_stops_no_other(
    functions: MonthEndFunctions,
) -> None:
    failing = functions.page("cus_none", "cus_1")
    assert functions.close(failing, functions.page("cus_2")) == ["1"]
    assert {who for who, _ in functions.world.tables.statements} == {"cus_1", "cus_2"}


def test_the_queue_says_how_often_a_page_was_delivered(
    functions: MonthEndFunctions, capsys: pytest.CaptureFixture[str]
) -> None:
    assert functions.close(functions.page("cus_none"), delivery=ATTEMPTS) == []
    ((page, reason),) = functions.world.queue.dead
    assert page.customer_ids == ("cus_none",)
    assert reason == "There is no such customer."
    assert _metrics(capsys) == {"PeriodsClosed": 0, "ClosesGivenUp": 1}


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{}",
        "null",
        '{"period": "2026-11", "page": 0, "customers": "cus_1"}',
        '{"period": "November", "page": 0, "customers": ["cus_1"]}',
    ],
)
def test_a_malformed_page_fails_by_itself(body: str, functions: MonthEndFunctions) -> None:
    assert functions.close(body, functions.page("cus_1")) == ["1"]
    assert {who for who, _ in functions.world.tables.statements} == {"cus_1"}


def test_what_was_closed_is_counted_also_when_the_rest_fails(
    functions: MonthEndFunctions, capsys: pytest.CaptureFixture[str]
) -> None:
    functions.close(functions.page("cus_1"), functions.page("cus_none"))
    assert _metrics(capsys)["PeriodsClosed"] == 1


def test_a_customer_whose_clock_is_behind_is_left_open(functions: MonthEndFunctions) -> None:
    functions.world.tables.offsets["cus_1"] = timedelta(days=-1).total_seconds()
    assert functions.close(functions.page(*functions.ids)) == []
    assert {who for who, _ in functions.world.tables.statements} == {"cus_2", "cus_3"}
