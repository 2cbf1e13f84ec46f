"""Stored credentials over HTTPS: kept, used, replaced and deleted."""

from __future__ import annotations

from typing import Any

from tests.integration.conftest import Customer, Stack
from tests.support.emulator import dynamodb_client

PATH = "/api/byok-credentials"
OWN = {"aws_access_key": "AKIASTOREDSTOREDSTOR", "aws_secret_key": "stored-secret-0123456789"}


def store(customer: Customer, credentials: dict[str, str], provider: str = "bedrock") -> Any:
    body = {"provider": provider, "credentials": credentials}
    response = customer.http.post(PATH, json=body)
    assert response.status_code == 200, response.text
    return response.json()


def listed(customer: Customer) -> list[dict[str, Any]]:
    response = customer.http.get(PATH)
    assert response.status_code == 200, response.text
    found: list[dict[str, Any]] = response.json()["credentials"]
    return found


def ask(customer: Customer, marker: str, **fields: Any) -> int:
    message = [{"role": "user", "content": marker}]
    return customer.invoke(marker, messages=message, **fields).status_code


def test_p4_on_free_stored_credentials_open_bedrock_and_the_session_counts(stack: Stack) -> None:
    customer = stack.customer("free")
    assert ask(customer, "own-a") == 403
    store(customer, OWN)
    assert ask(customer, "own-b") == 200
    (call,) = stack.bedrock.calls("own-b")
    assert call.access_key == OWN["aws_access_key"]
    (found,) = listed(customer)
    assert found["credentials"] == {"aws_access_key": "…STOR", "aws_secret_key": "…6789"}
    assert found["last_used_at"] >= found["created_at"]
    stack.assert_exact(customer, 1)


def test_byok_on_a_paid_tier_they_are_used_when_the_request_says_so(stack: Stack) -> None:
    customer = stack.customer("starter")
    assert ask(customer, "paid-a", byok=True) == 400
    store(customer, OWN)
    assert ask(customer, "paid-b") == 200
    assert ask(customer, "paid-c", byok=True) == 200
    keys = [stack.bedrock.calls(marker)[0].access_key for marker in ("paid-b", "paid-c")]
    assert keys[0] != OWN["aws_access_key"] == keys[1]
    sent = {"aws_access_key": "AKIASENT", "aws_secret_key": "sent"}
    assert ask(customer, "paid-d", byok_credentials=sent) == 200
    assert stack.bedrock.calls("paid-d")[0].access_key == "AKIASENT"


def test_p1_an_upgrade_turns_to_managed_models_at_once(stack: Stack) -> None:
    customer = stack.customer("free")
    store(customer, OWN)
    assert ask(customer, "up-a") == 200
    stack.set_tier(customer, "starter")
    assert ask(customer, "up-b") == 200
    assert stack.bedrock.calls("up-a")[0].access_key == OWN["aws_access_key"]
    assert stack.bedrock.calls("up-b")[0].access_key != OWN["aws_access_key"]


def test_p4_with_the_month_of_a_downgrade_stored_credentials_take_over(stack: Stack) -> None:
    customer = stack.customer("starter")
    store(customer, OWN)
    assert ask(customer, "down-a") == 200
    stack.set_tier(customer, "free")
    stack.set_clock(customer, "2027-06-01T00:00:00Z")
    assert ask(customer, "down-b") == 200
    assert stack.bedrock.calls("down-b")[0].access_key == OWN["aws_access_key"]


def test_what_was_deleted_is_in_no_table_and_who_did_it_is_on_record(stack: Stack) -> None:
    customer = stack.customer("free")
    assert store(customer, OWN)["replaced"] is False
    assert store(customer, OWN)["replaced"] is True
    item = {"pk": {"S": f"CREDENTIALS#{customer.customer_id}"}, "sk": {"S": "bedrock"}}
    dynamodb = dynamodb_client(stack.connection.endpoint_url)
    table = stack.connection.tables["accounts"]
    assert "Item" in dynamodb.get_item(TableName=table, Key=item)
    assert customer.http.delete(f"{PATH}/bedrock").json() == {
        "provider": "bedrock",
        "deleted": True,
    }
    assert "Item" not in dynamodb.get_item(TableName=table, Key=item)
    assert listed(customer) == []
    assert customer.http.delete(f"{PATH}/bedrock").status_code == 404
    trail = stack.admin.get(f"/admin/customers/{customer.customer_id}/audit-trail")["audit_trail"]
    acts = [(one["action"], one["actor"].startswith("key_")) for one in trail]
    assert acts[:3] == [
        ("credentials.delete", True),
        ("credentials.rotate", True),
        ("credentials.store", True),
    ]
    assert ask(customer, "deleted") == 403


def test_byok_a_ciphertext_that_was_moved_to_another_customer_opens_nothing(stack: Stack) -> None:
    owner, thief = stack.customer("free"), stack.customer("free")
    store(owner, OWN)
    dynamodb = dynamodb_client(stack.connection.endpoint_url)
    table = stack.connection.tables["accounts"]
    key = {"pk": {"S": f"CREDENTIALS#{owner.customer_id}"}, "sk": {"S": "bedrock"}}
    item = dynamodb.get_item(TableName=table, Key=key)["Item"]
    moved = {
        **item,
        "pk": {"S": f"CREDENTIALS#{thief.customer_id}"},
        "customer_id": {"S": thief.customer_id},
    }
    dynamodb.put_item(TableName=table, Item=moved)
    refused = thief.invoke()
    assert (refused.status_code, refused.json()["error_code"]) == (
        500,
        "STORED_CREDENTIALS_UNREADABLE",
    )
    stack.assert_exact(thief, 0)
    assert owner.invoke().status_code == 200
