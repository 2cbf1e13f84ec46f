"""Providers of models, and which of them need the customer's own credentials (P4)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from flowstack_core.domain.errors import (
    CredentialsRequiredError,
    InvalidProviderError,
    InvalidRequestError,
)

_MAX_CREDENTIAL_LENGTH = 4_096
_AWS_REGION = re.compile(r"[a-z]{2,3}(-[a-z]{2,12}){1,3}-[0-9]{1,2}")


class Provider(StrEnum):
    """Who serves models. Only Bedrock is also *managed*: on the operator's account."""

    BEDROCK = "bedrock"
    OPENAI = "openai"
    ANTHROPIC = "anthropic"
    COHERE = "cohere"
    MISTRAL = "mistral"
    OLLAMA = "ollama"
    SAGEMAKER = "sagemaker"
    WRITER = "writer"
    LITELLM = "litellm"

    @property
    def managed(self) -> bool:
        """Whether it can be used without credentials of one's own."""
        return self is Provider.BEDROCK


REQUIRED_CREDENTIALS: Mapping[Provider, tuple[str, ...]] = MappingProxyType(
    {
        Provider.BEDROCK: ("aws_access_key", "aws_secret_key"),
        Provider.OPENAI: ("api_key",),
        Provider.ANTHROPIC: ("api_key",),
        Provider.COHERE: ("api_key",),
        Provider.MISTRAL: ("api_key",),
        Provider.OLLAMA: ("host",),
        Provider.SAGEMAKER: ("endpoint_name", "region"),
        Provider.WRITER: ("api_key",),
        Provider.LITELLM: ("api_key", "host"),
    }
)
"""What each provider cannot be reached without."""

_OPTIONAL_CREDENTIALS: Mapping[Provider, tuple[str, ...]] = MappingProxyType(
    {Provider.BEDROCK: ("aws_session_token", "region")}
)


@dataclass(frozen=True, slots=True)
class ProviderCredentials:
    """The customer's own credentials at a provider. Its values are never printed."""

    provider: Provider
    values: Mapping[str, str] = field(repr=False)

    def __str__(self) -> str:
        return f"ProviderCredentials({self.provider.value})"


def parse_provider(name: str) -> Provider:
    """Read a provider's name.

    Raises
    ------
    InvalidProviderError
        There is no such provider; details list those there are.
    """
    try:
        return Provider(name.strip().lower())
    except ValueError:
        shown = name if name.isprintable() and len(name) <= 80 else "that"
        raise InvalidProviderError(
            f"There is no provider {shown!r}.",
            details={"field": "provider", "providers": [provider.value for provider in Provider]},
        ) from None


def parse_credentials(
    provider: Provider, values: Mapping[str, str] | None, *, named: str = "byok_credentials"
) -> ProviderCredentials | None:
    """Check the form of a request's own credentials; ``None`` means the managed provider.

    Parameters
    ----------
    named
        The field of the request that holds them.

    Raises
    ------
    CredentialsRequiredError
        The provider is used with the customer's own key only, and there is none (P4), or a field
        is missing.
    InvalidRequestError
        A field is unknown, empty, too long or no region. No message holds a value.
    """
    if not values:
        if provider.managed:
            return None
        raise credentials_required(provider, named=named)
    missing = [name for name in REQUIRED_CREDENTIALS[provider] if not values.get(name)]
    if missing:
        raise credentials_required(provider, missing, named=named)
    allowed = {*REQUIRED_CREDENTIALS[provider], *_OPTIONAL_CREDENTIALS.get(provider, ())}
    unknown = sorted(set(values) - allowed)
    if unknown:
        raise InvalidRequestError(
            f"{named} for {provider.value} has fields it does not take.",
            details={"field": named, "allowed": sorted(allowed)},
        )
    for name, value in values.items():
        printable = value.isascii() and value.isprintable()
        if not value or len(value) > _MAX_CREDENTIAL_LENGTH or not printable:
            raise InvalidRequestError(
                f"{named}.{name} must be 1 to {_MAX_CREDENTIAL_LENGTH} printable ASCII characters.",
                details={"field": f"{named}.{name}"},
            )
    _check_region(values.get("region"), named)
    return ProviderCredentials(provider, MappingProxyType(dict(values)))


def credentials_required(
    provider: Provider, missing: Sequence[str] | None = None, *, named: str = "byok_credentials"
) -> CredentialsRequiredError:
    """Return the refusal of a request that lacks own credentials, or some of their fields (P4)."""
    fields = list(REQUIRED_CREDENTIALS[provider] if missing is None else missing)
    return CredentialsRequiredError(
        f"{provider.value} needs your own credentials. Missing: {', '.join(fields)}.",
        details={
            "provider": provider.value,
            "field": named,
            "missing": fields,
            "hint": "Send them as byok_credentials, or store them with POST /api/byok-credentials.",
        },
    )


def _check_region(region: str | None, named: str) -> None:
    """Make sure that it looks like an AWS region: it becomes part of a host name."""
    if region is not None and not _AWS_REGION.fullmatch(region):
        raise InvalidRequestError(
            f"{named}.region must be the name of an AWS region, such as us-east-1.",
            details={"field": f"{named}.region"},
        )
