"""The month end and alerts: what starts them, what carries them, the bus that tells of them."""

from __future__ import annotations

from typing import Any

from aws_cdk import CfnOutput, Duration
from aws_cdk import aws_events as events
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_lambda_destinations as destinations
from constructs import Construct

from stacks.alert_mail import MailSender
from stacks.constructs.function import StageFunction
from stacks.constructs.function_stack import FunctionStack
from stacks.constructs.queue import DeadLetters, WorkQueue, may_send, patient_visibility
from stacks.constructs.schedule import StageSchedule
from stacks.constructs.stream import listen
from stacks.constructs.topic import StageTopic
from stacks.data_stack import BY_KIND, DataStack
from stacks.sources import Sources
from stacks.stage import Stage
from stacks.webhook_stack import WebhookStack

ENSURE = {"task": "ensure"}
"""What the schedules say to the function: start what should run, resume what stands still."""

MONTH_END = "cron(0 0 1 * ? *)"
RECONCILIATION = "cron(0 6 * * ? *)"
MARGINS = "cron(0 7 * * ? *)"

MONTH_END_TIMEOUT = Duration.seconds(120)
CLOSE_TIMEOUT = Duration.seconds(120)
MARGINS_TIMEOUT = Duration.seconds(120)

COST_SHARE = "cost_share_percent"
"""CDK context: from which share of its price on a customer's cost is of interest."""
USUAL_COST_SHARE = 50

PAGES_AT_ONCE = 10
CLOSES_AT_ONCE = 10

COUNTED = {
    "eventName": lambda_.FilterRule.is_equal("MODIFY"),
    "dynamodb": {"Keys": {"sk": {"S": lambda_.FilterRule.begins_with("PERIOD#")}}},
}
"""A count or a limit that moved; a counter that is opened has counted nothing."""

WRITTEN = {
    "eventName": lambda_.FilterRule.is_equal("INSERT"),
    "dynamodb": {
        "Keys": {
            "sk": {
                "S": [
                    *lambda_.FilterRule.begins_with("STATEMENT#"),
                    *lambda_.FilterRule.begins_with("ALERT#"),
                    *lambda_.FilterRule.begins_with("BUDGET#"),
                ]
            }
        }
    },
}
"""What is told: a new statement, alert or reached ceiling. Nothing else is of interest."""


