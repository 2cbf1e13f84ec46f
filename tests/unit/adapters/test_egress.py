"""Where a customer's host may lead, and that nothing is connected to before it is known."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from socket import socket
from typing import Any

import httpcore2
import httpx2
import pytest

from flowstack_core.adapters import egress_transport
from flowstack_core.adapters.egress import (
    EgressPolicy,
    EgressRefusedError,
    parse_destination,
    public_addresses,
    resolve_by_system,
)
from flowstack_core.adapters.egress_transport import (
    Deadline,
    GuardedTransport,
    ResponseTooLargeError,
    guarded_client,
)
from local_stack.certificate import ensure
from tests.support.local_http import LocalHandler, LocalServer

PUBLIC = EgressPolicy()
LOCAL = EgressPolicy(loopback=True)
GOOD = "https://models.example.com"
PUBLIC_ADDRESS = "93.184.215.14"

REFUSED_AS_WRITTEN = [
    "http://models.example.com",
    "ftp://models.example.com",
    "file:///etc/passwd",
    "gopher://models.example.com:70/_x",
    "//models.example.com",
    "models.example.com",
    "",
    "https://",
    "https:///v1",
    "https://user@models.example.com",
    "https://user:secret@models.example.com",
    "https://models.example.com@127.0.0.1",
    "https://127.0.0.1#@models.example.com",
    "https://models.example.com\\@127.0.0.1",
    "https://models.example.com:22",
    "https://models.example.com:25",
    "https://models.example.com:80",
    "https://models.example.com:0",
    "https://models.example.com:65536",
    "https://models.example.com:-1",
    "https://models.example.com:x",
    "https://localhost",
    "https://localhost:11434",
    "https://LOCALHOST",
    "https://localhost.",
    "https://ollama.localhost",
    "https://printer.local",
    "https://metadata.google.internal",
    "https://intranet",
    "https://models.example.com.",
    "https://models..example.com",
    "https://-models.example.com",
    "https://models%2eexample.com",
    "https://127.0.0.1%2f.example.com",
    "https://ex\u00e4mple.com",
    "https://\uff11\uff12\uff17.0.0.1",
    "https://127\u30020.0.1",
    "https://models.example.com\t",
    "https://models.exa\nmple.com",
    "https://models.example.com /v1",
    f"https://{'a' * 250}.example.com",
    f"https://models.example.com/{'a' * 2_100}",
    # IPv4, as usual and not
    "https://127.0.0.1",
    "https://127.0.0.1:11434/v1",
    "https://127.1",
    "https://127.0.0.1.",
    "https://2130706433",
    "https://017700000001",
    "https://0x7f000001",
    "https://0x7f.1",
    "https://0177.0.0.1",
    "https://127.0.0.0x1",
    "https://0",
    "https://0.0.0.0",
    "https://10.1.2.3",
    "https://100.64.0.1",
    "https://100.100.100.200",
    "https://169.254.169.254/latest/meta-data/",
    "https://169.254.170.2",
    "https://2852039166",
    "https://172.16.0.1",
    "https://172.31.255.255",
    "https://192.0.0.192",
    "https://192.168.0.1",
    "https://198.18.0.1",
    "https://168.63.129.16",
    "https://224.0.0.1",
    "https://240.0.0.1",
    "https://255.255.255.255",
    # IPv6, and what it embeds
    "https://[::1]",
    "https://[::]",
    "https://[::1",
    "https://[fe80::1]",
    "https://[fe80::1%25eth0]",
    "https://[2606:4700::1111%25eth0]",
    "https://[fc00::1]",
    "https://[fd00:ec2::254]",
    "https://[fec0::1]",
    "https://[ff02::1]",
    "https://[::ffff:127.0.0.1]",
    "https://[::ffff:7f00:1]",
    "https://[::ffff:169.254.169.254]",
    "https://[::127.0.0.1]",
    "https://[64:ff9b::7f00:1]",
    "https://[64:ff9b:1::7f00:1]",
    "https://[2002:7f00:1::]",
    "https://[2002:a9fe:a9fe::1]",
    "https://[2001:0:4136:e378:8000:63bf:3fff:fdd2]",
    "https://[2001:db8::1]",
    "https://[3fff::1]",
    "https://[100::1]",
]

REFUSED_ADDRESSES = [
    ("127.0.0.1",),
    ("10.0.0.5",),
    ("169.254.169.254",),
    ("::1",),
    ("::ffff:10.0.0.5",),
    ("fe80::1%eth0",),
    (PUBLIC_ADDRESS, "10.0.0.5"),
    ("10.0.0.5", PUBLIC_ADDRESS),
    ("2606:4700::1111", "fd00::1"),
]

ALLOWED = [
    ("https://models.example.com", "models.example.com", 443),
    ("https://Models.Example.com/v1", "models.example.com", 443),
    ("https://models.example.com:8443/v1", "models.example.com", 8443),
    ("https://models.example.com:11434", "models.example.com", 11434),
    ("https://xn--mller-kva.example", "xn--mller-kva.example", 443),
    ("https://93.184.215.14", "93.184.215.14", 443),
    ("https://172.15.0.1", "172.15.0.1", 443),
    ("https://[2606:4700::1111]:8443", "2606:4700::1111", 8443),
]


def never(host: str, port: int) -> Sequence[str]:
    raise AssertionError(f"{host} was resolved")


@dataclass
class Connections:
    """Records what would have been connected to, and refuses it."""

    opened: list[tuple[str, int]] = field(default_factory=list)

    def connect_tcp(self, host: str, port: int, *_: Any) -> Any:
        self.opened.append((host, port))
        raise httpcore2.ConnectError("not in a test")


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> Connections:
    recorded = Connections()
    monkeypatch.setattr(httpcore2, "SyncBackend", lambda: recorded)
    return recorded


def get(
    url: str, resolve: Callable[[str, int], Sequence[str]], policy: EgressPolicy = PUBLIC
) -> Any:
    with guarded_client(policy, 5, resolve=resolve) as client:
        return client.get(url)


# --- what is written -----------------------------------------------------------------------


def test_the_table_is_long_enough_to_mean_something() -> None:
    assert len(set(REFUSED_AS_WRITTEN)) >= 80


@pytest.mark.parametrize("url", REFUSED_AS_WRITTEN)
def test_a_hostile_url_is_refused_as_it_is_written(url: str) -> None:
    with pytest.raises(EgressRefusedError):
        parse_destination(url, PUBLIC)


@pytest.mark.parametrize("url", REFUSED_AS_WRITTEN)
def test_no_connection_is_opened_to_a_hostile_url(url: str, connections: Connections) -> None:
    with pytest.raises(
        (EgressRefusedError, httpx2.InvalidURL, httpx2.UnsupportedProtocol, httpx2.ConnectError)
    ):
        get(url, lambda host, port: ["127.0.0.1"])
    assert connections.opened == []


@pytest.mark.parametrize(("url", "host", "port"), ALLOWED)
def test_what_is_public_is_allowed(url: str, host: str, port: int) -> None:
    found = parse_destination(url, PUBLIC)
    assert (found.host, found.port) == (host, port)


@pytest.mark.parametrize(
    "url", ["http://localhost:11434", "http://127.0.0.1:11434", "http://[::1]"]
)
def test_a_local_stage_may_speak_plainly_to_its_own_machine(url: str) -> None:
    assert parse_destination(url, LOCAL).scheme == "http"
    with pytest.raises(EgressRefusedError):
        parse_destination(url, PUBLIC)


@pytest.mark.parametrize(
    "url",
    [
        "https://10.0.0.5",
        "https://169.254.169.254",
        "https://intranet",
        "http://models.example.com",
    ],
)
def test_a_local_stage_reaches_no_other_private_host(url: str) -> None:
    with pytest.raises(EgressRefusedError):
        parse_destination(url, LOCAL)


def test_a_refusal_repeats_nothing_of_the_url() -> None:
    with pytest.raises(EgressRefusedError) as refused:
        parse_destination("https://user:secret@models.example.com", PUBLIC)
    assert "secret" not in str(refused.value)


# --- what it resolves to -------------------------------------------------------------------


@pytest.mark.parametrize("addresses", REFUSED_ADDRESSES)
def test_one_bad_address_refuses_the_host_and_nothing_is_opened(
    addresses: tuple[str, ...], connections: Connections
) -> None:
    with pytest.raises(EgressRefusedError, match="not on the public Internet"):
        get(GOOD, lambda host, port: addresses)
    assert connections.opened == []


def test_a_name_that_resolves_differently_the_second_time_is_not_asked_a_second_time(
    connections: Connections,
) -> None:
    answers = [[PUBLIC_ADDRESS], ["127.0.0.1"]]
    asked: list[str] = []

    def rebinding(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return answers.pop(0)

    with pytest.raises(httpx2.ConnectError):
        get(GOOD, rebinding)
    assert asked == ["models.example.com"]
    assert connections.opened == [(PUBLIC_ADDRESS, 443)]


def test_each_new_connection_is_checked_anew(connections: Connections) -> None:
    answers = [[PUBLIC_ADDRESS], ["127.0.0.1"]]
    with guarded_client(PUBLIC, 5, resolve=lambda host, port: answers.pop(0)) as client:
        with pytest.raises(httpx2.ConnectError):
            client.get(GOOD)
        with pytest.raises(EgressRefusedError):
            client.get(GOOD)
    assert connections.opened == [(PUBLIC_ADDRESS, 443)]


def test_every_public_address_is_tried_and_each_as_a_number(connections: Connections) -> None:
    addresses = ["2606:4700::1111", PUBLIC_ADDRESS]
    with pytest.raises(httpx2.ConnectError):
        get(f"{GOOD}:8443", lambda host, port: addresses)
    assert connections.opened == [(address, 8443) for address in addresses]


def test_an_address_is_not_resolved(connections: Connections) -> None:
    assert public_addresses(PUBLIC_ADDRESS, 443, PUBLIC, never) == [PUBLIC_ADDRESS]


@pytest.mark.parametrize("outcome", [OSError("no such name"), []])
def test_a_name_without_address_is_a_connection_that_fails(
    outcome: Any, connections: Connections
) -> None:
    def resolve(host: str, port: int) -> Sequence[str]:
        if isinstance(outcome, Exception):
            raise outcome
        found: list[str] = outcome
        return found

    with pytest.raises(httpx2.ConnectError):
        get(GOOD, resolve)
    assert connections.opened == []


def test_a_name_server_that_does_not_answer_is_not_waited_for(connections: Connections) -> None:
    from threading import Event

    release = Event()

    def slow(host: str, port: int) -> Sequence[str]:
        release.wait(30)
        return [PUBLIC_ADDRESS]

    with (
        guarded_client(PUBLIC, 0.1, resolve=slow) as client,
        pytest.raises(httpx2.TimeoutException),
    ):
        client.get(GOOD)
    release.set()
    assert connections.opened == []


def test_the_systems_resolver_gives_addresses_as_numbers() -> None:
    assert "127.0.0.1" in resolve_by_system("127.0.0.1", 443)


def test_user_names_are_refused_by_the_transport_too(connections: Connections) -> None:
    with pytest.raises(EgressRefusedError):
        get("https://user:secret@models.example.com", never)
    assert connections.opened == []


# --- the exchange --------------------------------------------------------------------------


class _Handler(LocalHandler):
    def do_GET(self) -> None:  # noqa: N802 (the base class names it)
        path = self.route()[0]
        if path == "/redirect":
            self.reply(302, b"", {"Location": "http://127.0.0.1:9/"})
        elif path == "/large":
            self.reply(200, b"x" * (egress_transport.MAX_RESPONSE_BYTES + 1))
        elif path == "/gzip":
            self.reply(200, b"bomb", {"Content-Encoding": "gzip"})
        elif path == "/drip":
            self._drip()
        elif path == "/headers":
            self.reply_json(200, dict(self.headers.items()))
        else:
            self.reply(200, b"reached")

    def _drip(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        for _ in range(1000):
            self.wfile.write(b"x")
            self.wfile.flush()
            if self.server.stopping.wait(0.03):  # type: ignore[attr-defined]
                return


class Server(LocalServer):
    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        from threading import Event

        super().__init__(_Handler)
        self.stopping = Event()
        self.accepted = 0
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_side=True)

    def get_request(self) -> tuple[socket, Any]:
        self.accepted += 1
        return super().get_request()

    def shutdown(self) -> None:
        self.stopping.set()
        super().shutdown()

    @property
    def port(self) -> int:
        return int(self.server_address[1])


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        yield running


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.1", "2130706433", "0x7f.1", "0177.0.0.1", "localhost", "[::ffff:127.0.0.1]"],
)
def test_a_server_of_this_machine_is_never_reached_from_a_stage_on_aws(
    server: Server, host: str
) -> None:
    for scheme in ("http", "https"):
        with pytest.raises((EgressRefusedError, httpx2.InvalidURL)):
            get(f"{scheme}://{host}:{server.port}/", resolve_by_system)
    assert server.accepted == 0


def test_a_name_that_leads_to_this_machine_is_never_reached_from_a_stage_on_aws(
    server: Server,
) -> None:
    with pytest.raises(EgressRefusedError):
        get(f"https://models.example.com:{server.port}/", lambda host, port: ["127.0.0.1"])
    assert server.accepted == 0


def test_a_local_stage_reaches_a_server_of_its_own_machine(server: Server) -> None:
    assert get(server.url, resolve_by_system, LOCAL).text == "reached"


def test_redirects_are_not_followed(server: Server) -> None:
    answer = get(f"{server.url}/redirect", resolve_by_system, LOCAL)
    assert answer.status_code == 302
    assert server.accepted == 1


def test_an_answer_that_is_too_large_is_not_read_to_its_end(server: Server) -> None:
    with pytest.raises(ResponseTooLargeError):
        get(f"{server.url}/large", resolve_by_system, LOCAL)


def test_a_compressed_answer_is_refused_because_it_may_become_a_large_one(server: Server) -> None:
    with pytest.raises(httpx2.RemoteProtocolError, match="compressed"):
        get(f"{server.url}/gzip", resolve_by_system, LOCAL)
    sent = get(f"{server.url}/headers", resolve_by_system, LOCAL).json()
    assert sent["Accept-Encoding"] == "identity"


def test_an_answer_that_drips_is_cut_off_when_its_time_is_over(server: Server) -> None:
    with (
        guarded_client(LOCAL, 0.3) as client,
        pytest.raises(httpx2.TimeoutException),
    ):
        client.get(f"{server.url}/drip")


def test_nothing_is_begun_when_the_time_is_over(server: Server) -> None:
    transport = GuardedTransport(LOCAL, Deadline(at=1.0, now=lambda: 1.0))
    with httpx2.Client(transport=transport) as client, pytest.raises(httpx2.TimeoutException):
        client.get(server.url)
    assert server.accepted == 0


def test_where_customers_send_us_is_in_no_log(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        get(f"{server.url}/private-path", resolve_by_system, LOCAL)
    assert "private-path" not in caplog.text


def test_no_proxy_of_the_environment_is_used(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert get(server.url, resolve_by_system, LOCAL).text == "reached"


def test_tls_is_verified_against_the_name_though_the_connection_goes_to_a_number(
    tmp_path: Path,
) -> None:
    certificate = ensure(tmp_path)
    assert certificate is not None
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(certificate.certificate, certificate.key)
    trusting = ssl.create_default_context(cafile=str(certificate.certificate))

    def at_home(host: str, port: int) -> Sequence[str]:
        return ["127.0.0.1"]

    with Server(serving) as server:
        with guarded_client(LOCAL, 5, resolve=at_home, tls=trusting) as client:
            assert client.get(f"https://localhost:{server.port}/").text == "reached"
            with pytest.raises(httpx2.ConnectError, match=r"(?i)hostname mismatch"):
                client.get(f"https://models.example.com:{server.port}/")
        with (
            guarded_client(LOCAL, 5, resolve=at_home) as client,
            pytest.raises(httpx2.ConnectError),
        ):
            client.get(f"https://localhost:{server.port}/")
