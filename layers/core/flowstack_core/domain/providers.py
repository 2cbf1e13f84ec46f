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

_FORMS: Mapping[str, tuple[re.Pattern[str], str]] = MappingProxyType(
    {
        # It becomes part of a host name.
        "region": (
            re.compile(r"[a-z]{2,3}(-[a-z]{2,12}){1,3}-[0-9]{1,2}"),
            "the name of an AWS region, such as us-east-1",
        ),
        "endpoint_name": (
            re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}"),
            "the name of a SageMaker endpoint",
        ),
        # The roles of the functions that answer messages may assume roles of this name only.
        "role_arn": (
            re.compile(r"arn:aws(-[a-z]+)*:iam::[0-9]{12}:role/flowstack-byok-[\w+=,.@-]{1,48}"),
            "the ARN of an IAM role whose name begins with flowstack-byok-",
        ),
    }
)
"""The form of fields that are more than passed on, and what to call it."""


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


@dataclass(frozen=True, slots=True)
class Way:
    """One way to prove oneself to a provider: the fields it takes.

    Attributes
    ----------
    required
        What the provider cannot be reached without.
    optional
        What may come along.
    """

    required: tuple[str, ...]
    optional: tuple[str, ...] = ()

    @property
    def fields(self) -> frozenset[str]:
        """Everything it takes."""
        return frozenset((*self.required, *self.optional))


_API_KEY = (Way(("api_key",)),)

WAYS: Mapping[Provider, tuple[Way, ...]] = MappingProxyType(
    {
        Provider.BEDROCK: (
            Way(("aws_access_key", "aws_secret_key"), ("aws_session_token", "region")),
            Way(("role_arn", "external_id"), ("region",)),
        ),
        Provider.OPENAI: _API_KEY,
        Provider.ANTHROPIC: _API_KEY,
        Provider.COHERE: _API_KEY,
        Provider.MISTRAL: _API_KEY,
        Provider.OLLAMA: (Way(("host",), ("api_key",)),),
        # Never without credentials of the customer's: the operator's role has endpoints too.
        Provider.SAGEMAKER: (
            Way(
                ("endpoint_name", "region", "aws_access_key", "aws_secret_key"),
                ("aws_session_token",),
            ),
            Way(("endpoint_name", "region", "role_arn", "external_id")),
        ),
        Provider.WRITER: _API_KEY,
        Provider.LITELLM: (Way(("api_key", "host")),),
    }
)
"""How each provider can be reached with credentials of one's own, the usual way first."""

PUBLIC_FIELDS = frozenset({"region", "endpoint_name", "host", "role_arn", "external_id"})
"""Credentials' fields that are no secrets: names and addresses."""


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
        A field is unknown, empty, too long or malformed. No message holds a value.
    """
    if not values:
        if provider.managed:
            return None
        raise credentials_required(provider, named=named)
    way = max(WAYS[provider], key=lambda each: len(each.fields & values.keys()))
    missing = [name for name in way.required if not values.get(name)]
    if missing:
        raise credentials_required(provider, missing, named=named)
    if not values.keys() <= way.fields:
        raise InvalidRequestError(
            f"{named} for {provider.value} has fields it does not take.",
            details={"field": named, "allowed": sorted(way.fields)},
        )
    for name, value in values.items():
        printable = value.isascii() and value.isprintable()
        if not value or len(value) > _MAX_CREDENTIAL_LENGTH or not printable:
            raise InvalidRequestError(
                f"{named}.{name} must be 1 to {_MAX_CREDENTIAL_LENGTH} printable ASCII characters.",
                details={"field": f"{named}.{name}"},
            )
    for name, (form, meaning) in _FORMS.items():
        if name in values and not form.fullmatch(values[name]):
            raise InvalidRequestError(
                f"{named}.{name} must be {meaning}.",
                details={"field": f"{named}.{name}"},
            )
    return ProviderCredentials(provider, MappingProxyType(dict(values)))


def credentials_required(
    provider: Provider, missing: Sequence[str] | None = None, *, named: str = "byok_credentials"
) -> CredentialsRequiredError:
    """Return the refusal of a request that lacks own credentials, or some of their fields (P4)."""
    fields = list(WAYS[provider][0].required if missing is None else missing)
    return CredentialsRequiredError(
        f"{provider.value} needs your own credentials. Missing: {', '.join(fields)}.",
        details={
            "provider": provider.value,
            "field": named,
            "missing": fields,
            "hint": "Send them as byok_credentials, or store them with POST /api/byok-credentials.",
        },
    )


def external_id_of(customer_id: str) -> str:
    """Return the external id with which FlowStack assumes a customer's roles, and no other's.

    A role is named by its ARN, which others may learn. What keeps another customer from having
    FlowStack assume it is that the role's trust policy demands this id, and that FlowStack sends
    it for this customer only (the "confused deputy" of the IAM User Guide).
    """
    return f"flowstack:{customer_id}"


def check_external_id(
    credentials: ProviderCredentials | None, customer_id: str, *, named: str = "byok_credentials"
) -> None:
    """Make sure that a role is assumed with the external id of the customer who asks.

    Parameters
    ----------
    named
        The field of the request that holds the credentials.

    Raises
    ------
    InvalidRequestError
        The credentials name another external id; details tell the customer's own.
    """
    if credentials is None or "external_id" not in credentials.values:
        return
    own = external_id_of(customer_id)
    if credentials.values["external_id"] != own:
        raise InvalidRequestError(
            f"{named}.external_id must be the one FlowStack gave you.",
            details={
                "field": f"{named}.external_id",
                "external_id": own,
                "hint": "Demand this external id in the trust policy of your role.",
            },
        )
