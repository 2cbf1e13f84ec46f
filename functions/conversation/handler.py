"""Every door that takes messages: ``/invoke``, ``/chat`` and, for OpenAI's clients, ``/v1``."""

from __future__ import annotations

from flowstack_core.cold_start import all_kept

with all_kept():
    from functools import cache

    from flowstack_core import bootstrap
    from flowstack_core.http.conversation_routes import conversation_app
    from flowstack_core.http.doors import doors
    from flowstack_core.http.resolver import HttpFunction, entry_point

    @cache
    def _openai() -> HttpFunction:
        """Return the door of OpenAI's clients: a snapshot has it ready, other starts need not."""
        from flowstack_core.http.openai_routes import openai_door  # noqa: PLC0415

        return openai_door(bootstrap.conversation_service, bootstrap.deferred_requests)

    handler = doors(
        entry_point(conversation_app(bootstrap.conversation_service, bootstrap.deferred_requests)),
        _openai,
    )

    bootstrap.prepare(bootstrap.conversation_service)
    bootstrap.prepare_snapshot(bootstrap.deferred_requests)
    bootstrap.prepare_snapshot(_openai)
