"""Steps of exports and erasures, as SQS delivers them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from flowstack_core.adapters.sqs_data_rights import (
    MalformedStepError,
    StepMessage,
    decode_step_message,
    encode_step_message,
)
from flowstack_core.events.data_rights import data_rights_steps
from tests.support.batch_events import queue_record
from tests.support.fakes import World
from tests.support.http_events import LambdaContext


def delivered(world: World, *bodies: str) -> list[str]:
    """Deliver messages; return the ids of those that failed."""
    handler = data_rights_steps(lambda: world.export_service, lambda: world.erasure_service)
    records = [queue_record(str(number), body) for number, body in enumerate(bodies)]
    answer = handler({"Records": records}, LambdaContext())
    return [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]


def test_a_message_does_a_step_of_what_it_names() -> None:
    world = World()
    world.subscribe()
    export = world.export_service.start("op", "cus_1")
    world.erasure_service.start("op", "cus_1", "cus_1")
    messages = [StepMessage("cus_1", 0, export.export_id), StepMessage("cus_1", 0)]
    assert (
        delivered(
            world,
            *map(encode_step_message, messages),
            encode_step_message(StepMessage("cus_1", 1, export.export_id)),
        )
        == []
    )
    assert world.export_service.export("cus_1", export.export_id).ready_at is not None
    assert world.rights_queue.messages[-2:][0][1] in {None, export.export_id}


def test_what_is_no_step_is_given_back_and_holds_up_nobody() -> None:
    world = World()
    world.subscribe()
    export = world.export_service.start("op", "cus_1")
    good = encode_step_message(StepMessage("cus_1", 0, export.export_id))
    with pytest.raises(Exception, match="All records failed"):
        delivered(World(), "nonsense")
    assert delivered(world, "nonsense", good) == ["0"]
    assert world.export_service.export("cus_1", export.export_id).step == 1


@pytest.mark.parametrize(
    "message",
    [
        [],
        {"customer_id": "cus_1"},
        {"customer_id": 1, "step": 0, "export_id": None},
        {"customer_id": "cus_1", "step": "x", "export_id": None},
        {"customer_id": "cus_1", "step": 0, "export_id": 7},
    ],
)
def test_a_message_of_another_form_is_told_apart(message: Any) -> None:
    with pytest.raises(MalformedStepError):
        decode_step_message(json.dumps(message))


def test_a_message_says_what_it_said() -> None:
    for message in (StepMessage("cus_1", 3), StepMessage("cus_1", 4, "exp_1")):
        assert decode_step_message(encode_step_message(message)) == message
