"""The bodies that customers send: their form, and what they mean."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    SecretStr,
)

from flowstack_core.domain.errors import InvalidRequestError
from flowstack_core.domain.identifiers import MAX_NAME_LENGTH, checked_name
from flowstack_core.domain.messages import (
    ContentBlock,
    Message,
    TextBlock,
    ToolCall,
    ToolResult,
    ToolSpec,
)
from flowstack_core.domain.providers import parse_credentials, parse_provider
from flowstack_core.services.conversations import MessageCommand

DEFAULT_MODEL = "claude-sonnet-4-6"
"""What ``/chat`` asks where the caller names no model."""

MAX_MESSAGES = 2_000
MAX_TOOLS = 128
_MAX_CHAT_CHARACTERS = 200_000


def _sound_text(text: str) -> str:
    """Refuse text that cannot be passed on: half characters and NUL."""
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("must not hold NUL or lone surrogates")
    return text


def _text_of_parts(content: Any) -> Any:
    """Join a tool result that comes as text blocks."""
    if isinstance(content, list) and all(
        isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str)
        for part in content
    ):
        return "\n".join(part["text"] for part in content)
    return content


def _no_arguments() -> dict[str, JsonValue]:
    return {"type": "object"}


Text = Annotated[str, AfterValidator(_sound_text)]
Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME_LENGTH), AfterValidator(checked_name)]
ToolName = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
ToolCallId = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_:.-]{1,64}$")]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class TextPart(_Body):
    """Something said."""

    type: Literal["text"]
    text: Text

    def block(self) -> ContentBlock:
        """Return it in the domain's terms."""
        return TextBlock(self.text)


class ToolUsePart(_Body):
    """A tool call of an earlier answer, sent back as part of the history."""

    type: Literal["tool_use"]
    id: ToolCallId
    name: ToolName
    input: dict[str, JsonValue]

    def block(self) -> ContentBlock:
        """Return it in the domain's terms."""
        return ToolCall(self.id, self.name, dict(self.input))


class ToolResultPart(_Body):
    """What running a tool gave."""

    type: Literal["tool_result"]
    tool_use_id: ToolCallId
    content: Annotated[Text, BeforeValidator(_text_of_parts)]
    is_error: bool = False

    def block(self) -> ContentBlock:
        """Return it in the domain's terms."""
        return ToolResult(self.tool_use_id, self.content, self.is_error)


Part = Annotated[TextPart | ToolUsePart | ToolResultPart, Field(discriminator="type")]
UserPart = Annotated[TextPart | ToolResultPart, Field(discriminator="type")]


class MessageBody(_Body):
    """One message. A ``system`` message may stand at the beginning only."""

    role: Literal["user", "assistant", "system"]
    content: Text | list[Part]

    def blocks(self) -> tuple[ContentBlock, ...]:
        """Return the content in the domain's terms."""
        return _blocks(self.content)


class ToolBody(_Body):
    """A tool that the model may ask for."""

    name: ToolName
    description: Text = ""
    input_schema: dict[str, JsonValue] = Field(default_factory=_no_arguments)


class _ModelBody(_Body):
    """What both operations take. Nothing is validated by it alone, so nothing is built for that."""

    model_config = ConfigDict(defer_build=True)

    conversation_id: Name = "default"
    byok_credentials: dict[str, SecretStr] | None = Field(default=None, max_length=8)
    byok: bool = False
    system: Text | None = Field(default=None, max_length=400_000)
    tools: list[ToolBody] = Field(default_factory=list, max_length=MAX_TOOLS)
    temperature: float | None = Field(default=None, ge=0, le=1)
    max_tokens: int | None = Field(default=None, ge=1, le=1_000_000)

    def fingerprint(self) -> dict[str, Any]:
        """Return the payload without credentials, to tell requests apart by (S3)."""
        return self.model_dump(mode="json", exclude={"byok_credentials"})

    def _command(
        self,
        operation: Literal["invoke", "chat"],
        *,
        agent: str,
        provider: str,
        model: str,
        messages: tuple[Message, ...],
        system: str | None,
        idempotency_key: str | None,
    ) -> MessageCommand:
        known = parse_provider(provider)
        sent = _revealed(self.byok_credentials or {})
        return MessageCommand(
            operation=operation,
            agent=agent,
            conversation_id=self.conversation_id,
            provider=known,
            model=model,
            messages=messages,
            system=system,
            tools=tuple(ToolSpec(t.name, t.description, dict(t.input_schema)) for t in self.tools),
            temperature=self.temperature,
            max_tokens=self.max_tokens,
            credentials=parse_credentials(known, sent) if sent else None,
            idempotency_key=idempotency_key,
            fingerprint=self.fingerprint(),
            byok=self.byok,
        )


