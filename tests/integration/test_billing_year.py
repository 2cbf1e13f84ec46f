"""A year of months over HTTPS, on test clocks: plans change, statements say what was counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from flowstack_core.domain.periods import Period
from tests.integration.conftest import Customer, Stack, at_once
from tests.integration.test_refusals import assert_envelope

PRICES = {"free": 0, "starter": 2_900, "professional": 9_900, "enterprise": 49_900}
OWN_KEYS = {"byok_credentials": {"aws_access_key": "AKIAEXAMPLE", "aws_secret_key": "secret"}}


class Life:
    """A customer through the months: what it did, and what its statements have to say."""

    def __init__(self, stack: Stack, tier: str) -> None:
        self.stack = stack
        self.customer: Customer = stack.customer(tier)
        self.counted: dict[str, tuple[int, int]] = {}
        self.names = 0
        self.period = Period.containing(datetime.now(UTC))

    def sessions(self, managed: int = 0, own: int = 0) -> None:
        """Start sessions in the present month."""
        for number in range(managed + own):
            self.names += 1
            fields: dict[str, Any] = {} if number < managed else OWN_KEYS
            answer = self.customer.invoke(f"c{self.names}", **fields)
            assert answer.status_code == 200, answer.text
        before = self.counted.get(self.period.name, (0, 0))
        self.counted[self.period.name] = (before[0] + managed, before[1] + own)

    def next_month(self) -> None:
        """Move the customer's clock into the next month."""
        self.counted.setdefault(self.period.name, (0, 0))
        self.period = self.period.next()
        self.stack.set_clock(self.customer, self.period.start.isoformat())

    def post(self, **command: str) -> httpx.Response:
        """Change the subscription, as the customer."""
        return self.customer.http.post("/subscription", json=command)

    def subscription(self) -> dict[str, Any]:
        """See the subscription, as the customer."""
        response = self.customer.http.get("/subscription")
        assert response.status_code == 200, response.text
        document: dict[str, Any] = response.json()["subscription"]
        return document

    def statements(self) -> Iterator[dict[str, Any]]:
        """Read the whole history, a few statements at a time."""
        cursor: str | None = None
        while True:
            asked = {"limit": "5"} | ({} if cursor is None else {"cursor": cursor})
            response = self.customer.http.get("/api/billing/history", params=asked)
            assert response.status_code == 200, response.text
            yield from response.json()["statements"]
            cursor = response.json()["next_cursor"]
            if cursor is None:
                return

    def assert_billed(self, tiers: list[str]) -> None:
        """Each closed month has one statement, with its sessions and the price of its tier."""
        found = list(self.statements())
        expected = sorted(self.counted, reverse=True)
        assert [statement["period"] for statement in found] == expected
        for statement, tier in zip(found, reversed(tiers), strict=True):
            managed, own = self.counted[statement["period"]]
            assert statement["sessions_used"] == managed + own, statement
            assert (statement["managed_sessions"], statement["byok_sessions"]) == (managed, own)
            assert statement["tier"] == tier, statement
            assert statement["total_cents"] == PRICES[tier], statement
        assert sum(s["sessions_used"] for s in found) == sum(map(sum, self.counted.values()))


def test_a_year_of_months_on_every_tier(stack: Stack) -> None:
    """Twelve months each; the sums of the statements are the sums of what was counted."""

    def live(number: int) -> httpx.Response:
        tier = list(PRICES)[number]
        life = Life(stack, tier)
        for month in range(12):
            life.sessions(managed=0 if tier == "free" else month % 3, own=(month + number) % 2)
            life.next_month()
        life.assert_billed([tier] * 12)
        return life.customer.http.get("/usage")

    assert all(answer.json()["current_period"]["sessions_used"] == 0 for answer in at_once(4, live))


