"""Bring your own key: what is stored, when it is used, and what never happens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstack_core.domain.errors import (
    ConflictError,
    CredentialsRequiredError,
    FlowStackError,
    InvalidProviderError,
    InvalidRequestError,
    NotFoundError,
    ServiceUnavailableError,
    StoredCredentialsUnreadableError,
    TierLimitationError,
)
from flowstack_core.domain.plans import Tier
from flowstack_core.domain.providers import Provider, ProviderCredentials, external_id_of
from flowstack_core.domain.stored_credentials import StoredCredentials
from flowstack_core.services.byok import CACHE_LIFETIME, CredentialFinder
from flowstack_core.services.conversations import Answer, Caller
from flowstack_core.services.ports.credentials import StoredCredentialStore
from flowstack_core.services.ports.failures import StoreContentionError
from tests.support.fakes import OWN, World, byok, message

OPENAI = {"api_key": "sk-canary-0123456789abcdef"}
PAID = [Tier.STARTER, Tier.PROFESSIONAL, Tier.ENTERPRISE]


def on(tier: Tier) -> World:
    world = World()
    world.subscribe(tier)
    return world


def ask(world: World, *, tier: Tier | None = None, **fields: Any) -> Answer:
    """Send a message without credentials; the caller's tier is the one in force if not given."""
    caller = Caller(
        world.customer_id, tier or world.tables.subscriptions[world.customer_id].terms.tier
    )
    return world.service.answer(caller, message(**fields), world.budget)


def used(world: World) -> list[dict[str, str] | None]:
    """Return the credentials that models were asked with; ``None`` for the operator's."""
    return [None if one is None else dict(one.values) for one in world.models.used]


class Counting:
    """A store that counts its reads, and has its ways to fail."""

    def __init__(self, store: StoredCredentialStore) -> None:
        self.store = store
        self.reads = 0
        self.marks = 0
        self.failing: Callable[[], Any] = lambda: None

    def credentials(self, customer_id: str, provider: Provider) -> StoredCredentials | None:
        self.reads += 1
        return self.store.credentials(customer_id, provider)

    def mark_used(self, stored: StoredCredentials, at: Any) -> None:
        self.marks += 1
        self.failing()
        self.store.mark_used(stored, at)


@pytest.fixture
def world() -> World:
    return on(Tier.FREE)


@pytest.fixture
def counting(world: World) -> Counting:
    return Counting(world.credentials)


@pytest.fixture
def finder(world: World, counting: Counting) -> CredentialFinder:
    return CredentialFinder(counting, world.cipher, world.clock)


# --- storing -------------------------------------------------------------------------------


def test_byok_what_is_stored_is_sealed_and_listed_masked(world: World) -> None:
    world.store(Provider.OPENAI, **OPENAI)
    (stored,) = world.credential_service.stored(world.customer_id, world.budget)
    assert stored.masked == {"api_key": "…cdef"}
    assert stored.created_at == stored.updated_at == world.clock.now()
    assert stored.last_used_at is None
    assert "canary" not in repr(world.tables)


def test_storing_again_replaces_and_remembers_since_when(world: World) -> None:
    first = world.clock.now()
    world.store()
    world.send()
    world.clock.advance(days=2)
    world.store(aws_access_key="AKIANEW", aws_secret_key="new")
    (stored,) = world.credential_service.stored(world.customer_id, world.budget)
    assert (stored.created_at, stored.updated_at) == (first, world.clock.now())
    assert stored.last_used_at is None, "these were never used"
    world.send()
    assert used(world)[-1] == {"aws_access_key": "AKIANEW", "aws_secret_key": "new"}


