"""What is sent, what an answer means, when it is tried again, and how secrets rotate."""

from __future__ import annotations

import base64
import json
from datetime import timedelta
from random import Random

import pytest

from flowstack_core.domain.webhooks import (
    ATTEMPTS_KEPT,
    LONGEST_DELAY,
    OVERLAP,
    PACE,
    RETRY_DELAYS,
    Delivery,
    Failure,
    Reply,
    Schedule,
    SealedSecret,
    Status,
    Step,
    WebhookEndpoint,
    WebhookEvent,
    new_secret,
    trial_event,
)
from tests.support.fakes import NOON

HOUR = timedelta(hours=1)
EVENT = WebhookEvent("evt_1", "cus_1", "usage.alert", NOON, {"threshold": 75})
ENDPOINT = WebhookEndpoint("cus_1", "https://a.example/hook", (SealedSecret(b"one"),), NOON, NOON)
CALM = Schedule(RETRY_DELAYS, lambda: 0.0)


def test_the_payload_is_the_one_that_the_specification_recommends() -> None:
    assert json.loads(EVENT.body()) == {
        "type": "usage.alert",
        "timestamp": "2026-11-15T12:00:00.000Z",
        "data": {"threshold": 75},
    }


@pytest.mark.parametrize("event_id", ["", "a.b", "a b", "ä", "a\nb", "x" * 129])
def test_an_id_that_cannot_be_signed_or_sent_is_none(event_id: str) -> None:
    with pytest.raises(ValueError, match="full stop"):
        WebhookEvent(event_id, "cus_1", "usage.alert", NOON, {})


def test_a_secret_is_as_long_as_the_specification_asks_for() -> None:
    secret = new_secret(Random(1).randbytes)
    assert secret.startswith("whsec_")
    assert 24 <= len(base64.b64decode(secret.removeprefix("whsec_"), validate=True)) <= 64
    assert new_secret(Random(2).randbytes) != secret


# --- what an answer means ----------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_every_2xx_is_success(status: int) -> None:
    assert Reply.answered(status).failure is None


@pytest.mark.parametrize("status", [100, 199, 400, 401, 404, 408, 409, 422, 429, 500, 502, 599])
def test_every_other_status_is_a_failure(status: int) -> None:
    assert Reply.answered(status).failure is Failure.STATUS


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
def test_a_redirect_is_a_failure(status: int) -> None:
    assert Reply.answered(status).failure is Failure.REDIRECT


# --- the schedule ------------------------------------------------------------------------------


def test_failed_attempts_are_made_again_for_a_bit_more_than_a_day() -> None:
    failed = Reply.answered(500)
    delays = [CALM.delay_after(number, failed) for number in range(1, 9)]
    assert delays[:3] == [timedelta(seconds=5), timedelta(minutes=5), timedelta(minutes=30)]
    assert delays[3:7] == [2 * HOUR, 5 * HOUR, 10 * HOUR, 10 * HOUR]
    assert delays[7] is None
    assert timedelta(days=1) < sum(RETRY_DELAYS, timedelta(0)) < timedelta(days=2)


def test_chance_makes_a_delay_longer_by_a_tenth_at_most() -> None:
    late = Schedule(RETRY_DELAYS, lambda: 0.999).delay_after(4, Reply.answered(500))
    assert late is not None
    assert 2 * HOUR < late <= 2 * HOUR * 1.1


@pytest.mark.parametrize("status", [429, 502, 504])
def test_a_receiver_under_load_is_given_minutes(status: int) -> None:
    assert CALM.delay_after(1, Reply.answered(status)) == timedelta(minutes=5)
    assert CALM.delay_after(4, Reply.answered(status)) == 2 * HOUR


def test_a_receiver_can_ask_for_time_up_to_a_point() -> None:
    def delay(seconds: float) -> timedelta | None:
        return CALM.delay_after(1, Reply.answered(503, timedelta(seconds=seconds)))

    assert delay(60) == timedelta(minutes=1)
    assert delay(1) == timedelta(seconds=5), "not sooner than the schedule says"
    assert delay(10**8) == LONGEST_DELAY


def test_who_is_gone_is_not_asked_again() -> None:
    assert CALM.delay_after(1, Reply.answered(410, timedelta(seconds=5))) is None


# --- endpoints ---------------------------------------------------------------------------------


def test_an_old_secret_signs_for_a_day_beside_the_new_one() -> None:
    rotated = ENDPOINT.rotated(b"two", NOON)
    almost = NOON + OVERLAP - timedelta(microseconds=1)
    assert [one.ciphertext for one in rotated.signing(almost)] == [b"two", b"one"]
    assert rotated.old_secrets_until == NOON + OVERLAP
    assert ENDPOINT.old_secrets_until is None
    assert [one.ciphertext for one in rotated.signing(NOON + OVERLAP)] == [b"two"]


def test_rotating_again_lets_no_secret_live_longer_and_forgets_those_that_ended() -> None:
    once = ENDPOINT.rotated(b"two", NOON)
    twice = once.rotated(b"three", NOON + HOUR)
    ends = {one.ciphertext: one.until for one in twice.secrets}
    assert ends == {b"three": None, b"two": NOON + HOUR + OVERLAP, b"one": NOON + OVERLAP}
    later = once.rotated(b"three", NOON + OVERLAP)
    assert [one.ciphertext for one in later.secrets] == [b"three", b"two"]


def test_an_endpoint_prints_neither_its_address_nor_its_secrets() -> None:
    assert "example" not in repr(ENDPOINT)
    assert "ciphertext" not in repr(ENDPOINT)
    assert set(ENDPOINT.facts()) == {"secrets", "switched_off", "version"}


# --- deliveries --------------------------------------------------------------------------------


def test_tests_that_are_asked_for_at_once_are_one_event() -> None:
    first = trial_event("cus_1", NOON)
    assert trial_event("cus_1", NOON + PACE * 0.9).event_id == first.event_id
    assert trial_event("cus_1", NOON + PACE).event_id != first.event_id


def test_only_the_last_attempts_are_kept() -> None:
    delivery = Delivery.of(EVENT, NOON)
    for _ in range(ATTEMPTS_KEPT + 3):
        attempt = delivery.attempted(Reply.answered(200), NOON, NOON + timedelta(seconds=1))
        delivery = delivery.after(attempt, None, NOON).again(NOON)
    assert len(delivery.attempts) == ATTEMPTS_KEPT
    assert delivery.attempts[-1].series == ATTEMPTS_KEPT + 3
    assert delivery.attempts[-1].milliseconds == 1000


def test_after_its_outcome_the_next_step_begins_another_series() -> None:
    delivery = Delivery.of(EVENT, NOON)
    assert delivery.next_step == Step("cus_1", "evt_1", 1, 1)
    done = delivery.after(delivery.attempted(Reply.answered(200), NOON, NOON), None, NOON)
    assert (done.status, done.next_step) == (Status.DELIVERED, Step("cus_1", "evt_1", 2, 1))
