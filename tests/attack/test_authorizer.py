"""Keys that are almost keys, and requests that carry more than one, at the authorizer."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowstack_core.domain.api_keys import mint_key, parse_key
from flowstack_core.domain.plans import Tier
from tests.attack.hostile import TEXTS
from tests.unit.http.test_authorizer import Door

DOOR = Door()
KEY = DOOR.key.text
_OTHER = DOOR.world.account_service.create_customer("op", "Eve", Tier.FREE, None, None)
OTHER, OTHER_KEY = _OTHER[0].customer_id, _OTHER[2].key.text


def effect(answer: dict[str, Any]) -> str:
    (statement,) = answer["policyDocument"]["Statement"]
    return str(statement["Effect"])


DISGUISES = {
    "before it": f" {KEY}",
    "behind it": f"{KEY} ",
    "a tab": f"\t{KEY}",
    "a line": f"{KEY}\n",
    "NUL": f"{KEY}\0",
    "quotes": f'"{KEY}"',
    "twice": KEY + KEY,
    "a list": f"{KEY}, {KEY}",
    "two customers": f"{KEY},{OTHER_KEY}",
    "a scheme": f"Bearer {KEY}",
    "upper case": KEY.upper(),
    "another prefix": KEY.replace("fs_", "FS_"),
    "no prefix": KEY.removeprefix("fs_"),
    "its beginning": KEY[:-1],
    "its end": KEY[1:],
    "a low line of others": KEY.replace("_", "\uff3f"),
    "no width": f"{KEY}\u200b",
    "BOM": f"\ufeff{KEY}",
    "ten kilobytes": KEY * 240,
    "a megabyte": "fs_" + "A" * 1_000_000,
    "digits of others": "fs_" + "\u0661" * 39,
    "letters of others": KEY.translate(
        {ord("a"): "\u0430", ord("A"): "\u0391", ord("e"): "\u0435"}
    ),
}


@pytest.mark.parametrize("name", DISGUISES)
def test_what_is_not_exactly_a_key_is_nobody(name: str) -> None:
    text = DISGUISES[name]
    if text != KEY:
        assert effect(DOOR.ask(text)) == "Deny"


@pytest.mark.parametrize("name", TEXTS)
def test_what_is_hostile_is_nobody_and_breaks_nothing(name: str) -> None:
    assert effect(DOOR.ask(TEXTS[name])) == "Deny"
    assert effect(DOOR.ask_bearer(TEXTS[name])) == "Deny"
    assert effect(DOOR.ask_bearer(f"Bearer {TEXTS[name]}")) == "Deny"


@pytest.mark.parametrize(
    "headers",
    [
        {"X-API-Key": [KEY, OTHER_KEY]},
        {"X-API-Key": [OTHER_KEY, KEY]},
        {"X-API-Key": [KEY, KEY]},
        {"X-API-Key": [KEY], "x-api-key": [OTHER_KEY]},
        {"x-api-key": [OTHER_KEY], "X-API-KEY": [KEY]},
        {"X-API-Key": [KEY, ""]},
    ],
    ids=str,
)
def test_a_key_header_that_comes_twice_is_nobody_s(headers: dict[str, list[str]]) -> None:
    """Which of them API Gateway keeps the result by is not documented, so neither is answered."""
    assert effect(DOOR.ask_with(headers)) == "Deny"


@pytest.mark.parametrize(
    "more",
    [
        {"Authorization": [f"Bearer {OTHER_KEY}"]},
        {"X-Api_Key": [OTHER_KEY]},
        {"X-API-Key ": [OTHER_KEY]},
        {"X-Customer-Id": [OTHER]},
        {"X-Forwarded-Authorization": [OTHER_KEY]},
        {"X-HTTP-Method-Override": ["DELETE"]},
        {"Cookie": [f"X-API-Key={OTHER_KEY}"]},
    ],
    ids=str,
)
def test_no_other_header_changes_who_it_is(more: dict[str, list[str]]) -> None:
    alone = DOOR.ask_with({"X-API-Key": [KEY]})
    assert DOOR.ask_with({**more, "X-API-Key": [KEY]}) == alone
    assert alone["context"]["customer_id"] == DOOR.customer_id


@given(st.text(max_size=60))
@settings(max_examples=200, derandomize=True, deadline=None)
def test_no_text_is_a_key_but_one_that_was_minted(text: str) -> None:
    assert parse_key(text) is None
    assert parse_key(f"fs_{text}") is None


@given(st.binary(min_size=24, max_size=24), st.integers(0, 41), st.characters())
@settings(max_examples=200, derandomize=True, deadline=None)
def test_no_character_of_a_key_can_be_another(random: bytes, place: int, other: str) -> None:
    key = mint_key(random).text
    changed = key[:place] + other + key[place + 1 :]
    assert parse_key(key) is not None
    assert changed == key or parse_key(changed) is None
