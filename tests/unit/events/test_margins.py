"""The schedule and the queue of the daily report of margins: steps, metrics, lines in the log."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from aws_lambda_powertools.utilities.batch.exceptions import BatchProcessingError

from flowstack_core.adapters.sqs_margins import decode_step, encode_step
from flowstack_core.adapters.sqs_month_end import MalformedMessageError
from flowstack_core.domain.margin import MarginRun
from flowstack_core.domain.plans import Tier
from flowstack_core.domain.rollups import DaySlice, Route, Talk
from flowstack_core.events.margins import margins
from flowstack_core.events.month_end import ENSURE, UnknownEventError
from tests.support.batch_events import queue_record
from tests.support.fakes import NOON, NOVEMBER, World, at
from tests.support.http_events import LambdaContext
from tests.unit.services.test_margins import DOLLAR_10, TODAY, add

NEW = Route(managed=True, provider="bedrock", model="claude-of-next-year")


class MarginsFunction:
    """The function over a world in memory."""

    def __init__(self) -> None:
        self.world = World()
        self._handler = margins(lambda: self.world.margin_reporter)

    def tell(self, event: dict[str, Any]) -> Any:
        return self._handler(event, LambdaContext())

    def deliver(self, *bodies: str) -> Any:
        records = [queue_record(str(number), body) for number, body in enumerate(bodies, 1)]
        return self.tell({"Records": records})

    def run(self) -> None:
        """Do all that the schedule begins."""
        self.tell(dict(ENSURE))
        steps = self.world.margin_queue.steps
        while steps:
            period, day, step = steps.popleft()
            message = {"period": period.name, "day": day.isoformat(), "step": step}
            assert self.deliver(json.dumps(message)) == {"batchItemFailures": []}


def written(capsys: pytest.CaptureFixture[str]) -> Iterator[dict[str, Any]]:
    for line in capsys.readouterr().out.splitlines():
        yield json.loads(line)


@pytest.fixture
def function() -> MarginsFunction:
    """A function whose customers are of three kinds: cheap, dear, and on a new model."""
    function = MarginsFunction()
    world = function.world
    add(world, "cus_cheap", talk=DOLLAR_10)
    add(world, "cus_dear", Tier.PROFESSIONAL, talk=Talk(9, 10_000_000, 10_000_000))
    add(world, "cus_new", talk=DOLLAR_10)
    world.rollups.given("cus_new", DaySlice(TODAY, "agent", NEW, 1, Talk(1, 30, 12)))
    add(world, "cus_idle", Tier.FREE)
    return function


def test_f2_cost_and_revenue_are_measured_by_tier_and_by_nothing_else(
    function: MarginsFunction, capsys: pytest.CaptureFixture[str]
) -> None:
    function.run()
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    for blob in written(capsys):
        if "_aws" in blob:
            (directive,) = blob["_aws"]["CloudWatchMetrics"]
            (dimensions,) = directive["Dimensions"]
            assert directive["Namespace"] == "FlowStack"
            assert "cus_" not in json.dumps(blob)
            names = [metric["Name"] for metric in directive["Metrics"]]
            place = tuple(blob[dimension] for dimension in sorted(dimensions))
            found[place] = {name: blob[name] for name in names}
    assert found == {
        ("margins", "undefined", "free"): {"ManagedCost": [0.0], "Revenue": [0.0]},
        ("margins", "undefined", "starter"): {"ManagedCost": [20.000002], "Revenue": [58.0]},
        ("margins", "undefined", "professional"): {"ManagedCost": [66.0], "Revenue": [99.0]},
        ("margins", "undefined"): {"CustomersOverCostShare": [1.0], "UnpricedTokens": [42.0]},
    }


def test_f2_who_costs_more_than_the_set_share_has_a_line_in_the_log(
    function: MarginsFunction, caplog: pytest.LogCaptureFixture
) -> None:
    function.run()
    (line,) = (vars(record) for record in caplog.records if record.levelname == "WARNING")
    assert (line["costly_customer_id"], line["period"]) == ("cus_dear", "2026-11")
    assert (line["tier"], line["revenue_cents"]) == ("professional", 9_900)
    assert line["managed_cost"] == "66.0000"


def test_a_period_that_is_over_moves_no_metric_of_the_present_one(
    function: MarginsFunction, capsys: pytest.CaptureFixture[str]
) -> None:
    function.world.clock.move_to(at("2026-12-01T07:00:00"))
    function.run()
    (present,) = (each for each in written(capsys) if "CustomersOverCostShare" in each)
    assert present["CustomersOverCostShare"] == [0.0]
    assert function.world.margin_reports.report(NOVEMBER) is not None


def test_a_message_survives_the_queue() -> None:
    run = MarginRun(NOVEMBER, TODAY, 50, NOON, step=3)
    assert decode_step(encode_step(run)) == (NOVEMBER, TODAY, 3)


@pytest.mark.parametrize(
    "body",
    [
        "no json",
        "[]",
        "{}",
        '{"period": "2026-13", "day": "2026-11-15", "step": 0}',
        '{"period": "2026-11", "day": "today", "step": 0}',
        '{"period": "2026-11", "day": "2026-11-15", "step": null}',
    ],
)
def test_a_message_that_is_none_of_ours_fails(body: str) -> None:
    with pytest.raises(MalformedMessageError):
        decode_step(body)
    with pytest.raises(BatchProcessingError):
        MarginsFunction().deliver(body)


def test_an_event_that_nobody_sends_is_refused() -> None:
    with pytest.raises(UnknownEventError):
        MarginsFunction().tell({"task": "something else"})
