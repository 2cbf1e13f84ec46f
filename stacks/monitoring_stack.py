"""Alarms that the operator has to act on now, and what helps to find out why they ring."""

from __future__ import annotations

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
from stacks.budget import MonthlyBudget
from stacks.constructs.function import StageFunction
from stacks.constructs.queue import DeadLetters
from stacks.constructs.table import StageTable
from stacks.dashboard import StageDashboard
from stacks.data_stack import DataStack
from stacks.log_queries import LogQueries
from stacks.measures import (
    MANAGED,
    MINUTE,
    PERIOD,
    api_metric,
    function_metric,
    own_metric,
    queue_metric,
)
from stacks.stage import Stage
from stacks.webhook_stack import WebhookStack

RUNBOOK = "docs/runbook/"
"""Where the pages are that alarms refer to; context ``runbook_url`` says what comes before it."""

LEAST_MESSAGES = 100
"""Of fewer in a quarter of an hour, a share says nothing."""


class MonitoringStack(Stack):
    """One topic, the alarms that speak through it, a dashboard and saved queries of the logs.

    Made last: whatever functions and dead letters it finds in the app have their alarms, so that
    a new one cannot be forgotten. Context ``alarm_email`` subscribes an address; other subscribers
    are added to the topic. Context ``monthly_budget`` (US dollars) has AWS tell of its costs.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        stage: Stage,
        data: DataStack,
        api: ApiStack,
        billing: BillingStack,
        webhooks: WebhookStack,
        **kwargs: Any,
    ) -> None:
        super().__init__(scope, construct_id, **kwargs)
        self.add_dependency(api, "Saved queries name the log groups of its functions.")
        self._stage = stage
        self._alarms: list[cloudwatch.Alarm] = []
        there = scope.node.find_all()
        functions = [part for part in there if isinstance(part, StageFunction)]
        dead_letters = [part for part in there if isinstance(part, DeadLetters)]
        budget = MonthlyBudget.configured(self)
        self.topic = self._topic([] if budget is None else [budget.speaker])
        if budget is not None:
            budget.tell(self, stage, self.topic)
        self._watch_api(api)
        self._watch_messages()
        self._watch_models()
        if api.payments is not None:
            self._watch_payments(api)
        for function in functions:
            self._watch_function(function)
        for letters in dead_letters:
            self._watch_dead_letters(letters)
        self._watch_month_end(billing)
        self._watch_margins()
        self._watch_webhooks(webhooks)
        for table in data.tables:
            self._watch_table(table)
        # One alarm for each request on the way of a message: who asks, go on, start.
        self._watch_operation(data.accounts, "GetItem")
        self._watch_operation(data.sessions, "UpdateItem")
        self._watch_operation(data.sessions, "TransactWriteItems")
        StageDashboard(
            self,
            "Dashboard",
            stage=stage,
            api_name=api.api_name,
            functions=functions,
            dead_letters=dead_letters,
            tables=data.tables,
            alarms=self._alarms,
        )
        if stage.whole_cloudwatch:
            LogQueries(self, "Queries", stage=stage, api=api)
        CfnOutput(self, "AlarmTopicArn", value=self.topic.topic_arn)

    def _topic(self, more_speakers: list[str]) -> sns.Topic:
        speakers = [
            iam.ServicePrincipal(name) for name in ("cloudwatch.amazonaws.com", *more_speakers)
        ]
        key = kms.Key(
            self,
            "Key",
            description=f"Encrypts the alarms of FlowStack ({self._stage.name})",
            enable_key_rotation=True,
            removal_policy=self._stage.removal_policy,
        )
        topic = sns.Topic(
            self,
            "Alarms",
            display_name=f"FlowStack {self._stage.name} alarms",
            master_key=key,
            enforce_ssl=True,
        )
        for speaker in speakers:
            # Nobody can publish to an encrypted topic whose key does not let them.
            key.add_to_resource_policy(
                iam.PolicyStatement(
                    principals=[speaker],
                    actions=["kms:Decrypt", "kms:GenerateDataKey"],
                    resources=["*"],
                    conditions={"StringEquals": {"aws:SourceAccount": self.account}},
                )
            )
            # With a policy of its own, a topic loses the one that lets its account publish.
            topic.add_to_resource_policy(
                iam.PolicyStatement(
                    principals=[speaker],
                    actions=["sns:Publish"],
                    resources=[topic.topic_arn],
                    conditions={"StringEquals": {"aws:SourceAccount": self.account}},
                )
            )
        address = self.node.try_get_context("alarm_email")
        if address is not None:
            topic.add_subscription(subscriptions.EmailSubscription(str(address)))
        return topic

    # --- requests ---------------------------------------------------------------------------

    def _watch_api(self, api: ApiStack) -> None:
        self._alarm(
            "ApiServerErrors",
            api_metric(api.api_name, self._stage, "5XXError", period=MINUTE),
            threshold=5,
            periods=5,
            breaching=3,
            runbook="api-errors",
            description="Customers get 5xx answers: five or more a minute in three of five"
            " minutes.",
        )

    def _watch_messages(self) -> None:
        self._alarm(
            "MessageOverhead",
            own_metric(self._stage, "Overhead", statistic="p99"),
            threshold=1_000,
            periods=5,
            breaching=3,
            few_say_nothing=True,
            runbook="overhead",
            description="One message in a hundred takes a second or more beside its model, in"
            " three of five times five minutes.",
        )
        if self._stage.whole_cloudwatch:
            self._alarm(
                "RefusedShare",
                self._refused_share(),
                threshold=25,
                periods=2,
                breaching=2,
                runbook="refusals",
                description="A quarter or more of all messages is refused by quota, plan or fair"
                " use for half an hour.",
            )

    def _refused_share(self) -> cloudwatch.MathExpression:
        """Return how many of a hundred messages are refused; nothing where there are few."""
        quarter = Duration.minutes(15)
        refusals = {
            "quota": "QuotaRefusals",
            "plan": "TierRefusals",
            "fair": "FairUseRefusals",
        }
        refused = "+".join(f"FILL({each},0)" for each in refusals)
        asked = f"({refused}+FILL(answered,0))"
        return cloudwatch.MathExpression(
            expression=f"IF({asked}>={LEAST_MESSAGES},100*({refused})/{asked},0)",
            using_metrics={
                each: own_metric(self._stage, name, period=quarter)
                for each, name in {**refusals, "answered": "MessagesAnswered"}.items()
            },
            label="Refused, %",
            period=quarter,
        )

    def _watch_models(self) -> None:
        """Watch the operator's own models: those of customers' accounts are theirs to mend."""
        self._alarm(
            "ManagedModelFailures",
            own_metric(
                self._stage,
                "ModelFailures",
                statistic="Average",
                period=MINUTE,
                provider=MANAGED,
            ),
            threshold=0.2,
            periods=5,
            breaching=3,
            runbook="managed-models",
            description="A fifth or more of the calls of managed models fails, in three of five"
            " minutes. Their sessions are not billed.",
        )
        self._alarm(
            "ManagedModelThrottles",
            own_metric(self._stage, "ModelThrottles", provider=MANAGED),
            threshold=10,
            runbook="managed-models",
            description="Bedrock throttled the account ten times in five minutes: its quota of"
            " requests or tokens is used up.",
        )

    def _watch_payments(self, api: ApiStack) -> None:
        """Watch the webhook by what it answers: that holds crashes and time-outs too."""
        webhook = {"Resource": "/webhooks/stripe", "Method": "POST"}
        self._alarm(
            "PaymentEventsFailing",
            api_metric(api.api_name, self._stage, "5XXError", of=webhook),
            threshold=1,
            runbook="payments",
            description="A payment event could not be carried out. Stripe sends it again for three"
            " days.",
        )
        self._alarm(
            "PaymentEventsRefused",
            api_metric(api.api_name, self._stage, "4XXError", of=webhook),
            threshold=5,
            runbook="payments",
            description="Five calls of the payment webhook in five minutes were refused. Either"
            " the signing secret is not Stripe's, and no payment is taken over, or somebody else"
            " is calling.",
        )

    # --- functions, queues, streams ---------------------------------------------------------

    def _watch_function(self, function: StageFunction) -> None:
        name, part = function.function_name, function.node.id
        self._alarm(
            f"{part}Errors",
            function_metric(name, "Errors"),
            threshold=3,
            runbook="function-errors",
            description=f"{name} crashed, ran out of time or gave up three times in five minutes.",
        )
        self._alarm(
            f"{part}Throttles",
            function_metric(name, "Throttles"),
            threshold=1,
            runbook="function-throttles",
            description=f"Lambda refused to start {name}: the account's concurrency is used up.",
        )
        if function.listens_to is not None:
            self._alarm(
                f"{part}IteratorAge",
                function_metric(name, "IteratorAge", statistic="Maximum"),
                threshold=Duration.hours(1).to_milliseconds(),
                runbook="stream-lag",
                description=f"{name} is an hour behind the stream of the {function.listens_to}"
                " table, which keeps changes for 24 hours.",
            )

    def _watch_dead_letters(self, letters: DeadLetters) -> None:
        self._alarm(
            letters.node.id,
            queue_metric(letters.name, "ApproximateNumberOfMessagesVisible"),
            threshold=1,
            runbook="dead-letters",
            description=f"Work was given up on: its messages wait in {letters.name}, for 14 days"
            " and, where they name records of a stream, of use for 24 hours only.",
        )

    def _watch_month_end(self, billing: BillingStack) -> None:
        self._alarm(
            "StepsOldestMessage",
            queue_metric(billing.steps.name, "ApproximateAgeOfOldestMessage"),
            threshold=Duration.hours(1).to_seconds(),
            runbook="month-end",
            description="A step of the month end waits for an hour: its function is throttled, or"
            " no longer listens to the queue. Nobody is closed meanwhile.",
        )
        for gauge, found in (
            ("MonthEndOpen", "has ended and is not closed"),
            ("MonthEndFailed", "could not be closed"),
        ):
            self._alarm(
                gauge,
                own_metric(self._stage, gauge, service="month-end", statistic="Maximum"),
                threshold=1,
                runbook="month-end",
                description=f"The daily reconciliation found customers whose period {found}.",
                # It is measured once a day, and stands until it is measured again.
                missing=cloudwatch.TreatMissingData.IGNORE,
            )

    def _watch_margins(self) -> None:
        self._alarm(
            "CustomersOverCostShare",
            own_metric(
                self._stage, "CustomersOverCostShare", service="margins", statistic="Maximum"
            ),
            threshold=1,
            runbook="margins",
            description="Managed models of some customers cost more than the set share of what"
            " these pay.",
            # It is measured once a day, and stands until it is measured again.
            missing=cloudwatch.TreatMissingData.IGNORE,
        )

    def _watch_webhooks(self, webhooks: WebhookStack) -> None:
        self._alarm(
            "WebhooksOldestMessage",
            queue_metric(webhooks.queue.name, "ApproximateAgeOfOldestMessage"),
            threshold=Duration.hours(1).to_seconds(),
            runbook="webhooks",
            description="A message about a webhook waits for an hour, when the longest delay is 15"
            " minutes. Customers are told late.",
        )

    # --- tables -----------------------------------------------------------------------------

    def _watch_table(self, table: StageTable) -> None:
        part = table.name.capitalize()
        for kind in ("Read", "Write"):
            self._alarm(
                f"{part}{kind}Throttles",
                table.resource.metric(f"{kind}ThrottleEvents", statistic="Sum", period=PERIOD),
                threshold=10,
                runbook="table-throttles",
                description=f"DynamoDB throttles the {table.name} table ({kind.lower()}s), and"
                " requests are answered with 503.",
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
            runbook="table-failures",
            description=f"DynamoDB itself fails at {operation} on the {table.name} table. Requests"
            " are refused, not waved through.",
        )

    def _alarm(
        self,
        construct_id: str,
        metric: cloudwatch.IMetric,
        *,
        threshold: float,
        description: str,
        runbook: str,
        periods: int = 1,
        breaching: int = 1,
        few_say_nothing: bool = False,
        # No calls, no metric: quiet is not an emergency.
        missing: cloudwatch.TreatMissingData = cloudwatch.TreatMissingData.NOT_BREACHING,
    ) -> None:
        """Have an alarm ring and fall silent.

        Parameters
        ----------
        runbook
            The page that says what to do.
        few_say_nothing
            Whether the statistic is a percentile that needs many measurements.
        """
        base = self.node.try_get_context("runbook_url") or ""
        alarm = cloudwatch.Alarm(
            self,
            construct_id,
            alarm_name=self._stage.name_of(construct_id),
            alarm_description=f"{description} What to do: {base}{RUNBOOK}{runbook}.md",
            metric=metric,
            threshold=threshold,
            evaluation_periods=periods,
            datapoints_to_alarm=breaching,
            comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
            treat_missing_data=missing,
            evaluate_low_sample_count_percentile="ignore" if few_say_nothing else None,
        )
        alarm.add_alarm_action(cloudwatch_actions.SnsAction(self.topic))
        alarm.add_ok_action(cloudwatch_actions.SnsAction(self.topic))
        self._alarms.append(alarm)
