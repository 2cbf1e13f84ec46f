"""The authorizer: a good key becomes its customer, everything else becomes nobody."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from flowstack_core.domain.api_keys import ApiKey
from flowstack_core.domain.plans import Tier
from flowstack_core.http.authorizer import authorizer
from flowstack_core.services.authorization import AuthorizationService
from flowstack_core.services.ports.failures import StoreContentionError
from tests.support.fakes import World
from tests.support.faulty import Unreachable
from tests.support.http_events import LambdaContext

METHOD_ARN = "arn:aws:execute-api:us-east-1:000000000000:abc123/test/POST/invoke"


class Door:
    """An authorizer in front of a world with one customer."""

    def __init__(self) -> None:
        self.world = World()
        customer, _, issued = self.world.account_service.create_customer(
            "op", "Ada", Tier.STARTER, None, None
        )
        self.customer_id = customer.customer_id
        self.key = issued.key
        self.service = AuthorizationService(
            self.world.accounts, self.world.own_limits, self.world.clock
        )

    def ask(self, text: str | None, header: str = "X-API-Key") -> dict[str, Any]:
        """Present a key."""
        return self.ask_with({} if text is None else {header: [text]})

    def ask_with(self, headers: dict[str, list[str]]) -> dict[str, Any]:
        """Present headers, each as often as it has values."""
        event = {
            "type": "REQUEST",
            "methodArn": METHOD_ARN,
            "headers": {name: values[-1] for name, values in headers.items()} or None,
            "multiValueHeaders": headers or None,
        }
        return authorizer(lambda: self.service)(event, LambdaContext())

    def ask_bearer(self, authorization: str) -> dict[str, Any]:
        """Present a key as OpenAI's clients do: the event holds nothing else."""
        event = {
            "type": "TOKEN",
            "methodArn": METHOD_ARN,
            "authorizationToken": authorization,
        }
        return authorizer(lambda: self.service)(event, LambdaContext())

    def effect(self, text: str | None) -> str:
        """Return what the policy says."""
        (statement,) = self.ask(text)["policyDocument"]["Statement"]
        assert statement["Resource"].endswith(":abc123/test/*")
        return str(statement["Effect"])


@pytest.fixture
def door() -> Door:
    """One."""
    return Door()


@pytest.mark.parametrize("header", ["X-API-Key", "x-api-key", "X-Api-Key"])
def test_a_good_key_becomes_its_customer(door: Door, header: str) -> None:
    answer = door.ask(door.key.text, header)
    assert answer["policyDocument"]["Statement"][0]["Effect"] == "Allow"
    assert answer["context"]["customer_id"] == door.customer_id
    assert answer["context"]["tier"] == "starter"
    assert door.key.text not in str(answer)


@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", "BEARER  "])
def test_a_bearer_s_key_becomes_its_customer(door: Door, scheme: str) -> None:
    answer = door.ask_bearer(scheme + door.key.text)
    assert answer["policyDocument"]["Statement"][0]["Effect"] == "Allow"
    assert answer["context"]["customer_id"] == door.customer_id
    assert door.key.text not in str(answer)


@pytest.mark.parametrize("before", ["", "Basic ", "Bearer", "Token ", "Bearer fs_"])
def test_what_is_no_bearer_s_key_is_refused(door: Door, before: str) -> None:
    answer = door.ask_bearer(before + door.key.text)
    assert answer["policyDocument"]["Statement"][0]["Effect"] == "Deny"


def test_a_result_depends_on_nothing_but_the_header_it_is_kept_by(door: Door) -> None:
    answer = door.ask_with({"Authorization": [f"Bearer {door.key.text}"], "X-API-Key": ["fs_x"]})
    assert answer["policyDocument"]["Statement"][0]["Effect"] == "Deny"
    token = {"type": "TOKEN", "methodArn": METHOD_ARN, "authorizationToken": "Bearer fs_x"}
    event = {**token, "headers": {"X-API-Key": door.key.text}}
    answer = authorizer(lambda: door.service)(event, LambdaContext())
    assert answer["policyDocument"]["Statement"][0]["Effect"] == "Deny"


def test_a_mistyped_key_is_refused_without_a_read(door: Door) -> None:
    unreachable = Unreachable()
    accounts = unreachable.wrap(door.world.accounts)
    own_limits = unreachable.wrap(door.world.own_limits)
    door.service = AuthorizationService(accounts, own_limits, door.world.clock)
    text = door.key.text
    typo = text[:10] + ("a" if text[10] != "a" else "b") + text[11:]
    for wrong in (typo, text[:-1], text + "x", text.upper(), "fs_", "", "sk-123", "fs_" + "é" * 39):
        assert door.effect(wrong) == "Deny"
    assert door.effect(None) == "Deny"
    assert unreachable.calls == 0


def test_a_well_formed_key_of_nobody_is_refused(door: Door) -> None:
    door.world.tables.keys.clear()
    assert door.effect(door.key.text) == "Deny"


def test_a_revoked_key_is_refused(door: Door) -> None:
    (record,) = door.world.account_service.keys(door.customer_id)
    door.world.account_service.revoke_key("op", door.customer_id, record.key_id)
    assert door.effect(door.key.text) == "Deny"


def test_a_key_expires_at_its_instant(door: Door) -> None:
    expires_at = door.world.clock.now() + timedelta(hours=1)
    issued = door.world.account_service.issue_key("op", door.customer_id, "short", expires_at)
    door.world.clock.advance(minutes=59, seconds=59)
    assert door.effect(issued.key.text) == "Allow"
    door.world.clock.advance(seconds=1)
    assert door.effect(issued.key.text) == "Deny"


@pytest.mark.parametrize("operation", ["key", "subscription_and_limits"])
def test_a_store_that_cannot_be_read_lets_nobody_in(operation: str, door: Door) -> None:
    unreachable = Unreachable(operation)
    accounts = unreachable.wrap(door.world.accounts)
    own_limits = unreachable.wrap(door.world.own_limits)
    door.service = AuthorizationService(accounts, own_limits, door.world.clock)
    with pytest.raises(StoreContentionError):
        door.ask(door.key.text)


def test_the_caps_of_a_customer_are_told_and_those_that_are_not_set_are_not(door: Door) -> None:
    door.world.customer_id = door.customer_id
    assert set(door.ask(door.key.text)["context"]) == {"customer_id", "key_id", "tier"}
    door.world.limit_itself(session_turn_cap=20)
    context = door.ask(door.key.text)["context"]
    assert context["session_turn_cap"] == "20"
    assert "session_token_cap" not in context
    door.world.limit_itself(session_turn_cap=None, session_token_cap=5_000)
    context = door.ask_bearer(f"Bearer {door.key.text}")["context"]
    assert context["session_token_cap"] == "5000"
    assert "session_turn_cap" not in context


def test_a_key_is_never_printed() -> None:
    key = ApiKey("fs_secret-part-checksum")
    assert "secret-part" not in f"{key} {key!r} {[key]}"
