"""Saved queries of CloudWatch Logs Insights: the questions that operators ask of the logs."""

from __future__ import annotations

from typing import Any

from aws_cdk import aws_logs as logs
from constructs import Construct

from stacks.api_stack import ApiStack
from stacks.stage import Stage

REQUEST = "REPLACE-WITH-REQUEST-ID"
_PERCENTILES = ", ".join(
    f"pct({field}, 99)"
    for field in ("latency_ms", "integration_latency_ms", "authorizer_latency_ms")
)

CUSTOMER = "REPLACE-WITH-CUSTOMER-ID"


class LogQueries(Construct):
    """Queries of the access log and of the logs of the functions behind the API. They are free."""

    def __init__(self, scope: Construct, construct_id: str, *, stage: Stage, api: ApiStack) -> None:
        super().__init__(scope, construct_id)
        self._stage = stage
        access = self._group("Access", api.access_log_name)
        functions = [self._group(each.node.id, each.log_group_name) for each in api.functions]
        self._query(
            "Request",
            "What happened to a request",
            [access, *functions],
            fields=["@timestamp", "@log", "message", "route", "status", "error_code", "@message"],
            filter_statements=[f"request_id = '{REQUEST}' or api_request_id = '{REQUEST}'"],
            sort="@timestamp asc",
        )
        self._query(
            "Customer",
            "What a customer did last",
            [access],
            fields=["@timestamp", "method", "route", "status", "latency_ms", "request_id"],
            filter_statements=[f"customer_id = '{CUSTOMER}'"],
            sort="@timestamp desc",
            limit=200,
        )
        self._query(
            "Refused",
            "Who is refused, and why",
            functions,
            filter_statements=["message = 'refused'"],
            stats_statements=["count(*) as refusals by customer_id, error_code"],
            sort="refusals desc",
            limit=100,
        )
        self._query(
            "Failures",
            "Where the answers with 5xx come from",
            [access],
            filter_statements=["status >= 500"],
            stats_statements=["count(*) as answers by route, status, response_type, bin(5m)"],
            sort="answers desc",
        )
        self._query(
            "Exceptions",
            "Exceptions",
            functions,
            fields=["@timestamp", "@log", "customer_id", "api_request_id", "exception"],
            filter_statements=["level = 'ERROR'"],
            sort="@timestamp desc",
            limit=100,
        )
        self._query(
            "Slow",
            "Which routes are slow",
            [access],
            stats_statements=[f"count(*) as answers, {_PERCENTILES} by route"],
            sort="answers desc",
        )
        self._query(
            "Busy",
            "Who asks most",
            [access],
            stats_statements=["count(*) as requests by customer_id, key_id, route"],
            sort="requests desc",
            limit=50,
        )

    def _group(self, construct_id: str, name: str) -> logs.ILogGroup:
        return logs.LogGroup.from_log_group_name(self, f"{construct_id}Logs", name)

    def _query(
        self, construct_id: str, name: str, groups: list[logs.ILogGroup], **parts: Any
    ) -> None:
        logs.QueryDefinition(
            self,
            construct_id,
            query_definition_name=f"{self._stage.name_of('logs')}/{name}",
            query_string=logs.QueryString(**parts),
            log_groups=groups,
        )
