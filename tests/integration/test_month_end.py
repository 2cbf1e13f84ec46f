"""The month end of many customers on the deployed stack: from the schedule's call to the bus."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest

from flowstack_core.adapters.dynamodb_accounts import DynamoDBAccountStore
from flowstack_core.adapters.dynamodb_usage import encode_usage
from flowstack_core.adapters.sqs_month_end import encode_page, encode_step
from flowstack_core.domain.api_keys import RANDOM_BYTES, KeyRecord, mint_key
from flowstack_core.domain.month_end import CUSTOMERS_PER_PAGE, ClosePage
from flowstack_core.domain.periods import Period
from flowstack_core.domain.plans import Tier
from flowstack_core.domain.quota import PeriodUsage
from flowstack_core.domain.subscriptions import Subscription, Terms
from flowstack_core.services.ports.accounts import AuditRecord
from flowstack_core.services.ports.accounts import Customer as Account
from tests.integration.conftest import Stack, wait_until

CUSTOMERS = 2 * CUSTOMERS_PER_PAGE + 10
LAST = Period.containing(datetime.now(UTC)).previous()

_numbers = count(1)


@dataclass
class MonthEnd:
    """The parts of the stack that a month end goes through, and a queue that hears the bus."""

    stack: Stack
    heard: str = ""
    events: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.sqs, self.bus = self.stack.client("sqs"), self.stack.client("events")
        self.lambdas, self.dynamodb = self.stack.client("lambda"), self.stack.client("dynamodb")
        self.steps = self.url("steps")
        self.closes = self.url("closes")
        self.dead_letters = self.url("closes-dead-letters")
        self._subscribe()

    def url(self, name: str) -> str:
        """Return the address of one of the stage's queues."""
        found: str = self.sqs.get_queue_url(QueueName=f"FlowStack-local-{name}")["QueueUrl"]
        return found

    def _subscribe(self) -> None:
        name = "hears-of-closed-periods"
        self.heard = self.sqs.create_queue(QueueName=name)["QueueUrl"]
        attributes = self.sqs.get_queue_attributes(QueueUrl=self.heard, AttributeNames=["QueueArn"])
        pattern = {"source": ["flowstack.billing"], "detail-type": ["PeriodClosed"]}
        bus = "FlowStack-local"
        self.bus.put_rule(Name=name, EventBusName=bus, EventPattern=json.dumps(pattern))
        target = {"Id": "queue", "Arn": attributes["Attributes"]["QueueArn"]}
        self.bus.put_targets(Rule=name, EventBusName=bus, Targets=[target])

    def ensure(self) -> None:
        """Call the function as its schedules do."""
        answer = self.lambdas.invoke(
            FunctionName=self.stack.connection.functions["month_end"],
            Qualifier="live",
            Payload=json.dumps({"task": "ensure"}),
        )
        assert "FunctionError" not in answer, answer["Payload"].read()

    def forget(self, period: Period = LAST) -> None:
        """Have a month end begin anew, whoever began it before there was anybody to close."""
        usage = self.stack.connection.tables["usage"]
        keys = [{"pk": {"S": "MONTH_ENDS"}, "sk": {"S": period.name}}]
        pages = self.dynamodb.query(
            TableName=usage,
            KeyConditionExpression="pk = :pk",
            ExpressionAttributeValues={":pk": {"S": f"MONTH_END#{period.name}"}},
        )
        keys += [{"pk": page["pk"], "sk": page["sk"]} for page in pages["Items"]]
        for key in keys:
            self.dynamodb.delete_item(TableName=usage, Key=key)

    def progress(self, period: Period = LAST) -> dict[str, Any]:
        """See how far a month end is, as operators do."""
        found: dict[str, Any] = self.stack.admin.get(f"/admin/month-ends/{period}")["month_end"]
        return found

    def statements(self, customer_id: str) -> list[dict[str, Any]]:
        """Read a customer's statements, as operators do."""
        answer = self.stack.admin.get(f"/admin/customers/{customer_id}/statements")
        found: list[dict[str, Any]] = answer["statements"]
        return found

    def listen(self, customer_ids: Iterable[str]) -> list[dict[str, Any]]:
        """Return what the bus told about customers so far."""
        while messages := self.sqs.receive_message(QueueUrl=self.heard, MaxNumberOfMessages=10).get(
            "Messages", []
        ):
            for message in messages:
                self.events.append(json.loads(message["Body"])["detail"])
                self.sqs.delete_message(QueueUrl=self.heard, ReceiptHandle=message["ReceiptHandle"])
        return [event for event in self.events if event["customer_id"] in customer_ids]

    def idle(self) -> bool:
        """Whether no step and no page is waiting or at work."""
        return all(self._waiting(queue) == 0 for queue in (self.steps, self.closes))

    def _waiting(self, queue: str) -> int:
        attributes = self.sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])
        return sum(
            int(attributes["Attributes"][f"ApproximateNumberOfMessages{kind}"])
            for kind in ("", "NotVisible", "Delayed")
        )

    def older_customer(self, sessions: int, customer_id: str | None = None) -> str:
        """Add a customer who came in the last month, and the sessions it had there."""
        tables = self.stack.connection.tables
        store = DynamoDBAccountStore(self.dynamodb, tables["accounts"], tables["usage"])
        came = LAST.start + timedelta(days=3)
        customer_id = customer_id or f"cus_older{next(_numbers):04d}"
        subscription = Subscription(customer_id, Terms.of(Tier.STARTER))
        key = mint_key(customer_id.encode().zfill(RANDOM_BYTES))
        record = KeyRecord(
            key_id=f"key_{customer_id}",
            customer_id=customer_id,
            name="first key",
            digest=key.digest,
            masked=key.masked,
            created_at=came,
        )
        audit = AuditRecord(customer_id, f"create:{customer_id}", came, "test", "create", None, {})
        account = Account(customer_id, "Older", came)
        assert store.create_customer(account, subscription, record, audit)
        counter = replace(PeriodUsage.opened(subscription, LAST), sessions_used=sessions)
        self.dynamodb.put_item(TableName=tables["usage"], Item=encode_usage(counter))
        return customer_id


