"""The providers of models, and the credentials each needs."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from flowstack.exceptions import CredentialsRequiredError, InvalidProviderError


class Providers:
    """Names of providers. Only Bedrock is also managed: without a key of your own."""

    BEDROCK = "bedrock"
    OPENAI = "openai"
    ANTHROPIC = "anthropic"
    COHERE = "cohere"
    MISTRAL = "mistral"
    OLLAMA = "ollama"
    SAGEMAKER = "sagemaker"
    WRITER = "writer"
    LITELLM = "litellm"

    @classmethod
    def get_all_providers(cls) -> list[str]:
        """Return all names."""
        return list(REQUIRED_CREDENTIALS)

    @classmethod
    def get_managed_providers(cls) -> list[str]:
        """Return those that can be used without a key of your own."""
        return [cls.BEDROCK]

    @classmethod
    def get_byok_only_providers(cls) -> list[str]:
        """Return those that need your own key."""
        return [name for name in REQUIRED_CREDENTIALS if name != cls.BEDROCK]

    @classmethod
    def supports_managed_billing(cls, provider: str) -> bool:
        """Tell whether a provider can be used without a key of your own."""
        return provider in cls.get_managed_providers()

    @classmethod
    def requires_byok(cls, provider: str) -> bool:
        """Tell whether a provider needs your own key."""
        return provider in cls.get_byok_only_providers()


_API_KEY = (("api_key",),)
_ROLE = ("role_arn", "external_id")

REQUIRED_CREDENTIALS: Mapping[str, tuple[tuple[str, ...], ...]] = MappingProxyType(
    {
        Providers.BEDROCK: (("aws_access_key", "aws_secret_key"), _ROLE),
        Providers.OPENAI: _API_KEY,
        Providers.ANTHROPIC: _API_KEY,
        Providers.COHERE: _API_KEY,
        Providers.MISTRAL: _API_KEY,
        Providers.OLLAMA: (("host",),),
        Providers.SAGEMAKER: (
            ("endpoint_name", "region", "aws_access_key", "aws_secret_key"),
            ("endpoint_name", "region", *_ROLE),
        ),
        Providers.WRITER: _API_KEY,
        Providers.LITELLM: (("api_key", "host"),),
    }
)
"""What each provider cannot be reached without: one way or another, the usual one first."""


def check_provider(provider: str, byok: Mapping[str, str] | None) -> None:
    """Refuse a provider that there is not, and credentials that are incomplete.

    No credentials at all are fine: they may be stored at FlowStack, which decides.

    Raises
    ------
    InvalidProviderError
        There is no such provider.
    CredentialsRequiredError
        Some fields are missing; no message holds a value.
    """
    if provider not in REQUIRED_CREDENTIALS:
        raise InvalidProviderError(
            f"There is no provider {provider!r}.",
            details={"provider": provider, "providers": list(REQUIRED_CREDENTIALS)},
        )
    missing = _missing(provider, byok) if byok else []
    if missing:
        raise CredentialsRequiredError(
            f"Your own credentials for {provider} lack {', '.join(missing)}.",
            details={"provider": provider, "missing": missing},
        )


def _missing(provider: str, byok: Mapping[str, str]) -> list[str]:
    """Return what is missing for the way that the credentials come nearest to."""
    ways = REQUIRED_CREDENTIALS[provider]
    way = max(ways, key=lambda fields: len(byok.keys() & fields))
    return [name for name in way if not byok.get(name)]
