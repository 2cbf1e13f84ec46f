"""The HTTPS API and the functions behind it."""

from __future__ import annotations

import json
from typing import Any

from aws_cdk import Aws, CfnOutput, Duration, Size
from aws_cdk import aws_apigateway as apigateway
from aws_cdk import aws_logs as logs
from constructs import Construct

from stacks.billing_stack import BillingStack
from stacks.constructs.acknowledgement import acknowledge
from stacks.constructs.function import StageFunction
from stacks.constructs.function_stack import FunctionStack
from stacks.constructs.layer import ClientLayer
from stacks.constructs.queue import may_redrive, may_send
from stacks.data_stack import BY_KIND, CREDENTIALS, HELD_SESSIONS, DataStack
from stacks.deferred_requests import RequestQueue, worker_of
from stacks.gateway_responses import add_gateway_responses
from stacks.model_access import ModelAccess
from stacks.payments import VARIABLE, PaymentsLayer, SigningSecret
from stacks.rights_stack import RightsStack
from stacks.sources import Sources
from stacks.stage import Stage
from stacks.webhook_stack import WebhookStack

AUTHORIZER_CACHE = Duration.seconds(60)
"""How long a revoked key can still be accepted."""

CONVERSATION_TIMEOUT = Duration.seconds(28)
"""One second short of the 29 that API Gateway waits, so that the function answers itself."""

BEARER = "^[Bb][Ee][Aa][Rr][Ee][Rr] +fs_[A-Za-z0-9]+ *$"
"""Anything else is answered 401 by API Gateway itself."""

COMPRESSED_FROM = Size.kibibytes(1)
"""From this size on, API Gateway compresses for who accepts it: the console, and long documents."""

REQUESTS_PER_SECOND = 1_000
BURST = 2_000

_CLOSING = ("BatchGetItem", "PutItem", "UpdateItem", "Query")
"""What closing a period does on the table of usage."""

