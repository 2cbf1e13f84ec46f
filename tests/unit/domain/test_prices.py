"""The price file: dated, positive, exact, and the same for customers and operators."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstack.costs import default_prices as prices_for_customers
from flowstack_core.domain import prices
from flowstack_core.domain.catalogue import default_catalogue
from flowstack_core.domain.prices import PriceList, default_prices
from flowstack_core.domain.rollups import Route, Talk

FILE = Path(prices.__file__).with_name("prices.json")
DOCUMENT: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
AS_OF = date.fromisoformat(DOCUMENT["as_of"])
HAIKU = Route(managed=True, provider="bedrock", model="claude-haiku-4-5")

tokens = st.integers(0, 10**12)
talks = st.builds(Talk, st.integers(0, 10**6), tokens, tokens)


# --- the file -------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", tuple(default_catalogue()), ids=lambda model: model.id)
def test_f2_every_model_of_the_catalogue_that_is_in_service_has_a_price(model: Any) -> None:
    if model.state_on(AS_OF) != "retired":
        for region in ("us-east-1", "eu-west-1", "ap-northeast-1", "ap-southeast-2", "sa-east-1"):
            route = Route(managed=True, provider="bedrock", model=model.id)
            assert default_prices().price_of(route, AS_OF, region) is not None


def test_every_price_is_positive_dated_and_has_a_source_that_was_seen() -> None:
    listed = list(default_prices())
    assert len(listed) > 60
    for price in listed:
        assert 0 < price.input <= price.output
        assert price.since <= AS_OF
        assert price.source.seen_as_of <= AS_OF
        assert price.source.url.startswith("https://")


def test_prices_elsewhere_are_of_places_that_the_catalogue_calls() -> None:
    for entry in DOCUMENT["models"]:
        model = default_catalogue().model(entry["model"])
        for line in entry["prices"]:
            for place in line.get("elsewhere", {}):
                assert entry["provider"] == "bedrock"
                assert model is not None
                called = {model.place(place), *model.profiles}
                assert place in called, f"{model.id} is never called in {place}"


def test_customers_reckon_with_the_prices_that_operators_do() -> None:
    theirs = prices_for_customers()
    for name, price in theirs.models.items():
        ours = default_prices().price_of(Route(False, price.provider, name), theirs.as_of)
        assert ours is not None, f"{price.provider}/{name} is not in {FILE.name}"
        assert (ours.input, ours.output, ours.since) == (price.input, price.output, price.since)
        assert ours.source.url == price.source


def broken(how: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    document = deepcopy(DOCUMENT)
    how(document)
    return document


def first(document: dict[str, Any]) -> dict[str, Any]:
    line: dict[str, Any] = document["models"][0]["prices"][0]
    return line


@pytest.mark.parametrize(
    "how",
    [
        lambda document: first(document).update(input=4.4),
        lambda document: first(document).update(input="0.00"),
        lambda document: first(document).update(output="-1.00"),
        lambda document: first(document).update(output="NaN"),
        lambda document: first(document).update(source="hearsay"),
        lambda document: first(document).update({"from": "tomorrow"}),
        lambda document: document["models"][0]["prices"].append(first(document)),
        lambda document: document["models"][0]["prices"].clear(),
        lambda document: document["models"].append(document["models"][0]),
    ],
    ids=[
        *("a float", "nothing", "negative", "no number", "no source", "no day"),
        *("the same day", "no line", "twice"),
    ],
)
def test_a_file_that_is_wrong_is_not_read(how: Callable[[dict[str, Any]], Any]) -> None:
    with pytest.raises(ValueError, match=r"claude-opus-5-5|isoformat"):
        PriceList.parse(broken(how))


# --- what things cost -----------------------------------------------------------------------------


def test_f2_a_day_is_charged_at_the_prices_that_held_on_it() -> None:
    later = AS_OF + timedelta(days=30)

    def dearer(document: dict[str, Any]) -> None:
        (entry,) = (
            each
            for each in document["models"]
            if (each["provider"], each["model"]) == ("bedrock", HAIKU.model)
        )
        entry["prices"].append(
            {"from": later.isoformat(), "input": "2.00", "output": "9.00", "source": "litellm"}
        )

    changed = PriceList.parse(broken(dearer))
    talk = Talk(1, 1_000_000, 1_000_000)
    assert changed.cost(HAIKU, talk, later - timedelta(days=1)) == Decimal("6.60")
    assert changed.cost(HAIKU, talk, later) == Decimal(11)
    assert changed.cost(HAIKU, talk, later + timedelta(days=365)) == Decimal(11)


def test_f2_the_price_is_that_of_the_place_where_the_model_is_called() -> None:
    nova = Route(managed=True, provider="bedrock", model="nova-pro")
    found = [
        default_prices().price_of(nova, AS_OF, region)
        for region in ("us-west-2", "eu-central-1", None)
    ]
    assert [price and price.input for price in found] == [
        Decimal("0.80"),
        Decimal("1.05"),
        Decimal("0.80"),
    ]
    # No profile of its own there: the global one is called, and is cheaper.
    brazil = default_prices().price_of(HAIKU, AS_OF, "sa-east-1")
    assert brazil is not None
    assert brazil.input == Decimal("1.00")


@pytest.mark.parametrize(
    ("route", "day"),
    [
        (Route(False, "ollama", "llama-at-home"), AS_OF),
        (Route(False, "openai", HAIKU.model), AS_OF),
        (HAIKU, date(2020, 1, 1)),
    ],
    ids=["passed on", "another provider's", "before the first price"],
)
def test_what_has_no_price_costs_nothing_known_rather_than_nothing(route: Route, day: date) -> None:
    assert default_prices().price_of(route, day) is None
    assert prices.cost(route, Talk(1, 10, 10), day) is None


@given(talks, talks)
def test_costs_are_exact_and_add_up(one: Talk, other: Talk) -> None:
    def cost(talk: Talk) -> Decimal:
        found = prices.cost(HAIKU, talk, AS_OF)
        assert found is not None
        return found

    assert cost(one + other) == cost(one) + cost(other)
    assert cost(one) * 10_000_000 == 11 * one.input_tokens + 55 * one.output_tokens
