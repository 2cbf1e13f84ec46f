"""A customer's server that is told of events, and does what a test tells it.

It keeps what arrived as it arrived, so that signatures are checked over the very bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import Event, Lock
from typing import Any, cast

from standardwebhooks import Webhook

from tests.support.local_http import LocalHandler, LocalServer


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request, whatever became of it."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def document(self) -> dict[str, Any]:
        """What the body says."""
        found: dict[str, Any] = json.loads(self.body)
        return found

    @property
    def event_id(self) -> str:
        """The id that receivers know repeats by."""
        return self.headers["webhook-id"]

    def verified(self, secret: str) -> Any:
        """Return the payload, as the reference implementation accepts it.

        Raises
        ------
        WebhookVerificationError
            If it does not.
        """
        return Webhook(secret).verify(self.body, dict(self.headers))


@dataclass(frozen=True, slots=True)
class Reaction:
    """What to do with one request.

    Attributes
    ----------
    delay_seconds
        Waits before it answers, or until the server stops.
    drop, garbage
        Closes the connection without an answer, or says something else than HTTP.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    delay_seconds: float = 0.0
    drop: bool = False
    garbage: bool = False


class WebhookServer(LocalServer):
    """Reacts as told, one reaction a request, and answers 200 ever after."""

    def __init__(self, port: int = 0) -> None:
        super().__init__(_Handler, port)
        self._lock = Lock()
        self._reactions: list[Reaction] = []
        self._arrivals: list[Arrival] = []
        self.stopping = Event()
        self.accepted = 0

    def react(self, *reactions: Reaction) -> None:
        """Replace the reactions, and forget what arrived."""
        with self._lock:
            self._reactions = list(reactions)
            self._arrivals.clear()

    @property
    def arrivals(self) -> list[Arrival]:
        """What arrived, the oldest first."""
        with self._lock:
            return list(self._arrivals)

    def take(self, arrival: Arrival) -> Reaction:
        """Keep a request; return what to do with it."""
        with self._lock:
            self._arrivals.append(arrival)
            return self._reactions.pop(0) if self._reactions else Reaction()

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Count a connection."""
        self.accepted += 1
        return True

    def shutdown(self) -> None:
        """Stop serving, and let nobody wait for a slow answer any longer."""
        self.stopping.set()
        super().shutdown()


class _Handler(LocalHandler):
    def do_POST(self) -> None:  # noqa: N802 (the base class names it)
        server = cast("WebhookServer", self.server)
        headers = {name.lower(): value for name, value in self.headers.items()}
        reaction = server.take(Arrival(self.path, headers, self.read_body()))
        if reaction.delay_seconds:
            server.stopping.wait(reaction.delay_seconds)
        if reaction.drop:
            self.drop_connection()
        elif reaction.garbage:
            self.wfile.write(b"hello\r\n\r\n")
            self.close_connection = True
        else:
            self.reply(reaction.status, reaction.body, dict(reaction.headers))
