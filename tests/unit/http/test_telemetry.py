"""Metrics in the log: what was answered and what was refused, and nobody's name."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from flowstack_core.http.resolver import logger
from tests.unit.http.conftest import ConversationApi


def _metrics(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    (blob,) = [line for line in lines if "_aws" in line]
    (directive,) = blob["_aws"]["CloudWatchMetrics"]
    assert directive["Namespace"] == "FlowStack"
    assert directive["Dimensions"] == [["service"]]
    return {metric["Name"]: blob[metric["Name"]] for metric in directive["Metrics"]}


def test_an_answer_counts_message_session_and_tokens(
    api: ConversationApi, capsys: pytest.CaptureFixture[str]
) -> None:
    api.invoke()
    assert _metrics(capsys) == {
        "Requests": [1.0],
        "MessagesAnswered": [1.0],
        "SessionsStarted": [1.0],
        "Tokens": [15.0],
    }
    api.invoke()
    assert _metrics(capsys)["SessionsStarted"] == [0.0]


def test_a_refusal_is_counted_by_its_kind(
    api: ConversationApi, capsys: pytest.CaptureFixture[str]
) -> None:
    api.world.subscribe(session_limit=0)
    api.invoke()
    assert _metrics(capsys) == {"Requests": [1.0], "QuotaRefusals": [1.0]}
    api.invoke(model="none")
    assert _metrics(capsys) == {"Requests": [1.0]}


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
