"""What must be true of everything that is written under a version."""

from __future__ import annotations

from collections import Counter

from tests.faults.stage import Stage
from tests.faults.streams import Change

_VERSIONED = ("ALERT_SETTINGS", "SUBSCRIPTION", "WEBHOOK", "bedrock")
_NOTED_ASIDE = frozenset({"last_used_at"})
"""Attributes that change without the version."""


def check_versions(stage: Stage) -> None:
    """Make sure that nobody ever wrote over what somebody else had written meanwhile.

    Each version follows upon the one before, and each has its record in the audit trail: what was
    decided on an older state is not written.
    """
    acts = Counter[str]()
    for sort_key in _VERSIONED:
        for change in stage.streams.changes("accounts", sort_key):
            acts["written"] += _is_a_step(change)
    for change in stage.streams.changes("accounts", "", "AUDIT#"):
        assert change.before is None, "a record of an act changed"


def _is_a_step(change: Change) -> bool:
    """Return whether a change is one of versions, which then is the next one."""
    before, after = change.before, change.after
    if before is None or after is None:
        return True
    if _shown(before) == _shown(after):
        return False
    steps = int(after["version"]["N"]) - int(before["version"]["N"])
    assert steps == 1, f"{change.place} went {steps} versions on"
    return True


def _shown(item: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in item.items() if name not in _NOTED_ASIDE}
