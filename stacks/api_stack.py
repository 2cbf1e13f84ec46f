"""The HTTPS API and the functions behind it."""

from __future__ import annotations

import json
from typing import Any

from aws_cdk import Aws, CfnOutput, Duration, Stack
from aws_cdk import aws_apigateway as apigateway
from aws_cdk import aws_logs as logs
from constructs import Construct

from stacks.bedrock_models import CatalogueAccess
from stacks.constructs.acknowledgement import acknowledge
from stacks.constructs.function import StageFunction
from stacks.constructs.layer import CoreLayer
from stacks.constructs.queue import may_send
from stacks.data_stack import BY_KIND, HELD_SESSIONS, DataStack
from stacks.gateway_responses import add_gateway_responses
from stacks.rights_stack import RightsStack
from stacks.sources import Sources
from stacks.stage import Stage

AUTHORIZER_CACHE = Duration.seconds(60)
"""How long a revoked key can still be accepted."""

CONVERSATION_TIMEOUT = Duration.seconds(28)
"""One second short of the 29 that API Gateway waits, so that the function answers itself."""

REQUESTS_PER_SECOND = 1_000
BURST = 2_000

_CLOSING = ("BatchGetItem", "PutItem", "UpdateItem", "Query")
"""What closing a period does on the table of usage."""

# Neither headers nor bodies: the API key is in a header.
_ACCESS_LOG_FIELDS = {
    "request_id": "$context.requestId",
    "requested_at": "$context.requestTime",
    "source_ip": "$context.identity.sourceIp",
    "method": "$context.httpMethod",
    "route": "$context.resourcePath",
    "status": "$context.status",
    "response_type": "$context.error.responseType",
    "latency_ms": "$context.responseLatency",
    "integration_latency_ms": "$context.integrationLatency",
    "authorizer_latency_ms": "$context.authorizer.latency",
    "customer_id": "$context.authorizer.customer_id",
    "key_id": "$context.authorizer.key_id",
    "trace_id": "$context.xrayTraceId",
}