@pytest.fixture
def month_end(stack: Stack) -> MonthEnd:
    """The month end, with a queue of the test's own on the bus."""
    return MonthEnd(stack)


def test_the_schedule_closes_everybody_once_and_tells_the_bus(month_end: MonthEnd) -> None:
    sessions = {month_end.older_customer(number % 4): number % 4 for number in range(CUSTOMERS)}
    month_end.forget()
    month_end.ensure()
    wait_until(lambda: month_end.progress()["done"], seconds=60)
    reached = month_end.progress()
    assert reached["closed"] == reached["customers"] >= CUSTOMERS
    assert (reached["open"], reached["failed"]) == (0, 0)
    wait_until(lambda: len(month_end.listen(sessions)) == CUSTOMERS, seconds=60)

    written = {customer_id: month_end.statements(customer_id) for customer_id in sessions}
    for customer_id, (statement,) in written.items():
        assert statement["period"] == LAST.name
        assert statement["sessions_used"] == sessions[customer_id]
        assert statement["total_cents"] == 2_900
    told = {event["customer_id"]: event["statement"] for event in month_end.listen(sessions)}
    assert told.keys() == written.keys()
    for customer_id, (statement,) in written.items():
        assert told[customer_id]["statement_id"] == statement["statement_id"]
        assert told[customer_id]["sessions_used"] == statement["sessions_used"]

    # Everything again, as at-least-once queues and schedules may: nothing comes of it.
    month_end.ensure()
    assert month_end.progress()["finished_at"] is not None
    everybody = sorted(sessions)
    for number, first in enumerate(range(0, CUSTOMERS, CUSTOMERS_PER_PAGE)):
        page = ClosePage(LAST, number, tuple(everybody[first : first + CUSTOMERS_PER_PAGE]))
        for _ in range(2):
            month_end.sqs.send_message(QueueUrl=month_end.closes, MessageBody=encode_page(page))
    month_end.sqs.send_message(QueueUrl=month_end.steps, MessageBody=encode_step(LAST, 0))
    wait_until(month_end.idle, seconds=60)
    assert month_end.progress() == {**reached, "finished_at": month_end.progress()["finished_at"]}
    assert {who: month_end.statements(who) for who in sessions} == written
    assert len(month_end.listen(sessions)) == CUSTOMERS


