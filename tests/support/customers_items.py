"""A customer with something of every kind, and secrets wherever secrets can be."""

from __future__ import annotations

from typing import Any

from flowstack_core.adapters.dynamodb_codec import document_value, number, string
from flowstack_core.adapters.dynamodb_talk import encode_talk
from flowstack_core.domain.periods import Period
from flowstack_core.domain.rollups import Route, Talk

CANARY = "canary-that-must-not-leave"
NOVA = Route(managed=True, provider="bedrock", model="nova")


def every_kind(customer_id: str, periods: list[Period], sessions: int) -> list[dict[str, Any]]:
    """Return the items of a customer with ``sessions`` sessions a period, each with its table."""
    customer = f"CUSTOMER#{customer_id}"
    at = string("2026-11-15T12:00:00.000000Z")
    found = [
        _item("accounts", customer, "PROFILE", customer_id=string(customer_id), name=string("Ada")),
        _item("accounts", customer, "SUBSCRIPTION", terms={"M": {"tier": string("starter")}}),
        _item("accounts", customer, "SUBSCRIPTION#LIMITS", session_turn_cap=number(20)),
        _item("usage", customer, "BUDGET#2026-11", period=string("2026-11")),
        _item("accounts", customer, "TEST_CLOCK", offset_seconds=number(0)),
        _item(
            *("accounts", customer, "WEBHOOK"),
            url=string("https://a.example/"),
            secrets={"L": [{"M": {"ciphertext": {"B": CANARY.encode()}}}]},
        ),
        _item(
            *("usage", f"WEBHOOK#{customer_id}", "evt_1"),
            data=document_value({"threshold": 75}),
            worker=string(CANARY),
        ),
        _item("usage", f"WEBHOOK_LOG#{customer_id}", "2026-11-15T12:00:00.000000Z#evt_1"),
        _item(
            *("accounts", customer, "ALERT_SETTINGS"),
            thresholds={"L": [number(75)]},
            email=string("ada@example.com"),
        ),
        _item("accounts", customer, "PAYMENT", subscription_id=string(f"sub_{customer_id}")),
        _item("accounts", f"PAYMENTS#{customer_id}", f"sub_{customer_id}"),
        _item("accounts", f"PAYMENTS#{customer_id}", f"payer_{customer_id}"),
        _item(
            *("accounts", f"PAYMENT#sub_{customer_id}", "STANDING"),
            subscription_id=string(f"sub_{customer_id}"),
            told_by=string(CANARY),
        ),
        _item(
            *("accounts", f"PAYMENT#payer_{customer_id}", "PAYER"), customer_id=string(customer_id)
        ),
        _item("accounts", customer, "KEY#key_1", name=string("ci"), digest=_digest(customer_id)),
        _item("accounts", f"KEY#{CANARY}-{customer_id}", "KEY", digest=_digest(customer_id)),
        _item(
            *("accounts", f"CREDENTIALS#{customer_id}", "openai"),
            masked={"M": {"api_key": string("sk-…1234")}},
            ciphertext={"B": CANARY.encode()},
        ),
        _item(
            *("accounts", f"AUDIT#{customer_id}", "aud_1"),
            action=string("customer.create"),
            actor=string(f"arn:{CANARY}"),
            before=string("null"),
            after=string('{"tier": "starter"}'),
        ),
        _item("accounts", f"EXPORTS#{customer_id}", "exp_0", upload_id=string(CANARY)),
        _item("usage", customer, "ADJUSTMENTS"),
        _item(
            *("sessions", f"REQUESTS#{customer_id}", "req_1#STATE"),
            status=string("succeeded"),
            answer=document_value({"text": "Hi"}),
            run_id=string(CANARY),
        ),
        _item(
            *("sessions", f"REQUESTS#{customer_id}", "req_1#BODY"),
            body=document_value({"message": "Hello"}),
        ),
        _item("vault", f"DOCUMENTS#{customer_id}", "notes#1", body=document_value({"n": "Ü"})),
        _item("vault", f"RECEIPTS#{customer_id}", CANARY),
    ]
    for period in periods:
        day, rollups = f"{period.name}-15", f"ROLLUPS#{customer_id}"
        found += [
            _item("usage", rollups, f"DAY#{day}", sessions=number(sessions)),
            _item("usage", rollups, f"SLICE#{day}#a%23b#managed#bedrock#nova", sessions=number(1)),
            _item("usage", customer, f"PERIOD#{period.name}", sessions_used=number(sessions)),
            _item("usage", customer, f"STATEMENT#{period.name}", lines=string("[]")),
            _item(
                *("usage", customer, f"ALERT#{period.name}#075"),
                threshold=number(75),
                told={"SS": [CANARY]},
            ),
        ]
        for session in range(sessions):
            session_id = f"ses_{customer_id}_{period.name}_{session:03d}"
            named: dict[str, Any] = {
                "agent": string("a#b"),
                "conversation_id": string(f"{period.name}/{session}"),
                **encode_talk(
                    Route(managed=True, provider="bedrock", model="nova"), Talk(2, 20, 9)
                ),
            }
            found += [
                _item("sessions", f"RECORDS#{customer_id}#{period.name}", session_id, **named),
                _item(
                    "sessions",
                    f"CONVERSATION#{customer_id}#a%23b#{period.name}/{session}",
                    "SESSION",
                    session_id=string(session_id),
                    **named,
                ),
                _item(
                    *("sessions", f"SESSION#{session_id}", "TURN#1#att_1"),
                    at=at,
                    messages=document_value([{"role": "user", "text": f"hello {session_id}"}]),
                ),
            ]
    return found


def _digest(customer_id: str) -> dict[str, str]:
    return string(f"{CANARY}-{customer_id}")


def _item(table: str, pk: str, sk: str, **attributes: Any) -> dict[str, Any]:
    return {"table": table, "pk": pk, "sk": sk, **attributes}
