"""What operators want to know of messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from flowstack_core.domain.errors import FlowStackError
    from flowstack_core.domain.messages import TokenUsage
    from flowstack_core.domain.plans import Tier
    from flowstack_core.domain.providers import Provider


class Observer(Protocol):
    """Is told what operators want to know of messages. It neither fails nor takes any time."""

    def message_received(self, tier: Tier, provider: Provider, *, managed: bool) -> None:
        """Take note of a message, before it is refused or admitted."""
        ...

    def model_answered(self, seconds: float, usage: TokenUsage) -> None:
        """Take note of an answer of the message's model."""
        ...

    def model_failed(self, seconds: float, error: FlowStackError) -> None:
        """Take note that the message's model gave no answer."""
        ...

    def session_released(self) -> None:
        """Take note that a session was given back, as nothing was processed in it."""
        ...
