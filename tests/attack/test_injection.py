"""Hostile texts at every place of every request: nothing breaks, and nothing breaks out.

Each request is sent to the real routes over stores in memory. What DynamoDB itself would refuse is
tested on the emulator, in tests/integration/test_attack_injection.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.attack.doors import BY_CUSTOMERS, BY_OPERATORS, CHAT, INVOKE, Answer, Doors, Request
from tests.attack.hostile import TEXTS, everything

FORGED = "cus_forged"
"""Hostile texts try to get it into a line of the log."""


@pytest.fixture(scope="module")
def doors() -> Doors:
    """One, for all texts: what one leaves behind, the next meets."""
    return Doors()


@pytest.mark.parametrize("request_", [*BY_CUSTOMERS, *BY_OPERATORS], ids=lambda one: one.name)
def test_nothing_hostile_breaks_a_request_or_breaks_out_of_it(
    request_: Request, doors: Doors, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, hostile in everything():
        if isinstance(hostile, str) or request_.in_body:
            answer = doors.send(request_.with_(hostile))
            assert answer.status < 500, (name, answer.text)
            assert_sound(answer)
    for line in capsys.readouterr().out.splitlines():
        assert_one_of_ours(line, doors)


def assert_sound(answer: Answer) -> None:
    """An answer says what it is, once, in headers that cannot be cut."""
    for header, values in answer.headers.items():
        for value in (header, *values):
            assert value.isascii()
            assert value.isprintable(), (header, values)
    assert not {"x-injected", "set-cookie"} & {name.lower() for name in answer.headers}
    (kind,) = answer.headers["Content-Type"]
    if kind == "application/json" and answer.text:
        document = json.loads(answer.text)
        if answer.status >= 400:
            assert set(document) >= {"error"}
    assert answer.text.isascii() or not kind.startswith("application/json")


def assert_one_of_ours(line: str, doors: Doors) -> None:
    """A line of the log is one document, about whom it is about."""
    document = json.loads(line)
    if "_aws" in document:
        (directive, *_) = document["_aws"]["CloudWatchMetrics"]
        assert directive["Namespace"] == "FlowStack"
        assert document["service"] == "api"
        return
    assert document["level"] in {"INFO", "WARNING"}, line
    assert document.get("customer_id") != FORGED
    assert "\n" not in document["message"]


@given(
    place=st.sampled_from(BY_CUSTOMERS),
    text=st.text(st.characters(), max_size=40)
    | st.text("#%/\\\"'\r\n\0$.:{}[]=+-@,; a", max_size=20),
)
@settings(
    max_examples=1_500,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_no_text_at_all_breaks_a_request(place: Request, text: str, doors: Doors) -> None:
    answer = doors.send(place.with_(text))
    assert answer.status < 500, answer.text
    assert_sound(answer)


# --- JSON ----------------------------------------------------------------------------------

POSTS = ("/invoke", "/chat", "/v1/chat/completions", "/datavault", "/datavault/query")


def _documents() -> Iterator[tuple[str, str]]:
    good = json.dumps(CHAT)
    yield "nothing", ""
    yield "blank", " \n"
    yield "no JSON", "agent=a"
    yield "two documents", f"{good}{good}"
    yield "a comment", f"/* */{good}"
    yield "BOM", f"\ufeff{good}"
    yield "not a number", '{"temperature": NaN}'
    yield "endless", '{"temperature": -Infinity}'
    yield "a number of a million digits", '{"max_tokens": ' + "9" * 900_000 + "}"
    yield "a huge exponent", '{"temperature": 1e99999999999}'
    yield "deep lists", "[" * 400_000
    yield "deep lists that end", "[" * 400_000 + "]" * 400_000
    yield "deep objects", '{"a":' * 150_000
    yield "just too deep", '{"a":' * 65 + "1" + "}" * 65
    yield "many names", "{" + ",".join(f'"n{i}":0' for i in range(10_000)) + "}"
    yield "a list", "[]"
    yield "a text", '"x"'
    yield "null", "null"
    yield "half a pair", '{"agent": "\\ud800"}'
    yield "a control character", '{"agent": "a\nb"}'
    yield "too large", json.dumps({"message": "x" * 1_000_001})
    yield "too large in bytes", json.dumps({"message": "\u00e9" * 500_001}, ensure_ascii=False)


@pytest.mark.parametrize(("name", "body"), list(_documents()), ids=lambda one: one[:30])
def test_a_body_that_is_no_request_is_refused(name: str, body: str, doors: Doors) -> None:
    for path in POSTS:
        answer = doors.send(Request("POST", path), body)
        assert answer.status in {400, 413}, (name, answer.status, answer.text[:200])
        assert_sound(answer)
        assert len(answer.text) < 10_000


def test_of_a_name_that_comes_twice_the_last_counts_everywhere() -> None:
    """What is checked, what is done and what is repeated read the same document."""
    doors = Doors()
    twice = json.dumps(INVOKE)[:-1] + ', "agent": "first", "agent": "second"}'
    headers = {"Idempotency-Key": "twice"}
    answered = doors.send(Request("POST", "/invoke", headers=headers), twice)
    assert answered.status == 200, answered.text
    once = json.dumps({**INVOKE, "agent": "second"})
    repeated = doors.send(Request("POST", "/invoke", headers=headers), once)
    assert repeated.headers["Idempotency-Replayed"] == ["true"]
    assert {one.agent for one in doors.world.tables.heads} == {"second"}


@pytest.mark.parametrize(
    "override", ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"]
)
def test_no_header_makes_a_request_another_method(override: str) -> None:
    doors = Doors()
    before = doors.send(Request("GET", "/subscription"))
    assert doors.send(Request("GET", "/subscription", headers={override: "DELETE"})) == before
    assert doors.send(Request("GET", "/subscription")) == before


@pytest.mark.parametrize(
    "header", ["X-Forwarded-For", "X-Forwarded-Host", "Host", "X-Original-URL", "X-Rewrite-URL"]
)
def test_no_header_leads_elsewhere(header: str, doors: Doors) -> None:
    for value in ("/admin/customers", "evil.example", *list(TEXTS.values())[:12]):
        answer = doors.send(Request("GET", "/subscription", headers={header: value}))
        assert answer.status == 200
        assert "evil.example" not in str(answer)


def test_thousands_of_headers_and_parameters_are_just_many() -> None:
    doors = Doors()
    many = {f"X-{number}": "v" * 20 for number in range(5_000)}
    assert doors.send(Request("GET", "/usage", headers=many)).status == 200
    asked = Request("GET", "/usage/history", query={f"p{n}": "v" for n in range(5_000)})
    assert doors.send(asked).status == 200


@pytest.mark.parametrize("length", [10_000, 200_000])
def test_a_long_path_is_refused_in_no_time(length: int) -> None:
    doors = Doors()
    for filler in ("a", "/a", "%2f", "..", "\u00e9"):
        ask = Request("GET", "/requests/" + filler * (length // len(filler)))
        assert doors.send(ask).status in {400, 404}
