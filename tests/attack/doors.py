"""Every door in this process, and every place in a request that whoever sends it fills."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import quote

from flowstack_core.domain.plans import Tier
from tests.support.http_events import LambdaContext, http_event
from tests.support.whole_api import WholeApi
from tests.unit.http.conftest import Admin

HERE = "<here>"
"""Stands in a request where something hostile goes."""

MODEL = "claude-haiku-4-5"
COMPLETION: Mapping[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]}
INVOKE: Mapping[str, Any] = {"provider": "bedrock", **COMPLETION}
CHAT: Mapping[str, Any] = {"agent": "a", "message": "Hi", "model": MODEL}
TOOL_USE = {"type": "tool_use", "id": "t", "name": "f", "input": {}}


def _said(*parts: Any) -> dict[str, Any]:
    return {**INVOKE, "messages": [{"role": "user", "content": "Hi"}, *parts]}


@dataclass(frozen=True)
class Request:
    """A request with a place for something hostile in it, or without."""

    method: str
    path: str
    body: Any = None
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    operators: bool = False

    @property
    def name(self) -> str:
        """What a failing test is called."""
        more = (
            [*self.query, *self.headers]
            if self.body is None or self.headers
            else [_path(self.body)]
        )
        return " ".join([self.method, self.path, *more])

    @property
    def in_body(self) -> bool:
        """Whether the place is in the body, where values are possible that are no texts."""
        return HERE in json.dumps(self.body)

    def with_(self, hostile: Any) -> Request:
        """Return it with the place filled."""
        text = hostile if isinstance(hostile, str) else json.dumps(hostile)
        return Request(
            self.method,
            self.path.replace(HERE, quote(text.encode("utf-8", "replace"), safe="")),
            _filled(self.body, hostile),
            {name: text if value == HERE else value for name, value in self.query.items()},
            {name: value.replace(HERE, text) for name, value in self.headers.items()},
            self.operators,
        )


def _path(body: Any) -> str:
    match body:
        case dict():
            return next(
                (
                    f"{n}.{_path(v)}" if HERE not in n else n
                    for n, v in body.items()
                    if HERE in json.dumps({n: v})
                ),
                "",
            )
        case list():
            return next(
                (f"{i}.{_path(v)}" for i, v in enumerate(body) if HERE in json.dumps(v)), ""
            )
    return ""


def _filled(body: Any, hostile: Any) -> Any:
    match body:
        case str() if body == HERE:
            return copy.deepcopy(hostile)
        case dict():
            return {
                (str(hostile) if name == HERE else name): _filled(each, hostile)
                for name, each in body.items()
            }
        case list():
            return [_filled(each, hostile) for each in body]
    return body


def _customers() -> Iterator[Request]:
    for base, path in ((INVOKE, "/invoke"), (CHAT, "/chat")):
        for name in (
            "agent",
            "conversation_id",
            "provider",
            "model",
            "system",
            "temperature",
            "max_tokens",
            "byok",
            "tools",
            HERE,
        ):
            yield Request("POST", path, {**base, name: HERE})
        own = {"provider": "openai", "model": "gpt-4o"}
        yield Request("POST", path, {**base, **own, "byok_credentials": {"api_key": HERE}})
        yield Request("POST", path, {**base, **own, "byok_credentials": {HERE: "x"}})
        for name in ("name", "description", "input_schema"):
            yield Request("POST", path, {**base, "tools": [{"name": "f", name: HERE}]})
        yield Request(
            "POST", path, {**base, "tools": [{"name": "f", "input_schema": {HERE: HERE}}]}
        )
        for header in ("Idempotency-Key", "Prefer", "Content-Type", "X-Agent", "Accept"):
            yield Request("POST", path, dict(base), headers={header: HERE})
    yield Request("POST", "/chat", {**CHAT, "message": HERE})
    yield Request(
        "POST",
        "/chat",
        {**CHAT, "message": [{"type": "tool_result", "tool_use_id": HERE, "content": HERE}]},
    )
    yield Request("POST", "/invoke", _said({"role": HERE, "content": "x"}))
    yield Request("POST", "/invoke", _said({"role": "assistant", "content": HERE}))
    for name in ("type", "id", "name", "input"):
        yield Request(
            "POST", "/invoke", _said({"role": "assistant", "content": [{**TOOL_USE, name: HERE}]})
        )
    yield Request("GET", f"/requests/{HERE}")
    yield Request("GET", f"/v1/requests/{HERE}")
    yield Request("GET", f"/v1/models/{HERE}")
    yield Request("GET", f"/v1/{HERE}")
    for name in (
        "model",
        "user",
        "metadata",
        "seed",
        "stream",
        "stream_options",
        "response_format",
        "n",
        "top_p",
        "stop",
        HERE,
    ):
        yield Request("POST", "/v1/chat/completions", {**COMPLETION, name: HERE})
    yield Request("POST", "/v1/chat/completions", {**COMPLETION, "metadata": {"agent": HERE}})
    yield Request(
        "POST", "/v1/chat/completions", {**COMPLETION, "metadata": {"conversation_id": HERE}}
    )
    for header in ("X-Agent", "X-Conversation-Id", "Idempotency-Key", "Prefer"):
        yield Request("POST", "/v1/chat/completions", dict(COMPLETION), headers={header: HERE})
    called = {
        "role": "assistant",
        "tool_calls": [{"id": "t", "function": {"name": "f", "arguments": HERE}}],
    }
    yield Request(
        "POST",
        "/v1/chat/completions",
        {**COMPLETION, "messages": [*COMPLETION["messages"], called]},
    )
    yield from _accounts()
    yield from _vault()


def _accounts() -> Iterator[Request]:
    for name in ("from", "to", "granularity", "by"):
        yield Request("GET", "/usage/history", query={name: HERE})
    yield Request("GET", "/usage", headers={"X-Amzn-Trace-Id": HERE})
    yield Request(
        "POST", "/api/byok-credentials", {"provider": HERE, "credentials": {"api_key": "x"}}
    )
    yield Request(
        "POST", "/api/byok-credentials", {"provider": "openai", "credentials": {"api_key": HERE}}
    )
    yield Request(
        "POST", "/api/byok-credentials", {"provider": "openai", "credentials": {HERE: "x"}}
    )
    yield Request(
        "POST",
        "/api/byok-credentials",
        {"provider": "litellm", "credentials": {"api_key": "x", "host": HERE}},
    )
    yield Request(
        "POST",
        "/api/byok-credentials",
        {"provider": "sagemaker", "credentials": {"endpoint_name": HERE, "region": HERE}},
    )
    yield Request("DELETE", f"/api/byok-credentials/{HERE}")
    for name in ("action", "tier"):
        yield Request("POST", "/subscription", {"action": "downgrade", "tier": "free", name: HERE})
    yield Request("POST", "/subscription", {"action": "cancel"}, {"preview": HERE})
    for name in ("limit", "cursor"):
        yield Request("GET", "/api/billing/history", query={name: HERE})
    yield Request("GET", "/api/billing/history", headers={"Accept": HERE})
    yield Request("GET", f"/api/billing/history/{HERE}")
    for name in ("monthly_ceiling", "action", "session_turn_cap", "session_token_cap", HERE):
        yield Request("PUT", "/budget", {name: HERE})
    for name in ("thresholds", "email"):
        yield Request("PUT", "/alerts", {name: HERE})
    yield Request("PUT", "/alerts", {"thresholds": [HERE]})
    yield Request("PUT", "/alerts/webhook", {"url": HERE})
    for name in ("limit", "cursor"):
        yield Request("GET", "/alerts/webhook/deliveries", query={name: HERE})
    yield Request("GET", f"/alerts/webhook/deliveries/{HERE}")
    yield Request("POST", f"/alerts/webhook/deliveries/{HERE}/redeliver", {})
    yield Request("GET", f"/console/{HERE}/x.js")
    yield Request("GET", f"/console/x/{HERE}")


def _vault() -> Iterator[Request]:
    document: dict[str, Any] = {"collection": "c", "key": "k", "data": {"n": 1}}
    for name in ("collection", "key", "data", "ttl_seconds", "if_match", "if_absent", "operation"):
        yield Request("POST", "/datavault", {**document, name: HERE})
    yield Request("POST", "/datavault", {**document, "data": {HERE: HERE}})
    yield Request("POST", "/datavault", document, headers={"Idempotency-Key": HERE})
    for updates in (
        HERE,
        {HERE: HERE},
        {"$set": {HERE: HERE}},
        {"$inc": {"n": HERE}},
        {"$push": {"l": {"$each": HERE}}},
        {HERE: {"n": 1}},
    ):
        yield Request("PUT", "/datavault", {"collection": "c", "key": "k", "updates": updates})
    for name in ("collection", "key", "filter", "sort", "limit", "cursor", "operation", "partial"):
        yield Request("GET", "/datavault", query={"collection": "c", name: HERE})
    for condition in (
        HERE,
        {"n": HERE},
        {HERE: 1},
        *({"n": {op: HERE}} for op in OPERATORS),
        {"$or": HERE},
        {"$or": [{HERE: HERE}]},
    ):
        yield Request("POST", "/datavault/query", {"collection": "c", "filter": condition})
        yield Request("POST", "/datavault/count", {"collection": "c", "filter": condition})
    for order in (HERE, [[HERE, 1]], {HERE: -1}, [["n", HERE]]):
        yield Request("POST", "/datavault/query", {"collection": "c", "sort": order})
    for name in ("limit", "cursor"):
        yield Request("POST", "/datavault/query", {"collection": "c", name: HERE})
        yield Request("GET", "/datavault/collections", query={name: HERE})
    for name in ("collection", "key", "cursor", "operation"):
        yield Request("DELETE", "/datavault", {"collection": "c", "key": "k", name: HERE})


OPERATORS = (
    "$eq",
    "$ne",
    "$gt",
    "$gte",
    "$lt",
    "$lte",
    "$in",
    "$nin",
    "$exists",
    "$type",
    "$regex",
    "$options",
    "$size",
    "$mod",
    "$all",
    "$not",
    "$elemMatch",
)


def _operators() -> Iterator[Request]:
    ask = [
        ("POST", "", {"name": HERE}, {}),
        *(
            ("POST", "", {"name": "n", name: HERE}, {})
            for name in ("tier", "session_limit", "price_cents")
        ),
        ("GET", "", None, {"limit": HERE}),
        ("GET", "", None, {"cursor": HERE}),
        ("GET", f"/{HERE}", None, {}),
        ("POST", "/CUS/keys", {"name": HERE}, {}),
        ("POST", "/CUS/keys", {"name": "k", "expires_at": HERE}, {}),
        ("DELETE", f"/CUS/keys/{HERE}", None, {}),
        *(
            (
                "POST",
                "/CUS/credits",
                {"sessions": 1, "reason": "r", "request_id": "q", name: HERE},
                {},
            )
            for name in ("sessions", "reason", "request_id")
        ),
        ("GET", "/CUS/audit-trail", None, {"limit": HERE}),
        ("GET", "/CUS/usage/audit", None, {"period": HERE}),
        ("GET", "/CUS/usage-history", None, {"from": HERE}),
        ("GET", "/CUS/alerts", None, {"period": HERE}),
        ("PUT", "/CUS/clock", {"advance_minutes": HERE}, {}),
        ("PUT", "/CUS/clock", {"set_to": HERE}, {}),
        ("PUT", "/CUS/tier", {"tier": HERE}, {}),
        ("PUT", "/CUS/tier", {"tier": "free"}, {"preview": HERE}),
        ("GET", f"/CUS/statements/{HERE}", None, {}),
        ("GET", f"/CUS/exports/{HERE}", None, {}),
        ("POST", "/CUS/exports", {HERE: HERE}, {}),
        ("POST", "/CUS/erasure", {HERE: HERE}, {}),
    ]
    for method, path, body, query in ask:
        yield Request(method, f"/admin/customers{path}", body, query, operators=True)


BY_CUSTOMERS: Sequence[Request] = tuple(_customers())
BY_OPERATORS: Sequence[Request] = tuple(_operators())


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, Sequence[str]]
    text: str


class Doors:
    """A customer's and an operator's API."""

    def __init__(self, tier: Tier = Tier.PROFESSIONAL) -> None:
        self.api = WholeApi(tier)
        self.world = self.api.world

    @cached_property
    def admin(self) -> Admin:
        admin = Admin()
        admin.create(name="Victim")
        return admin

    def send(self, request: Request, raw: str | None = None) -> Answer:
        """Send a request as its sender."""
        body = (
            raw if raw is not None else None if request.body is None else json.dumps(request.body)
        )
        if request.operators:
            path = request.path.replace("CUS", self.admin.world.customer_id)
            handler, authorizer = self.admin.handler, None
            identity = {"userArn": "arn:aws:iam::1:user/ada"}
        else:
            path, identity = request.path, None
            handler, authorizer = self.api.function(path), self.api.caller
        event = http_event(
            request.method,
            path,
            body,
            dict(request.headers),
            authorizer,
            dict(request.query),
            identity,
        )
        answer = handler(event, LambdaContext())
        return Answer(answer["statusCode"], answer["multiValueHeaders"], answer["body"] or "")
