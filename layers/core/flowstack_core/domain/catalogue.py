"""The models on offer, read from one file the operator edits: ``models.json``.

A name a caller writes (a short name, a full Bedrock id, the id of an inference profile) resolves
to the id to call **from one region on one day**: a model that AWS has retired gives way to its
successor, and a model reached through a cross-region inference profile gets the profile of the
region's geography. See "Model lifecycle" and "Regional availability" in the Amazon Bedrock User
Guide.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_args

from flowstack_core.domain.errors import InvalidRequestError, ModelNotAvailableError
from flowstack_core.domain.providers import Provider

_FILE = Path(__file__).with_name("models.json")

PROVIDER = "bedrock"
"""The provider that serves every model of the catalogue."""

LifecycleState = Literal["active", "legacy", "retired"]

_GEOGRAPHIES = ("us-gov", "us", "eu", "jp", "au", "in", "apac", "ca", "global")
_PROFILE_ID = re.compile(rf"({'|'.join(_GEOGRAPHIES)})\.(?=[a-z0-9-]+\.)")
_WITHIN: Mapping[str, tuple[str, ...]] = MappingProxyType({"apac": ("jp", "au", "in", "apac")})
_PUBLISHER = re.compile(r"^(anthropic|amazon|meta|mistral|cohere|ai21)\.")
# In `claude-v2` and `claude-v2:1` the version is the name: without it both are `claude`.
_VERSION = re.compile(r"(?<!^claude)-v\d+(:\d+)?$")
_SEPARATORS = re.compile(r"[.:_\s-]+")
_MAX_NAME_LENGTH = 256

_PASSED_ON = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,255}")
_USUAL_WINDOW = 128_000
_USUAL_WINDOWS: Mapping[Provider, int] = MappingProxyType({Provider.ANTHROPIC: 200_000})


@dataclass(frozen=True, slots=True)
class Model:
    """One entry of ``models.json``.

    Attributes
    ----------
    id
        FlowStack's short name, the one answers carry.
    bedrock_model_id
        The foundation model's id at Amazon Bedrock.
    profiles
        Geographies that have a cross-region inference profile, such as ``us`` or ``global``.
    in_region
        Regions where the bare id answers on demand; ``*`` where no profile exists.
    context_window, max_output_tokens
        Upper bounds, in tokens.
    supports_temperature
        Whether the model takes a sampling temperature; Claude Opus 4.7 and later refuse one.
    state
        Its life-cycle state on the day the file was last checked.
    legacy_since, retired_on
        First day of the Legacy state, and the day from which AWS refuses calls.
    successor
        The model that answers in its place once it is retired.
    note
        What could not be established, or what an operator should know.
    """

    id: str
    bedrock_model_id: str
    profiles: tuple[str, ...]
    in_region: tuple[str, ...]
    aliases: tuple[str, ...]
    context_window: int
    max_output_tokens: int
    supports_system: bool
    supports_tools: bool
    supports_temperature: bool
    state: LifecycleState
    legacy_since: date | None
    retired_on: date | None
    successor: str | None
    note: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Everything a caller may call it: id, Bedrock id with and without its version, aliases."""
        unversioned = _VERSION.sub("", _PUBLISHER.sub("", self.bedrock_model_id))
        return (self.id, self.bedrock_model_id, unversioned, *self.aliases)

    def state_on(self, today: date) -> LifecycleState:
        """Return the life-cycle state on a day (UTC)."""
        if self.retired_on is None and self.state == "retired":
            return "retired"
        if self.retired_on is not None and today >= self.retired_on:
            return "retired"
        if self.legacy_since is not None:
            return "legacy" if today >= self.legacy_since else "active"
        return "active" if self.state == "retired" else self.state

    def invocation_id(self, region: str, geography: str | None = None) -> str | None:
        """Return the id to call from a region, or ``None`` where the model is not offered.

        Parameters
        ----------
        region
            The AWS region that the call is made from, such as ``eu-west-1``.
        geography
            Where the caller insists that the request is processed, as the prefix of an inference
            profile: ``eu`` never leaves the EU, ``apac`` may be narrowed to Japan.
            ``global`` asks for the global profile itself.

        Notes
        -----
        The smallest geography wins: the region itself, then its geography's profile, then the
        global one. From ``us-east-1`` an ``eu`` profile cannot be called at all.
        """
        place = self.place(region, geography)
        if place == region:
            return self.bedrock_model_id
        return None if place is None else f"{place}.{self.bedrock_model_id}"

    def place(self, region: str, geography: str | None = None) -> str | None:
        """Return where a call from a region is processed: the region itself, or a geography.

        ``None`` where the model is not offered. Parameters are those of `invocation_id`.
        """
        near = _geographies_of(region)
        allowed = near if geography is None else _WITHIN.get(geography, (geography,))
        if not {region, "*"}.isdisjoint(self.in_region) and near[0] in allowed:
            return region
        return next((each for each in near if each in allowed and each in self.profiles), None)


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """What a name means from one region on one day.

    Attributes
    ----------
    requested
        The name as the caller wrote it.
    model
        The short name of the model that will answer.
    provider_model_id
        What the provider calls it: at Bedrock a model id or an inference profile id.
    successor_of
        The retired model in whose place it answers, or ``None``.
    state
        Its life-cycle state on that day: ``active`` or ``legacy``.
    retired_on
        The day from which AWS will refuse it, where AWS has announced one.
    context_window, max_output_tokens
        Upper bounds, in tokens.
    """

    requested: str
    model: str
    provider: str
    provider_model_id: str
    successor_of: str | None
    state: LifecycleState
    retired_on: date | None
    context_window: int
    max_output_tokens: int
    supports_system: bool
    supports_tools: bool
    supports_temperature: bool

    def check_supports(
        self,
        *,
        system: bool,
        tools: bool,
        temperature: bool = False,
        max_tokens: int | None = None,
    ) -> None:
        """Refuse, before anything is counted, what the model cannot do.

        Raises
        ------
        InvalidRequestError
            The request has a system prompt, tools or a temperature and the model takes none, or
            asks for more output than the model gives.
        """
        if system and not self.supports_system:
            raise InvalidRequestError(
                f"{self.model} takes no system prompt.",
                details={
                    "field": "system",
                    "model": self.model,
                    "hint": "Put the instruction at the start of the first user message.",
                },
            )
        if tools and not self.supports_tools:
            raise InvalidRequestError(
                f"{self.model} cannot use tools.",
                details={
                    "field": "tools",
                    "model": self.model,
                    "hint": "Choose a model that can, such as claude-haiku-4-5 or nova-pro.",
                },
            )
        if temperature and not self.supports_temperature:
            raise InvalidRequestError(
                f"{self.model} takes no temperature.",
                details={
                    "field": "temperature",
                    "model": self.model,
                    "hint": "Leave temperature out, and say in the prompt how to answer.",
                },
            )
        if max_tokens is not None and max_tokens > self.max_output_tokens:
            raise InvalidRequestError(
                f"{self.model} answers with at most {self.max_output_tokens} tokens.",
                details={
                    "field": "max_tokens",
                    "model": self.model,
                    "maximum": self.max_output_tokens,
                },
            )


