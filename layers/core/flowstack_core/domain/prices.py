"""What tokens cost where models run, read from one file the operator edits: ``prices.json``.

Prices are dated: a day is charged at the prices that held on it, whatever came later. They are
list prices, so what they add up to is what a provider's bill says before discounts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

from flowstack_core.domain.catalogue import PROVIDER as BEDROCK
from flowstack_core.domain.catalogue import default_catalogue
from flowstack_core.domain.rollups import Route, Talk

_FILE = Path(__file__).with_name("prices.json")

_AMOUNT = re.compile(r"\d{1,6}(\.\d{1,6})?")
_MILLION_DIGITS = 6


@dataclass(frozen=True, slots=True)
class Source:
    """Where a price was read, and on which day."""

    page: str
    url: str
    seen_as_of: date


@dataclass(frozen=True, slots=True)
class ModelPrice:
    """What a model costs from a day on.

    Attributes
    ----------
    input, output
        US dollars by the million tokens.
    since
        The first day on which the price holds.
    """

    provider: str
    model: str
    input: Decimal
    output: Decimal
    since: date
    source: Source

    def of(self, talk: Talk) -> Decimal:
        """Return what so many tokens cost, in dollars, to the last digit."""
        millionths = self.input * talk.input_tokens + self.output * talk.output_tokens
        return millionths.scaleb(-_MILLION_DIGITS)


@dataclass(frozen=True, slots=True)
class PriceLine:
    """One line of the file: a price, and what it is in other geographies and regions."""

    price: ModelPrice
    elsewhere: Mapping[str, ModelPrice]


class PriceList:
    """The prices of models by provider and name.

    Parameters
    ----------
    as_of
        The day on which the file was last looked through.
    prices
        The lines of each model, the oldest first.
    """

    def __init__(self, as_of: date, prices: Mapping[tuple[str, str], Sequence[PriceLine]]) -> None:
        self.as_of = as_of
        self._prices = prices

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> PriceList:
        """Build a list from a document in the form of ``prices.json``.

        Raises
        ------
        ValueError
            A price is no positive number written as a text, a source is unknown, a model is
            there twice, or its days are not in order.
        """
        sources = {
            name: Source(each["page"], each["url"], date.fromisoformat(each["seen_as_of"]))
            for name, each in document["sources"].items()
        }
        prices: dict[tuple[str, str], Sequence[PriceLine]] = {}
        for entry in document["models"]:
            key = (entry["provider"], entry["model"])
            if key in prices:
                raise ValueError(f"{'/'.join(key)} has two lists of prices")
            prices[key] = _in_order(key, [_dated(key, line, sources) for line in entry["prices"]])
        return cls(date.fromisoformat(document["as_of"]), prices)

    def __iter__(self) -> Iterator[ModelPrice]:
        for lines in self._prices.values():
            for line in lines:
                yield line.price
                yield from line.elsewhere.values()

    def price_of(self, route: Route, day: date, region: str | None = None) -> ModelPrice | None:
        """Return the price of a route on a day; ``None`` where the list has none.

        Parameters
        ----------
        region
            The AWS region that Bedrock is called from: with it, the price is that of the
            inference profile or region that the catalogue calls from there.
        """
        line = self.line_of(route, day)
        if line is None:
            return None
        place = _place(route, region)
        return line.price if place is None else line.elsewhere.get(place, line.price)

    def line_of(self, route: Route, day: date) -> PriceLine | None:
        """Return the line that held on a day; ``None`` where the list has none."""
        lines = self._prices.get((route.provider, route.model), ())
        held = [line for line in lines if line.price.since <= day]
        return held[-1] if held else None

    def cost(
        self, route: Route, talk: Talk, day: date, region: str | None = None
    ) -> Decimal | None:
        """Return what was said on a day cost, in dollars; ``None`` where there is no price."""
        price = self.price_of(route, day, region)
        return None if price is None else price.of(talk)


@cache
def default_prices() -> PriceList:
    """Return the list of ``prices.json``, read on first use."""
    return PriceList.parse(json.loads(_FILE.read_text(encoding="utf-8")))


def cost(route: Route, talk: Talk, day: date) -> Decimal | None:
    """Return what was said on a day cost by ``prices.json``; ``None`` where it has no price."""
    return default_prices().cost(route, talk, day)


def _place(route: Route, region: str | None) -> str | None:
    """Return the geography or region that the catalogue calls a model in."""
    model = default_catalogue().model(route.model) if route.provider == BEDROCK else None
    return None if model is None or region is None else model.place(region)


def _dated(
    key: tuple[str, str], line: Mapping[str, Any], sources: Mapping[str, Source]
) -> PriceLine:
    if line["source"] not in sources:
        raise ValueError(f"{'/'.join(key)}: there is no source {line['source']!r}")

    def price(amounts: Mapping[str, Any]) -> ModelPrice:
        return ModelPrice(
            *key,
            input=_dollars(key, amounts["input"]),
            output=_dollars(key, amounts["output"]),
            since=date.fromisoformat(line["from"]),
            source=sources[line["source"]],
        )

    elsewhere = line.get("elsewhere", {})
    return PriceLine(price(line), {place: price(each) for place, each in elsewhere.items()})


def _dollars(key: tuple[str, str], written: Any) -> Decimal:
    """Read an amount. A JSON number would have been a binary float on its way here."""
    sound = isinstance(written, str) and _AMOUNT.fullmatch(written) is not None
    amount = Decimal(written) if sound else Decimal(0)
    if amount == 0:
        raise ValueError(f"{'/'.join(key)}: {written!r} is no price; write it as a text")
    return amount


def _in_order(key: tuple[str, str], lines: Sequence[PriceLine]) -> Sequence[PriceLine]:
    days = [line.price.since for line in lines]
    if not days or days != sorted(set(days)):
        raise ValueError(f"{'/'.join(key)}: prices follow each other by day")
    return lines
