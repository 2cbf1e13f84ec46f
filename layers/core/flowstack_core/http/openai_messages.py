"""Between OpenAI's Chat Completions and FlowStack's own terms, in both directions.

What would change an answer and cannot be passed on is refused; what cannot is ignored. Everything
here is a pure function of what was sent or answered, so a repeat is translated to the same text.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    ValidationInfo,
    field_validator,
)

from flowstack_core.domain.errors import InvalidRequestError
from flowstack_core.domain.providers import Provider
from flowstack_core.domain.sessions import INACTIVITY_LIMIT
from flowstack_core.http.documents import Document
from flowstack_core.http.json_body import parse_json
from flowstack_core.http.message_documents import SessionFacts
from flowstack_core.http.requests import (
    MAX_MESSAGES,
    MAX_TOOLS,
    InvokeBody,
    MessageBody,
    Part,
    Text,
    TextPart,
    ToolBody,
    ToolCallId,
    ToolName,
    ToolResultPart,
    ToolUsePart,
)

# --- what is sent --------------------------------------------------------------------------


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def _text_only(content: Any) -> Any:
    """Say it plainly where a part is no text: images, sound and files are not passed on."""
    if isinstance(content, list):
        for part in content:
            kind = part.get("type") if isinstance(part, dict) else None
            if isinstance(kind, str) and kind != "text":
                shown = kind if kind.isidentifier() and len(kind) <= 40 else "such"
                raise ValueError(f"{shown} parts are not supported here, text parts only")
    return content


_NEUTRAL: Mapping[str, tuple[JsonValue, ...]] = MappingProxyType(
    {
        "n": (1,),
        "top_p": (1,),
        "stop": ([],),
        "tool_choice": ("auto",),
        "parallel_tool_calls": (True,),
        "response_format": ({"type": "text"},),
        "modalities": (["text"],),
        "presence_penalty": (0,),
        "frequency_penalty": (0,),
        "logit_bias": ({},),
        "logprobs": (False,),
        "top_logprobs": (0,),
        "seed": (),
        "reasoning_effort": (),
        "verbosity": (),
        "web_search_options": (),
        "functions": (),
        "function_call": (),
        "audio": (),
    }
)
"""Parameters that are taken only with a value that changes nothing."""

_PLACE = re.compile(r"messages\[(\d+)\]")

Content = Annotated[Text | list[TextPart], BeforeValidator(_text_only)]
Ignored = JsonValue


class SystemMessage(_Body):
    """Instructions; they stand at the beginning."""

    role: Literal["system", "developer"]
    content: Content
    name: Ignored = None


class UserMessage(_Body):
    """What the user says."""

    role: Literal["user"]
    content: Content
    name: Ignored = None


class FunctionCall(_Body):
    """A function with its arguments, which are JSON written as a text."""

    name: ToolName
    arguments: Text


class ToolCallEntry(_Body):
    """A call of an earlier answer, sent back as part of the history."""

    id: ToolCallId
    type: Literal["function"] = "function"
    function: FunctionCall
    index: Ignored = None


class AssistantMessage(_Body):
    """An earlier answer; the fields that an answer has besides are taken, and left out."""

    role: Literal["assistant"]
    content: Content | None = None
    tool_calls: list[ToolCallEntry] | None = None
    name: Ignored = None
    refusal: Ignored = None
    annotations: Ignored = None
    audio: None = None
    function_call: None = None


class ToolMessage(_Body):
    """What a tool gave."""

    role: Literal["tool"]
    tool_call_id: ToolCallId
    content: Content
    name: Ignored = None


ChatMessage = Annotated[
    SystemMessage | UserMessage | AssistantMessage | ToolMessage, Field(discriminator="role")
]


class FunctionSpec(_Body):
    """A function that the model may ask for; ``parameters`` is a JSON schema."""

    name: ToolName
    description: Text | None = None
    parameters: dict[str, JsonValue] | None = None
    strict: Literal[False] | None = None


class ToolEntry(_Body):
    """A tool: functions are the only kind."""

    type: Literal["function"]
    function: FunctionSpec


class StreamOptions(_Body):
    """``include_usage`` adds a last chunk with the tokens."""

    include_usage: bool | None = None
    include_obfuscation: Ignored = None


class ChatCompletionBody(_Body):
    """``POST /v1/chat/completions``. A parameter that is not listed is refused."""

    model: str = Field(min_length=1, max_length=256)
    messages: list[ChatMessage] = Field(min_length=1, max_length=MAX_MESSAGES)
    tools: list[ToolEntry] | None = Field(default=None, max_length=MAX_TOOLS)
    temperature: float | None = Field(default=None, ge=0, le=1)
    max_tokens: int | None = Field(default=None, ge=1, le=1_000_000)
    max_completion_tokens: int | None = Field(default=None, ge=1, le=1_000_000)
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    n: JsonValue = None
    top_p: JsonValue = None
    stop: JsonValue = None
    tool_choice: JsonValue = None
    parallel_tool_calls: JsonValue = None
    response_format: JsonValue = None
    modalities: JsonValue = None
    presence_penalty: JsonValue = None
    frequency_penalty: JsonValue = None
    logit_bias: JsonValue = None
    logprobs: JsonValue = None
    top_logprobs: JsonValue = None
    seed: JsonValue = None
    reasoning_effort: JsonValue = None
    verbosity: JsonValue = None
    web_search_options: JsonValue = None
    functions: JsonValue = None
    function_call: JsonValue = None
    audio: JsonValue = None

    user: str | None = None
    metadata: dict[str, str] | None = None
    store: Ignored = None
    service_tier: Ignored = None
    safety_identifier: Ignored = None
    prompt_cache_key: Ignored = None
    prompt_cache_retention: Ignored = None
    prediction: Ignored = None

    @field_validator(*_NEUTRAL)
    @classmethod
    def _changes_nothing(cls, value: JsonValue, field: ValidationInfo) -> JsonValue:
        allowed = _NEUTRAL[str(field.field_name)]
        if value is not None and value not in allowed:
            written = " or ".join(["leave it out", *(f"send {json.dumps(one)}" for one in allowed)])
            raise ValueError(f"this parameter is not supported here: {written}")
        return value

    @property
    def streamed(self) -> bool:
        """Whether the answer is to come as events."""
        return bool(self.stream)

    @property
    def includes_usage(self) -> bool:
        """Whether a stream is to end with the tokens."""
        return self.stream_options is not None and bool(self.stream_options.include_usage)

    def invoke_body(self, agent: str, conversation_id: str) -> InvokeBody:
        """Return the same request as ``POST /invoke`` takes it.

        Raises
        ------
        InvalidRequestError
            The limits on the answer contradict each other, or a call's arguments are no object.
        """
        provider, model = provider_and_model(self.model)
        return InvokeBody(
            provider=provider,
            model=model,
            agent=agent,
            conversation_id=conversation_id,
            messages=list(_messages(self.messages)),
            tools=[_tool(entry.function) for entry in self.tools or []],
            temperature=self.temperature,
            max_tokens=self._max_tokens(),
        )

    def field_of(self, field: str) -> str:
        """Return what a field of `invoke_body` is called in this body.

        Its messages are fewer: leading instructions are not among them, and results stand together.
        """
        place = _PLACE.match(field)
        if place is None:
            return field
        spoken = [
            index
            for index, message in enumerate(self.messages)
            if not isinstance(message, SystemMessage)
            and not (
                isinstance(message, ToolMessage)
                and index > 0
                and isinstance(self.messages[index - 1], ToolMessage)
            )
        ]
        return f"messages[{spoken[int(place[1])]}]{field[place.end() :]}"

    def _max_tokens(self) -> int | None:
        if None not in {self.max_tokens, self.max_completion_tokens} and (
            self.max_tokens != self.max_completion_tokens
        ):
            raise InvalidRequestError(
                "max_tokens and max_completion_tokens mean the same here, and differ.",
                details={"field": "max_completion_tokens"},
            )
        return self.max_tokens or self.max_completion_tokens


def provider_and_model(name: str) -> tuple[str, str]:
    """Read a model's name: ``provider/model`` for a provider there is, else a managed model."""
    prefix, slash, model = name.partition("/")
    if slash and model and prefix.lower() in set(Provider):
        return prefix.lower(), model
    return Provider.BEDROCK.value, name


