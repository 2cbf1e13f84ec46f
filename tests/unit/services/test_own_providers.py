"""Customers' own providers: refused before anything is counted, and never the operator's."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flowstack_core.domain.errors import (
    InvalidRequestError,
    ModelNotAvailableError,
    ModelTimeoutError,
)
from flowstack_core.domain.plans import Tier
from flowstack_core.domain.providers import Provider, ProviderCredentials, external_id_of
from flowstack_core.services.conversations import Caller
from tests.support.fakes import ScriptedModel, ScriptedModels, World, message, model_answer

ARN = "arn:aws:iam::123456789012:role/flowstack-byok-models"


def role(customer_id: str) -> ProviderCredentials:
    values = {"role_arn": ARN, "external_id": external_id_of(customer_id)}
    return ProviderCredentials(Provider.BEDROCK, values)


@pytest.fixture
def world() -> World:
    made = World()
    made.subscribe(Tier.FREE)
    return made


def test_the_role_of_another_customer_is_refused_before_anything_is_counted(world: World) -> None:
    command = message(credentials=role("cus_2"), idempotency_key="key-1")
    with pytest.raises(InvalidRequestError, match="external_id"):
        world.service.answer(Caller("cus_1", Tier.FREE), command, world.budget)
    assert (world.used(), world.model.requests) == (0, [])
    own = replace(command, credentials=role("cus_1"))
    world.service.answer(Caller("cus_1", Tier.FREE), own, world.budget)
    assert world.used() == 1


def test_a_name_that_no_provider_has_is_refused_before_anything_is_counted(world: World) -> None:
    with pytest.raises(ModelNotAvailableError):
        world.send(managed=False, model="no model\n")
    assert (world.used(), world.model.requests) == (0, [])


def test_a_managed_model_is_one_of_the_catalogue_however_well_formed_its_name() -> None:
    world = World()
    world.subscribe(Tier.STARTER)
    with pytest.raises(ModelNotAvailableError):
        world.send(model="model-of-tomorrow")
    assert world.used() == 0


def test_s5_a_client_that_takes_all_the_time_to_load_leaves_none_for_the_model(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(models: ScriptedModels, *_: object) -> ScriptedModel:
        world.budget.sleep(26)
        return models.model

    monkeypatch.setattr(ScriptedModels, "client", load)
    with pytest.raises(ModelTimeoutError):
        world.send(managed=False)
    assert (world.used(), world.model.requests) == (0, [])


def test_history_is_left_out_for_a_model_that_nobody_knows_too(world: World) -> None:
    long = "x" * 150_000  # some 50,000 tokens by the estimate
    dropped = []
    for _ in range(4):
        world.model.reactions.append(model_answer("Yes."))
        answer = world.send(operation="chat", managed=False, model="model-of-tomorrow", text=long)
        dropped.append(answer.document["history"]["turns_dropped"])
    assert dropped == [0, 0, 1, 2]
    assert answer.document["model"] == "model-of-tomorrow"
    assert len(world.model.requests[-1].messages) == 3
    assert world.used() == 1
