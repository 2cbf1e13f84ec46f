"""Filters mean what MongoDB means by them.

Two checks: cases taken from the MongoDB Manual, written down by hand; and mongomock's
implementation on thousands of generated documents and filters. Where mongomock departs from the
manual the generated filters leave the construct out, and a case by hand has MongoDB's answer.
"""

from __future__ import annotations

from itertools import repeat
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from mongomock.filtering import filter_applies

from flowstack_core.adapters.re2_patterns import compile_re2
from flowstack_core.domain import vault_filters
from flowstack_core.domain.errors import InvalidRequestError
from flowstack_core.domain.vault_filters import read_filter


def never() -> None:
    """A request that has all the time in the world."""


def matches(found: dict[str, Any], document: dict[str, Any]) -> bool:
    return read_filter(found, compile_re2).holds(document, never)


# --- by the manual -------------------------------------------------------------------------

HOLDS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {"a": 1}),
    ({"a": 1}, {"a": 1.0}),
    ({"a": 0}, {"a": -0.0}),
    ({"a": 2**70}, {"a": 2**70}),
    ({"a": {"$gt": 2**53}}, {"a": 2**53 + 1}),
    ({"a": None}, {}),
    ({"a": None}, {"a": None}),
    ({"a": {"$gte": None}}, {}),
    ({"a": 1}, {"a": [0, 1]}),
    ({"a": [0, 1]}, {"a": [0, 1]}),
    ({"a": [0, 1]}, {"a": [[0, 1], 2]}),
    ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 2}}),
    ({"a.b": 1}, {"a": {"b": 1}}),
    ({"a.b": 1}, {"a": [{"b": 0}, {"b": 1}]}),
    ({"a.b.c": 1}, {"a": [{"b": [{"c": 1}]}]}),
    ({"a.0": 1}, {"a": [1, 2]}),
    ({"a.1.b": 1}, {"a": [{"b": 0}, {"b": 1}]}),
    ({"a.0": 1}, {"a": {"0": 1}}),
    ({"a.0.1": 2}, {"a": [[1, 2]]}),
    ({"a.0.b": 1}, {"a": [[{"b": 1}]]}),
    ({"a.0": [1, 2]}, {"a": [[1, 2]]}),
    ({"a.b": None}, {"a": [{"c": 1}]}),
    ({"a.b": None}, {"a": 1}),
    ({"a": {"$ne": 1}}, {}),
    ({"a": {"$gt": 1, "$lt": 3}}, {"a": 2}),
    ({"a": {"$gt": 2, "$lt": 1}}, {"a": [0, 3]}),
    ({"a": {"$gt": "B"}}, {"a": "a"}),
    ({"a": {"$gt": "\uffff"}}, {"a": "\U0001f600"}),
    ({"a": {"$gte": False}}, {"a": True}),
    ({"a": {"$gt": {"b": 1}}}, {"a": {"b": 2}}),
    ({"a": {"$gt": [1, 2]}}, {"a": [1, 3]}),
    ({"a": {"$in": [1, "x", None]}}, {}),
    ({"a": {"$in": [[1]]}}, {"a": [1]}),
    ({"a": {"$nin": [1]}}, {}),
    ({"a": {"$exists": True}}, {"a": None}),
    ({"a": {"$exists": False}}, {"b": 1}),
    ({"a.b": {"$exists": False}}, {"a": [1]}),
    ({"a": {"$not": {"$gt": 1}}}, {}),
    ({"a": {"$not": {"$regex": "x"}}}, {"a": 1}),
    ({"a": {"$all": [1, 2]}}, {"a": [2, 3, 1]}),
    ({"a": {"$all": [1]}}, {"a": 1}),
    ({"a": {"$all": [{"$elemMatch": {"b": 1}}]}}, {"a": [{"b": 1}, {"b": 2}]}),
    ({"a": {"$size": 2}}, {"a": [1, [2]]}),
    ({"a": {"$size": 0}}, {"a": []}),
    ({"a": {"$elemMatch": {"$gt": 1, "$lt": 3}}}, {"a": [0, 2]}),
    ({"a": {"$elemMatch": {"b": 1, "c": 2}}}, {"a": [{"b": 1, "c": 2}]}),
    ({"a": {"$elemMatch": {"$or": [{"b": 1}, {"b": 2}]}}}, {"a": [{"b": 2}]}),
    ({"a": {"$elemMatch": {"$elemMatch": {"$gt": 1}}}}, {"a": [[2]]}),
    ({"a": {"$elemMatch": {"0": 1}}}, {"a": [[1]]}),
    ({"a": {"$elemMatch": {"$not": {"$gt": 1}}}}, {"a": [5, 0]}),
    ({"a": {"$regex": "^b.d$"}}, {"a": ["x", "bad"]}),
    ({"a": {"$regex": "ŽLUŤ", "$options": "i"}}, {"a": "žluťoučký"}),
    ({"a": {"$regex": "^b", "$options": "m"}}, {"a": "a\nb"}),
    ({"a": {"$regex": "a.b", "$options": "s"}}, {"a": "a\nb"}),
    ({"a": {"$type": "number"}}, {"a": 1}),
    ({"a": {"$type": ["string", "null"]}}, {"a": None}),
    ({"a": {"$type": "array"}}, {"a": [1]}),
    ({"a": {"$type": "int"}}, {"a": [1]}),
    ({"a": {"$type": "long"}}, {"a": 2**40}),
    ({"a": {"$type": "double"}}, {"a": 1.0}),
    ({"a": {"$mod": [4, 0]}}, {"a": 8}),
    ({"a": {"$mod": [4, -3]}}, {"a": -7}),
    ({"a": {"$mod": [4, 3]}}, {"a": 7.9}),
    ({"$or": [{"a": 1}, {"b": 1}]}, {"b": 1}),
    ({"$nor": [{"a": 1}, {"b": 1}]}, {"a": 2}),
    ({"$and": [{"a": {"$gt": 1}}, {"a": {"$lt": 1}}]}, {"a": [0, 2]}),
    ({"a": {}}, {"a": {}}),
    ({"a": []}, {"a": [[], 1]}),
    ({"": 1}, {"": 1}),
    ({"a": {"b": {"$gt": 1}}}, {"a": {"b": {"$gt": 1}}}),
]  # fmt: skip

