"""What a customer's own server may answer: anything at all, as slowly as it likes.

How long it may take, and how much of it is read, is tested in tests/unit/adapters/test_egress.py;
slow and endless requests to FlowStack itself are API Gateway's, which hands on whole ones only.
"""

from __future__ import annotations

import json
import random
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from flowstack_core.adapters.egress import EgressPolicy
from flowstack_core.adapters.provider_clients import ProviderClients
from flowstack_core.adapters.webhook_sender import HttpWebhookSender
from flowstack_core.domain.errors import FlowStackError, ModelError, PayloadTooLargeError
from flowstack_core.domain.messages import Message, ModelAnswer, TextBlock, TokenUsage, ToolCall
from flowstack_core.domain.providers import Provider, parse_credentials
from flowstack_core.domain.sizes import (
    MAX_ANSWER_BYTES,
    MAX_KEPT_BYTES,
    MOST_TOKENS,
    acceptable,
    check_keepable,
)
from flowstack_core.domain.webhooks import trial_event
from tests.attack.doors import CHAT, INVOKE, Doors, Request
from tests.support.fakes import NOON, model_answer
from tests.support.provider_server import ProviderServer, Reply
from tests.unit.adapters.test_provider_clients import ask

SECRET = "whsec_" + "A" * 43 + "="
LOCAL = EgressPolicy(loopback=True)


@pytest.fixture(scope="module")
def server() -> Iterator[ProviderServer]:
    with ProviderServer() as running:
        yield running


def answered(url: str, seconds: float = 5.0) -> Any:
    credentials = parse_credentials(Provider.OLLAMA, {"host": url})
    client = ProviderClients("us-east-1", policy=LOCAL).client(Provider.OLLAMA, credentials)
    return client.converse(ask(timeout_seconds=seconds))


def completion(**message: Any) -> dict[str, Any]:
    return {"choices": [{"message": {"role": "assistant", "content": "Hi", **message}}]}


def call(arguments: Any) -> dict[str, Any]:
    return completion(tool_calls=[{"id": "c", "function": {"name": "f", "arguments": arguments}}])


DEEP = '{"a":' * 3_000 + "1" + "}" * 3_000
HALF_DEEP = '{"error":' * 800 + '"x"' + "}" * 800

BODIES: dict[str, Any] = {
    "nothing": "",
    "no JSON": "<html>",
    "a number": "1",
    "a number of many digits": '{"choices": ' + "9" * 10_000 + "}",
    "deep lists": "[" * 100_000,
    "deep objects": DEEP,
    "no choices": {"choices": []},
    "a null": {"choices": [None]},
    "a text for a list": {"choices": "abc"},
    "content of another kind": completion(content={"a": 1}),
    "parts of another kind": completion(content=[1, None]),
    "arguments that are no JSON": call("{"),
    "arguments that are no object": call("[1]"),
    "deep arguments": call(DEEP),
    "arguments of many digits": call('{"n": ' + "9" * 10_000 + "}"),
    "tokens that are none": {**completion(), "usage": {"prompt_tokens": -1}},
    "tokens of a text": {**completion(), "usage": {"prompt_tokens": "1"}},
    "usage of a list": {**completion(), "usage": [1]},
}


@pytest.mark.parametrize("status", [200, 400, 401, 404, 429, 500])
@pytest.mark.parametrize("name", BODIES)
def test_whatever_a_server_writes_is_a_failure_of_the_model_at_most(
    name: str, status: int, server: ProviderServer
) -> None:
    server.reply_with(Reply(status=status, body=BODIES[name]))
    with pytest.raises(FlowStackError):
        answered(server.url)


@pytest.mark.parametrize("status", [400, 429, 500])
def test_an_error_in_an_error_in_an_error_is_not_gone_into(
    status: int, server: ProviderServer
) -> None:
    server.reply_with(Reply(status=status, body=HALF_DEEP))
    with pytest.raises(FlowStackError):
        answered(server.url)


# --- what could not be counted, kept or passed on -------------------------------------------


def noise(characters: int) -> str:
    """Return a text that cannot be compressed."""
    source = random.Random(1)
    return "".join(chr(source.randrange(0x4E00, 0x9FFF)) for _ in range(characters))


def nested(levels: int) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for _ in range(levels - 1):
        document = {"a": document}
    return document


