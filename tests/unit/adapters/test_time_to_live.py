"""Time to live: DynamoDB knows whole seconds only, and none of them may come too early."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from flowstack_core.adapters.dynamodb_claims import put_claim
from flowstack_core.adapters.dynamodb_sessions import join_session, put_head, settle_head
from flowstack_core.domain.idempotency import Claim, IdempotencyKey
from flowstack_core.domain.messages import TokenUsage
from flowstack_core.domain.rollups import Route
from flowstack_core.domain.sessions import INACTIVITY_LIMIT, Conversation, Session
from flowstack_core.services.ports.sessions import Attempt, Settlement
from tests.support.fakes import NOON, NOVEMBER

CONVERSATION = Conversation("cus_1", "agent", "default")


def joined(now: datetime) -> Any:
    attempt = Attempt(CONVERSATION, "att_1", now, now + timedelta(seconds=34), managed=True)
    return join_session("sessions", attempt)["ExpressionAttributeValues"][":ttl"]


def started(now: datetime) -> Any:
    session = Session("ses_1", CONVERSATION, NOVEMBER, now, now)
    return put_head("sessions", session)["Put"]["Item"]["ttl"]


def settled(now: datetime) -> Any:
    session = Session("ses_1", CONVERSATION, NOVEMBER, NOON, NOON)
    route = Route(managed=True, provider="bedrock", model="nova-lite")
    settlement = Settlement(session, "att_1", now, route, TokenUsage(1, 1))
    update = settle_head("sessions", settlement, moves_activity=True)
    return update["ExpressionAttributeValues"][":ttl"]


@pytest.mark.parametrize("write", [started, joined, settled])
@pytest.mark.parametrize("microseconds", [0, 1, 500_000, 999_999])
def test_s2_no_session_is_deleted_in_the_last_second_of_its_thirty_minutes(
    write: Any, microseconds: int
) -> None:
    now = NOON + timedelta(microseconds=microseconds)
    ends = (now + INACTIVITY_LIMIT).timestamp()
    assert ends <= int(write(now)["N"]) < ends + 1


def test_s3_no_claim_is_deleted_before_it_is_forgotten() -> None:
    forgotten = NOON + timedelta(microseconds=1)
    claim = Claim(IdempotencyKey("cus_1", "digest", "fingerprint"), "att_1", NOON, forgotten)
    item = put_claim("sessions", claim, NOON)["Item"]
    assert int(item["ttl"]["N"]) >= forgotten.timestamp()
