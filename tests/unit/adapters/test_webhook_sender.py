"""Events on the wire: signed as Standard Webhooks has it, sent nowhere they should not be."""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from flowstack_core.adapters.egress import EgressPolicy
from flowstack_core.adapters.webhook_sender import (
    HttpWebhookSender,
    check_url,
    retry_after,
    signed_headers,
)
from flowstack_core.domain.errors import InvalidRequestError
from flowstack_core.domain.webhooks import Failure, Reply, WebhookEvent, new_secret
from tests.support.fakes import NOON
from tests.support.webhook_server import Reaction, WebhookServer
from tests.unit.adapters.test_egress import REFUSED_AS_WRITTEN

LOCAL = EgressPolicy(loopback=True)
PUBLIC = EgressPolicy()
SECRET = new_secret(Random(1).randbytes)
OTHER = new_secret(Random(2).randbytes)
EVENT = WebhookEvent("evt_1", "cus_1", "usage.alert", NOON, {"threshold": 75, "name": "Ärger"})


@pytest.fixture
def server() -> Iterator[WebhookServer]:
    with WebhookServer() as running:
        yield running


def send(
    server: WebhookServer, reaction: Reaction | None = None, *secrets: str, seconds: float = 5
) -> Reply:
    server.react(*([] if reaction is None else [reaction]))
    sender = HttpWebhookSender(LOCAL, seconds=seconds)
    return sender.send(f"{server.url}/hook?a=b", EVENT, secrets or (SECRET,), datetime.now(UTC))


# --- signatures --------------------------------------------------------------------------------


def test_what_arrives_is_what_the_reference_implementation_accepts(server: WebhookServer) -> None:
    assert send(server) == Reply.answered(200)
    (arrival,) = server.arrivals
    assert arrival.verified(SECRET) == EVENT.payload()
    assert arrival.path == "/hook?a=b"
    assert arrival.event_id == "evt_1"
    assert arrival.headers["content-type"] == "application/json"
    assert "cookie" not in arrival.headers


def test_what_was_changed_on_its_way_is_not_accepted(server: WebhookServer) -> None:
    send(server)
    (arrival,) = server.arrivals
    for body, headers in (
        (arrival.body.replace(b"75", b"95"), arrival.headers),
        (arrival.body, {**arrival.headers, "webhook-id": "evt_2"}),
        (arrival.body, {**arrival.headers, "webhook-timestamp": str(int(time.time()) + 1)}),
    ):
        with pytest.raises(WebhookVerificationError):
            Webhook(SECRET).verify(body, dict(headers))
    with pytest.raises(WebhookVerificationError):
        arrival.verified(OTHER)


def test_during_a_rotation_either_secret_is_enough(server: WebhookServer) -> None:
    send(server, None, OTHER, SECRET)
    (arrival,) = server.arrivals
    assert arrival.verified(SECRET) == arrival.verified(OTHER) == EVENT.payload()
    assert len(arrival.headers["webhook-signature"].split(" ")) == 2


def test_a_signature_is_the_hmac_that_the_specification_describes() -> None:
    headers = signed_headers("evt_1", "{}", [SECRET], NOON)
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    signed = f"evt_1.{int(NOON.timestamp())}.{{}}".encode()
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert headers == {
        "webhook-id": "evt_1",
        "webhook-timestamp": str(int(NOON.timestamp())),
        "webhook-signature": f"v1,{expected}",
    }


# --- answers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 202, 204, 400, 404, 410, 429, 500, 503])
def test_the_status_decides(status: int, server: WebhookServer) -> None:
    assert send(server, Reaction(status=status)) == Reply.answered(status)


def test_a_redirect_is_not_followed(server: WebhookServer) -> None:
    reply = send(server, Reaction(status=307, headers={"Location": f"{server.url}/elsewhere"}))
    assert (reply.status, reply.failure) == (307, Failure.REDIRECT)
    assert len(server.arrivals) == 1


def test_what_the_server_asks_for_is_read(server: WebhookServer) -> None:
    reply = send(server, Reaction(status=429, headers={"Retry-After": "120"}))
    assert reply.retry_after == timedelta(seconds=120)


def test_an_answer_is_not_read_beyond_its_head(server: WebhookServer) -> None:
    assert send(server, Reaction(body=b"x" * 20_000_000)).failure is None


@pytest.mark.parametrize(
    ("reaction", "failure"),
    [
        (Reaction(delay_seconds=10), Failure.TIMEOUT),
        (Reaction(drop=True), Failure.MALFORMED),
        (Reaction(garbage=True), Failure.MALFORMED),
    ],
)
def test_without_an_answer_there_is_a_reason(
    reaction: Reaction, failure: Failure, server: WebhookServer
) -> None:
    assert send(server, reaction, seconds=0.5) == Reply.none(failure)


def test_a_server_that_is_not_there_is_unreachable() -> None:
    with WebhookServer() as server:
        url = server.url
    sender = HttpWebhookSender(LOCAL, seconds=2)
    assert sender.send(url, EVENT, [SECRET], NOON) == Reply.none(Failure.UNREACHABLE)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        (None, None),
        ("120", 120),
        ("0", 0),
        ("9" * 30, 10**8),
        ("-5", None),
        ("soon", None),
        ("Sun, 15 Nov 2026 12:02:00 GMT", 120),
        ("Sun, 15 Nov 2026 11:00:00 GMT", 0),
    ],
)
def test_retry_after_is_a_number_or_a_date(written: str | None, seconds: int | None) -> None:
    found = retry_after(written, NOON)
    assert found == (None if seconds is None else timedelta(seconds=seconds))


# --- where it does not go ----------------------------------------------------------------------


@pytest.mark.parametrize("url", REFUSED_AS_WRITTEN)
def test_a_hostile_address_is_refused_when_it_is_set(url: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        check_url(url, PUBLIC)
    assert refused.value.details == {"field": "url"}
    assert not url or url not in refused.value.message


def test_a_fragment_is_no_part_of_an_address() -> None:
    check_url("https://hooks.example.com/a?b=c", PUBLIC)
    with pytest.raises(InvalidRequestError, match="fragment"):
        check_url("https://hooks.example.com/a#b", PUBLIC)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "169.254.169.254"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_hostile_address_that_was_stored_all_the_same_is_never_connected_to(
    scheme: str, host: str, server: WebhookServer
) -> None:
    port = server.server_address[1]
    reply = HttpWebhookSender(PUBLIC).send(f"{scheme}://{host}:{port}/", EVENT, [SECRET], NOON)
    assert reply == Reply.none(Failure.REFUSED)
    assert server.accepted == 0


def test_a_name_that_leads_inside_is_never_connected_to(server: WebhookServer) -> None:
    sender = HttpWebhookSender(PUBLIC, resolve=lambda host, port: ["127.0.0.1"])
    port = server.server_address[1]
    reply = sender.send(f"https://hooks.example.com:{port}/", EVENT, [SECRET], NOON)
    assert reply == Reply.none(Failure.REFUSED)
    assert server.accepted == 0


def test_neither_address_secret_nor_answer_is_in_a_log(
    server: WebhookServer, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        send(server, Reaction(status=500, body=b"canary-body"))
    for text in ("/hook", SECRET, "canary-body"):
        assert text not in caplog.text
