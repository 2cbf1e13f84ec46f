"""Names that customers choose, and ids that FlowStack makes."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstack_core.domain.identifiers import (
    MAX_NAME_LENGTH,
    checked_name,
    random_id,
    sortable_id,
)
from tests.support.fakes import NOON

CHANCE = st.binary(min_size=10, max_size=10)


@pytest.mark.parametrize("name", ["default", "Ада", "🤖 helper", "a/b#c%d", " spaced ", "x" * 128])
def test_a_name_may_hold_anything_printable(name: str) -> None:
    assert checked_name(name) == name


def test_two_spellings_of_one_name_are_one_conversation() -> None:
    assert checked_name("caf\u0065\u0301") == checked_name("caf\u00e9") == "caf\u00e9"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "empty"),
        (" \t", "empty"),
        ("x" * (MAX_NAME_LENGTH + 1), "at most 128"),
        ("a\x00b", "control"),
        ("a\nb", "control"),
        ("a\x7fb", "control"),
        ("a\ud800b", "surrogates"),
    ],
)
def test_other_names_are_refused_with_the_reason(name: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        checked_name(name)


@given(st.integers(min_value=1, max_value=10**10), CHANCE, CHANCE)
def test_ids_sort_by_time_whatever_their_chance(later_ms: int, one: bytes, other: bytes) -> None:
    later = NOON + timedelta(milliseconds=later_ms)
    assert sortable_id("ses", NOON, one) < sortable_id("ses", later, other)


@given(CHANCE, CHANCE)
def test_ids_of_one_instant_differ_where_their_chance_does(one: bytes, other: bytes) -> None:
    assert (sortable_id("ses", NOON, one) == sortable_id("ses", NOON, other)) == (one == other)
    assert (random_id("cus", one) == random_id("cus", other)) == (one == other)


def test_ids_are_short_lower_case_and_say_what_they_name() -> None:
    made = sortable_id("ses", NOON, b"\xff" * 10)
    assert made.startswith("ses_")
    assert made == made.lower()
    assert len(made) == len("ses_") + 26


@pytest.mark.parametrize("size", [0, 9, 11])
def test_ids_take_80_bits_of_chance(size: int) -> None:
    with pytest.raises(ValueError, match="10 random bytes"):
        sortable_id("ses", datetime.now(NOON.tzinfo), bytes(size))
    with pytest.raises(ValueError, match="10 random bytes"):
        random_id("cus", bytes(size))
