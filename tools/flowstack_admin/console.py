"""The operators' view: the console's page on this machine, fed by the admin API.

A browser cannot sign requests with IAM credentials, and must not have them. So a server of this
machine's own signs for it: only reads, only those the page makes, only for who knows the token of
the address that the command prints. The server answers loopback under its own address alone, so
that no page of the Internet gets at it by a name that leads to 127.0.0.1.
"""

from __future__ import annotations

import hmac
import json
import re
import secrets
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Annotated, Any, ClassVar
from urllib.parse import urlsplit

import typer

from flowstack_admin.client import AdminClient, segment
from flowstack_admin.command_line import Json, client_of, output_of, reported
from flowstack_admin.failures import AdminError
from flowstack_admin.rendering import note
from flowstack_core.http.console_files import ConsoleFile, ConsoleFiles

FILES = Path(__file__).parents[2] / "functions/public/console"
HEADER = "X-Console-Token"

_PERIOD = r"\d{4}-\d{2}"
_READABLE = re.compile(
    r"/admin/(customers|margins|month-ends"
    rf"|month-ends/{_PERIOD}"
    r"|customers/[^/]+/(usage|usage-history|forecast|recommendations|alerts|margin)"
    r"|customers/[^/]+/(subscription|keys|audit-trail)"
    rf"|customers/[^/]+/statements(/{_PERIOD})?)"
)
"""What the page shows. Everything else of the admin API is out of its reach."""

_Answer = tuple[int, Mapping[str, str], bytes]


class _Handler(BaseHTTPRequestHandler):
    """Answers GET, and nothing else."""

    protocol_version = "HTTP/1.1"
    server: ConsoleServer

    def do_GET(self) -> None:
        """Answer with a file of the console, or with what the admin API says."""
        status, headers, body = self._answer()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _answer(self) -> _Answer:
        if self.headers.get("Host") != self.server.authority:
            return _refused(421, "This server answers under its own address only.")
        path = urlsplit(self.path).path
        if path.startswith("/admin/"):
            return self._read(path)
        file = self.server.file(path)
        if file is None:
            return _refused(404, "There is nothing at this path.")
        headers = {**file.headers, "Content-Type": file.media_type}
        return 200, headers, file.text.encode()

    def _read(self, path: str) -> _Answer:
        given = self.headers.get(HEADER, "").encode()
        if not hmac.compare_digest(given, self.server.token.encode()):
            return _refused(401, "Open the address that flowstack-admin printed last.")
        if _READABLE.fullmatch(path) is None:
            return _refused(403, "The console does not read this.")
        try:
            return self.server.read(self.path, self.headers.get("Accept", "application/json"))
        except AdminError as error:
            return 502, _JSON, json.dumps(error.envelope()).encode()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it
        """Say nothing: paths hold customers' ids, and the terminal is for the address."""


class ConsoleServer(ThreadingHTTPServer):
    """Serves the operators' view on a free port of loopback.

    Attributes
    ----------
    token
        What a request for data has to know.
    """

    daemon_threads = True
    _HEADERS: ClassVar[tuple[str, ...]] = ("Content-Type", "Content-Disposition")

    def __init__(self, client: AdminClient, files: ConsoleFiles) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.token = secrets.token_urlsafe(32)
        self._client = client
        self._files = files

    @property
    def authority(self) -> str:
        """Host and port, as a browser that came by the right way sends them."""
        return f"127.0.0.1:{self.server_address[1]}"

    def address(self, customer_id: str | None = None) -> str:
        """Return what to open; browsers send nobody the part after the ``#``."""
        of = "" if customer_id is None else f"/{segment(customer_id)}"
        return f"http://{self.authority}/console#operator/{self.token}{of}"

    def file(self, path: str) -> ConsoleFile | None:
        """Return a file of the console."""
        if path == "/console":
            return self._files.page
        match path.split("/"):
            case ["", "console", version, name]:
                return self._files.find(version, name)
        return None

    def read(self, target: str, accept: str) -> _Answer:
        """Ask the admin API; pass its answer on."""
        response = self._client.read(target, accept)
        kept = {name: response.headers[name] for name in self._HEADERS if name in response.headers}
        return response.status_code, {**_NOT_KEPT, **kept}, response.content

    @contextmanager
    def running(self) -> Iterator[ConsoleServer]:
        """Serve while it is entered."""
        thread = Thread(target=self.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.shutdown()
            thread.join()
            self.server_close()


@reported
def console(
    context: typer.Context,
    customer_id: Annotated[
        str | None, typer.Argument(metavar="ID", help="The customer to begin with.")
    ] = None,
    *,
    json_: Json = False,
) -> None:
    """Show any customer and the month end in a browser on this machine; read only."""
    server = ConsoleServer(client_of(context), ConsoleFiles.of(FILES))
    address = server.address(customer_id)
    with server.running():
        output_of(context, json_).answer(
            {"url": address},
            note(address),
            note("It works on this machine, until you press Ctrl-C.", "dim"),
        )
        # A script that starts this reads the address from a pipe.
        sys.stdout.flush()
        wait()


def wait() -> None:
    """Wait for Ctrl-C."""
    with suppress(KeyboardInterrupt):
        Event().wait()


_NOT_KEPT = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
_JSON = {**_NOT_KEPT, "Content-Type": "application/json"}


def _refused(status: int, message: str) -> _Answer:
    envelope = {"error": message, "error_code": "CONSOLE", "details": {}, "request_id": ""}
    return status, _JSON, json.dumps(envelope).encode()
