"""A customer, a conversation of six messages, and the one session it counts."""

from __future__ import annotations

import json
import shlex
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from flowstack_admin.client import AdminClient
from flowstack_admin.failures import AdminError
from local_stack.connection import Connection
from local_stack.failure import LocalStackError
from local_stack.layout import Layout

AGENT = "analyst"
QUESTIONS = (
    "I have last year's orders in a CSV file, one row an order. Can you find what stands out?",
    "Which products come back most often, and since when?",
    "Draw that as a chart: returns a month, the three worst products stacked.",
)
ANSWER_SECONDS = 60.0


@dataclass(frozen=True)
class Exchange:
    """One question and its answer, as `POST /chat` gave it."""

    question: str
    answer: Mapping[str, Any]


class DemoClient:
    """Speaks to a local stack's API as a customer does: HTTP and a key, nothing else.

    Parameters
    ----------
    http
        A client whose base URL is the API's; the caller closes it.
    """

    def __init__(self, http: httpx.Client) -> None:
        self._http = http

    def key_works(self) -> bool:
        """Return whether the API knows the key."""
        return self._http.get("/usage").is_success

    def usage(self) -> Mapping[str, Any]:
        """Return what `GET /usage` says of the present period."""
        period: Mapping[str, Any] = self._checked(self._http.get("/usage"))["current_period"]
        return period

    def converse(self, conversation_id: str) -> Iterator[Exchange]:
        """Ask the questions one after another in one conversation."""
        for question in QUESTIONS:
            body = {"agent": AGENT, "conversation_id": conversation_id, "message": question}
            yield Exchange(question, self._checked(self._http.post("/chat", json=body)))

    @staticmethod
    def _checked(response: httpx.Response) -> dict[str, Any]:
        if not response.is_success:
            request = response.request
            raise LocalStackError(
                f"{request.method} {request.url.path} answered {response.status_code}: "
                f"{response.text}"
            )
        body: dict[str, Any] = response.json()
        return body


@contextmanager
def open_client(connection: Connection, api_key: str) -> Iterator[DemoClient]:
    """Open a client for the stack, over HTTPS where the stack has a certificate."""
    trusted = ssl.create_default_context(cafile=connection.ca_file) if connection.ca_file else True
    with httpx.Client(
        base_url=connection.preferred_url,
        headers={"X-API-Key": api_key},
        verify=trusted,
        timeout=ANSWER_SECONDS,
        trust_env=False,
    ) as http:
        yield DemoClient(http)


def ensure_customer(layout: Layout, connection: Connection) -> Connection:
    """Return the connection with a key that works, of a new customer if need be.

    The customer is created as an operator would do it: through the admin API.
    """
    if connection.api_key:
        with open_client(connection, connection.api_key) as client:
            if client.key_works():
                return connection
    try:
        created = AdminClient.of_local_stack(layout.connection).post(
            "/admin/customers", {"name": "Demo", "tier": "starter"}
        )
    except AdminError as error:
        raise LocalStackError(f"the demo customer could not be created: {error}") from error
    completed = connection.model_copy(
        update={
            "api_key": created["key"]["text"],
            "customer_id": created["customer"]["customer_id"],
        }
    )
    completed.write(layout.connection)
    return completed


def curl_lines(connection: Connection, conversation_id: str) -> list[str]:
    """Return commands that go on with the conversation and read what it cost."""
    trust = f"--cacert {shlex.quote(connection.ca_file)} " if connection.ca_file else ""
    start = f"curl -sS {trust}-H 'X-API-Key: {connection.api_key}' "
    url = connection.preferred_url
    follow_up = {
        "agent": AGENT,
        "conversation_id": conversation_id,
        "message": "And which of the three should we fix first?",
    }
    question = {
        "provider": "bedrock",
        "model": "claude-3-sonnet",
        "messages": [{"role": "user", "content": "Name three kinds of chart."}],
    }
    posted = "-H 'Content-Type: application/json' -d"
    return [
        f"{start}{posted} {shlex.quote(json.dumps(follow_up))} {url}/chat",
        f"{start}{posted} {shlex.quote(json.dumps(question))} {url}/invoke",
        f"{start}{url}/usage",
    ]
