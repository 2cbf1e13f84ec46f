"""Messages that are answered later: accepted at once, run from a queue, fetched when it suits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime

from flowstack_core.adapters.dynamodb_deferred import DynamoDBDeferredStore, decode_request
from flowstack_core.adapters.sqs_deferred import SqsDeferredQueue
from flowstack_core.domain.deferred import DeferredRequest
from flowstack_core.domain.errors import FlowStackError, RequestInProgressError
from flowstack_core.domain.plans import Tier
from flowstack_core.events.deferred_queue import deferred_requests
from flowstack_core.http.requests import stored_command
from flowstack_core.services.conversations import Caller, MessageCommand
from flowstack_core.services.deferred import DeferredRequests, DeferredRunner
from tests.faults.chat import CONVERSATIONS, REMEMBERED, Chat
from tests.faults.consumers import Consumer
from tests.faults.stage import NO_ANSWER, Stage
from tests.support.fakes import MODEL

WORKFLOW = "later"

_QUEUE = "https://sqs/requests"
_RUN_SECONDS = 120.0
"""So short that a run that was killed is made up for before the request's deadline."""

_PATIENCE = 4


class Later:
    """A customer that does not wait for its answers, in the conversations in which it also does."""

    def __init__(self, stage: Stage, chat: Chat) -> None:
        self._stage = stage
        store = DynamoDBDeferredStore(stage.dynamodb, stage.tables["sessions"])
        queue = SqsDeferredQueue(stage.client("sqs"), _QUEUE)
        self._requests = DeferredRequests(chat.service, store, queue, stage.clock, stage.retrier)
        runner = DeferredRunner(
            chat.service, store, stage.clock, chat.ids, stage.retrier, stored_command
        )
        self.consumer = Consumer(
            stage, WORKFLOW, _QUEUE, lambda: deferred_requests(lambda: runner), _RUN_SECONDS
        )
        self._sent: dict[str, tuple[datetime, str]] = {}
        self._accepted: dict[str, str] = {}

    # --- what happens ------------------------------------------------------------------------

    def send(self) -> None:
        """Send a message, and again under its key until it is accepted."""
        key = f"later-{self._stage.number()}"
        self._sent[key] = (self._stage.clock.now(), self._stage.random.choice(CONVERSATIONS))
        self._submit(key)

    def repeat(self) -> None:
        """Send an accepted message once more, while its key is remembered."""
        since = self._stage.clock.now() - REMEMBERED
        remembered = [key for key in sorted(self._accepted) if self._sent[key][0] > since]
        if remembered:
            self._submit(self._stage.random.choice(remembered))

    def _submit(self, key: str) -> None:
        stage, caller = self._stage, Caller(self._stage.customer_id, Tier.STARTER)
        command = replace(_command(key, self._sent[key][1]), idempotency_key=key)
        for _ in range(_PATIENCE):
            budget = stage.budget()
            try:
                with stage.repeatable(lambda: self._submit(key)):
                    accepted = stage.request(
                        WORKFLOW,
                        lambda: self._requests.submit(caller, command, budget),  # noqa: B023 - now
                    )
            except (*NO_ANSWER, RequestInProgressError):
                stage.wait(stage.random.choice([1, 40]))
            except FlowStackError:
                return
            else:
                known = self._accepted.setdefault(key, accepted.request_id)
                stage.insist(known == accepted.request_id, "S3: accepted as another request")
                return

    def work(self) -> None:
        """Deliver some messages."""
        for _ in range(self._stage.random.choice([1, 3])):
            self.consumer.deliver(self._stage.random)

    # --- what is left ------------------------------------------------------------------------

    def check(self, billed: set[str]) -> None:
        """Each request that was accepted is over, once; what was answered is billed."""
        now = self._stage.clock.now()
        last: dict[str, DeferredRequest] = {}
        for request in self._states():
            before = last.get(request.request_id)
            assert before is None or not before.over or before == request, "it ended twice"
            last[request.request_id] = request
        assert set(self._accepted.values()) <= last.keys(), "an accepted request was not kept"
        for request in last.values():
            status = request.status_at(now)
            assert status in {"succeeded", "failed"}, f"{request.request_id} is {status} for ever"
            if status == "succeeded":
                assert request.session_id in billed, "it was answered later, and not billed"

    def _states(self) -> Iterator[DeferredRequest]:
        partition = f"REQUESTS#{self._stage.customer_id}"
        for change in self._stage.streams.changes("sessions", "", partition):
            if change.after is not None and change.sort_key.endswith("#STATE"):
                yield decode_request(change.after)


def _command(text: str, conversation_id: str) -> MessageCommand:
    """Return a message of a conversation, as it is read from a body."""
    where = {"agent": "agent", "conversation_id": conversation_id, "model": MODEL}
    if conversation_id == CONVERSATIONS[0]:
        return stored_command("chat", {**where, "message": text})
    said = [{"role": "user", "content": text}]
    return stored_command("invoke", {**where, "provider": "bedrock", "messages": said})
