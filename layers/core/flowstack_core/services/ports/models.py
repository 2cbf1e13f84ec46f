"""Models, wherever they run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from flowstack_core.domain.messages import ModelAnswer, ModelRequest
    from flowstack_core.domain.providers import Provider, ProviderCredentials


class ModelClient(Protocol):
    """A provider's models."""

    def converse(self, request: ModelRequest) -> ModelAnswer:
        """Answer the messages.

        Raises
        ------
        ModelError
            Or another `FlowStackError` that says why there is no answer.
        """
        ...


class ModelClients(Protocol):
    """The providers that can be asked."""

    def check(self, provider: Provider, credentials: ProviderCredentials | None) -> None:
        """Make sure, before anything is counted, that the provider can be asked.

        Raises
        ------
        InvalidProviderError
            The provider is not served.
        InvalidRequestError
            The credentials name a host that is never asked.
        """
        ...

    def client(self, provider: Provider, credentials: ProviderCredentials | None) -> ModelClient:
        """Return a client; without ``credentials`` for the managed provider."""
        ...
