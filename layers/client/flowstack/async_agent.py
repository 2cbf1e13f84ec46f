"""The agent for coroutines."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import TracebackType
from typing import Self, Unpack

import httpx

from flowstack.agent_state import AgentSettings, AgentState, Messages
from flowstack.billing import AsyncBillingManager
from flowstack.documents import Answer, StoredCredential, TierInfo, UsageStats
from flowstack.exceptions import FlowStackError
from flowstack.exchange import Exchange, MessageOptions
from flowstack.models import Models
from flowstack.providers import Providers
from flowstack.transport import AsyncClient
from flowstack.vault import AsyncVault
from flowstack.webhooks import AsyncWebhookManager


class AsyncAgent(AgentState):
    """`Agent` for coroutines: the same surface, awaited.

    Tools that a model asks for together run side by side; plain functions run in threads.
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
        http_client: httpx.AsyncClient | None = None,
        **settings: Unpack[AgentSettings],
    ) -> None:
        super().__init__(name, api_key, provider, model, byok, base_url, settings)
        self._client = AsyncClient(self._endpoint, http=http_client, **self._sending)
        self.billing = AsyncBillingManager(self._client)
        self.vault = AsyncVault(self._client)
        self.webhooks = AsyncWebhookManager(self._client)

    async def chat(self, message: str, **options: Unpack[MessageOptions]) -> str:
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
        return (await self.send(message, **options)).content

    async def send(self, message: str, **options: Unpack[MessageOptions]) -> Answer:
        """Do what `chat` does, and return all of the answer."""
        return await self._finish(self._chat_exchange(message, options), options)

    async def invoke(
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
        return await self._finish(exchange, options)

    async def _finish(self, exchange: Exchange, options: MessageOptions) -> Answer:
        while True:
            try:
                answer = await self._client.run(exchange.operation())
            except FlowStackError as error:
                if exchange.recovers(error):
                    continue
                raise
            calls = exchange.calls(answer)
            if not calls:
                return answer
            with self._running_tools(options):
                running = (self._toolbox.run_async(call) for call in calls)
                exchange.give(answer, await asyncio.gather(*running))

    async def get_usage(self) -> UsageStats:
        """Return how many sessions are used and left."""
        return await self.billing.usage()

    async def get_tier_info(self) -> TierInfo:
        """Return what the subscription includes."""
        return await self.billing.tier_info()

    async def store_byok_credentials(self, provider: str, credentials: Mapping[str, str]) -> bool:
        """Store your own credentials at a provider, encrypted; they never come back."""
        return await self.billing.store_byok_credentials(provider, credentials)

    async def list_byok_credentials(self) -> list[StoredCredential]:
        """Return for which providers credentials are stored, masked."""
        return await self.billing.list_byok_credentials()

    async def delete_byok_credentials(self, provider: str) -> bool:
        """Forget the credentials at a provider; tell whether there were any."""
        return await self.billing.delete_byok_credentials(provider)

    async def close(self) -> None:
        """Close the connections, unless the HTTP client is yours."""
        await self._client.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()
