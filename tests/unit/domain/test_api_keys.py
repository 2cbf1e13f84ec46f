"""API keys: enough chance, a checksum against typos, never stored nor printed."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstack_core.domain.api_keys import PREFIX, RANDOM_BYTES, KeyRecord, mint_key, parse_key
from tests.support.fakes import NOON

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
CHANCE = st.binary(min_size=RANDOM_BYTES, max_size=RANDOM_BYTES)
RECORD = KeyRecord("key_1", "cus_1", "digest", "fs_…abcdef", "first key", NOON)


def test_a_key_holds_at_least_160_bits_of_chance() -> None:
    assert RANDOM_BYTES * 8 >= 160
    with pytest.raises(ValueError, match="24 random bytes"):
        mint_key(bytes(RANDOM_BYTES - 1))


@given(CHANCE)
def test_a_minted_key_is_read_back(random_bytes: bytes) -> None:
    key = mint_key(random_bytes)
    assert key.text.startswith(PREFIX)
    assert parse_key(key.text) == key


@given(CHANCE, CHANCE)
def test_different_chance_makes_different_keys(one: bytes, other: bytes) -> None:
    assert (mint_key(one).text == mint_key(other).text) == (one == other)


@given(CHANCE, st.data())
def test_one_wrong_character_is_found_without_a_read(
    random_bytes: bytes, data: st.DataObject
) -> None:
    text = mint_key(random_bytes).text
    place = data.draw(st.integers(len(PREFIX), len(text) - 1))
    wrong = data.draw(st.sampled_from([c for c in ALPHABET if c != text[place]]))
    assert parse_key(text[:place] + wrong + text[place + 1 :]) is None


@given(CHANCE, st.data())
def test_two_swapped_characters_are_found_without_a_read(
    random_bytes: bytes, data: st.DataObject
) -> None:
    text = mint_key(random_bytes).text
    place = data.draw(st.integers(len(PREFIX), len(text) - 2))
    swapped = text[:place] + text[place + 1] + text[place] + text[place + 2 :]
    assert swapped == text or parse_key(swapped) is None


@pytest.mark.parametrize("change", ["{}\n", " {}", "{}0", "sk_{}", "{}é"])
def test_anything_around_a_key_makes_it_wrong(change: str) -> None:
    assert parse_key(change.format(mint_key(bytes(RANDOM_BYTES)).text)) is None


@pytest.mark.parametrize("text", ["", "fs_", "fs_" + "0" * 39, "FS_" + "0" * 39])
def test_what_only_looks_like_a_key_is_none(text: str) -> None:
    assert parse_key(text) is None


@given(CHANCE)
def test_a_key_is_known_by_its_hash_and_never_printed(random_bytes: bytes) -> None:
    key = mint_key(random_bytes)
    assert key.digest == hashlib.sha256(key.text.encode()).hexdigest()
    body = key.text[len(PREFIX) : -6]
    for shown in (repr(key), str(key), f"{key}", key.masked):
        assert body not in shown


def test_a_key_is_usable_until_the_instant_it_expires() -> None:
    expiring = replace(RECORD, expires_at=NOON + timedelta(days=1))
    just_before = NOON + timedelta(days=1) - timedelta(microseconds=1)
    assert (expiring.usable(just_before), expiring.status(just_before)) == (True, "active")
    assert not expiring.usable(NOON + timedelta(days=1))
    assert expiring.status(NOON + timedelta(days=1)) == "expired"


def test_a_key_without_an_expiry_stays_usable() -> None:
    assert RECORD.usable(NOON + timedelta(days=10_000))


def test_a_revoked_key_is_never_usable_again() -> None:
    revoked = replace(RECORD, revoked_at=NOON)
    assert not revoked.usable(NOON)
    assert revoked.status(NOON) == "revoked"
