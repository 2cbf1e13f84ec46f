"""Alerts on the deployed stack: from sessions over HTTPS to the bus and the operators' topic."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.integration.conftest import Customer, Stack, at_once, wait_until
from tests.support.batch_events import stream_record

LIMIT = 20
REACHED = {75: 15, 90: 18, 95: 19}
"""Of 20 sessions: which count reaches which threshold."""


@dataclass
class Listener:
    """A queue of the test's own behind the bus or the topic."""

    sqs: Any
    url: str
    read: Callable[[dict[str, Any]], dict[str, Any]]
    heard: list[dict[str, Any]] = field(default_factory=list)

    def about(self, customer: Customer) -> list[dict[str, Any]]:
        """Return what was heard about a customer so far, as the lowest threshold first."""
        while messages := self.sqs.receive_message(QueueUrl=self.url, MaxNumberOfMessages=10).get(
            "Messages", []
        ):
            for message in messages:
                self.heard.append(self.read(json.loads(message["Body"])))
                self.sqs.delete_message(QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"])
        mine = [event for event in self.heard if event["customer_id"] == customer.customer_id]
        return sorted(mine, key=lambda event: event["alert"]["threshold"])


class Emulator:
    """What the test does behind the back of the API."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.sqs, self.sns, self.bus = (
            self.stack.client("sqs"),
            self.stack.client("sns"),
            self.stack.client("events"),
        )
        self.dynamodb, self.lambdas = self.stack.client("dynamodb"), self.stack.client("lambda")

    def _queue(self, name: str) -> tuple[str, str]:
        url = self.sqs.create_queue(QueueName=name)["QueueUrl"]
        found = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        return url, found["Attributes"]["QueueArn"]

    def behind_the_bus(self) -> Listener:
        """Listen to alerts on the bus."""
        url, arn = self._queue("hears-of-alerts-by-the-bus")
        pattern = {"source": ["flowstack.billing"], "detail-type": ["UsageAlert"]}
        where = {"EventBusName": "FlowStack-local"}
        self.bus.put_rule(Name="alerts", EventPattern=json.dumps(pattern), **where)
        self.bus.put_targets(Rule="alerts", Targets=[{"Id": "queue", "Arn": arn}], **where)
        return Listener(self.sqs, url, lambda body: body["detail"])

    def behind_the_topic(self) -> Listener:
        """Listen to the operators' topic."""
        url, arn = self._queue("hears-of-alerts-by-the-topic")
        topics = [topic["TopicArn"] for topic in self.sns.list_topics()["Topics"]]
        (topic,) = (each for each in topics if each.endswith(":FlowStack-local-alerts"))
        self.sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
        return Listener(self.sqs, url, lambda body: json.loads(body["Message"]))

    def items(self, customer: Customer) -> list[dict[str, Any]]:
        """Return what stands in the table of usage about a customer, by sort key."""
        found: list[dict[str, Any]] = self.dynamodb.query(
            TableName=self.stack.connection.tables["usage"],
            KeyConditionExpression="pk = :customer",
            ExpressionAttributeValues={":customer": {"S": f"CUSTOMER#{customer.customer_id}"}},
        )["Items"]
        return found

    def replay(self, function: str, event: str, images: list[dict[str, Any]]) -> None:
        """Give a function records of the usage stream again, all in one batch."""
        records = [stream_record(number, event, after=image) for number, image in enumerate(images)]
        answer = self.lambdas.invoke(
            FunctionName=self.stack.connection.functions[function],
            Qualifier="live",
            Payload=json.dumps({"Records": records}),
        )
        assert json.loads(answer["Payload"].read()) == {"batchItemFailures": []}


@pytest.fixture
def emulator(stack: Stack) -> Emulator:
    return Emulator(stack)


def alerts_of(customer: Customer) -> dict[str, Any]:
    response = customer.http.get("/alerts")
    assert response.status_code == 200, response.text
    document: dict[str, Any] = response.json()
    return document


def test_a1_a2_sessions_past_each_threshold_are_told_once_to_everybody(
    stack: Stack, emulator: Emulator
) -> None:
    bus, topic = emulator.behind_the_bus(), emulator.behind_the_topic()
    customer = stack.customer(session_limit=LIMIT)
    assert alerts_of(customer)["alerts"] == []
    for number in range(14):
        assert customer.invoke(f"calm-{number}").status_code == 200
    # The rest at once: thresholds are passed in whatever batches the stream makes of it.
    answers = at_once(8, lambda number: customer.invoke(f"rush-{number}"))
    assert sorted(answer.status_code for answer in answers) == [200] * 6 + [429] * 2

    wait_until(lambda: len(alerts_of(customer)["alerts"]) == len(REACHED), seconds=60)
    shown = alerts_of(customer)
    assert shown["thresholds"] == sorted(REACHED)
    alerts = shown["alerts"]
    assert {alert["threshold"]: alert["sessions_used"] for alert in alerts} == REACHED
    assert {alert["sessions_limit"] for alert in alerts} == {LIMIT}
    wait_until(lambda: len(bus.about(customer)) == len(topic.about(customer)) == 3, seconds=60)
    for listener in (bus, topic):
        assert [event["alert"] for event in listener.about(customer)] == alerts
        ids = [event["event_id"] for event in listener.about(customer)]
        assert ids == [f"evt_usage_alert_{alert['id']}" for alert in alerts]
    assert "75 % of the sessions" in topic.about(customer)[0]["summary"]
    seen = stack.admin.get(f"/admin/customers/{customer.customer_id}/alerts")
    # A webhook is its customer's affair: its URL may be as good as a password.
    del shown["webhook"]
    assert seen == {"customer_id": customer.customer_id, **shown}

    # The stream comes again: each count in any order, and each alert as it was written.
    wait_until(lambda: all("told" in item for item in kept(emulator, customer)), seconds=30)
    before = emulator.items(customer)
    (counter,) = (item for item in before if item["sk"]["S"].startswith("PERIOD#"))
    counts = [{**counter, "sessions_used": {"N": str(used)}} for used in (20, 15, 18, 19, 1)]
    emulator.replay("thresholds", "MODIFY", counts)
    emulator.replay("announcements", "INSERT", kept(emulator, customer))
    assert emulator.items(customer) == before
    assert alerts_of(customer) == {**shown, "webhook": None}
    assert len(bus.about(customer)) == len(topic.about(customer)) == 3


def kept(emulator: Emulator, customer: Customer) -> list[dict[str, Any]]:
    """Return the alerts as they are kept."""
    found = [item for item in emulator.items(customer) if item["sk"]["S"].startswith("ALERT#")]
    return found if len(found) == len(REACHED) else [{}]


def test_a1_thresholds_of_ones_own_hold_for_the_next_count_and_the_next_period_begins_anew(
    stack: Stack,
) -> None:
    customer = stack.customer(session_limit=4)
    for number in range(2):
        assert customer.invoke(str(number)).status_code == 200
    changed = customer.http.put("/alerts", json={"thresholds": [100, 50], "email": None})
    assert (changed.status_code, changed.json()["thresholds"]) == (200, [50, 100])
    assert customer.invoke("third").status_code == 200
    wait_until(lambda: bool(alerts_of(customer)["alerts"]), seconds=60)
    (alert,) = alerts_of(customer)["alerts"]
    # The change of the count to 2 may come through the stream after the thresholds have changed.
    assert alert["threshold"] == 50
    assert alert["sessions_used"] in {2, 3}

    resets_at = customer.usage()["current_period"]["end"]
    stack.set_clock(customer, resets_at)
    assert alerts_of(customer)["alerts"] == []
    for number in range(2):
        assert customer.invoke(f"next-{number}").status_code == 200
    wait_until(lambda: bool(alerts_of(customer)["alerts"]), seconds=60)
    (anew,) = alerts_of(customer)["alerts"]
    assert (anew["threshold"], anew["sessions_used"]) == (50, 2)
    # By the customer's clock, which stands in the period that it is about.
    assert anew["at"] >= resets_at
    assert anew["id"] != alert["id"]


def test_a_threshold_that_cannot_be_is_refused_over_https(stack: Stack) -> None:
    customer = stack.customer()
    refused = customer.http.put("/alerts", json={"thresholds": [0]})
    assert refused.status_code == 400
    document = refused.json()
    assert (document["error_code"], document["details"]["field"]) == (
        *("INVALID_REQUEST", "thresholds"),
    )
    assert alerts_of(customer)["thresholds"] == [75, 90, 95]