def test_byok_every_act_leaves_a_record_of_who_and_never_a_value(world: World) -> None:
    world.store(Provider.OPENAI, **OPENAI)
    world.store(Provider.OPENAI, **OPENAI)
    world.credential_service.delete("key_2", world.customer_id, "openai", world.budget)
    audits = list(world.tables.audits.values())
    facts = [{"provider": "openai", "fields": ["api_key"], "version": n} for n in (1, 2)]
    assert [(a.actor, a.action, a.before, a.after) for a in audits] == [
        ("key_1", "credentials.store", None, facts[0]),
        ("key_1", "credentials.rotate", facts[0], facts[1]),
        ("key_2", "credentials.delete", facts[1], None),
    ]


@pytest.mark.parametrize(
    ("provider", "values", "error"),
    [
        ("acme", OPENAI, InvalidProviderError),
        ("openai", {"host": "canary"}, CredentialsRequiredError),
        ("openai", {"api_key": ""}, CredentialsRequiredError),
        ("bedrock", {}, CredentialsRequiredError),
        ("cohere", {**OPENAI, "canary": "canary"}, InvalidRequestError),
        ("openai", {"api_key": "canary\n"}, InvalidRequestError),
        ("openai", {"api_key": "canary" * 683}, InvalidRequestError),
        ("openai", {"api_key": "canary" * 682}, InvalidRequestError),
        ("sagemaker", {**OWN, "endpoint_name": "e", "region": "canary"}, InvalidRequestError),
    ],
)
def test_what_a_provider_does_not_take_is_refused_and_nothing_is_kept(
    provider: str, values: dict[str, str], error: type[FlowStackError], world: World
) -> None:
    with pytest.raises(error) as refusal:
        world.credential_service.store("key_1", world.customer_id, provider, values, world.budget)
    assert "canary" not in f"{refusal.value.message} {refusal.value.details}"
    assert not world.tables.credentials
    assert not world.tables.audits


def test_a_field_is_named_as_the_request_names_it(world: World) -> None:
    values = {"api_key": "\t"}
    with pytest.raises(InvalidRequestError, match=r"^credentials\.api_key") as refusal:
        world.credential_service.store("key_1", world.customer_id, "openai", values, world.budget)
    assert refusal.value.details["field"] == "credentials.api_key"


def role_of(customer_id: str) -> dict[str, str]:
    arn = "arn:aws:iam::123456789012:role/flowstack-byok-models"
    return {"role_arn": arn, "external_id": external_id_of(customer_id)}


def test_byok_a_role_that_trusts_flowstack_for_somebody_else_is_not_kept(world: World) -> None:
    with pytest.raises(InvalidRequestError) as refusal:
        world.store(Provider.BEDROCK, **role_of("cus_2"))
    assert refusal.value.details["field"] == "credentials.external_id"
    assert refusal.value.details["external_id"] == external_id_of(world.customer_id)
    assert not world.tables.credentials
    world.store(Provider.BEDROCK, **role_of(world.customer_id))
    world.subscribe(Tier.FREE)
    ask(world)
    assert used(world) == [role_of(world.customer_id)]


