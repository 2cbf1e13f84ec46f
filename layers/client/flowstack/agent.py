"""The agent: talks to a model through FlowStack, runs tools, knows what it has used."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Self, Unpack

import httpx

from flowstack.agent_state import AgentSettings, AgentState, Messages
from flowstack.billing import BillingManager
from flowstack.documents import Answer, StoredCredential, TierInfo, UsageStats
from flowstack.exceptions import FlowStackError
from flowstack.exchange import Exchange, MessageOptions
from flowstack.models import Models
from flowstack.providers import Providers
from flowstack.transport import Client
from flowstack.vault import Vault
from flowstack.webhooks import WebhookManager


class Agent(AgentState):
    """An agent of yours.

    Parameters
    ----------
    name
        What you call it. Conversations of one name belong together.
    api_key
        Your FlowStack key, ``fs_…``; ``FLOWSTACK_API_KEY`` where it is not given.
    provider, model
        Who answers. Bedrock is managed; other providers need your own key.
    byok
        Your own credentials at the provider; sent with each message, never stored by that.
    base_url
        Where FlowStack answers, stage included; ``FLOWSTACK_API_URL`` where it is not given.
    http_client
        A client of your own, to share connections or to decide on proxies and certificates.
    settings
        See `AgentSettings`.

    Examples
    --------
    >>> agent = Agent("analyst")  # doctest: +SKIP
    >>> agent.chat("What is a box plot?")  # doctest: +SKIP
    """

    def __init__(
        self,
        name: str,
        api_key: str | None = None,
        provider: str = Providers.BEDROCK,
        model: str = Models.DEFAULT,
        byok: Mapping[str, str] | None = None,
        base_url: str | None = None,
        *,
        http_client: httpx.Client | None = None,
        **settings: Unpack[AgentSettings],
    ) -> None:
        super().__init__(name, api_key, provider, model, byok, base_url, settings)
        self._client = Client(self._endpoint, http=http_client, **self._sending)
        self.billing = BillingManager(client=self._client)
        self.vault = Vault(self._client)
        self.webhooks = WebhookManager(self._client)

    def chat(self, message: str, **options: Unpack[MessageOptions]) -> str:
        """Send a message of the conversation that FlowStack keeps; return the answer's text.

        Tools that the model asks for are run on the way.

        Raises
        ------
        QuotaExceededError
            The message would start a session, and none is left.
        ToolRoundsExceededError
            The model kept asking for tools.
        FlowStackError
            Anything else went wrong; its subclasses say what.
        """
        return self.send(message, **options).content

    def send(self, message: str, **options: Unpack[MessageOptions]) -> Answer:
        """Do what `chat` does, and return all of the answer."""
        return self._finish(self._chat_exchange(message, options), options)

    def invoke(
        self, message: Messages, *, run_tools: bool = True, **options: Unpack[MessageOptions]
    ) -> Answer:
        """Send a conversation that you keep; return all of the answer.

        Parameters
        ----------
        message
            A text, or all messages so far: ``[{"role": "user", "content": "…"}, …]``.
        run_tools
            Whether to run the tools that the model asks for; otherwise they are in
            ``answer.tool_calls``.
        """
        exchange = self._invoke_exchange(message, options, runs_tools=run_tools)
        return self._finish(exchange, options)

    def _finish(self, exchange: Exchange, options: MessageOptions) -> Answer:
        while True:
            try:
                answer = self._client.run(exchange.operation())
            except FlowStackError as error:
                if exchange.recovers(error):
                    continue
                raise
            calls = exchange.calls(answer)
            if not calls:
                return answer
            with self._running_tools(options):
                exchange.give(answer, [self._toolbox.run(call) for call in calls])

    def get_usage(self) -> UsageStats:
        """Return how many sessions are used and left."""
        return self.billing.usage()

    def get_tier_info(self) -> TierInfo:
        """Return what the subscription includes."""
        return self.billing.tier_info()

    def store_byok_credentials(self, provider: str, credentials: Mapping[str, str]) -> bool:
        """Store your own credentials at a provider, encrypted; they never come back."""
        return self.billing.store_byok_credentials(provider, credentials)

    def list_byok_credentials(self) -> list[StoredCredential]:
        """Return for which providers credentials are stored, masked."""
        return self.billing.list_byok_credentials()

    def delete_byok_credentials(self, provider: str) -> bool:
        """Forget the credentials at a provider; tell whether there were any."""
        return self.billing.delete_byok_credentials(provider)

    def close(self) -> None:
        """Close the connections, unless the HTTP client is yours."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def create_agent(
    name: str,
    api_key: str | None = None,
    provider: str = Providers.BEDROCK,
    model: str = Models.DEFAULT,
    byok: Mapping[str, str] | None = None,
    base_url: str | None = None,
    **settings: Unpack[AgentSettings],
) -> Agent:
    """Return an `Agent` with these parameters."""
    return Agent(name, api_key, provider, model, byok, base_url, **settings)
