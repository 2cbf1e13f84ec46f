"""What runs on AWS beside our own code: nothing that could be exchanged, nothing unlicensed.

Whether something of it is known to be vulnerable is asked by ``make audit``, which needs the
Internet: see docs/operations.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
BUNDLED = ("layer", "providers", "payments", "client")
"""The locks of what is put into layers."""

LICENCES = re.compile(
    r"MIT( License| No Attribution License \(MIT-0\))?|Apache(-2\.0| Software License)|0BSD"
    r"|BSD( License|-2-Clause|-3-Clause)?|ISC|PSF-2\.0|MIT OR Apache-2\.0"
)
"""Those that ask of who deploys FlowStack for nothing but to be named."""

FILES_ONLY = {"certifi": "MPL-2.0"}
"""Licences that cover changes of the files themselves; nothing is changed in them."""

_HASH = re.compile(r"^    --hash=sha256:[0-9a-f]{64}( \\)?$")


def lock_lines(name: str) -> list[str]:
    text = (ROOT / f"requirements/{name}.lock").read_text(encoding="utf-8")
    return [
        line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")
    ]


def locked(name: str) -> Iterator[Requirement]:
    for line in lock_lines(name):
        if not line.startswith(" "):
            yield Requirement(line.removesuffix("\\").strip())


@pytest.mark.parametrize("lock", sorted(path.stem for path in ROOT.glob("requirements/*.lock")))
def test_every_dependency_is_one_version_of_known_files(lock: str) -> None:
    """From an index and by its hash: whoever exchanges a file there exchanges nothing here."""
    lines = lock_lines(lock)
    assert lines
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if line.startswith(" "):
            assert _HASH.fullmatch(line), line
        else:
            assert _HASH.fullmatch(following), f"{line} has no hash"
    for requirement in locked(lock):
        assert requirement.url is None
        (version,) = requirement.specifier
        assert version.operator == "=="
        assert "*" not in version.version


@pytest.mark.parametrize("lock", BUNDLED)
def test_every_bundled_dependency_has_a_licence_that_asks_for_little(lock: str) -> None:
    for requirement in locked(lock):
        if requirement.marker is not None and not requirement.marker.evaluate():
            continue
        stated = set(licences(requirement.name))
        assert stated, f"{requirement.name} states no licence"
        if FILES_ONLY.get(requirement.name) not in stated:
            bad = [one for one in stated if LICENCES.fullmatch(one) is None]
            assert not bad, f"{requirement.name}: {bad}"


def licences(name: str) -> Iterator[str]:
    """Yield the licences that an installed distribution states, wherever it does."""
    metadata = distribution(name).metadata
    found = metadata.get_all("License-Expression") or metadata.get_all("License") or []
    for one in found:
        yield one.splitlines()[0].strip()
    if not found:
        for classifier in metadata.get_all("Classifier") or []:
            if classifier.startswith("License ::"):
                yield classifier.rpartition("::")[2].strip()
