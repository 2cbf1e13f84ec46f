"""The command ``flowstack``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner, Result

from flowstack import Agent, cli
from flowstack.cli import commands
from flowstack.cli.output import Output
from tests.support.fake_api import (
    KEY,
    URL,
    FakeApi,
    answered,
    budget_document,
    refusal,
    usage_document,
)


class Shell:
    """Runs the command on a made-up API."""

    def __init__(self) -> None:
        self._runner = CliRunner()

    def __call__(self, *arguments: str, stdin: str = "") -> Result:
        result = self._runner.invoke(commands.app, list(arguments), input=stdin)
        assert KEY not in result.output
        assert result.exception is None or isinstance(result.exception, SystemExit), result
        return result

    def json(self, *arguments: str) -> Any:
        result = self(*arguments, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)


@pytest.fixture
def shell(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    monkeypatch.setenv("FLOWSTACK_API_KEY", KEY)
    monkeypatch.setenv("FLOWSTACK_API_URL", URL)
    http = httpx.Client(transport=api.transport)

    class Offline(Agent):
        def __init__(self, *arguments: Any, **settings: Any) -> None:
            super().__init__(*arguments, **settings, max_retries=0, http_client=http)

    monkeypatch.setattr(commands, "Agent", Offline)
    yield Shell()
    http.close()


def test_a_message_gets_its_answer(shell: Shell, api: FakeApi) -> None:
    api.says(answered("A drawing of five numbers.", model_notice="another model answered"))
    result = shell("chat", "What", "is", "a box plot?", "--agent", "tutor")
    assert result.stdout == "A drawing of five numbers.\nanother model answered\n"
    assert (api.bodies[0]["message"], api.bodies[0]["agent"]) == ("What is a box plot?", "tutor")
    assert shell.json("chat", "Hello")["session"]["new"] is True


def test_a_message_may_come_from_a_pipe(shell: Shell, api: FakeApi) -> None:
    assert shell("chat", stdin="Hello\n").stdout == "Hello!\n"
    assert api.bodies[0]["message"] == "Hello\n"


def test_a_conversation_goes_on_after_a_refusal(
    api: FakeApi, shell: Shell, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = iter(["Hello", "", "/new", "Again"])

    def typed(_: str) -> str:
        try:
            return next(said)
        except StopIteration:
            raise EOFError from None

    monkeypatch.setattr("builtins.input", typed)
    api.says(refusal(429, "QUOTA_EXCEEDED", current_usage=1, limit=1, hint="Upgrade."))
    agent = commands.Options(URL, as_json=False).agent()
    commands._talk(Output(as_json=False), agent)
    written = capsys.readouterr()
    assert "QUOTA_EXCEEDED" in written.err
    assert "Upgrade." in written.err
    assert "Hello!" in written.out
    first, second = (body["conversation_id"] for body in api.bodies)
    assert first != second


def test_usage_has_a_bar_a_projection_and_the_days_left(shell: Shell, api: FakeApi) -> None:
    said = shell("usage").stdout
    for part in ("━", "81.2 %", "812 of 1,000", "$29.00", "days left", "6", "1,000 sessions"):
        assert part in said
    assert "At least 80 %" in said
    api.usage = usage_document(1000)
    assert "All sessions are used" in shell("usage").stdout
    document = shell.json("usage")
    assert document["usage_percentage"] == 100.0
    assert document["current_charges"] == 29
    assert document["can_make_requests"] is False


def test_the_forecast_and_advice_are_shown(shell: Shell, api: FakeApi) -> None:
    said = shell("forecast").stdout
    for part in ("1,020 sessions, between 1,005 and 1,041", "985 of 1,000", "2026-11-30 08:00"):
        assert part in said
    assert shell.json("forecast")["interval"]["high"] == 1041
    assert shell("advice").stdout == "- Starter would do.\n"
    assert shell.json("advice")["recommendations"][0]["potential_savings"] == 70
    api.advice["recommendations"] = []
    assert "nothing to advise" in shell("advice").stdout


def test_plans_and_history_are_listed(shell: Shell) -> None:
    assert "starter" in shell("plans").stdout
    assert shell.json("plans")[0]["sessions_per_month"] == 1000
    assert shell("history", "--limit", "3").stdout.split() == [
        "period",
        "2026-10",
        "2026-09",
        "2026-08",
    ]
    assert [each["period"] for each in shell.json("history", "--limit", "1")] == ["2026-10"]
    assert shell("history", "--csv").stdout == "period,total\n2026-10,29.00\n"


def test_a_budget_is_shown_and_changed_limit_by_limit(shell: Shell, api: FakeApi) -> None:
    shown = shell("budget", "show").stdout
    for part in ("$41.30", "$12.30", "litellm/house-model", "2026-11"):
        assert part in shown
    assert "reached" not in shown.replace("when it is reached", "")
    changed = shell("budget", "set", "--ceiling", "49.9", "--block", "--turns", "20").stdout
    assert "$49.90" in changed
    shell("budget", "set", "--warn", "--tokens", "5000")
    shell("budget", "set", "--no-ceiling", "--no-turns", "--no-tokens")
    assert api.bodies[1:] == [
        {"monthly_ceiling": 49.9, "session_turn_cap": 20, "action": "block"},
        {"session_token_cap": 5000, "action": "warn"},
        {"monthly_ceiling": None, "session_turn_cap": None, "session_token_cap": None},
    ]
    assert shell.json("budget", "show")["spent"]["total"] == 41.3
    assert shell("budget", "set", "--turns", "0").exit_code == 2


def test_a_ceiling_that_is_reached_is_pointed_out(shell: Shell, api: FakeApi) -> None:
    document = budget_document(reached=True, notice="Your plan alone costs as much.")
    api.says(httpx.Response(200, json=document))
    shown = shell("budget", "show").stdout
    assert "The ceiling is reached." in shown
    assert "Your plan alone costs as much." in shown


def test_own_limits_end_the_command_as_the_quota_does(shell: Shell, api: FakeApi) -> None:
    api.says(refusal(429, "BUDGET_EXCEEDED"), refusal(429, "SESSION_CAP_REACHED"))
    assert shell("chat", "Hi").exit_code == 4
    assert shell("chat", "Hi").exit_code == 1


def test_without_closed_months_there_is_no_history(shell: Shell, api: FakeApi) -> None:
    api.statements = []
    assert "No month is closed yet" in shell("history").stdout


def test_the_subscription_is_shown_shrunk_cancelled_and_kept(shell: Shell, api: FakeApi) -> None:
    assert "starter" in shell("subscription", "show").stdout
    assert "free from 2026-12-01" in shell("subscription", "downgrade", "free", "--yes").stdout
    assert "waiting" not in shell("subscription", "undo").stdout
    assert shell("subscription", "cancel", stdin="y\n").exit_code == 0
    assert shell.json("subscription", "show")["pending_change"]["tier"] == "free"


def test_all_that_waits_is_shown(shell: Shell, api: FakeApi) -> None:
    after = {"tier": "free", "effective_at": "2027-01-01T00:00:00.000Z"}
    api.pending = {
        "tier": "starter",
        "effective_at": "2026-12-01T00:00:00.000Z",
        "followed_by": after,
    }
    said = shell("subscription", "show").stdout
    assert "starter from 2026-12-01" in said
    assert "free from 2027-01-01" in said


def test_alerts_are_shown_and_chosen(shell: Shell, api: FakeApi) -> None:
    said = shell("alerts", "show").stdout
    for part in ("75 %, 90 %, 95 %", "2026-11", "2026-11-20 09:30 UTC", "750", "1,000"):
        assert part in said
    shell("alerts", "set", "--threshold", "50", "--threshold", "100")
    shell("alerts", "set", "--email", "ada@example.com")
    assert api.bodies[1:] == [{"thresholds": [50, 100]}, {"email": "ada@example.com"}]
    document = shell.json("alerts", "set", "--no-email")
    assert api.bodies[-1] == {"email": None}
    assert (document["thresholds"], document["email"]) == ([50, 100], None)
    assert shell("alerts", "set", "--threshold", "101").exit_code == 2


def test_a_month_without_alerts_says_so(shell: Shell, api: FakeApi) -> None:
    api.says(httpx.Response(200, json={"thresholds": [75], "alerts": []}))
    assert "No alert in this period" in shell("alerts", "show").stdout


def test_nothing_is_shrunk_or_cancelled_unless_it_is_meant(shell: Shell, api: FakeApi) -> None:
    for command in (["downgrade", "free"], ["cancel"]):
        assert shell("subscription", *command, stdin="n\n").exit_code == 1
        assert shell("subscription", *command, stdin="").exit_code == 1
    assert api.requests == []


@pytest.mark.parametrize("command", [["downgrade", "free"], ["cancel"], ["undo"]])
def test_a_change_can_be_tried_dry(shell: Shell, api: FakeApi, command: list[str]) -> None:
    document = shell.json("subscription", *command, "--preview")
    assert document["action"] == command[0]
    assert api.pending is None


def test_documents_are_kept(shell: Shell, api: FakeApi) -> None:
    assert shell("vault", "put", "orders", '{"total": 12}', "--key", "a").stdout == "a\n"
    assert shell("vault", "put", "orders", "-", "--key", "b", stdin='{"total": 3}').exit_code == 0
    assert shell.json("vault", "get", "orders", "a") == {"total": 12}
    assert shell.json("vault", "query", "orders", "--sort", "-total")[0] == {"total": 12}
    assert shell.json("vault", "query", "orders", "--where", '{"total": 3}') == [{"total": 3}]
    assert shell("vault", "count", "orders").stdout == "2\n"
    assert shell("vault", "collections").stdout == "orders\n"
    assert shell("vault", "delete", "orders", "a").stdout == "Deleted.\n"
    assert shell("vault", "delete", "orders", "a").stdout == "There was none.\n"
    assert shell("vault", "clear", "orders", stdin="n\n").exit_code == 1
    assert shell("vault", "clear", "orders", "--yes").exit_code == 0
    missing = shell("vault", "get", "orders", "a")
    assert missing.exit_code == 1
    assert "NOT_FOUND" in missing.stderr


@pytest.mark.parametrize("text", ["{", "[]", "12"])
def test_what_is_no_json_object_is_wrong_usage(shell: Shell, text: str) -> None:
    assert shell("vault", "put", "orders", text).exit_code == 2
    assert shell("vault", "query", "orders", "--where", text).exit_code == 2


def test_keys_at_providers_are_asked_for_unseen(shell: Shell, api: FakeApi, tmp_path: Path) -> None:
    asked = shell("byok", "store", "openai", stdin="sk-canary\n")
    assert api.credentials["openai"] == {"api_key": "sk-canary"}
    assert "sk-canary" not in asked.output
    file = tmp_path / "keys.json"
    file.write_text('{"api_key": "sk-file"}', encoding="utf-8")
    assert "sk-file" not in shell("byok", "store", "anthropic", "--file", str(file)).output
    listed = [each["provider"] for each in shell.json("byok", "list")]
    assert listed == ["openai", "anthropic"]
    assert "openai" in shell("byok", "list").stdout
    for provider in listed:
        assert shell("byok", "delete", provider, "--yes").exit_code == 0
    assert shell("byok", "list").stdout == "None are stored.\n"
    assert shell("byok", "store", "acme").exit_code == 2
    assert shell("byok", "store", "openai", "--file", "nowhere.json").exit_code == 2


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (refusal(403, "TIER_LIMITATION", hint="Upgrade."), 1),
        (refusal(401, "UNAUTHORIZED"), 1),
        (httpx.ConnectError("nobody there"), 3),
        (httpx.Response(200, text="<html>"), 3),
        (refusal(429, "QUOTA_EXCEEDED", current_usage=1, limit=1), 4),
        (refusal(429, "RATE_LIMITED"), 4),
    ],
    ids=repr,
)
def test_exit_codes_tell_failures_apart(shell: Shell, api: FakeApi, answer: Any, code: int) -> None:
    api.says(answer, answer)
    for arguments in (("chat", "Hello"), ("--json", "chat", "Hello")):
        result = shell(*arguments)
        assert result.exit_code == code
        assert result.stdout == ""
    said = json.loads(result.stderr)
    assert set(said) == {"error", "error_code", "details", "request_id"}


def test_without_a_key_or_an_address_it_is_wrong_usage(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FLOWSTACK_API_URL")
    assert shell("usage").exit_code == 2
    monkeypatch.setenv("FLOWSTACK_API_KEY", "")
    without = shell("--api-url", URL, "usage")
    assert without.exit_code == 2
    assert "FLOWSTACK_API_KEY" in without.stderr


def test_there_is_no_option_that_takes_a_key(shell: Shell) -> None:
    """What stands on a command line is read by every process of the machine."""
    assert shell("--api-key", "fs_x", "usage").exit_code == 2


def test_it_says_what_it_lacks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "find_spec", lambda name: None)
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 2
    assert "flowstack[cli]" in capsys.readouterr().err


def test_it_knows_its_version(shell: Shell) -> None:
    assert shell("version").stdout.strip().startswith("2.")
