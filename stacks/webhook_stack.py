"""Webhooks: the queue that events travel through, and the function that delivers them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aws_cdk import CfnOutput, Duration
from constructs import Construct

from stacks.constructs.function_stack import FunctionStack
from stacks.constructs.layer import ProvidersLayer
from stacks.constructs.queue import DeadLetters, WorkQueue, may_send, patient_visibility
from stacks.data_stack import DataStack
from stacks.sources import Sources
from stacks.stage import Stage

WORKER_TIMEOUT = Duration.seconds(40)
"""One attempt of 12 seconds, and everything around it; an attempt is taken for 45."""

DELIVERIES_AT_ONCE = 50
"""Servers may take their time to answer: without a bound, slow ones could use up the account's
concurrency."""


class WebhookStack(FunctionStack):
    """Tells customers' servers what happened.

    Attributes
    ----------
    queue
        Takes events, and carries the steps of their deliveries.
    dead_letters
        What was given up on.
    variables
        What a function has to be told that sends events.
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
        self.dead_letters = DeadLetters(self, "WebhooksDeadLetters", stage=stage, name="webhooks")
        self.queue = WorkQueue(
            self,
            "WebhooksQueue",
            stage=stage,
            name="webhooks",
            visibility_timeout=patient_visibility(WORKER_TIMEOUT),
            dead_letters=self.dead_letters,
        )
        self.variables: Mapping[str, str] = {"WEBHOOKS_QUEUE_URL": self.queue.queue_url}
        self.worker = self._function(
            "Webhooks",
            name="webhooks",
            description="Delivers events to the customers' servers",
            timeout=WORKER_TIMEOUT,
            memory_mb=512,
            tables=[
                data.accounts.access(
                    partitions={
                        "CUSTOMER#": ["GetItem", "PutItem", "ConditionCheckItem"],
                        "AUDIT#": ["GetItem", "PutItem"],
                    }
                ),
                data.usage.access(partitions={"WEBHOOK": ["GetItem", "PutItem"]}),
            ],
            statements=[
                data.credentials_access("Decrypt", of_webhooks=True),
                may_send(self.queue, self.dead_letters),
            ],
            more_layers=[ProvidersLayer(self, "Providers", stage=stage, sources=sources)],
            environment={
                **self.variables,
                **stage.egress_environment,
                **stage.webhook_environment,
                "WEBHOOKS_DEAD_LETTERS_URL": self.dead_letters.queue_url,
                "CREDENTIALS_KEY": data.credentials_key.key_arn,
            },
        )
        self.queue.feed(self.worker, at_once=DELIVERIES_AT_ONCE)
        CfnOutput(self, "WebhooksFunctionName", value=self.worker.function.function_name)
        CfnOutput(self, "WebhooksQueueUrl", value=self.queue.queue_url)
        CfnOutput(self, "WebhooksDeadLettersUrl", value=self.dead_letters.queue_url)
