"""A schedule in UTC that calls a function."""

from __future__ import annotations

from collections.abc import Mapping

from aws_cdk import Duration, Stack, TimeZone
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_scheduler as scheduler
from aws_cdk import aws_scheduler_targets as targets
from constructs import Construct

from stacks.constructs.queue import DeadLetters, may_send
from stacks.stage import Stage

RETRIES = 10
GIVE_UP_AFTER = Duration.hours(1)


class StageSchedule(Construct):
    """A schedule that says one thing to one function, at an exact minute in UTC.

    A call that cannot be delivered is tried again, and then put among the dead letters. Delivered
    calls can be repeated: what is called has to bear that.

    Parameters
    ----------
    expression
        ``cron(minute hour day month weekday year)``.
    says
        The event that the function gets.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        stage: Stage,
        name: str,
        description: str,
        expression: str,
        target: lambda_.IFunction,
        says: Mapping[str, str],
        dead_letters: DeadLetters,
    ) -> None:
        super().__init__(scope, construct_id)
        role = self._role(target, dead_letters)
        scheduler.Schedule(
            self,
            "Schedule",
            schedule_name=stage.name_of(name),
            description=description,
            schedule=scheduler.ScheduleExpression.expression(expression, TimeZone.ETC_UTC),
            time_window=scheduler.TimeWindow.off(),
            target=targets.LambdaInvoke(
                target,
                input=scheduler.ScheduleTargetInput.from_object(dict(says)),
                retry_attempts=RETRIES,
                max_event_age=GIVE_UP_AFTER,
                dead_letter_queue=dead_letters,
                # What the target would add reaches beyond the alias.
                role=role.without_policy_updates(),
            ),
        )

    def _role(self, target: lambda_.IFunction, dead_letters: DeadLetters) -> iam.Role:
        role = iam.Role(
            self,
            "Role",
            assumed_by=iam.ServicePrincipal(
                "scheduler.amazonaws.com",
                conditions={"StringEquals": {"aws:SourceAccount": Stack.of(self).account}},
            ),
        )
        role.add_to_policy(
            iam.PolicyStatement(actions=["lambda:InvokeFunction"], resources=[target.function_arn])
        )
        role.add_to_policy(may_send(dead_letters))
        return role