def test_byok_the_external_id_of_a_stored_role_is_looked_at_again_when_it_is_used(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.subscribe(Tier.FREE)
    foreign = ProviderCredentials(Provider.BEDROCK, role_of("cus_2"))
    monkeypatch.setattr(CredentialFinder, "find", lambda *_: foreign)
    with pytest.raises(InvalidRequestError, match="external_id"):
        ask(world)
    assert (world.used(), used(world)) == (0, [])


def test_deleting_is_for_good_and_there_is_nothing_to_delete_twice(world: World) -> None:
    world.store()
    world.credential_service.delete("key_1", world.customer_id, "bedrock", world.budget)
    assert not world.tables.credentials
    with pytest.raises(NotFoundError):
        world.credential_service.delete("key_1", world.customer_id, "bedrock", world.budget)


def test_a_race_is_lost_by_nobody(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    read = world.credentials.credentials
    others = [{"aws_access_key": f"AKIA{n}", "aws_secret_key": "s"} for n in range(2)]

    def overtaken(customer_id: str, provider: Provider) -> StoredCredentials | None:
        found = read(customer_id, provider)
        if others:
            world.store(Provider.BEDROCK, **others.pop())
        return found

    monkeypatch.setattr(world.credentials, "credentials", overtaken)
    world.store(aws_access_key="AKIALAST", aws_secret_key="s")
    monkeypatch.undo()
    (stored,) = world.tables.credentials.values()
    assert stored.version == 3
    world.send()
    assert used(world) == [{"aws_access_key": "AKIALAST", "aws_secret_key": "s"}]


def test_a_race_that_never_ends_is_a_conflict(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world.credentials, "replace_credentials", lambda *_: False)
    with pytest.raises(ConflictError):
        world.store()
    monkeypatch.undo()
    world.store()
    monkeypatch.setattr(world.credentials, "delete_credentials", lambda *_: False)
    with pytest.raises(ConflictError):
        world.credential_service.delete("key_1", world.customer_id, "bedrock", world.budget)


def test_a_cipher_that_is_busy_is_asked_again_and_then_given_up(world: World) -> None:
    world.cipher.failure = StoreContentionError("throttled")
    with pytest.raises(ServiceUnavailableError):
        world.store()
    assert not world.tables.credentials


# --- which credentials a message is answered with -------------------------------------------


def test_byok_credentials_of_the_request_win_over_stored_ones() -> None:
    world = on(Tier.FREE)
    world.store()
    ask(world, credentials=byok())
    assert used(world) == [dict(byok().values)]
    assert world.cipher.opened == []


@pytest.mark.parametrize("tier", Tier)
def test_byok_a_provider_for_own_keys_only_takes_the_stored_one_on_every_tier(tier: Tier) -> None:
    world = on(tier)
    world.models.served.add(Provider.OPENAI)
    world.store(Provider.OPENAI, **OPENAI)
    ask(world, provider=Provider.OPENAI)
    assert used(world) == [OPENAI]


@pytest.mark.parametrize("tier", Tier)
def test_p4_a_provider_for_own_keys_only_without_any_is_refused(tier: Tier) -> None:
    world = on(tier)
    world.store()  # for another provider
    with pytest.raises(CredentialsRequiredError) as refusal:
        ask(world, provider=Provider.OPENAI)
    assert refusal.value.details["missing"] == ["api_key"]
    assert (world.used(), world.held(), world.drift()) == (0, 0, 0)


@pytest.mark.parametrize("operation", ["invoke", "chat"])
def test_p4_on_free_stored_credentials_open_bedrock(operation: str) -> None:
    world = on(Tier.FREE)
    world.store()
    ask(world, operation=operation)
    assert used(world) == [OWN]
    assert (world.used(), world.drift()) == (1, 0)
    assert [s.route.managed for s in world.tables.settlements] == [False]


@pytest.mark.parametrize("tier", PAID)
def test_byok_on_paid_tiers_managed_bedrock_stays_managed_and_nothing_is_looked_up(
    tier: Tier, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = on(tier)
    world.store()
    monkeypatch.setattr(world.credentials, "credentials", None)
    ask(world)
    assert used(world) == [None]


@pytest.mark.parametrize("tier", Tier)
def test_byok_on_request_stored_credentials_are_used_in_place_of_managed_models(tier: Tier) -> None:
    world = on(tier)
    world.store()
    ask(world, byok=True)
    assert used(world) == [OWN]


@pytest.mark.parametrize("tier", Tier)
def test_byok_own_credentials_that_were_asked_for_and_are_not_there_are_never_replaced_by_managed(
    tier: Tier,
) -> None:
    world = on(tier)
    with pytest.raises(CredentialsRequiredError):
        ask(world, byok=True)
    assert used(world) == []
    assert (world.used(), world.drift()) == (0, 0)


@pytest.mark.parametrize("byok_asked", [True, False])
def test_byok_what_cannot_be_decrypted_is_an_error_and_never_managed(byok_asked: bool) -> None:
    world = on(Tier.STARTER if byok_asked else Tier.FREE)
    world.store()
    (place,) = world.tables.credentials
    stored = world.tables.credentials[place]
    world.tables.credentials[place] = replace(stored, ciphertext=b"tampered with")
    with pytest.raises(StoredCredentialsUnreadableError):
        ask(world, byok=byok_asked)
    assert used(world) == []
    assert (world.used(), world.held(), world.drift()) == (0, 0, 0)


def test_byok_a_cipher_out_of_reach_refuses_and_is_never_managed() -> None:
    world = on(Tier.STARTER)
    world.store()
    world.cipher.failure = StoreContentionError("no connection")
    with pytest.raises(ServiceUnavailableError):
        ask(world, byok=True)
    assert used(world) == []
    assert (world.used(), world.drift()) == (0, 0)


def test_byok_credentials_of_one_customer_or_provider_are_of_no_use_to_another() -> None:
    world = on(Tier.FREE)
    world.models.served.add(Provider.OPENAI)
    world.store(Provider.OPENAI, **OPENAI)
    (stored,) = world.tables.credentials.values()
    for customer_id, provider in (("cus_2", Provider.OPENAI), ("cus_1", Provider.BEDROCK)):
        moved = replace(stored, customer_id=customer_id, provider=provider)
        world.tables.credentials[customer_id, provider] = moved
        thief = Caller(customer_id, Tier.FREE)
        with pytest.raises(StoredCredentialsUnreadableError):
            world.service.answer(thief, message(provider=provider), world.budget)
    assert used(world) == []


# --- the caller's tier may be a minute old ------------------------------------------------------


def test_p1_after_an_upgrade_stored_credentials_do_not_keep_managed_models_away() -> None:
    world = on(Tier.STARTER)
    world.store()
    ask(world, tier=Tier.FREE)
    assert used(world) == [None]


@pytest.mark.parametrize("operation", ["invoke", "chat"])
def test_p4_after_a_downgrade_stored_credentials_are_found_by_the_very_next_request(
    operation: str,
) -> None:
    world = on(Tier.FREE)
    world.store()
    answer = ask(world, tier=Tier.STARTER, operation=operation, idempotency_key="order-1")
    assert answer.session_started
    assert used(world) == [OWN]
    assert ask(world, tier=Tier.STARTER, operation=operation, idempotency_key="order-1").replayed
    assert (world.used(), world.held(), world.drift()) == (1, 0, 0)


def test_p4_without_stored_credentials_managed_models_on_free_stay_refused() -> None:
    world = on(Tier.FREE)
    for tier in (Tier.FREE, Tier.ENTERPRISE):
        with pytest.raises(TierLimitationError, match="free tier"):
            ask(world, tier=tier)
    assert used(world) == []


@given(
    real=st.sampled_from(Tier),
    believed=st.sampled_from(Tier),
    sent=st.booleans(),
    stored=st.booleans(),
    asked=st.booleans(),
)
def test_byok_who_pays_depends_on_the_tier_in_force_and_never_on_the_one_believed(
    real: Tier, believed: Tier, sent: bool, stored: bool, asked: bool
) -> None:
    world = on(real)
    if stored:
        world.store()
    expected: dict[str, str] | type[FlowStackError] | None
    if sent:
        expected = dict(byok().values)
    elif asked:
        expected = OWN if stored else CredentialsRequiredError
    elif real is not Tier.FREE:
        expected = None
    else:
        expected = OWN if stored else TierLimitationError
    credentials = byok() if sent else None
    if isinstance(expected, type):
        with pytest.raises(expected):
            ask(world, tier=believed, credentials=credentials, byok=asked)
    else:
        ask(world, tier=believed, credentials=credentials, byok=asked)
        assert used(world) == [expected]
    assert world.used() == len(used(world)) == (0 if isinstance(expected, type) else 1)
    assert (world.held(), world.drift()) == (0, 0)


# --- the cache ------------------------------------------------------------------------------


def test_what_was_decrypted_is_kept_for_less_than_a_minute(
    world: World, finder: CredentialFinder, counting: Counting
) -> None:
    world.store()
    for _ in range(3):
        assert finder.find("cus_1", Provider.BEDROCK) is not None
    assert (counting.reads, len(world.cipher.opened)) == (1, 1)
    world.clock.advance(seconds=59.999)
    finder.find("cus_1", Provider.BEDROCK)
    assert counting.reads == 1
    world.clock.advance(seconds=0.001)
    finder.find("cus_1", Provider.BEDROCK)
    assert (counting.reads, len(world.cipher.opened)) == (2, 2)


def test_byok_deletion_and_rotation_are_seen_within_a_minute(
    world: World, finder: CredentialFinder
) -> None:
    world.store()
    finder.find("cus_1", Provider.BEDROCK)
    new = {"aws_access_key": "AKIANEW", "aws_secret_key": "new"}
    world.store(Provider.BEDROCK, **new)
    world.clock.advance(seconds=CACHE_LIFETIME.total_seconds())
    found = finder.find("cus_1", Provider.BEDROCK)
    assert found is not None
    assert found.values == new
    world.credential_service.delete("key_1", "cus_1", "bedrock", world.budget)
    world.clock.advance(seconds=CACHE_LIFETIME.total_seconds())
    assert finder.find("cus_1", Provider.BEDROCK) is None


def test_what_is_stored_can_be_used_at_once(world: World, finder: CredentialFinder) -> None:
    assert finder.find("cus_1", Provider.BEDROCK) is None
    world.store()
    assert finder.find("cus_1", Provider.BEDROCK) is not None


def test_a_clock_that_was_set_back_keeps_no_secret(
    world: World, finder: CredentialFinder, counting: Counting
) -> None:
    world.store()
    finder.find("cus_1", Provider.BEDROCK)
    world.clock.advance(hours=-1)
    finder.find("cus_1", Provider.BEDROCK)
    assert counting.reads == 2


def test_the_cache_holds_few_and_forgets_what_is_too_old(
    world: World, finder: CredentialFinder
) -> None:
    for number in range(300):
        world.credential_service.store("k", f"cus_{number}", "bedrock", OWN, world.budget)
        finder.find(f"cus_{number}", Provider.BEDROCK)
    entries = finder._cache._entries
    assert len(entries) == 256
    assert ("cus_0", Provider.BEDROCK) not in entries
    world.clock.advance(seconds=60)
    finder.find("cus_nobody", Provider.BEDROCK)
    assert entries == {}


def test_nothing_that_holds_a_secret_prints_it(world: World, finder: CredentialFinder) -> None:
    world.store()
    found = finder.find("cus_1", Provider.BEDROCK)
    assert isinstance(found, ProviderCredentials)
    for holder in (found, finder._cache, message(credentials=found)):
        assert "stored secret" not in f"{holder!r} {holder!s}"


# --- when they were last used -----------------------------------------------------------------


def test_a_use_is_written_down_once_an_hour(
    world: World, finder: CredentialFinder, counting: Counting
) -> None:
    world.store()
    for _ in range(180):
        finder.find("cus_1", Provider.BEDROCK)
        world.clock.advance(minutes=1)
    assert (counting.reads, counting.marks) == (180, 3)
    (stored,) = world.tables.credentials.values()
    assert stored.last_used_at == world.clock.now() - timedelta(hours=1)


@pytest.mark.parametrize("error", [StoreContentionError("busy"), RuntimeError("bug"), OSError()])
def test_a_use_that_cannot_be_written_down_fails_no_message(
    error: Exception, world: World, finder: CredentialFinder, counting: Counting
) -> None:
    def fail() -> None:
        raise error

    world.store()
    counting.failing = fail
    assert finder.find("cus_1", Provider.BEDROCK) is not None
    assert counting.marks == 1
