"""The tables."""

from __future__ import annotations

from typing import Any

import pytest

from tests.infrastructure.synthesized import Synthesized

TABLES = ("Accounts", "Sessions", "Usage", "Vault")


@pytest.fixture(params=TABLES)
def table(request: pytest.FixtureRequest, prod: Synthesized) -> dict[str, Any]:
    return prod.named("AWS::DynamoDB::Table", f"{request.param}Table")


def test_a_table_is_keyed_by_pk_and_sk_and_paid_by_request(table: dict[str, Any]) -> None:
    assert table["KeySchema"] == [
        {"AttributeName": "pk", "KeyType": "HASH"},
        {"AttributeName": "sk", "KeyType": "RANGE"},
    ]
    assert table["BillingMode"] == "PAY_PER_REQUEST"


def test_a_table_can_be_restored_to_any_second(table: dict[str, Any]) -> None:
    recovery = table["PointInTimeRecoverySpecification"]
    assert recovery["PointInTimeRecoveryEnabled"] is True


def test_a_table_is_encrypted_with_the_stage_s_own_key(
    table: dict[str, Any], prod: Synthesized
) -> None:
    encryption = table["SSESpecification"]
    assert encryption["SSEType"] == "KMS"
    (key,) = encryption["KMSMasterKeyId"]["Fn::GetAtt"][:1]
    assert prod.template("data")["Resources"][key]["Properties"]["EnableKeyRotation"] is True


def test_a_production_table_cannot_be_deleted(table: dict[str, Any]) -> None:
    assert table["DeletionProtectionEnabled"] is True


def test_a_development_table_can_be_deleted(dev: Synthesized) -> None:
    for found in dev.resources("AWS::DynamoDB::Table").values():
        assert found["DeletionProtectionEnabled"] is False


@pytest.mark.parametrize("name", ["Accounts", "Sessions", "Usage", "Vault"])
def test_items_expire_by_their_ttl(name: str, prod: Synthesized) -> None:
    table = prod.named("AWS::DynamoDB::Table", f"{name}Table")
    assert table["TimeToLiveSpecification"] == {"AttributeName": "ttl", "Enabled": True}


def test_the_sessions_stream_tells_what_was_deleted(prod: Synthesized) -> None:
    sessions = prod.named("AWS::DynamoDB::Table", "SessionsTable")
    assert sessions["StreamSpecification"] == {"StreamViewType": "NEW_AND_OLD_IMAGES"}


def test_the_usage_stream_tells_what_was_written(prod: Synthesized) -> None:
    usage = prod.named("AWS::DynamoDB::Table", "UsageTable")
    assert usage["StreamSpecification"] == {"StreamViewType": "NEW_IMAGE"}


@pytest.mark.parametrize(
    ("name", "index", "keys"),
    [
        ("Accounts", "by-kind", ["kind_pk", "kind_sk"]),
        ("Sessions", "held-sessions", ["held_in", "started_at"]),
    ],
)
def test_an_index_has_the_keys_that_the_queries_use(
    name: str, index: str, keys: list[str], prod: Synthesized
) -> None:
    table = prod.named("AWS::DynamoDB::Table", f"{name}Table")
    (found,) = table["GlobalSecondaryIndexes"]
    assert found["IndexName"] == index
    assert [key["AttributeName"] for key in found["KeySchema"]] == keys
    assert found["Projection"] == {"ProjectionType": "ALL"}


def test_a_production_data_stack_is_protected_against_termination(
    prod: Synthesized, dev: Synthesized
) -> None:
    assert prod.application.data.termination_protection is True
    assert dev.application.data.termination_protection is False


def test_the_names_of_the_tables_are_outputs(prod: Synthesized) -> None:
    outputs = prod.outputs()
    for name in TABLES:
        assert outputs[f"{name}TableName"]["Ref"].startswith(f"{name}Table")
