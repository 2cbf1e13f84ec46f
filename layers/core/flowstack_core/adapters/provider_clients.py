"""Every provider behind one port. What only some customers need is loaded when one needs it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import boto3

from flowstack_core.adapters import openai_wire
from flowstack_core.adapters.aws_calls import CustomerAccounts
from flowstack_core.adapters.bedrock import BedrockClients
from flowstack_core.adapters.egress import EgressPolicy, EgressRefusedError, parse_destination
from flowstack_core.adapters.model_failures import host_refused
from flowstack_core.domain.errors import CredentialsRequiredError, InvalidProviderError
from flowstack_core.domain.providers import Provider, ProviderCredentials
from flowstack_core.services.ports.models import ModelClient

if TYPE_CHECKING:
    import httpx2

_VENDORS: Mapping[Provider, str] = MappingProxyType(
    {
        Provider.OPENAI: "https://api.openai.com/v1",
        Provider.ANTHROPIC: "https://api.anthropic.com",
        Provider.COHERE: "https://api.cohere.ai/compatibility/v1",
        Provider.MISTRAL: "https://api.mistral.ai/v1",
        Provider.WRITER: "https://api.writer.com/v1",
    }
)
_DIALECTS: Mapping[Provider, openai_wire.Dialect] = MappingProxyType(
    {
        Provider.OPENAI: openai_wire.OPENAI,
        Provider.MISTRAL: openai_wire.MISTRAL,
        Provider.WRITER: openai_wire.WRITER,
    }
)
_USUAL_PATH = "/v1"


class ProviderClients:
    """Serves all providers: Bedrock also as the managed one, the others with own credentials only.

    Parameters
    ----------
    region
        Where the managed models are called, and those of credentials that name no region.
    policy
        Which hosts of customers are connected to.
    vendors_at
        Stands in for all vendors, each below a path of its name; on a local stage only.
    aws_endpoint_url
        Where AWS answers; ``None`` leaves it to botocore.
    operator_session
        Makes a session of the execution role, on first use.
    """

    def __init__(
        self,
        region: str,
        *,
        policy: EgressPolicy,
        vendors_at: str | None = None,
        aws_endpoint_url: str | None = None,
        operator_session: Callable[[], boto3.Session] = boto3.Session,
    ) -> None:
        self._policy = policy
        self._vendors_at = vendors_at
        self._accounts = CustomerAccounts(
            region, operator_session=operator_session, endpoint_url=aws_endpoint_url
        )
        self._bedrock = BedrockClients(
            region,
            accounts=self._accounts,
            endpoint_url=aws_endpoint_url,
            managed_session=operator_session,
        )

    def check(self, provider: Provider, credentials: ProviderCredentials | None) -> None:
        """Make sure, before anything is counted, that the provider can be asked.

        Raises
        ------
        CredentialsRequiredError
            There are none, and only Bedrock is managed (P4).
        InvalidProviderError
            The credentials are for another provider.
        InvalidRequestError
            They name a host that FlowStack does not connect to, whatever it resolves to.
        """
        if credentials is None:
            if not provider.managed:
                raise CredentialsRequiredError(
                    f"{provider.value} needs your own credentials.",
                    details={"provider": provider.value, "field": "byok_credentials"},
                )
            return
        if credentials.provider is not provider:
            raise InvalidProviderError(
                f"These are no credentials for {provider.value}.",
                details={"field": "provider", "provider": provider.value},
            )
        if "host" in credentials.values:
            self._check_host(provider, credentials.values["host"])

    def client(self, provider: Provider, credentials: ProviderCredentials | None) -> ModelClient:
        """Return a client that holds ``credentials`` and nothing else, or the managed one.

        Nothing but the absence of credentials leads to the operator's account.

        Raises
        ------
        FlowStackError
            As `check` does.
        """
        self.check(provider, credentials)
        if credentials is None:
            return self._bedrock.managed()
        if provider is Provider.BEDROCK:
            return self._bedrock.own(credentials)
        if provider is Provider.SAGEMAKER:
            return self._sagemaker(credentials)
        return self._over_http(credentials)

    def _check_host(self, provider: Provider, host: str) -> None:
        try:
            parse_destination(host, self._policy)
        except EgressRefusedError as refusal:
            raise host_refused(provider, str(refusal)) from None
        if "?" in host or "#" in host:
            raise host_refused(provider, "it must not have a query or a fragment")

    def _sagemaker(self, credentials: ProviderCredentials) -> ModelClient:
        from flowstack_core.adapters.sagemaker import SageMakerModelClient  # noqa: PLC0415

        return self._accounts.client_in_account(
            credentials, lambda own: SageMakerModelClient(own, self._accounts)
        )

    def _over_http(self, credentials: ProviderCredentials) -> ModelClient:
        base_url = self._base_url(credentials)
        if credentials.provider is Provider.ANTHROPIC:
            from flowstack_core.adapters.anthropic_client import (  # noqa: PLC0415
                AnthropicModelClient,
            )

            return AnthropicModelClient(credentials, base_url, self._open_http)
        from flowstack_core.adapters.openai_client import OpenAIModelClient  # noqa: PLC0415

        dialect = _DIALECTS.get(credentials.provider, openai_wire.COMPATIBLE)
        return OpenAIModelClient(credentials, base_url, dialect, self._open_http)

    def _base_url(self, credentials: ProviderCredentials) -> str:
        host = credentials.values.get("host")
        if host is not None:
            bare = host.rstrip("/")
            return bare if urlsplit(bare).path else f"{bare}{_USUAL_PATH}"
        if self._vendors_at is not None:
            return f"{self._vendors_at}/{credentials.provider.value}"
        return _VENDORS[credentials.provider]

    def _open_http(self, seconds: float) -> httpx2.Client:
        from flowstack_core.adapters.egress_transport import guarded_client  # noqa: PLC0415

        return guarded_client(self._policy, seconds)
