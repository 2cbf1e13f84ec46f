"""Every Python sample of the customers' billing guide runs against the deployed stack.

Placeholders are supplied: a key, and the functions that the samples leave to the reader. Nothing
else of a sample is changed. Samples that use the vault get one in memory as long as the deployed
stack has none; once its OpenAPI document names ``/datavault`` they use that, by themselves.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from flowstack import Agent, Money, QuotaExceededError, costs
from tests.integration.conftest import Customer, Stack
from tests.support.billing_guide import Sample, find_guide, samples_of

GUIDE = find_guide()
SAMPLES = [] if GUIDE is None else samples_of(GUIDE)

pytestmark = pytest.mark.skipif(
    GUIDE is None, reason="the billing guide is not here; name it by FLOWSTACK_BILLING_GUIDE"
)


class Reader:
    """Somebody who copies a sample and fills in what it leaves open."""

    def __init__(self, stack: Stack, customer: Customer) -> None:
        self.stack = stack
        self.customer = customer
        self.alerts: list[Any] = []
        self._http = httpx.Client()
        self.agent = Agent("my-agent", api_key=customer.key, http_client=self._http)
        self.namespace: dict[str, Any] = {
            "__name__": "sample",
            "Agent": Agent,
            "QuotaExceededError": QuotaExceededError,
            "agent": self.agent,
            "datetime": datetime,
            "timedelta": timedelta,
            **{name: vars(costs)[name] for name in COSTS},
            "analyze_task_complexity": lambda task: task,
            "expensive_operation": lambda query: {"rows": [query]},
            "is_expired": lambda cached: (
                datetime.fromisoformat(cached["expires_at"]) < datetime.now()  # noqa: DTZ005
            ),
            "parse_batch_response": lambda response, count: [response] * count,
            "send_slack_alert": self.alerts.append,
            "send_usage_alert": self.alerts.append,
        }

    def runs(self, code: str) -> dict[str, Any]:
        """Run code; return what it defined."""
        exec(compile(code, "sample", "exec"), self.namespace)
        return self.namespace

    def asks_for(self, tool: str) -> str:
        """Let the model ask for a tool; return what the tool gave."""
        answer: str = self.agent.chat(f"Please run {tool}")
        assert answer.startswith("The tools said: "), answer
        for call in self.stack.bedrock.calls():
            assert '"status": "error"' not in str(call.body).replace("'", '"'), call.body
        return answer.removeprefix("The tools said: ")

    def close(self) -> None:
        """Close what the samples opened."""
        for value in self.namespace.values():
            if isinstance(value, Agent):
                value.close()
        self._http.close()


COSTS = (
    "calculate_days_remaining",
    "calculate_downgrade_savings",
    "calculate_managed_savings",
    "estimate_monthly_cost",
    "get_next_billing_cycle_date",
    "project_monthly_usage",
)


@pytest.fixture
def reader(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reader]:
    monkeypatch.setenv("FLOWSTACK_API_URL", stack.connection.api_url)
    reader = Reader(stack, stack.customer())
    yield reader
    reader.close()


def sample_with(text: str) -> Sample:
    """Return the one sample that holds a text."""
    (found,) = [sample for sample in SAMPLES if text in sample.code]
    return found


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: f"sample {sample.number}")
def test_every_sample_runs_as_it_stands(reader: Reader, sample: Sample) -> None:
    reader.runs(sample.with_placeholders(reader.customer.key))


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: f"sample {sample.number}")
def test_every_tool_of_a_sample_runs_when_the_model_asks(reader: Reader, sample: Sample) -> None:
    reader.runs(sample.with_placeholders(reader.customer.key))
    for tool in re.findall(r"^@agent\.tool *\ndef (\w+)", sample.code, re.M):
        reader.stack.bedrock.forget_calls()
        reader.asks_for(tool)
    assert reader.customer.used <= 1


def ran(reader: Reader, text: str) -> Callable[[str], Any]:
    """Run the sample that holds a text; return what finds its functions."""
    sample = sample_with(text)
    return reader.runs(sample.with_placeholders(reader.customer.key)).__getitem__


def test_a_sample_prints_what_was_used(reader: Reader, capsys: pytest.CaptureFixture[str]) -> None:
    reader.agent.chat("Hello")
    ran(reader, "from flowstack import Agent")
    assert capsys.readouterr().out.splitlines() == [
        "Sessions used: 1",
        "Sessions limit: 1000",
        "Sessions remaining: 999",
        "Usage percentage: 0.1%",
        "Current charges: $29.00",
    ]


def test_a_batch_is_one_session(reader: Reader) -> None:
    found = ran(reader, "batch_processing")("batch_processing")(["one", "two"])
    assert found["requests_processed"] == 2
    reader.asks_for("batch_processing")
    assert reader.customer.used == 1


def test_a_cached_result_is_found_again(reader: Reader) -> None:
    cached = ran(reader, "cached_expensive_operation")("cached_expensive_operation")
    assert cached("q") == {"result": {"rows": ["q"]}, "cached": False, "cost_saved": False}
    assert cached("q") == {"result": {"rows": ["q"]}, "cached": True, "cost_saved": True}


def test_usage_patterns_have_a_trend_from_the_second_snapshot_on(reader: Reader) -> None:
    track = ran(reader, "track_usage_patterns")("track_usage_patterns")
    assert track()["trend"] == 0
    reader.agent.chat("Hello")
    assert track()["trend"] == pytest.approx(0.1)
    assert track()["projected_usage"] >= 1


def test_a_providers_key_never_goes_to_another(reader: Reader) -> None:
    optimize = ran(reader, "optimize_provider_for_cost")("optimize_provider_for_cost")
    for complexity, provider in (
        ("simple", "openai"),
        ("medium", "bedrock"),
        ("complex", "anthropic"),
    ):
        optimize(complexity)
        assert reader.agent.provider == provider
        assert bool(reader.agent.byok) is (provider != "bedrock")


def test_35_minutes_of_silence_start_the_second_session(reader: Reader) -> None:
    code = sample_with("35 minutes later").code
    for part in re.split(r"(?=^# )", code, flags=re.M):
        minutes = re.match(r"# (\d+) minutes later", part)
        if minutes:
            reader.stack.advance(reader.customer, float(minutes[1]))
        reader.runs(part)
    reader.stack.assert_exact(reader.customer, 2)


def test_the_limit_is_told_with_both_numbers(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FLOWSTACK_API_URL", stack.connection.api_url)
    reader = Reader(stack, stack.customer(session_limit=0))
    reader.runs(sample_with("except QuotaExceededError").code)
    reader.close()
    said = capsys.readouterr().out
    assert "Current usage: 0" in said
    assert "Limit: 0" in said


def test_the_budget_guard_and_the_alerts_do_their_sums(reader: Reader) -> None:
    guard = ran(reader, "def budget_guard")("budget_guard")
    assert guard(10.0)["error"] == "Budget exceeded"
    assert guard(30.5)["budget_remaining"] == Money("1.50")
    alerts = ran(reader, "def setup_usage_alerts")("setup_usage_alerts")
    assert alerts([0])["alerts_triggered"] == reader.alerts
    assert alerts()["next_reset"] > datetime.now(UTC).date()
    advice = ran(reader, "def cost_analysis")("cost_analysis")()
    assert [each["type"] for each in advice["recommendations"]] == ["plan_optimization"]
    assert advice["recommendations"][0]["potential_savings"] == 29
