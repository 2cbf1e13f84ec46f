"""What must be true of everything that is written under a version, and of what is never written."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from tests.faults.stage import Stage
from tests.faults.streams import Change, Item

_ACTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "ALERT_SETTINGS": ("alerts.",),
        "SUBSCRIPTION#LIMITS": ("limits.",),
        "SUBSCRIPTION": ("customer.create", "subscription."),
        "WEBHOOK": ("webhook.",),
        "bedrock": ("credentials.",),
    }
)
"""The items that have versions, by their sort keys, and what the acts are called that change them.
"""

_NOTED_ASIDE = frozenset({"last_used_at"})
"""Attributes that change without the version."""


def check_versions(stage: Stage) -> None:
    """Make sure that nobody ever wrote over what somebody else had written meanwhile.

    Each version follows upon the one before, and each has its record in the audit trail, neither
    without the other: what was decided on an older state is not written, and nothing is half done.
    """
    acts = Counter[str]()
    for change in stage.streams.changes("accounts", "", "AUDIT#"):
        assert change.before is None, "a record of an act changed"
        assert change.after is not None
        acts[change.after["action"]["S"]] += 1
    for sort_key, names in _ACTS.items():
        changes = stage.streams.changes("accounts", sort_key)
        steps = sum(_is_a_step(change) for change in changes if change.sort_key == sort_key)
        recorded = sum(many for act, many in acts.items() if act.startswith(names))
        assert steps == recorded, f"{steps} versions of {sort_key}, and {recorded} acts"


def check_secrets(stage: Stage, secrets: Iterable[str]) -> None:
    """Make sure that no secret was ever written anywhere as it is."""
    for change in stage.streams.history:
        text = json.dumps(change.after, default=repr)
        assert not any(secret in text for secret in secrets), f"a secret is in {change.place}"


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


def _shown(item: Item) -> Item:
    return {name: value for name, value in item.items() if name not in _NOTED_ASIDE}
