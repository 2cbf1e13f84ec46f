"""The alarms, the dashboard, the saved queries, the budget."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aws_cdk import Environment

from flowstack_core.domain.plans import Tier
from flowstack_core.domain.providers import Provider
from flowstack_core.metrics import MANAGED, METRICS, NAMESPACE
from stacks.application import Application
from stacks.budget import InvalidBudgetError
from stacks.sources import Sources
from tests.infrastructure.conftest import ROOT, new_app
from tests.infrastructure.synthesized import Synthesized
from tests.infrastructure.test_rules import _findings
from tests.infrastructure.test_stages import FUNCTIONS
from tests.support.metric_math import computed

MONTH_END_DAILY = ("MonthEndOpen", "MonthEndFailed")
DAILY = (*MONTH_END_DAILY, "CustomersOverCostShare")
API = {"ApiName": "FlowStack-prod-api", "Stage": "prod"}
OWN = {"service": "api", "stage": "prod"}
WATCHED: list[tuple[str, str, dict[str, str]]] = [
    ("AWS/ApiGateway", "5XXError", API),
    ("AWS/SQS", "ApproximateAgeOfOldestMessage", {"QueueName": "FlowStack-prod-steps"}),
    ("FlowStack", "Overhead", OWN),
    ("FlowStack", "ModelFailures", {**OWN, "provider": MANAGED}),
    ("FlowStack", "ModelThrottles", {**OWN, "provider": MANAGED}),
    ("AWS/SQS", "ApproximateAgeOfOldestMessage", {"QueueName": "FlowStack-prod-webhooks"}),
    *(("FlowStack", gauge, {"service": "month-end", "stage": "prod"}) for gauge in MONTH_END_DAILY),
    ("FlowStack", "CustomersOverCostShare", {"service": "margins", "stage": "prod"}),
]
VALUES: dict[str, set[str]] = {
    "stage": {"prod"},
    "tier": set(Tier),
    "provider": {MANAGED, *Provider},
}
"""What dimensions can be, beside the service."""


@pytest.fixture
def alarms(prod: Synthesized) -> dict[str, dict[str, Any]]:
    """By the names that they have within the stage."""
    return _alarms(prod)


def _alarms(synthesized: Synthesized) -> dict[str, dict[str, Any]]:
    prefix = synthesized.application.stage.name_of("")
    return {
        alarm["AlarmName"].removeprefix(prefix): alarm
        for alarm in synthesized.resources("AWS::CloudWatch::Alarm").values()
    }


def _metrics(alarm: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield namespace, name and dimensions of all that an alarm looks at."""
    looked_at = [
        each["MetricStat"]["Metric"] for each in alarm.get("Metrics", ()) if "MetricStat" in each
    ]
    for metric in looked_at or [alarm]:
        dimensions = {one["Name"]: one["Value"] for one in metric["Dimensions"]}
        yield metric["Namespace"], metric["MetricName"], dimensions


@pytest.mark.parametrize(("namespace", "metric", "dimensions"), WATCHED)
def test_what_an_operator_must_act_on_has_an_alarm(
    namespace: str,
    metric: str,
    dimensions: dict[str, str],
    alarms: dict[str, dict[str, Any]],
) -> None:
    found = [
        alarm
        for alarm in alarms.values()
        if list(_metrics(alarm)) == [(namespace, metric, dimensions)]
    ]
    assert len(found) == 1


# --- whatever there is --------------------------------------------------------------------------


@pytest.mark.parametrize("stage", ["local", "dev", "prod"])
@pytest.mark.parametrize("metric", ["Errors", "Throttles"])
def test_every_function_there_is_has_its_alarms(
    metric: str, stage: str, request: pytest.FixtureRequest
) -> None:
    synthesized = request.getfixturevalue(stage)
    watched = {
        dimensions["FunctionName"]
        for alarm in _alarms(synthesized).values()
        for _, name, dimensions in _metrics(alarm)
        if name == metric
    }
    functions = synthesized.resources("AWS::Lambda::Function").values()
    assert watched == {each["FunctionName"] for each in functions}
    assert len(watched) == len(FUNCTIONS)


