"""What rings when something is broken: deployed alarms, and what deployed functions wrote."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aws_cdk import Environment
from aws_cdk.assertions import Template

from stacks.application import Application
from stacks.sources import Sources
from tests.infrastructure.conftest import new_app
from tests.integration.conftest import Stack, at_once, wait_until
from tests.support.converse_server import Behaviour
from tests.support.emulator import ROOT
from tests.support.faulty_dynamodb import Faults
from tests.support.metric_lines import Measured, measured
from tests.support.metric_math import computed, statistic

PREFIX = "FlowStack-local-"


@dataclass
class Watch:
    """The alarms of the deployed stack, and the metrics written since it began to look."""

    stack: Stack
    began: int = field(default_factory=lambda: int(time.time() * 1000))

    def alarms(self) -> list[dict[str, Any]]:
        """Return all alarms as they were deployed."""
        pages = self.stack.client("cloudwatch").get_paginator("describe_alarms").paginate()
        return [
            alarm
            for page in pages
            for alarm in page["MetricAlarms"]
            if alarm["AlarmName"].startswith(PREFIX)
        ]

    def alarm(self, name: str) -> dict[str, Any]:
        """Return one of them."""
        (found,) = (each for each in self.alarms() if each["AlarmName"] == f"{PREFIX}{name}")
        return found

    def written(self, function: str = "conversation") -> Measured:
        """Return what a function wrote."""
        group = f"/aws/lambda/{self.stack.connection.functions[function]}"
        pages = self.stack.client("logs").get_paginator("filter_log_events")
        return measured(
            event["message"]
            for page in pages.paginate(logGroupName=group, startTime=self.began)
            for event in page["events"]
        )

    def values(self, alarm: dict[str, Any], function: str = "conversation") -> list[float]:
        """Return what was written of the very metric that an alarm looks at."""
        assert alarm["Namespace"] == "FlowStack"
        return self.written(function).get((alarm["MetricName"], _dimensions(alarm)), [])

    def rings(self, name: str) -> bool:
        """Whether what was written since reaches an alarm's threshold."""
        alarm = self.alarm(name)
        values = self.values(alarm)
        by = alarm.get("ExtendedStatistic") or alarm["Statistic"]
        assert alarm["ComparisonOperator"] == "GreaterThanOrEqualToThreshold"
        return bool(values) and statistic(by, values) >= alarm["Threshold"]


def _dimensions(watched: dict[str, Any]) -> frozenset[tuple[str, str]]:
    return frozenset((each["Name"], each["Value"]) for each in watched["Dimensions"])


@pytest.fixture
def watch(stack: Stack) -> Watch:
    return Watch(stack)


# --- what is broken, and which alarm rings ------------------------------------------------------


def the_model_is_down(stack: Stack) -> None:
    stack.bedrock.behave(Behaviour(fail="InternalServerException"))


def the_account_is_throttled(stack: Stack) -> None:
    stack.bedrock.behave(Behaviour(fail="ThrottlingException"))


def the_table_hangs(stack: Stack) -> None:
    hanging = Faults(
        rate=0.5, modes=("hang",), operations=frozenset({"UpdateItem"}), hang_seconds=1.2
    )
    stack.dynamodb.control(hanging)


BROKEN: list[tuple[str, Callable[[Stack], None], int]] = [
    ("ManagedModelFailures", the_model_is_down, 3),
    ("ManagedModelThrottles", the_account_is_throttled, 10),
    ("MessageOverhead", the_table_hangs, 4),
]


@pytest.mark.parametrize(("alarm", "break_it", "messages"), BROKEN)
def test_what_is_broken_rings(
    alarm: str, break_it: Callable[[Stack], None], messages: int, watch: Watch, stack: Stack
) -> None:
    customer = stack.customer()
    break_it(stack)
    for number in range(messages):
        customer.invoke(f"conversation-{number}")
    wait_until(lambda: watch.rings(alarm))


def test_what_works_does_not_ring(watch: Watch, stack: Stack) -> None:
    customer = stack.customer()
    customer.invoke("warm")
    watch.began = int(time.time() * 1000)
    for number in range(5):
        assert customer.invoke(f"conversation-{number}").status_code == 200
    failures, overhead = watch.alarm("ManagedModelFailures"), watch.alarm("MessageOverhead")
    wait_until(lambda: len(watch.values(failures)) >= 5)
    assert len(watch.values(overhead)) >= 5
    assert not any(watch.rings(name) for name, _, _ in BROKEN)


def test_a_customers_own_provider_that_fails_wakes_nobody(watch: Watch, stack: Stack) -> None:
    customer = stack.customer()
    own = {"aws_access_key": "AKIA0123456789ABCDEF", "aws_secret_key": "s" * 40}
    stack.bedrock.behave(Behaviour(fail="InternalServerException"))
    assert customer.invoke(byok_credentials=own).status_code == 502
    written = (
        "ModelFailures",
        frozenset({("service", "api"), ("stage", "local"), ("provider", "bedrock")}),
    )
    wait_until(lambda: watch.written().get(written) == [1.0])
    assert not watch.rings("ManagedModelFailures")


