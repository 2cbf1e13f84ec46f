"""The operators' view: who gets in, what can be read, and that nothing can be changed."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from botocore.credentials import Credentials
from typer.testing import CliRunner

from flowstack_admin import console as console_module
from flowstack_admin.client import AdminClient
from flowstack_admin.console import FILES, HEADER, ConsoleServer
from flowstack_admin.main import app
from flowstack_core.http.console_files import CONTENT_SECURITY_POLICY, ConsoleFiles

API = "https://0123456789.execute-api.us-east-1.amazonaws.com/prod"
READABLE = (
    "/admin/customers?limit=50",
    "/admin/customers/cus_1/usage",
    "/admin/customers/cus_1/usage-history?by=agent",
    "/admin/customers/cus_1/forecast",
    "/admin/customers/cus_1/subscription",
    "/admin/customers/cus_1/recommendations",
    "/admin/customers/cus_1/statements?limit=12",
    "/admin/customers/cus_1/alerts",
    "/admin/customers/cus_1/margin",
    "/admin/margins",
    "/admin/customers/cus_1/statements/2026-10",
    "/admin/customers/cus_1/keys",
    "/admin/customers/cus_1/audit-trail?limit=20",
    "/admin/month-ends?limit=12",
    "/admin/month-ends/2026-10",
)


@dataclass
class Upstream:
    """The admin API; keeps what it is asked."""

    asked: list[httpx.Request] = field(default_factory=list)
    lost: bool = False

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        if self.lost:
            raise httpx.ConnectError("no route to host")
        if request.headers["Accept"] == "text/csv":
            disposition = {"Content-Disposition": 'attachment; filename="statements.csv"'}
            return httpx.Response(
                200, text="a,b", headers={"Content-Type": "text/csv", **disposition}
            )
        return httpx.Response(403, json={"error": "No."}, headers={"X-Secret": "not for the page"})


@pytest.fixture
def upstream() -> Upstream:
    return Upstream()


@pytest.fixture
def server(upstream: Upstream) -> Iterator[ConsoleServer]:
    with httpx.Client(transport=httpx.MockTransport(upstream)) as http:
        client = AdminClient(API, "us-east-1", Credentials("AKID", "secret"), http)
        with ConsoleServer(client, ConsoleFiles.of(FILES)).running() as running:
            yield running


@pytest.fixture
def browser(server: ConsoleServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://{server.authority}", trust_env=False) as client:
        yield client


def proof(server: ConsoleServer) -> dict[str, str]:
    return {HEADER: server.token}


def test_it_listens_on_loopback_only(server: ConsoleServer) -> None:
    assert server.server_address[0] == "127.0.0.1"


def test_the_page_and_its_files_are_those_of_the_api(
    server: ConsoleServer, browser: httpx.Client
) -> None:
    page = browser.get("/console")
    assert page.status_code == 200
    assert page.headers["Content-Security-Policy"] == CONTENT_SECURITY_POLICY
    files = ConsoleFiles.of(FILES)
    script = browser.get(f"/console/{files.version}/main.js")
    assert script.text == files.files["main.js"].text
    for path in ("/", "/console/other/main.js", "/console/../pyproject.toml"):
        assert browser.get(path).status_code == 404


def test_the_token_is_in_the_part_of_the_address_that_browsers_keep_to_themselves(
    server: ConsoleServer,
) -> None:
    before, _, fragment = server.address("cus 1/..").partition("#")
    assert before == f"http://{server.authority}/console"
    assert fragment == f"operator/{server.token}/cus%201%2F.."
    assert len(server.token) >= 43, "256 bits"


@pytest.mark.parametrize("target", READABLE)
def test_what_the_page_shows_is_read_with_a_signature(
    target: str, server: ConsoleServer, browser: httpx.Client, upstream: Upstream
) -> None:
    answer = browser.get(target, headers=proof(server))
    assert (answer.status_code, answer.json()) == (403, {"error": "No."})
    assert answer.headers["Cache-Control"] == "no-store"
    assert "X-Secret" not in answer.headers
    [asked] = upstream.asked
    assert (asked.method, str(asked.url)) == ("GET", f"{API}{target}")
    assert asked.headers["Authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKID/")
    assert HEADER not in asked.headers


def test_a_statement_comes_in_the_form_that_is_asked_for(
    server: ConsoleServer, browser: httpx.Client
) -> None:
    answer = browser.get(
        "/admin/customers/cus_1/statements", headers={**proof(server), "Accept": "text/csv"}
    )
    assert (answer.text, answer.headers["Content-Type"]) == ("a,b", "text/csv")
    assert "statements.csv" in answer.headers["Content-Disposition"]


@pytest.mark.parametrize("token", [None, "", "guess", "é".encode()])
def test_without_the_token_nothing_is_read(
    token: Any, browser: httpx.Client, upstream: Upstream
) -> None:
    headers = {} if token is None else {HEADER: token}
    assert browser.get(READABLE[0], headers=headers).status_code == 401
    assert upstream.asked == []


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "localhost:1", "evil.example:80"])
def test_a_name_of_somebody_else_that_leads_here_gets_nothing(
    host: str, server: ConsoleServer, browser: httpx.Client, upstream: Upstream
) -> None:
    for path in ("/console", READABLE[0]):
        answer = browser.get(path, headers={**proof(server), "Host": host})
        assert answer.status_code == 421
    assert upstream.asked == []


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_nothing_can_be_changed(
    method: str, server: ConsoleServer, browser: httpx.Client, upstream: Upstream
) -> None:
    answer = browser.request(method, "/admin/customers/cus_1/keys", headers=proof(server))
    assert answer.status_code == 501
    assert upstream.asked == []


@pytest.mark.parametrize(
    "path",
    [
        "/admin/customers/cus_1/clock",
        "/admin/customers/cus_1/exports/exp_1",
        "/admin/customers/a/b/usage",
        "/admin/month-ends/redrive",
        "/admin/anything",
    ],
)
def test_what_the_page_does_not_show_cannot_be_read(
    path: str, server: ConsoleServer, browser: httpx.Client, upstream: Upstream
) -> None:
    assert browser.get(path, headers=proof(server)).status_code == 403
    assert upstream.asked == []


def test_an_api_that_does_not_answer_is_told_in_the_envelope(
    server: ConsoleServer, browser: httpx.Client, upstream: Upstream
) -> None:
    upstream.lost = True
    answer = browser.get(READABLE[0], headers=proof(server))
    assert answer.status_code == 502
    assert answer.json()["error_code"] == "CANNOT_CONNECT"


def test_the_command_tells_the_address_and_serves_until_it_is_stopped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    served: list[int] = []

    def stop_at_once() -> None:
        served.append(sum("serve_forever" in thread.name for thread in threading.enumerate()))

    monkeypatch.setattr(console_module, "wait", stop_at_once)
    environment = {
        "FLOWSTACK_ADMIN_API_URL": API,
        "AWS_ACCESS_KEY_ID": "AKID",
        "AWS_SECRET_ACCESS_KEY": "secret",
    }
    result = CliRunner().invoke(app, ["console", "cus_1", "--json"], env=environment)
    assert result.exit_code == 0, result.output
    url = json.loads(result.stdout)["url"]
    assert url.startswith("http://127.0.0.1:")
    assert url.endswith("/cus_1")
    assert served == [1]
    with pytest.raises(httpx.ConnectError):
        httpx.get(url, trust_env=False)