def test_every_function_that_listens_to_a_stream_has_an_alarm(
    prod: Synthesized, alarms: dict[str, dict[str, Any]]
) -> None:
    listening = {
        re.findall(r"'(\w+)Live", str(mapping["FunctionName"]))[0]
        for mapping in prod.resources("AWS::Lambda::EventSourceMapping").values()
        if "StartingPosition" in mapping
    }
    assert listening
    assert {name for name in alarms if name.endswith("IteratorAge")} == {
        f"{function}IteratorAge" for function in listening
    }
    for function in listening:
        ((_, _, dimensions),) = _metrics(alarms[f"{function}IteratorAge"])
        named = prod.named("AWS::Lambda::Function", f"{function}Function")["FunctionName"]
        assert dimensions == {"FunctionName": named}


def test_every_dead_letter_rings(alarms: dict[str, dict[str, Any]], prod: Synthesized) -> None:
    watched = {
        dimensions["QueueName"]
        for alarm in alarms.values()
        for _, name, dimensions in _metrics(alarm)
        if name == "ApproximateNumberOfMessagesVisible"
    }
    queues = {each["QueueName"] for each in prod.resources("AWS::SQS::Queue").values()}
    assert watched == {name for name in queues if name.endswith("-dead-letters")}


def test_whatever_is_given_up_on_goes_where_an_alarm_looks(prod: Synthesized) -> None:
    """A queue of dead letters by any other name would ring nowhere."""
    queues = prod.resources("AWS::SQS::Queue")
    taken = {
        one["RedrivePolicy"]["deadLetterTargetArn"]["Fn::GetAtt"][0]
        for one in queues.values()
        if "RedrivePolicy" in one
    }
    for kind in ("AWS::Lambda::EventSourceMapping", "AWS::Lambda::EventInvokeConfig"):
        for one in prod.resources(kind).values():
            failed = one.get("DestinationConfig", {}).get("OnFailure")
            if failed is not None:
                taken.add(failed["Destination"]["Fn::GetAtt"][0])
    assert taken
    for letters in taken:
        assert queues[letters]["QueueName"].endswith("-dead-letters")


@pytest.mark.parametrize("metric", ["ReadThrottleEvents", "WriteThrottleEvents"])
def test_every_table_has_an_alarm_for_its_throttles(
    metric: str, alarms: dict[str, dict[str, Any]], prod: Synthesized
) -> None:
    watched = sorted(
        str(dimensions["TableName"])
        for alarm in alarms.values()
        for _, name, dimensions in _metrics(alarm)
        if name == metric
    )
    tables = prod.resources("AWS::DynamoDB::Table")
    assert len(watched) == len(tables)
    for table in tables:
        assert any(table in name for name in watched)


def test_failures_of_dynamodb_itself_have_an_alarm(alarms: dict[str, dict[str, Any]]) -> None:
    watched = {
        dimensions["Operation"]
        for alarm in alarms.values()
        for _, name, dimensions in _metrics(alarm)
        if name == "SystemErrors"
    }
    assert watched == {"GetItem", "UpdateItem", "TransactWriteItems"}


def test_names_that_alarms_use_are_those_of_the_resources(
    prod: Synthesized, alarms: dict[str, dict[str, Any]]
) -> None:
    functions = {each["FunctionName"] for each in prod.resources("AWS::Lambda::Function").values()}
    queues = {each["QueueName"] for each in prod.resources("AWS::SQS::Queue").values()}
    api = prod.named("AWS::ApiGateway::RestApi", "Api")
    names = {"FunctionName": functions, "QueueName": queues, "ApiName": {api["Name"]}}
    for alarm in alarms.values():
        for _, _, dimensions in _metrics(alarm):
            for dimension in names.keys() & dimensions.keys():
                assert dimensions[dimension] in names[dimension]


