"""Webhooks, as customers set them; and events, as their servers verify them."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from random import Random

import pytest
from standardwebhooks import Webhook as Reference

from flowstack import Agent, AsyncAgent, InvalidRequestError
from flowstack.webhooks import TOLERANCE_SECONDS, verify
from flowstack_core.adapters.webhook_sender import signed_headers
from flowstack_core.domain.webhooks import new_secret
from tests.support.fake_api import FakeApi

URL = "https://hooks.example.com/"
SECRET, OTHER = new_secret(Random(1).randbytes), new_secret(Random(2).randbytes)
BODY = '{"type":"usage.alert","data":{"name":"Ärger"}}'
NOW = datetime(2026, 11, 24, 20, 22, 57, tzinfo=UTC)


def test_a_webhook_is_set_seen_rotated_and_removed(agent: Agent, api: FakeApi) -> None:
    webhooks = agent.webhooks
    assert webhooks.find() is None
    made = webhooks.set(URL)
    assert made.secret == "whsec_Y2FuYXJ5"
    assert "whsec" not in repr(made)
    assert webhooks.set(URL).secret is None
    found = webhooks.find()
    assert found is not None
    assert found.url == URL
    assert webhooks.rotate_secret().secret == "whsec_bmV3"
    assert webhooks.test() == "test_1"
    assert webhooks.remove() is True
    assert webhooks.remove() is False


def test_deliveries_are_read_page_after_page(agent: Agent, api: FakeApi) -> None:
    ids = [each.event_id for each in agent.webhooks.deliveries()]
    assert ids == [f"evt_{number}" for number in range(5)]
    assert len(list(agent.webhooks.deliveries(limit=3))) == 3
    assert list(agent.webhooks.deliveries(limit=0)) == []
    one = agent.webhooks.delivery("evt/1")
    assert [attempt.status for attempt in one.attempt_log] == [200]
    assert agent.webhooks.redeliver("evt_1") == "evt_1"
    assert api.requests[-2].url.raw_path.endswith(b"/deliveries/evt%2F1")


def test_everything_about_webhooks_can_be_awaited(async_agent: AsyncAgent) -> None:
    async def everything() -> None:
        webhooks = async_agent.webhooks
        assert await webhooks.find() is None
        assert (await webhooks.set(URL)).secret is not None
        found = await webhooks.find()
        assert found is not None
        assert (await webhooks.rotate_secret()).secret is not None
        assert await webhooks.test() == "test_1"
        assert len([each async for each in webhooks.deliveries()]) == 5
        assert len([each async for each in webhooks.deliveries(3)]) == 3
        assert (await webhooks.delivery("evt_1")).event_id == "evt_1"
        assert await webhooks.redeliver("evt_1") == "evt_1"
        assert await webhooks.remove() is True
        assert await webhooks.remove() is False

    asyncio.run(everything())


# --- verifying ---------------------------------------------------------------------------------


@pytest.mark.parametrize("secrets", [[SECRET], [OTHER, SECRET], [SECRET, OTHER]])
@pytest.mark.parametrize("body", [BODY, BODY.encode()])
def test_what_the_server_signs_is_verified(secrets: list[str], body: str | bytes) -> None:
    headers = signed_headers("evt_1", BODY, secrets, NOW)
    shouted = {name.upper(): value for name, value in headers.items()}
    for given in (headers, shouted):
        assert verify(body, given, SECRET, NOW.timestamp())["data"] == {"name": "Ärger"}


def test_it_agrees_with_the_reference_implementation() -> None:
    now = datetime.now(UTC)
    signature = Reference(SECRET).sign("evt_1", now, BODY)
    headers = {
        "webhook-id": "evt_1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": f"v1a,nonsense {signature}",
    }
    assert verify(BODY, headers, SECRET) == Reference(SECRET).verify(BODY, dict(headers))


@pytest.mark.parametrize("field", ["webhook-id", "webhook-timestamp", "webhook-signature", "body"])
def test_what_was_changed_or_left_out_is_refused(field: str) -> None:
    headers = signed_headers("evt_1", BODY, [SECRET], NOW)
    changed = {**headers, field: headers.get(field, "").replace("1", "2", 1)}
    missing = {name: value for name, value in headers.items() if name != field}
    body = BODY.replace("usage", "other") if field == "body" else BODY
    for given in (changed, missing):
        if given != headers or body != BODY:
            with pytest.raises(InvalidRequestError, match="signature"):
                verify(body, given, SECRET, NOW.timestamp())
    with pytest.raises(InvalidRequestError, match="signature"):
        verify(BODY, headers, OTHER, NOW.timestamp())


@pytest.mark.parametrize("seconds", [TOLERANCE_SECONDS + 1, -TOLERANCE_SECONDS - 1])
def test_a_recording_is_refused(seconds: int) -> None:
    headers = signed_headers("evt_1", BODY, [SECRET], NOW)
    with pytest.raises(InvalidRequestError, match="five minutes"):
        verify(BODY, headers, SECRET, NOW.timestamp() + seconds)
    verify(BODY, headers, SECRET, NOW.timestamp() + TOLERANCE_SECONDS)


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_*", "whsec_ä"])
def test_what_is_no_secret_verifies_nothing_and_is_not_repeated(secret: str) -> None:
    headers = signed_headers("evt_1", BODY, [SECRET], NOW)
    with pytest.raises(InvalidRequestError, match="no secret") as refused:
        verify(BODY, headers, secret, NOW.timestamp())
    assert refused.value.__context__ is None
