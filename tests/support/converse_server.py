"""A server that speaks the Converse API of Amazon Bedrock Runtime, and does what a test tells it.

By default it echoes: ``You said: <text>``. If the request describes tools and the last message
names some of them, it calls those, all at once; tool results it reads back.

`Behaviour` changes that, for the requests whose last user message holds its ``marker``. In process
a test calls the methods of `ConverseServer`; from elsewhere it says the same over HTTP:

``POST /_control`` ``{"behaviours": [{"fail": "ThrottlingException", "times": 1}]}``
    Replaces the behaviours; the fields are those of `Behaviour`.
``GET /_calls?marker=abc``
    The requests whose messages hold the marker, oldest first: ``{"count", "calls"}``.
``DELETE /_calls``
    Forgets the requests.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from threading import Event, Lock
from typing import Any, Self, cast
from urllib.parse import unquote

from tests.support.local_http import LocalHandler, LocalServer

STATUS_OF = {
    "AccessDeniedException": 403,
    "ExpiredTokenException": 403,
    "InternalServerException": 500,
    "InvalidSignatureException": 403,
    "ModelErrorException": 424,
    "ModelNotReadyException": 429,
    "ModelTimeoutException": 408,
    "ResourceNotFoundException": 404,
    "ServiceQuotaExceededException": 400,
    "ServiceUnavailableException": 503,
    "ThrottlingException": 429,
    "UnrecognizedClientException": 403,
    "ValidationException": 400,
}


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What to do with some requests; without any field it echoes.

    Attributes
    ----------
    marker
        Only requests whose last message holds this text; ``None`` for every request.
    times
        How many requests, ``None`` for all that come.
    delay_seconds
        Waits before it answers, or until the server stops.
    fail, status, message
        Answers with this exception; the status follows from its name where it is not given.
    drop
        Closes the connection without an answer.
    body
        Answers with this text, whatever it is.
    text, tool_calls, stop_reason, content, input_tokens, output_tokens
        Parts of the answer. ``tool_calls`` hold ``name``, ``input`` and maybe ``toolUseId``;
        ``content`` replaces the blocks altogether.
    """

    marker: str | None = None
    times: int | None = None
    delay_seconds: float = 0.0
    fail: str | None = None
    status: int | None = None
    message: str | None = None
    drop: bool = False
    body: str | None = None
    text: str | None = None
    tool_calls: list[dict[str, Any]] | None = None
    stop_reason: str | None = None
    content: list[dict[str, Any]] | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None

    @classmethod
    def parse(cls, document: dict[str, Any]) -> Self:
        """Read what came over HTTP.

        Raises
        ------
        ValueError
            A field is unknown: a test that misspells one should not pass.
        """
        unknown = set(document) - {field.name for field in fields(cls)}
        if unknown:
            raise ValueError(f"a behaviour has no {sorted(unknown)}")
        return cls(**document)


@dataclass(frozen=True, slots=True)
class Call:
    """One request that arrived, whatever became of it."""

    model_id: str
    body: dict[str, Any]
    access_key: str

    def holds(self, marker: str) -> bool:
        """Tell whether any message holds the text."""
        return any(marker in text for text in _texts(self.body.get("messages", [])))


class ConverseServer(LocalServer):
    """Answers ``POST /model/{id}/converse``; use it as a context manager."""

    def __init__(self, port: int = 0) -> None:
        super().__init__(_Handler, port)
        self._lock = Lock()
        self._behaviours: list[Behaviour] = []
        self._taken: list[int] = []
        self._calls: list[Call] = []
        self._serial = 0
        self.stopping = Event()

    def behave(self, *behaviours: Behaviour) -> None:
        """Replace the behaviours; the first that fits a request is taken."""
        with self._lock:
            self._behaviours = list(behaviours)
            self._taken = [0] * len(behaviours)

    def calls(self, marker: str | None = None) -> list[Call]:
        """Return the requests, oldest first: those that hold the marker, or all."""
        with self._lock:
            calls = list(self._calls)
        return [call for call in calls if marker is None or call.holds(marker)]

    def forget_calls(self) -> None:
        """Start to count afresh."""
        with self._lock:
            self._calls.clear()

    def take(self, call: Call) -> tuple[Behaviour, int]:
        """Record a request; return what to do with it, and its number."""
        last = "\n".join(_texts(call.body.get("messages", [])[-1:]))
        with self._lock:
            self._calls.append(call)
            self._serial += 1
            for index, behaviour in enumerate(self._behaviours):
                fits = behaviour.marker is None or behaviour.marker in last
                if fits and (behaviour.times is None or self._taken[index] < behaviour.times):
                    self._taken[index] += 1
                    return behaviour, self._serial
            return Behaviour(), self._serial

    def shutdown(self) -> None:
        """Stop serving, and let nobody wait for a slow answer any longer."""
        self.stopping.set()
        super().shutdown()


