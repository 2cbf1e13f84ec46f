"""OpenAI, and who is compatible with it, through OpenAI's official client; see decision 13.

The client is loaded with this module, which takes some tenths of a second: it is imported when the
first customer needs it. A client lives for one call: it holds a customer's key, and what it may do,
it may do until the request's time is over. It is told everything it would otherwise look for in the
environment, where the operator's own keys might be.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import httpx2
import openai

from flowstack_core.adapters.http_failures import (
    FILTERED_ANSWER,
    ContentFilteredError,
    client_errors_as,
)
from flowstack_core.adapters.model_failures import ModelFailures
from flowstack_core.adapters.openai_wire import Dialect, completion_body, read_completion
from flowstack_core.domain.messages import ModelAnswer, ModelRequest
from flowstack_core.domain.providers import ProviderCredentials

_NO_KEY = "none"
"""What a server that wants no key is sent in its place: the client insists on one."""


@dataclass(frozen=True, slots=True)
class OpenAIModelClient:
    """A provider, or a server of the customer's, that speaks as OpenAI does.

    Attributes
    ----------
    open_http
        Opens an HTTP client for one exchange, which must be over in so many seconds.
    """

    credentials: ProviderCredentials
    base_url: str
    dialect: Dialect
    open_http: Callable[[float], httpx2.Client]

    def converse(self, request: ModelRequest) -> ModelAnswer:
        """Answer the messages, or say why there is no answer."""
        failures = ModelFailures.of(self.credentials, request.model.model)
        try:
            with (
                client_errors_as(failures, openai),
                self.open_http(request.timeout_seconds) as http,
            ):
                client = openai.OpenAI(
                    api_key=self.credentials.values.get("api_key", _NO_KEY),
                    base_url=self.base_url,
                    max_retries=0,
                    timeout=request.timeout_seconds,
                    http_client=http,
                )
                # Taken from the environment where they are not given, and then the operator's.
                client.organization = client.project = client.admin_api_key = None
                document = client.post(
                    self.dialect.path,
                    cast_to=object,
                    body=completion_body(request, self.dialect),
                )
        except ContentFilteredError:
            return FILTERED_ANSWER
        return read_completion(document, failures)
