"""A queue of work for one function, and the dead letters of whatever is given up on."""

from __future__ import annotations

from aws_cdk import Duration
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda_event_sources as event_sources
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from stacks.constructs.acknowledgement import acknowledge
from stacks.constructs.function import StageFunction
from stacks.stage import Stage

DELIVERIES = 5
"""Two more than after which a worker gives a message up by itself."""

DEAD_LETTERS_KEPT = Duration.days(14)
"""The longest that SQS keeps a message."""


class DeadLetters(sqs.Queue):
    """What was given up on, encrypted and kept for two weeks.

    Attributes
    ----------
    name
        Known before it is deployed, so that no other stack has to import it.
    """

    def __init__(self, scope: Construct, construct_id: str, *, stage: Stage, name: str) -> None:
        full_name = stage.name_of(f"{name}-dead-letters")
        super().__init__(
            scope,
            construct_id,
            queue_name=full_name,
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=True,
            retention_period=DEAD_LETTERS_KEPT,
        )
        self.name = full_name
        acknowledge(self, "SQS3", "It is a dead-letter queue itself.")


class WorkQueue(sqs.Queue):
    """Messages for one function, encrypted; those that keep failing become dead letters.

    A dead letter is as old as its message was, so messages are kept for less long here.

    Parameters
    ----------
    visibility_timeout
        After how long a message is seen again that was taken and not deleted.
    deliveries
        After how many of them a message is given up.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        stage: Stage,
        name: str,
        visibility_timeout: Duration,
        dead_letters: DeadLetters,
        deliveries: int = DELIVERIES,
    ) -> None:
        full_name = stage.name_of(name)
        super().__init__(
            scope,
            construct_id,
            queue_name=full_name,
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=True,
            retention_period=Duration.days(4),
            visibility_timeout=visibility_timeout,
            dead_letter_queue=sqs.DeadLetterQueue(queue=dead_letters, max_receive_count=deliveries),
        )
        self.name = full_name
        self._stage = stage

    def feed(
        self, function: StageFunction, *, batch_size: int = 1, at_once: int | None = None
    ) -> None:
        """Call a function with the messages; those of a batch that fail come again alone.

        Parameters
        ----------
        at_once
            How many batches are worked on at the same time at most.
        """
        function.alias.add_event_source(
            event_sources.SqsEventSource(
                self,
                batch_size=batch_size,
                max_concurrency=None if at_once is None else self._stage.at_once(at_once),
                report_batch_item_failures=True,
            )
        )


def patient_visibility(worker_timeout: Duration) -> Duration:
    """Return the visibility time-out that AWS asks for: six times the function's time-out."""
    return Duration.seconds(6 * worker_timeout.to_seconds())


def may_send(*queues: sqs.IQueue) -> iam.PolicyStatement:
    """Return the permission to send messages."""
    return _may(("SendMessage",), queues)


def may_redrive(*queues: sqs.IQueue) -> iam.PolicyStatement:
    """Return the permission to take messages out again."""
    return _may(("ReceiveMessage", "DeleteMessage"), queues)


def _may(actions: tuple[str, ...], queues: tuple[sqs.IQueue, ...]) -> iam.PolicyStatement:
    return iam.PolicyStatement(
        actions=[f"sqs:{action}" for action in actions],
        resources=[queue.queue_arn for queue in queues],
    )
