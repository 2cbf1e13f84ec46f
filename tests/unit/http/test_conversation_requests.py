"""Bad input: a clear error with a code and a hint, nothing changed, nothing counted."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.fakes import World
from tests.support.http_events import REQUEST_ID, HttpResponse
from tests.unit.http.conftest import ConversationApi

USER = {"role": "user", "content": "Hello"}
CALL = {"type": "tool_use", "id": "t1", "name": "look", "input": {"a": 1}}
RESULT = {"type": "tool_result", "tool_use_id": "t1", "content": "seen"}
ASKED = {"role": "assistant", "content": [CALL]}
TOLD = {"role": "user", "content": [RESULT]}


def assert_refused(
    api: ConversationApi, response: HttpResponse, status: int, code: str, field: str | None = None
) -> None:
    """The envelope says what is wrong, and nothing happened."""
    assert (response.status, response.body["error_code"]) == (status, code), response.body
    assert set(response.body) == {"error", "error_code", "details", "request_id"}
    assert response.body["error"].endswith((".", "?"))
    assert response.body["request_id"] == REQUEST_ID
    if field is not None:
        assert response.body["details"]["field"] == field, response.body
    assert api.untouched


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "",
        "application/jsonp",
        "Application/JSON",
    ],
)
def test_a_wrong_content_type_is_refused(api: ConversationApi, content_type: str) -> None:
    response = api.invoke(headers={"Content-Type": content_type})
    assert_refused(api, response, 415, "UNSUPPORTED_MEDIA_TYPE")


def test_a_content_type_with_parameters_is_json(api: ConversationApi) -> None:
    headers = {"Content-Type": "application/json; charset=utf-8"}
    assert api.invoke(headers=headers).status == 200


@pytest.mark.parametrize(
    "body", ["{", "", "   ", "not json", '{"provider": NaN}', '{"a":1}{"b":2}', "[1,", "\ufeff{}"]
)
def test_broken_json_is_refused(api: ConversationApi, body: str) -> None:
    assert_refused(api, api.send("/invoke", body), 400, "INVALID_REQUEST", "body")


@pytest.mark.parametrize("body", ["[]", '"text"', "1", "null", "true"])
def test_json_that_is_no_object_is_refused(api: ConversationApi, body: str) -> None:
    assert_refused(api, api.send("/invoke", body), 400, "INVALID_REQUEST")


@pytest.mark.parametrize("depth", [65, 900, 100_000])
@pytest.mark.parametrize("brackets", ["[]", "{}"])
def test_deep_json_is_refused(api: ConversationApi, depth: int, brackets: str) -> None:
    opened = "[" * depth + "]" * depth if brackets == "[]" else '{"a":' * depth + "1" + "}" * depth
    body = f'{{"provider": "bedrock", "model": "m", "messages": {opened}}}'
    assert_refused(api, api.send("/invoke", body), 400, "INVALID_REQUEST", "body")


@pytest.mark.parametrize("path", ["/invoke", "/chat"])
def test_a_message_of_one_megabyte_is_refused(api: ConversationApi, path: str) -> None:
    text = "a" * 1_000_000
    body = {"message": text} if path == "/chat" else {"messages": [{**USER, "content": text}]}
    response = api.send(path, body)
    assert_refused(api, response, 413, "PAYLOAD_TOO_LARGE")
    assert response.body["details"]["maximum"] == 1_000_000


def test_a_message_beyond_the_models_context_is_refused(api: ConversationApi) -> None:
    response = api.invoke(messages=[{**USER, "content": "a" * 900_000}])
    assert_refused(api, response, 400, "CONTEXT_LENGTH_EXCEEDED")


def test_a_chat_message_too_long_to_keep_is_refused(api: ConversationApi) -> None:
    response = api.chat(message="a" * 200_001)
    assert_refused(api, response, 400, "INVALID_REQUEST")


@pytest.mark.parametrize("messages", [[], [{**USER, "content": ""}], [{**USER, "content": " \n"}]])
def test_empty_messages_are_refused(api: ConversationApi, messages: Any) -> None:
    assert_refused(api, api.invoke(messages=messages), 400, "INVALID_REQUEST")


@pytest.mark.parametrize("message", ["", "  ", []])
def test_an_empty_chat_message_is_refused(api: ConversationApi, message: Any) -> None:
    assert_refused(api, api.chat(message=message), 400, "INVALID_REQUEST")


@pytest.mark.parametrize("missing", ["provider", "model", "messages"])
def test_a_missing_field_is_named(api: ConversationApi, missing: str) -> None:
    assert_refused(api, api.invoke(**{missing: None}), 400, "INVALID_REQUEST", missing)


def test_an_unknown_field_is_named(api: ConversationApi) -> None:
    assert_refused(api, api.invoke(temprature=0.5), 400, "INVALID_REQUEST", "temprature")


def test_the_customer_cannot_be_chosen_in_the_body(api: ConversationApi) -> None:
    assert_refused(api, api.invoke(customer_id="cus_2"), 400, "INVALID_REQUEST", "customer_id")


def test_an_unknown_provider_is_refused(api: ConversationApi) -> None:
    response = api.invoke(provider="acme")
    assert_refused(api, response, 400, "INVALID_PROVIDER", "provider")
    assert "bedrock" in response.body["details"]["providers"]


def test_p4_a_provider_that_needs_credentials_is_refused_without_them(
    api: ConversationApi,
) -> None:
    response = api.invoke(provider="openai", model="gpt-4o")
    assert_refused(api, response, 400, "CREDENTIALS_REQUIRED")


def test_an_unknown_model_is_refused_with_the_nearest_names(api: ConversationApi) -> None:
    response = api.invoke(model="claude-hiku-4-5")
    assert_refused(api, response, 400, "MODEL_NOT_AVAILABLE")
    assert response.body["details"]["nearest"][0] == "claude-haiku-4-5"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", -0.1),
        ("temperature", 1.1),
        ("temperature", "0.5"),
        ("temperature", True),
        ("max_tokens", 0),
        ("max_tokens", -1),
        ("max_tokens", 1.5),
        ("max_tokens", "10"),
        ("max_tokens", 10_000_000),
        ("max_tokens", 100_000),
        ("model", ""),
        ("model", 5),
        ("model", "m" * 257),
        ("provider", ""),
        ("messages", "Hello"),
        ("tools", "look"),
        ("tools", [{"name": "no spaces"}]),
        ("tools", [{"name": "look"}] * 129),
        ("system", 5),
        ("byok_credentials", "sk-1"),
        ("agent", ""),
        ("agent", "a" * 129),
        ("conversation_id", 5),
    ],
)
def test_a_field_out_of_range_is_named(api: ConversationApi, field: str, value: Any) -> None:
    response = api.invoke(**{field: value})
    assert_refused(api, response, 400, "INVALID_REQUEST")
    assert response.body["details"]["field"].startswith(field)


@pytest.mark.parametrize("name", ["a\nb", "a\x00b", "\x1b[31m", " ", "\t"])
@pytest.mark.parametrize("field", ["agent", "conversation_id"])
def test_control_characters_in_a_name_are_refused(
    api: ConversationApi, field: str, name: str
) -> None:
    fields: dict[str, Any] = {field: name}
    assert_refused(api, api.invoke(**fields), 400, "INVALID_REQUEST", field)


@pytest.mark.parametrize("text", ["a\x00b", "half \ud83d character"])
def test_text_that_cannot_be_passed_on_is_refused(api: ConversationApi, text: str) -> None:
    assert_refused(api, api.invoke(messages=[{**USER, "content": text}]), 400, "INVALID_REQUEST")
    assert_refused(api, api.chat(message=text), 400, "INVALID_REQUEST")


def test_emoji_and_every_script_pass_unchanged(api: ConversationApi) -> None:
    text = "👩‍👩‍👧 žluťoučký кот 猫 \t\r\n قطة"
    name = "agent 🐈"
    response = api.invoke(messages=[{**USER, "content": text}], agent=name)
    assert response.status == 200
    assert response.body["session"]["agent"] == name
    (asked,) = api.world.model.requests
    assert asked.messages[0].content[0].text == text  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "assistant", "content": "Hi"}],
        [USER, {"role": "assistant", "content": "Hi"}],
        [USER, {"role": "system", "content": "Be kind"}, USER],
        [{"role": "robot", "content": "Hi"}],
        [TOLD],
        [USER, ASKED, USER],
        [USER, ASKED, {"role": "user", "content": [RESULT, RESULT]}],
        [USER, ASKED, TOLD, TOLD],
        [{"role": "user", "content": [CALL]}],
        [{"role": "user", "content": [{"type": "image", "source": "x"}]}],
        [USER, {"role": "assistant", "content": [CALL, CALL]}, TOLD],
    ],
)
def test_a_history_that_makes_no_sense_is_refused(api: ConversationApi, messages: Any) -> None:
    assert_refused(api, api.invoke(messages=messages), 400, "INVALID_REQUEST")


@pytest.mark.parametrize("key", ["", " ", "a b", "ü", "k" * 256])
def test_an_idempotency_key_out_of_shape_is_refused(api: ConversationApi, key: str) -> None:
    response = api.invoke(headers={"Idempotency-Key": key})
    assert_refused(api, response, 400, "INVALID_REQUEST", "Idempotency-Key")


def test_a_model_that_takes_no_temperature_says_so(api: ConversationApi) -> None:
    response = api.invoke(model="claude-opus-5-5", temperature=0.5)
    assert_refused(api, response, 400, "INVALID_REQUEST", "temperature")


def test_credentials_appear_in_no_answer(api: ConversationApi) -> None:
    secret = "canary-5b1f"
    for credentials in (
        {"aws_access_key": secret},
        {"aws_access_key": secret, "aws_secret_key": secret, "extra": secret},
        {"aws_access_key": secret, "aws_secret_key": f"{secret}\n"},
        {"aws_access_key": [secret]},
    ):
        response = api.invoke(byok_credentials=credentials)
        assert response.status == 400
        assert secret not in json.dumps(response.body)
    assert api.untouched


def test_an_unknown_path_answers_in_the_envelope(api: ConversationApi) -> None:
    assert_refused(api, api.send("/nowhere", {}), 404, "NOT_FOUND")


def test_the_answer_tells_model_session_and_tokens(api: ConversationApi) -> None:
    response = api.invoke()
    assert response.status == 200
    assert response.headers["Cache-Control"] == "no-store"
    assert response.body["content"] == "Hello!"
    assert response.body["stop_reason"] == "end_turn"
    assert (response.body["model"], response.body["provider"]) == ("claude-haiku-4-5", "bedrock")
    assert response.body["usage"] == {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
    assert response.body["session"]["new"] is True
    assert response.body["session"]["ends_at"] == "2026-11-15T12:30:00.000Z"
    assert api.world.used() == 1


def test_a_system_message_at_the_beginning_becomes_the_system_prompt(api: ConversationApi) -> None:
    api.invoke(system="Be brief.", messages=[{"role": "system", "content": "Be kind."}, USER])
    (asked,) = api.world.model.requests
    assert asked.system == "Be brief.\n\nBe kind."
    assert [message.role for message in asked.messages] == ["user"]


def test_a_tool_result_in_text_blocks_is_joined(api: ConversationApi) -> None:
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    told = {"role": "user", "content": [{**RESULT, "content": parts}]}
    assert api.invoke(messages=[USER, ASKED, told]).status == 200
    assert api.world.model.requests[0].messages[2].tool_results[0].content == "one\ntwo"


def test_q1_the_refusal_carries_usage_and_limit_at_the_top() -> None:
    api = ConversationApi(World())
    api.world.subscribe(session_limit=0)
    response = api.invoke()
    assert (response.status, response.body["error_code"]) == (429, "QUOTA_EXCEEDED")
    assert (response.body["current_usage"], response.body["limit"]) == (0, 0)
    assert response.body["details"]["resets_at"] == "2026-12-01T00:00:00.000Z"
    assert "Retry-After" not in response.headers


def test_p4_managed_on_free_says_free_tier() -> None:
    from flowstack_core.domain.plans import Tier

    api = ConversationApi(World())
    api.world.subscribe(Tier.FREE)
    response = api.invoke()
    assert (response.status, response.body["error_code"]) == (403, "TIER_LIMITATION")
    assert "free tier" in response.body["error"]


def test_a_bug_answers_in_the_envelope_and_releases_the_session(api: ConversationApi) -> None:
    api.world.model.reactions.append(RuntimeError("secret-in-a-bug"))
    response = api.invoke()
    assert (response.status, response.body["error_code"]) == (500, "INTERNAL_ERROR")
    assert "secret-in-a-bug" not in json.dumps(response.body)
    assert api.world.used() == 0


def test_s3_a_replay_says_that_it_is_one(api: ConversationApi) -> None:
    first = api.invoke(headers={"Idempotency-Key": "k1"})
    again = api.invoke(headers={"Idempotency-Key": "k1"})
    assert again.body == first.body
    assert again.headers["Idempotency-Replayed"] == "true"
    assert len(api.world.model.requests) == 1
    other = api.invoke(headers={"Idempotency-Key": "k1"}, system="Other")
    assert (other.status, other.body["error_code"]) == (409, "IDEMPOTENCY_CONFLICT")
