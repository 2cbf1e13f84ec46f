"""What every store of deferred requests must do, in memory and on DynamoDB."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from flowstack_core.domain.deferred import LIFETIME, RETENTION, DeferredRequest, Run
from flowstack_core.domain.errors import PayloadTooLargeError
from flowstack_core.domain.idempotency import Claim, IdempotencyKey
from flowstack_core.domain.sessions import Session
from tests.contract.conftest import Stores
from tests.contract.test_session_store import Thread
from tests.support.fakes import NOON

MINUTE = timedelta(minutes=1)
ANSWER = {"content": "Hello!"}
BODY = {"messages": [{"role": "user", "content": "Hi"}]}


class Later:
    """One deferred request of one customer, seen through its stores."""

    def __init__(self, stores: Stores) -> None:
        self.stores = stores
        self.thread = Thread(stores).open()
        self.session: Session = self.thread.started("att_1")
        self.claim = Claim(
            IdempotencyKey(stores.customer_id, "digest", "fingerprint"),
            "att_1",
            NOON + MINUTE,
            NOON + RETENTION,
        )
        self.request = DeferredRequest(
            customer_id=stores.customer_id,
            request_id="req_1",
            attempt_id="att_1",
            tier="starter",
            operation="invoke",
            managed=True,
            agent="agent",
            conversation_id="default",
            session_id=self.session.session_id,
            period="2026-11",
            session_started_at=NOON,
            session_started=True,
            accepted_at=NOON,
            deadline=NOON + LIFETIME,
            expires_at=NOON + RETENTION,
        )

    def accept(self, claim: Claim | None = None) -> bool:
        return self.stores.deferred.accept(self.request, BODY, claim)

    def run(self, name: str, minutes: float = 11, after: float = 0) -> Run:
        until = NOON + (after + minutes) * MINUTE
        return Run(self.stores.customer_id, "req_1", name, until)

    def begin(self, name: str, after: float = 0) -> DeferredRequest | None:
        return self.stores.deferred.begin(self.run(name, after=after), NOON + after * MINUTE)

    def settle(self, name: str, after: float = 1) -> bool:
        return self.thread.settle(
            self.session, "att_1", NOON + after * MINUTE, run=self.run(name), answer=ANSWER
        )

    def found(self) -> DeferredRequest:
        found = self.stores.deferred.request(self.stores.customer_id, "req_1")
        assert found is not None
        return found


@pytest.fixture
def later(stores: Stores) -> Later:
    return Later(stores)


def test_a_request_is_kept_as_it_was_accepted(later: Later) -> None:
    assert later.accept()
    assert later.accept(), "safe to repeat"
    assert later.found() == later.request
    assert later.stores.deferred.body(later.stores.customer_id, "req_1") == BODY


def test_a_request_is_kept_for_its_customer_alone(later: Later) -> None:
    later.accept()
    for customer_id, request_id in (("cus_other", "req_1"), (later.stores.customer_id, "req_2")):
        assert later.stores.deferred.request(customer_id, request_id) is None
        assert later.stores.deferred.body(customer_id, request_id) is None
        assert later.stores.deferred.begin(Run(customer_id, request_id, "r", NOON), NOON) is None


def test_s3_the_request_is_the_answer_to_its_key(later: Later) -> None:
    sessions = later.stores.sessions
    sessions.claim(later.claim, NOON)
    assert later.accept(later.claim)
    other = replace(later.claim, owner="att_2")
    assert sessions.claim(other, NOON).answer == {"request_id": "req_1"}


def test_s3_a_request_whose_key_was_lost_is_not_kept(later: Later) -> None:
    later.stores.sessions.claim(replace(later.claim, owner="att_2"), NOON)
    assert not later.accept(later.claim)
    assert later.stores.deferred.request(later.stores.customer_id, "req_1") is None


def test_a_request_that_no_run_has_begun_can_be_taken_back(later: Later) -> None:
    later.stores.sessions.claim(later.claim, NOON)
    later.accept(later.claim)
    assert later.stores.deferred.take_back(later.request, later.claim)
    assert later.stores.deferred.take_back(later.request, later.claim), "safe to repeat"
    assert later.begin("r1") is None
    other = replace(later.claim, owner="att_2")
    assert later.stores.sessions.claim(other, NOON) == other


def test_a_request_that_runs_is_not_taken_back(later: Later) -> None:
    later.accept()
    later.begin("r1")
    assert not later.stores.deferred.take_back(later.request, None)
    assert later.found().status == "running"


def test_s3_one_run_at_a_time(later: Later) -> None:
    later.accept()
    first = later.begin("r1")
    assert first is not None
    assert (first.status, first.run_id) == ("running", "r1")
    assert later.begin("r1") == first, "safe to repeat"
    second = later.begin("r2", after=10)
    assert second is not None
    assert second.run_id == "r1"


def test_s5_a_run_that_died_is_followed_by_another_until_the_deadline(later: Later) -> None:
    later.accept()
    later.begin("r1")
    second = later.begin("r2", after=11)
    assert second is not None
    assert second.run_id == "r2"
    third = later.begin("r3", after=25)
    assert third is not None
    assert (third.run_id, third.status_at(NOON + LIFETIME)) == ("r2", "failed")


def test_s5_an_answer_is_settled_with_its_session_once(later: Later) -> None:
    later.accept()
    later.begin("r1")
    assert later.settle("r1")
    assert later.settle("r1"), "safe to repeat"
    found = later.found()
    assert (found.status, found.answer) == ("succeeded", ANSWER)
    assert later.begin("r2", after=20) == found
    assert (later.thread.used, later.thread.held, later.thread.counted) == (1, [], 1)


def test_s5_a_run_that_is_no_longer_the_last_settles_nothing(later: Later) -> None:
    later.accept()
    later.begin("r1")
    later.begin("r2", after=11)
    assert not later.settle("r1", after=12)
    assert later.thread.held == [later.session.session_id]
    assert later.settle("r2", after=12)
    assert later.thread.held == []


def test_s5_a_request_that_was_given_up_is_not_settled(later: Later) -> None:
    later.accept()
    later.begin("r1")
    assert later.stores.deferred.fail(later.run("r1"), {"error": "x"})
    assert later.stores.deferred.fail(later.run("r1"), {"error": "x"}), "safe to repeat"
    assert not later.settle("r1")
    found = later.found()
    assert (found.status, found.failure) == ("failed", {"error": "x"})
    assert later.begin("r2", after=20) == found


def test_s5_a_withdrawn_attempt_is_not_settled_by_its_run(later: Later) -> None:
    later.accept()
    later.begin("r1")
    later.stores.sessions.abandon(later.thread.conversation, "att_1")
    assert not later.settle("r1")
    assert later.found().status == "running"


def test_what_was_settled_is_not_failed(later: Later) -> None:
    later.accept()
    later.begin("r1")
    later.settle("r1")
    assert not later.stores.deferred.fail(later.run("r1"), {"error": "x"})
    assert later.found().status == "succeeded"


@pytest.mark.parametrize("stores", ["dynamodb"], indirect=True)
def test_a_body_that_no_item_can_hold_is_refused(later: Later) -> None:
    incompressible = "".join(chr(0x4E00 + (i * i * 7919 + i) % 20_000) for i in range(330_000))
    with pytest.raises(PayloadTooLargeError):
        later.stores.deferred.accept(later.request, {"messages": incompressible}, None)
    assert later.stores.deferred.request(later.stores.customer_id, "req_1") is None
