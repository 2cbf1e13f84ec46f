"""The functions behind queues: each message comes at least once, in any order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random

from aws_lambda_powertools.utilities.batch.exceptions import BatchProcessingError

from flowstack_core.events.batches import LambdaFunction
from tests.faults.stage import Stage
from tests.support.batch_events import queue_record
from tests.support.faulty import FunctionKilled
from tests.support.queues import Message

_NOT_DELETED = 0.1
"""How often a message that was handled comes once more."""


@dataclass
class Consumer:
    """A function behind a queue, one message at a time.

    Attributes
    ----------
    function
        Makes the function anew: an environment has one message at a time.
    seconds
        How long the function may run; a message in hand is hidden for six times as long.
    in_hand
        The messages that are being handled.
    """

    stage: Stage
    workflow: str
    url: str
    function: Callable[[], LambdaFunction]
    seconds: float
    in_hand: set[str] = field(default_factory=set)

    @property
    def waiting(self) -> list[Message]:
        """The messages that are not in hand."""
        found = self.stage.aws.queue(self.url)
        return [message for message in found if message.message_id not in self.in_hand]

    def deliver(self, random: Random) -> None:
        """Deliver one of the messages that can be seen, if there is one."""
        now = self.stage.clock.now()
        visible = [message for message in self.waiting if message.visible_at <= now]
        if visible:
            self._give(random.choice(visible), random)

    def run_dry(self, random: Random, rounds: int) -> None:
        """Deliver until nothing is left, however long that takes.

        Raises
        ------
        AssertionError
            There is no end to it.
        """
        for _ in range(rounds):
            if not self.waiting:
                return
            first = min(message.visible_at for message in self.waiting)
            self.stage.clock.move_to(max(self.stage.clock.now(), first))
            self.deliver(random)
        raise AssertionError(f"{self.workflow}: messages without end: {self.waiting[0].body}")

    def _give(self, message: Message, random: Random) -> None:
        message.received += 1
        message.visible_at = self.stage.clock.now() + timedelta(seconds=6 * self.seconds)
        record = queue_record(message.message_id, message.body, received=message.received)
        self.in_hand.add(message.message_id)
        try:
            self.stage.call(self.workflow, self.function(), {"Records": [record]}, self.seconds)
        except (BatchProcessingError, FunctionKilled):
            return
        finally:
            self.in_hand.discard(message.message_id)
        if self.stage.faults.rate == 0 or random.random() >= _NOT_DELETED:
            self.stage.aws.queue(self.url).remove(message)