def test_p1_to_p3_a_year_of_changes(stack: Stack) -> None:
    life = Life(stack, "starter")
    tiers = []

    life.sessions(managed=1)
    life.stack.set_tier(life.customer, "professional")  # up, at once
    assert life.customer.usage()["current_period"]["sessions_limit"] == 10_000
    assert life.customer.used == 1
    life.sessions(managed=1)
    tiers.append("professional")
    life.next_month()

    assert life.post(action="downgrade", tier="starter").status_code == 200
    assert life.customer.usage()["tier"] == "professional"
    life.sessions(own=1)
    tiers.append("professional")
    life.next_month()

    assert life.subscription()["tier"] == "starter"
    assert life.post(action="cancel").status_code == 200
    assert life.post(action="undo").status_code == 200
    assert life.subscription()["pending_change"] is None
    tiers.append("starter")
    life.next_month()

    assert life.customer.http.delete("/subscription").status_code == 200
    life.sessions(managed=1)  # P3: service goes on until the period ends
    tiers.append("starter")
    life.next_month()

    refused = life.customer.invoke("managed")
    assert_envelope(refused, 403, "TIER_LIMITATION")
    life.sessions(own=2)
    tiers.append("free")
    life.next_month()

    life.stack.set_tier(life.customer, "enterprise")
    assert life.post(action="downgrade", tier="professional").status_code == 200
    life.stack.set_tier(life.customer, "enterprise", session_limit=200_000)  # clears the downgrade
    assert life.subscription()["pending_change"] is None
    life.sessions(managed=2)
    tiers.append("enterprise")
    life.next_month()

    assert life.subscription()["session_limit"] == 200_000
    life.assert_billed(tiers)
    trail = life.stack.admin.get(f"/admin/customers/{life.customer.customer_id}/audit-trail")
    changes = [a for a in trail["audit_trail"] if a["action"].startswith("subscription.")]
    assert len(changes) == 10
    assert {change["actor"].split(":")[0] for change in changes} == {
        "arn",
        "customer",
        "month-end",
    }
    assert all(change["before"] and change["after"] for change in changes)


@pytest.mark.parametrize(
    ("command", "status", "code"),
    [
        ({"action": "downgrade", "tier": "professional"}, 403, "UPGRADE_NOT_SELF_SERVICE"),
        ({"action": "downgrade", "tier": "starter"}, 409, "CONFLICT"),
        ({"action": "undo"}, 409, "CONFLICT"),
        ({"action": "downgrade"}, 400, "INVALID_REQUEST"),
        ({"action": "upgrade", "tier": "professional"}, 400, "INVALID_REQUEST"),
        ({"action": "downgrade", "tier": "free", "price_usd": "0"}, 400, "INVALID_REQUEST"),
    ],
)
def test_p6_what_a_customer_cannot_do_changes_nothing(
    stack: Stack, command: dict[str, str], status: int, code: str
) -> None:
    life = Life(stack, "starter")
    before = life.subscription()
    assert_envelope(life.post(**command), status, code)
    assert life.subscription() == before


def test_p6_what_the_operator_scheduled_is_not_the_customers_to_undo(stack: Stack) -> None:
    life = Life(stack, "professional")
    stack.set_tier(life.customer, "starter")
    assert_envelope(life.post(action="undo"), 409, "CONFLICT")
    assert life.post(action="cancel").status_code == 200
    assert life.post(action="undo").status_code == 200
    assert life.subscription()["pending_change"]["tier"] == "starter"


@pytest.mark.parametrize("how", ["downgrade", "cancel", "delete", "operator"])
def test_every_change_can_be_tried_dry(stack: Stack, how: str) -> None:
    life = Life(stack, "professional")
    life.sessions(managed=1)
    before = life.subscription()
    asked = {"preview": "true"}
    http = life.customer.http
    tries: dict[str, Callable[[], dict[str, Any]]] = {
        "downgrade": lambda: http.post(
            "/subscription", params=asked, json={"action": "downgrade", "tier": "free"}
        ).json(),
        "cancel": lambda: http.post(
            "/subscription", params=asked, json={"action": "cancel"}
        ).json(),
        "delete": lambda: http.delete("/subscription", params=asked).json(),
        "operator": lambda: stack.admin.put(
            f"/admin/customers/{life.customer.customer_id}/tier?preview=true", {"tier": "free"}
        ),
    }
    preview = tries[how]()["preview"]
    assert preview["effective_at"] == life.period.end.isoformat().replace("+00:00", ".000Z")
    assert (preview["before"]["session_limit"], preview["after"]["session_limit"]) == (10_000, 25)
    assert (preview["before"]["price_usd"], preview["after"]["price_usd"]) == (99, 0)
    assert preview["current_period"]["sessions_remaining"] == 9_999
    assert "managed models" in preview["lost"]
    assert life.subscription() == before


def test_statements_are_there_as_csv_and_to_print(stack: Stack) -> None:
    life = Life(stack, "starter")
    life.sessions(managed=2)
    month = life.period.name
    life.next_month()
    http = life.customer.http
    sheet = http.get("/api/billing/history", headers={"Accept": "text/csv"})
    assert sheet.headers["content-type"].startswith("text/csv")
    header, row = sheet.text.strip().split("\r\n")
    assert header.startswith("statement_id,")
    assert f",{month}," in row
    assert ",29.00," in row
    page = http.get(f"/api/billing/history/{month}", headers={"Accept": "text/html"})
    assert page.headers["content-type"].startswith("text/html")
    assert "29.00" in page.text
    assert_envelope(http.get("/api/billing/history/2020-01"), 404, "NOT_FOUND")
    other = stack.customer()
    assert other.http.get(f"/api/billing/history/{month}").status_code == 404
    assert other.http.get("/api/billing/history").json()["statements"] == []
