"""Lambda authorizer: who is behind an API key."""

from __future__ import annotations

from flowstack_core import bootstrap
from flowstack_core.http.authorizer import authorizer

handler = authorizer(bootstrap.authorization_service)

bootstrap.prepare(bootstrap.authorization_service)
