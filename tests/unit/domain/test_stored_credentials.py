"""What is kept of stored credentials, and what is shown."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstack_core.domain.errors import InvalidRequestError, StoredCredentialsUnreadableError
from flowstack_core.domain.providers import Provider, ProviderCredentials
from flowstack_core.domain.stored_credentials import (
    MAX_PLAINTEXT_BYTES,
    StoredCredentials,
    credentials_of,
    mask,
    masked,
    plaintext_of,
)
from tests.support.fakes import NOON

VALUES = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=300)
STORED = StoredCredentials(
    customer_id="cus_1",
    provider=Provider.OPENAI,
    masked={"api_key": "…cdef"},
    ciphertext=b"ciphertext",
    created_at=NOON,
    updated_at=NOON,
)


@given(VALUES)
def test_byok_a_mask_shows_at_most_the_last_four_of_twenty_characters(value: str) -> None:
    shown = mask(value).removeprefix("…")
    assert len(shown) <= 4
    assert len(value) >= 20 or shown == ""
    assert value.endswith(shown)


def test_byok_every_field_is_masked_but_names_that_are_no_secrets() -> None:
    names = {
        "region": "eu-west-1",
        "endpoint_name": "endpoint-1",
        "role_arn": "arn:aws:iam::123456789012:role/flowstack-byok-models",
        "external_id": "flowstack:cus_1",
    }
    credentials = ProviderCredentials(
        Provider.SAGEMAKER,
        {
            "aws_access_key": "AKIA0123456789ABCDEF",
            "aws_secret_key": "s" * 19,
            "host": "https://somebody:password@models.example.com",
            **names,
        },
    )
    assert masked(credentials) == {
        "aws_access_key": "…CDEF",
        "aws_secret_key": "…",
        "host": "….com",
        **names,
    }


@given(st.dictionaries(st.sampled_from(["api_key", "host", "region"]), VALUES, min_size=1))
def test_what_is_encrypted_is_read_again(values: dict[str, str]) -> None:
    credentials = ProviderCredentials(Provider.LITELLM, values)
    assert credentials_of(Provider.LITELLM, plaintext_of(credentials)).values == values


@pytest.mark.parametrize(("length", "fits"), [(MAX_PLAINTEXT_BYTES - 14, True), (4_083, False)])
def test_what_one_encryption_does_not_take_is_refused(length: int, fits: bool) -> None:
    credentials = ProviderCredentials(Provider.OPENAI, {"api_key": "k" * length})
    if fits:
        assert len(plaintext_of(credentials)) == MAX_PLAINTEXT_BYTES
        return
    with pytest.raises(InvalidRequestError, match="too long") as refusal:
        plaintext_of(credentials)
    assert "kkkk" not in json.dumps([refusal.value.message, refusal.value.details])


def test_a_plaintext_that_makes_no_sense_is_an_error_without_it() -> None:
    with pytest.raises(StoredCredentialsUnreadableError) as failure:
        credentials_of(Provider.OPENAI, b"canary{")
    assert "canary" not in repr(failure.value)
    assert failure.value.__cause__ is None
    assert failure.value.__suppress_context__


@pytest.mark.parametrize(
    ("minutes", "news"), [(0, False), (59, False), (60, True), (600, True), (None, True)]
)
def test_a_use_is_news_once_an_hour(minutes: int | None, news: bool) -> None:
    last = None if minutes is None else NOON - timedelta(minutes=minutes)
    assert replace(STORED, last_used_at=last).use_is_news(NOON) is news


def test_neither_values_nor_ciphertext_nor_masks_are_where_they_do_not_belong() -> None:
    assert "ciphertext" not in repr(STORED)
    assert STORED.facts() == {"provider": "openai", "fields": ["api_key"], "version": 1}
