"""The ``flowstack`` 1.0.0 of PyPI, in an environment of its own, by changing its base URL only."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import Customer, Stack
from tests.support.emulator import ROOT

LOCK = ROOT / "requirements/published.lock"

# Reads the program from its arguments, and prints what it leaves in `found`.
_RUN = """
import json, sys
from flowstack import Agent, AuthenticationError, FlowStackError, QuotaExceededError
from flowstack.agent import create_agent
from flowstack.exceptions import CredentialsRequiredError, InvalidProviderError, TierLimitationError
url, key, program = sys.argv[1:]
def refusal(call, *arguments, **named):
    try:
        call(*arguments, **named)
    except FlowStackError as error:
        return {"kind": type(error).__name__, "details": error.details, "text": str(error)}
    return None
found = {}
exec(program)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter that has the published package, and nothing of ours."""
    place = tmp_path_factory.mktemp("published") / "venv"
    uv = str(Path(sys.executable).with_name("uv"))
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(place)], check=True)
    installed = place / "bin/python"
    subprocess.run(
        [
            *(uv, "pip", "sync", "--quiet", "--require-hashes"),
            *("--python", str(installed), str(LOCK)),
        ],
        check=True,
    )
    return installed


def run(python: Path, stack: Stack, key: str, program: str) -> dict[str, Any]:
    """Run a customer's program against the stack."""
    finished = subprocess.run(
        [str(python), "-I", "-c", _RUN, stack.connection.api_url, key, program],
        check=False,
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], "NO_PROXY": "*"},
    )
    assert finished.returncode == 0, finished.stderr
    found: dict[str, Any] = json.loads(finished.stdout)
    return found


def customer_of(stack: Stack, tier: str = "starter", session_limit: int | None = None) -> Customer:
    return stack.customer(tier, session_limit)


def test_it_talks_and_sees_where_it_stands(stack: Stack, python: Path) -> None:
    customer = customer_of(stack)
    found = run(
        python,
        stack,
        customer.key,
        """
agent = Agent("a", key, base_url=url)
found["said"] = [agent.chat("Hello"), agent.chat("And again")]
found["whole"] = agent.invoke("Hello", temperature=0.5)
usage = agent.get_usage()
found["usage"] = [usage.sessions_used, usage.sessions_limit, usage.can_make_requests]
found["tier"] = agent.get_tier_info()
found["history"] = agent.billing.get_billing_history(limit=3)
""",
    )
    assert all(found["said"])
    assert found["whole"]["content"]
    assert found["usage"] == [1, 1_000, True]
    assert found["tier"]["current_tier"] == "starter"
    assert found["history"]["statements"] == []
    stack.assert_exact(customer, 1)


def test_it_sees_its_statements(stack: Stack, python: Path) -> None:
    customer = customer_of(stack)
    assert customer.invoke().status_code == 200
    end = customer.usage()["current_period"]["end"]
    stack.set_clock(customer, end)
    program = 'found = Agent("a", key, base_url=url).billing.get_billing_history()'
    (statement,) = run(python, stack, customer.key, program)["statements"]
    assert (statement["sessions_used"], statement["total"]) == (1, 29.0)


def test_its_exceptions_are_those_it_documents(stack: Stack, python: Path) -> None:
    full = customer_of(stack, session_limit=1)
    assert full.invoke("one").status_code == 200
    free = customer_of(stack, "free")
    found = run(
        python,
        stack,
        full.key,
        f"""
agent = create_agent("a", key, base_url=url)
agent.billing.can_make_request = lambda: (True, "OK")  # ask the server itself
found["full"] = refusal(agent.invoke, "Hi", conversation_id="two")
found["asked first"] = refusal(create_agent("a", key, base_url=url).chat, "Hi")
found["bad key"] = refusal(Agent("a", "fs_wrong", base_url=url).get_usage)
found["free"] = refusal(Agent("a", {free.key!r}, base_url=url).chat, "Hi")
found["provider"] = refusal(Agent, "a", key, provider="acme", base_url=url)
found["credentials"] = refusal(Agent, "a", key, provider="openai", base_url=url)
""",
    )
    assert found["full"]["kind"] == "QuotaExceededError"
    assert found["full"]["details"] == {"current_usage": 1, "limit": 1}
    kinds = {name: refused["kind"] for name, refused in found.items() if refused}
    assert kinds == {
        "full": "QuotaExceededError",
        "asked first": "QuotaExceededError",
        "bad key": "AuthenticationError",
        "free": "TierLimitationError",
        "provider": "InvalidProviderError",
        "credentials": "CredentialsRequiredError",
    }


def test_it_stores_credentials_and_uses_them_on_free(stack: Stack, python: Path) -> None:
    customer = customer_of(stack, "free")
    found = run(
        python,
        stack,
        customer.key,
        """
agent = Agent("a", key, base_url=url)
keys = {"aws_access_key": "AKIAEXAMPLE", "aws_secret_key": "a-secret-of-the-customers"}
found["stored"] = agent.store_byok_credentials("bedrock", keys)
found["said"] = agent.chat("Hello")
found["refused"] = refusal(agent.store_byok_credentials, "openai", {"note": "none"})
""",
    )
    assert found["stored"] is True
    assert found["said"]
    assert found["refused"]["kind"] == "FlowStackError"
    stack.assert_exact(customer, 1)
