"""Lives under faults: what must be true of every life, whatever befell it.

`make faults` lives thousands of them; a seed that fails fails again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.faults.life import live
from tests.support.emulator import emulator

FIRST = int(os.environ.get("FIRST_LIFE", "0"))
LIVES = int(os.environ.get("LIVES", "16"))
STEPS = 30


@pytest.fixture(scope="session")
def emulator_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An emulator of AWS."""
    with emulator(tmp_path_factory.mktemp("emulator")) as url:
        yield url


@pytest.mark.parametrize("seed", range(FIRST, FIRST + LIVES))
def test_no_fault_of_aws_breaks_what_must_be_true(emulator_url: str, seed: int) -> None:
    live(emulator_url, seed, STEPS)