# --- what functions write themselves ------------------------------------------------------------


def _is_written(name: str, dimensions: dict[str, str]) -> bool:
    """Whether a function writes a metric under exactly these dimensions."""
    metric = METRICS[name]
    return (
        any(set(each) == dimensions.keys() for each in metric.dimension_sets)
        and dimensions["service"] in metric.services
        and all(
            value in VALUES[dimension]
            for dimension, value in dimensions.items()
            if dimension != "service"
        )
    )


def test_alarms_look_at_metrics_that_are_written(alarms: dict[str, dict[str, Any]]) -> None:
    own = [
        (name, metric, dimensions)
        for name, alarm in alarms.items()
        for namespace, metric, dimensions in _metrics(alarm)
        if namespace == NAMESPACE
    ]
    assert {name for name, _, _ in own} >= {"MessageOverhead", "RefusedShare", "MonthEndOpen"}
    for name, metric, dimensions in own:
        assert _is_written(metric, dimensions), f"{name}: nobody writes {metric} {dimensions}"


def test_a_metric_that_nobody_writes_is_found_out() -> None:
    assert _is_written("MonthEndOpen", {"service": "month-end", "stage": "prod"})
    assert not _is_written("MonthEndOpen", {"service": "api", "stage": "prod"})
    assert not _is_written("MonthEndOpen", {"service": "month-end"})
    assert not _is_written("MonthEndOpen", {**OWN, "service": "month-end", "tier": "free"})
    assert not _is_written("ModelFailures", {**OWN, "provider": "acme"})


def test_refusals_are_a_share_of_all_messages_and_few_say_nothing(
    alarms: dict[str, dict[str, Any]],
) -> None:
    alarm = alarms["RefusedShare"]
    assert share(alarm, quota=20, plan=5, answered=75) == 25.0
    assert share(alarm, fair=24, answered=76) < alarm["Threshold"]
    assert share(alarm, quota=98, answered=1) == 0
    assert share(alarm, quota=100) == 100.0
    assert share(alarm) == 0


def share(alarm: dict[str, Any], **sums: float) -> float:
    """Compute what an alarm compares, as CloudWatch does; a metric that is left out is missing."""
    (expression,) = (each["Expression"] for each in alarm["Metrics"] if "Expression" in each)
    ids = {each["Id"]: sums.get(each["Id"]) for each in alarm["Metrics"] if "MetricStat" in each}
    assert sums.keys() <= ids.keys()
    return computed(expression, ids)


@pytest.mark.parametrize("stage", ["local", "dev"])
def test_stages_of_one_account_do_not_ring_for_each_other(
    stage: str, request: pytest.FixtureRequest
) -> None:
    for alarm in _alarms(request.getfixturevalue(stage)).values():
        for namespace, _, dimensions in _metrics(alarm):
            if namespace == NAMESPACE:
                assert dimensions["stage"] == stage


def test_an_emulator_is_asked_for_no_metric_math(
    local: Synthesized, alarms: dict[str, dict[str, Any]]
) -> None:
    assert alarms.keys() - _alarms(local).keys() == {"RefusedShare"}
    assert local.resources("AWS::Logs::QueryDefinition") == {}


# --- what an alarm says -------------------------------------------------------------------------


def test_an_alarm_says_what_to_do_and_tells_somebody(alarms: dict[str, dict[str, Any]]) -> None:
    assert alarms
    for name, alarm in alarms.items():
        assert len(alarm["AlarmDescription"]) > 60
        page = re.search(r"What to do: (docs/runbook/[a-z-]+\.md)$", alarm["AlarmDescription"])
        assert page is not None
        assert f"`{name}`" in (ROOT / page[1]).read_text(encoding="utf-8")
        for actions in (alarm["AlarmActions"], alarm["OKActions"]):
            (topic,) = actions
            assert topic["Ref"].startswith("Alarms")
        # What is measured once a day stands until it is measured again; other quiet is good.
        missing = "ignore" if name in DAILY else "notBreaching"
        assert alarm["TreatMissingData"] == missing