FAILS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"a": 1}, {"a": True}),
    ({"a": 1}, {"a": "1"}),
    ({"a": 2**53}, {"a": 2**53 + 1}),
    ({"a": {"b": 1, "c": 2}}, {"a": {"c": 2, "b": 1}}),
    ({"a": {"b": 1}}, {"a": {"b": 1, "c": 2}}),
    ({"a": {}}, {}),
    ({"a": {"$gt": 1}}, {"a": "2"}),
    ({"a": {"$lt": 1}}, {}),
    ({"a": {"$lt": "b"}}, {"a": 1}),
    ({"a": {"$gt": None}}, {"a": 1}),
    ({"a": {"$gte": 0}}, {"a": True}),
    ({"a": {"$ne": 1}}, {"a": [1, 2]}),
    ({"a": {"$nin": [1, None]}}, {}),
    ({"a.b": None}, {"a": [1]}),
    ({"a.b": None}, {"a": []}),
    ({"a.b": {"$exists": True}}, {"a": [1, {"c": 2}]}),
    ({"a.01": 1}, {"a": [0, 1]}),
    ({"a.0": 1}, {"a": [[1]]}),
    ({"a.1": 1}, {"a": [1]}),
    ({"a": {"$all": []}}, {"a": []}),
    ({"a": {"$all": [1, 2]}}, {"a": [1]}),
    ({"a": {"$size": 1}}, {"a": "x"}),
    ({"a": {"$size": 1}}, {"a": {"b": 1}}),
    ({"a": {"$elemMatch": {"$gt": 1, "$lt": 3}}}, {"a": [0, 4]}),
    ({"a": {"$elemMatch": {"b": 1, "c": 2}}}, {"a": [{"b": 1}, {"c": 2}]}),
    ({"a": {"$elemMatch": {"$gt": 1}}}, {"a": 2}),
    ({"a": {"$elemMatch": {"$gt": 1}}}, {"a": [[2]]}),
    ({"a": {"$regex": "^b"}}, {"a": "ab"}),
    ({"a": {"$regex": "a.b"}}, {"a": "a\nb"}),
    ({"a": {"$regex": "1"}}, {"a": 1}),
    ({"a": {"$type": "number"}}, {"a": True}),
    ({"a": {"$type": "null"}}, {}),
    ({"a": {"$mod": [4, 1]}}, {"a": "5"}),
    ({"$nor": [{"a": 1}, {"b": 1}]}, {"b": 1}),
    ({"$or": [{"a": 1}, {"b": 1}]}, {"a": 2}),
]


@pytest.mark.parametrize(("found", "document"), HOLDS)
def test_a_filter_finds(found: dict[str, Any], document: dict[str, Any]) -> None:
    assert matches(found, document)


