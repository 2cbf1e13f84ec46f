"""Metrics in the log: what was answered and what was refused, and nobody's name."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from flowstack_core.domain import errors
from flowstack_core.domain.messages import ModelAnswer
from flowstack_core.domain.plans import Tier
from flowstack_core.domain.providers import Provider
from flowstack_core.http import telemetry
from flowstack_core.http.resolver import logger
from flowstack_core.http.telemetry import MessageObserver
from tests.support.fakes import model_answer
from tests.support.http_events import EXTENDED_REQUEST_ID, REQUEST_ID
from tests.support.metric_lines import dimensions_of, measured, totals
from tests.unit.http.conftest import ConversationApi

SERVICE = {"service": "api", "stage": "undefined"}
OWN_KEYS = {"aws_access_key": "AKIA0123456789", "aws_secret_key": "secret"}


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Callable[[], list[str]]:
    """Take the lines that were printed since the last time."""
    telemetry.flush()
    capsys.readouterr()
    return partial(_taken, capsys)


def test_an_answer_counts_message_session_and_tokens(
    api: ConversationApi, printed: Callable[[], list[str]]
) -> None:
    api.invoke()
    counted = totals(printed())
    assert counted.pop("Overhead")[0] >= 0
    assert counted == {
        "Requests": [1.0],
        "MessagesAnswered": [1.0],
        "SessionsStarted": [1.0],
        "ModelLatency": [0.0],
        "ModelFailures": [0.0],
        "InputTokens": [10.0],
        "OutputTokens": [5.0],
    }
    api.invoke()
    assert totals(printed())["SessionsStarted"] == [0.0]


def test_all_of_a_request_is_in_one_line(
    api: ConversationApi, printed: Callable[[], list[str]]
) -> None:
    api.invoke()
    assert len([line for line in printed() if "_aws" in line]) == 1


@pytest.mark.parametrize(
    ("tier", "fields", "provider"),
    [
        (Tier.STARTER, {}, "managed"),
        (Tier.PROFESSIONAL, {"byok_credentials": OWN_KEYS}, "bedrock"),
    ],
)
def test_messages_are_told_apart_by_tier_and_models_by_provider(
    tier: Tier, fields: dict[str, object], provider: str, printed: Callable[[], list[str]]
) -> None:
    api = ConversationApi()
    api.world.subscribe(tier)
    api.send("/invoke", _invocation(**fields), tier=tier.value)
    counted = measured(printed())
    by_tier = dimensions_of(**SERVICE, tier=tier.value)
    by_provider = dimensions_of(**SERVICE, provider=provider)
    assert {name for name, dimensions in counted if dimensions == by_tier} == {
        *("MessagesAnswered", "SessionsStarted")
    }
    assert {name for name, dimensions in counted if dimensions == by_provider} == {
        *("ModelLatency", "ModelFailures", "InputTokens", "OutputTokens")
    }


def test_no_metric_knows_the_customer(
    api: ConversationApi, printed: Callable[[], list[str]]
) -> None:
    api.invoke()
    api.complete()
    api.chat()
    for line in printed():
        if "_aws" in line:
            assert api.world.customer_id not in line


@pytest.mark.parametrize("door", ["invoke", "chat", "complete"])
def test_every_door_counts_alike(
    door: str, api: ConversationApi, printed: Callable[[], list[str]]
) -> None:
    assert getattr(api, door)().status == 200
    counted = measured(printed())
    assert counted["MessagesAnswered", dimensions_of(**SERVICE, tier="starter")] == [1.0]
    assert counted["InputTokens", dimensions_of(**SERVICE, provider="managed")] == [10.0]


def test_a_refusal_is_counted_by_its_kind_and_tier(
    api: ConversationApi, printed: Callable[[], list[str]]
) -> None:
    api.world.subscribe(session_limit=0)
    api.invoke()
    counted = measured(printed())
    for dimensions in (dimensions_of(**SERVICE), dimensions_of(**SERVICE, tier="starter")):
        assert counted["QuotaRefusals", dimensions] == [1.0]
    assert ("ModelLatency", dimensions_of(**SERVICE)) not in counted
    api.invoke(model="none")
    assert totals(printed()) == {"Requests": [1.0]}


def test_a_refusal_is_counted_under_the_tier_in_force(
    printed: Callable[[], list[str]],
) -> None:
    api = ConversationApi()
    api.world.subscribe(Tier.FREE)
    assert api.send("/invoke", _invocation(), tier="starter").status == 403
    assert measured(printed())["TierRefusals", dimensions_of(**SERVICE, tier="free")] == [1.0]


@pytest.mark.parametrize(
    ("error", "failed", "throttled"),
    [
        (errors.ModelUnavailableError("down"), True, False),
        (errors.ModelTimeoutError("slow"), True, False),
        (errors.ProviderRateLimitedError("busy"), True, True),
        (errors.ModelRequestRejectedError("bad image"), False, False),
        (errors.ProviderCredentialsRejectedError("bad key"), False, False),
        (errors.ContextLengthExceededError("long"), False, False),
    ],
)
def test_a_model_fails_unless_the_caller_made_the_mistake(
    error: errors.FlowStackError,
    failed: bool,
    throttled: bool,
    api: ConversationApi,
    printed: Callable[[], list[str]],
) -> None:
    api.world.model.reactions.append(error)
    api.invoke()
    counted = measured(printed())
    for dimensions in (
        dimensions_of(**SERVICE),
        dimensions_of(**SERVICE, provider="managed"),
    ):
        assert counted["ModelFailures", dimensions] == [float(failed)]
        assert counted.get(("ModelThrottles", dimensions)) == ([1.0] if throttled else None)
        assert len(counted["ModelLatency", dimensions]) == 1


def test_a_session_that_is_given_back_is_counted(
    api: ConversationApi, printed: Callable[[], list[str]]
) -> None:
    api.world.model.reactions.append(errors.ModelUnavailableError("down"))
    api.invoke()
    assert totals(printed())["SessionsReleased"] == [1.0]


def test_the_models_time_is_no_overhead(printed: Callable[[], list[str]]) -> None:
    observer = MessageObserver()
    telemetry.begin()
    observer.message_received(Tier.STARTER, Provider.BEDROCK, managed=True)
    observer.model_answered(3_600.0, model_answer().usage)
    telemetry.flush()
    counted = totals(printed())
    assert counted["Overhead"] == [0.0]
    assert counted["ModelLatency"] == [3_600_000.0]


def test_a_request_without_a_message_has_no_overhead(
    api: ConversationApi, printed: Callable[[], list[str]]
) -> None:
    assert api.get("/requests/req_none").status == 404
    assert totals(printed()) == {"Requests": [1.0]}


def test_one_request_leaves_nothing_to_the_next(
    api: ConversationApi, printed: Callable[[], list[str]]
) -> None:
    api.invoke()
    printed()
    api.get("/requests/req_none")
    assert measured(printed()) == {("Requests", dimensions_of(**SERVICE)): [1.0]}


class Lines(logging.Handler):
    """Writes each line down as it is logged, with the keys that the logger has then."""

    def __init__(self) -> None:
        super().__init__()
        formatter = logging.getLogger(logger.name).handlers[0].formatter
        assert formatter is not None
        self.setFormatter(formatter)
        self.written: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.written.append(json.loads(self.format(record)))


@pytest.fixture
def lines() -> Iterator[list[dict[str, Any]]]:
    """The lines of the log."""
    handler, shared = Lines(), logging.getLogger(logger.name)
    shared.addHandler(handler)
    yield handler.written
    shared.removeHandler(handler)


@pytest.mark.parametrize(
    "reaction", [model_answer(), RuntimeError("bug"), errors.ModelUnavailableError("down")]
)
def test_every_line_of_a_request_names_request_and_customer(
    reaction: ModelAnswer | Exception, api: ConversationApi, lines: list[dict[str, Any]]
) -> None:
    api.world.model.reactions.append(reaction)
    api.invoke()
    api.send("/chat", "no json")
    assert len(lines) >= 2
    for line in lines:
        assert (line["api_request_id"], line["customer_id"]) == (REQUEST_ID, api.world.customer_id)
        assert line["extended_request_id"] == EXTENDED_REQUEST_ID
    lines.clear()
    api.world.customer_id = "cus_2"
    api.invoke()
    assert {line["customer_id"] for line in lines} == {"cus_2"}


def test_the_log_of_a_request_names_neither_text_nor_credentials(
    api: ConversationApi, caplog: pytest.LogCaptureFixture
) -> None:
    api.invoke(
        messages=[{"role": "user", "content": "canary-text"}],
        byok_credentials={"aws_access_key": "canary-key", "aws_secret_key": "canary-secret"},
    )
    api.world.model.reactions.append(RuntimeError("bug"))
    api.invoke(messages=[{"role": "user", "content": "canary-text"}])
    formatter = logging.getLogger(logger.name).handlers[0].formatter
    assert formatter is not None
    printed = "".join(formatter.format(record) for record in caplog.records)
    assert "unexpected failure" in printed
    assert "canary" not in printed


def _taken(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()


def _invocation(**fields: object) -> dict[str, object]:
    return {
        "provider": "bedrock",
        "model": "claude-haiku-4-5",
        "messages": [{"role": "user", "content": "Hello"}],
        **fields,
    }