def test_alarms_can_refer_to_pages_on_the_web(tmp_path: Path) -> None:
    url = "https://git.example.com/flowstack/blob/main/"
    for alarm in _alarms(_synthesize(tmp_path, runbook_url=url)).values():
        assert f"What to do: {url}docs/runbook/" in alarm["AlarmDescription"]


def _synthesize(outdir: Path, **context: Any) -> Synthesized:
    app = new_app(outdir, stage="prod", **context)
    return Synthesized(app, Application(app, Sources(ROOT), Environment()))


def test_cloudwatch_can_use_the_key_of_the_encrypted_topic(prod: Synthesized) -> None:
    topic = prod.named("AWS::SNS::Topic", "Alarms")
    key = topic["KmsMasterKeyId"]["Fn::GetAtt"][0]
    properties = prod.template("monitoring")["Resources"][key]["Properties"]
    assert properties["EnableKeyRotation"] is True
    permitted = [
        statement["Action"]
        for statement in properties["KeyPolicy"]["Statement"]
        if statement["Principal"] == {"Service": "cloudwatch.amazonaws.com"}
    ]
    assert permitted == [["kms:Decrypt", "kms:GenerateDataKey"]]
    policy = prod.named("AWS::SNS::TopicPolicy", "AlarmsPolicy")
    publishers = [
        statement["Principal"]
        for statement in policy["PolicyDocument"]["Statement"]
        if statement["Effect"] == "Allow"
    ]
    assert publishers == [{"Service": "cloudwatch.amazonaws.com"}]


# --- the dashboard ------------------------------------------------------------------------------


def _widgets(synthesized: Synthesized) -> list[dict[str, Any]]:
    (dashboard,) = synthesized.resources("AWS::CloudWatch::Dashboard").values()
    parts = dashboard["DashboardBody"]["Fn::Join"][1]
    body = "".join(
        part if isinstance(part, str) else json.dumps(part).replace('"', "'") for part in parts
    )
    widgets: list[dict[str, Any]] = json.loads(body)["widgets"]
    return widgets