class InvokeBody(_ModelBody):
    """``POST /invoke``: the caller carries the history."""

    model_config = ConfigDict(defer_build=False)

    provider: str = Field(min_length=1, max_length=64)
    model: str = Field(min_length=1, max_length=256)
    messages: list[MessageBody] = Field(min_length=1, max_length=MAX_MESSAGES)
    agent: Name = "default"

    def command(self, idempotency_key: str | None) -> MessageCommand:
        """Return what is asked for, in the domain's terms.

        Raises
        ------
        FlowStackError
            Where the fields contradict each other.
        """
        leading = 0
        while leading < len(self.messages) and self.messages[leading].role == "system":
            leading += 1
        if any(message.role == "system" for message in self.messages[leading:]):
            raise InvalidRequestError(
                "A system message may stand at the beginning only.", details={"field": "messages"}
            )
        spoken = tuple(
            Message("assistant" if message.role == "assistant" else "user", message.blocks())
            for message in self.messages[leading:]
        )
        return self._command(
            "invoke",
            agent=self.agent,
            provider=self.provider,
            model=self.model,
            messages=spoken,
            system=_system(self.system, self.messages[:leading]),
            idempotency_key=idempotency_key,
        )


class ChatBody(_ModelBody):
    """``POST /chat``: the server keeps the conversation."""

    model_config = ConfigDict(defer_build=False)

    agent: Name
    message: (
        Annotated[Text, Field(min_length=1, max_length=_MAX_CHAT_CHARACTERS)]
        | Annotated[list[UserPart], Field(min_length=1, max_length=MAX_TOOLS)]
    )
    provider: str = Field(default="bedrock", min_length=1, max_length=64)
    model: str = Field(default=DEFAULT_MODEL, min_length=1, max_length=256)

    def command(self, idempotency_key: str | None) -> MessageCommand:
        """Return what is asked for, in the domain's terms."""
        return self._command(
            "chat",
            agent=self.agent,
            provider=self.provider,
            model=self.model,
            messages=(Message("user", _blocks(self.message)),),
            system=self.system,
            idempotency_key=idempotency_key,
        )


class StoreCredentialsBody(_Body):
    """``POST /api/byok-credentials``."""

    provider: str = Field(min_length=1, max_length=64)
    credentials: dict[str, SecretStr] = Field(min_length=1, max_length=8)

    def values(self) -> dict[str, str]:
        """Return the credentials as they were sent."""
        return _revealed(self.credentials)


class WebhookBody(_Body):
    """``PUT /alerts/webhook``."""

    url: str = Field(min_length=1, max_length=2_048)


def _revealed(secrets: Mapping[str, SecretStr]) -> dict[str, str]:
    return {name: secret.get_secret_value() for name, secret in secrets.items()}


_BODIES: Mapping[str, type[InvokeBody | ChatBody]] = MappingProxyType(
    {"invoke": InvokeBody, "chat": ChatBody}
)


def stored_command(operation: str, body: dict[str, Any]) -> MessageCommand:
    """Make the command again of a request whose fingerprint was kept; it has no credentials."""
    return _BODIES[operation].model_validate(body).command(None)


def _blocks(
    content: str | list[TextPart | ToolUsePart | ToolResultPart] | list[TextPart | ToolResultPart],
) -> tuple[ContentBlock, ...]:
    if isinstance(content, str):
        return (TextBlock(content),)
    return tuple(part.block() for part in content)


def _system(system: str | None, messages: list[MessageBody]) -> str | None:
    """Join the system prompt of the body with leading system messages."""
    said = [] if system is None else [system]
    for message in messages:
        for block in message.blocks():
            if not isinstance(block, TextBlock):
                raise InvalidRequestError(
                    "A system message holds text only.", details={"field": "messages"}
                )
            said.append(block.text)
    joined = "\n\n".join(text for text in said if text.strip())
    return joined or None