def _messages(messages: list[ChatMessage]) -> Iterator[MessageBody]:
    """Yield the messages; the results of parallel calls stand together in one of the user's."""
    results: list[ToolResultPart] = []
    for index, message in enumerate(messages):
        if isinstance(message, ToolMessage):
            results.append(_result(message))
            continue
        if results:
            yield MessageBody(role="user", content=[*results])
            results = []
        match message:
            case SystemMessage():
                yield MessageBody(role="system", content=_parts(message.content))
            case UserMessage():
                yield MessageBody(role="user", content=_parts(message.content))
            case AssistantMessage():
                yield MessageBody(role="assistant", content=_assistant_parts(index, message))
    if results:
        yield MessageBody(role="user", content=[*results])


def _parts(content: str | list[TextPart]) -> list[Part]:
    return [TextPart(type="text", text=content)] if isinstance(content, str) else [*content]


def _assistant_parts(index: int, message: AssistantMessage) -> list[Part]:
    parts = [] if message.content is None else _parts(message.content)
    for number, call in enumerate(message.tool_calls or []):
        parts.append(
            ToolUsePart(
                type="tool_use",
                id=call.id,
                name=call.function.name,
                input=_arguments(
                    call.function.arguments, f"messages[{index}].tool_calls[{number}]"
                ),
            )
        )
    return parts


