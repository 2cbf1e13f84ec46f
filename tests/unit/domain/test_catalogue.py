"""The catalogue: names, life cycle, regions, and the file itself."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from flowstack_core.domain import catalogue as module
from flowstack_core.domain.catalogue import (
    Catalogue,
    Model,
    ResolvedModel,
    default_catalogue,
    parse_catalogue,
)
from flowstack_core.domain.errors import InvalidRequestError, ModelNotAvailableError
from flowstack_core.domain.providers import Provider

TODAY = date(2026, 11, 24)
CATALOGUE = default_catalogue()


def entry(id_: str, **fields: Any) -> dict[str, Any]:
    return {
        "id": id_,
        "bedrock_model_id": f"anthropic.{id_}-v1:0",
        "profiles": [],
        "in_region": ["*"],
        "aliases": [],
        "context_window": 1000,
        "max_output_tokens": 100,
        "supports_system": True,
        "supports_tools": True,
        "supports_temperature": True,
        "state": "active",
        "legacy_since": None,
        "retired_on": None,
        "successor": None,
        **fields,
    }


def of(*entries: dict[str, Any]) -> Catalogue:
    return parse_catalogue({"models": list(entries)})


def resolve(name: str, region: str = "us-east-1", today: date = TODAY) -> ResolvedModel:
    return CATALOGUE.resolve(name, region, today)


def refusal(name: str, region: str = "us-east-1", today: date = TODAY) -> ModelNotAvailableError:
    with pytest.raises(ModelNotAvailableError) as refused:
        resolve(name, region, today)
    return refused.value


# --- names ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "claude-haiku-4-5",
        " Claude-Haiku-4.5 ",
        "claude haiku 4_5",
        "anthropic.claude-haiku-4-5-20251001-v1:0",
        "claude-haiku-4-5-20251001",
        "us.anthropic.claude-haiku-4-5-20251001-v1:0",
        "US.anthropic.claude-haiku-4-5-20251001-v1:0",
    ],
)
def test_a_model_answers_to_its_names_in_any_spelling(name: str) -> None:
    resolved = resolve(name)
    assert resolved.model == "claude-haiku-4-5"
    assert resolved.provider_model_id == "us.anthropic.claude-haiku-4-5-20251001-v1:0"
    assert resolved.requested == name
    assert resolved.successor_of is None


def test_an_unknown_model_is_refused_with_the_nearest_names() -> None:
    refused = refusal("claude-hiaku-4-5")
    assert refused.details["nearest"][0] == "claude-haiku-4-5"
    assert refused.details["model"] == "claude-hiaku-4-5"
    assert refused.details["provider"] == "bedrock"
    assert "claude-haiku-4-5" in refused.details["hint"]


def test_the_nearest_names_can_all_be_called() -> None:
    for name in ("claude-3", "llama", "zzz", "mistral", "x" * 5000):
        for nearest in refusal(name, "eu-central-1").details["nearest"]:
            assert resolve(nearest, "eu-central-1").successor_of is None


def test_no_entry_is_named_by_a_family_alone() -> None:
    assert refusal("claude").code == "MODEL_NOT_AVAILABLE"
    assert resolve("claude-v2").successor_of == "claude-2"
    assert resolve("claude-v2:1").successor_of == "claude-2-1"


def test_a_model_of_another_provider_is_refused_with_that_provider() -> None:
    refused = refusal("GPT-4o")
    assert "'openai'" in refused.details["hint"]
    assert "not an Amazon Bedrock model" in refused.message


@pytest.mark.parametrize("name", ["", " ", "evil\x00\x1b[31m", "\u202e", "m" * 10_000])
def test_a_strange_name_is_refused_and_shown_harmlessly(name: str) -> None:
    refused = refusal(name)
    assert refused.message.isprintable()
    assert len(refused.details["model"]) <= 80


# --- life cycle ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("retired", "successor"),
    [
        ("claude-3-sonnet", "claude-sonnet-4-6"),
        ("claude-3-opus", "claude-opus-4-6"),
        ("claude-3-haiku", "claude-haiku-4-5"),
        ("anthropic.claude-3-sonnet-20240229-v1:0", "claude-sonnet-4-6"),
        ("us.anthropic.claude-3-7-sonnet-20250219-v1:0", "claude-sonnet-4-6"),
    ],
)
def test_a_retired_model_gives_way_to_its_successor_and_says_so(
    retired: str, successor: str
) -> None:
    resolved = resolve(retired)
    assert resolved.model == successor
    assert resolved.successor_of is not None
    assert resolved.provider_model_id.startswith("us.")


@pytest.mark.parametrize(
    ("day", "answers", "state"),
    [
        (date(2026, 7, 7), "claude-opus-4-1", "active"),
        (date(2026, 7, 8), "claude-opus-4-1", "legacy"),
        (date(2027, 1, 7), "claude-opus-4-1", "legacy"),
        (date(2027, 1, 8), "claude-opus-4-6", "active"),
    ],
)
def test_legacy_and_retirement_come_on_their_days(day: date, answers: str, state: str) -> None:
    resolved = resolve("claude-opus-4-1", today=day)
    assert (resolved.model, resolved.state) == (answers, state)
    assert (resolved.retired_on is not None) == (answers == "claude-opus-4-1")


def test_successors_are_followed_to_one_in_service() -> None:
    catalogue = of(
        entry("old", state="retired", successor="middle"),
        entry("middle", state="retired", retired_on="2026-01-01", successor="new"),
        entry("new"),
    )
    assert catalogue.resolve("old", "us-east-1", TODAY).model == "new"
    assert catalogue.resolve("old", "us-east-1", TODAY).successor_of == "old"
    assert catalogue.resolve("old", "us-east-1", date(2025, 12, 31)).model == "middle"


@pytest.mark.parametrize(
    "entries",
    [
        [entry("a", state="retired")],
        [entry("a", state="retired", successor="b"), entry("b", state="retired", successor="a")],
    ],
)
def test_a_retired_model_without_a_successor_in_service_is_refused(
    entries: list[dict[str, Any]],
) -> None:
    with pytest.raises(ModelNotAvailableError, match="no successor in service"):
        of(*entries).resolve("a", "us-east-1", TODAY)


# --- regions -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("region", "prefix"),
    [
        ("us-east-1", "us."),
        ("us-west-2", "us."),
        ("ca-central-1", "us."),
        ("eu-west-1", "eu."),
        ("ap-northeast-1", "jp."),
        ("ap-southeast-2", "au."),
        ("ap-south-1", "global."),
        ("sa-east-1", "global."),
        ("me-central-1", "global."),
    ],
)
def test_a_profile_is_chosen_by_the_regions_geography(region: str, prefix: str) -> None:
    bedrock_id = resolve("claude-haiku-4-5", region).provider_model_id
    assert bedrock_id == f"{prefix}anthropic.claude-haiku-4-5-20251001-v1:0"


@pytest.mark.parametrize(
    ("name", "region", "bedrock_id"),
    [
        ("nova-pro", "us-east-1", "amazon.nova-pro-v1:0"),
        ("nova-pro", "us-west-2", "us.amazon.nova-pro-v1:0"),
        ("nova-pro", "ap-northeast-1", "apac.amazon.nova-pro-v1:0"),
        ("us.amazon.nova-pro-v1:0", "us-east-1", "amazon.nova-pro-v1:0"),
        ("apac.amazon.nova-pro-v1:0", "ap-south-1", "apac.amazon.nova-pro-v1:0"),
        ("claude-sonnet-4-6", "eu-west-2", "anthropic.claude-sonnet-4-6"),
        ("global.anthropic.claude-sonnet-4-6", "eu-west-2", "global.anthropic.claude-sonnet-4-6"),
        ("apac.anthropic.claude-sonnet-4-6", "ap-northeast-1", "jp.anthropic.claude-sonnet-4-6"),
        ("mistral-large-3", "me-south-1", "mistral.mistral-large-3-675b-instruct"),
    ],
)
def test_the_smallest_geography_that_was_asked_for_wins(
    name: str, region: str, bedrock_id: str
) -> None:
    assert resolve(name, region).provider_model_id == bedrock_id


@pytest.mark.parametrize(
    ("name", "region"),
    [
        ("eu.anthropic.claude-haiku-4-5-20251001-v1:0", "us-east-1"),
        ("us.anthropic.claude-haiku-4-5-20251001-v1:0", "eu-west-1"),
        ("us.mistral.mistral-large-3-675b-instruct", "ca-central-1"),
        ("llama-4-scout", "eu-west-1"),
        ("claude-haiku-4-5", "us-gov-west-1"),
    ],
)
def test_a_request_never_leaves_the_geography_that_was_asked_for(name: str, region: str) -> None:
    refused = refusal(name, region)
    assert region in refused.message
    assert refused.details["region"] == region


def test_a_gov_region_calls_nothing_outside() -> None:
    model = Model(
        **{
            **entry("x", in_region=(), aliases=(), profiles=("us", "global", "us-gov")),
            "bedrock_model_id": "p.x",
        }
    )
    assert model.in_region == ()
    assert model.invocation_id("us-gov-west-1") == "us-gov.p.x"


# --- what a model can do -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "asked", "field"),
    [
        ("mistral-7b", {"system": True, "tools": False}, "system"),
        ("mistral-7b", {"system": False, "tools": True}, "tools"),
        ("claude-opus-5", {"system": True, "tools": True, "temperature": True}, "temperature"),
        ("nova-pro", {"system": True, "tools": True, "max_tokens": 10_001}, "max_tokens"),
    ],
)
def test_what_a_model_cannot_do_is_refused_by_field(
    name: str, asked: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        resolve(name).check_supports(**asked)
    assert refused.value.details["field"] == field


def test_what_a_model_can_do_is_let_through() -> None:
    resolve("nova-pro").check_supports(system=True, tools=True, temperature=True, max_tokens=10_000)


# --- the file ------------------------------------------------------------------------------


EACH_ENTRY = [pytest.param(model, id=model.id) for model in CATALOGUE]


@pytest.mark.parametrize("model", EACH_ENTRY)
def test_each_entry_is_consistent(model: Model) -> None:
    document = json.loads(Path(module.__file__).with_name("models.json").read_text("utf-8"))
    as_of = date.fromisoformat(document["as_of"])
    assert model.state_on(as_of) == model.state, "the state disagrees with the dates"
    assert 0 < model.max_output_tokens <= model.context_window
    if model.legacy_since is not None:
        assert model.retired_on is not None
        assert model.legacy_since < model.retired_on
    if model.state != "active":
        assert model.successor is not None
    if model.state != "retired":
        assert model.profiles or model.in_region, "nobody could call it"


@pytest.mark.parametrize("model", EACH_ENTRY)
@pytest.mark.parametrize("today", [TODAY, date(2027, 6, 1)])
def test_each_entry_resolves_to_a_model_in_service_that_takes_the_same_request(
    model: Model, today: date
) -> None:
    region = next((region for region in model.in_region if region != "*"), "us-east-1")
    resolved = CATALOGUE.resolve(model.id, region, today)
    heir = CATALOGUE.model(resolved.model)
    assert heir is not None
    assert heir.state_on(today) != "retired"
    for ability in ("supports_system", "supports_tools", "supports_temperature"):
        assert getattr(resolved, ability) or not getattr(model, ability), ability


def test_every_name_leads_to_its_entry() -> None:
    for model in CATALOGUE:
        for name in model.names:
            asked = resolve(name, "us-west-2" if "us-west-2" in model.in_region else "us-east-1")
            assert asked.successor_of in {None, model.id}
            assert model.id in {asked.model, asked.successor_of}


def test_what_is_available_is_exactly_what_resolves_to_itself() -> None:
    for region in ("us-east-1", "us-west-2", "eu-west-2", "ap-southeast-2", "sa-east-1"):
        available = {model.id for model in CATALOGUE.available(region, TODAY)}
        for model in CATALOGUE:
            try:
                itself = resolve(model.id, region).model == model.id
            except ModelNotAvailableError:
                itself = False
            assert itself == (model.id in available)


def test_the_models_of_other_providers_are_not_ours() -> None:
    document = json.loads(Path(module.__file__).with_name("models.json").read_text("utf-8"))
    for name in document["elsewhere"]:
        assert document["elsewhere"][name] in refusal(name).details["hint"]


@pytest.mark.parametrize(
    ("entries", "complaint"),
    [
        ([entry("a", successor="b")], "no successor 'b'"),
        ([entry("a"), entry("b", aliases=["A"])], "names both a and b"),
        ([entry("a", state="Retired")], "no state"),
        ([entry("a", profiles=["eur"])], "no geography eur"),
        ([entry("a", retired_on="soon")], "soon"),
    ],
)
def test_a_mistake_in_the_file_is_found_when_it_is_read(
    entries: list[dict[str, Any]], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        of(*entries)


def test_an_unknown_field_in_the_file_is_found_when_it_is_read() -> None:
    with pytest.raises(TypeError, match="colour"):
        of(entry("a", colour="blue"))


# --- models of customers' own providers ----------------------------------------------------


def own(
    name: str, provider: Provider = Provider.OPENAI, region: str = "us-east-1"
) -> ResolvedModel:
    return CATALOGUE.resolve_own(name, provider, region, TODAY)


@pytest.mark.parametrize(
    "name",
    [
        "gpt-9",
        "o7-mini",
        "org/model:free",
        "llama3.2:70b-instruct-q4_K_M",
        "ft:gpt-4o:acme::x1",
        "@cf/meta/llama",
        "a" * 256,
    ],
)
@pytest.mark.parametrize("provider", Provider)
def test_any_well_formed_name_is_passed_on_to_a_customers_own_provider(
    name: str, provider: Provider
) -> None:
    resolved = own(name.lstrip("@"), provider)
    assert resolved.model == resolved.provider_model_id == name.lstrip("@")
    assert resolved.provider == provider.value
    assert resolved.successor_of is None


@pytest.mark.parametrize(
    "name", ["", " ", "a b", "a\nb", "../etc", "-x", "m\u00f6del", "a" * 257, "a?b", "a#b", 'a"b']
)
def test_what_cannot_be_a_models_name_is_refused(name: str) -> None:
    with pytest.raises(ModelNotAvailableError) as refused:
        own(name)
    assert refused.value.details["field"] == "model"
    assert refused.value.message.isprintable()


def test_an_unknown_model_has_the_window_that_such_models_have() -> None:
    assert own("gpt-9").context_window == 128_000
    assert own("claude-99", Provider.ANTHROPIC).context_window == 200_000


def test_a_known_model_keeps_its_limits_wherever_it_is_asked() -> None:
    known = own("claude-haiku-4-5", Provider.ANTHROPIC)
    assert (known.context_window, known.max_output_tokens) == (200_000, 64_000)
    assert known.provider_model_id == "claude-haiku-4-5"


def test_bedrock_in_a_customers_account_knows_the_catalogue_and_more() -> None:
    bedrock_id = own("claude-haiku-4-5", Provider.BEDROCK, "eu-central-1").provider_model_id
    assert bedrock_id == "eu.anthropic.claude-haiku-4-5-20251001-v1:0"
    arn = "arn:aws:bedrock:us-east-1:123456789012:imported-model/abc"
    assert own(arn, Provider.BEDROCK).provider_model_id == arn


def test_bedrock_in_a_customers_account_is_not_asked_for_what_it_does_not_serve_there() -> None:
    with pytest.raises(ModelNotAvailableError):
        own("eu.anthropic.claude-haiku-4-5-20251001-v1:0", Provider.BEDROCK, "us-east-1")
