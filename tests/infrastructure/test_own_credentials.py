"""Who may seal and open stored credentials, and where they may be written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from flowstack_core.adapters.dynamodb_credentials import credentials_key
from flowstack_core.adapters.kms import encryption_context, webhook_context
from flowstack_core.domain.providers import Provider
from stacks.data_stack import CREDENTIALS, SEALED_FOR
from tests.infrastructure.synthesized import Synthesized

KEY = "CredentialsKey"
SEALED = {
    "ForAllValues:StringEquals": {
        "kms:EncryptionContextKeys": ["flowstack:customer", "flowstack:provider"]
    },
    "Null": {
        "kms:EncryptionContext:flowstack:customer": "false",
        "kms:EncryptionContext:flowstack:provider": "false",
    },
}


OF_WEBHOOKS = {"Alerts", "Webhooks"}
WEBHOOK = {"kms:EncryptionContext:flowstack:provider": "webhook"}


def statements(synthesized: Synthesized, marker: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each role's statements on the resources whose reference has a marker."""
    for policy in synthesized.resources("AWS::IAM::Policy").values():
        for statement in policy["PolicyDocument"]["Statement"]:
            if marker in json.dumps(statement["Resource"]):
                for role in policy["Roles"]:
                    yield role["Ref"].split("Role")[0], statement


def actions(statement: dict[str, Any]) -> set[str]:
    action = statement["Action"]
    return {action} if isinstance(action, str) else set(action)


@pytest.mark.parametrize("stage", ["local", "dev", "prod"])
def test_one_function_seals_others_open_and_all_for_a_customer_and_provider_only(
    stage: str, request: pytest.FixtureRequest
) -> None:
    found = list(statements(request.getfixturevalue(stage), KEY))
    assert {(role, *actions(statement)) for role, statement in found} == {
        ("Byok", "kms:Encrypt"),
        ("Conversation", "kms:Decrypt"),
        ("Worker", "kms:Decrypt"),
        ("Alerts", "kms:Encrypt"),
        ("Webhooks", "kms:Decrypt"),
    }
    for role, statement in found:
        which = "StringEquals" if role in OF_WEBHOOKS else "StringNotEquals"
        assert statement["Condition"] == {**SEALED, which: WEBHOOK}


def test_the_functions_use_the_context_that_their_roles_demand() -> None:
    assert tuple(encryption_context("cus_1", Provider.OPENAI)) == SEALED_FOR
    assert tuple(webhook_context("cus_1")) == SEALED_FOR
    assert webhook_context("cus_1")["flowstack:provider"] == "webhook"


def test_credentials_are_written_where_the_roles_let_them() -> None:
    assert credentials_key("cus_1", Provider.OPENAI)["pk"]["S"].startswith(CREDENTIALS)


def test_what_writes_credentials_can_write_nothing_else_in_the_accounts(prod: Synthesized) -> None:
    confined: dict[str, set[tuple[str, ...]]] = {
        "Conversation": {
            ("GetItem",),
            ("ConditionCheckItem",),
            ("UpdateItem", "CREDENTIALS#*"),
        },
        "Worker": {("GetItem",), ("UpdateItem", "CREDENTIALS#*")},
        "Byok": {
            *((action, "CREDENTIALS#*") for action in ("GetItem", "Query", "PutItem")),
            ("DeleteItem", "CREDENTIALS#*"),
            ("GetItem", "AUDIT#*"),
            ("PutItem", "AUDIT#*"),
        },
        "Alerts": {
            *((action, "CUSTOMER#*") for action in ("GetItem", "Query", "PutItem")),
            ("DeleteItem", "CUSTOMER#*"),
            ("ConditionCheckItem", "CUSTOMER#*"),
            ("GetItem", "AUDIT#*"),
            ("PutItem", "AUDIT#*"),
        },
        "Webhooks": {
            *((action, "CUSTOMER#*") for action in ("GetItem", "PutItem", "ConditionCheckItem")),
            ("GetItem", "AUDIT#*"),
            ("PutItem", "AUDIT#*"),
        },
    }
    for function, expected in confined.items():
        permitted = {
            (
                action.removeprefix("dynamodb:"),
                *statement.get("Condition", {})
                .get("ForAllValues:StringLike", {})
                .get("dynamodb:LeadingKeys", []),
            )
            for role, statement in statements(prod, "AccountsTable")
            if role == function
            for action in actions(statement)
        }
        assert permitted == expected


def test_the_key_is_rotated_and_outlives_a_production_stack(
    prod: Synthesized, dev: Synthesized
) -> None:
    for synthesized, policy in ((prod, "Retain"), (dev, "Delete")):
        (key,) = (
            resource
            for name, resource in synthesized.template("data")["Resources"].items()
            if name.startswith(KEY) and resource["Type"] == "AWS::KMS::Key"
        )
        assert key["Properties"]["EnableKeyRotation"] is True
        assert key["DeletionPolicy"] == policy


def test_only_who_seals_or_opens_is_told_the_key(prod: Synthesized) -> None:
    told = {
        name
        for name, function in prod.resources("AWS::Lambda::Function").items()
        if "CREDENTIALS_KEY" in function["Environment"]["Variables"]
    }
    assert {name.split("Function")[0] for name in told} == {
        *("Byok", "Conversation", "Worker"),
        *OF_WEBHOOKS,
    }
