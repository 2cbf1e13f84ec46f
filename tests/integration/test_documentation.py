"""The shell blocks of the documentation, and every command of ``flowstack-admin`` that it names.

They run as they stand, against the deployed stack, but for what a reader fills in: the address and
the key, ids in capitals, and months, which are moved so that November 2026 is the month that the
customer has just finished. Blocks that cannot run say why; see ``tests/support/pages.py``.
"""

from __future__ import annotations

import os
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from flowstack_admin.main import app
from flowstack_core.domain.periods import Period
from tests.integration.conftest import Customer, Stack
from tests.support.emulator import REGION, ROOT
from tests.support.pages import PAGES, blocks, commands, commands_of, named

DOCUMENTED = Period(2026, 11)
WITH_SHELL = [
    page for page in PAGES if any(block.not_run is None for block in blocks(page, "bash"))
]
SERVES_UNTIL_STOPPED = "console"

BEFORE = {
    "data erase-status": "data erase ID --confirm ID",
    "month-end show": "month-end start 2026-11",
}
"""What has to be done before a command finds anything."""

ONCE_A_DAY = {"margin": "Reports are made once a day."}
"""Commands that show what a schedule makes, and what they say before that."""

SHELL = """
set -euo pipefail
curl() { command curl --fail-with-body "$@"; }
"""
"""What goes before a page's blocks: a request that is refused fails, as a person would see it."""


def operators_commands() -> list[str]:
    """Return each command of the operator's tool that a page names, once."""
    found: dict[str, None] = {}
    for page in PAGES:
        for program, *words in commands_of(page):
            if program == "flowstack-admin" and words[0] != SERVES_UNTIL_STOPPED:
                found["\0".join(words)] = None
    return list(found)


def moved(text: str, present: Period) -> str:
    """Move each month of a text as far as the present one is from the one of the pages."""
    months = (present.year - DOCUMENTED.year) * 12 + present.month - DOCUMENTED.month

    def later(found: re.Match[str]) -> str:
        year, month = divmod(int(found[1]) * 12 + int(found[2]) - 1 + months, 12)
        return f"{year}-{month + 1:02d}"

    return re.sub(r"\b(20\d\d)-(\d\d)\b", later, text)


def finished_month(stack: Stack, customer: Customer) -> Period:
    """Take a customer to the month after this one, and close this one; return it."""
    period = Period.containing(datetime.now(UTC))
    assert customer.chat().status_code == 200
    stack.set_clock(customer, period.next().start.isoformat())
    stack.admin.post(f"/admin/customers/{customer.customer_id}/close", {})
    return period


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A folder that has what the repository has, and may be written to."""
    for entry in ROOT.iterdir():
        if entry.name != ".local":
            (tmp_path / entry.name).symlink_to(entry)
    return tmp_path


@pytest.fixture
def environment(stack: Stack) -> dict[str, str]:
    """What a reader has set before the first command."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return {
        **own,
        "PATH": f"{ROOT / '.venv/bin'}:{os.environ['PATH']}",
        "API": stack.connection.api_url,
        "FLOWSTACK_API_URL": stack.connection.api_url,
        "FLOWSTACK_ADMIN_API_URL": stack.connection.api_url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
    }


@pytest.mark.parametrize("page", WITH_SHELL, ids=named)
def test_the_shell_blocks_of_a_page_run(
    page: Path, stack: Stack, desk: Path, environment: dict[str, str]
) -> None:
    customer = stack.customer("professional")
    period = finished_month(stack, customer)
    code = "\n".join(block.code for block in blocks(page, "bash") if block.not_run is None)
    done = subprocess.run(
        ["bash", "-c", SHELL + moved(code, period)],
        cwd=desk,
        env={**environment, "KEY": customer.key, "FLOWSTACK_API_KEY": customer.key},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


@pytest.fixture
def ids(stack: Stack) -> dict[str, str]:
    """What stands for the words in capitals of a command, of a customer of its own."""
    customer = stack.customer("professional")
    path = f"/admin/customers/{customer.customer_id}"
    period = finished_month(stack, customer)
    return {
        "ID": customer.customer_id,
        "KEY_ID": stack.admin.get(f"{path}/keys")["keys"][0]["key_id"],
        "EXPORT_ID": stack.admin.post(f"{path}/exports", {})["export"]["export_id"],
        "period": str(period),
    }


@pytest.mark.parametrize("command", operators_commands(), ids=lambda c: c.replace("\0", " "))
def test_every_command_of_the_operators_is_carried_out(
    command: str, ids: dict[str, str], environment: dict[str, str]
) -> None:
    words = command.split("\0")
    present = Period.parse(ids["period"])
    # Month ends of the stack's own customers are other tests' to begin.
    month = present.previous().previous() if words[0] == "month-end" else present

    def run(words: list[str]) -> Result:
        arguments = [ids.get(word, moved(word, month)) for word in words]
        return CliRunner().invoke(app, arguments, env=environment)

    if first := BEFORE.get(" ".join(words[:2])):
        assert run(first.split()).exit_code == 0
    done = run(words)
    told = ONCE_A_DAY.get(words[0], "")
    assert done.exit_code == 0 or (told and told in done.output), done.output


def test_commands_are_found() -> None:
    assert len(operators_commands()) > 30
    assert list(commands("A=1 make x > out # why\ncurl \\\n -d '{\n}' | head")) == [
        ["make", "x"],
        ["curl", "-d", "{\n}"],
        ["head"],
    ]


def test_months_are_moved() -> None:
    assert (
        moved("2026-11 2026-12-01T00 2027-01", Period(2027, 2)) == "2027-02 2027-03-01T00 2027-04"
    )