@pytest.mark.parametrize(("found", "document"), FAILS)
def test_a_filter_does_not_find(found: dict[str, Any], document: dict[str, Any]) -> None:
    assert not matches(found, document)


# --- by the reference ----------------------------------------------------------------------
#
# What the generated filters leave out, because mongomock has it otherwise than the manual:
#
# - numbers that Python takes for truth values (`False == 0`); in MongoDB types differ;
# - `null` and `$exists` behind a dot: mongomock finds nothing "missing" below a number or text, and
#   one element without the field is enough for its `$exists: false`;
# - `$not` where a path leads nowhere: the manual's `$not` finds such documents, mongomock's does
#   not. Its `$nor` does, and means the same: the reference is asked with that;
# - `$size`, which mongomock grants to objects too;
# - empty objects, which it finds where there is nothing;
# - arrays inside arrays: behind a number at the end of a path mongomock goes into them, MongoDB
#   does not; and `$ne` overlooks an array that is an element.
#
# The examples are the same in every run: where ever more of them are drawn, what is found in the
# end is one more corner of mongomock (`$in` with arrays of `null`).

NAMES = ("a", "b", "c")
texts = st.sampled_from(["", "a", "b", "ab", "2"])
numbers = st.sampled_from([-2, -1.5, 0.5, 2, 2.0, 3, 10**20])
present = st.one_of(st.booleans(), numbers, texts)
scalars = st.one_of(st.none(), present)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(NAMES), inner, max_size=2),
    ),
    max_leaves=6,
)
documents = st.dictionaries(st.sampled_from(NAMES), values, max_size=3)
dotted = st.sampled_from(["a.b", "b.c", "a.b.c", "a.0", "a.1.b", "b.0.c"])


