"""Anthropic, through its official client; loaded and used as OpenAI's, see `openai_client`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import anthropic
import httpx2

from flowstack_core.adapters.anthropic_wire import message_body, read_message
from flowstack_core.adapters.http_failures import (
    FILTERED_ANSWER,
    ContentFilteredError,
    client_errors_as,
)
from flowstack_core.adapters.model_failures import ModelFailures
from flowstack_core.domain.messages import ModelAnswer, ModelRequest
from flowstack_core.domain.providers import ProviderCredentials

_MESSAGES_PATH = "/v1/messages"


@dataclass(frozen=True, slots=True)
class AnthropicModelClient:
    """Anthropic.

    Attributes
    ----------
    open_http
        Opens an HTTP client for one exchange, which must be over in so many seconds.
    """

    credentials: ProviderCredentials
    base_url: str
    open_http: Callable[[float], httpx2.Client]

    def converse(self, request: ModelRequest) -> ModelAnswer:
        """Answer the messages, or say why there is no answer."""
        failures = ModelFailures.of(self.credentials, request.model.model)
        try:
            with (
                client_errors_as(failures, anthropic),
                self.open_http(request.timeout_seconds) as http,
            ):
                client = anthropic.Anthropic(
                    api_key=self.credentials.values["api_key"],
                    base_url=self.base_url,
                    max_retries=0,
                    timeout=request.timeout_seconds,
                    http_client=http,
                    # A customer's conversations belong in nobody's traces.
                    open_telemetry=False,
                )
                document = client.post(_MESSAGES_PATH, cast_to=object, body=message_body(request))
        except ContentFilteredError:
            return FILTERED_ANSWER
        return read_message(document, failures)
