"""Copies what the real code wrote for one customer, so that there are many."""

from __future__ import annotations

import json
import time
import urllib.request
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.copying_emulator import ACTION
from tests.support.emulator import emulator_program

PROGRAM = (
    emulator_program().with_name("python"),
    "-P",  # nothing that stands beside the program is a module of the emulator's
    Path(__file__).parent / "copying_emulator.py",
)
"""What to start as the emulator, for copies to be possible."""

Items = Mapping[str, Sequence[Mapping[str, Any]]]
"""Items by the name of their table."""

_CHUNK = 20_000
_TIMEOUT_SECONDS = 600


@dataclass(frozen=True, slots=True)
class Copies:
    """How many items were copied, how long it took, and how large the emulator is since."""

    items: int = 0
    seconds: float = 0.0
    memory_mb: float = 0.0


class Copier:
    """Has an emulator copy items, and adds up what that took."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.made = Copies()

    def copy(self, items: Items, names: Sequence[str], numbers: range) -> None:
        """Put a copy of the items into their tables for each number, with other names."""
        for first in range(numbers.start, numbers.stop, _CHUNK):
            chunk = (first, min(first + _CHUNK, numbers.stop))
            began = time.perf_counter()
            told = self._ask({"items": items, "names": names, "numbers": chunk})
            self.made = Copies(
                self.made.items + told["copied"],
                self.made.seconds + time.perf_counter() - began,
                told["memory_mb"],
            )

    def _ask(self, asked: dict[str, Any]) -> dict[str, Any]:
        request = urllib.request.Request(
            self._url,
            json.dumps(asked, default=lambda raw: b64encode(raw).decode()).encode(),
            {"X-Amz-Target": f"DynamoDB_20120810.{ACTION}"},
        )
        with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as answer:
            told: dict[str, Any] = json.load(answer)
        return told