class Catalogue:
    """The models by every name they have.

    Parameters
    ----------
    models
        The entries; ids and names are unique regardless of case and separators.
    elsewhere
        Names of models that another provider serves, to say so in the refusal.

    Raises
    ------
    ValueError
        Two entries share a name.
    """

    def __init__(
        self, models: tuple[Model, ...], elsewhere: Mapping[str, str] | None = None
    ) -> None:
        self._models = {model.id: model for model in models}
        self._elsewhere = {_key(name): provider for name, provider in (elsewhere or {}).items()}
        self._by_key: dict[str, Model] = {}
        for model in models:
            for name in model.names:
                other = self._by_key.setdefault(_key(name), model)
                if other is not model:
                    raise ValueError(f"{name!r} names both {other.id} and {model.id}")

    def __iter__(self) -> Iterator[Model]:
        return iter(self._models.values())

    def __len__(self) -> int:
        return len(self._models)

    def model(self, model_id: str) -> Model | None:
        """Return the entry with this short name."""
        return self._models.get(model_id)

    def resolve(self, name: str, region: str, today: date) -> ResolvedModel:
        """Find the model to call from ``region`` on ``today``.

        Parameters
        ----------
        name
            A short name, an alias, a Bedrock model id or an inference profile id, in any case.
        region
            The AWS region that the call is made from.
        today
            The present day (UTC); decides which models are retired.

        Raises
        ------
        ModelNotAvailableError
            No such model, none left of a chain of successors, or none offered in the region.
            Details: ``model``, ``provider`` and the ``nearest`` names that are available.
        """
        written = name.strip()
        profile = _PROFILE_ID.match(written.lower())
        geography = profile.group(1) if profile else None
        asked = self._by_key.get(_key(written[profile.end() :] if profile else written))
        if asked is None:
            raise self._unknown(written, region, today)
        model = self._in_service(asked, today)
        if model is None:
            raise self._refusal(
                written, region, today, f"{asked.id} is retired and has no successor in service."
            )
        invocation_id = model.invocation_id(region, geography)
        if invocation_id is None:
            where = region if geography is None else f"{region} within the {geography!r} profile"
            raise self._refusal(
                written, region, today, f"{model.id} cannot be called from {where}."
            )
        return ResolvedModel(
            requested=name,
            model=model.id,
            provider=PROVIDER,
            provider_model_id=invocation_id,
            successor_of=None if model is asked else asked.id,
            state=model.state_on(today),
            retired_on=model.retired_on,
            context_window=model.context_window,
            max_output_tokens=model.max_output_tokens,
            supports_system=model.supports_system,
            supports_tools=model.supports_tools,
            supports_temperature=model.supports_temperature,
        )

    def resolve_own(self, name: str, provider: Provider, region: str, today: date) -> ResolvedModel:
        """Find the model that a customer calls with credentials of its own.

        Any well-formed name is passed on as it is: which models there are is between the customer
        and the provider. Limits are those of the catalogue where it knows the name, and otherwise
        what the provider's models of today have in common.

        Raises
        ------
        ModelNotAvailableError
            No provider gives a model such a name; or it is in the catalogue and Bedrock does not
            serve it there.
        """
        known = self._by_key.get(_key(_PROFILE_ID.sub("", name.strip().lower())))
        if provider.managed and known is not None:
            return self.resolve(name, region, today)
        if not _PASSED_ON.fullmatch(name):
            raise ModelNotAvailableError(
                f"{_shown(name)!r} cannot be the name of a model.",
                details={"model": _shown(name), "provider": provider.value, "field": "model"},
            )
        window = _USUAL_WINDOWS.get(provider, _USUAL_WINDOW)
        return ResolvedModel(
            requested=name,
            model=name,
            provider=provider.value,
            provider_model_id=name,
            successor_of=None,
            state="active",
            retired_on=None,
            context_window=window if known is None else known.context_window,
            max_output_tokens=window if known is None else known.max_output_tokens,
            supports_system=known is None or known.supports_system,
            supports_tools=known is None or known.supports_tools,
            supports_temperature=known is None or known.supports_temperature,
        )

    def available(self, region: str, today: date) -> tuple[Model, ...]:
        """Return the models that answer from a region on a day, in the file's order."""
        return tuple(
            model
            for model in self
            if model.state_on(today) != "retired" and model.invocation_id(region) is not None
        )

    def nearest(self, name: str, region: str, today: date, count: int = 3) -> list[str]:
        """Return the short names, available from the region, that are most like ``name``."""
        import difflib  # noqa: PLC0415 - for who mistypes a name

        available = {model.id: model for model in self.available(region, today)}
        wanted = _key(name)[:_MAX_NAME_LENGTH]
        spellings = {_key(name): model.id for model in available.values() for name in model.names}
        close = difflib.get_close_matches(wanted, spellings, n=len(spellings) or 1, cutoff=0.3)
        ranked = dict.fromkeys([*(spellings[spelling] for spelling in close), *available])
        return list(ranked)[:count]

    def _in_service(self, model: Model, today: date) -> Model | None:
        seen: set[str] = set()
        current: Model | None = model
        while current is not None and current.state_on(today) == "retired":
            if current.id in seen or current.successor is None:
                return None
            seen.add(current.id)
            current = self._models.get(current.successor)
        return current

    def _unknown(self, name: str, region: str, today: date) -> ModelNotAvailableError:
        shown = _shown(name)
        other = self._elsewhere.get(_key(name))
        if other is not None:
            return self._refusal(
                name,
                region,
                today,
                f"{shown} is not an Amazon Bedrock model.",
                hint=f"It is served by the provider {other!r}.",
            )
        return self._refusal(name, region, today, f"There is no model {shown!r} at {PROVIDER}.")

    def _refusal(
        self, name: str, region: str, today: date, message: str, hint: str | None = None
    ) -> ModelNotAvailableError:
        nearest = self.nearest(name, region, today)
        details: dict[str, Any] = {
            "model": _shown(name),
            "provider": PROVIDER,
            "region": region,
            "nearest": nearest,
        }
        if hint is not None:
            details["hint"] = hint
        elif nearest:
            details["hint"] = f"Available here: {', '.join(nearest)}."
        return ModelNotAvailableError(message, details=details)


