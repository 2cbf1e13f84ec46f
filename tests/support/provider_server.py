"""A server that speaks as the providers of models do, and does what a test tells it.

Below a path of its own each vendor answers in the wire format of its public API reference: OpenAI
and those who are compatible with it, Anthropic, SageMaker endpoints; and AWS STS for their roles.
What these APIs refuse, this one refuses too, so that a request which passes here is well-formed.

By default it echoes: ``You said: <text>``. If the request describes tools and the last message
names some of them, it calls those, all at once; tool results it reads back.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import Event, Lock
from typing import Any, cast
from urllib.parse import parse_qs

from tests.support.local_http import LocalHandler, LocalServer

_ROLE_KEYS = """<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<AssumeRoleResult><Credentials><AccessKeyId>ASIAROLE000000000001</AccessKeyId>
<SecretAccessKey>role-secret</SecretAccessKey><SessionToken>role-token</SessionToken>
<Expiration>2026-11-24T21:00:00Z</Expiration></Credentials></AssumeRoleResult>
</AssumeRoleResponse>"""
_STS_FAILURE = (
    '<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>'
    "<Code>{code}</Code><Message>{message}</Message></Error></ErrorResponse>"
)


@dataclass(frozen=True, slots=True)
class Reply:
    """What to do with some requests; without any field it answers as it does by default.

    Attributes
    ----------
    marker
        Only requests that hold this text; ``None`` for every request.
    status, body, headers
        Answers with this, a document or a text.
    answer
        Fields that replace those of the usual answer, in the vendor's own format.
    delay_seconds
        Waits before it answers, or until the server stops.
    drop
        Closes the connection without an answer.
    """

    marker: str | None = None
    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    answer: Mapping[str, Any] | None = None
    delay_seconds: float = 0.0
    drop: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """One request that arrived, whatever became of it."""

    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]

    @property
    def access_key(self) -> str:
        """The key id that signed it, at AWS."""
        return self.headers.get("authorization", "").partition("Credential=")[2].partition("/")[0]


class ProviderServer(LocalServer):
    """Answers as all vendors; use it as a context manager."""

    def __init__(self, port: int = 0) -> None:
        super().__init__(_Handler, port)
        self._lock = Lock()
        self._replies: list[Reply] = []
        self._calls: list[Call] = []
        self.stopping = Event()

    def reply_with(self, *replies: Reply) -> None:
        """Replace the replies; the first that fits a request is taken."""
        with self._lock:
            self._replies = list(replies)

    def calls(self, marker: str = "") -> list[Call]:
        """Return the requests that hold the marker, oldest first."""
        with self._lock:
            return [call for call in self._calls if marker in json.dumps(call.body)]

    def forget_calls(self) -> None:
        """Start to count afresh."""
        with self._lock:
            self._calls.clear()

    def take(self, call: Call) -> Reply:
        """Record a request; return what to do with it."""
        said = json.dumps(call.body)
        with self._lock:
            self._calls.append(call)
            fitting = (each for each in self._replies if each.marker is None or each.marker in said)
            return next(fitting, Reply())

    def shutdown(self) -> None:
        """Stop serving, and let nobody wait for a slow answer any longer."""
        self.stopping.set()
        super().shutdown()


class _Handler(LocalHandler):
    def do_POST(self) -> None:  # noqa: N802 (the base class names it)
        server = cast("ProviderServer", self.server)
        path, body = self.route()[0], self.read_body()
        speak = _speaker(path)
        if speak is None:
            self.reply_json(404, {"error": {"message": f"there is nothing at {path}"}})
            return
        form = {name: values[-1] for name, values in parse_qs(body.decode()).items()}
        document = form if path == "/" else json.loads(body)
        headers = {name.lower(): value for name, value in self.headers.items()}
        reply = server.take(Call(path, headers, document))
        if reply.delay_seconds:
            server.stopping.wait(reply.delay_seconds)
        if reply.drop:
            self.drop_connection()
        elif reply.body is not None:
            self._write(reply.status, reply.body, reply.headers)
        else:
            status, answer = speak(document)
            more = reply.answer or {}
            self._write(status, {**answer, **more} if isinstance(answer, dict) else answer, {})

    def _write(self, status: int, body: Any, headers: Mapping[str, str]) -> None:
        text = body if isinstance(body, str) else json.dumps(body)
        self.reply(status, text.encode(), {"Content-Type": "application/json", **headers})


Answer = tuple[int, Any]


def _speaker(path: str) -> Callable[[dict[str, Any]], Answer] | None:
    """Return who answers below a path."""
    if path == "/":
        return _assume_role
    if path.endswith("/v1/messages"):
        return anthropic_message
    if path.startswith("/mistral/"):
        return mistral_completion
    if path.startswith("/endpoints/") and path.endswith("/invocations"):
        return openai_completion
    if path.endswith("/chat/completions") or path == "/writer/chat":
        return openai_completion
    return None


def _assume_role(form: dict[str, Any]) -> Answer:
    return 200, _ROLE_KEYS


def sts_failure(code: str, message: str) -> str:
    """Return the body of a failure of STS."""
    return _STS_FAILURE.format(code=code, message=message)


# --- OpenAI, and who is compatible ---------------------------------------------------------


def openai_completion(request: dict[str, Any], call_ids: str = "call_abc{}") -> Answer:
    """Answer a chat completion, or refuse it as OpenAI does."""
    problem = _openai_problem(request)
    if problem is not None:
        return 400, {"error": {"message": problem, "type": "invalid_request_error", "code": None}}
    messages = request["messages"]
    names = [tool["function"]["name"] for tool in request.get("tools", [])]
    results = _trailing_results(messages)
    said = str(messages[-1]["content"])
    called = [name for name in names if not results and name in said]
    message: dict[str, Any] = {"role": "assistant", "content": f"You said: {said}"}
    if results:
        message["content"] = f"The tools said: {'; '.join(results)}"
    if called:
        message["content"] = None
        message["tool_calls"] = [
            {
                "id": call_ids.format(number),
                "type": "function",
                "function": {"name": name, "arguments": json.dumps({"from": name})},
            }
            for number, name in enumerate(called)
        ]
    return 200, {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_764_000_000,
        "model": request["model"],
        "choices": [
            {"index": 0, "message": message, "finish_reason": "tool_calls" if called else "stop"}
        ],
        "usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18},
    }


def _trailing_results(messages: list[dict[str, Any]]) -> list[str]:
    results: list[str] = []
    for message in reversed(messages):
        if message["role"] == "assistant":
            break
        if message["role"] == "tool":
            results.insert(0, message["content"])
    return results


def _openai_problem(request: dict[str, Any]) -> str | None:
    awaited: set[str] = set()
    for message in request["messages"]:
        if message["role"] == "tool":
            if message["tool_call_id"] not in awaited:
                return "messages with role 'tool' must be a response to 'tool_calls'."
            awaited.discard(message["tool_call_id"])
            continue
        if awaited:
            return "An assistant message with 'tool_calls' must be followed by tool messages."
        awaited = {call["id"] for call in message.get("tool_calls", [])}
        if any(len(call) > 40 for call in awaited):
            return "Invalid 'messages.tool_calls.id': string too long."
        if message["content"] is None and not awaited:
            return "Invalid value for 'content': expected a string, got null."
    for tool in request.get("tools", []):
        if "properties" not in tool["function"]["parameters"]:
            return "Invalid schema for function: object schema missing properties."
    return None


def mistral_completion(request: dict[str, Any]) -> Answer:
    """Answer as Mistral, whose tool calls have ids of nine letters and digits."""
    for message in request["messages"]:
        for call in message.get("tool_calls", []):
            if not re.fullmatch("[a-zA-Z0-9]{9}", call["id"]):
                return 400, {
                    "object": "error",
                    "message": f"Tool call id was {call['id']} but must be a-z, A-Z, 0-9, with a "
                    "length of 9.",
                    "type": "invalid_function_call",
                    "code": "3280",
                }
    return openai_completion(request, "aBcDeF12{}")


# --- Anthropic -----------------------------------------------------------------------------


def anthropic_message(request: dict[str, Any]) -> Answer:
    """Answer a message, or refuse it as Anthropic does."""
    problem = _anthropic_problem(request)
    if problem is not None:
        error = {"type": "invalid_request_error", "message": problem}
        return 400, {"type": "error", "error": error}
    last = request["messages"][-1]["content"]
    said = " ".join(block["text"] for block in last if block["type"] == "text")
    results = [block["content"] for block in last if block["type"] == "tool_result"]
    names = [tool["name"] for tool in request.get("tools", [])]
    called = [name for name in names if not results and name in said]
    content: list[dict[str, Any]] = [
        {"type": "tool_use", "id": f"toolu_{number}", "name": name, "input": {"from": name}}
        for number, name in enumerate(called)
    ]
    if not called:
        text = f"The tools said: {'; '.join(results)}" if results else f"You said: {said}"
        content = [{"type": "text", "text": text}]
    return 200, {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": request["model"],
        "content": content,
        "stop_reason": "tool_use" if called else "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 11, "output_tokens": 7},
    }


def _anthropic_problem(request: dict[str, Any]) -> str | None:
    if "max_tokens" not in request:
        return "max_tokens: Field required"
    awaited: set[str] = set()
    for index, message in enumerate(request["messages"]):
        if message["role"] != ("assistant" if index % 2 else "user"):
            return "messages: roles must alternate"
        blocks = message["content"]
        answered = {block["tool_use_id"] for block in blocks if block["type"] == "tool_result"}
        if answered != awaited:
            return "`tool_use` ids were found without `tool_result` blocks immediately after"
        awaited = {block["id"] for block in blocks if block["type"] == "tool_use"}
        if any(not re.fullmatch("[a-zA-Z0-9_-]+", call) for call in awaited):
            return "tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'"
        if any(block["type"] == "text" and not block["text"].strip() for block in blocks):
            return "messages: text content blocks must contain non-whitespace text"
    return None
