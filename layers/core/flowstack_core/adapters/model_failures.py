"""What went wrong at a provider of models, in the caller's terms: one mapping for all of them.

What a provider writes in an error may echo what it was sent. Refused credentials are therefore
reported without the provider's text, and any other text is shortened and stripped of account
numbers, ARNs, keys and the values of the customer's credentials.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from flowstack_core.domain.errors import (
    ContextLengthExceededError,
    FlowStackError,
    InvalidRequestError,
    ModelError,
    ModelNotAvailableError,
    ModelRequestRejectedError,
    ModelTimeoutError,
    ModelUnavailableError,
    ProviderCredentialsRejectedError,
    ProviderRateLimitedError,
)
from flowstack_core.domain.providers import PUBLIC_FIELDS, Provider, ProviderCredentials

BUSY_RETRY_SECONDS = 5
QUOTA_RETRY_SECONDS = 60
_LONGEST_RETRY_SECONDS = 3_600

_TITLES: Mapping[Provider, str] = MappingProxyType(
    {
        Provider.BEDROCK: "Amazon Bedrock",
        Provider.OPENAI: "OpenAI",
        Provider.ANTHROPIC: "Anthropic",
        Provider.COHERE: "Cohere",
        Provider.MISTRAL: "Mistral",
        Provider.OLLAMA: "your Ollama server",
        Provider.SAGEMAKER: "Amazon SageMaker",
        Provider.WRITER: "Writer",
        Provider.LITELLM: "your OpenAI-compatible server",
    }
)

_OWN_SERVER = "your "

_TOO_LONG = re.compile(
    r"(input|prompt) is too long|too many (input )?tokens|input tokens exceed|"
    r"context[ _](length|window|limit)|exceeds? (the )?maximum (input|length)|maximum context|"
    r"too large for model",
    re.IGNORECASE,
)
_UNKNOWN_MODEL = re.compile(
    r"model identifier is invalid|on-demand throughput isn.t supported|"
    r"model version has reached the end of its life|invalid[ _]model|model[ _]not[ _]found|"
    r"(model|endpoint) .{1,260} (not found|does not exist)",
    re.IGNORECASE,
)
_PRIVATE = re.compile(
    r"arn:aws[^\s,;]*|\b\d{12}\b|\bA[KS]IA[A-Z0-9]{12,}\b|\bsk-[\w*-]{4,}|\bBearer\s+\S+"
)
_WITHHELD = "[withheld]"
_LONGEST_TEXT = 300

_CREDENTIALS_REFUSED = frozenset({401, 402, 403})
_TIMED_OUT = frozenset({408, 504})
_TOO_LARGE = 413


@dataclass(frozen=True, slots=True)
class ModelFailures:
    """The errors of one call.

    Attributes
    ----------
    provider
        Who was asked.
    model
        FlowStack's name of the model.
    own
        Whether the customer's own credentials were used, or else the operator's account.
    secrets
        The values of the customer's credentials.
    """

    provider: Provider
    model: str
    own: bool = False
    secrets: tuple[str, ...] = field(default=(), repr=False)

    @classmethod
    def of(cls, credentials: ProviderCredentials, model: str) -> ModelFailures:
        """Return the errors of a call with a customer's own credentials."""
        secrets = [value for name, value in credentials.values.items() if name not in PUBLIC_FIELDS]
        # The longest first: one secret may be a part of another.
        secrets.sort(key=len, reverse=True)
        return cls(credentials.provider, model, own=True, secrets=tuple(secrets))

    @property
    def title(self) -> str:
        """What the provider is called in a sentence."""
        return _TITLES[self.provider]

    # --- which of them it is ----------------------------------------------------------------

    def of_status(
        self, status: int, text: str, *, retry_after_seconds: int | None = None
    ) -> FlowStackError:
        """Return the error of an HTTP status and of what the provider wrote with it."""
        if status == _TOO_LARGE or (status < 500 and _TOO_LONG.search(text)):
            return self.too_long(text)
        if status in _CREDENTIALS_REFUSED:
            return self.access_denied()
        if status == 429:
            return self.rate_limited(retry_after_seconds or BUSY_RETRY_SECONDS)
        if status in _TIMED_OUT:
            return self.timed_out()
        if status == 404 or (status < 500 and _UNKNOWN_MODEL.search(text)):
            return self.no_such_model(text)
        if status < 400:
            return self.redirected()
        if status < 500:
            return self.rejected(text)
        return self.unavailable(retry_after_seconds)

    def of_rejection(self, text: str) -> FlowStackError:
        """Return the error of a request that was found wrong, for one of several reasons."""
        if _UNKNOWN_MODEL.search(text):
            return self.no_such_model(text)
        if _TOO_LONG.search(text):
            return self.too_long(text)
        return self.rejected(text)

    # --- what it says -----------------------------------------------------------------------

    def rate_limited(self, retry_after_seconds: int) -> FlowStackError:
        """Say that the account is throttled."""
        own_server = self.title.startswith(_OWN_SERVER)
        whose = f"Your account at {self.title}" if self.own and not own_server else self.title
        return ProviderRateLimitedError(
            f"{_capital(whose)} takes no more requests for {self.model} right now.",
            details=self._details("This is the provider's limit, not your plan's. Retry later."),
            retry_after_seconds=min(max(retry_after_seconds, 1), _LONGEST_RETRY_SECONDS),
        )

    def timed_out(self) -> FlowStackError:
        """Say that the model was too slow."""
        return ModelTimeoutError(
            f"{self.model} did not answer in time.",
            details=self._details("Ask for a shorter answer (max_tokens), or use a faster model."),
        )

    def unavailable(self, retry_after_seconds: int | None = None) -> FlowStackError:
        """Say that the model, or the way to it, failed."""
        seconds = retry_after_seconds or BUSY_RETRY_SECONDS
        return ModelUnavailableError(
            f"{self.model} cannot be reached at {self.title} right now.",
            details=self._details("Retry in a moment, or use another model."),
            retry_after_seconds=min(seconds, _LONGEST_RETRY_SECONDS),
        )

    def redirected(self) -> FlowStackError:
        """Say that the provider sent us elsewhere, where the credentials do not go."""
        return ModelUnavailableError(
            f"{_capital(self.title)} answered with a redirect, which FlowStack does not follow.",
            details=self._details("Name the final address of the host."),
        )

    def access_denied(self, hint: str | None = None) -> FlowStackError:
        """Say that the account, the customer's or the operator's, may not use the model."""
        if self.own:
            return ProviderCredentialsRejectedError(
                f"{_capital(self.title)} refused your credentials for {self.model}.",
                details={
                    **self._details(
                        hint
                        or "Check the keys, their region and expiry, and that they may invoke the "
                        "model."
                    ),
                    "field": "byok_credentials",
                },
            )
        return ModelUnavailableError(
            f"{self.model} is not enabled on this deployment.",
            details=self._details(
                "The operator must allow the execution role bedrock:InvokeModel on it and enable "
                "access to it in the Amazon Bedrock console. Meanwhile, use another model."
            ),
        )

    def no_such_model(self, text: str) -> FlowStackError:
        """Say that the provider does not serve the model, or not here."""
        return ModelNotAvailableError(
            f"{_capital(self.title)} does not serve {self.model} to this account or region.",
            details={
                **self._details("Use another model, or credentials that have access to this one."),
                "reason": self._fit_to_show(text),
            },
        )

    def too_long(self, text: str) -> FlowStackError:
        """Say that the messages are longer than they were estimated to be."""
        return ContextLengthExceededError(
            f"The messages do not fit the context window of {self.model}.",
            details={
                **self._details("Send less, or choose a model with more context."),
                "reason": self._fit_to_show(text),
            },
        )

    def rejected(self, text: str) -> FlowStackError:
        """Say that the provider found the request wrong."""
        said = self._fit_to_show(text) or "it gave no reason"
        return ModelRequestRejectedError(
            f"{_capital(self.title)} refused the request to {self.model}: {said}",
            details=self._details("Change the request; the same one will be refused again."),
        )

    def malformed(self) -> FlowStackError:
        """Say that the answer cannot be used."""
        return ModelError(
            f"{self.model} gave an answer that cannot be read.",
            details=self._details("Retry, or use another model."),
        )

    def unforeseen(self) -> FlowStackError:
        """Say that the customer's provider failed in a way that nobody foresaw."""
        return ModelError(
            f"{_capital(self.title)} failed in a way that FlowStack does not know.",
            details=self._details("Retry; ask the provider if it persists."),
        )

    def _details(self, hint: str) -> dict[str, Any]:
        return {"provider": self.provider.value, "model": self.model, "hint": hint}

    def _fit_to_show(self, text: str) -> str:
        """Return a provider's text in one short line, without anything private."""
        for secret in self.secrets:
            text = text.replace(secret, _WITHHELD)
        line = " ".join(_PRIVATE.sub(_WITHHELD, text).split())
        printable = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)
        return printable if len(printable) <= _LONGEST_TEXT else f"{printable[:_LONGEST_TEXT]}…"


def host_refused(provider: Provider, why: str) -> FlowStackError:
    """Return the error of a customer's host that FlowStack does not connect to."""
    return InvalidRequestError(
        f"byok_credentials.host is refused: {why}.",
        details={
            "provider": provider.value,
            "field": "byok_credentials.host",
            "hint": "Use the https address of a host on the public Internet.",
        },
    )


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]
