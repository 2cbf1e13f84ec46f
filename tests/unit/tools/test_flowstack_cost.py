"""What messages cost, on paper: from units that were measured."""

from __future__ import annotations

import re
import subprocess
import sys
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstack_cost import model, prices
from flowstack_cost.model import Door, Units, Workload, bill, total
from tests.support.emulator import ROOT

WORKLOADS = st.builds(
    Workload,
    messages=st.integers(1, 10**9),
    messages_a_session=st.integers(1, 1_000),
    seconds_an_answer=st.decimals(0, 60, places=2),
    door=st.sampled_from(Door),
    together=st.booleans(),
    log_kb=st.decimals(0, 100, places=1),
    customers=st.integers(1, 10**6),
)


def measured(row: str) -> Units:
    """Return the units that stand at the end of a row of the page of benchmarks."""
    page = (ROOT / "docs/benchmarks.md").read_text(encoding="utf-8")
    line = next(line for line in page.splitlines() if line.startswith(f"| {row} |"))
    units = line.strip("| ").rpartition("| ")[2]
    found = re.fullmatch(r"([\d.]+) W(?: \+ ([\d.]+) R)?", units)
    assert found is not None, line
    return Units(Decimal(found[1]), Decimal(found[2] or 0))


@pytest.mark.parametrize(
    ("row", "units"),
    [
        ("start, `/invoke`", model.START[Door.INVOKE]),
        ("start, `/chat`", model.START[Door.CHAT]),
        ("follow-up, `/invoke`", model.FOLLOW_UP[Door.INVOKE]),
        ("follow-up, `/chat`", model.FOLLOW_UP[Door.CHAT]),
    ],
)
def test_the_units_of_a_message_are_those_that_were_measured(row: str, units: Units) -> None:
    assert measured(row) == units


@pytest.mark.parametrize(
    ("row", "rollup"),
    [
        ("one message, the first of its session", model.ROLLUP_ALONE),
        ("one message, a follow-up", model.ROLLUP_ALONE),
        ("100 messages, each of another customer", model.ROLLUP_ALONE),
    ],
)
def test_the_units_of_a_rollup_are_those_that_were_measured(row: str, rollup: Units) -> None:
    ceiling = model.CEILING_CHECK
    assert measured(row) == Units(rollup.write + ceiling.write, rollup.read + ceiling.read)


def test_a_hundred_messages_of_one_customer_share_the_check_of_its_ceiling() -> None:
    found = measured("100 messages of one customer's sessions")
    assert found.write == model.ROLLUP_TOGETHER.write
    assert found.read <= model.ROLLUP_TOGETHER.read + model.CEILING_CHECK.read


def test_a_bill_can_be_worked_out_by_hand() -> None:
    workload = Workload(messages=10, messages_a_session=4, door=Door.INVOKE, customers=1)
    assert workload.sessions == 3
    lines = {line.what: line for line in bill(workload)}
    counted = lines["DynamoDB: sessions and counts"]
    assert counted.amount == 3 * 9 + 7 * 2
    assert counted.dollars == counted.amount * prices.WRITE_UNIT
    assert lines["Lambda: waiting for the model"].amount == 30
    assert lines["API Gateway, REST API"].dollars == Decimal("0.000035")


@given(WORKLOADS)
def test_the_sum_is_that_of_the_lines_and_batches_never_make_it_dearer(workload: Workload) -> None:
    lines = bill(workload)
    assert all(line.dollars >= 0 for line in lines)
    assert total(lines) == sum(line.dollars for line in lines)
    alone, together = (
        total(bill(Workload(workload.messages, workload.messages_a_session, together=each)))
        for each in (False, True)
    )
    assert together <= alone


@pytest.mark.parametrize(
    "wrong",
    [
        {"messages": 0},
        {"messages_a_session": 0},
        {"customers": 0},
        {"seconds_an_answer": Decimal(-1)},
        {"log_kb": Decimal(-1)},
    ],
)
def test_a_workload_that_cannot_be_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"at least|no less|less than"):
        Workload(**wrong)  # type: ignore[arg-type]


def test_the_calculator_says_what_the_page_does() -> None:
    finished = subprocess.run(
        [sys.executable, "-m", "flowstack_cost"], check=True, capture_output=True, text=True
    )
    whole = total(bill(Workload()))
    assert f"${whole:,.2f}" in re.sub(r"\$ +", "$", finished.stdout)
    page = (ROOT / "docs/cost.md").read_text(encoding="utf-8")
    assert f"**${whole:,.2f}**" in page
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert f"cost about ${whole:,.0f} beside the models" in readme
