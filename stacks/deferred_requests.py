"""The queue of requests that are answered later, and the function that answers them."""

from __future__ import annotations

from collections.abc import Callable

from aws_cdk import CfnOutput, Duration
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda_event_sources as event_sources
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from stacks.bedrock_models import CatalogueAccess
from stacks.constructs.acknowledgement import acknowledge
from stacks.constructs.function import StageFunction
from stacks.data_stack import DataStack
from stacks.stage import Stage

WORKER_TIMEOUT = Duration.minutes(11)
"""Ten minutes for the model, one for everything else."""

VISIBILITY_TIMEOUT = Duration.minutes(13)
"""A message comes again when its run can be no more, and in time for a second whole one before
the 25 minutes of a request are over."""

DELIVERIES = 3
"""The third comes after the request's deadline, and gives its session back."""

CONCURRENT_RUNS = 100
"""Runs take minutes: without a bound they could use up the account's concurrency, and nobody
would be answered at once any more."""


class DeferredRequestQueue(Construct):
    """Names of accepted requests, encrypted, with a queue for those that were given up on."""

    def __init__(self, scope: Construct, construct_id: str, *, stage: Stage) -> None:
        super().__init__(scope, construct_id)
        self.dead_letters_name = stage.name_of("request-dead-letters")
        self.dead_letters = sqs.Queue(
            self,
            "DeadLetters",
            queue_name=self.dead_letters_name,
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=True,
            retention_period=Duration.days(14),
        )
        acknowledge(self.dead_letters, "SQS3", "It is a dead-letter queue itself.")
        self.queue = sqs.Queue(
            self,
            "Queue",
            queue_name=stage.name_of("requests"),
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=True,
            visibility_timeout=VISIBILITY_TIMEOUT,
            dead_letter_queue=sqs.DeadLetterQueue(
                queue=self.dead_letters, max_receive_count=DELIVERIES
            ),
        )
        CfnOutput(scope, "RequestDeadLettersUrl", value=self.dead_letters.queue_url)

    @property
    def sending(self) -> iam.PolicyStatement:
        """The permission to accept requests."""
        return iam.PolicyStatement(actions=["sqs:SendMessage"], resources=[self.queue.queue_arn])

    @property
    def environment(self) -> dict[str, str]:
        """What tells a function where the queue is."""
        return {"DEFERRED_QUEUE_URL": self.queue.queue_url}


def worker_of(
    requests: DeferredRequestQueue,
    new_function: Callable[..., StageFunction],
    data: DataStack,
    models: CatalogueAccess,
) -> StageFunction:
    """Return the function that answers the requests of a queue, one message at a time."""
    worker = new_function(
        "Worker",
        name="worker",
        description="Answers deferred requests",
        timeout=WORKER_TIMEOUT,
        memory_mb=1024,
        tables=[
            data.accounts.access("GetItem"),
            data.sessions.access("GetItem", "PutItem", "UpdateItem", "DeleteItem", "Query"),
            data.usage.access("UpdateItem"),
        ],
        statements=[models.statement],
    )
    models.acknowledge_on(worker.role)
    worker.alias.add_event_source(
        event_sources.SqsEventSource(
            requests.queue,
            batch_size=1,
            report_batch_item_failures=True,
            max_concurrency=CONCURRENT_RUNS,
        )
    )
    return worker
