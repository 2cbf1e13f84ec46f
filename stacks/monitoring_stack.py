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
from stacks.billing_stack import BillingStack
from stacks.constructs.function import StageFunction
from stacks.constructs.queue import DeadLetters
from stacks.constructs.table import StageTable
from stacks.data_stack import DataStack
from stacks.lifecycle_stack import LifecycleStack
from stacks.rights_stack import RightsStack
from stacks.stage import Stage
from stacks.webhook_stack import WebhookStack

PERIOD = Duration.minutes(5)
MINUTE = Duration.minutes(1)

METRICS = "FlowStack"
"""Namespace of the metrics that functions write themselves."""


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
        billing: BillingStack,
        rights: RightsStack,
        webhooks: WebhookStack,
        **kwargs: Any,
    ) -> None:
        super().__init__(scope, construct_id, **kwargs)
        self._stage = stage
        self.topic = self._topic()
        self._watch_api(api)
        if api.payments is not None:
            self._watch_payments(api)
        for function in (api.authorizer, api.conversation):
            self._watch_requests(function)
        self._watch_expiry(lifecycle)
        self._watch_rollups(lifecycle)
        self._watch_month_end(billing)
        self._watch_alerts(billing)
        self._watch_margins(billing)
        self._watch_deferred_requests(api)
        self._watch_rights(rights)
        self._watch_webhooks(webhooks)
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

    def _watch_payments(self, api: ApiStack) -> None:
        """Watch the webhook by what it answers: that holds crashes and time-outs too."""
        self._alarm(
            "PaymentEventsFailing",
            self._webhook_metric(api, "5XXError"),
            threshold=1,
            description="A payment event could not be carried out. Stripe sends it again for three"
            " days: see the log of the payments function.",
        )
        self._alarm(
            "PaymentEventsRefused",
            self._webhook_metric(api, "4XXError"),
            threshold=5,
            description="Five calls of the payment webhook in five minutes were refused. Either"
            " the signing secret is not Stripe's, and no payment is taken over, or somebody else"
            " is calling.",
        )

    def _webhook_metric(self, api: ApiStack, metric: str) -> cloudwatch.Metric:
        return cloudwatch.Metric(
            namespace="AWS/ApiGateway",
            metric_name=metric,
            dimensions_map={
                "ApiName": api.api_name,
                "Stage": self._stage.name,
                "Resource": "/webhooks/stripe",
                "Method": "POST",
            },
            statistic="Sum",
            period=PERIOD,
        )

    def _watch_requests(self, function: StageFunction) -> None:
        name, part = function.function_name, function.node.id
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
        self._watch_dead_letters(
            lifecycle.dead_letters,
            "Deleted sessions were given up on, and customers may be billed for"
            " sessions without an answer. Read the messages, mend the cause, then run the usage"
            " audit of the customers concerned.",
        )
        self._watch_stream(lifecycle.expiry, "sessions")

    def _watch_rollups(self, lifecycle: LifecycleStack) -> None:
        self._watch_dead_letters(
            lifecycle.rollup_dead_letters,
            "Sessions are missing in the usage history; what is billed is right. Read the"
            " messages, mend the cause, then give the records to the function again.",
        )
        self._watch_stream(lifecycle.rollups, "sessions")

    def _watch_month_end(self, billing: BillingStack) -> None:
        self._watch_dead_letters(
            billing.month_end_dead_letters,
            "A schedule could not start the month end, or what it started failed three times."
            " Read the message and the function's log, then start it by hand.",
        )
        self._watch_dead_letters(
            billing.steps_dead_letters,
            "Listing the customers of a month end failed five times. Read the function's log,"
            " mend the cause, then resume the month end.",
        )
        self._watch_dead_letters(
            billing.closes_dead_letters,
            "Some customers' periods could not be closed, and they have no statement. The reason"
            " is on the message and in the month end's progress; mend it, then redrive.",
        )
        for function in (billing.month_end, billing.close):
            self._alarm(
                f"{function.node.id}Errors",
                _function_metric(function.function_name, "Errors"),
                threshold=3,
                description=f"{function.function_name} failed three times in five minutes. Its log"
                " has the exception; what failed is tried again by itself.",
            )
        self._alarm(
            "StepsOldestMessage",
            _queue_metric(billing.steps.name, "ApproximateAgeOfOldestMessage"),
            threshold=Duration.hours(1).to_seconds(),
            description="A step of the month end waits for an hour: its function is throttled, or"
            " no longer listens to the queue. Nobody is closed meanwhile.",
        )
        self._watch_reconciliation(
            "MonthEndOpen",
            "The daily reconciliation found customers whose period has ended and is not closed."
            " See the month end's progress, and the errors of the close function.",
        )
        self._watch_reconciliation(
            "MonthEndFailed",
            "The daily reconciliation found customers whose period could not be closed. The"
            " reasons are in the month end's progress; mend them, then redrive.",
        )

    def _watch_alerts(self, billing: BillingStack) -> None:
        self._watch_dead_letters(
            billing.thresholds_dead_letters,
            "Counts were given up on, and customers may not have been told how much of their limit"
            " is used. Mend the cause; a customer's next session makes up for it.",
        )
        self._watch_dead_letters(
            billing.announcements_dead_letters,
            "Somebody was not told of some statements or alerts. Read the messages within 24 hours,"
            " and give the records to the function again.",
        )
        self._watch_stream(billing.thresholds, "usage")
        self._watch_stream(billing.announcements, "usage")

    def _watch_margins(self, billing: BillingStack) -> None:
        self._watch_dead_letters(
            billing.margins_dead_letters,
            "The daily report of margins could not be made; the one of the day before stands. Read"
            " the message and the function's log, mend the cause, and wait for the next day.",
        )
        self._alarm(
            "CustomersOverCostShare",
            cloudwatch.Metric(
                namespace=METRICS,
                metric_name="CustomersOverCostShare",
                dimensions_map={"service": "margins"},
                statistic="Maximum",
                period=PERIOD,
            ),
            threshold=1,
            description="Managed models of some customers cost more than the set share of what"
            " these pay. `flowstack-admin margin` names them; raise their price, limit or cap"
            " them.",
            # It is measured once a day, and stands until it is measured again.
            missing=cloudwatch.TreatMissingData.IGNORE,
        )

    def _watch_reconciliation(self, gauge: str, description: str) -> None:
        self._alarm(
            gauge,
            cloudwatch.Metric(
                namespace=METRICS,
                metric_name=gauge,
                dimensions_map={"service": "month-end"},
                statistic="Maximum",
                period=PERIOD,
            ),
            threshold=1,
            description=description,
            # It is measured once a day, and stands until it is measured again.
            missing=cloudwatch.TreatMissingData.IGNORE,
        )

    def _watch_dead_letters(self, letters: DeadLetters, description: str) -> None:
        self._alarm(
            letters.node.id,
            _queue_metric(letters.name, "ApproximateNumberOfMessagesVisible"),
            threshold=1,
            description=description,
        )

    def _watch_stream(self, function: StageFunction, table: str) -> None:
        name = function.function_name
        self._alarm(
            f"{function.node.id}IteratorAge",
            _function_metric(name, "IteratorAge", statistic="Maximum"),
            threshold=Duration.hours(1).to_milliseconds(),
            description=f"{name} is an hour behind the stream of the {table} table, which keeps"
            " changes for 24 hours. See its log and its throttles.",
        )

    def _watch_deferred_requests(self, api: ApiStack) -> None:
        self._watch_dead_letters(
            api.requests.dead_letters,
            "Requests to be answered later were given up on after three runs; their customers were"
            " told that they failed, and are not billed. Read the messages and the worker's log,"
            " and mend the cause.",
        )

    def _watch_rights(self, rights: RightsStack) -> None:
        self._watch_dead_letters(
            rights.dead_letters,
            "A step of an export or an erasure failed five times, and a customer waits"
            " for its right. Read the function's log, mend the cause, then redrive the queue.",
        )

    def _watch_webhooks(self, webhooks: WebhookStack) -> None:
        self._watch_dead_letters(
            webhooks.dead_letters,
            "Deliveries to customers' webhooks were given up after more than a day, and their"
            " customers see them as failed. One customer's server is its own affair; many at once"
            " are ours: see the worker's log, mend the cause, then redrive.",
        )
        self._alarm(
            "WebhooksOldestMessage",
            _queue_metric(webhooks.queue.name, "ApproximateAgeOfOldestMessage"),
            threshold=Duration.hours(1).to_seconds(),
            description="A message about a webhook waits for an hour, when the longest delay is 15"
            " minutes: the worker is throttled, fails, or no longer listens to the queue. Customers"
            " are told late.",
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
        # No calls, no metric: quiet is not an emergency.
        missing: cloudwatch.TreatMissingData = cloudwatch.TreatMissingData.NOT_BREACHING,
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
            treat_missing_data=missing,
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


def _queue_metric(name: str, metric: str) -> cloudwatch.Metric:
    return cloudwatch.Metric(
        namespace="AWS/SQS",
        metric_name=metric,
        dimensions_map={"QueueName": name},
        statistic="Maximum",
        period=PERIOD,
    )
