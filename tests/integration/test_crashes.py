"""What killed functions leave behind is not billed (S5), on the deployed stack."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from flowstack_core.adapters.dynamodb_sessions import DynamoDBSessionStore, head_key
from flowstack_core.domain.periods import Period
from flowstack_core.domain.sessions import Conversation
from flowstack_core.services.ports.sessions import Admitted, Attempt
from tests.integration.conftest import Customer, Stack, wait_until
from tests.support.emulator import dynamodb_client


def crashed_start(stack: Stack, customer: Customer, conversation_id: str) -> Conversation:
    """Write what a function writes that starts a session and is killed before it can answer."""
    tables = stack.connection.tables
    client = dynamodb_client(stack.connection.endpoint_url)
    store = DynamoDBSessionStore(client, tables["sessions"], tables["usage"])
    conversation = Conversation(customer.customer_id, "agent", conversation_id)
    now = datetime.now(UTC) - timedelta(minutes=1)
    attempt = Attempt(conversation, "att_killed", now, now + timedelta(seconds=34), managed=True)
    outcome = store.start_session(
        attempt, f"ses_{customer.customer_id}_{conversation_id}", Period.containing(now)
    )
    client.close()
    assert isinstance(outcome, Admitted)
    return conversation


def test_s5_a_session_that_expires_unprocessed_is_released_by_the_stream(stack: Stack) -> None:
    customer = stack.customer()
    customer.invoke("processed")
    conversation = crashed_start(stack, customer, "killed")
    assert (customer.used, customer.held) == (2, 1)
    # The emulator's own expiry writes nothing to the stream; on AWS it is such a deletion.
    client = dynamodb_client(stack.connection.endpoint_url)
    client.delete_item(TableName=stack.connection.tables["sessions"], Key=head_key(conversation))
    client.close()
    wait_until(lambda: customer.used == 1, seconds=60)
    stack.assert_exact(customer, 1)


def test_s5_a_crash_never_becomes_a_refusal(stack: Stack) -> None:
    customer = stack.customer(session_limit=2)
    customer.invoke("processed")
    crashed_start(stack, customer, "killed")
    assert customer.usage()["quota"]["remaining"] == 0
    assert customer.invoke("next").status_code == 200
    stack.assert_exact(customer, 2)
    refused = customer.invoke("one too many").json()
    assert (refused["error_code"], refused["details"]["held"]) == ("QUOTA_EXCEEDED", 0)


def test_s5_the_next_message_of_a_killed_start_goes_on_in_its_session(stack: Stack) -> None:
    customer = stack.customer()
    customer.invoke("processed")
    crashed_start(stack, customer, "killed")
    assert customer.held == 1
    answer = customer.invoke("killed")
    assert answer.json()["session"]["new"] is False
    stack.assert_exact(customer, 2)
