"""The Converse-speaking server does what it is told, over HTTP too."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import httpx
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, HTTPClientError

from tests.support.converse_server import ConverseServer


@pytest.fixture
def server() -> Iterator[ConverseServer]:
    with ConverseServer() as running:
        yield running


def converse(server: ConverseServer, text: str, **parameters: Any) -> Any:
    client = boto3.client(
        "bedrock-runtime",
        region_name="us-east-1",
        endpoint_url=server.url,
        aws_access_key_id="AKIA1",
        aws_secret_access_key="x",
        config=Config(retries={"total_max_attempts": 1}),
    )
    try:
        messages: Any = [{"role": "user", "content": [{"text": text}]}]
        return client.converse(**{"modelId": "m:0", "messages": messages, **parameters})
    finally:
        client.close()


def control(server: ConverseServer, *behaviours: dict[str, Any]) -> httpx.Response:
    return httpx.post(f"{server.url}/_control", json={"behaviours": behaviours})


def said(answer: Any) -> str:
    return str(answer["output"]["message"]["content"][0]["text"])


def test_it_echoes_and_counts_words_as_tokens(server: ConverseServer) -> None:
    answer = converse(server, "good morning")
    assert said(answer) == "You said: good morning"
    assert answer["usage"] == {"inputTokens": 2, "outputTokens": 4, "totalTokens": 6}


def test_an_answer_ends_where_it_may_not_be_longer(server: ConverseServer) -> None:
    answer = converse(server, "a b c d", inferenceConfig={"maxTokens": 3})
    assert (said(answer), answer["stopReason"]) == ("You said: a", "max_tokens")


def test_it_calls_the_tools_that_are_named_and_reads_their_results_back(
    server: ConverseServer,
) -> None:
    schema = {
        "type": "object",
        "properties": {"unit": {"enum": ["C", "F"]}, "days": {"type": "integer"}},
        "required": ["unit", "days"],
    }
    tools: Any = {
        "tools": [
            {"toolSpec": {"name": name, "inputSchema": {"json": schema}}}
            for name in ("get_weather", "get_time", "get_news")
        ]
    }
    answer = converse(server, "use get_weather and get_time", toolConfig=tools)
    calls = [block["toolUse"] for block in answer["output"]["message"]["content"]]
    assert answer["stopReason"] == "tool_use"
    assert [call["name"] for call in calls] == ["get_weather", "get_time"]
    assert calls[0]["input"] == {"unit": "C", "days": 1}

    results: Any = [
        {"toolResult": {"toolUseId": call["toolUseId"], "content": [{"text": call["name"]}]}}
        for call in calls
    ]
    messages: Any = [
        {"role": "user", "content": [{"text": "use get_weather and get_time"}]},
        answer["output"]["message"],
        {"role": "user", "content": results},
    ]
    answer = converse(server, "", messages=messages, toolConfig=tools)
    assert said(answer) == "The tools said: get_weather; get_time"


def test_a_behaviour_is_taken_by_its_marker_and_as_often_as_it_says(
    server: ConverseServer,
) -> None:
    control(server, {"fail": "ThrottlingException", "marker": "abc", "times": 1})
    assert said(converse(server, "other")) == "You said: other"
    with pytest.raises(ClientError, match="ThrottlingException") as failure:
        converse(server, "with abc in it")
    assert failure.value.response["ResponseMetadata"]["HTTPStatusCode"] == 429
    assert said(converse(server, "with abc in it")) == "You said: with abc in it"


def test_a_marker_in_an_old_message_does_not_choose_the_behaviour(server: ConverseServer) -> None:
    control(server, {"text": "chosen", "marker": "abc"})
    messages: Any = [
        {"role": "user", "content": [{"text": "abc"}]},
        {"role": "assistant", "content": [{"text": "abc"}]},
        {"role": "user", "content": [{"text": "def"}]},
    ]
    assert said(converse(server, "", messages=messages)) == "You said: def"


def test_it_drops_connections(server: ConverseServer) -> None:
    control(server, {"drop": True})
    with pytest.raises(HTTPClientError):
        converse(server, "x")


def test_a_behaviour_with_an_unknown_field_is_refused(server: ConverseServer) -> None:
    answer = control(server, {"delay": 3})
    assert answer.status_code == 400
    assert "delay" in answer.json()["error"]


def test_calls_are_counted_by_marker_over_http(server: ConverseServer) -> None:
    for text in ("abc 1", "abc 2", "def"):
        converse(server, text, system=[{"text": "be kind"}])
    found = httpx.get(f"{server.url}/_calls", params={"marker": "abc"}).json()
    assert found["count"] == 2
    assert found["calls"][0]["model_id"] == "m:0"
    assert found["calls"][0]["access_key"] == "AKIA1"
    assert found["calls"][0]["body"]["system"] == [{"text": "be kind"}]
    httpx.delete(f"{server.url}/_calls")
    assert httpx.get(f"{server.url}/_calls").json()["count"] == 0


def test_other_operations_are_unknown(server: ConverseServer) -> None:
    answer = httpx.post(f"{server.url}/model/m/invoke", json={})
    assert answer.status_code == 404
    assert answer.headers["x-amzn-ErrorType"].startswith("UnknownOperationException")
