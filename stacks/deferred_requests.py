"""The queue of requests that are answered later, and the function that answers them."""

from __future__ import annotations

from collections.abc import Callable

from aws_cdk import CfnOutput, Duration
from constructs import Construct

from stacks.constructs.function import StageFunction
from stacks.constructs.queue import DeadLetters, WorkQueue
from stacks.data_stack import DataStack
from stacks.model_access import ModelAccess
from stacks.stage import Stage

WORKER_TIMEOUT = Duration.minutes(11)
"""Ten minutes for the model, one for everything else."""

VISIBILITY_TIMEOUT = Duration.minutes(13)
"""A message comes again when its run can be no more, and in time for a second whole one before
the 25 minutes of a request are over: sooner than AWS advises, which has many messages in mind that
wait for few workers."""

DELIVERIES = 3
"""The third comes after the request's deadline, and gives its session back."""

CONCURRENT_RUNS = 100
"""Runs take minutes: without a bound they could use up the account's concurrency, and nobody
would be answered at once any more."""


class RequestQueue(WorkQueue):
    """Names of accepted requests.

    Attributes
    ----------
    dead_letters
        Those that were given up on.
    """

    def __init__(self, scope: Construct, construct_id: str, *, stage: Stage) -> None:
        self.dead_letters = DeadLetters(scope, "RequestDeadLetters", stage=stage, name="request")
        super().__init__(
            scope,
            construct_id,
            stage=stage,
            name="requests",
            visibility_timeout=VISIBILITY_TIMEOUT,
            deliveries=DELIVERIES,
            dead_letters=self.dead_letters,
        )
        CfnOutput(scope, "RequestDeadLettersUrl", value=self.dead_letters.queue_url)

    @property
    def environment(self) -> dict[str, str]:
        """What tells a function where the queue is."""
        return {"DEFERRED_QUEUE_URL": self.queue_url}


def worker_of(
    requests: RequestQueue,
    new_function: Callable[..., StageFunction],
    data: DataStack,
    models: ModelAccess,
) -> StageFunction:
    """Return the function that answers the requests of a queue, one message at a time."""
    worker = new_function(
        "Worker",
        name="worker",
        description="Answers deferred requests",
        timeout=WORKER_TIMEOUT,
        memory_mb=1024,
        tables=[
            models.accounts(),
            data.sessions.access("GetItem", "PutItem", "UpdateItem", "DeleteItem", "Query"),
            data.usage.access("UpdateItem"),
        ],
        statements=models.statements,
        more_layers=models.layers,
        environment=models.environment,
    )
    models.acknowledge_on(worker.role)
    requests.feed(worker, at_once=CONCURRENT_RUNS)
    return worker