def test_a_month_of_test_clocks_is_closed_when_operators_say_so(month_end: MonthEnd) -> None:
    stack = month_end.stack
    present = LAST.next()
    ahead, behind = stack.customer(), stack.customer()
    assert ahead.invoke().status_code == 200
    stack.set_clock(ahead, present.end.isoformat())
    started = stack.admin.post(f"/admin/month-ends/{present}", {})["month_end"]
    assert started["period"] == present.name
    wait_until(lambda: month_end.progress(present)["listed"] and month_end.idle(), seconds=60)
    (statement,) = month_end.statements(ahead.customer_id)
    assert (statement["period"], statement["sessions_used"]) == (present.name, 1)
    assert month_end.statements(behind.customer_id) == []
    reached = month_end.progress(present)
    assert not reached["done"]
    assert reached["closed"] + reached["open"] + reached["failed"] == reached["customers"]


# --- what fails ----------------------------------------------------------------------------


@pytest.fixture
def hasty(month_end: MonthEnd) -> Iterator[MonthEnd]:
    """The month end, whose pages are delivered again at once and not after minutes."""

    def wait(seconds: str) -> None:
        month_end.sqs.set_queue_attributes(
            QueueUrl=month_end.closes, Attributes={"VisibilityTimeout": seconds}
        )

    attributes = month_end.sqs.get_queue_attributes(
        QueueUrl=month_end.closes, AttributeNames=["VisibilityTimeout"]
    )
    wait("1")
    yield month_end
    wait(attributes["Attributes"]["VisibilityTimeout"])


def _letters(month_end: MonthEnd) -> Callable[[], bool]:
    def there() -> bool:
        attributes = month_end.sqs.get_queue_attributes(
            QueueUrl=month_end.dead_letters, AttributeNames=["ApproximateNumberOfMessages"]
        )
        return int(attributes["Attributes"]["ApproximateNumberOfMessages"]) > 0

    return there


def test_a_customer_that_cannot_be_closed_is_given_up_and_redriven(hasty: MonthEnd) -> None:
    known = hasty.older_customer(2)
    unknown = f"cus_later{next(_numbers):04d}"
    page = ClosePage(LAST, 90_000_000, (unknown, known))
    hasty.sqs.send_message(QueueUrl=hasty.closes, MessageBody=encode_page(page))
    wait_until(_letters(hasty), seconds=90)
    # A page that is seen again so soon may be given up twice, at the same time.
    letter, *_ = hasty.sqs.receive_message(
        QueueUrl=hasty.dead_letters, MessageAttributeNames=["Reason"], VisibilityTimeout=0
    )["Messages"]
    assert json.loads(letter["Body"])["customers"] == [unknown]
    assert letter["MessageAttributes"]["Reason"]["StringValue"] == "There is no such customer."
    assert len(hasty.statements(known)) == 1

    hasty.older_customer(3, unknown)
    assert hasty.stack.admin.post("/admin/month-ends/redrive", {})["redriven"] > 0
    wait_until(lambda: len(hasty.statements(unknown)) == 1, seconds=60)
    wait_until(hasty.idle, seconds=60)
    assert hasty.stack.admin.post("/admin/month-ends/redrive", {}) == {"redriven": 0}


def test_a_malformed_page_becomes_a_dead_letter_by_itself(hasty: MonthEnd) -> None:
    hasty.sqs.send_message(QueueUrl=hasty.closes, MessageBody='{"not": "a page"}')
    wait_until(_letters(hasty), seconds=90)
    letters = hasty.sqs.receive_message(QueueUrl=hasty.dead_letters)["Messages"]
    assert {letter["Body"] for letter in letters} == {'{"not": "a page"}'}
    for letter in letters:
        hasty.sqs.delete_message(QueueUrl=hasty.dead_letters, ReceiptHandle=letter["ReceiptHandle"])