@cache
def default_catalogue() -> Catalogue:
    """Return the catalogue of ``models.json``, read on first use."""
    document = json.loads(_FILE.read_text(encoding="utf-8"))
    return parse_catalogue(document)


def parse_catalogue(document: Mapping[str, Any]) -> Catalogue:
    """Build a catalogue from a document in the form of ``models.json``.

    Raises
    ------
    ValueError, TypeError
        An entry has a wrong field or date, a name is used twice, or a successor does not exist.
    """
    models = tuple(_parse_model(entry) for entry in document["models"])
    ids = {model.id for model in models}
    for model in models:
        if model.successor is not None and model.successor not in ids:
            raise ValueError(f"{model.id}: there is no successor {model.successor!r}")
    return Catalogue(models, document.get("elsewhere"))


def _parse_model(entry: Mapping[str, Any]) -> Model:
    fields = dict(entry)
    for name in ("profiles", "in_region", "aliases"):
        fields[name] = tuple(fields[name])
    for name in ("legacy_since", "retired_on"):
        fields[name] = date.fromisoformat(fields[name]) if fields[name] else None
    model = Model(**fields)
    if model.state not in get_args(LifecycleState):
        raise ValueError(f"{model.id}: there is no state {model.state!r}")
    if unknown := set(model.profiles) - set(_GEOGRAPHIES):
        raise ValueError(f"{model.id}: there is no geography {', '.join(sorted(unknown))}")
    return model


def _key(name: str) -> str:
    return _SEPARATORS.sub("-", name.strip().lower())


def _shown(name: str) -> str:
    """Return the name fit for a message: printable and not too long."""
    printable = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name)
    return printable if len(printable) <= 80 else f"{printable[:77]}..."


def _geographies_of(region: str) -> tuple[str, ...]:
    """Return the geographies whose profiles can be called from a region, the smallest first."""
    if region.startswith("us-gov-"):
        return ("us-gov",)
    own: tuple[str, ...] = ()
    if region.startswith("us-"):
        own = ("us",)
    elif region.startswith("ca-"):
        own = ("ca", "us")
    elif region.startswith("eu-"):
        own = ("eu",)
    elif region in {"ap-northeast-1", "ap-northeast-3"}:
        own = ("jp", "apac")
    elif region in {"ap-southeast-2", "ap-southeast-4", "ap-southeast-6"}:
        own = ("au", "apac")
    elif region.startswith("ap-south-"):
        own = ("in", "apac")
    elif region.startswith("ap-"):
        own = ("apac",)
    return (*own, "global")