# Neither headers nor bodies: the API key is in a header. A line is filled in by plain substitution,
# so no variable may hold what a caller wrote. Of these it can choose the request's id only, as a
# UUID; the extended one it cannot ("Access logging for REST APIs", API Gateway).
_ACCESS_LOG_FIELDS = {
    "request_id": "$context.requestId",
    "extended_request_id": "$context.extendedRequestId",
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


class ApiStack(FunctionStack):
    """What customers and the operator call."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        stage: Stage,
        sources: Sources,
        data: DataStack,
        billing: BillingStack,
        rights: RightsStack,
        webhooks: WebhookStack,
        **kwargs: Any,
    ) -> None:
        super().__init__(scope, construct_id, stage=stage, sources=sources, **kwargs)
        self.authorizer = self._authorizer_function(data)
        models = ModelAccess(self, stage=stage, sources=sources, data=data)
        self.requests = RequestQueue(self, "Requests", stage=stage)
        self.conversation = self._conversation_function(data, models)
        self.worker = worker_of(self.requests, self._function, data, models)
        self.usage = self._usage_function(data)
        self.byok = self._byok_function(data)
        self.billing = self._billing_function(data)
        self.alerts = self._alerts_function(data, webhooks)
        self.vault = self._vault_function(data)
        self.public = self._public_function()
        self.admin = self._admin_function(data, billing, rights, webhooks)
        self.payments = self._payments_function(data)
        self.api_name = stage.name_of("api")
        self.access_log_name = f"/aws/apigateway/{self.api_name}"
        self.api = self._rest_api()
        self._add_routes()
        add_gateway_responses(self.api)
        self._client = ClientLayer(self, "Client", stage=stage, sources=sources)
        self._add_outputs()

    def _authorizer_function(self, data: DataStack) -> StageFunction:
        return self._function(
            "Authorizer",
            name="authorizer",
            description="Who is behind an API key",
            timeout=Duration.seconds(5),
            # CPU comes with memory, and this function is on the way of every request.
            memory_mb=512,
            tables=[data.accounts.access("GetItem", "Query")],
        )

    def _conversation_function(self, data: DataStack, models: ModelAccess) -> StageFunction:
        function = self._function(
            "Conversation",
            name="conversation",
            description="POST /invoke, POST /chat, GET /requests and /v1",
            timeout=CONVERSATION_TIMEOUT,
            memory_mb=1024,
            tables=[
                models.accounts("ConditionCheckItem"),
                data.sessions.access(
                    "GetItem",
                    "PutItem",
                    "UpdateItem",
                    "DeleteItem",
                    "Query",
                    query_index=HELD_SESSIONS,
                ),
                data.usage.access("GetItem", "PutItem", "UpdateItem", "ConditionCheckItem"),
            ],
            statements=[*models.statements, may_send(self.requests)],
            more_layers=models.layers,
            environment={**models.environment, **self.requests.environment},
        )
        models.acknowledge_on(function.role)
        return function

    def _usage_function(self, data: DataStack) -> StageFunction:
        return self._function(
            "Usage",
            name="usage",
            description="GET /usage, its history, forecast and advice, GET /tier-info",
            timeout=Duration.seconds(10),
            memory_mb=512,
            tables=[
                data.accounts.access("GetItem"),
                data.usage.access("GetItem", partitions={"ROLLUPS#": ("Query",)}),
                data.sessions.access(query_index=HELD_SESSIONS),
            ],
        )

    def _byok_function(self, data: DataStack) -> StageFunction:
        return self._function(
            "Byok",
            name="byok",
            description="/api/byok-credentials: seals what it is given, and can open nothing",
            timeout=Duration.seconds(10),
            memory_mb=512,
            tables=[
                data.accounts.access(
                    partitions={
                        CREDENTIALS: ["GetItem", "Query", "PutItem", "DeleteItem"],
                        "AUDIT#": ["GetItem", "PutItem"],
                    }
                )
            ],
            statements=[data.credentials_access("Encrypt")],
            environment={"CREDENTIALS_KEY": data.credentials_key.key_arn},
        )

    def _billing_function(self, data: DataStack) -> StageFunction:
        return self._function(
            "Billing",
            name="billing",
            description="/subscription and GET /api/billing/history",
            timeout=CONVERSATION_TIMEOUT,
            memory_mb=512,
            tables=[
                data.accounts.access("GetItem", "BatchGetItem", "PutItem"),
                data.usage.access(*_CLOSING, "GetItem", "ConditionCheckItem"),
            ],
        )

    def _vault_function(self, data: DataStack) -> StageFunction:
        tables = [data.vault.access("GetItem", "PutItem", "DeleteItem", "BatchWriteItem", "Query")]
        if self._stage.test_clocks:
            tables.append(data.accounts.access("GetItem"))
        return self._function(
            "Vault",
            name="vault",
            description="/datavault: the customers' documents",
            timeout=CONVERSATION_TIMEOUT,
            memory_mb=1024,
            tables=tables,
        )

    def _alerts_function(self, data: DataStack, webhooks: WebhookStack) -> StageFunction:
        return self._function(
            "Alerts",
            name="alerts",
            description="/alerts and /budget: seals the secrets of webhooks, and can open none",
            timeout=Duration.seconds(10),
            memory_mb=512,
            tables=[
                data.accounts.access(
                    partitions={
                        "CUSTOMER#": [
                            "GetItem",
                            "Query",
                            "PutItem",
                            "DeleteItem",
                            "ConditionCheckItem",
                        ],
                        "AUDIT#": ["GetItem", "PutItem"],
                    }
                ),
                data.usage.access("GetItem", "BatchGetItem", "Query", "PutItem", "UpdateItem"),
            ],
            statements=[
                data.credentials_access("Encrypt", of_webhooks=True),
                may_send(webhooks.queue),
            ],
            environment={
                **webhooks.variables,
                **self._stage.egress_environment,
                "CREDENTIALS_KEY": data.credentials_key.key_arn,
            },
        )

    def _public_function(self) -> StageFunction:
        return self._function(
            "Public",
            name="public",
            description="GET /pricing, GET /health, GET /openapi.json and GET /console",
            timeout=Duration.seconds(5),
            memory_mb=256,
        )

    def _admin_function(
        self,
        data: DataStack,
        billing: BillingStack,
        rights: RightsStack,
        webhooks: WebhookStack,
    ) -> StageFunction:
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
            statements=[
                may_send(billing.steps, billing.closes, rights.steps, webhooks.queue),
                may_redrive(billing.closes_dead_letters, webhooks.dead_letters),
                *data.archives.may_read(),
            ],
            environment={
                **rights.variables,
                **webhooks.variables,
                "WEBHOOKS_DEAD_LETTERS_URL": webhooks.dead_letters.queue_url,
                "STEPS_QUEUE_URL": billing.steps.queue_url,
                "CLOSES_QUEUE_URL": billing.closes.queue_url,
                "CLOSES_DEAD_LETTERS_URL": billing.closes_dead_letters.queue_url,
            },
        )
        data.archives.acknowledge_on(function.role)
        return function

    def _payments_function(self, data: DataStack) -> StageFunction | None:
        """Return the function behind the webhook of payments, where payments are taken."""
        secret = SigningSecret.configured(self)
        if secret is None:
            return None
        return self._function(
            "Payments",
            name="payments",
            description="POST /webhooks/stripe",
            # Stripe waits for about ten seconds, and sends the event again.
            timeout=Duration.seconds(20),
            memory_mb=512,
            tables=[
                data.accounts.access("GetItem", "BatchGetItem", "PutItem"),
                data.usage.access(*_CLOSING, "GetItem", "ConditionCheckItem"),
            ],
            statements=[secret.statement],
            more_layers=[PaymentsLayer(self, "Stripe", stage=self._stage, sources=self._sources)],
            environment={VARIABLE: secret.reference},
        )

    def _rest_api(self) -> apigateway.RestApi:
        access_log = logs.LogGroup(
            self,
            "AccessLog",
            log_group_name=self.access_log_name,
            retention=self._stage.log_retention,
            removal_policy=self._stage.removal_policy,
        )
        api = apigateway.RestApi(
            self,
            "Api",
            rest_api_name=self.api_name,
            description=f"FlowStack ({self._stage.name})",
            endpoint_types=[apigateway.EndpointType.REGIONAL],
            min_compression_size=COMPRESSED_FROM,
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
        # Its results are kept by the one header that the authorizer is given: see there.
        bearer_authorizer = apigateway.TokenAuthorizer(
            self,
            "BearerAuthorizer",
            handler=self.authorizer.alias,
            validation_regex=BEARER,
            results_cache_ttl=AUTHORIZER_CACHE,
        )
        conversation = _integration(self.conversation)
        usage = _integration(self.usage)
        byok = _integration(self.byok)
        billing = _integration(self.billing)
        alerts = _integration(self.alerts)
        public = _integration(self.public)
        root = self.api.root
        for method, path, integration in (
            ("POST", "/invoke", conversation),
            ("POST", "/chat", conversation),
            ("GET", "/usage", usage),
            ("GET", "/usage/history", usage),
            ("GET", "/usage/forecast", usage),
            ("GET", "/usage/recommendations", usage),
            ("GET", "/tier-info", usage),
            ("POST", "/api/byok-credentials", byok),
            ("GET", "/api/byok-credentials", byok),
            ("DELETE", "/api/byok-credentials/{provider}", byok),
            ("GET", "/subscription", billing),
            ("POST", "/subscription", billing),
            ("DELETE", "/subscription", billing),
            ("GET", "/api/billing/history", billing),
            ("GET", "/api/billing/history/{period}", billing),
            ("GET", "/budget", alerts),
            ("PUT", "/budget", alerts),
            ("GET", "/alerts/webhook", alerts),
            ("PUT", "/alerts/webhook", alerts),
            ("DELETE", "/alerts/webhook", alerts),
            ("POST", "/alerts/webhook/secret", alerts),
            ("POST", "/alerts/webhook/test", alerts),
            ("GET", "/alerts/webhook/deliveries", alerts),
            ("GET", "/alerts/webhook/deliveries/{event_id}", alerts),
            ("POST", "/alerts/webhook/deliveries/{event_id}/redeliver", alerts),
            ("GET", "/alerts", alerts),
            ("PUT", "/alerts", alerts),
        ):
            root.resource_for_path(path).add_method(
                method,
                integration,
                authorization_type=apigateway.AuthorizationType.CUSTOM,
                authorizer=authorizer,
            )
        root.add_resource("requests").add_resource("{request_id}").add_method(
            "GET",
            conversation,
            authorization_type=apigateway.AuthorizationType.CUSTOM,
            authorizer=authorizer,
        )
        # All of it, so that what OpenAI's clients ask for in vain is refused in their words.
        root.add_resource("v1").add_resource("{proxy+}").add_method(
            "ANY",
            conversation,
            authorization_type=apigateway.AuthorizationType.CUSTOM,
            authorizer=bearer_authorizer,
        )
        self._add_vault_routes(authorizer)
        for path in (
            *("/pricing", "/health", "/openapi.json"),
            *("/console", "/console/{version}/{name}"),
        ):
            route = root.resource_for_path(path).add_method(
                "GET", public, authorization_type=apigateway.AuthorizationType.NONE
            )
            for rule in ("APIG4", "COG4"):
                acknowledge(route, rule, "Public by design: plans, contract, health, the page.")
        if self.payments is not None:
            webhook = root.resource_for_path("/webhooks/stripe").add_method(
                "POST",
                _integration(self.payments),
                authorization_type=apigateway.AuthorizationType.NONE,
            )
            for rule in ("APIG4", "COG4"):
                acknowledge(webhook, rule, "Stripe proves itself by a signature over the body.")
        admin = root.add_resource("admin").add_resource("{proxy+}")
        admin.add_method(
            "ANY",
            _integration(self.admin),
            authorization_type=apigateway.AuthorizationType.IAM,
        )

    def _add_vault_routes(self, authorizer: apigateway.IAuthorizer) -> None:
        vault = _integration(self.vault)
        root = self.api.root.add_resource("datavault")
        for path, methods in (
            (None, ("POST", "GET", "PUT", "DELETE")),
            ("query", ("POST",)),
            ("count", ("POST",)),
            ("collections", ("GET",)),
            ("health", ("GET",)),
        ):
            resource = root if path is None else root.add_resource(path)
            for method in methods:
                resource.add_method(
                    method,
                    vault,
                    authorization_type=apigateway.AuthorizationType.CUSTOM,
                    authorizer=authorizer,
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
        CfnOutput(self, "ClientLayerArn", value=self._client.version.layer_version_arn)
        for function in self.functions:
            CfnOutput(
                self,
                f"{function.name.capitalize()}FunctionName",
                value=function.function.function_name,
            )

    @property
    def functions(self) -> tuple[StageFunction, ...]:
        return (
            self.authorizer,
            self.conversation,
            self.worker,
            self.usage,
            self.byok,
            self.billing,
            self.alerts,
            self.vault,
            self.public,
            self.admin,
            *(() if self.payments is None else (self.payments,)),
        )


def _integration(function: StageFunction) -> apigateway.LambdaIntegration:
    return apigateway.LambdaIntegration(function.alias, allow_test_invoke=False)
