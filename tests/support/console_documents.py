"""What the API answers to the console, in the shapes of docs/api.md.

It is the 24th of November of a customer on `professional`; each function makes a new document.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

TODAY = date(2026, 11, 24)
NOW = "2026-11-24T14:05:00.000Z"
AGENTS = ("analyst", "support", "triage")
KEY = "fs_" + "c4n4ry" * 6 + "abc"

# A weekly rhythm that looks like one, without chance: managed and own keys, Monday first.
_WEEK = ((212, 61), (248, 74), (231, 80), (255, 66), (198, 58), (64, 12), (41, 9))

Document = dict[str, Any]


def envelope(code: str, message: str, **details: Any) -> Document:
    """Return the body of a refusal."""
    return {"error": message, "error_code": code, "details": details, "request_id": "req-4711"}


def usage(used: int = 5918, limit: int = 10_000, held: int = 3, tier: str = "professional") -> Any:
    """``GET /usage``."""
    share = 100 * used / limit if limit else 100.0
    return {
        "tier": tier,
        "current_charges": 99.0,
        "current_period": {
            "name": "2026-11",
            "start": "2026-11-01T00:00:00.000Z",
            "end": "2026-12-01T00:00:00.000Z",
            "now": NOW,
            "days_left": 6,
            "sessions_used": used,
            "sessions_held": held,
            "sessions_limit": limit,
            "sessions_remaining": max(0, limit - used),
            "sessions_credited": 0,
            "usage_percentage": round(share, 2),
            "is_near_limit": share >= 80,
        },
        "quota": {
            "period": "2026-11",
            "current_usage": used,
            "held": held,
            "limit": limit,
            "remaining": max(0, limit - used),
            "resets_at": "2026-12-01T00:00:00.000Z",
            "reason": f"{used} of {limit} sessions of 2026-11 are used.",
        },
    }


def _sums(managed: int, byok: int) -> Document:
    sessions = managed + byok
    return {
        "sessions": sessions,
        "managed_sessions": managed,
        "byok_sessions": byok,
        "messages": sessions * 6,
        "managed_messages": managed * 6,
        "byok_messages": byok * 6,
        "input_tokens": sessions * 2_900,
        "output_tokens": sessions * 610,
    }


def _day(day: date) -> tuple[int, int]:
    managed, byok = _WEEK[day.weekday()]
    return managed + day.day % 5 * 7, byok + day.day % 3 * 4


def history(by: str | None = None) -> Document:
    """``GET /usage/history``: the days of this period so far."""
    series = []
    for number in range(TODAY.day):
        day = date(2026, 11, 1) + timedelta(days=number)
        managed, byok = _day(day)
        one = {
            "start": day.isoformat(),
            "end": (day + timedelta(days=1)).isoformat(),
            **_sums(managed, byok),
            "complete": day < TODAY,
        }
        if by is not None:
            one["breakdown"] = [
                {"name": name, **_sums(managed * part // 6, byok * part // 6)}
                for name, part in zip(AGENTS, (3, 2, 1), strict=True)
            ]
        series.append(one)
    managed, byok = (sum(one[name] for one in series) for name in _KINDS)
    return {
        "granularity": "daily",
        "from": "2026-11-01",
        "to": TODAY.isoformat(),
        "as_of": NOW,
        "series": series,
        "totals": _sums(managed, byok),
    }


_KINDS = ("managed_sessions", "byok_sessions")


def forecast(limit: int = 10_000) -> Document:
    """``GET /usage/forecast``."""
    so_far = history()["totals"]["sessions"]
    days, expected = [], so_far
    for ahead in range(7):
        day = TODAY + timedelta(days=ahead)
        expected += sum(_day(day)) if ahead else 120
        spread = 70 * (ahead + 1)
        days.append(
            {
                "day": day.isoformat(),
                "expected": expected,
                "low": expected - spread,
                "high": expected + spread,
            }
        )
    last = days[-1]
    return {
        "period": "2026-11",
        "as_of": NOW,
        "sessions_used": so_far,
        "sessions_limit": limit,
        "projected_sessions": last["expected"],
        "interval": {"low": last["low"], "high": last["high"], "confidence": 0.8},
        "method": "weekday_pattern",
        "explanation": "From the last eight weeks: each weekday counts as such days did.",
        "limit_reached_at": None,
        "days": days,
    }


def recommendations() -> Document:
    """``GET /usage/recommendations``."""
    return {
        "as_of": NOW,
        "period": "2026-11",
        "recommendations": [
            {
                "type": "cost_reduction",
                "message": "A quarter of the sessions use own keys at OpenAI. With managed models"
                " they would be part of the plan.",
                "potential_savings": 41.5,
                "suggested_tier": None,
                "details": {},
            },
            {
                "type": "plan_optimization",
                "message": "The last three periods used less than 60 % of the plan's sessions.",
                "potential_savings": 0.0,
                "suggested_tier": None,
                "details": {},
            },
        ],
    }


def alerts() -> Document:
    """``GET /alerts``."""
    return {
        "period": "2026-11",
        "thresholds": [50, 75, 90],
        "email": "ops@example.com",
        "alerts": [
            {
                "id": "alr_2026-11_050",
                "threshold": 50,
                "at": "2026-11-23T09:41:12.000Z",
                "sessions_used": 5000,
                "sessions_limit": 10_000,
            }
        ],
    }


def webhook() -> Document:
    """``GET /alerts/webhook``."""
    return {
        "url": "https://hooks.example.com/flowstack",
        "created_at": "2026-10-02T08:00:00.000Z",
        "updated_at": "2026-10-02T08:00:00.000Z",
        "switched_off_at": None,
        "old_secrets_until": None,
    }


def deliveries() -> Document:
    """``GET /alerts/webhook/deliveries``."""
    return {
        "deliveries": [
            _delivery("evt_2", "usage.alert", "delivered", "2026-11-23T09:41:13.000Z", 204),
            _delivery("evt_1", "statement.created", "failed", "2026-11-01T00:02:10.000Z", 500),
        ],
        "next_cursor": None,
    }


def _delivery(event_id: str, type_: str, status: str, at: str, answer: int) -> Document:
    return {
        "event_id": event_id,
        "type": type_,
        "status": status,
        "reason": None,
        "created_at": at,
        "attempts": 1 if status == "delivered" else 8,
        "next_attempt_at": None,
        "last_attempt": {
            "series": 1,
            "attempt": 1,
            "at": at,
            "status": answer,
            "reason": None,
            "milliseconds": 84,
        },
    }


def budget() -> Document:
    """``GET /budget``."""
    return {
        "monthly_ceiling": 250.0,
        "action": "warn",
        "session_turn_cap": 40,
        "session_token_cap": None,
        "spent": {"plan": 99.0, "byok_estimate": 71.4, "total": 170.4},
        "reached": False,
        "period": "2026-11",
    }


def subscription() -> Document:
    """``GET /subscription``."""
    return {
        "subscription": {
            "tier": "professional",
            "session_limit": 10_000,
            "price_cents": 9900,
            "price_usd": 99.0,
            "version": 3,
            "pending_change": None,
        }
    }


def pricing() -> Document:
    """``GET /pricing``, as far as the console reads it."""
    return {
        "currency": "USD",
        "plans": [
            {"tier": "free", "price_per_month": 0.0, "sessions_per_month": 25},
            {"tier": "starter", "price_per_month": 29.0, "sessions_per_month": 1000},
            {"tier": "professional", "price_per_month": 99.0, "sessions_per_month": 10_000},
            {"tier": "enterprise", "price_per_month": 499.0, "sessions_per_month": 100_000},
        ],
    }


def _statement(period: str, used: int) -> Document:
    start = datetime.fromisoformat(f"{period}-01").replace(tzinfo=UTC)
    return {
        "statement_id": f"stm_{period}",
        "customer_id": "cus_1",
        "period": period,
        "period_start": start.isoformat(),
        "tiers": ["professional"],
        "tier": "professional",
        "sessions_used": used,
        "session_limit": 10_000,
        "managed_sessions": used * 3 // 4,
        "byok_sessions": used - used * 3 // 4,
        "total_cents": 9900,
        "total": 99.0,
    }


def statements() -> Document:
    """``GET /api/billing/history``, as far as the console reads it."""
    used = {"2026-10": 5804, "2026-09": 5391, "2026-08": 4127}
    return {"statements": [_statement(*one) for one in used.items()], "next_cursor": None}


def credentials() -> Document:
    """``GET /api/byok-credentials``."""
    return {
        "credentials": [
            {
                "provider": "openai",
                "credentials": {"api_key": "sk-…9f3a"},
                "created_at": "2026-09-14T10:00:00.000Z",
                "updated_at": "2026-10-20T16:12:00.000Z",
                "last_used_at": NOW,
            }
        ]
    }


def _amounts(revenue: float, cost: float) -> Document:
    return {
        "revenue": revenue,
        "revenue_cents": int(revenue * 100),
        "managed_cost": cost,
        "margin": revenue - cost,
        "cost_share_percent": round(100 * cost / revenue, 1) if revenue else None,
        "managed": {"messages": 4200, "input_tokens": 9_000_000, "output_tokens": 1_900_000},
        "unpriced": {"messages": 0, "input_tokens": 0, "output_tokens": 0},
    }


def margin(customer_id: str = "cus_1") -> Document:
    """``GET /admin/customers/{id}/margin``."""
    who = {"period": "2026-11", "customer_id": customer_id, "tier": "professional"}
    return {**who, **_amounts(99.0, 41.3)}


def margins(*worst: str) -> Document:
    """``GET /admin/margins``."""
    tiers = {"free": (0.0, 0.0), "starter": (290.0, 61.0), "professional": (1980.0, 507.5)}
    return {
        "period": "2026-11",
        "as_of": NOW,
        "made_at": NOW,
        "share_percent": 50,
        "customers_over_share": len(worst),
        "tiers": [{"tier": t, "customers": 10, **_amounts(*sums)} for t, sums in tiers.items()],
        "totals": {"customers": 30, **_amounts(2270.0, 568.5)},
        "worst": [margin(customer_id) for customer_id in worst],
    }


def operator_documents(customer_id: str) -> dict[str, Document]:
    """Return the documents of the operators' routes by their paths."""
    customer = f"admin/customers/{customer_id}"
    return {
        "admin/margins": margins(customer_id),
        f"{customer}/usage-history": history(),
        f"{customer}/forecast": forecast(),
        f"{customer}/recommendations": recommendations(),
        f"{customer}/alerts": alerts(),
        f"{customer}/margin": margin(customer_id),
    }


def contract_documents() -> dict[str, Document]:
    """Return the documents of the routes by their paths."""
    return {
        "usage/history": history(),
        "usage/forecast": forecast(),
        "usage/recommendations": recommendations(),
        "alerts": alerts(),
        "alerts/webhook": webhook(),
        "alerts/webhook/deliveries": deliveries(),
        "budget": budget(),
    }


def every_document() -> dict[str, Document]:
    """Return a document for everything that the console asks for."""
    return {
        "usage": usage(),
        "subscription": subscription(),
        "pricing": pricing(),
        "api/billing/history": statements(),
        "api/byok-credentials": credentials(),
        **contract_documents(),
    }
