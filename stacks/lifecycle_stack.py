"""What happens to a session after its last message."""

from __future__ import annotations

from typing import Any

from aws_cdk import CfnOutput, Duration
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from stacks.constructs.function_stack import FunctionStack
from stacks.constructs.queue import DeadLetters
from stacks.constructs.stream import listen
from stacks.data_stack import DataStack
from stacks.sources import Sources
from stacks.stage import Stage

LIVE_SESSION_REMOVED = {
    "eventName": lambda_.FilterRule.is_equal("REMOVE"),
    "dynamodb": {"Keys": {"sk": {"S": lambda_.FilterRule.is_equal("SESSION")}}},
}
"""The deletion of a conversation's live session; transcripts and records are of no interest."""

SESSION_ANSWERED = {
    "dynamodb": {
        "Keys": {"sk": {"S": lambda_.FilterRule.is_equal("SESSION")}},
        "NewImage": {"processed_at": {"S": lambda_.FilterRule.exists()}},
    },
}
"""Changes of a live session in which something was answered; held ones are not in the rollups."""


class LifecycleStack(FunctionStack):
    """Releases sessions that ended unprocessed (S5), and rolls the others up into days."""

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
        self.dead_letters = DeadLetters(self, "ExpiryDeadLetters", stage=stage, name="expiry")
        self.expiry = self._function(
            "Expiry",
            name="expiry",
            description="Releases sessions that expired with nothing processed",
            timeout=Duration.seconds(60),
            memory_mb=512,
            tables=[
                data.sessions.access("UpdateItem"),
                data.usage.access("UpdateItem"),
            ],
        )
        listen(self.expiry, data.sessions, to=LIVE_SESSION_REMOVED, dead_letters=self.dead_letters)
        self.rollup_dead_letters = DeadLetters(
            self, "RollupsDeadLetters", stage=stage, name="rollups"
        )
        self.rollups = self._function(
            "Rollups",
            name="rollups",
            description="Rolls sessions up into days",
            timeout=Duration.seconds(60),
            memory_mb=512,
            tables=[
                data.sessions.access(partitions={"RECORDS#": ("BatchGetItem", "UpdateItem")}),
                # A customer's own ceiling is held against what its rollups have become.
                data.accounts.access(
                    partitions={"CUSTOMER#": ("GetItem", "Query", "ConditionCheckItem")}
                ),
                data.usage.access(
                    partitions={
                        "ROLLUPS#": ("Query", "UpdateItem"),
                        "CUSTOMER#": ("GetItem", "UpdateItem"),
                    }
                ),
            ],
        )
        listen(
            self.rollups, data.sessions, to=SESSION_ANSWERED, dead_letters=self.rollup_dead_letters
        )
        CfnOutput(self, "RollupsFunctionName", value=self.rollups.function.function_name)
        CfnOutput(self, "RollupsDeadLettersUrl", value=self.rollup_dead_letters.queue_url)
        CfnOutput(self, "ExpiryFunctionName", value=self.expiry.function.function_name)
        CfnOutput(self, "ExpiryDeadLettersUrl", value=self.dead_letters.queue_url)
