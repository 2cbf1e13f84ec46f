"""The customers' API in memory, in the shapes of docs/api.md, for clients that are under test.

Answers that were scripted come first, one a request; after them it answers by itself. Every
request is kept.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx

URL = "https://api.example.com/prod"
KEY = "fs_canary0000000000000000000000000000000000"

Scripted = httpx.Response | httpx.HTTPError
_PAGE = 2


def envelope(code: str, message: str = "No.", **details: Any) -> dict[str, Any]:
    """Return the body of a refusal."""
    return {"error": message, "error_code": code, "details": details, "request_id": "req-1"}


def refusal(status: int, code: str, headers: dict[str, str] | None = None, **details: Any) -> Any:
    """Return a refusal."""
    return httpx.Response(status, json=envelope(code, **details), headers=headers)


def answer_document(content: str = "Hello!", **fields: Any) -> dict[str, Any]:
    """Return an answer of ``/chat`` or ``/invoke``."""
    return {
        "content": content,
        "stop_reason": "tool_use" if "tool_calls" in fields else "end_turn",
        "model": "claude-sonnet-4-6",
        "provider": "bedrock",
        "usage": {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7},
        "session": {
            "id": "ses_1",
            "new": True,
            "agent": "analyst",
            "conversation_id": "default",
            "period": "2026-11",
            "started_at": "2026-11-24T20:22:57.123Z",
            "ends_at": "2026-11-24T20:55:31.004Z",
        },
        "history": {"turns_dropped": 0},
        **fields,
    }


def answered(content: str = "Hello!", **fields: Any) -> httpx.Response:
    """Return an answer of ``/chat`` or ``/invoke``."""
    return httpx.Response(200, json=answer_document(content, **fields))


def asks_for(*calls: tuple[str, dict[str, Any]], content: str = "") -> httpx.Response:
    """Return an answer that asks for tools."""
    listed = [
        {"id": f"tooluse_{number}", "name": name, "input": arguments}
        for number, (name, arguments) in enumerate(calls, 1)
    ]
    return answered(content, tool_calls=listed)


def history_document() -> dict[str, Any]:
    """Return what ``GET /usage/history`` says."""
    sums = {
        "sessions": 3,
        "managed_sessions": 2,
        "byok_sessions": 1,
        "messages": 7,
        "managed_messages": 5,
        "byok_messages": 2,
        "input_tokens": 700,
        "output_tokens": 350,
    }
    part = {"name": "analyst", "sessions": 3, "managed_sessions": 2, "byok_sessions": 1}
    part |= {"messages": 7, "input_tokens": 700, "output_tokens": 350}
    span = {"start": "2026-11-24", "end": "2026-11-25", "complete": False}
    return {
        "granularity": "daily",
        "from": "2026-11-24",
        "to": "2026-11-24",
        "as_of": "2026-11-24T20:23:00.000Z",
        "series": [{**span, **sums, "breakdown": [part]}],
        "totals": sums,
    }


def budget_document(**fields: Any) -> dict[str, Any]:
    """Return what ``/budget`` says."""
    return {
        "monthly_ceiling": None,
        "action": "warn",
        "session_turn_cap": None,
        "session_token_cap": None,
        "period": "2026-11",
        "resets_at": "2026-12-01T00:00:00.000Z",
        "spent": {
            "plan": 29.0,
            "byok_estimate": 12.3,
            "total": 41.3,
            "unpriced_models": ["litellm/house-model"],
        },
        "reached": False,
        "notice": None,
        **fields,
    }


def usage_document(used: int = 812, limit: int = 1000, **fields: Any) -> dict[str, Any]:
    """Return what ``GET /usage`` says."""
    return {
        "tier": "starter",
        "current_charges": 29.0,
        "current_period": {
            "name": "2026-11",
            "start": "2026-11-01T00:00:00.000Z",
            "end": "2026-12-01T00:00:00.000Z",
            "now": "2026-11-24T20:23:00.000Z",
            "days_left": 6,
            "sessions_used": used,
            "sessions_held": 1,
            "sessions_limit": limit,
            "sessions_remaining": max(0, limit - used),
            "sessions_credited": 0,
            "usage_percentage": round(used * 100 / limit, 2) if limit else 100.0,
            "is_near_limit": used * 100 >= limit * 80,
        },
        "quota": {"reason": f"{max(0, limit - used)} of {limit} sessions can still start."},
        **fields,
    }


def forecast_document() -> dict[str, Any]:
    """Return what ``GET /usage/forecast`` says."""
    return {
        "period": "2026-11",
        "as_of": "2026-11-29T20:23:00.000Z",
        "sessions_used": 985,
        "sessions_limit": 1000,
        "projected_sessions": 1020,
        "interval": {"low": 1005, "high": 1041, "confidence": 0.8},
        "method": "weekday_pattern",
        "explanation": "By the weekdays of the last 8 weeks 35 more are to be expected.",
        "limit_reached_at": "2026-11-30T08:00:00.000Z",
        "days": [
            {"day": "2026-11-29", "expected": 990, "low": 986, "high": 996},
            {"day": "2026-11-30", "expected": 1020, "low": 1005, "high": 1041},
        ],
    }


def advice_document() -> dict[str, Any]:
    """Return what ``GET /usage/recommendations`` says."""
    return {
        "period": "2026-11",
        "as_of": "2026-11-29T20:23:00.000Z",
        "recommendations": [
            {
                "type": "plan_optimization",
                "message": "Starter would do.",
                "potential_savings": 70.0,
                "suggested_tier": "starter",
                "details": {"projected_sessions": 300},
            }
        ],
    }


def _cursor(end: int, found: list[Any]) -> str | None:
    return str(end) if end < len(found) else None


class FakeVault:
    """``/datavault``: documents by collection and key."""

    def __init__(self) -> None:
        self.collections: dict[str, dict[str, dict[str, Any]]] = {}

    def handle(self, request: httpx.Request) -> httpx.Response:
        """Answer a request to it."""
        asked = dict(request.url.params) or json.loads(request.content or b"{}")
        last = request.url.path.rpartition("/")[2]
        name = asked.pop("operation", last)
        name = "collections_" if name == "collections" else name
        operation: Callable[..., dict[str, Any]] = getattr(self, name)
        answer = operation(**asked)
        return httpx.Response(412 if "error_code" in answer else 200, json=answer)

    def store(
        self,
        collection: str,
        data: dict[str, Any],
        key: str | None = None,
        ttl_seconds: int | None = None,
        *,
        if_absent: bool = False,
    ) -> dict[str, Any]:
        documents = self.collections.setdefault(collection, {})
        key = key or f"doc_{len(documents)}"
        if if_absent and key in documents:
            return envelope("VERSION_MISMATCH", version="ver_1")
        documents[key] = data
        return {"success": True, "key": key, "version": "ver_1"}

    def retrieve(self, collection: str, key: str) -> dict[str, Any]:
        one = self.collections.get(collection, {}).get(key)
        return {"data": [] if one is None else [one], "meta": [], "next_cursor": None}

    def query(
        self,
        collection: str,
        limit: int,
        filter: dict[str, Any] | None = None,  # noqa: A002 - the wire's word
        sort: list[tuple[str, int]] | None = None,
        cursor: str = "0",
    ) -> dict[str, Any]:
        assert 1 <= limit <= 1_000
        found = self._passing(collection, filter)
        for field, direction in reversed(sort or []):
            found.sort(key=lambda one: one[field], reverse=direction < 0)
        start = int(cursor)
        end = start + min(_PAGE, limit)
        return {"data": found[start:end], "next_cursor": _cursor(end, found)}

    def update(self, collection: str, key: str, updates: dict[str, Any]) -> dict[str, Any]:
        one = self.collections.get(collection, {}).get(key)
        if one is not None:
            one.update(updates)
        return {"success": one is not None}

    def delete(self, collection: str, key: str) -> dict[str, Any]:
        return {"success": self.collections.get(collection, {}).pop(key, None) is not None}

    def count(
        self,
        collection: str,
        filter: dict[str, Any] | None = None,  # noqa: A002 - the wire's word
        cursor: str = "0",
        *,
        partial: bool = False,
    ) -> dict[str, Any]:
        assert partial
        found = self._passing(collection, filter)
        end = int(cursor) + _PAGE
        return {"count": len(found[int(cursor) : end]), "next_cursor": _cursor(end, found)}

    def clear(self, collection: str, cursor: str | None = None) -> dict[str, Any]:
        documents = self.collections.get(collection, {})
        for key in list(documents)[:_PAGE]:
            del documents[key]
        left = bool(documents)
        return {"success": not left, "remaining": left, "next_cursor": "more" if left else None}

    def collections_(self, cursor: str = "0") -> dict[str, Any]:
        names = sorted(name for name, documents in self.collections.items() if documents)
        end = int(cursor) + _PAGE
        return {
            "names": names[int(cursor) : end],
            "collections": [f"vault_{name}" for name in names],
            "next_cursor": _cursor(end, names),
        }

    def _passing(self, collection: str, conditions: dict[str, Any] | None) -> list[dict[str, Any]]:
        return [
            one
            for one in self.collections.get(collection, {}).values()
            if all(one.get(field) == value for field, value in (conditions or {}).items())
        ]


class FakeApi:
    """All of it. ``transport`` goes into an httpx client, sync or async."""

    def __init__(self) -> None:
        self.scripted: list[Scripted] = []
        self.requests: list[httpx.Request] = []
        self.vault = FakeVault()
        self.webhook: dict[str, Any] | None = None
        self.credentials: dict[str, dict[str, str]] = {}
        self.statements = [{"period": f"2026-{month:02d}"} for month in range(10, 5, -1)]
        self.pending: dict[str, Any] | None = None
        self.usage = usage_document()
        self.advice = advice_document()
        self.alert_settings: dict[str, Any] = {"thresholds": [75, 90, 95], "email": None}
        self.transport = httpx.MockTransport(self.handle)

    @property
    def bodies(self) -> list[Any]:
        """What was sent, request by request."""
        return [json.loads(each.content) if each.content else None for each in self.requests]

    @property
    def routes(self) -> list[str]:
        """Method and path of each request."""
        return [f"{each.method} {each.url.path.removeprefix('/prod')}" for each in self.requests]

    def says(self, *answers: Scripted) -> None:
        """Script the next answers."""
        self.scripted += answers

    def handle(self, request: httpx.Request) -> httpx.Response:
        """Answer a request."""
        self.requests.append(request)
        if self.scripted:
            scripted = self.scripted.pop(0)
            if isinstance(scripted, httpx.HTTPError):
                raise scripted
            return scripted
        path = request.url.path.removeprefix("/prod")
        if path.startswith("/datavault"):
            return self.vault.handle(request)
        if path.startswith("/alerts/webhook"):
            return self._webhook(request, path.removeprefix("/alerts/webhook"))
        return self._document(request, path)

    def _document(self, request: httpx.Request, path: str) -> httpx.Response:
        if path.startswith("/api/byok-credentials"):
            return self._credentials(request, path.rpartition("/")[2])
        answers: dict[str, Callable[[httpx.Request], httpx.Response]] = {
            "/chat": lambda _: answered(),
            "/invoke": lambda _: answered(),
            "/usage": lambda _: httpx.Response(200, json=self.usage),
            "/usage/forecast": lambda _: httpx.Response(200, json=forecast_document()),
            "/usage/history": lambda _: httpx.Response(200, json=history_document()),
            "/usage/recommendations": lambda _: httpx.Response(200, json=self.advice),
            "/tier-info": self._tier,
            "/pricing": self._pricing,
            "/subscription": self._subscription,
            "/api/billing/history": self._history,
            "/alerts": self._alerts,
            "/budget": lambda asked: httpx.Response(
                200, json=budget_document(**json.loads(asked.content or b"{}"))
            ),
        }
        if path.startswith("/api/billing/history/"):
            return httpx.Response(200, json={"statement": {"period": path.rpartition("/")[2]}})
        return answers[path](request)

    def _webhook(self, request: httpx.Request, path: str) -> httpx.Response:
        method = request.method
        if path.startswith("/deliveries"):
            return self._delivery(request, path.removeprefix("/deliveries"))
        if method == "PUT":
            made = {} if self.webhook else {"secret": "whsec_Y2FuYXJ5"}
            self.webhook = json.loads(request.content)
            return httpx.Response(200, json={**self.webhook, **made})
        if self.webhook is None:
            return httpx.Response(404, json=envelope("NOT_FOUND"))
        if method == "DELETE":
            self.webhook = None
            return httpx.Response(200, json={"deleted": True})
        assert method == "GET" or request.content == b"{}"
        if path == "/test":
            return httpx.Response(202, json={"event_id": "test_1", "status": "pending"})
        secret = {"secret": "whsec_bmV3"} if path == "/secret" else {}
        return httpx.Response(200, json={**self.webhook, **secret})

    def _delivery(self, request: httpx.Request, path: str) -> httpx.Response:
        if path.endswith("/redeliver"):
            event_id = path.split("/")[1]
            return httpx.Response(202, json={"event_id": event_id, "status": "pending"})
        delivered = {"type": "usage.alert", "status": "delivered"}
        if path:
            attempts = [{"at": "2026-11-24T20:22:57.123Z", "status": 200}]
            one = {"event_id": path[1:], **delivered, "attempt_log": attempts}
            return httpx.Response(200, json=one)
        start = int(request.url.params.get("cursor", "0"))
        end = start + min(_PAGE, int(request.url.params["limit"]))
        ids = [f"evt_{number}" for number in range(5)]
        page = [{"event_id": each, **delivered} for each in ids[start:end]]
        document = {"deliveries": page, "next_cursor": _cursor(end, ids)}
        return httpx.Response(200, json=document)

    def _alerts(self, asked: httpx.Request) -> httpx.Response:
        if asked.method == "PUT":
            self.alert_settings.update(json.loads(asked.content))
        reached = {
            "id": "alr_1_2026-11_075",
            "threshold": 75,
            "at": "2026-11-20T09:30:00.000Z",
            "sessions_used": 750,
            "sessions_limit": 1000,
        }
        document = {"period": "2026-11", **self.alert_settings, "alerts": [reached]}
        return httpx.Response(200, json=document)

    def _tier(self, _: httpx.Request) -> httpx.Response:
        return httpx.Response(
            200,
            json={
                "tier": "starter",
                "current_tier": "starter",
                "session_limit": 1000,
                "can_use_managed": True,
                "byok": "optional",
                "price_per_month": 29.0,
                "support": "email",
                "extras": [],
                "fair_use": {"requests_per_minute": 300, "managed_tokens_per_day": 5000000},
            },
        )

    def _pricing(self, _: httpx.Request) -> httpx.Response:
        plan = {
            "tier": "starter",
            "price_per_month": 29.0,
            "sessions_per_month": 1000,
            "managed_models": True,
            "byok": "optional",
            "support": "email",
            "extras": [],
            "fair_use": {"requests_per_minute": 300, "managed_tokens_per_day": 5000000},
        }
        return httpx.Response(200, json={"currency": "USD", "plans": [plan]})

    def _subscription(self, request: httpx.Request) -> httpx.Response:
        asked = json.loads(request.content) if request.content else {}
        changes: dict[str, dict[str, Any]] = {
            "downgrade": {
                "tier": asked.get("tier"),
                "effective_at": "2026-12-01T00:00:00.000Z",
            },
            "cancel": {"tier": "free", "effective_at": "2026-12-01T00:00:00.000Z"},
        }
        pending = changes.get(asked.get("action", ""))
        if request.url.params.get("preview") == "true":
            return httpx.Response(
                200, json={"preview": {"action": asked["action"], **(pending or {})}}
            )
        if asked:
            self.pending = pending
        subscription = {
            "tier": "starter",
            "session_limit": 1000,
            "price_usd": 29.0,
            "pending_change": self.pending,
        }
        return httpx.Response(200, json={"subscription": subscription})

    def _history(self, request: httpx.Request) -> httpx.Response:
        if request.headers["Accept"] == "text/csv":
            return httpx.Response(200, text="period,total\n2026-10,29.00\n")
        start = int(request.url.params.get("cursor", "0"))
        end = start + min(_PAGE, int(request.url.params["limit"]))
        page = {
            "statements": self.statements[start:end],
            "next_cursor": _cursor(end, self.statements),
        }
        return httpx.Response(200, json=page)

    def _credentials(self, request: httpx.Request, provider: str) -> httpx.Response:
        if request.method == "POST":
            asked = json.loads(request.content)
            self.credentials[asked["provider"]] = asked["credentials"]
            return httpx.Response(200, json=self._stored(asked["provider"]))
        if request.method == "DELETE":
            if self.credentials.pop(provider, None) is None:
                return httpx.Response(404, json=envelope("NOT_FOUND"))
            return httpx.Response(200, json={"provider": provider, "deleted": True})
        listed = [self._stored(name) for name in self.credentials]
        return httpx.Response(200, json={"credentials": listed})

    def _stored(self, provider: str) -> dict[str, Any]:
        return {
            "provider": provider,
            "credentials": dict.fromkeys(self.credentials[provider], "…"),
            "created_at": "2026-11-24T00:00:00.000Z",
            "updated_at": "2026-11-24T00:00:00.000Z",
            "last_used_at": None,
        }
