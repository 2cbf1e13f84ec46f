"""The order of documents: MongoDB's, over values of all types."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstack_core.domain.errors import InvalidRequestError, SortTooLargeError
from flowstack_core.domain.vault_cursors import (
    InvalidCursorError,
    read_cursor,
    read_order_key,
    write_cursor,
)
from flowstack_core.domain.vault_sorting import Sort, SortKey, read_sort
from flowstack_core.domain.vault_values import order_key

IN_ORDER: list[Any] = [
    [],
    None,
    -(10**30),
    -1.5,
    0,
    1,
    1.5,
    10**30,
    1e308,
    "",
    "A",
    "a",
    "aa",
    "\uffff",
    "\U0001f600",
    {},
    {"a": 1},
    {"b": 1},
    {"a": 1, "b": 1},
    {"a": "x"},
    [[]],
    [[1]],
    False,
    True,
]


def sort_of(found: Any) -> Sort:
    sort = read_sort(found)
    assert sort is not None
    return sort


def in_order(found: Any, documents: Sequence[Any]) -> list[int]:
    """Return the numbers of the documents in their order."""
    sort = sort_of(found)

    def place(number: int) -> SortKey:
        return sort.place(sort.keys(documents[number]), f"{number:04d}")

    return sorted(range(len(documents)), key=place)


def test_values_of_all_types_sort_as_in_mongodb() -> None:
    documents = [{"v": value} for value in IN_ORDER]
    everything = list(range(len(documents)))
    # Objects sort by the type of their first field, then its name, then its value.
    documents[17], documents[18] = documents[18], documents[17]
    assert in_order([["v", 1]], documents) == everything
    assert in_order([["v", -1]], documents) == everything[::-1]


def test_what_is_missing_sorts_as_null() -> None:
    assert in_order({"v": 1}, [{"v": 1}, {}, {"v": None}]) == [1, 2, 0]


def test_an_array_sorts_by_its_least_or_its_greatest_value() -> None:
    documents = [{"v": [5, 1]}, {"v": 3}, {"v": [4, 2]}]
    assert in_order({"v": 1}, documents) == [0, 2, 1]
    assert in_order({"v": -1}, documents) == [0, 2, 1]


def test_paths_go_into_arrays() -> None:
    documents = [{"a": [{"b": 2}, {"b": 9}]}, {"a": {"b": 1}}, {"a": [{"b": 3}]}, {"a": 7}]
    assert in_order({"a.b": 1}, documents) == [3, 1, 0, 2]
    assert in_order({"a.b": -1}, documents) == [0, 2, 1, 3]
    assert in_order({"a.0.b": 1}, [{"a": [{"b": 2}]}, {"a": [{"b": 1}]}]) == [1, 0]


def test_further_fields_decide_and_at_last_the_key() -> None:
    documents = [{"a": 1, "b": 1}, {"a": 1, "b": 2}, {"a": 0, "b": 0}, {"a": 1, "b": 2}]
    assert in_order([["a", 1], ["b", -1]], documents) == [2, 1, 3, 0]


@pytest.mark.parametrize(
    "found",
    [
        "a",
        ["a"],
        [["a"]],
        [["a", 0]],
        [["a", True]],
        [["a", "desc"]],
        [[1, 1]],
        [["", 1]],
        {"a": 2},
        [["a", 1]] * 9,
        [["a", []]],
    ],
)
def test_what_is_no_sort_is_refused(found: Any) -> None:
    with pytest.raises(InvalidRequestError) as refusal:
        read_sort(found)
    assert refusal.value.details["field"] == "sort"


def test_no_field_is_no_sort() -> None:
    assert read_sort([]) is None
    assert read_sort({}) is None


# --- cursors -------------------------------------------------------------------------------

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab"), inner, max_size=3),
    max_leaves=8,
)


@given(json_values)
def test_an_order_key_survives_its_cursor(value: Any) -> None:
    key = order_key(value)
    (read,) = read_cursor(["request"], write_cursor(["request"], [key]))
    assert read_order_key(read) == key


def test_a_cursor_belongs_to_its_request() -> None:
    cursor = write_cursor(["find", "users", {"a": 1}, None], ["k"])
    assert read_cursor(["find", "users", {"a": 1}, None], cursor) == ["k"]
    for other in (["find", "users", {"a": 2}, None], ["count", "users", {"a": 1}, None]):
        with pytest.raises(InvalidCursorError):
            read_cursor(other, cursor)


@given(st.text(max_size=60) | st.binary(max_size=40).map(lambda raw: raw.hex()))
def test_what_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(InvalidCursorError):
        read_cursor(["find"], text)


def test_a_cursor_that_was_changed_is_refused() -> None:
    cursor = write_cursor(["find"], ["position"])
    for number in range(len(cursor) - 2):
        changed = "A" if cursor[number] != "A" else "B"
        with pytest.raises(InvalidCursorError):
            read_cursor(["find"], cursor[:number] + changed + cursor[number + 1 :])


@pytest.mark.parametrize(
    "found", [None, [], [9], [2, "x"], [2, True], [3, 1], [4, [[1]]], [5, 1], [6, 0], "x"]
)
def test_what_is_no_order_key_is_refused(found: Any) -> None:
    with pytest.raises(InvalidCursorError):
        read_order_key(json.loads(json.dumps(found)))


def test_a_position_that_is_too_long_is_no_cursor() -> None:
    import random

    text = "".join(random.Random(1).choices("abcdefghijklmnopqrstuvwxyz0123456789", k=40_000))
    with pytest.raises(SortTooLargeError):
        write_cursor(["find"], [order_key(text)])
