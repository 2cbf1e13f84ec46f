"""Exports and erasures of customers' data: the queue that carries their steps, who does them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aws_cdk import CfnOutput, Duration
from constructs import Construct

from stacks.constructs.function_stack import FunctionStack
from stacks.constructs.queue import DeadLetters, WorkQueue, may_send, patient_visibility
from stacks.data_stack import DataStack
from stacks.sources import Sources
from stacks.stage import Stage

STEP_TIMEOUT = Duration.seconds(120)
"""A step stops by itself after 45 seconds; what is left of it is for one slow write."""

STEPS_AT_ONCE = 5

_EVERYTHING = (
    *("GetItem", "BatchGetItem", "Query", "ConditionCheckItem"),
    *("PutItem", "UpdateItem", "DeleteItem"),
)
"""Closing what is owed, reading all, deleting all."""


class RightsStack(FunctionStack):
    """Gives customers their data, and deletes it.

    Attributes
    ----------
    variables
        What a function has to be told that starts exports and erasures.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        stage: Stage,
        sources: Sources,
        data: DataStack,
        **kwargs: Any,
    ) -> None:
        super().__init__(scope, construct_id, stage=stage, sources=sources, **kwargs)
        self.dead_letters = DeadLetters(self, "RightsDeadLetters", stage=stage, name="rights")
        self.steps = WorkQueue(
            self,
            "RightsSteps",
            stage=stage,
            name="rights",
            visibility_timeout=patient_visibility(STEP_TIMEOUT),
            dead_letters=self.dead_letters,
        )
        self.variables: Mapping[str, str] = {
            "DATA_RIGHTS_QUEUE_URL": self.steps.queue_url,
            "ARCHIVES_BUCKET": data.archives.bucket.bucket_name,
            "QUIET_SECONDS": str(int(stage.quiet.to_seconds())),
        }
        self.worker = self._function(
            "Rights",
            name="rights",
            description="Does the steps of exports and erasures of customers' data",
            timeout=STEP_TIMEOUT,
            memory_mb=1024,
            tables=[
                data.accounts.access(*_EVERYTHING),
                data.usage.access(*_EVERYTHING),
                data.sessions.access("Query", "DeleteItem"),
                data.vault.access("Query", "DeleteItem"),
            ],
            statements=[may_send(self.steps), *data.archives.may_write()],
            environment=self.variables,
        )
        data.archives.acknowledge_on(self.worker.role)
        self.steps.feed(self.worker, at_once=STEPS_AT_ONCE)
        CfnOutput(self, "RightsFunctionName", value=self.worker.function.function_name)
        CfnOutput(self, "RightsDeadLettersUrl", value=self.dead_letters.queue_url)
