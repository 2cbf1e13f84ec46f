"""Alarms that the operator has to act on now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aws_cdk import CfnOutput, Duration, Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as cloudwatch_actions
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from constructs import Construct

from stacks.api_stack import ApiStack
from stacks.constructs.table import StageTable
from stacks.data_stack import DataStack
from stacks.lifecycle_stack import LifecycleStack
from stacks.rights_stack import RightsStack
from stacks.stage import Stage

PERIOD = Duration.minutes(5)
MINUTE = Duration.minutes(1)


class MonitoringStack(Stack):
    """One topic, and the alarms that speak through it.

    Context ``alarm_email`` subscribes an address; other subscribers are added to the topic.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        stage: Stage,
        data: DataStack,
        api: ApiStack,
        lifecycle: LifecycleStack,
        rights: RightsStack,
        **kwargs: Any,
    ) -> None:
        super().__init__(scope, construct_id, **kwargs)
        self._stage = stage
        self.topic = self._topic()
        self._watch_api(api)
        for name in (api.authorizer.function_name, api.conversation.function_name):
            self._watch_function(name)
        self._watch_expiry(lifecycle)
        self._watch_rights(rights)
        for table in (data.accounts, data.sessions, data.usage):
            self._watch_table(table)
        # One alarm for each request on the way of a message: who asks, go on, start.
        self._watch_operation(data.accounts, "GetItem")
        self._watch_operation(data.sessions, "UpdateItem")
        self._watch_operation(data.sessions, "TransactWriteItems")
        CfnOutput(self, "AlarmTopicArn", value=self.topic.topic_arn)

    def _topic(self) -> sns.Topic:
        key = kms.Key(
            self,
            "Key",
            description=f"Encrypts the alarms of FlowStack ({self._stage.name})",
            enable_key_rotation=True,
            removal_policy=self._stage.removal_policy,
        )
        # CloudWatch cannot publish to a topic encrypted with a key that does not let it.
        key.add_to_resource_policy(
            iam.PolicyStatement(
                principals=[iam.ServicePrincipal("cloudwatch.amazonaws.com")],
                actions=["kms:Decrypt", "kms:GenerateDataKey"],
                resources=["*"],
                conditions={"StringEquals": {"aws:SourceAccount": self.account}},
            )
        )
        topic = sns.Topic(
            self,
            "Alarms",
            display_name=f"FlowStack {self._stage.name} alarms",
            master_key=key,
            enforce_ssl=True,
        )
        # With a policy of its own, a topic loses the one that lets its account publish.
        topic.add_to_resource_policy(
            iam.PolicyStatement(
                sid="AllowAlarms",
                principals=[iam.ServicePrincipal("cloudwatch.amazonaws.com")],
                actions=["sns:Publish"],
                resources=[topic.topic_arn],
                conditions={"StringEquals": {"aws:SourceAccount": self.account}},
            )
        )
        address = self.node.try_get_context("alarm_email")
        if address is not None:
            topic.add_subscription(subscriptions.EmailSubscription(str(address)))
        return topic

    def _watch_api(self, api: ApiStack) -> None:
        self._alarm(
            "ApiServerErrors",
            cloudwatch.Metric(
                namespace="AWS/ApiGateway",
                metric_name="5XXError",
                dimensions_map={"ApiName": api.api_name, "Stage": self._stage.name},
                statistic="Sum",
                period=MINUTE,
            ),
            threshold=5,
            periods=5,
            breaching=3,
            description="Customers get 5xx answers: five or more a minute in three of five"
            " minutes. Look at the access log by status and route, then at that function's log.",
        )

    def _watch_function(self, name: str) -> None:
        part = name.rsplit("-", 1)[-1].capitalize()
        self._alarm(
            f"{part}Errors",
            _function_metric(name, "Errors"),
            threshold=3,
            description=f"{name} crashed or ran out of time three times in five minutes. Its log"
            " has the exception; a session started there is released by the expiry function.",
        )
        self._alarm(
            f"{part}Throttles",
            _function_metric(name, "Throttles"),
            threshold=1,
            description=f"Lambda refused to start {name}: the account's concurrency is used up."
            " Raise the quota, or find who uses it.",
        )

    def _watch_expiry(self, lifecycle: LifecycleStack) -> None:
        name = lifecycle.expiry.function_name
        self._alarm(
            "ExpiryDeadLetters",
            cloudwatch.Metric(
                namespace="AWS/SQS",
                metric_name="ApproximateNumberOfMessagesVisible",
                dimensions_map={"QueueName": lifecycle.dead_letters_name},
                statistic="Maximum",
                period=PERIOD,
            ),
            threshold=1,
            description="Deleted sessions were given up on, and customers may be billed for"
            " sessions without an answer. Read the messages, mend the cause, then run the usage"
            " audit of the customers concerned.",
        )
        self._alarm(
            "ExpiryIteratorAge",
            _function_metric(name, "IteratorAge", statistic="Maximum"),
            threshold=Duration.hours(1).to_milliseconds(),
            description=f"{name} is an hour behind the stream of the sessions table, which keeps"
            " changes for 24 hours. See its log and its throttles.",
        )

    def _watch_rights(self, rights: RightsStack) -> None:
        self._alarm(
            rights.dead_letters.node.id,
            cloudwatch.Metric(
                namespace="AWS/SQS",
                metric_name="ApproximateNumberOfMessagesVisible",
                dimensions_map={"QueueName": rights.dead_letters.name},
                statistic="Maximum",
                period=PERIOD,
            ),
            threshold=1,
            description="A step of an export or an erasure failed five times, and a customer waits"
            " for its right. Read the function's log, mend the cause, then redrive the queue.",
        )

    def _watch_table(self, table: StageTable) -> None:
        part = table.name.capitalize()
        for kind in ("Read", "Write"):
            self._alarm(
                f"{part}{kind}Throttles",
                table.resource.metric(f"{kind}ThrottleEvents", statistic="Sum", period=PERIOD),
                threshold=10,
                description=f"DynamoDB throttles the {table.name} table ({kind.lower()}s), and"
                " requests are answered with 503. One item takes at most 1,000 writes or 3,000"
                " reads a second: look for a customer far above the others.",
            )

    def _watch_operation(self, table: StageTable, operation: str) -> None:
        self._alarm(
            f"{table.name.capitalize()}{operation}SystemErrors",
            table.resource.metric(
                "SystemErrors",
                dimensions_map={"TableName": table.resource.table_name, "Operation": operation},
                statistic="Sum",
                period=PERIOD,
            ),
            threshold=5,
            description=f"DynamoDB itself fails at {operation} on the {table.name} table. Requests"
            " are refused, not waved through. See the AWS Health Dashboard of the region.",
        )

    def _alarm(
        self,
        construct_id: str,
        metric: cloudwatch.IMetric,
        *,
        threshold: float,
        description: str,
        periods: int = 1,
        breaching: int = 1,
    ) -> None:
        alarm = cloudwatch.Alarm(
            self,
            construct_id,
            alarm_name=self._stage.name_of(construct_id),
            alarm_description=description,
            metric=metric,
            threshold=threshold,
            evaluation_periods=periods,
            datapoints_to_alarm=breaching,
            comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
            # No calls, no metric: quiet is not an emergency.
            treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
        )
        actions: Sequence[cloudwatch.IAlarmAction] = [cloudwatch_actions.SnsAction(self.topic)]
        alarm.add_alarm_action(*actions)
        alarm.add_ok_action(*actions)


def _function_metric(name: str, metric: str, statistic: str = "Sum") -> cloudwatch.Metric:
    return cloudwatch.Metric(
        namespace="AWS/Lambda",
        metric_name=metric,
        dimensions_map={"FunctionName": name},
        statistic=statistic,
        period=PERIOD,
    )