class _Handler(LocalHandler):
    @property
    def _converse(self) -> ConverseServer:
        return cast("ConverseServer", self.server)

    def do_GET(self) -> None:  # noqa: N802 (the base class names it)
        path, query = self.route()
        if path != "/_calls":
            self._unknown_operation()
            return
        calls = self._converse.calls(query.get("marker"))
        self.reply_json(200, {"count": len(calls), "calls": [asdict(call) for call in calls]})

    def do_DELETE(self) -> None:  # noqa: N802 (the base class names it)
        if self.route()[0] != "/_calls":
            self._unknown_operation()
            return
        self._converse.forget_calls()
        self.reply_json(200, {})

    def do_POST(self) -> None:  # noqa: N802 (the base class names it)
        body = self.read_body()
        path = self.route()[0]
        if path == "/_control":
            self._control(body)
        elif path.startswith("/model/") and path.endswith("/converse"):
            model_id = unquote(path.removeprefix("/model/").removesuffix("/converse"))
            credential = self.headers.get("Authorization", "").partition("Credential=")[2]
            self._answer(Call(model_id, json.loads(body), credential.partition("/")[0]))
        else:
            self._unknown_operation()

    def _control(self, body: bytes) -> None:
        try:
            behaviours = [Behaviour.parse(each) for each in json.loads(body)["behaviours"]]
        except (ValueError, TypeError, KeyError) as error:
            self.reply_json(400, {"error": repr(error)})
            return
        self._converse.behave(*behaviours)
        self.reply_json(200, {"behaviours": len(behaviours)})

    def _answer(self, call: Call) -> None:
        behaviour, serial = self._converse.take(call)
        if behaviour.delay_seconds:
            self._converse.stopping.wait(behaviour.delay_seconds)
        if behaviour.drop:
            self.drop_connection()
        elif behaviour.fail is not None:
            status = behaviour.status or STATUS_OF.get(behaviour.fail, 400)
            self._fail(status, behaviour.fail, behaviour.message or f"{behaviour.fail} by request")
        elif behaviour.body is not None:
            headers = {"Content-Type": "application/json"}
            self.reply(behaviour.status or 200, behaviour.body.encode(), headers)
        else:
            self.reply_json(200, answer(call.body, behaviour, serial))

    def _unknown_operation(self) -> None:
        self._fail(404, "UnknownOperationException", "not an operation of this server")

    def _fail(self, status: int, name: str, message: str) -> None:
        self.reply_json(status, {"message": message}, {"x-amzn-ErrorType": f"{name}:http://aws"})


# --- answers -------------------------------------------------------------------------------


def answer(request: dict[str, Any], behaviour: Behaviour, serial: int) -> dict[str, Any]:
    """Return the answer to a request in the wire format of Converse.

    Tokens are words: enough to see that they are passed on.
    """
    limit = request.get("inferenceConfig", {}).get("maxTokens", 4096)
    content, stop_reason = _content(request, behaviour, serial)
    if behaviour.content is None and "text" in content[0]:
        words = content[0]["text"].split(" ")
        if len(words) > limit:
            content[0]["text"] = " ".join(words[:limit])
            stop_reason = "max_tokens"
    asked, said = _words(request.get("messages", [])), _words([{"content": content}])
    input_tokens = asked if behaviour.input_tokens is None else behaviour.input_tokens
    output_tokens = said if behaviour.output_tokens is None else behaviour.output_tokens
    return {
        "output": {"message": {"role": "assistant", "content": content}},
        "stopReason": behaviour.stop_reason or stop_reason,
        "usage": {
            "inputTokens": input_tokens,
            "outputTokens": output_tokens,
            "totalTokens": input_tokens + output_tokens,
        },
        "metrics": {"latencyMs": 1},
    }


def _content(
    request: dict[str, Any], behaviour: Behaviour, serial: int
) -> tuple[list[dict[str, Any]], str]:
    if behaviour.content is not None:
        return behaviour.content, "end_turn"
    message = request["messages"][-1]
    calls = behaviour.tool_calls
    if calls is None and behaviour.text is None:
        calls = _calls_asked_for(request, message)
    if not calls:
        return [{"text": behaviour.text or _echo(message)}], "end_turn"
    used = [
        {"toolUse": {"toolUseId": f"tooluse_{serial}_{number}", **call}}
        for number, call in enumerate(calls, 1)
    ]
    spoken = [{"text": behaviour.text}] if behaviour.text else []
    return [*spoken, *used], "tool_use"


def _echo(message: dict[str, Any]) -> str:
    texts = _texts([message])
    if any("toolResult" in block for block in message["content"]):
        return f"The tools said: {'; '.join(texts)}"
    return f"You said: {' '.join(texts)}"


def _calls_asked_for(request: dict[str, Any], message: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a call of each described tool whose name stands in the text of the message."""
    said = " ".join(block["text"] for block in message["content"] if "text" in block)
    specs = [tool["toolSpec"] for tool in request.get("toolConfig", {}).get("tools", [])]
    return [
        {"name": spec["name"], "input": _sample(spec["inputSchema"]["json"])}
        for spec in specs
        if spec["name"] in said
    ]


def _sample(schema: dict[str, Any]) -> Any:
    """Return a value that a simple JSON schema accepts."""
    if schema.get("enum"):
        return schema["enum"][0]
    kind = schema.get("type", "object")
    if kind == "object":
        properties = schema.get("properties", {})
        return {name: _sample(properties.get(name, {})) for name in schema.get("required", [])}
    samples: dict[str, Any] = {"string": "sample", "integer": 1, "number": 1.5, "boolean": True}
    return samples.get(kind, [])


def _texts(messages: Iterable[dict[str, Any]]) -> list[str]:
    """Return everything that messages and their tool results say."""
    texts: list[str] = []
    for message in messages:
        for block in message.get("content", []):
            if "text" in block:
                texts.append(block["text"])
            parts = block.get("toolResult", {}).get("content", [])
            texts.extend(part.get("text", json.dumps(part.get("json"))) for part in parts)
    return texts


def _words(messages: Iterable[dict[str, Any]]) -> int:
    return max(1, sum(len(text.split(" ")) for text in _texts(messages)))
