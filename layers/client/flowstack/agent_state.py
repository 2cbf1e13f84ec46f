"""What an agent is, whether its calls wait or not: its name, model, tools and conversation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypedDict, TypeVar, overload

from flowstack.exchange import ChatExchange, InvokeExchange, MessageOptions
from flowstack.operations import present, refuse_unknown
from flowstack.providers import check_provider
from flowstack.retries import DEFAULT_RETRIES, RetryPolicy
from flowstack.runtime import Runtime
from flowstack.tools import Tool, Toolbox
from flowstack.transport import DEFAULT_TIMEOUT, Endpoint, SenderSettings

Function = TypeVar("Function", bound=Callable[..., Any])
Messages = str | Sequence[Mapping[str, Any]]

DEFAULT_CONVERSATION = "default"
DEFAULT_TOOL_ROUNDS = 10

_tools_running: ContextVar[frozenset[tuple[str, str, str]]] = ContextVar(
    "flowstack_tools_running", default=frozenset()
)
"""Conversations in which, around here, a tool is being run."""


class AgentSettings(TypedDict, total=False):
    """What an agent may be told beyond who it is.

    Attributes
    ----------
    conversation_id
        Which conversation to go on with.
    timeout
        Seconds to wait for an answer.
    max_retries
        How often to try again what may succeed then.
    system, temperature, max_tokens
        Defaults for each message.
    max_tool_rounds
        How often the model may ask for tools before one answer.
    allow_http
        Send the key without TLS to other machines than this one.
    runtime
        Time and chance, for tests.
    """

    conversation_id: str | None
    timeout: float
    max_retries: int
    system: str | None
    temperature: float | None
    max_tokens: int | None
    max_tool_rounds: int
    allow_http: bool
    runtime: Runtime


class AgentState:
    """The part of an agent that sends nothing."""

    def __init__(
        self,
        name: str,
        api_key: str | None,
        provider: str,
        model: str,
        byok: Mapping[str, str] | None,
        base_url: str | None,
        settings: AgentSettings,
    ) -> None:
        refuse_unknown(settings, AgentSettings.__optional_keys__)
        check_provider(provider, byok)
        self.name = name
        self.provider = provider
        self.model = model
        self.byok = dict(byok or {})
        self.conversation_id = settings.get("conversation_id") or DEFAULT_CONVERSATION
        self.system = settings.get("system")
        self.temperature = settings.get("temperature")
        self.max_tokens = settings.get("max_tokens")
        self.max_tool_rounds = settings.get("max_tool_rounds", DEFAULT_TOOL_ROUNDS)
        allow_http = settings.get("allow_http", False)
        self._endpoint = Endpoint.find(api_key, base_url, allow_http=allow_http)
        self._runtime = settings.get("runtime") or Runtime()
        self._toolbox = Toolbox()
        self._sending: SenderSettings = {
            "timeout": settings.get("timeout", DEFAULT_TIMEOUT),
            "retries": RetryPolicy(settings.get("max_retries", DEFAULT_RETRIES)),
            "runtime": self._runtime,
        }

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(name={self.name!r}, provider={self.provider!r}, "
            f"model={self.model!r})"
        )

    def __str__(self) -> str:
        return f"FlowStack agent {self.name!r} with {self.provider}/{self.model}"

    @property
    def base_url(self) -> str:
        """Where FlowStack answers."""
        return self._endpoint.url

    def set_provider(self, provider: str, byok: Mapping[str, str] | None = None) -> None:
        """Ask another provider from now on.

        Parameters
        ----------
        byok
            Your own credentials there. Those of the provider before are forgotten: one provider is
            never sent another's.
        """
        check_provider(provider, byok)
        self.provider = provider
        self.byok = dict(byok or {})

    def set_model(self, model: str) -> None:
        """Ask another model from now on."""
        self.model = model

    def new_conversation(self, conversation_id: str | None = None) -> str:
        """Begin another conversation, whose first message starts a session; return its id."""
        self.conversation_id = conversation_id or self._runtime.new_id()
        return self.conversation_id

    @overload
    def tool(self, function: Function, /) -> Function: ...

    @overload
    def tool(
        self, *, name: str | None = None, description: str | None = None
    ) -> Callable[[Function], Function]: ...

    def tool(
        self,
        function: Callable[..., Any] | None = None,
        *,
        name: str | None = None,
        description: str | None = None,
    ) -> Any:
        """Offer a function to the model; it stays callable as it is.

        Used as ``@agent.tool`` or ``@agent.tool(name=…)``. The annotations say what the arguments
        are, the docstring says what the function and each parameter is for.

        Raises
        ------
        ToolDefinitionError
            The parameters cannot be described to a model.
        """

        def offer(function: Function) -> Function:
            self._toolbox.add(Tool.of(function, name, description))
            return function

        return offer if function is None else offer(function)

    def _chat_exchange(
        self, message: str, options: MessageOptions
    ) -> ChatExchange | InvokeExchange:
        """Return the exchange that begins with a message.

        A message from within a tool comes while the conversation waits for that tool's result. It
        is asked beside it: in the same session, without its history and without tools.
        """
        if self._conversation(options) in _tools_running.get():
            return self._invoke_exchange(message, options, runs_tools=False, tools=[])
        fields = self._fields(options, self._toolbox.definitions())
        return ChatExchange(message, fields, **self._course(options, runs_tools=True))

    def _invoke_exchange(
        self,
        message: Messages,
        options: MessageOptions,
        *,
        runs_tools: bool,
        tools: list[dict[str, Any]] | None = None,
    ) -> InvokeExchange:
        messages = [{"role": "user", "content": message}] if isinstance(message, str) else message
        fields = self._fields(options, self._toolbox.definitions() if tools is None else tools)
        return InvokeExchange(messages, fields, **self._course(options, runs_tools=runs_tools))

    def _fields(
        self, options: MessageOptions, tools: Sequence[Mapping[str, Any]]
    ) -> dict[str, Any]:
        refuse_unknown(options, MessageOptions.__optional_keys__)
        return present(
            agent=self.name,
            conversation_id=options.get("conversation_id", self.conversation_id),
            provider=self.provider,
            model=self.model,
            byok_credentials=self.byok or None,
            system=options.get("system", self.system),
            temperature=options.get("temperature", self.temperature),
            max_tokens=options.get("max_tokens", self.max_tokens),
            tools=tools or None,
        )

    def _course(self, options: MessageOptions, *, runs_tools: bool) -> dict[str, Any]:
        return {
            "runs_tools": runs_tools,
            "idempotency_key": options.get("idempotency_key"),
            "timeout": options.get("timeout"),
            "max_rounds": options.get("max_tool_rounds", self.max_tool_rounds),
        }

    def _conversation(self, options: MessageOptions) -> tuple[str, str, str]:
        conversation = options.get("conversation_id", self.conversation_id)
        return self._endpoint.url, self.name, conversation

    @contextmanager
    def _running_tools(self, options: MessageOptions) -> Iterator[None]:
        """Mark the conversation as waiting for tools."""
        running = _tools_running.get() | {self._conversation(options)}
        token = _tools_running.set(running)
        try:
            yield
        finally:
            _tools_running.reset(token)
