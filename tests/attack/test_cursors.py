"""Cursors that somebody made who read the code: each is one of its request, by its label."""

from __future__ import annotations

import base64
import json
import zlib
from contextlib import suppress
from typing import Any

import pytest

from flowstack_core.domain.errors import InvalidRequestError
from flowstack_core.domain.vault import MAX_KEY_BYTES, digest_of
from flowstack_core.domain.vault_cursors import InvalidCursorError, read_cursor
from tests.support.vaults import Vault

SORT = [["n", 1]]


def packed(text: str) -> str:
    return base64.urlsafe_b64encode(zlib.compress(text.encode())).decode().rstrip("=")


def forged(request: Any, *position: Any) -> str:
    """Return a cursor with the label that it has to have."""
    label = digest_of("cursor", request, list(position))[:16]
    return packed(json.dumps([label, *position]))


@pytest.fixture
def vault() -> Vault:
    vault = Vault()
    for number in range(3):
        vault.store("c", {"n": number}, f"k{number}")
    return vault


@pytest.mark.parametrize(
    "key", ["", "\ud800", "a\nb", "\0", "x" * (MAX_KEY_BYTES + 1), "\U0001f600" * 200, 1, None, []]
)
def test_a_cursor_cannot_name_a_key_that_no_document_can_have(key: Any, vault: Vault) -> None:
    """DynamoDB would refuse it, and that would look like a failure of ours."""
    for operation, ask in (("find", vault.find), ("count", vault.count)):
        with pytest.raises(InvalidCursorError):
            ask("c", cursor=forged([operation, "c", {}, None], key))
    with pytest.raises(InvalidCursorError):
        vault.collections(cursor=forged(["collections"], key if key != "" else " "))
    with pytest.raises(InvalidCursorError):
        vault.clear("c", forged(["clear", "c"], "2026-11-15T12:00:00+00:00", key))
    assert vault.count("c")["count"] == 3


@pytest.mark.parametrize("began", ["", "yesterday", "2026-11-15T12:00:00", "2026-11-15", 7, None])
def test_a_cursor_of_clearing_says_when_it_began(began: Any, vault: Vault) -> None:
    with pytest.raises(InvalidCursorError):
        vault.clear("c", forged(["clear", "c"], began, "k0"))
    assert vault.count("c")["count"] == 3


@pytest.mark.parametrize("depth", [513, 700, 980, 985, 990, 995, 1_000, 20_000, 500_000])
def test_a_cursor_that_is_too_deep_is_none(depth: int, vault: Vault) -> None:
    for opening, closing in (("[", "]"), ('{"a":', "}")):
        inside = opening * depth + "1" + closing * depth
        for text in (inside, f'["label",[{inside}],"k"]'):
            with pytest.raises(InvalidCursorError):
                vault.find("c", cursor=packed(text))


@pytest.mark.parametrize("kind", range(-1, 9))
@pytest.mark.parametrize(
    "value", [None, True, -1, 1e308, "", "\ud800", [], [[]], {}, [[2, "a", []]]]
)
def test_a_place_in_an_order_is_read_or_refused(kind: int, value: Any, vault: Vault) -> None:
    cursor = forged(["find", "c", {}, SORT], [[kind, value]], "k1")
    with suppress(InvalidRequestError):
        assert len(vault.find("c", sort=SORT, cursor=cursor)["data"]) <= 3


def test_numbers_that_json_has_not_are_no_position() -> None:
    for number in ("NaN", "Infinity", "1e999", "9" * 5_000):
        with pytest.raises(InvalidCursorError):
            read_cursor(["x"], packed(f'["label", {number}]'))


def test_a_cursor_that_unpacks_to_gigabytes_is_not_unpacked() -> None:
    once = zlib.compress(b"[" + b"0," * 50_000_000 + b"0]", 9)
    assert len(once) > 16_000
    with pytest.raises(InvalidCursorError):
        read_cursor(["x"], base64.urlsafe_b64encode(once).decode())
    small = zlib.compress(b"[" + b" " * 5_000_000 + b"]", 9)
    with pytest.raises(InvalidCursorError):
        read_cursor(["x"], base64.urlsafe_b64encode(small).decode())
