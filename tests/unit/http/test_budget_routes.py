"""``/budget`` over HTTP, and what its limits do at every door."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from flowstack_core.domain.messages import TokenUsage
from flowstack_core.domain.own_limits import SessionCaps
from flowstack_core.http.budget_documents import BudgetDocument
from flowstack_core.http.documents import ErrorEnvelope
from flowstack_core.http.openai_errors import OpenAIErrorDocument
from flowstack_core.http.resolver import entry_point
from tests.support.fakes import World, model_answer
from tests.support.http_events import HttpResponse, LambdaContext, http_event, response_of
from tests.support.whole_api import alerts_app_of
from tests.unit.http.conftest import ConversationApi


@dataclass
class BudgetApi:
    """Sends requests to the function behind ``/budget`` as its customer."""

    world: World

    def __post_init__(self) -> None:
        self._handler = entry_point(alerts_app_of(self.world))

    def send(self, method: str, body: Any = None) -> HttpResponse:
        """Send a request."""
        event = http_event(
            method,
            "/budget",
            None if body is None else json.dumps(body),
            authorizer={"customer_id": self.world.customer_id, "key_id": "key_7"},
        )
        return response_of(self._handler(event, LambdaContext()))

    def see(self) -> dict[str, Any]:
        """GET what stands."""
        answer = self.send("GET")
        assert answer.status == 200, answer
        BudgetDocument.model_validate(answer.body)
        return answer.body


@pytest.fixture
def budget(api: ConversationApi) -> BudgetApi:
    """The budget of the customer that ``api`` sends as."""
    return BudgetApi(api.world)


def test_what_was_set_is_seen(budget: BudgetApi) -> None:
    nothing = budget.see()
    assert (nothing["monthly_ceiling"], nothing["action"]) == (None, "warn")
    assert (nothing["session_turn_cap"], nothing["session_token_cap"]) == (None, None)
    body = {
        "monthly_ceiling": 49.99,
        "action": "block",
        "session_turn_cap": 20,
        "session_token_cap": 50_000,
    }
    changed = budget.send("PUT", body)
    assert changed.status == 200
    BudgetDocument.model_validate(changed.body)
    assert body.items() <= changed.body.items()
    assert changed.body["spent"] == {
        "plan": 29.0,
        "byok_estimate": 0.0,
        "total": 29.0,
        "unpriced_models": [],
    }
    assert (changed.body["reached"], changed.body["period"]) == (False, "2026-11")
    assert budget.see() == changed.body
    (audit,) = budget.world.tables.audits.values()
    assert audit.actor == "key_7"


def test_a_change_of_one_limit_leaves_the_others(budget: BudgetApi) -> None:
    budget.send("PUT", {"monthly_ceiling": 50, "session_turn_cap": 20})
    changed = budget.send("PUT", {"session_turn_cap": None, "session_token_cap": 7})
    assert changed.body["monthly_ceiling"] == 50.0
    assert changed.body["session_turn_cap"] is None
    assert changed.body["session_token_cap"] == 7
    assert budget.send("PUT", {}).body == changed.body


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"monthly_ceiling": 0}, "monthly_ceiling"),
        ({"monthly_ceiling": -1}, "monthly_ceiling"),
        ({"monthly_ceiling": 10.005}, "monthly_ceiling"),
        ({"monthly_ceiling": 1e300}, "monthly_ceiling"),
        ({"monthly_ceiling": "50"}, "monthly_ceiling"),
        ({"monthly_ceiling": True}, "monthly_ceiling"),
        ({"action": "stop"}, "action"),
        ({"action": None}, "action"),
        ({"session_turn_cap": 0}, "session_turn_cap"),
        ({"session_turn_cap": 2.5}, "session_turn_cap"),
        ({"session_turn_cap": "5"}, "session_turn_cap"),
        ({"session_turn_cap": True}, "session_turn_cap"),
        ({"session_token_cap": -3}, "session_token_cap"),
        ({"session_cap": 3}, "session_cap"),
        ([], None),
    ],
    ids=str,
)
def test_what_cannot_be_meant_is_refused_and_changes_nothing(
    body: Any, field: str | None, budget: BudgetApi
) -> None:
    refused = budget.send("PUT", body)
    assert (refused.status, refused.body["error_code"]) == (400, "INVALID_REQUEST")
    ErrorEnvelope.model_validate(refused.body)
    if field is not None:
        assert refused.body["details"]["field"] == field
    assert budget.world.tables.own_limits == {}


def test_a_ceiling_that_the_plan_alone_reaches_is_taken_with_a_notice(budget: BudgetApi) -> None:
    warned = budget.send("PUT", {"monthly_ceiling": 29}).body
    assert warned["reached"] is True
    assert "in every period" in warned["notice"]
    blocked = budget.send("PUT", {"action": "block"}).body
    assert "no new session can start" in blocked["notice"]
    assert budget.see() == blocked


def test_nobody_elses_limits_are_seen_or_set(budget: BudgetApi) -> None:
    budget.send("PUT", {"session_turn_cap": 20})
    budget.world.customer_id = "cus_2"
    budget.world.subscribe()
    assert budget.see()["session_turn_cap"] is None
    budget.send("PUT", {"session_turn_cap": 3})
    assert budget.world.tables.own_limits["cus_1"].caps == SessionCaps(turns=20)


# --- at the doors -------------------------------------------------------------------------------

LATER = {"Prefer": "respond-async"}
WHERE = {"X-Agent": "helper", "X-Conversation-Id": "c"}
DOORS: dict[str, Callable[[ConversationApi], HttpResponse]] = {
    "invoke": lambda api: api.invoke(agent="helper", conversation_id="c"),
    "chat": lambda api: api.chat(conversation_id="c"),
    "v1": lambda api: api.complete(WHERE),
    "invoke, later": lambda api: api.invoke(LATER, agent="helper", conversation_id="c"),
    "chat, later": lambda api: api.chat(LATER, conversation_id="c"),
    "v1, later": lambda api: api.complete({**WHERE, **LATER}),
}
every_door = pytest.mark.parametrize("door", DOORS.values(), ids=DOORS)


def refusal_of(response: HttpResponse) -> tuple[str, dict[str, Any]]:
    """Return code and details, from either form of an error."""
    assert response.status == 429, response
    if "flowstack" in response.body:
        OpenAIErrorDocument.model_validate(response.body)
        assert response.body["error"]["type"] == "insufficient_quota"
        assert response.headers["x-should-retry"] == "false"
        facts = response.body["flowstack"]
        return facts["error_code"], facts["details"]
    ErrorEnvelope.model_validate(response.body)
    return response.body["error_code"], response.body["details"]


@every_door
def test_a_cap_on_turns_holds_at_every_door(
    door: Callable[[ConversationApi], HttpResponse], api: ConversationApi, budget: BudgetApi
) -> None:
    budget.send("PUT", {"session_turn_cap": 2})
    for other in (DOORS["chat"], DOORS["v1"]):
        assert other(api).status == 200
    code, details = refusal_of(door(api))
    assert (code, details["kind"], details["used"]) == ("SESSION_CAP_REACHED", "turns", 2)
    budget.send("PUT", {"session_turn_cap": 3})
    assert door(api).status in {200, 202}
    for every in DOORS.values():
        assert refusal_of(every(api))[0] == "SESSION_CAP_REACHED"
    session = api.world.session("c", "helper")
    assert session is not None
    assert (session.turns, api.world.used()) == (3, 1)


@every_door
def test_a_cap_on_tokens_holds_at_every_door(
    door: Callable[[ConversationApi], HttpResponse], api: ConversationApi, budget: BudgetApi
) -> None:
    budget.send("PUT", {"session_token_cap": 100})
    api.world.model.reactions = [model_answer(tokens=TokenUsage(90, 10))]
    assert api.chat(conversation_id="c").status == 200
    code, details = refusal_of(door(api))
    assert (code, details["kind"], details["used"]) == ("SESSION_CAP_REACHED", "tokens", 100)


@every_door
def test_a_block_holds_at_every_door(
    door: Callable[[ConversationApi], HttpResponse], api: ConversationApi, budget: BudgetApi
) -> None:
    budget.send("PUT", {"monthly_ceiling": 10, "action": "block"})
    code, details = refusal_of(door(api))
    assert (code, details["ceiling"], details["spent"]) == ("BUDGET_EXCEEDED", 10.0, 29.0)
    budget.send("PUT", {"monthly_ceiling": None})
    assert door(api).status in {200, 202}


def test_a_cap_of_one_admits_the_first_message_at_every_door(
    api: ConversationApi, budget: BudgetApi
) -> None:
    budget.send("PUT", {"session_turn_cap": 1})
    for name, door in DOORS.items():
        api.world.clock.advance(minutes=31)
        assert door(api).status in {200, 202}, name
        assert refusal_of(door(api))[0] == "SESSION_CAP_REACHED"


def test_refusals_by_own_limits_are_counted(
    api: ConversationApi, budget: BudgetApi, capsys: pytest.CaptureFixture[str]
) -> None:
    budget.send("PUT", {"session_turn_cap": 1})
    api.chat()
    assert "OwnLimitRefusals" not in capsys.readouterr().out
    api.chat()
    assert "OwnLimitRefusals" in capsys.readouterr().out


def test_the_doors_are_told_caps_as_texts(api: ConversationApi) -> None:
    authorizer = {"customer_id": api.world.customer_id, "tier": "starter", "key_id": "key_1"}
    send = partial(http_event, "POST", "/chat", json.dumps({"agent": "a", "message": "Hi"}))
    api.world.limit_itself(session_turn_cap=1)
    context = {**authorizer, "session_turn_cap": "1"}
    statuses = [
        response_of(api.handler(send(authorizer=context), LambdaContext())).status for _ in range(2)
    ]
    assert statuses == [200, 429]
