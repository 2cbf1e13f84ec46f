"""What services tell the observer of messages, at every door."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from flowstack_core.domain.errors import ModelUnavailableError, QuotaExceededError
from flowstack_core.domain.messages import ModelAnswer, ModelRequest
from flowstack_core.domain.plans import Tier
from flowstack_core.domain.providers import Provider
from tests.support.fakes import Watching, World, model_answer

RECEIVED = ("received", Tier.STARTER, Provider.BEDROCK, True)


@dataclass
class Watched:
    """A world, and what its services tell."""

    observer: Watching = field(default_factory=Watching)

    def __post_init__(self) -> None:
        self.world = World(observer=self.observer)
        self.world.subscribe()

    def slow(self, seconds: float, outcome: ModelAnswer | Exception) -> None:
        """Have the model take its time once."""

        def react(_: ModelRequest) -> ModelAnswer:
            self.world.budget.sleep(seconds)
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

        self.world.model.reactions.append(react)


@pytest.fixture
def watched() -> Watched:
    return Watched()


def test_an_answer_is_told_with_the_time_the_model_took(watched: Watched) -> None:
    answer = model_answer()
    watched.slow(2.0, answer)
    watched.world.send()
    assert watched.observer.told == [RECEIVED, ("answered", 2.0, answer.usage)]


def test_a_failure_is_told_with_the_time_it_took_and_the_session_given_back(
    watched: Watched,
) -> None:
    watched.slow(2.0, ModelUnavailableError("down"))
    with pytest.raises(ModelUnavailableError):
        watched.world.send()
    assert watched.observer.told == [
        RECEIVED,
        ("failed", 2.0, ModelUnavailableError),
        ("released",),
    ]


def test_a_refusal_asks_no_model(watched: Watched) -> None:
    watched.world.subscribe(session_limit=0)
    with pytest.raises(QuotaExceededError):
        watched.world.send()
    assert watched.observer.told == [RECEIVED]


def test_own_models_are_told_apart_from_managed_ones(watched: Watched) -> None:
    watched.world.send(managed=False)
    assert watched.observer.told[0] == ("received", Tier.STARTER, Provider.BEDROCK, False)


def test_a_deferred_request_is_told_of_when_it_comes_and_when_it_is_run(watched: Watched) -> None:
    request_id = watched.world.submit().request_id
    assert watched.observer.told == [RECEIVED]
    watched.world.run(request_id)
    assert [kind for kind, *_ in watched.observer.told] == ["received", "received", "answered"]


def test_a_session_that_a_crash_left_is_told_when_another_takes_its_room(
    watched: Watched,
) -> None:
    watched.world.subscribe(session_limit=1)
    watched.world.admit("crashed")
    watched.world.clock.advance(hours=1)
    watched.world.send("next")
    assert ("released",) in watched.observer.told


def test_a_repeat_is_no_call_of_the_model(watched: Watched) -> None:
    for _ in range(2):
        watched.world.send(idempotency_key="order-1")
    assert [kind for kind, *_ in watched.observer.told] == ["received", "answered", "received"]