def _arguments(text: str, field: str) -> dict[str, Any]:
    try:
        arguments = parse_json(text, field) if text.strip() else {}
    except InvalidRequestError:
        arguments = None
    if not isinstance(arguments, dict):
        raise InvalidRequestError(
            "The arguments of a tool call must be a JSON object.",
            details={"field": f"{field}.function.arguments"},
        )
    return arguments


def _result(message: ToolMessage) -> ToolResultPart:
    text = (
        message.content
        if isinstance(message.content, str)
        else "\n".join(part.text for part in message.content)
    )
    return ToolResultPart(type="tool_result", tool_use_id=message.tool_call_id, content=text)


def _tool(spec: FunctionSpec) -> ToolBody:
    described = spec.description or ""
    if spec.parameters is None:
        return ToolBody(name=spec.name, description=described)
    return ToolBody(name=spec.name, description=described, input_schema=spec.parameters)


# --- what is answered ----------------------------------------------------------------------

_FINISH_REASONS: Mapping[str, str] = MappingProxyType(
    {
        "end_turn": "stop",
        "stop_sequence": "stop",
        "max_tokens": "length",
        "tool_use": "tool_calls",
        "content_filter": "content_filter",
    }
)


class FlowStackFacts(Document):
    """What OpenAI's clients do not ask for: the session that the answer belongs to."""

    session: SessionFacts
    provider: str
    model_notice: str | None = None


class ChatCompletionDocument(Document):
    """A chat completion, with the session as one more field."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[dict[str, JsonValue]]
    usage: dict[str, int]
    flowstack: FlowStackFacts


def completion(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Render an answer as a chat completion."""
    message: dict[str, Any] = {
        "role": "assistant",
        "content": answer["content"] or (None if answer.get("tool_calls") else ""),
        "refusal": None,
    }
    if answer.get("tool_calls"):
        message["tool_calls"] = _tool_calls(answer)
    return {
        **_head(answer, "chat.completion"),
        "choices": [
            {
                "index": 0,
                "message": message,
                "logprobs": None,
                "finish_reason": _FINISH_REASONS[answer["stop_reason"]],
            }
        ],
        "usage": _usage(answer),
        "flowstack": _facts(answer),
    }


def event_stream(answer: Mapping[str, Any], *, include_usage: bool) -> str:
    """Render an answer as the events of a stream, which all come at once."""
    head = _head(answer, "chat.completion.chunk")
    if include_usage:
        head["usage"] = None
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    if answer["content"]:
        deltas.append({"content": answer["content"]})
    deltas += [
        {"tool_calls": [{"index": index, **call}]} for index, call in enumerate(_tool_calls(answer))
    ]
    chunks = [{**head, "choices": [_choice(delta, None)]} for delta in deltas]
    reason = _FINISH_REASONS[answer["stop_reason"]]
    chunks.append({**head, "choices": [_choice({}, reason)], "flowstack": _facts(answer)})
    if include_usage:
        chunks.append({**head, "choices": [], "usage": _usage(answer)})
    written = [json.dumps(chunk, separators=(",", ":")) for chunk in chunks]
    return "".join(f"data: {event}\n\n" for event in [*written, "[DONE]"])


def _choice(delta: dict[str, Any], finish_reason: str | None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}


def _head(answer: Mapping[str, Any], kind: str) -> dict[str, Any]:
    delivered = datetime.fromisoformat(answer["session"]["ends_at"]) - INACTIVITY_LIMIT
    written = json.dumps(answer, sort_keys=True).encode()
    return {
        "id": f"chatcmpl-{hashlib.sha256(written).hexdigest()[:32]}",
        "object": kind,
        "created": int(delivered.timestamp()),
        "model": answer["model"],
    }


def _usage(answer: Mapping[str, Any]) -> dict[str, int]:
    tokens = answer["usage"]
    return {
        "prompt_tokens": tokens["input_tokens"],
        "completion_tokens": tokens["output_tokens"],
        "total_tokens": tokens["total_tokens"],
    }


def _tool_calls(answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "id": call["id"],
            "type": "function",
            "function": {
                "name": call["name"],
                "arguments": json.dumps(call["input"], separators=(",", ":")),
            },
        }
        for call in answer.get("tool_calls") or []
    ]


def _facts(answer: Mapping[str, Any]) -> dict[str, Any]:
    facts = {"session": answer["session"], "provider": answer["provider"]}
    if "model_notice" in answer:
        facts["model_notice"] = answer["model_notice"]
    return facts
