"""Names, keys and documents of the vault."""

from __future__ import annotations

import math
import zlib
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstack_core.domain.errors import InvalidRequestError, PayloadTooLargeError
from flowstack_core.domain.vault import (
    MAX_DOCUMENT_BYTES,
    MAX_STORED_BYTES,
    Document,
    collection_of,
    pack,
    place_of,
)
from tests.support.fakes import NOON

PLACE = place_of(collection_of("cus_1", "c"), "k")

unicode = st.text(st.characters(exclude_categories=["Cs"]))
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(10**400), 10**400)
    | st.floats(allow_nan=False, allow_infinity=False)
    | unicode,
    lambda inner: st.lists(inner) | st.dictionaries(unicode, inner),
)


def same(one: object, other: object) -> bool:
    """Equal to the bit: types, the sign of zero and the order of fields included."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict) and isinstance(other, dict):
        return list(one) == list(other) and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return one.hex() == other.hex()
    return one == other


@given(st.dictionaries(unicode, json_values))
def test_a_document_comes_back_as_it_was_stored(data: dict[str, Any]) -> None:
    assert same(Document(PLACE, pack(data), "v", NOON).data, data)


@pytest.mark.parametrize("number", [0, -0.0, 1e308, 5e-324, 2**63, -(10**4000), 0.1, 1.0])
def test_a_number_comes_back_as_it_was_stored(number: float) -> None:
    assert same(Document(PLACE, pack({"n": number}), "v", NOON).data, {"n": number})


@pytest.mark.parametrize(
    "value",
    [math.nan, math.inf, -math.inf, "\ud800", 10**5000],
    ids=["NaN", "Infinity", "-Infinity", "half a character", "too many digits"],
)
def test_what_json_does_not_have_is_refused(value: Any) -> None:
    for data in ({"a": value}, {"a": [{"b": value}]}):
        with pytest.raises(InvalidRequestError):
            pack(data)


def test_a_name_that_is_no_unicode_is_refused() -> None:
    with pytest.raises(InvalidRequestError):
        pack({"\udfff": 1})


def random_text(length: int) -> str:
    return Random(1).randbytes(length // 2).hex()


def test_a_document_that_is_too_large_says_what_is_allowed() -> None:
    for data, maximum in (
        ({"a": "x" * MAX_DOCUMENT_BYTES}, MAX_DOCUMENT_BYTES),
        ({"a": random_text(900_000)}, MAX_STORED_BYTES),
    ):
        with pytest.raises(PayloadTooLargeError) as refusal:
            pack(data)
        assert refusal.value.details["maximum"] == maximum
        assert refusal.value.details["size"] > maximum
        assert f"{maximum:,}" in refusal.value.message


def test_the_largest_documents_can_be_stored() -> None:
    body = pack({"a": "x" * (MAX_DOCUMENT_BYTES - 8)})
    assert len(zlib.decompress(body)) == MAX_DOCUMENT_BYTES
    assert len(pack({"a": random_text(690_000)})) <= MAX_STORED_BYTES


@pytest.mark.parametrize("name", ["", " ", "a\nb", "a\0", "\ud800", "a" * 129])
def test_what_is_no_collection_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequestError) as refusal:
        collection_of("cus_1", name)
    assert refusal.value.details["field"] == "collection"


def test_a_collection_is_the_same_however_its_accents_are_written() -> None:
    assert collection_of("cus_1", "é") == collection_of("cus_1", "é")


@pytest.mark.parametrize("key", ["", "a\nb", "a\0", "\ud800", "a" * 501, "🐈" * 126])
def test_what_is_no_key_is_refused(key: str) -> None:
    with pytest.raises(InvalidRequestError) as refusal:
        place_of(PLACE.collection, key)
    assert refusal.value.details["field"] == "key"


def test_keys_are_as_they_are() -> None:
    for key in ("a" * 500, "🐈" * 125, " ", "a#b%/..", "é"):
        assert place_of(PLACE.collection, key).key == key