def test_a_customer_that_is_refused_time_and_again_rings(
    watch: Watch, stack: Stack, tmp_path: Path
) -> None:
    """The emulator has no metric math: the alarm is the one that production gets."""
    app = new_app(tmp_path, stage="prod")
    production = Template.from_stack(Application(app, Sources(ROOT), Environment()).monitoring)
    (alarm,) = (
        found["Properties"]
        for found in production.find_resources("AWS::CloudWatch::Alarm").values()
        if found["Properties"]["AlarmName"].endswith("-RefusedShare")
    )
    customer = stack.customer(session_limit=1)
    assert customer.invoke("first").status_code == 200
    refused = at_once(120, lambda number: customer.invoke(f"conversation-{number}"))
    assert {response.status_code for response in refused} == {429}

    def share() -> float:
        written, ids = watch.written(), {}
        for each in alarm["Metrics"]:
            if "MetricStat" in each:
                metric = each["MetricStat"]["Metric"]
                there = {
                    ("stage", "local") if name == "stage" else (name, value)
                    for name, value in _dimensions(metric)
                }
                values = written.get((metric["MetricName"], frozenset(there)))
                ids[each["Id"]] = None if values is None else sum(values)
        (expression,) = (each["Expression"] for each in alarm["Metrics"] if "Expression" in each)
        return computed(expression, ids)

    wait_until(lambda: share() >= alarm["Threshold"])


def test_the_reconciliation_writes_what_its_alarms_look_at(watch: Watch, stack: Stack) -> None:
    answer = watch.stack.client("lambda").invoke(
        FunctionName=stack.connection.functions["month_end"],
        Qualifier="live",
        Payload=json.dumps({"task": "ensure"}),
    )
    assert "FunctionError" not in answer, answer["Payload"].read()
    for name in ("MonthEndOpen", "MonthEndFailed"):
        alarm = watch.alarm(name)
        wait_until(lambda alarm=alarm: bool(watch.values(alarm, "month_end")))  # type: ignore[misc]


# --- queues and functions -----------------------------------------------------------------------


@pytest.fixture
def impatient(watch: Watch) -> Iterator[tuple[Any, str]]:
    """The queue of pages, delivering a message again after a second."""
    sqs = watch.stack.client("sqs")
    url = sqs.get_queue_url(QueueName=f"{PREFIX}closes")["QueueUrl"]
    before = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["VisibilityTimeout"])
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": "1"})
    yield sqs, url
    sqs.set_queue_attributes(QueueUrl=url, Attributes=before["Attributes"])


def test_a_poisoned_message_rings(watch: Watch, impatient: tuple[Any, str]) -> None:
    sqs, url = impatient
    alarm = watch.alarm("ClosesDeadLetters")
    assert alarm["MetricName"] == "ApproximateNumberOfMessagesVisible"
    watched = sqs.get_queue_url(QueueName=dict(_dimensions(alarm))["QueueName"])["QueueUrl"]

    def letters() -> int:
        found = sqs.get_queue_attributes(
            QueueUrl=watched, AttributeNames=["ApproximateNumberOfMessages"]
        )
        return int(found["Attributes"]["ApproximateNumberOfMessages"])

    sqs.send_message(QueueUrl=url, MessageBody='{"poison": "of a test"}')
    wait_until(lambda: letters() >= alarm["Threshold"], seconds=90)
    for letter in sqs.receive_message(QueueUrl=watched, MaxNumberOfMessages=10)["Messages"]:
        assert "poison" in letter["Body"]
        sqs.delete_message(QueueUrl=watched, ReceiptHandle=letter["ReceiptHandle"])


def test_alarms_look_at_queues_and_functions_that_were_deployed(watch: Watch) -> None:
    queues = watch.stack.client("sqs").list_queues(QueueNamePrefix=PREFIX)["QueueUrls"]
    functions = [
        function["FunctionName"]
        for page in watch.stack.client("lambda").get_paginator("list_functions").paginate()
        for function in page["Functions"]
        if function["FunctionName"].startswith(PREFIX)
    ]
    watched = [value for alarm in watch.alarms() for value in _dimensions(alarm)]
    assert {name for kind, name in watched if kind == "FunctionName"} == set(functions)
    assert {name for kind, name in watched if kind == "QueueName"} <= {
        url.rsplit("/", 1)[1] for url in queues
    }


def test_a_request_is_found_by_the_id_that_its_caller_was_given(watch: Watch, stack: Stack) -> None:
    customer = stack.customer(session_limit=0)
    refusal = customer.invoke().json()
    group = f"/aws/lambda/{stack.connection.functions['conversation']}"

    def lines() -> list[dict[str, Any]]:
        pages = watch.stack.client("logs").get_paginator("filter_log_events")
        messages = (
            event["message"]
            for page in pages.paginate(logGroupName=group, startTime=watch.began)
            for event in page["events"]
        )
        return [json.loads(one) for one in messages if refusal["request_id"] in one]

    wait_until(lambda: bool(lines()))
    (line,) = lines()
    assert (line["message"], line["error_code"]) == ("refused", "QUOTA_EXCEEDED")
    assert line["customer_id"] == customer.customer_id