def _shown(synthesized: Synthesized) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Yield namespace, name and dimensions of every metric that is shown."""
    for widget in _widgets(synthesized):
        for namespace, *more in (
            metric
            for metric in widget["properties"].get("metrics", ())
            if isinstance(metric[0], str)
        ):
            words = [word for word in more if isinstance(word, str)]
            yield namespace, words[0], dict(zip(words[1::2], words[2::2], strict=True))


def _searched(synthesized: Synthesized) -> list[str]:
    return [
        metric[0]["expression"]
        for widget in _widgets(synthesized)
        for metric in widget["properties"].get("metrics", ())
        if isinstance(metric[0], dict)
    ]


def test_the_dashboard_shows_the_state_of_every_alarm(prod: Synthesized) -> None:
    (states,) = (widget for widget in _widgets(prod) if widget["type"] == "alarm")
    alarms = prod.resources("AWS::CloudWatch::Alarm")
    shown = {re.search(r"'(\w+)', 'Arn'", arn)[1] for arn in states["properties"]["alarms"]}  # type: ignore[index]
    assert shown == set(alarms)
    assert len(alarms) <= 100, "as many as one widget shows"


def test_the_dashboard_shows_metrics_that_are_written(prod: Synthesized) -> None:
    own = [(name, by) for namespace, name, by in _shown(prod) if namespace == NAMESPACE]
    assert {name for name, _ in own} >= {"Overhead", "SessionsReleased", "MonthEndOpen"}
    for name, dimensions in own:
        assert _is_written(name, dimensions), f"nobody writes {name} {dimensions}"


def test_the_dashboard_finds_tiers_and_providers_as_they_are_written(prod: Synthesized) -> None:
    searched = _searched(prod)
    assert len(searched) >= 6
    for expression in searched:
        found = re.fullmatch(
            r"SEARCH\('\{FlowStack,([a-z,]+)\} MetricName=\"(\w+)\" stage=\"prod\"', '\w+', 300\)",
            expression,
        )
        assert found is not None, expression
        assert tuple(found[1].split(",")) in METRICS[found[2]].dimension_sets


@pytest.mark.parametrize(
    ("namespace", "metric"),
    [
        ("AWS/ApiGateway", "Latency"),
        ("AWS/Lambda", "Errors"),
        ("AWS/Lambda", "IteratorAge"),
        ("AWS/SQS", "ApproximateNumberOfMessagesVisible"),
        ("AWS/DynamoDB", "ConsumedWriteCapacityUnits"),
        ("AWS/DynamoDB", "WriteThrottleEvents"),
        ("AWS/Billing", "EstimatedCharges"),
    ],
)
def test_the_dashboard_shows_what_aws_measures(
    namespace: str, metric: str, prod: Synthesized
) -> None:
    assert (namespace, metric) in {(namespace, name) for namespace, name, _ in _shown(prod)}


def test_the_dashboard_fits_its_grid(prod: Synthesized) -> None:
    for widget in _widgets(prod):
        assert widget["x"] + widget["width"] <= 24


# --- logs ---------------------------------------------------------------------------------------


def test_saved_queries_look_into_logs_that_there_are(prod: Synthesized) -> None:
    groups = {
        str(group["LogGroupName"]) for group in prod.resources("AWS::Logs::LogGroup").values()
    }
    queries = prod.resources("AWS::Logs::QueryDefinition").values()
    assert len(queries) >= 5
    for query in queries:
        assert query["Name"].startswith("FlowStack-prod-logs/")
        assert set(query["LogGroupNames"]) <= groups
        assert len(query["LogGroupNames"]) <= 50


def test_saved_queries_ask_for_fields_that_the_access_log_has(prod: Synthesized) -> None:
    (stage,) = prod.resources("AWS::ApiGateway::Stage").values()
    logged = json.loads(stage["AccessLogSetting"]["Format"])
    for query in prod.resources("AWS::Logs::QueryDefinition").values():
        if query["LogGroupNames"] == ["/aws/apigateway/FlowStack-prod-api"]:
            asked = set(
                re.findall(r"\b(?:[a-z]+_)+[a-z]+\b|\bstatus\b|\broute\b", query["QueryString"])
            )
            assert asked <= logged.keys(), query["Name"]


# --- costs --------------------------------------------------------------------------------------


def test_no_budget_is_made_unless_asked_for(prod: Synthesized) -> None:
    assert prod.resources("AWS::Budgets::Budget") == {}


def test_a_budget_tells_the_topic_and_may_use_its_key(tmp_path: Path) -> None:
    synthesized = _synthesize(tmp_path, monthly_budget="250")
    (budget,) = synthesized.resources("AWS::Budgets::Budget").values()
    assert budget["Budget"]["BudgetLimit"] == {"Amount": 250, "Unit": "USD"}
    assert [
        (each["Notification"]["NotificationType"], each["Notification"]["Threshold"])
        for each in budget["NotificationsWithSubscribers"]
    ] == [("ACTUAL", 80), ("ACTUAL", 100), ("FORECASTED", 100)]
    for each in budget["NotificationsWithSubscribers"]:
        (subscriber,) = each["Subscribers"]
        assert subscriber["Address"]["Ref"].startswith("Alarms")
    template = json.dumps(synthesized.template("monitoring"))
    assert template.count('"budgets.amazonaws.com"') == 2, "the topic and its key"
    assert _findings(synthesized.app) == []


@pytest.mark.parametrize("value", ["", "much", "0", "-5", "inf", "nan"])
def test_a_budget_is_an_amount_of_money(value: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidBudgetError, match="positive number of US dollars"):
        _synthesize(tmp_path, monthly_budget=value)
