"""One message and its answer, with the tool calls between: what to send next, and when to stop.

These are state machines without a network, which the sync and the async agent drive alike.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypedDict

from flowstack.documents import Answer, ToolCall
from flowstack.exceptions import FlowStackError, InvalidRequestError, ToolRoundsExceededError
from flowstack.operations import Operation
from flowstack.tools import ToolResult

_KEY = re.compile(r"[!-~]{1,245}")
"""Ten characters short of what the API takes: each step of a message appends its number."""

_INTERRUPTED = "The tool was not run: the program stopped before it could."


class MessageOptions(TypedDict, total=False):
    """What may be said with each message, beyond its text.

    Attributes
    ----------
    conversation_id
        Another conversation than the agent's.
    system
        The system prompt, in place of the agent's.
    temperature, max_tokens
        How freely and how long the model answers.
    idempotency_key
        A name for this message: whoever sends it again with the name gets the same answer.
    timeout
        Seconds to wait for an answer.
    max_tool_rounds
        How often the model may ask for tools.
    """

    conversation_id: str
    system: str
    temperature: float
    max_tokens: int
    idempotency_key: str
    timeout: float
    max_tool_rounds: int


class Exchange(Protocol):
    """What is said from a message to its answer."""

    def operation(self) -> Operation[Answer]:
        """Return what to send next."""
        ...

    def calls(self, answer: Answer) -> list[ToolCall]:
        """Return the tools to run before going on; none means that the answer is the last."""
        ...

    def give(self, answer: Answer, results: Sequence[ToolResult]) -> None:
        """Go on with what the tools gave that the answer asked for."""
        ...

    def recovers(self, error: FlowStackError) -> bool:
        """Tell whether another operation can make good for an error."""
        ...


class _Exchange:
    def __init__(
        self,
        fields: Mapping[str, Any],
        *,
        runs_tools: bool,
        idempotency_key: str | None,
        timeout: float | None,
        max_rounds: int,
    ) -> None:
        if idempotency_key is not None and _KEY.fullmatch(idempotency_key) is None:
            raise InvalidRequestError(
                "An idempotency key has 1 to 245 visible ASCII characters.",
                details={"field": "idempotency_key"},
            )
        self._fields = fields
        self._runs_tools = runs_tools
        self._key = idempotency_key
        self._timeout = timeout
        self._max_rounds = max_rounds
        self._step = 0

    def calls(self, answer: Answer) -> list[ToolCall]:
        """Return the tools to run before going on; none means that the answer is the last.

        Raises
        ------
        ToolRoundsExceededError
            The model has asked as often as it may.
        """
        if not self._runs_tools or not answer.tool_calls:
            return []
        if self._step >= self._max_rounds:
            raise ToolRoundsExceededError(
                f"The model asked for tools more than {self._max_rounds} times.",
                details={
                    "tools": [call.name for call in answer.tool_calls],
                    "hint": "Raise max_tool_rounds, or say in the system prompt when to stop.",
                },
            )
        return answer.tool_calls

    def _operation(self, path: str, said: Mapping[str, Any]) -> Operation[Answer]:
        # Each step of a named message has a name that follows from the message's.
        key = self._key if self._key is None or self._step == 0 else f"{self._key}:{self._step}"
        return Operation(
            "POST",
            path,
            Answer.model_validate,
            body={**self._fields, **said},
            idempotency_key=key,
            timeout=self._timeout,
        )


class ChatExchange(_Exchange):
    """The server keeps the conversation: only what is new is sent."""

    def __init__(self, message: str, fields: Mapping[str, Any], **settings: Any) -> None:
        super().__init__(fields, **settings)
        self._message: str | list[dict[str, Any]] = message

    def operation(self) -> Operation[Answer]:
        """Return what to send next."""
        return self._operation("/chat", {"message": self._message})

    def give(self, answer: Answer, results: Sequence[ToolResult]) -> None:  # noqa: ARG002
        """Go on with what the tools gave; the server remembers what asked for it."""
        self._step += 1
        self._message = [result.part() for result in results]

    def recovers(self, error: FlowStackError) -> bool:
        """Tell whether another operation can make good for an error.

        A program that ended between a tool call and its result left the conversation waiting for
        it. The next message then brings the result: that there is none.
        """
        awaited = error.details.get("expected")
        refused = isinstance(error, InvalidRequestError) and isinstance(awaited, list)
        if not refused or not awaited or isinstance(self._message, list):
            return False
        self._message = [
            *(ToolResult(str(each), _INTERRUPTED, is_error=True).part() for each in awaited),
            {"type": "text", "text": self._message},
        ]
        return True


class InvokeExchange(_Exchange):
    """The caller keeps the conversation: all of it is sent each time."""

    def __init__(
        self, messages: Sequence[Mapping[str, Any]], fields: Mapping[str, Any], **settings: Any
    ) -> None:
        super().__init__(fields, **settings)
        self._messages = list(messages)

    def operation(self) -> Operation[Answer]:
        """Return what to send next."""
        return self._operation("/invoke", {"messages": self._messages})

    def give(self, answer: Answer, results: Sequence[ToolResult]) -> None:
        """Go on with what the tools gave that the answer asked for."""
        self._step += 1
        self._messages.append({"role": "assistant", "content": _parts_of(answer)})
        self._messages.append({"role": "user", "content": [each.part() for each in results]})

    def recovers(self, error: FlowStackError) -> bool:  # noqa: ARG002
        """Tell whether another operation can make good for an error: none here."""
        return False


def _parts_of(answer: Answer) -> list[dict[str, Any]]:
    said = [{"type": "text", "text": answer.content}] if answer.content.strip() else []
    return [
        *said,
        *(
            {"type": "tool_use", "id": call.id, "name": call.name, "input": call.input}
            for call in answer.tool_calls
        ),
    ]
