"""What roles allow is what the whole of these tests made use of: this one comes last."""

from __future__ import annotations

import re

import pytest

from tests.integration.conftest import WHOLE_SUITE, Stack

_STOPPING = "stops a customer where the request that began the erasure was killed"
_CATCHING_UP = "closes earlier periods first, where a month end was missed"
EXPLAINED: dict[tuple[str, str, str], str] = {
    ("close", "PutItem", "accounts"): "a change that waited takes effect with the period's end",
    ("close", "Query", "usage"): _CATCHING_UP,
    ("rights", "BatchGetItem", "accounts"): _STOPPING,
    ("rights", "ConditionCheckItem", "accounts"): _STOPPING,
    ("rights", "BatchGetItem", "usage"): _STOPPING,
    ("rights", "ConditionCheckItem", "usage"): _STOPPING,
    ("rights", "GetItem", "usage"): _STOPPING,
    ("rights", "PutItem", "usage"): _STOPPING,
    ("rights", "UpdateItem", "usage"): _STOPPING,
    ("rollups", "ConditionCheckItem", "accounts"): "notes that a ceiling is reached",
    ("worker", "UpdateItem", "accounts"): "notes when stored credentials were last used",
}
"""Permissions that no test here needs to make use of, with what they are for; unit tests do."""


def test_no_role_allows_what_its_function_never_does(
    request: pytest.FixtureRequest, stack: Stack
) -> None:
    if not request.config.stash.get(WHOLE_SUITE, False):
        pytest.skip("only after all the other tests against the deployed stack")
    permissions = stack.dynamodb.permissions
    assert permissions is not None
    assert permissions.refused == []
    unused = {
        (app.removeprefix("flowstack."), action, _table(resource))
        for app, action, resource in permissions.unused()
    }
    assert unused <= EXPLAINED.keys(), unused - EXPLAINED.keys()


def _table(resource: str) -> str:
    """Return the name within the stage of a table, or of its index."""
    named = re.match(r"FlowStack-local-data-([A-Z][a-z]+)Table[0-9A-F-]+(/index/.+)?$", resource)
    assert named is not None, resource
    return named[1].lower() + (named[2] or "")
