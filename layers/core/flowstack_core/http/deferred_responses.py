"""``Prefer: respond-async`` (RFC 7240): 202 now, the answer at the address that comes with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools.event_handler import Response

from flowstack_core.http.resolver import json_response

if TYPE_CHECKING:
    from flowstack_core.services.deferred import Accepted

_ASK_AGAIN_SECONDS = 2
_PREFERENCE = "respond-async"


def prefers_async(headers: Mapping[str, str]) -> bool:
    """Whether the caller would rather fetch the answer later."""
    preferences = (headers.get("prefer") or "").split(",")
    return any(one.split(";")[0].strip().lower() == _PREFERENCE for one in preferences)


def accepted_response(accepted: Accepted, location: str, document: dict[str, Any]) -> Response[str]:
    """Answer with where the outcome will be; ``location`` is below the API's base URL."""
    headers = {
        "Location": f"{location}/{accepted.request_id}",
        "Preference-Applied": _PREFERENCE,
        "Retry-After": str(_ASK_AGAIN_SECONDS),
    }
    if accepted.replayed:
        headers["Idempotency-Replayed"] = "true"
    return json_response(202, document, headers)


def found_response(document: dict[str, Any]) -> Response[str]:
    """Answer with a request as it stands, and when to ask again if it is not over."""
    over = document["status"] in {"succeeded", "failed"}
    return json_response(200, document, {} if over else {"Retry-After": str(_ASK_AGAIN_SECONDS)})
