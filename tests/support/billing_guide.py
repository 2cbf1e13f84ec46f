"""The Python samples of the customers' billing guide, taken from the file itself.

The guide is not part of this repository. It is found by ``FLOWSTACK_BILLING_GUIDE``, or as
``shared/BILLING.md`` beside the checkout.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

from tests.support.emulator import ROOT

_FENCE = re.compile(r"^(?P<indent> *)```python\n(?P<code>.*?)^(?P=indent)```", re.S | re.M)
_BESIDE = ROOT.parent / "shared/BILLING.md"


@dataclass(frozen=True, slots=True)
class Sample:
    """One block of code."""

    number: int
    code: str

    @property
    def uses_vault(self) -> bool:
        """Whether it needs ``/datavault``."""
        return ".vault." in self.code

    def with_placeholders(self, api_key: str) -> str:
        """Return the code with a real key and real data in the place of dots."""
        return self.code.replace('"fs_..."', repr(api_key)).replace("{...}", '{"any": "data"}')


def find_guide() -> Path | None:
    """Return where the guide is, if it is anywhere."""
    named = os.environ.get("FLOWSTACK_BILLING_GUIDE")
    place = Path(named) if named else _BESIDE
    return place if place.is_file() else None


def samples_of(guide: Path) -> list[Sample]:
    """Return every Python block of the guide, in order."""
    blocks = _FENCE.finditer(guide.read_text(encoding="utf-8"))
    return [Sample(number, dedent(block["code"])) for number, block in enumerate(blocks)]
