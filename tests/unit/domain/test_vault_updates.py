"""Changes to documents, as MongoDB makes them."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstack_core.domain.errors import InvalidRequestError
from flowstack_core.domain.vault_updates import MAX_ARRAY_PADDING, check_updates, updated


@pytest.mark.parametrize(
    ("document", "updates", "result"),
    [
        ({"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
        ({"a": {"b": 1}}, {"a": {"c": 2}}, {"a": {"c": 2}}),
        ({"a": {"b": 1}}, {"a.c": 2}, {"a": {"b": 1, "c": 2}}),
        ({}, {"a.b.c": 1}, {"a": {"b": {"c": 1}}}),
        ({"a": [1, 2]}, {"a.1": 3}, {"a": [1, 3]}),
        ({"a": [1]}, {"a.3": 4}, {"a": [1, None, None, 4]}),
        ({"a": [{"b": 1}]}, {"$set": {"a.0.b": 2}}, {"a": [{"b": 2}]}),
        ({"a": 1}, {"$set": {}}, {"a": 1}),
        ({"a": 1}, {}, {"a": 1}),
        ({"a": 1, "b": 2}, {"$unset": {"a": ""}}, {"b": 2}),
        ({"a": {"b": 1}}, {"$unset": {"a.c": 1, "x.y": 1}}, {"a": {"b": 1}}),
        ({"a": [1, 2]}, {"$unset": {"a.0": 1, "b": 1}}, {"a": [None, 2]}),
        ({"a": [1, 2]}, {"$unset": {"a.5": 1}}, {"a": [1, 2]}),
        ({"a": 5}, {"$unset": {"a.b": 1}}, {"a": 5}),
        ({"a": 5}, {"$unset": {"a.b.c": 1}}, {"a": 5}),
        ({"n": 1}, {"$inc": {"n": 2}}, {"n": 3}),
        ({"n": 2**80}, {"$inc": {"n": 1}}, {"n": 2**80 + 1}),
        ({"n": 1}, {"$inc": {"n": -0.5}}, {"n": 0.5}),
        ({}, {"$inc": {"n": 2, "m.k": 1}}, {"n": 2, "m": {"k": 1}}),
        ({"a": [1]}, {"$push": {"a": [2]}}, {"a": [1, [2]]}),
        ({"a": [1]}, {"$push": {"a": {"$each": [2, 3]}}}, {"a": [1, 2, 3]}),
        ({}, {"$push": {"a.b": 1}}, {"a": {"b": [1]}}),
        ({"a": 1}, {"$set": {"b": 1}, "$inc": {"a": 1}}, {"a": 2, "b": 1}),
    ],
)  # fmt: skip
def test_an_update_leaves(
    document: dict[str, Any], updates: dict[str, Any], result: dict[str, Any]
) -> None:
    before = copy.deepcopy(document)
    assert updated(document, updates) == result
    assert document == before


def test_fields_keep_their_order() -> None:
    assert list(updated({"a": 1, "b": 2}, {"a": 3, "c": 4})) == ["a", "b", "c"]


@pytest.mark.parametrize(
    "updates",
    [
        {"$set": {"a": 1}, "b": 2},
        {"$rename": {"a": "b"}},
        {"$set": 1},
        {"$inc": {"a": "1"}},
        {"$inc": {"a": True}},
        {"$push": {"a": {"$each": 1}}},
        {"$push": {"a": {"$each": [1], "$slice": 2}}},
        {"$set": {"a": 1}, "$inc": {"a": 1}},
        {"$set": {"a": 1, "a.b": 2}},
        {"a.b": 2, "a": 1},
        {"": 1},
        {"a..b": 1},
        {"a.$": 1},
        {"a." * 64 + "a": 1},
        {f"f{number}": 1 for number in range(201)},
    ],
)
def test_what_is_no_update_is_refused_before_anything_is_read(updates: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError) as refusal:
        check_updates(updates)
    assert refusal.value.details["field"].startswith("updates")


@pytest.mark.parametrize(
    ("document", "updates"),
    [
        ({"a": "x"}, {"$inc": {"a": 1}}),
        ({"a": None}, {"$inc": {"a": 1}}),
        ({"a": True}, {"$inc": {"a": 1}}),
        ({"a": 1e308}, {"$inc": {"a": 1e308}}),
        ({"a": 10**400}, {"$inc": {"a": 0.5}}),
        ({"a": 1}, {"$push": {"a": 1}}),
        ({"a": 1}, {"$set": {"a.b": 1}}),
        ({"a": 1}, {"$set": {"a.b.c": 1}}),
        ({"a": [1]}, {"$set": {"a.b": 1}}),
        ({"a": [1]}, {"$set": {"a.-1": 1}}),
        ({"a": []}, {"$set": {f"a.{MAX_ARRAY_PADDING + 1}": 1}}),
        ({"a": []}, {"$set": {"a.99999999999": 1}}),
    ],
)
def test_what_the_document_does_not_allow_is_refused(
    document: dict[str, Any], updates: dict[str, Any]
) -> None:
    check_updates(updates)
    with pytest.raises(InvalidRequestError):
        updated(document, updates)


@given(st.integers() | st.floats(allow_nan=False, allow_infinity=False), st.integers())
def test_increments_are_those_of_python(value: float, by: int) -> None:
    try:
        expected = value + by
    except OverflowError:
        return
    assert updated({"n": value}, {"$inc": {"n": by}}) == {"n": expected}