class BillingStack(FunctionStack):
    """Closes every customer's period once a month, watches counts, and tells of what comes of it.

    Attributes
    ----------
    alerts
        The topic on which operators hear of customers' alerts.
    steps, closes
        The work of a month end: steps of the listing, and pages of customers to be closed.
    month_end_dead_letters
        Schedules that could not be delivered, and tasks that failed.
    margin_steps
        The work of the daily report of margins.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        stage: Stage,
        sources: Sources,
        data: DataStack,
        webhooks: WebhookStack,
        **kwargs: Any,
    ) -> None:
        super().__init__(scope, construct_id, stage=stage, sources=sources, **kwargs)
        self.bus = events.EventBus(self, "Bus", event_bus_name=f"FlowStack-{stage.name}")
        self.month_end_dead_letters = self._dead_letters("MonthEndDeadLetters", "month-end")
        self.steps_dead_letters = self._dead_letters("StepsDeadLetters", "steps")
        self.closes_dead_letters = self._dead_letters("ClosesDeadLetters", "closes")
        self.thresholds_dead_letters = self._dead_letters("ThresholdsDeadLetters", "thresholds")
        self.announcements_dead_letters = self._dead_letters(
            "AnnouncementsDeadLetters", "announcements"
        )
        self.alerts = StageTopic(self, "Alerts", stage=stage, name="alerts")
        self.steps = WorkQueue(
            self,
            "Steps",
            stage=stage,
            name="steps",
            visibility_timeout=patient_visibility(MONTH_END_TIMEOUT),
            dead_letters=self.steps_dead_letters,
        )
        self.closes = WorkQueue(
            self,
            "Closes",
            stage=stage,
            name="closes",
            visibility_timeout=patient_visibility(CLOSE_TIMEOUT),
            dead_letters=self.closes_dead_letters,
        )
        self.margins_dead_letters = self._dead_letters("MarginsDeadLetters", "margins")
        self.margin_steps = WorkQueue(
            self,
            "MarginSteps",
            stage=stage,
            name="margins",
            visibility_timeout=patient_visibility(MARGINS_TIMEOUT),
            dead_letters=self.margins_dead_letters,
        )
        self.month_end = self._month_end_function(data)
        self.close = self._close_function(data)
        self.thresholds = self._thresholds_function(data)
        self.announcements = self._announcements_function(data, webhooks)
        self.margins = self._margins_function(data)
        self._add_schedules()
        self._add_outputs()

    @property
    def dead_letters(self) -> tuple[DeadLetters, ...]:
        return (
            self.month_end_dead_letters,
            self.steps_dead_letters,
            self.closes_dead_letters,
            self.thresholds_dead_letters,
            self.announcements_dead_letters,
            self.margins_dead_letters,
        )

    @property
    def functions(self) -> tuple[StageFunction, ...]:
        return (self.month_end, self.close, self.thresholds, self.announcements, self.margins)

    def _dead_letters(self, construct_id: str, name: str) -> DeadLetters:
        return DeadLetters(self, construct_id, stage=self._stage, name=name)

    def _month_end_function(self, data: DataStack) -> StageFunction:
        function = self._function(
            "MonthEnd",
            name="month_end",
            description="Starts, lists and resumes the month end",
            timeout=MONTH_END_TIMEOUT,
            memory_mb=512,
            tables=[
                data.accounts.access(query_index=BY_KIND),
                data.usage.access("GetItem", "PutItem", "UpdateItem", "Query"),
            ],
            statements=[may_send(self.steps, self.closes)],
            environment={
                "STEPS_QUEUE_URL": self.steps.queue_url,
                "CLOSES_QUEUE_URL": self.closes.queue_url,
            },
        )
        self.steps.feed(function)
        _keep_failures(function, self.month_end_dead_letters)
        return function

    def _close_function(self, data: DataStack) -> StageFunction:
        function = self._function(
            "Close",
            name="close",
            description="Closes the period of a page of customers",
            timeout=CLOSE_TIMEOUT,
            memory_mb=512,
            tables=[
                data.accounts.access("BatchGetItem", "PutItem"),
                data.usage.access("GetItem", "BatchGetItem", "PutItem", "UpdateItem", "Query"),
            ],
            statements=[may_send(self.closes, self.closes_dead_letters)],
            environment={
                "CLOSES_QUEUE_URL": self.closes.queue_url,
                "CLOSES_DEAD_LETTERS_URL": self.closes_dead_letters.queue_url,
            },
        )
        self.closes.feed(function, batch_size=PAGES_AT_ONCE, at_once=CLOSES_AT_ONCE)
        return function

    def _thresholds_function(self, data: DataStack) -> StageFunction:
        # On stages with test clocks it reads the customer's, to date an alert.
        clocks = ("GetItem",) if self._stage.test_clocks else ()
        function = self._function(
            "Thresholds",
            name="thresholds",
            description="Keeps an alert for each threshold that a customer's count reaches",
            timeout=Duration.seconds(60),
            memory_mb=512,
            tables=[
                data.accounts.access("BatchGetItem", "ConditionCheckItem", *clocks),
                data.usage.access("PutItem"),
            ],
        )
        listen(function, data.usage, to=COUNTED, dead_letters=self.thresholds_dead_letters)
        return function

    def _announcements_function(self, data: DataStack, webhooks: WebhookStack) -> StageFunction:
        sender = MailSender.configured(self)
        function = self._function(
            "Announcements",
            name="announcements",
            description="Tells of each statement, alert and reached ceiling that was written",
            timeout=Duration.seconds(60),
            memory_mb=512,
            tables=[
                data.usage.access("GetItem", "UpdateItem"),
                # Where mail goes is among a customer's settings.
                *([] if sender is None else [data.accounts.access("GetItem")]),
            ],
            statements=[
                iam.PolicyStatement(
                    actions=["events:PutEvents"], resources=[self.bus.event_bus_arn]
                ),
                *self.alerts.may_publish(),
                may_send(webhooks.queue),
                *([] if sender is None else [sender.statement]),
            ],
            environment={
                "EVENT_BUS_NAME": self.bus.event_bus_name,
                "ALERT_TOPIC": self.alerts.topic.topic_arn,
                **webhooks.variables,
                **({} if sender is None else sender.environment),
            },
        )
        listen(function, data.usage, to=WRITTEN, dead_letters=self.announcements_dead_letters)
        return function

    def _margins_function(self, data: DataStack) -> StageFunction:
        function = self._function(
            "Margins",
            name="margins",
            description="Adds up daily what managed models cost beside what customers pay",
            timeout=MARGINS_TIMEOUT,
            memory_mb=512,
            tables=[
                data.accounts.access("BatchGetItem", query_index=BY_KIND),
                data.usage.access("GetItem", "BatchGetItem", "PutItem", "Query"),
            ],
            statements=[may_send(self.margin_steps)],
            environment={
                "MARGINS_QUEUE_URL": self.margin_steps.queue_url,
                "COST_SHARE_PERCENT": str(self._cost_share()),
            },
        )
        self.margin_steps.feed(function)
        _keep_failures(function, self.margins_dead_letters)
        return function

    def _cost_share(self) -> int:
        """Return the share of a price, in percent, from which on a cost is of interest.

        Raises
        ------
        ValueError
            What context says is no whole number of percent above zero.
        """
        asked = self.node.try_get_context(COST_SHARE)
        if asked is None:
            return USUAL_COST_SHARE
        if not str(asked).isdecimal() or int(asked) == 0:
            raise ValueError(f"{COST_SHARE} must be a whole number of percent, such as 50.")
        return int(asked)

    def _add_schedules(self) -> None:
        for construct_id, name, expression, description in (
            ("MonthEndSchedule", "month-end", MONTH_END, "Closes the month that has just ended"),
            (
                "ReconciliationSchedule",
                "reconciliation",
                RECONCILIATION,
                "Resumes whatever stands still, starts what was never started, tells the alarms",
            ),
        ):
            StageSchedule(
                self,
                construct_id,
                stage=self._stage,
                name=name,
                description=description,
                expression=expression,
                target=self.month_end.alias,
                says=ENSURE,
                dead_letters=self.month_end_dead_letters,
            )
        StageSchedule(
            self,
            "MarginsSchedule",
            stage=self._stage,
            name="margins",
            description="Reports what managed models cost beside what customers pay",
            expression=MARGINS,
            target=self.margins.alias,
            says=ENSURE,
            dead_letters=self.margins_dead_letters,
        )

    def _add_outputs(self) -> None:
        CfnOutput(self, "EventBusName", value=self.bus.event_bus_name)
        CfnOutput(self, "EventBusArn", value=self.bus.event_bus_arn)
        CfnOutput(self, "AlertTopicArn", value=self.alerts.topic.topic_arn)
        for function in self.functions:
            CfnOutput(
                self,
                f"{function.node.id}FunctionName",
                value=function.function.function_name,
            )
        for letters in self.dead_letters:
            CfnOutput(self, f"{letters.node.id}Url", value=letters.queue_url)


def _keep_failures(function: StageFunction, dead_letters: DeadLetters) -> None:
    """Keep what a schedule asked for and was not done: its call is asynchronous."""
    function.alias.configure_async_invoke(
        max_event_age=Duration.hours(6),
        retry_attempts=2,
        on_failure=destinations.SqsDestination(dead_letters),
    )
