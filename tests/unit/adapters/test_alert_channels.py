"""What the bus, the topic, the mail and the outbox are sent."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any, cast

import pytest

from flowstack_core.adapters.eventbridge import EventBridgePublisher, EventNotTakenError
from flowstack_core.adapters.ses_alerts import SesAlertMail
from flowstack_core.adapters.sns_alerts import SnsAlertTopic
from flowstack_core.domain.alerts import Alert
from flowstack_core.domain.own_limits import BudgetAlert, CeilingAction, CeilingReached
from tests.support.emulator import ROOT
from tests.support.fakes import NOON, NOVEMBER

ALERT = Alert("cus_1", NOVEMBER, 90, NOON, 900, 1_000)
EVENT = {
    "event_id": "evt_usage_alert_alr_1_2026-11_090",
    "customer_id": "cus_1",
    "period": "2026-11",
    "alert": {
        "id": "alr_1_2026-11_090",
        "threshold": 90,
        "at": "2026-11-15T12:00:00.000Z",
        "sessions_used": 900,
        "sessions_limit": 1000,
    },
}


class Client:
    """A client of AWS that remembers what it was asked, and answers as told."""

    def __init__(self, answer: Any = None) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.answer = answer

    def __getattr__(self, operation: str) -> Any:
        def call(**request: Any) -> Any:
            self.asked.append((operation, request))
            return self.answer

        return call

    @property
    def only(self) -> tuple[str, dict[str, Any]]:
        """The one thing that it was asked."""
        (asked,) = self.asked
        return asked


def test_the_bus_is_told_under_the_same_id_each_time() -> None:
    client = Client({"FailedEntryCount": 0, "Entries": [{"EventId": "1"}]})
    bus = EventBridgePublisher(cast("Any", client), "FlowStack-test")
    bus.usage_alert(ALERT)
    operation, request = client.only
    (entry,) = request["Entries"]
    assert operation == "put_events"
    assert (entry["EventBusName"], entry["Source"]) == ("FlowStack-test", "flowstack.billing")
    assert entry["DetailType"] == "UsageAlert"
    assert json.loads(entry["Detail"]) == EVENT


def test_what_the_bus_does_not_take_is_a_failure() -> None:
    client = Client({"FailedEntryCount": 1, "Entries": [{"ErrorCode": "ThrottlingException"}]})
    bus = EventBridgePublisher(cast("Any", client), "FlowStack-test")
    with pytest.raises(EventNotTakenError, match="ThrottlingException"):
        bus.usage_alert(ALERT)


def test_the_topic_is_told_for_people_and_for_programs() -> None:
    client = Client()
    SnsAlertTopic(cast("Any", client), "arn:topic").publish(ALERT)
    operation, request = client.only
    assert (operation, request["TopicArn"]) == ("publish", "arn:topic")
    assert request["Subject"] == "FlowStack: 90 % used by cus_1"
    summary = "90 % of the sessions of 2026-11 are used: 900 of 1,000."
    assert json.loads(request["Message"]) == {"summary": summary, **EVENT}
    attributes = {k: v["StringValue"] for k, v in request["MessageAttributes"].items()}
    assert attributes == {"event_id": EVENT["event_id"], "customer_id": "cus_1"}


def test_the_customer_is_sent_one_plain_mail() -> None:
    client = Client()
    SesAlertMail(cast("Any", client), "alerts@example.com").send(ALERT, "ada@example.org")
    operation, request = client.only
    assert (operation, request["FromEmailAddress"]) == ("send_email", "alerts@example.com")
    assert request["Destination"] == {"ToAddresses": ["ada@example.org"]}
    content = request["Content"]["Simple"]
    assert content["Subject"]["Data"] == "90 % of your sessions of 2026-11 are used"
    text = content["Body"]["Text"]["Data"]
    assert "900 of 1,000" in text
    assert "2026-12-01T00:00:00.000Z" in text
    assert content["Body"].keys() == {"Text"}


@pytest.mark.parametrize(
    ("action", "consequence"),
    [(CeilingAction.BLOCK, "No new session starts"), (CeilingAction.WARN, "Nothing is stopped")],
)
def test_the_mail_about_a_ceiling_says_what_follows(
    action: CeilingAction, consequence: str
) -> None:
    client = Client()
    alert = BudgetAlert("cus_1", NOVEMBER, CeilingReached(NOON, 5000, 5012, action))
    SesAlertMail(cast("Any", client), "alerts@example.com").send_budget(alert, "ada@example.org")
    operation, request = client.only
    assert (operation, request["FromEmailAddress"]) == ("send_email", "alerts@example.com")
    assert request["Destination"] == {"ToAddresses": ["ada@example.org"]}
    content = request["Content"]["Simple"]
    assert content["Subject"]["Data"] == "Your ceiling for 2026-11 is reached"
    text = content["Body"]["Text"]["Data"]
    assert "$50.12" in text
    assert "$50.00" in text
    assert consequence in text
    assert "evt_budget_reached_cus_1_2026-11" in text


def test_a_reached_ceiling_is_an_event_on_the_bus() -> None:
    client = Client(answer={"FailedEntryCount": 0})
    alert = BudgetAlert("cus_1", NOVEMBER, CeilingReached(NOON, 5000, 5012, CeilingAction.WARN))
    EventBridgePublisher(cast("Any", client), "the-bus").budget_reached(alert)
    _, request = client.only
    (entry,) = request["Entries"]
    assert (entry["DetailType"], entry["EventBusName"]) == ("BudgetReached", "the-bus")
    detail = json.loads(entry["Detail"])
    assert (detail["customer_id"], detail["budget"]["spent"]) == ("cus_1", 50.12)


_WIRED = """
import sys
sys.path[:0] = sys.argv[1:]
import handler
from flowstack_core import bootstrap

print(sorted(bootstrap.announcer()._channels))
"""


@pytest.mark.parametrize(
    ("configured", "channels"),
    [
        ({}, "['bus', 'topic', 'webhook']"),
        ({"ALERT_SENDER": "alerts@example.com"}, "['bus', 'email', 'topic', 'webhook']"),
    ],
)
def test_the_function_tells_the_channels_that_are_configured(
    configured: dict[str, str], channels: str
) -> None:
    finished = subprocess.run(
        [
            *(sys.executable, "-c", _WIRED),
            *(str(ROOT / "layers/core"), str(ROOT / "functions/announcements")),
        ],
        check=True,
        capture_output=True,
        text=True,
        env={
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "FLOWSTACK_STAGE": "prod",
            "WEBHOOKS_QUEUE_URL": "https://queue",
            **configured,
        },
    )
    assert finished.stdout.strip() == channels