class ApiStack(Stack):
    """What customers and the operator call."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        stage: Stage,
        sources: Sources,
        data: DataStack,
        rights: RightsStack,
        **kwargs: Any,
    ) -> None:
        super().__init__(scope, construct_id, **kwargs)
        self._stage = stage
        self._sources = sources
        self._layer = CoreLayer(self, "Core", stage=stage, sources=sources)
        self.authorizer = self._authorizer_function(data)
        self.conversation = self._conversation_function(data)
        self.usage = self._usage_function(data)
        self.public = self._public_function()
        self.admin = self._admin_function(data, rights)
        self.api_name = stage.name_of("api")
        self.api = self._rest_api()
        self._add_routes()
        add_gateway_responses(self.api)
        self._add_outputs()

    def _function(self, construct_id: str, **kwargs: Any) -> StageFunction:
        return StageFunction(
            self,
            construct_id,
            stage=self._stage,
            sources=self._sources,
            layer=self._layer,
            **kwargs,
        )

    def _authorizer_function(self, data: DataStack) -> StageFunction:
        return self._function(
            "Authorizer",
            name="authorizer",
            description="Who is behind an API key",
            timeout=Duration.seconds(5),
            # CPU comes with memory, and this function is on the way of every request.
            memory_mb=512,
            tables=[data.accounts.access("GetItem")],
        )

    def _conversation_function(self, data: DataStack) -> StageFunction:
        models = CatalogueAccess(self, self._sources.models)
        function = self._function(
            "Conversation",
            name="conversation",
            description="POST /invoke and POST /chat",
            timeout=CONVERSATION_TIMEOUT,
            memory_mb=1024,
            tables=[
                data.accounts.access("GetItem", "ConditionCheckItem"),
                data.sessions.access(
                    "PutItem",
                    "UpdateItem",
                    "DeleteItem",
                    "Query",
                    query_index=HELD_SESSIONS,
                ),
                data.usage.access("GetItem", "UpdateItem", "ConditionCheckItem"),
            ],
            statements=[models.statement],
        )
        models.acknowledge_on(function.role)
        return function

    def _usage_function(self, data: DataStack) -> StageFunction:
        return self._function(
            "Usage",
            name="usage",
            description="GET /usage and GET /tier-info",
            timeout=Duration.seconds(10),
            memory_mb=512,
            tables=[
                data.accounts.access("GetItem"),
                data.usage.access("GetItem"),
                data.sessions.access("Query", query_index=HELD_SESSIONS),
            ],
        )

    def _public_function(self) -> StageFunction:
        return self._function(
            "Public",
            name="public",
            description="GET /pricing, GET /health and GET /openapi.json",
            timeout=Duration.seconds(5),
            memory_mb=256,
        )

    def _admin_function(self, data: DataStack, rights: RightsStack) -> StageFunction:
        function = self._function(
            "Admin",
            name="admin",
            description="/admin: the operator's acts, signed with IAM credentials",
            timeout=CONVERSATION_TIMEOUT,
            memory_mb=512,
            tables=[
                data.accounts.access(
                    "GetItem",
                    "BatchGetItem",
                    "PutItem",
                    "UpdateItem",
                    "ConditionCheckItem",
                    "Query",
                    query_index=BY_KIND,
                ),
                data.usage.access(*_CLOSING, "GetItem", "ConditionCheckItem"),
                data.sessions.access("Query", query_index=HELD_SESSIONS),
            ],
            statements=[may_send(rights.steps), *data.archives.may_read()],
            environment=rights.variables,
        )
        data.archives.acknowledge_on(function.role)
        return function

    def _rest_api(self) -> apigateway.RestApi:
        access_log = logs.LogGroup(
            self,
            "AccessLog",
            retention=self._stage.log_retention,
            removal_policy=self._stage.removal_policy,
        )
        api = apigateway.RestApi(
            self,
            "Api",
            rest_api_name=self.api_name,
            description=f"FlowStack ({self._stage.name})",
            endpoint_types=[apigateway.EndpointType.REGIONAL],
            # API Gateway writes no log, access log included, before the region has such a role.
            cloud_watch_role=True,
            deploy_options=apigateway.StageOptions(
                stage_name=self._stage.name,
                access_log_destination=apigateway.LogGroupLogDestination(access_log),
                access_log_format=apigateway.AccessLogFormat.custom(json.dumps(_ACCESS_LOG_FIELDS)),
                logging_level=apigateway.MethodLoggingLevel.ERROR,
                # A trace of the data would hold API keys and conversations.
                data_trace_enabled=False,
                metrics_enabled=True,
                tracing_enabled=True,
                throttling_rate_limit=REQUESTS_PER_SECOND,
                throttling_burst_limit=BURST,
            ),
        )
        # It names the stage's URL with a slash at its end; `ApiUrl` is the one to use.
        api.node.try_remove_child("Endpoint")
        self._limit_execution_log(api)
        self._acknowledge_on(api)
        return api

    def _limit_execution_log(self, api: apigateway.RestApi) -> None:
        """Own the log group that API Gateway would otherwise make without a lifetime."""
        execution_log = logs.LogGroup(
            self,
            "ExecutionLog",
            log_group_name=f"API-Gateway-Execution-Logs_{api.rest_api_id}/{self._stage.name}",
            retention=self._stage.log_retention,
            removal_policy=self._stage.removal_policy,
        )
        api.deployment_stage.node.add_dependency(execution_log)

    def _add_routes(self) -> None:
        authorizer = apigateway.RequestAuthorizer(
            self,
            "KeyAuthorizer",
            handler=self.authorizer.alias,
            identity_sources=[apigateway.IdentitySource.header("X-API-Key")],
            results_cache_ttl=AUTHORIZER_CACHE,
        )
        conversation = _integration(self.conversation)
        usage = _integration(self.usage)
        public = _integration(self.public)
        root = self.api.root
        for method, path, integration in (
            ("POST", "invoke", conversation),
            ("POST", "chat", conversation),
            ("GET", "usage", usage),
            ("GET", "tier-info", usage),
        ):
            root.add_resource(path).add_method(
                method,
                integration,
                authorization_type=apigateway.AuthorizationType.CUSTOM,
                authorizer=authorizer,
            )
        for path in ("pricing", "health", "openapi.json"):
            route = root.add_resource(path).add_method(
                "GET", public, authorization_type=apigateway.AuthorizationType.NONE
            )
            for rule in ("APIG4", "COG4"):
                acknowledge(route, rule, "Public by design: the plans, the contract, health.")
        admin = root.add_resource("admin").add_resource("{proxy+}")
        admin.add_method(
            "ANY",
            _integration(self.admin),
            authorization_type=apigateway.AuthorizationType.IAM,
        )

    def _acknowledge_on(self, api: apigateway.RestApi) -> None:
        acknowledge(api, "APIG2", "The functions validate, and answer in the error envelope.")
        acknowledge(
            api,
            "APIG3",
            "A web ACL costs from the first hour and depends on who is to be kept out: the"
            " operator's choice. Keys, throttling and quotas hold without one.",
        )
        acknowledge(
            api, "COG4", "Customers have API keys and operators IAM credentials, not Cognito users."
        )
        acknowledge(
            api,
            "IAM4[Policy::arn:<AWS::Partition>:iam::aws:policy/service-role/"
            "AmazonAPIGatewayPushToCloudWatchLogs]",
            "The policy AWS names for the one role with which API Gateway writes the logs of all"
            " APIs of a region.",
        )

    def _add_outputs(self) -> None:
        url = (
            f"https://{self.api.rest_api_id}.execute-api.{self.region}.{self.url_suffix}"
            f"/{self._stage.name}"
        )
        CfnOutput(self, "ApiUrl", value=url, description="Base URL, without a slash at its end")
        CfnOutput(self, "ApiId", value=self.api.rest_api_id)
        CfnOutput(self, "Region", value=Aws.REGION)
        for function in self.functions:
            CfnOutput(
                self,
                f"{function.name.capitalize()}FunctionName",
                value=function.function.function_name,
            )

    @property
    def functions(self) -> tuple[StageFunction, ...]:
        return (self.authorizer, self.conversation, self.usage, self.public, self.admin)


def _integration(function: StageFunction) -> apigateway.LambdaIntegration:
    return apigateway.LambdaIntegration(function.alias, allow_test_invoke=False)
