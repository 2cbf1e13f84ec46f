"""Whose an idempotency key is, what it stands for, and when it may be taken over (S3)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from flowstack_core.domain.idempotency import RETENTION, Claim, IdempotencyKey, idempotency_key
from tests.support.fakes import NOON

MICROSECOND = timedelta(microseconds=1)
LEASE = timedelta(seconds=34)


def key(
    text: str = "k1",
    *,
    customer_id: str = "cus_1",
    operation: str = "chat",
    payload: dict[str, Any] | None = None,
) -> IdempotencyKey:
    return idempotency_key(customer_id, text, operation, payload or {"text": "Hi"})


def claim(answer: dict[str, Any] | None = None) -> Claim:
    return Claim(key(), "att_1", NOON + LEASE, NOON + RETENTION, answer)


@pytest.mark.parametrize("text", ["", " ", "a b", "a\n", "a\x7f", "é", "x" * 256])
def test_a_key_is_1_to_255_visible_ascii_characters(text: str) -> None:
    with pytest.raises(ValueError, match="1 to 255 visible ASCII"):
        key(text)


@pytest.mark.parametrize("text", ["a", "x" * 255, "!~", "8d1c…".encode().hex()])
def test_any_other_text_will_do(text: str) -> None:
    assert len(key(text).digest) == 64


def test_the_key_is_stored_as_a_hash() -> None:
    assert "k1" not in key().digest


def test_the_order_of_fields_does_not_make_another_request() -> None:
    assert key(payload={"a": 1, "b": "ü"}) == key(payload={"b": "ü", "a": 1})


@pytest.mark.parametrize(
    "other",
    [key(payload={"text": "Ho"}), key(operation="invoke"), key(payload={"text": "Hi", "n": None})],
)
def test_another_payload_or_operation_is_another_request_under_the_same_key(
    other: IdempotencyKey,
) -> None:
    assert other.digest == key().digest
    assert other.fingerprint != key().fingerprint


def test_a_lone_surrogate_in_the_payload_breaks_nothing() -> None:
    assert key(payload={"text": "\ud800"}).fingerprint != key().fingerprint


def test_s3_a_running_attempt_keeps_its_key_until_its_lease_is_over() -> None:
    assert not claim().may_be_taken_by(key(), NOON + LEASE - MICROSECOND)
    assert claim().may_be_taken_by(key(), NOON + LEASE)


def test_s3_an_abandoned_key_is_not_given_to_another_request() -> None:
    assert not claim().may_be_taken_by(key(payload={"text": "Ho"}), NOON + LEASE)


def test_s3_an_answered_key_is_kept_for_its_retention() -> None:
    answered = claim({"content": "Hello!"})
    assert not answered.may_be_taken_by(key(), NOON + RETENTION - MICROSECOND)
    assert answered.may_be_taken_by(key(), NOON + RETENTION)
    assert answered.may_be_taken_by(key(payload={"text": "Ho"}), NOON + RETENTION)