REFUSED = {
    "tokens beyond counting": model_answer(tokens=TokenUsage(10**37, 1)),
    "tokens beyond writing": model_answer(tokens=TokenUsage(1, 10**400)),
    "one token too many": model_answer(tokens=TokenUsage(MOST_TOKENS + 1, 0)),
    "noise": model_answer(noise(150_000)),
    "much of nothing": model_answer("x" * MAX_ANSWER_BYTES),
    "half characters": model_answer("\ud800" * (MAX_ANSWER_BYTES // 6 + 1)),
    "a deep tool call": ModelAnswer(
        (ToolCall("c", "f", nested(61)),), "tool_use", TokenUsage(1, 1)
    ),
    "a large tool call": ModelAnswer(
        (ToolCall("c", "f", {"a": noise(150_000)}),), "tool_use", TokenUsage(1, 1)
    ),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("path", ["/invoke", "/chat"])
def test_s5_an_answer_that_cannot_be_kept_or_counted_is_no_answer(name: str, path: str) -> None:
    """Its sums would be refused by DynamoDB: here, and in the stream where others' sums wait."""
    doors = Doors()
    doors.world.model.reactions = [REFUSED[name]]
    answer = doors.send(Request("POST", path, dict(CHAT if path == "/chat" else INVOKE)))
    assert (answer.status, json.loads(answer.text)["error_code"]) == (502, "MODEL_ERROR")
    assert doors.world.used() == 0
    assert not doors.world.tables.heads


@pytest.mark.parametrize(
    "answer",
    [
        model_answer("x" * (MAX_ANSWER_BYTES - 100)),
        model_answer(noise(60_000)),
        model_answer(tokens=TokenUsage(MOST_TOKENS, MOST_TOKENS)),
        ModelAnswer((ToolCall("c", "f", nested(60)),), "tool_use", TokenUsage(1, 1)),
        ModelAnswer((), "content_filter", TokenUsage(0, 0)),
    ],
    ids=["long", "noise", "tokens", "deep", "nothing"],
)
def test_what_can_be_kept_is_passed_on(answer: ModelAnswer) -> None:
    assert acceptable(answer)


def test_a_message_that_cannot_be_kept_is_refused_before_a_model_is_paid_for() -> None:
    """It was answered by the model, failed to be kept, counted nothing, and cost the operator."""
    doors = Doors()
    answer = doors.send(Request("POST", "/chat", {**CHAT, "message": noise(150_000)}))
    assert (answer.status, json.loads(answer.text)["error_code"]) == (413, "PAYLOAD_TOO_LARGE")
    assert not doors.world.model.requests
    assert doors.world.used() == 0
    with pytest.raises(PayloadTooLargeError) as refused:
        check_keepable(Message("user", (TextBlock(noise(150_000)),)))
    assert refused.value.details["maximum"] == MAX_KEPT_BYTES
    check_keepable(Message("user", (TextBlock("word " * 40_000),)))


# --- slow and endless -----------------------------------------------------------------------


@contextmanager
def dripping(*pieces: bytes, pause: float = 0.02) -> Iterator[str]:
    """Run a server that sends the first piece, and then the others in turn, until it is left."""
    listener = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65_536)
            try:
                connection.sendall(pieces[0])
                while not over.is_set():
                    for piece in pieces[1:]:
                        connection.sendall(piece)
                        time.sleep(pause)
            except OSError:
                over.set()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        over.set()
        listener.close()
        thread.join(5)


ENDLESS = {
    "a status that does not come": (b"HTTP", b""),
    "headers, one after the other": (b"HTTP/1.1 200 OK\r\n", b"X-Drip: 1\r\n"),
    "a header that does not end": (b"HTTP/1.1 200 OK\r\nX-Long: ", b"x" * 100),
    "answers before the answer": (b"", b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"),
    "a body": (b"HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n", b" "),
    "chunks": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
}


@pytest.mark.parametrize("name", ENDLESS)
def test_a_server_that_never_ends_is_left_in_time(name: str) -> None:
    begun = time.monotonic()
    with dripping(*ENDLESS[name]) as url, pytest.raises(ModelError):
        answered(url, seconds=0.6)
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize("name", ENDLESS)
def test_a_receiver_of_webhooks_that_never_ends_is_left_in_time(name: str) -> None:
    sender = HttpWebhookSender(LOCAL, seconds=0.4)
    begun = time.monotonic()
    with dripping(*ENDLESS[name]) as url:
        reply = sender.send(f"{url}/", trial_event("cus_1", NOON), [SECRET], NOON)
    # A body is not waited for: the status is the answer.
    assert (reply.failure is None) == (name in {"a body", "chunks"})
    assert time.monotonic() - begun < 5


def test_headers_without_end_are_not_collected() -> None:
    flood = b"X-Flood: " + b"x" * 10_000 + b"\r\n"
    with dripping(b"HTTP/1.1 200 OK\r\n", flood, pause=0) as url, pytest.raises(ModelError):
        answered(url, seconds=10)
