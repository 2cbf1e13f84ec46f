"""The functions: what they may do, how they run, what they are told."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from aws_cdk import Environment

from stacks.application import Application
from stacks.sources import Sources
from tests.infrastructure.conftest import ROOT, new_app
from tests.infrastructure.synthesized import Synthesized
from tests.infrastructure.test_stages import FUNCTIONS

ACCOUNTS, SESSIONS, USAGE = "AccountsTable", "SessionsTable", "UsageTable"
CLOSING = {"BatchGetItem", "PutItem", "UpdateItem", "Query"}
VAULT = "VaultTable"
EVERYTHING = {
    *("GetItem", "BatchGetItem", "Query", "ConditionCheckItem"),
    *("PutItem", "UpdateItem", "DeleteItem"),
}
PERMITTED: dict[tuple[str, str], set[str]] = {
    ("Authorizer", ACCOUNTS): {"GetItem", "Query"},
    # UpdateItem in the partitions of stored credentials only: see test_own_credentials.py.
    ("Conversation", ACCOUNTS): {"GetItem", "ConditionCheckItem", "UpdateItem"},
    ("Conversation", SESSIONS): {"GetItem", "PutItem", "UpdateItem", "DeleteItem", "Query"},
    ("Conversation", USAGE): {"GetItem", "PutItem", "UpdateItem", "ConditionCheckItem"},
    ("Worker", ACCOUNTS): {"GetItem", "UpdateItem"},
    ("Worker", SESSIONS): {"GetItem", "PutItem", "UpdateItem", "DeleteItem", "Query"},
    ("Worker", USAGE): {"UpdateItem"},
    ("Billing", ACCOUNTS): {"GetItem", "BatchGetItem", "PutItem"},
    ("Billing", USAGE): {*CLOSING, "GetItem", "ConditionCheckItem"},
    ("Alerts", ACCOUNTS): {"GetItem", "Query", "PutItem", "DeleteItem", "ConditionCheckItem"},
    ("Alerts", USAGE): {"GetItem", "BatchGetItem", "Query", "PutItem", "UpdateItem"},
    ("Usage", ACCOUNTS): {"GetItem"},
    ("Usage", SESSIONS): {"Query"},
    ("Usage", USAGE): {"GetItem", "Query"},
    ("Byok", ACCOUNTS): {"GetItem", "Query", "PutItem", "DeleteItem"},
    ("Vault", VAULT): {"GetItem", "PutItem", "DeleteItem", "BatchWriteItem", "Query"},
    ("Admin", ACCOUNTS): {
        "GetItem",
        "BatchGetItem",
        "PutItem",
        "UpdateItem",
        "ConditionCheckItem",
        "Query",
    },
    ("Admin", SESSIONS): {"Query"},
    ("Admin", USAGE): {*CLOSING, "GetItem", "ConditionCheckItem"},
    ("Expiry", SESSIONS): {"UpdateItem"},
    ("Expiry", USAGE): {"UpdateItem"},
    # In the partitions of records, and of rollups, only: see test_lifecycle.py.
    ("Rollups", SESSIONS): {"BatchGetItem", "UpdateItem"},
    ("Rollups", ACCOUNTS): {"GetItem", "Query", "ConditionCheckItem"},
    ("Rollups", USAGE): {"GetItem", "Query", "UpdateItem"},
    ("MonthEnd", ACCOUNTS): {"Query"},
    ("MonthEnd", USAGE): {"GetItem", "PutItem", "UpdateItem", "Query"},
    ("Close", ACCOUNTS): {"BatchGetItem", "PutItem"},
    ("Close", USAGE): {*CLOSING, "GetItem"},
    ("Thresholds", ACCOUNTS): {"BatchGetItem", "ConditionCheckItem"},
    ("Thresholds", USAGE): {"PutItem"},
    ("Announcements", USAGE): {"GetItem", "UpdateItem"},
    ("Margins", ACCOUNTS): {"BatchGetItem", "Query"},
    ("Margins", USAGE): {"GetItem", "BatchGetItem", "PutItem", "Query"},
    ("Rights", ACCOUNTS): EVERYTHING,
    ("Rights", SESSIONS): {"Query", "DeleteItem"},
    ("Rights", USAGE): EVERYTHING,
    ("Rights", VAULT): {"Query", "DeleteItem"},
    # In some partitions only: see test_own_credentials.py and test_webhooks.py.
    ("Webhooks", ACCOUNTS): {"GetItem", "PutItem", "ConditionCheckItem"},
    ("Webhooks", USAGE): {"GetItem", "PutItem"},
}
STREAM_READING = {"DescribeStream", "GetRecords", "GetShardIterator"}
STREAM_READERS = {
    *(("Expiry", SESSIONS), ("Rollups", SESSIONS)),
    *(("Thresholds", USAGE), ("Announcements", USAGE)),
}
CONSUMING = {
    *("ReceiveMessage", "DeleteMessage", "ChangeMessageVisibility"),
    *("GetQueueUrl", "GetQueueAttributes"),
}
LEAVING = {"SendMessage", "GetQueueUrl", "GetQueueAttributes"}
"""What Lambda needs to leave there what a function gave up on."""
ANSWERING = ["Conversation", "Worker"]
CALLING_OUT = [*ANSWERING, "Webhooks"]
"""What connects to hosts that customers name."""
QUEUES: dict[tuple[str, str], set[str]] = {
    ("Admin", "Steps"): {"SendMessage"},
    ("Admin", "Closes"): {"SendMessage"},
    ("Admin", "ClosesDeadLetters"): {"ReceiveMessage", "DeleteMessage"},
    ("Expiry", "ExpiryDeadLetters"): LEAVING,
    ("Rollups", "RollupsDeadLetters"): LEAVING,
    ("Conversation", "Requests"): {"SendMessage"},
    ("Worker", "Requests"): CONSUMING,
    ("MonthEnd", "Steps"): {"SendMessage", *CONSUMING},
    ("MonthEnd", "Closes"): {"SendMessage"},
    ("MonthEnd", "MonthEndDeadLetters"): LEAVING,
    ("Close", "Closes"): {"SendMessage", *CONSUMING},
    ("Close", "ClosesDeadLetters"): {"SendMessage"},
    ("Thresholds", "ThresholdsDeadLetters"): LEAVING,
    ("Announcements", "AnnouncementsDeadLetters"): LEAVING,
    ("Margins", "MarginSteps"): {"SendMessage", *CONSUMING},
    ("Margins", "MarginsDeadLetters"): LEAVING,
    ("Admin", "RightsSteps"): {"SendMessage"},
    ("Rights", "RightsSteps"): {"SendMessage", *CONSUMING},
    ("Alerts", "WebhooksQueue"): {"SendMessage"},
    ("Announcements", "WebhooksQueue"): {"SendMessage"},
    ("Admin", "WebhooksQueue"): {"SendMessage"},
    ("Admin", "WebhooksDeadLetters"): {"ReceiveMessage", "DeleteMessage"},
    ("Webhooks", "WebhooksQueue"): {"SendMessage", *CONSUMING},
    ("Webhooks", "WebhooksDeadLetters"): {"SendMessage"},
}
URLS = {
    "DEFERRED_QUEUE_URL": "Requests",
    "STEPS_QUEUE_URL": "Steps",
    "CLOSES_QUEUE_URL": "Closes",
    "CLOSES_DEAD_LETTERS_URL": "ClosesDeadLetters",
    "DATA_RIGHTS_QUEUE_URL": "RightsSteps",
    "WEBHOOKS_QUEUE_URL": "WebhooksQueue",
    "WEBHOOKS_DEAD_LETTERS_URL": "WebhooksDeadLetters",
    "MARGINS_QUEUE_URL": "MarginSteps",
}


@pytest.fixture(params=FUNCTIONS)
def function(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("stage", ["local", "dev", "prod"])
def test_no_permission_has_a_wildcard_for_an_action(
    stage: str, request: pytest.FixtureRequest
) -> None:
    for role, actions, _ in request.getfixturevalue(stage).allowed():
        for action in actions:
            assert "*" not in action, f"{role}: {action}"


def test_only_actions_that_have_no_resource_are_permitted_on_all(prod: Synthesized) -> None:
    on_all = {action for _, actions, on in prod.allowed() if "*" in on for action in actions}
    assert on_all == {
        "xray:PutTraceSegments",
        "xray:PutTelemetryRecords",
        "dynamodb:ListStreams",
    }


@pytest.mark.parametrize("table", [ACCOUNTS, SESSIONS, USAGE, VAULT])
def test_a_function_may_do_on_a_table_what_it_needs_and_no_more(
    function: str, table: str, prod: Synthesized
) -> None:
    permitted = prod.actions_on(function, table)
    expected = PERMITTED.get((function, table), set())
    if (function, table) in STREAM_READERS:
        expected = expected | STREAM_READING
    assert permitted == {f"dynamodb:{action}" for action in expected}


def test_a_function_is_told_the_tables_it_may_use_and_no_others(
    function: str, prod: Synthesized
) -> None:
    told = {name for name in prod.environment(function) if name.endswith("_TABLE")}
    usable = {
        f"{table.removesuffix('Table').upper()}_TABLE"
        for (name, table) in PERMITTED
        if name == function
    }
    assert told == usable


def test_a_function_that_reads_only_cannot_encrypt(prod: Synthesized) -> None:
    for reader in ("Authorizer", "Usage"):
        keys = {
            action
            for role, actions, _ in prod.allowed()
            if role.startswith(f"{reader}Role")
            for action in actions
            if action.startswith("kms:")
        }
        assert keys == {"kms:Decrypt", "kms:DescribeKey"}


@pytest.mark.parametrize("queue", sorted({queue for _, queue in QUEUES}))
def test_a_function_may_do_on_a_queue_what_it_needs_and_no_more(
    function: str, queue: str, prod: Synthesized
) -> None:
    (logical_id,) = (
        one for one in prod.resources("AWS::SQS::Queue") if one[: -len("00000000")] == queue
    )
    permitted = prod.actions_on(function, logical_id)
    expected = QUEUES.get((function, queue), set())
    assert permitted == {f"sqs:{action}" for action in expected}


def test_a_function_is_told_the_queues_it_may_use_and_no_others(
    function: str, prod: Synthesized
) -> None:
    told = {URLS[name] for name in prod.environment(function) if name in URLS}
    # What Lambda does for a function, the function need not know about.
    used = {
        queue
        for (name, queue), may in QUEUES.items()
        if name == function and may not in (LEAVING, CONSUMING)
    }
    assert told == used


def test_only_the_announcements_function_tells_the_bus_and_no_other_bus(prod: Synthesized) -> None:
    callers = {
        role: resources
        for role, actions, resources in prod.allowed()
        if "events:PutEvents" in actions
    }
    ((role, (bus,)),) = callers.items()
    assert role.startswith("AnnouncementsRole")
    assert bus["Fn::GetAtt"][0].startswith("Bus")
    assert prod.environment("Announcements")["EVENT_BUS_NAME"]["Ref"].startswith("Bus")


def test_only_functions_that_answer_messages_call_models_and_only_those_on_offer(
    prod: Synthesized,
) -> None:
    callers = {
        role: resources
        for role, actions, resources in prod.allowed()
        if "bedrock:InvokeModel" in actions
    }
    assert sorted(role.split("Role")[0] for role in callers) == ANSWERING
    for resources in callers.values():
        written = [str(resource) for resource in resources]
        assert any(":*::foundation-model/amazon.nova-pro-v1:0" in one for one in written)
        assert any(":inference-profile/*.amazon.nova-pro-v1:0" in one for one in written)
        # Retired by AWS: its name goes to a successor.
        assert not any("anthropic.claude-3-sonnet" in one for one in written)


def test_only_functions_that_answer_messages_assume_roles_and_only_those_of_customers(
    prod: Synthesized,
) -> None:
    from flowstack_core.domain.providers import Provider as ModelProvider
    from flowstack_core.domain.providers import external_id_of, parse_credentials

    assuming = {
        policy["Roles"][0]["Ref"].split("Role")[0]: statement
        for policy in prod.resources("AWS::IAM::Policy").values()
        for statement in policy["PolicyDocument"]["Statement"]
        if "sts:AssumeRole" in statement["Action"]
    }
    assert sorted(assuming) == ANSWERING
    for statement in assuming.values():
        assert ":iam::*:role/flowstack-byok-*" in str(statement["Resource"])
        assert statement["Condition"] == {
            "StringNotEquals": {"aws:ResourceAccount": {"Ref": "AWS::AccountId"}},
            "StringLike": {"sts:ExternalId": "flowstack:*"},
        }
    assert external_id_of("cus_1").startswith("flowstack:")
    arn = "arn:aws:iam::123456789012:role/flowstack-byok-x"
    values = {"role_arn": arn, "external_id": external_id_of("cus_1")}
    assert parse_credentials(ModelProvider.BEDROCK, values) is not None


def test_only_functions_that_call_customers_hosts_have_the_providers_layer(
    function: str, prod: Synthesized
) -> None:
    found = prod.named("AWS::Lambda::Function", f"{function}Function")
    names = [str(layer["Ref"]) for layer in found["Layers"]]
    assert any(name.startswith("Core") for name in names)
    has_providers = any(name.startswith("Providers") for name in names)
    assert has_providers is (function in CALLING_OUT)


def test_only_a_local_stage_lets_functions_reach_their_own_machine(
    tmp_path: Path, local: Synthesized, prod: Synthesized
) -> None:
    told = {"LOOPBACK_EGRESS", "VENDORS_ENDPOINT"}
    url = "http://127.0.0.1:4803"
    pointed = _synthesize(tmp_path, Sources(ROOT), stage="local", vendors_endpoint=url)
    for function in CALLING_OUT:
        assert not told & prod.environment(function).keys()
        assert told & local.environment(function).keys() == {"LOOPBACK_EGRESS"}
        assert pointed.environment(function)["VENDORS_ENDPOINT"] == url
    with pytest.raises(ValueError, match="takes no other endpoints"):
        _synthesize(tmp_path / "dev", Sources(ROOT), stage="dev", vendors_endpoint=url)


@pytest.mark.parametrize("stage", ["dev", "prod"])
def test_a_published_version_starts_from_a_snapshot(
    function: str, stage: str, request: pytest.FixtureRequest
) -> None:
    synthesized = request.getfixturevalue(stage)
    found = synthesized.named("AWS::Lambda::Function", f"{function}Function")
    assert found["SnapStart"] == {"ApplyOn": "PublishedVersions"}


def test_the_emulator_is_not_asked_for_snapshots(local: Synthesized) -> None:
    for found in local.resources("AWS::Lambda::Function").values():
        assert "SnapStart" not in found


def test_a_function_is_called_through_its_alias(function: str, prod: Synthesized) -> None:
    alias = prod.named("AWS::Lambda::Alias", f"{function}Live")
    assert alias["Name"] == "live"
    (version,) = alias["FunctionVersion"]["Fn::GetAtt"][:1]
    assert version.startswith(f"{function}FunctionCurrentVersion")


def test_logs_are_json_and_end(function: str, prod: Synthesized) -> None:
    found = prod.named("AWS::Lambda::Function", f"{function}Function")
    assert found["LoggingConfig"]["LogFormat"] == "JSON"
    log_group = found["LoggingConfig"]["LogGroup"]["Ref"]
    assert prod.resources("AWS::Logs::LogGroup")[log_group]["RetentionInDays"] == 90


@pytest.mark.parametrize("stage", ["local", "dev", "prod"])
def test_every_log_group_has_a_lifetime(stage: str, request: pytest.FixtureRequest) -> None:
    groups = request.getfixturevalue(stage).resources("AWS::Logs::LogGroup")
    assert groups
    for group in groups.values():
        assert group["RetentionInDays"] <= 90


def test_a_function_is_traced_and_named(function: str, prod: Synthesized) -> None:
    found = prod.named("AWS::Lambda::Function", f"{function}Function")
    assert found["TracingConfig"] == {"Mode": "Active"}
    environment = found["Environment"]["Variables"]
    assert environment["POWERTOOLS_SERVICE_NAME"] == _folder(function)
    assert environment["POWERTOOLS_METRICS_NAMESPACE"] == "FlowStack"
    assert environment["FLOWSTACK_STAGE"] == "prod"
    assert environment["LOG_LEVEL"] == "INFO"


def test_no_function_looks_for_plugins_of_pydantic(function: str, prod: Synthesized) -> None:
    found = prod.named("AWS::Lambda::Function", f"{function}Function")
    assert found["Environment"]["Variables"]["PYDANTIC_DISABLE_PLUGINS"] == "1"


def test_the_conversation_function_stops_before_the_gateway_does(prod: Synthesized) -> None:
    found = prod.named("AWS::Lambda::Function", "ConversationFunction")
    assert found["Timeout"] == 28
    assert found["MemorySize"] == 1024


def test_other_endpoints_reach_the_functions_of_a_local_stage(tmp_path: Path) -> None:
    synthesized = _synthesize(
        tmp_path,
        Sources(ROOT),
        stage="local",
        dynamodb_endpoint="http://127.0.0.1:4801",
        bedrock_endpoint="http://127.0.0.1:4802",
    )
    environment = synthesized.environment("Conversation")
    assert environment["AWS_ENDPOINT_URL_DYNAMODB"] == "http://127.0.0.1:4801"
    assert environment["AWS_ENDPOINT_URL_BEDROCK_RUNTIME"] == "http://127.0.0.1:4802"


def test_no_other_endpoint_is_set_unless_given(local: Synthesized, prod: Synthesized) -> None:
    for synthesized in (local, prod):
        for function in FUNCTIONS:
            assert not any(
                name.startswith("AWS_ENDPOINT") for name in synthesized.environment(function)
            )


def test_a_change_in_the_core_publishes_new_versions(tmp_path: Path, prod: Synthesized) -> None:
    root = tmp_path / "repository"
    for folder in ("layers", "functions", "requirements"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / folder, root / folder, ignore=ignored)
    unchanged = _synthesize(tmp_path / "same", Sources(root), stage="prod")
    assert _versions(unchanged) == _versions(prod)
    (root / "layers/core/flowstack_core/added.py").write_text("ADDED = 1\n", encoding="utf-8")
    changed = _synthesize(tmp_path / "changed", Sources(root), stage="prod")
    assert not _versions(changed) & _versions(prod)


def _synthesize(outdir: Path, sources: Sources, **context: Any) -> Synthesized:
    app = new_app(outdir, **context)
    return Synthesized(app, Application(app, sources, Environment()))


def _folder(function: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", function).lower()


def _versions(synthesized: Synthesized) -> set[str]:
    return set(synthesized.resources("AWS::Lambda::Version"))
