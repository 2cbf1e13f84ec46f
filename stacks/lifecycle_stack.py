"""What happens to a session after its last message."""

from __future__ import annotations

from typing import Any

from aws_cdk import CfnOutput, Duration, Stack
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from stacks.constructs.function import StageFunction
from stacks.constructs.layer import CoreLayer
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


class LifecycleStack(Stack):
    """Releases sessions that ended before anything was processed (S5)."""

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
        super().__init__(scope, construct_id, **kwargs)
        self.dead_letters = DeadLetters(self, "ExpiryDeadLetters", stage=stage, name="expiry")
        self.expiry = StageFunction(
            self,
            "Expiry",
            stage=stage,
            sources=sources,
            layer=CoreLayer(self, "Core", stage=stage, sources=sources),
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
        CfnOutput(self, "ExpiryFunctionName", value=self.expiry.function.function_name)
        CfnOutput(self, "ExpiryDeadLettersUrl", value=self.dead_letters.queue_url)
