"""Amazon SageMaker endpoints in the customer's account, whose containers speak as OpenAI does.

The containers of Hugging Face TGI and of DJL with LMI take OpenAI's messages, and answer in kind.
"""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from flowstack_core.adapters.aws_calls import (
    CustomerAccounts,
    aws_errors_as,
    whole_read_timeout,
)
from flowstack_core.adapters.model_failures import ModelFailures
from flowstack_core.adapters.openai_wire import COMPATIBLE, completion_body, read_completion
from flowstack_core.domain.messages import ModelAnswer, ModelRequest
from flowstack_core.domain.providers import ProviderCredentials

_JSON = "application/json"


@dataclass(frozen=True, slots=True)
class SageMakerModelClient:
    """One endpoint. It has one model, so that the model's name decides nothing."""

    credentials: ProviderCredentials
    accounts: CustomerAccounts

    def converse(self, request: ModelRequest) -> ModelAnswer:
        """Answer the messages, or say why there is no answer."""
        failures = ModelFailures.of(self.credentials, request.model.model)
        with aws_errors_as(failures), self._open(request.timeout_seconds) as runtime:
            response = runtime.invoke_endpoint(
                EndpointName=self.credentials.values["endpoint_name"],
                ContentType=_JSON,
                Accept=_JSON,
                Body=json.dumps(completion_body(request, COMPATIBLE)).encode(),
            )
            body = response["Body"].read()
        try:
            document = json.loads(body)
        except (ValueError, RecursionError):
            raise failures.malformed() from None
        return read_completion(document, failures)

    def _open(self, timeout_seconds: float) -> AbstractContextManager[Any]:
        return self.accounts.open_client(
            "sagemaker-runtime", self.credentials.values, whole_read_timeout(timeout_seconds)
        )
