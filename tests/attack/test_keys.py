"""What customers name never meets in a key: two different names are two different items."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowstack_core.adapters.dynamodb_claims import claim_key
from flowstack_core.adapters.dynamodb_deferred import request_key
from flowstack_core.adapters.dynamodb_rollups import slice_key
from flowstack_core.adapters.dynamodb_sessions import head_key
from flowstack_core.adapters.dynamodb_vault import document_key
from flowstack_core.domain.idempotency import idempotency_key
from flowstack_core.domain.identifiers import MAX_NAME_LENGTH, checked_name
from flowstack_core.domain.rollups import DaySlice, Route
from flowstack_core.domain.sessions import Conversation
from flowstack_core.domain.vault import MAX_KEY_BYTES, Collection, Place
from tests.attack.hostile import TEXTS

LONGEST_PARTITION_KEY, LONGEST_SORT_KEY = 2_048, 1_024
"""Bytes, as DynamoDB has it ("Quotas in Amazon DynamoDB")."""

DAY = date(2026, 11, 24)
CUSTOMERS = st.sampled_from(["cus_1", "cus_12", "cus_2"])
# Few characters, those that keys are made of: texts that could meet are drawn often.
TIGHT = st.text("#%2353$a", min_size=1, max_size=8)
WIDE = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=20)
NAMES = (TIGHT | WIDE).filter(lambda text: text.strip() != "").map(checked_name)
NAMED = st.tuples(CUSTOMERS, NAMES, NAMES)

BUILDERS: dict[str, Callable[[str, str, str], dict[str, Any]]] = {
    "conversation": lambda c, a, b: head_key(Conversation(c, a, b)),
    "document": lambda c, a, b: document_key(Place(Collection(c, a), b)),
    "slice": lambda c, a, b: slice_key(c, DaySlice(DAY, a, Route(False, "openai", b))),
    "request": lambda c, a, b: request_key(c, f"{a}{b}", "STATE"),
}


@pytest.mark.parametrize("kind", ["conversation", "document", "slice"])
@given(one=NAMED, other=NAMED)
@settings(max_examples=400, derandomize=True, deadline=None)
def test_two_names_are_two_items(
    kind: str, one: tuple[str, str, str], other: tuple[str, str, str]
) -> None:
    build = BUILDERS[kind]
    assert (build(*one) == build(*other)) == (one == other)


@pytest.mark.parametrize("kind", BUILDERS)
@given(names=st.tuples(NAMES, NAMES))
@settings(max_examples=100, derandomize=True, deadline=None)
def test_no_name_gets_into_another_customer_s_partition(kind: str, names: tuple[str, str]) -> None:
    own = BUILDERS[kind]("cus_1", *names)["pk"]["S"].split("#")
    assert own[1] == "cus_1"


def test_no_hostile_names_meet() -> None:
    names = set()
    for text in TEXTS.values():
        try:
            names.add(checked_name(text))
        except ValueError:
            continue
    assert len(names) > 40
    for kind in ("conversation", "document", "slice"):
        keys = {str(BUILDERS[kind]("cus_1", a, b)) for a in names for b in names}
        assert len(keys) == len(names) ** 2


@pytest.mark.parametrize("filler", ["\U0001f600", "#", "%", "x", "\u00e9"])
def test_the_longest_names_fit_a_key(filler: str) -> None:
    """One that did not would be refused by DynamoDB only, and stop a stream of changes."""
    name = filler * MAX_NAME_LENGTH
    document = filler * (MAX_KEY_BYTES // len(filler.encode()))
    for key in (
        BUILDERS["conversation"]("cus_" + "x" * 26, name, name),
        BUILDERS["document"]("cus_" + "x" * 26, name, document),
        BUILDERS["slice"]("cus_" + "x" * 26, name, "x" * 256),
    ):
        assert len(key["pk"]["S"].encode()) <= LONGEST_PARTITION_KEY
        assert len(key["sk"]["S"].encode()) <= LONGEST_SORT_KEY


def test_look_alikes_are_told_apart_and_the_same_letters_are_one() -> None:
    assert checked_name("e\u0301") == checked_name("\u00e9")
    assert checked_name("\u0430gent") != checked_name("agent")
    assert checked_name("\ufb01") != checked_name("fi")


@given(one=st.text(min_size=1, max_size=30), other=st.text(min_size=1, max_size=30))
@settings(max_examples=200, derandomize=True, deadline=None)
def test_an_idempotency_key_is_one_text_of_one_customer(one: str, other: str) -> None:
    def key_of(customer: str, text: str) -> Any:
        try:
            return claim_key(idempotency_key(customer, text, "invoke", {}))
        except ValueError:
            return text

    assert (key_of("cus_1", one) == key_of("cus_1", other)) == (one == other)
    assert key_of("cus_1", "k") != key_of("cus_2", "k")
