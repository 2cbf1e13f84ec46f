"""Lives under faults: what must be true of every life, whatever befell it.

`make faults` lives thousands of them; a seed that fails fails again.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from itertools import product

import pytest

from tests.faults.life import WORKFLOWS, Life, live
from tests.support.emulator import emulator
from tests.support.faulty_aws import FATES

FIRST = int(os.environ.get("FIRST_LIFE", "0"))
LIVES = int(os.environ.get("LIVES", "24"))
ENOUGH = 24
STEPS = 30
ROUGH = 8
"""A life that much befalls."""


@pytest.fixture(scope="session")
def emulator_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An emulator of AWS."""
    with emulator(tmp_path_factory.mktemp("emulator")) as url:
        yield url


@pytest.fixture(scope="session")
def lived() -> list[Life]:
    """The lives that this process has lived so far."""
    return []


@pytest.mark.parametrize("seed", range(FIRST, FIRST + LIVES))
def test_no_fault_of_aws_breaks_what_must_be_true(
    emulator_url: str, lived: list[Life], seed: int
) -> None:
    lived.append(live(emulator_url, seed, STEPS))


def test_every_kind_of_fault_befell_every_workflow(lived: list[Life]) -> None:
    if len(lived) < ENOUGH:
        pytest.skip(f"{len(lived)} lives need not meet everything")
    befell = sum((life.stage.faults.befell for life in lived), Counter[tuple[str, str]]())
    assert not [each for each in product(WORKFLOWS, FATES) if not befell[each]]


def test_a_life_is_lived_again_by_its_seed(emulator_url: str) -> None:
    trace = live(emulator_url, ROUGH, STEPS // 2).stage.faults.trace
    assert any(line.endswith("killed before") for line in trace)
    assert live(emulator_url, ROUGH, STEPS // 2).stage.faults.trace == trace


def test_a_life_that_fails_says_how_to_live_it_again(
    emulator_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(life: Life) -> None:
        life.stage.insist(False, "S1: broken on purpose")
        life.look()

    monkeypatch.setattr(Life, "check", broken)
    with pytest.raises(AssertionError, match="S1: broken on purpose") as failure:
        live(emulator_url, 7_001, 3)
    story, again = failure.value.__notes__
    assert "dynamodb" in story
    assert again == "seed 7001, and again: make faults FIRST_LIFE=7001 LIVES=1"
