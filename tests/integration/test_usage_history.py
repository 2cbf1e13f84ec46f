"""The usage history on the deployed stack: it follows by seconds, and a replay changes nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from tests.integration.conftest import MODEL, Customer, Stack, wait_until
from tests.support.traces import streamed_records

OWN = {
    "provider": "openai",
    "model": "a-model-of-tomorrow",
    "byok_credentials": {"api_key": "canary-key-of-the-customer"},
}


def history(customer: Customer, **query: str) -> dict[str, Any]:
    response = customer.http.get("/usage/history", params=query)
    assert response.status_code == 200, response.text
    document: dict[str, Any] = response.json()
    return document


def streamed_heads(stack: Stack, customer: Customer) -> Iterator[dict[str, Any]]:
    """Yield the changes of a customer's sessions, from the stream itself."""
    streams = stack.client("dynamodbstreams")
    table = stack.connection.tables["sessions"]
    (found,) = streams.list_streams(TableName=table)["Streams"]
    for record in streamed_records(streams, found["StreamArn"]):
        key = record["dynamodb"]["Keys"]["pk"]["S"]
        if key.startswith(f"CONVERSATION#{customer.customer_id}#"):
            yield record


def test_conversations_are_in_the_history_within_seconds_and_once(stack: Stack) -> None:
    customer = stack.customer("professional")
    for conversation_id, own in (("a", {}), ("a", OWN), ("b", OWN), ("c", {})):
        answer = customer.invoke(conversation_id, **own)
        assert answer.status_code == 200, answer.text
    assert customer.chat("Hello", "d").status_code == 200
    wait_until(lambda: history(customer)["totals"]["messages"] == 5)
    today = str(datetime.now(UTC).date())
    shown = history(customer, by="model", to=today)
    totals = shown["totals"]
    assert (totals["sessions"], totals["managed_sessions"], totals["byok_sessions"]) == (4, 3, 1)
    assert (totals["managed_messages"], totals["byok_messages"]) == (3, 2)
    day = shown["series"][-1]
    assert (day["start"], day["complete"], day["sessions"]) == (today, False, 4)
    parts = {part["name"]: (part["sessions"], part["messages"]) for part in day["breakdown"]}
    assert parts == {MODEL: (3, 3), "a-model-of-tomorrow": (1, 2)}
    audit = stack.audit(customer)
    assert audit["drift"] == 0
    assert audit["rollups"] == {"sessions": 4, "missing": 0, "drifting_days": []}

    records = list(streamed_heads(stack, customer))
    assert len(records) >= 10
    replayed = stack.client("lambda").invoke(
        FunctionName=f"{stack.connection.functions['rollups']}:live",
        Payload=json.dumps({"Records": records[::-1] + records}, default=str),
    )
    answer = json.load(replayed["Payload"])
    assert answer == {"batchItemFailures": []}
    again = history(customer, by="model", to=today)
    assert again["series"] == shown["series"]
    assert stack.audit(customer)["rollups"] == audit["rollups"]


def test_p4_a_starter_sees_days_and_no_parts(stack: Stack) -> None:
    customer = stack.customer("starter")
    assert history(customer)["series"][-1]["sessions"] == 0
    refused = customer.http.get("/usage/history", params={"by": "agent"})
    assert (refused.status_code, refused.json()["error_code"]) == (403, "TIER_LIMITATION")
    stack.set_tier(customer, "professional")
    assert history(customer, by="agent")["series"][-1]["breakdown"] == []
    as_operator = stack.admin.get(
        f"/admin/customers/{customer.customer_id}/usage-history", {"by": "agent"}
    )
    assert as_operator["customer_id"] == customer.customer_id