def one(operator: str, operands: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return operands.map(lambda operand: {operator: operand})


def conditions(operands: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Return operators on a field that mongomock and MongoDB agree on."""
    lists = st.lists(operands, max_size=3)
    ordered = st.one_of(numbers, texts)
    return st.one_of(
        *(one(operator, operands) for operator in ("$eq", "$ne")),
        *(one(operator, ordered) for operator in ("$gt", "$gte", "$lt", "$lte")),
        *(one(operator, lists) for operator in ("$in", "$nin")),
        one("$all", st.lists(present, min_size=1, max_size=2)),
        one("$regex", st.sampled_from(["a", "^a", "b$", "a|2"])),
        st.tuples(one("$gt", numbers), one("$lt", numbers)).map(lambda two: {**two[0], **two[1]}),
    )


def fields_at(
    paths: st.SearchStrategy[str], operands: st.SearchStrategy[Any]
) -> st.SearchStrategy[dict[str, Any]]:
    tests = conditions(operands)
    tried = st.one_of(operands, tests, tests.map(lambda test: {"$not": test}))
    return st.tuples(paths, tried).map(lambda pair: {pair[0]: pair[1]})


plain = st.sampled_from(NAMES)
whole = st.one_of(
    st.lists(scalars, min_size=1, max_size=2),
    st.dictionaries(plain, scalars, min_size=1, max_size=2),
)
fields = st.one_of(
    fields_at(plain, st.one_of(scalars, whole)),
    fields_at(plain, scalars),
    fields_at(dotted, present),
    st.tuples(plain, one("$exists", st.booleans())).map(lambda pair: {pair[0]: pair[1]}),
)
filters = st.recursive(
    fields,
    lambda inner: st.one_of(
        *(
            one(operator, st.lists(inner, min_size=1, max_size=3))
            for operator in ("$and", "$or", "$nor")
        )
    ),
    max_leaves=4,
)


def for_reference(found: dict[str, Any]) -> dict[str, Any]:
    """Return the filter with every ``$not`` written as the ``$nor`` that it is."""
    ((name, operand),) = found.items()
    if name.startswith("$"):
        return {name: [for_reference(each) for each in operand]}
    if isinstance(operand, dict) and "$not" in operand:
        return {"$nor": [{name: operand["$not"]}]}
    return found


def arrays_in_arrays(value: Any) -> bool:
    if isinstance(value, dict):
        return any(arrays_in_arrays(each) for each in value.values())
    return isinstance(value, list) and any(
        isinstance(each, list) or arrays_in_arrays(each) for each in value
    )


@settings(max_examples=2_000, derandomize=True)
@given(filters, documents)
def test_filters_agree_with_the_reference(found: dict[str, Any], document: dict[str, Any]) -> None:
    assume(not arrays_in_arrays(document))
    expected: bool = filter_applies(for_reference(found), document)  # type: ignore[no-untyped-call]
    assert matches(found, document) == expected


# --- bounds --------------------------------------------------------------------------------


def nested(depth: int) -> dict[str, Any]:
    found: dict[str, Any] = {"a": 1}
    for _ in range(depth):
        found = {"$or": [found]}
    return found


@pytest.mark.parametrize(
    ("found", "field"),
    [
        ({"$where": "1"}, "filter.$where"),
        ({"$expr": {}}, "filter.$expr"),
        ({"a": {"$near": 1}}, "filter.a.$near"),
        ({"a": {"$gt": 1, "b": 2}}, "filter.a"),
        ({"$and": []}, "filter.$and"),
        ({"$or": {"a": 1}}, "filter.$or"),
        ({"$nor": [1]}, "filter.$nor[0]"),
        ({"a": {"$in": 1}}, "filter.a.$in"),
        ({"a": {"$in": [{"$gt": 1}]}}, "filter.a.$in[0]"),
        ({"a": {"$in": list(repeat(1, vault_filters.MAX_LIST + 1))}}, "filter.a.$in"),
        ({"a": {"$not": 1}}, "filter.a.$not"),
        ({"a": {"$not": {}}}, "filter.a.$not"),
        ({"a": {"$all": 1}}, "filter.a.$all"),
        ({"a": {"$all": [{"$gt": 1}]}}, "filter.a.$all[0]"),
        ({"a": {"$size": 1.5}}, "filter.a.$size"),
        ({"a": {"$size": True}}, "filter.a.$size"),
        ({"a": {"$size": float("inf")}}, "filter.a.$size"),
        ({"a": {"$type": "date"}}, "filter.a.$type"),
        ({"a": {"$type": []}}, "filter.a.$type"),
        ({"a": {"$mod": [0, 1]}}, "filter.a.$mod"),
        ({"a": {"$mod": [1]}}, "filter.a.$mod"),
        ({"a": {"$elemMatch": 1}}, "filter.a.$elemMatch"),
        ({"a": {"$options": "i"}}, "filter.a"),
        ({"a": {"$regex": 1}}, "filter.a.$regex"),
        ({"a": {"$regex": "a", "$options": "x"}}, "filter.a.$regex"),
        ({"a": {"$regex": "a" * (vault_filters.MAX_PATTERN_LENGTH + 1)}}, "filter.a.$regex"),
        ({"a": {"$regex": "("}}, "filter.a.$regex"),
        ({"a": {"$regex": r"(a)\1"}}, "filter.a.$regex"),
        ({"a": {"$regex": "(?=a)"}}, "filter.a.$regex"),
        ({"a": {"$regex": "((a{100}){100}){100}"}}, "filter.a.$regex"),
        ({"a": {"$regex": "\ud800"}}, "filter.a.$regex"),
        ({"a" * (vault_filters.MAX_PATH_LENGTH + 1): 1}, None),
        (nested(vault_filters.MAX_DEPTH), None),
        ({"$or": [{"a": 1}] * (vault_filters.MAX_CONDITIONS + 1)}, "filter"),
        ({"a": {"$all": list(repeat(1, vault_filters.MAX_CONDITIONS + 1))}}, "filter"),
    ],
)
def test_what_is_no_filter_is_refused(found: dict[str, Any], field: str | None) -> None:
    with pytest.raises(InvalidRequestError) as refusal:
        read_filter(found, compile_re2)
    assert field in {None, refusal.value.details["field"]}


def test_the_largest_filter_is_read() -> None:
    read_filter(nested(vault_filters.MAX_DEPTH - 1), compile_re2)
    read_filter({"$or": [{"a": 1}] * vault_filters.MAX_CONDITIONS}, compile_re2)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|aa)+$", "(a*)*b", "(x+x+)+y", "(.*a){20}$"])
def test_no_pattern_takes_more_than_linear_time(pattern: str) -> None:
    assert not matches({"a": {"$regex": pattern}}, {"a": "a" * 200_000 + "!"})


def test_a_filter_can_be_stopped_inside_a_document() -> None:
    class StoppedError(Exception):
        pass

    left = [None] * 10

    def checkpoint() -> None:
        if not left:
            raise StoppedError
        left.pop()

    condition = read_filter({"a": {"$elemMatch": {"b": 1}}}, compile_re2)
    with pytest.raises(StoppedError):
        condition.holds({"a": [{"b": 0}] * 1_000}, checkpoint)
