"""Which door a message comes in by: our own, or that of OpenAI's clients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flowstack_core.http.resolver import HttpFunction

_OPENAI = "/v1/"


def doors(own: HttpFunction, openai: Callable[[], HttpFunction]) -> HttpFunction:
    """Return the Lambda handler that leads ``/v1`` to OpenAI's door and the rest to our own.

    Parameters
    ----------
    openai
        Returns the door of OpenAI's clients. It is asked for when one of them comes.
    """

    def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
        door = openai() if event["path"].startswith(_OPENAI) else own
        return door(event, context)

    return handler
