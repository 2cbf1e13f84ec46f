"""Every door that takes messages: ``/invoke``, ``/chat`` and, for OpenAI's clients, ``/v1``."""

from __future__ import annotations

from flowstack_core import bootstrap
from flowstack_core.http.conversation_routes import conversation_app
from flowstack_core.http.openai_routes import doors, openai_app

handler = doors(
    conversation_app(bootstrap.conversation_service, bootstrap.deferred_requests),
    openai_app(bootstrap.conversation_service, bootstrap.deferred_requests),
)

bootstrap.prepare(bootstrap.deferred_requests)
